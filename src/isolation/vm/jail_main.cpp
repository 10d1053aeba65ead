// atoll-jail: starts a virtual machine monitor with nothing that it does not need. Run by the node
// as root; what it is told comes from the node alone, never from a guest.
//
//   atoll-jail run ROOT UID NOFILE FSIZE SECCOMP_FD [--bind SOURCE TARGET]... [--proc] [--device NAME MAJOR MINOR]...
//              -- PROGRAM ARGUMENT...
//     In namespaces of its own (mount, pid, network, ipc, uts, cgroup), with a root that holds what
//     was named and nothing else, as user UID without groups, capabilities or new privileges, under
//     the filter read from SECCOMP_FD. ROOT is an empty folder to mount on. Prints the pid, as the
//     caller sees it, once the program runs.
//   atoll-jail empty PID TARGET...
//     Takes away what the program needed only to start: from then on it is in nobody's reach.
//
// Exit status 1 with one line on standard error where a step failed.
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace {

struct Device {
  std::string name;
  unsigned major, minor;
};

struct Plan {
  std::string root;
  uid_t uid = 0;
  rlim_t open_files = 0, file_bytes = 0;
  int seccomp_fd = -1;
  std::vector<std::pair<std::string, std::string>> binds;
  bool proc = false;
  std::vector<Device> devices;
  std::vector<char*> argv;  // ends with nullptr
};

int report_fd = STDERR_FILENO;

[[noreturn]] void fail(const std::string& what) {
  const std::string line = what + ": " + std::strerror(errno) + "\n";
  [[maybe_unused]] ssize_t n = ::write(report_fd, line.data(), line.size());
  ::_exit(1);
}
void must(bool done, const std::string& what) {
  if (!done) fail(what);
}

// Below ROOT, which is a fresh tmpfs of ours: no links of others to follow.
void make_parents(const std::string& path) {
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    must(::mkdir(path.substr(0, at).c_str(), 0755) == 0 || errno == EEXIST, "mkdir " + path);
}

void bind(const std::string& source, const std::string& target) {
  struct stat info {};
  must(::stat(source.c_str(), &info) == 0, source);
  make_parents(target);
  if (S_ISDIR(info.st_mode)) {
    must(::mkdir(target.c_str(), 0755) == 0 || errno == EEXIST, "mkdir " + target);
  } else {
    const int fd = ::open(target.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
    must(fd >= 0, "create " + target);
    ::close(fd);
  }
  must(::mount(source.c_str(), target.c_str(), nullptr, MS_BIND, nullptr) == 0, "bind " + source);
  must(::mount(nullptr, target.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr) == 0,
       "remount " + target);
}

void make_device(const Device& device, uid_t owner) {
  const std::string path = "dev/" + device.name;
  must(::mkdir("dev", 0755) == 0 || errno == EEXIST, "mkdir dev");
  must(::mknod(path.c_str(), S_IFCHR | 0600, makedev(device.major, device.minor)) == 0, "mknod " + path);
  must(::chown(path.c_str(), owner, owner) == 0, "chown " + path);
}

void make_root(const Plan& plan) {
  must(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "mount private");
  must(::mount("jail", plan.root.c_str(), "tmpfs", MS_NOSUID | MS_NOEXEC, "size=64k,nr_inodes=64,mode=0755") == 0,
       "mount " + plan.root);
  must(::chdir(plan.root.c_str()) == 0, "chdir " + plan.root);
  for (const auto& [source, target] : plan.binds) bind(source, plan.root + target);
  // Programs are linked to /lib and /lib64, which are links to /usr's.
  for (const char* name : {"lib", "lib64"})
    must(::symlink((std::string("usr/") + name).c_str(), name) == 0, std::string("symlink ") + name);
  if (plan.proc) {
    must(::mkdir("proc", 0555) == 0, "mkdir proc");
    must(::mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0, "mount proc");
  }
  for (const Device& device : plan.devices) make_device(device, plan.uid);
  must(::syscall(SYS_pivot_root, ".", ".") == 0, "pivot_root");
  must(::umount2(".", MNT_DETACH) == 0, "umount the host's root");
  must(::chdir("/") == 0, "chdir /");
  must(::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, nullptr) == 0,
       "remount /");
}

void limit(int resource, rlim_t value, const char* name) {
  const rlimit both{value, value};
  must(::setrlimit(static_cast<__rlimit_resource>(resource), &both) == 0, name);
}

void drop_privileges(const Plan& plan) {
  limit(RLIMIT_CORE, 0, "RLIMIT_CORE");
  limit(RLIMIT_NOFILE, plan.open_files, "RLIMIT_NOFILE");
  // Bounds what it can write to its log as well as its disk.
  limit(RLIMIT_FSIZE, plan.file_bytes, "RLIMIT_FSIZE");
  ::signal(SIGXFSZ, SIG_IGN);
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability) >= 0; ++capability)
    must(::prctl(PR_CAPBSET_DROP, capability) == 0, "PR_CAPBSET_DROP");
  must(::setgroups(0, nullptr) == 0, "setgroups");
  must(::setresgid(plan.uid, plan.uid, plan.uid) == 0, "setresgid");
  must(::setresuid(plan.uid, plan.uid, plan.uid) == 0, "setresuid");
  must(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
}

