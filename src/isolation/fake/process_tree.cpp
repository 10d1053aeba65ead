#include "isolation/fake/process_tree.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <sstream>

#include "base/fs.h"
#include "base/subprocess.h"

namespace atl::isolation {
namespace {

struct Stat {
  pid_t parent = 0;
  char state = '?';
  std::int64_t cpu_ticks = 0, resident_pages = 0;
};

// Fields of proc(5) after the name's last ')': 3 state, 4 ppid, 14 utime, 15 stime, 24 rss.
std::optional<Stat> stat_of(pid_t pid) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/stat", 8192);
  if (!text.ok()) return std::nullopt;
  const auto paren = text->rfind(')');
  if (paren == std::string::npos) return std::nullopt;
  std::istringstream in(text->substr(paren + 1));
  Stat out;
  in >> out.state >> out.parent;
  std::string field;
  for (int number = 5; number <= 24 && in >> field; ++number) {
    const std::int64_t value = std::strtoll(field.c_str(), nullptr, 10);
    if (number == 14 || number == 15) out.cpu_ticks += value;
    if (number == 24) out.resident_pages = value;
  }
  return out;
}

std::vector<pid_t> all_processes() {
  std::vector<pid_t> out;
  if (const auto names = list_dir("/proc"); names.ok())
    for (const std::string& name : *names)
      if (std::isdigit(static_cast<unsigned char>(name[0]))) out.push_back(std::atoi(name.c_str()));
  return out;
}

}  // namespace

std::vector<pid_t> process_tree(pid_t root) {
  std::multimap<pid_t, pid_t> children;
  for (const pid_t pid : all_processes())
    if (const auto stat = stat_of(pid)) children.emplace(stat->parent, pid);
  std::vector<pid_t> tree{root};
  for (std::size_t at = 0; at < tree.size(); ++at) {
    const auto [first, last] = children.equal_range(tree[at]);
    for (auto child = first; child != last; ++child) tree.push_back(child->second);
  }
  return tree;
}

TreeUse use_of(const std::vector<pid_t>& tree) {
  TreeUse out;
  const std::int64_t ticks_per_s = ::sysconf(_SC_CLK_TCK), page = ::sysconf(_SC_PAGESIZE);
  for (const pid_t pid : tree) {
    const auto stat = stat_of(pid);
    if (!stat || stat->state == 'Z') continue;
    out.cpu_usec += stat->cpu_ticks * 1'000'000 / ticks_per_s;
    out.memory_bytes += stat->resident_pages * page;
    ++out.processes;
  }
  return out;
}

Status kill_tree(pid_t root, int within_ms) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(within_ms);
  ::kill(root, SIGSTOP);
  for (bool root_alone = false; !root_alone;) {
    root_alone = true;
    for (const pid_t pid : process_tree(root)) {
      const auto stat = stat_of(pid);
      if (pid == root || !stat || stat->state == 'Z') continue;
      ::kill(pid, SIGKILL);
      root_alone = false;
    }
    if (root_alone) break;
    if (std::chrono::steady_clock::now() >= until)
      return make_error(Errc::deadline, "processes below " + std::to_string(root) + " outlive SIGKILL after " +
                                            std::to_string(within_ms) + " ms");
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  const auto id = identify(root);
  ::kill(root, SIGKILL);
  while (id.ok() && is_alive(*id)) {
    if (std::chrono::steady_clock::now() >= until)
      return make_error(Errc::deadline, "process " + std::to_string(root) + " outlives SIGKILL");
    const timespec pause{0, 500'000};
    ::nanosleep(&pause, nullptr);
  }
  return ok();
}

Status await_none_named(const std::string& name, int within_ms) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(within_ms);
  for (;;) {
    const auto pids = all_processes();
    const bool any = std::any_of(pids.begin(), pids.end(), [&](pid_t pid) {
      const auto comm = read_file("/proc/" + std::to_string(pid) + "/comm", 64);
      const auto stat = stat_of(pid);
      return comm.ok() && *comm == name + "\n" && stat && stat->state != 'Z';
    });
    if (!any) return ok();
    if (std::chrono::steady_clock::now() >= until)
      return make_error(Errc::deadline, "a process named " + name + " is still there after " +
                                            std::to_string(within_ms) + " ms");
    const timespec pause{0, 500'000};
    ::nanosleep(&pause, nullptr);
  }
}

std::vector<Marked> find_marked(const std::string& prefix) {
  std::vector<Marked> out;
  for (const pid_t pid : all_processes()) {
    const auto text = read_file("/proc/" + std::to_string(pid) + "/cmdline", 1u << 20);
    if (!text.ok()) continue;
    const auto second = text->find('\0');
    if (second == std::string::npos || text->compare(second + 1, prefix.size(), prefix) != 0) continue;
    const auto end = text->find('\0', second + 1);
    out.push_back(Marked{pid, text->substr(second + 1, end == std::string::npos ? end : end - second - 1)});
  }
  return out;
}

}  // namespace atl::isolation
