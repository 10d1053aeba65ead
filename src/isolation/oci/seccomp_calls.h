#pragma once
#include <string_view>

namespace atl::isolation::oci {

// Allowed whatever the arguments. Left out on purpose, beside what kRefused names:
//   io_setup & co.       fs.aio-max-nr is one count for the whole host
//   mbind, move_pages, migrate_pages, set_mempolicy, memfd_secret, process_madvise, modify_ldt,
//   kcmp, pidfd_getfd, lookup_dcookie, statmount, listmount, lsm_*: little use, much surface
inline constexpr std::string_view kAllowed[] = {
    // files
    "read", "write", "open", "openat", "openat2", "close", "close_range", "stat", "fstat", "lstat", "newfstatat",
    "statx", "lseek", "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev", "preadv2", "pwritev2", "access",
    "faccessat", "faccessat2", "dup", "dup2", "dup3", "pipe", "pipe2", "fcntl", "flock", "fsync", "fdatasync", "sync",
    "syncfs", "sync_file_range", "truncate", "ftruncate", "fallocate", "fadvise64", "readahead", "getdents",
    "getdents64", "getcwd", "chdir", "fchdir", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "creat",
    "link", "linkat", "unlink", "unlinkat", "symlink", "symlinkat", "readlink", "readlinkat", "chmod", "fchmod",
    "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "umask", "utime", "utimes", "futimesat",
    "utimensat", "mknod", "mknodat", "statfs", "fstatfs", "chroot", "setxattr", "lsetxattr", "fsetxattr", "getxattr",
    "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr", "removexattr", "lremovexattr", "fremovexattr",
    "setxattrat", "getxattrat", "listxattrat", "removexattrat", "sendfile", "splice", "tee", "vmsplice",
    "copy_file_range", "memfd_create", "inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch",
    "cachestat",
    // memory
    "mmap", "mprotect", "munmap", "brk", "mremap", "msync", "mincore", "madvise", "mlock", "mlock2", "munlock",
    "mlockall", "munlockall", "get_mempolicy", "membarrier", "pkey_mprotect", "pkey_alloc", "pkey_free",
    "map_shadow_stack", "mseal",
    // processes, threads, signals
    "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "kill", "tkill", "tgkill",
    "pidfd_open", "pidfd_send_signal", "process_mrelease", "ptrace", "process_vm_readv", "process_vm_writev", "getpid",
    "getppid", "gettid", "getpgid", "setpgid", "getpgrp", "getsid", "setsid", "set_tid_address", "set_robust_list",
    "get_robust_list", "futex", "futex_waitv", "futex_wake", "futex_wait", "futex_requeue", "rseq", "arch_prctl",
    "prctl", "seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "rt_sigaction",
    "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
    "rt_sigsuspend", "sigaltstack", "restart_syscall", "pause", "set_thread_area", "get_thread_area",
    // ids and limits
    "getuid", "geteuid", "getgid", "getegid", "setuid", "setgid", "setreuid", "setregid", "setresuid", "getresuid",
    "setresgid", "getresgid", "setfsuid", "setfsgid", "getgroups", "setgroups", "capget", "capset", "getrlimit",
    "setrlimit", "prlimit64", "getrusage", "times", "sysinfo", "uname", "getcpu", "getpriority", "setpriority",
    "ioprio_get", "ioprio_set",
    // scheduling and time
    "sched_yield", "sched_setparam", "sched_getparam", "sched_setscheduler", "sched_getscheduler",
    "sched_get_priority_max", "sched_get_priority_min", "sched_rr_get_interval", "sched_setaffinity",
    "sched_getaffinity", "sched_setattr", "sched_getattr", "nanosleep", "clock_nanosleep", "clock_gettime",
    "clock_getres", "gettimeofday", "time", "alarm", "getitimer", "setitimer", "timer_create", "timer_settime",
    "timer_gettime", "timer_getoverrun", "timer_delete", "timerfd_create", "timerfd_settime", "timerfd_gettime",
    // waiting for many
    "poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
    "epoll_pwait2", "eventfd", "eventfd2", "signalfd", "signalfd4",
    // sockets, once made, and System V and POSIX queues (of the sandbox's own ipc namespace)
    "connect", "accept", "accept4", "bind", "listen", "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg",
    "recvmmsg", "shutdown", "getsockname", "getpeername", "setsockopt", "getsockopt", "shmget", "shmat", "shmctl",
    "shmdt", "semget", "semop", "semctl", "semtimedop", "msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink",
    "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr", "getrandom"};

// Refused with EPERM, as without the capability for it, since programs expect that of them. All
// else that is not named gets ENOSYS, so that programs take their fallback.
inline constexpr std::string_view kRefused[] = {
    "mount", "umount2", "pivot_root", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "setns", "bpf", "perf_event_open", "kexec_load", "kexec_file_load", "init_module", "finit_module",
    "delete_module", "quotactl", "quotactl_fd", "swapon", "swapoff", "reboot", "settimeofday", "clock_settime",
    "adjtimex", "clock_adjtime", "acct", "sethostname", "setdomainname", "iopl", "ioperm", "syslog", "vhangup",
    "open_by_handle_at", "name_to_handle_at", "fanotify_init", "fanotify_mark", "userfaultfd", "nfsservctl"};

}  // namespace atl::isolation::oci
