#include "control/host_facts.h"

#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/fs.h"

namespace atl::control {
namespace {

constexpr std::size_t kProcBytesMax = 4u << 20;  // cpuinfo of a machine with a thousand CPUs

std::string read_or_empty(const std::string& path) {
  auto text = read_file(path, kProcBytesMax);
  return text.ok() ? std::move(*text) : std::string();
}

// Calls back with each line, without its end, until that says false.
template <class Fn>
void each_line(std::string_view text, Fn fn) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    if (!fn(text.substr(0, end))) return;
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

std::string_view next_word(std::string_view& text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  const std::string_view word = text.substr(0, text.find_first_of(" \t"));
  text.remove_prefix(word.size());
  return word;
}

std::uint64_t number(std::string_view word) {
  std::uint64_t out = 0;
  std::from_chars(word.data(), word.data() + word.size(), out);
  return out;
}

// The kernel writes blanks, tabs, newlines and backslashes of a mount point as \ooo.
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool octal = text[i] == '\\' && i + 3 < text.size() && text.substr(i + 1, 3).find_first_not_of("01234567") == text.npos;
    if (!octal) {
      out += text[i];
      continue;
    }
    out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
    i += 3;
  }
  return out;
}

bool is_above(std::string_view mount_point, std::string_view path) {
  if (mount_point == "/") return true;
  return path.starts_with(mount_point) && (path.size() == mount_point.size() || path[mount_point.size()] == '/');
}

std::string architecture() {
  utsname name{};
  if (::uname(&name) != 0) return "";
  const std::string machine = name.machine;
  return machine == "x86_64" ? "amd64" : machine == "aarch64" ? "arm64" : machine;
}

}  // namespace

CpuTimes parse_cpu_times(std::string_view stat) {
  CpuTimes out;
  std::string_view line = stat.substr(0, stat.find('\n'));
  if (next_word(line) != "cpu") return out;
  // user nice system idle iowait irq softirq steal; guest time is part of user already.
  for (int i = 0; i < 8; ++i) {
    const std::uint64_t ticks = number(next_word(line));
    out.total += ticks;
    if (i != 3 && i != 4) out.busy += ticks;
  }
  return out;
}

std::int64_t cpu_percent(const CpuTimes& before, const CpuTimes& now) {
  if (now.total <= before.total || now.busy < before.busy) return 0;
  const double share = static_cast<double>(now.busy - before.busy) / static_cast<double>(now.total - before.total);
  return static_cast<std::int64_t>(std::min(1.0, share) * 100.0 + 0.5);
}

void parse_cpu_names(std::string_view cpuinfo, HostFacts& into) {
  each_line(cpuinfo, [&](std::string_view line) {
    if (line.empty()) return false;  // the first CPU speaks for all
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return true;
    const std::string_view name = line.substr(0, line.find_last_not_of(" \t", colon - (colon > 0)) + 1);
    std::string_view value = line.substr(colon + 1);
    while (value.starts_with(' ')) value.remove_prefix(1);
    if (name == "cpu family") into.cpu_family = value;
    if (name == "model") into.cpu_model = value;
    if (name == "model name") into.cpu_model_name = value;
    return true;
  });
}

void parse_memory(std::string_view meminfo, HostFacts& into) {
  std::uint64_t available = 0, huge_free = 0;
  each_line(meminfo, [&](std::string_view line) {
    const std::string_view name = next_word(line);
    const std::uint64_t value = number(next_word(line));
    if (name == "MemTotal:") into.memory_total_bytes = value << 10;
    if (name == "MemAvailable:") available = value << 10;
    if (name == "HugePages_Total:") into.huge_pages_total = value;
    if (name == "HugePages_Free:") huge_free = value;
    if (name == "HugePages_Rsvd:") into.huge_pages_reserved = value;
    if (name == "Hugepagesize:") into.huge_page_size_bytes = value << 10;
    return true;
  });
  into.memory_used_bytes = into.memory_total_bytes - std::min(available, into.memory_total_bytes);
  into.huge_pages_used = into.huge_pages_total - std::min(huge_free, into.huge_pages_total);
}

DiskFacts parse_mount_of(std::string_view mountinfo, std::string_view path) {
  DiskFacts out;
  each_line(mountinfo, [&](std::string_view line) {
    // id parent major:minor root MOUNT-POINT options [fields] - TYPE SOURCE options
    for (int i = 0; i < 4; ++i) next_word(line);
    std::string point = unescaped(next_word(line));
    const auto dash = line.find(" - ");
    if (dash == std::string_view::npos || !is_above(point, path) || point.size() < out.mount_point.size()) return true;
    line.remove_prefix(dash + 3);
    out.mount_point = std::move(point);
    out.fs_type = next_word(line);
    out.device = unescaped(next_word(line));
    return true;
  });
  return out;
}

CpuTimes read_cpu_times() { return parse_cpu_times(read_or_empty("/proc/stat")); }

HostFacts read_host_facts(const std::string& on_disk) {
  HostFacts out;
  parse_cpu_names(read_or_empty("/proc/cpuinfo"), out);
  parse_memory(read_or_empty("/proc/meminfo"), out);
  out.cpu_architecture = architecture();
  out.cpu_count = std::max<std::int64_t>(0, ::sysconf(_SC_NPROCESSORS_ONLN));
  out.cpu = read_cpu_times();
  struct statvfs sizes{};
  if (::statvfs(on_disk.c_str(), &sizes) != 0) return out;
  DiskFacts disk = parse_mount_of(read_or_empty("/proc/self/mountinfo"), on_disk);
  disk.total_bytes = static_cast<std::uint64_t>(sizes.f_blocks) * sizes.f_frsize;
  disk.used_bytes = static_cast<std::uint64_t>(sizes.f_blocks - sizes.f_bfree) * sizes.f_frsize;
  out.disks.push_back(std::move(disk));
  return out;
}

}  // namespace atl::control