void filter_calls(int fd) {
  std::vector<sock_filter> code(4096);
  const ssize_t bytes = ::read(fd, code.data(), code.size() * sizeof(sock_filter));
  must(bytes > 0 && bytes % sizeof(sock_filter) == 0, "read the system call filter");
  const sock_fprog program{static_cast<unsigned short>(bytes / sizeof(sock_filter)), code.data()};
  must(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0, "PR_SET_SECCOMP");
  ::close(fd);
}

[[noreturn]] void become(const Plan& plan, int report) {
  report_fd = report;
  ::setsid();
  // The caller reads our standard output; the program must not hold it.
  must(::dup2(STDERR_FILENO, STDOUT_FILENO) >= 0, "dup2");
  make_root(plan);
  drop_privileges(plan);
  filter_calls(plan.seccomp_fd);
  char* const env[] = {nullptr};
  ::execve(plan.argv[0], plan.argv.data(), env);
  fail(std::string("start ") + plan.argv[0]);
}

int run(const Plan& plan) {
  constexpr int kNamespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  must(::unshare(kNamespaces) == 0, "unshare");
  int report[2];
  must(::pipe2(report, O_CLOEXEC) == 0, "pipe2");
  const pid_t pid = ::fork();
  must(pid >= 0, "fork");
  if (pid == 0) become(plan, report[1]);
  ::close(report[1]);
  char text[512];
  std::string said;
  for (ssize_t n; (n = ::read(report[0], text, sizeof text)) != 0;)
    if (n > 0) said.append(text, static_cast<std::size_t>(n));
  if (!said.empty()) {
    std::fprintf(stderr, "atoll-jail: %s", said.c_str());
    ::waitpid(pid, nullptr, 0);
    return 1;
  }
  std::printf("%d\n", pid);
  return 0;
}

Plan parse(int argc, char** argv) {
  Plan plan;
  int at = 2;
  auto next = [&]() -> std::string { return at < argc ? argv[at++] : (errno = EINVAL, fail("arguments"), ""); };
  plan.root = next();
  plan.uid = static_cast<uid_t>(std::stoul(next()));
  plan.open_files = std::stoull(next());
  plan.file_bytes = std::stoull(next());
  plan.seccomp_fd = std::stoi(next());
  for (std::string word; (word = next()) != "--";) {
    if (word == "--bind") {
      std::string source = next();
      plan.binds.emplace_back(std::move(source), next());
    } else if (word == "--proc") {
      plan.proc = true;
    } else if (word == "--device") {
      Device device{next(), 0, 0};
      device.major = static_cast<unsigned>(std::stoul(next()));
      device.minor = static_cast<unsigned>(std::stoul(next()));
      plan.devices.push_back(std::move(device));
    } else {
      errno = EINVAL;
      fail(word);
    }
  }
  for (; at < argc; ++at) plan.argv.push_back(argv[at]);
  errno = EINVAL;
  must(!plan.argv.empty() && plan.uid >= 65536, "a program and a user from 65536 are needed");
  plan.argv.push_back(nullptr);
  return plan;
}

int empty(int argc, char** argv) {
  errno = EINVAL;
  must(argc > 3, "arguments");
  const std::string path = std::string("/proc/") + argv[2] + "/ns/mnt";
  const int mounts = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  must(mounts >= 0 && ::setns(mounts, CLONE_NEWNS) == 0, path);
  must(::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NOEXEC, nullptr) == 0, "remount /");
  for (int i = 3; i < argc; ++i) {
    const std::string target = argv[i];
    if (::umount2(target.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) must(errno == EINVAL, "umount " + target);
    // Where a mount was in a folder of its own, that folder goes as well.
    if (::rmdir(target.c_str()) != 0 && ::unlink(target.c_str()) != 0) must(errno == ENOENT, "remove " + target);
  }
  must(::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, nullptr) == 0,
       "remount / read-only");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  if (verb == "run") return run(parse(argc, argv));
  if (verb == "empty") return empty(argc, argv);
  std::fputs("atoll-jail: run or empty expected; the node starts this program\n", stderr);
  return 2;
}
