// Process 1 of the tests' sandboxes: static, and without the agent's features. It dials the
// channel, sends its preface, and then obeys lines from the test:
//
//   syscall NR A0 A1 A2 A3 A4 A5   -> "RESULT ERRNO"
//   child-syscall ... the same in a forked child, whose end by a signal is "signal N"
//   read PATH                      -> the file's first 8 KiB, or "errno N"
//   list PATH                      -> names, blank-separated
//   write PATH MEBIBYTES           -> "MEBIBYTES written ERRNO"
//   create PATH COUNT              -> "COUNT made ERRNO": empty files PATH.N
//   fork COUNT                     -> "COUNT started ERRNO"; they sleep until killed
//   inotify COUNT                  -> "COUNT made ERRNO"; they stay open
//   mknod PATH                     -> "errno N" of making a device node (0 = made)
//   int80                          -> a 32-bit system call in a child: "signal N" or its result
//   eat MEBIBYTES                  -> in a child; "exit N" or "signal N"
//
// Every answer ends with a NUL byte.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>

#include "agent/machine/machine.h"

namespace {

std::string read_all(int fd, std::size_t most) {
  std::string out;
  char buffer[4096];
  for (ssize_t n; out.size() < most && (n = ::read(fd, buffer, sizeof buffer)) > 0;) out.append(buffer, n);
  return out;
}

std::string member(const std::string& json, const std::string& key) {
  const auto at = json.find("\"" + key + "\":\"");
  if (at == std::string::npos) return "";
  const auto from = at + key.size() + 4;
  return json.substr(from, json.find('"', from) - from);
}

std::string run_syscall(std::istringstream& in) {
  long nr = 0, a[6] = {};
  in >> nr;
  for (long& value : a) in >> value;
  errno = 0;
  const long result = ::syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
  return std::to_string(result) + " " + std::to_string(errno);
}

template <class Work>
std::string in_child(Work work) {
  int fds[2];
  if (::pipe(fds) != 0) return "errno " + std::to_string(errno);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const std::string said = work();
    [[maybe_unused]] ssize_t n = ::write(fds[1], said.data(), said.size());
    ::_exit(0);
  }
  ::close(fds[1]);
  std::string said = read_all(fds[0], 8192);
  ::close(fds[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFSIGNALED(status)) return "signal " + std::to_string(WTERMSIG(status));
  return said;
}

std::string read_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY);
  if (fd < 0) return "errno " + std::to_string(errno);
  std::string text = read_all(fd, 8192);
  ::close(fd);
  return text;
}

std::string list(const std::string& path) {
  DIR* dir = ::opendir(path.c_str());
  if (!dir) return "errno " + std::to_string(errno);
  std::string names;
  while (const dirent* entry = ::readdir(dir)) names.append(entry->d_name).append(" ");
  ::closedir(dir);
  return names;
}

std::string write_file(const std::string& path, long mebibytes) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT, 0644);
  if (fd < 0) return "0 written " + std::to_string(errno);
  const std::string block(1 << 20, 'x');
  long done = 0;
  errno = 0;
  auto whole_block = [&] {
    for (std::size_t at = 0; at < block.size();) {
      const ssize_t n = ::write(fd, block.data() + at, block.size() - at);
      if (n <= 0) return false;
      at += static_cast<std::size_t>(n);
    }
    return true;
  };
  while (done < mebibytes && whole_block()) ++done;
  const int err = errno;
  ::close(fd);
  return std::to_string(done) + " written " + std::to_string(done == mebibytes ? 0 : err);
}

std::string create_files(const std::string& path, long count) {
  for (long i = 0; i < count; ++i) {
    const int fd = ::open((path + "." + std::to_string(i)).c_str(), O_WRONLY | O_CREAT, 0644);
    if (fd < 0) return std::to_string(i) + " made " + std::to_string(errno);
    ::close(fd);
  }
  return std::to_string(count) + " made 0";
}

std::string fork_many(long count) {
  for (long i = 0; i < count; ++i) {
    const pid_t pid = ::fork();
    if (pid < 0) return std::to_string(i) + " started " + std::to_string(errno);
    if (pid == 0)
      for (;;) ::pause();
  }
  return std::to_string(count) + " started 0";
}

std::string watch_many(long count) {
  for (long i = 0; i < count; ++i)
    if (::inotify_init1(IN_CLOEXEC) < 0) return std::to_string(i) + " made " + std::to_string(errno);
  return std::to_string(count) + " made 0";
}

std::string eat(long mebibytes) {
  for (long i = 0; i < mebibytes; ++i) {
    void* block = std::malloc(1 << 20);
    if (!block) return "no memory";
    std::memset(block, 1, 1 << 20);
    asm volatile("" : : "r"(block) : "memory");
  }
  return "eaten";
}

std::string make_device(const std::string& path) {
  errno = 0;
  ::mknod(path.c_str(), S_IFCHR | 0666, makedev(1, 1));
  return "errno " + std::to_string(errno);
}

std::string call_32_bit() {
#if defined(__x86_64__)
  long result = 20;  // getpid of the 32-bit table
  asm volatile("int $0x80" : "+a"(result) : : "memory");
  return std::to_string(result);
#else
  return "signal 31";  // there is no such door
#endif
}

std::string obey(const std::string& line) {
  std::istringstream in(line);
  std::string verb, path;
  long count = 0;
  in >> verb;
  if (verb == "syscall") return run_syscall(in);
  if (verb == "child-syscall") return in_child([&] { return run_syscall(in); });
  if (verb == "fork") return in >> count, fork_many(count);
  if (verb == "inotify") return in >> count, watch_many(count);
  if (verb == "eat") return in >> count, in_child([&] { return eat(count); });
  if (verb == "int80") return in_child(call_32_bit);
  in >> path >> count;
  if (verb == "mknod") return make_device(path);
  if (verb == "read") return read_file(path);
  if (verb == "list") return list(path);
  if (verb == "write") return write_file(path, count);
  if (verb == "create") return create_files(path, count);
  return "unknown";
}

void serve(int channel) {
  std::string line;
  for (char c; ::read(channel, &c, 1) == 1;) {
    if (c != '\n') {
      line += c;
      continue;
    }
    const std::string answer = obey(line) + '\0';
    line.clear();
    for (std::size_t at = 0; at < answer.size();) {
      const ssize_t n = ::write(channel, answer.data() + at, answer.size() - at);
      if (n <= 0) return;
      at += n;
    }
  }
}

int dial(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && S_ISCHR(info.st_mode)) return ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const int channel = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(channel, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return channel;
  ::close(channel);
  return -1;
}

}  // namespace

int main() {
  ::signal(SIGPIPE, SIG_IGN);
  if (atl::agent::machine::is_machine()) {
    if (const auto entered = atl::agent::machine::enter(); !entered.ok()) {
      [[maybe_unused]] ssize_t n = ::write(2, entered.error().message.data(), entered.error().message.size());
      return 1;
    }
  }
  const std::string config = read_all(0, 1 << 20);
  const std::string token = member(config, "bootToken"), path = member(config, "channel");
  [[maybe_unused]] ssize_t said = ::write(2, "{\"msg\":\"test agent\"}\n", 21);
  for (;;) {
    const int channel = dial(path);
    if (channel >= 0 && ::write(channel, token.data(), token.size()) == static_cast<ssize_t>(token.size()))
      serve(channel);
    ::close(channel);
    ::usleep(20'000);
  }
}
