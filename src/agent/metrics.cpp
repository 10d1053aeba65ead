#include "agent/metrics.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <charconv>
#include <thread>

#include "base/blocking.h"
#include "base/fs.h"

namespace atl::agent {
namespace {

constexpr std::size_t kFileBytesMax = 256u << 10;
constexpr std::size_t kProcessesMax = 8192;

struct Disk {
  std::int64_t used = 0, total = 0;
};

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

std::optional<std::int64_t> number_in(const std::string& path) {
  const auto text = read_file(path, kFileBytesMax);
  return text.ok() ? number(*text) : std::nullopt;
}

// The value of "name value" lines, as in memory.stat.
std::optional<std::int64_t> field_in(const std::string& path, std::string_view name) {
  const auto text = read_file(path, kFileBytesMax);
  if (!text.ok()) return std::nullopt;
  std::string_view left = *text;
  while (!left.empty()) {
    const auto end = left.find('\n');
    const std::string_view line = left.substr(0, end);
    left.remove_prefix(end == left.npos ? left.size() : end + 1);
    if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == ' ')
      return number(line.substr(name.size() + 1));
  }
  return std::nullopt;
}

struct Found {
  std::optional<std::int64_t> cpu_usec, memory, cache;
};

Found from_cgroup(const std::string& root) {
  Found found;
  found.cpu_usec = field_in(root + "/cpu.stat", "usage_usec");
  found.memory = number_in(root + "/memory.current");
  found.cache = field_in(root + "/memory.stat", "file");
  if (!found.cpu_usec) {
    if (const auto ns = number_in(root + "/cpuacct/cpuacct.usage")) found.cpu_usec = *ns / 1000;
  }
  if (!found.memory) {
    found.memory = number_in(root + "/memory/memory.usage_in_bytes");
    found.cache = field_in(root + "/memory/memory.stat", "total_cache");
  }
  return found;
}

// utime, stime, cutime and cstime (fields 14 to 17 of proc(5)'s stat), in clock ticks: the dead
// count in their parents, up to process 1.
std::int64_t ticks_of(const std::string& stat) {
  // The name in parentheses may hold anything, so fields are counted from its last ')'.
  auto at = stat.rfind(')');
  if (at == stat.npos) return 0;
  std::int64_t sum = 0;
  int field = 2;
  for (; at < stat.size() && field < 17; ++at) {
    if (stat[at] != ' ') continue;
    if (++field >= 14) sum += number(std::string_view(stat).substr(at + 1)).value_or(0);
  }
  return sum;
}

// Resident pages that are not shared: the two numbers of statm(5) that make it.
std::int64_t private_pages(const std::string& statm) {
  const auto first = statm.find(' '), second = statm.find(' ', first + 1);
  if (first == statm.npos || second == statm.npos) return 0;
  const auto resident = number(std::string_view(statm).substr(first + 1)).value_or(0);
  const auto shared = number(std::string_view(statm).substr(second + 1)).value_or(0);
  return std::max<std::int64_t>(0, resident - shared);
}

Found from_processes(const std::string& proc) {
  std::int64_t ticks = 0, pages = 0;
  std::size_t count = 0;
  const auto names = list_dir(proc);
  if (!names.ok()) return {};
  for (const std::string& name : *names) {
    if (name.empty() || name[0] < '0' || name[0] > '9' || ++count > kProcessesMax) continue;
    const auto stat = read_file(proc + "/" + name + "/stat", kFileBytesMax);
    const auto statm = read_file(proc + "/" + name + "/statm", kFileBytesMax);
    if (stat.ok()) ticks += ticks_of(*stat);
    if (statm.ok()) pages += private_pages(*statm);
  }
  return {ticks * (1'000'000 / ::sysconf(_SC_CLK_TCK)), pages * ::sysconf(_SC_PAGESIZE), 0};
}

Disk disk_of(const std::string& path) {
  struct statvfs info{};
  if (::statvfs(path.c_str(), &info) != 0) return {};
  const auto block = static_cast<std::int64_t>(info.f_frsize);
  return {block * static_cast<std::int64_t>(info.f_blocks - info.f_bfree),
          block * static_cast<std::int64_t>(info.f_blocks)};
}

std::int64_t host_memory() {
  return static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
}

}  // namespace

Sample take_sample(const MetricsRoots& roots) {
  Found found = from_cgroup(roots.cgroup);
  if (!found.cpu_usec || !found.memory) {
    const Found summed = from_processes(roots.proc);
    if (!found.cpu_usec) found.cpu_usec = summed.cpu_usec;
    if (!found.memory) found.memory = summed.memory, found.cache = 0;
  }
  Sample sample;
  sample.cpu_usec = found.cpu_usec.value_or(0);
  sample.memory_cache = found.cache.value_or(0);
  sample.memory_used = std::max<std::int64_t>(0, found.memory.value_or(0) - sample.memory_cache);
  return sample;
}

Metrics::Metrics(AgentContext& context, MetricsRoots roots)
    : context_(context), roots_(std::move(roots)), last_at_(context.clock.steady()) {}

// Of all CPUs together: 100 means that every one was busy.
double Metrics::cpu_percent(std::int64_t cpu_usec, std::chrono::steady_clock::time_point now,
                            std::int64_t cpus) {
  const auto span = now - last_at_;
  if (span < kLeastSpan) return last_percent_;
  const auto usec = std::chrono::duration_cast<std::chrono::microseconds>(span).count();
  const double used = static_cast<double>(std::max<std::int64_t>(0, cpu_usec - last_cpu_usec_));
  last_percent_ = std::min(100.0, 100.0 * used / (static_cast<double>(usec) * static_cast<double>(cpus)));
  last_cpu_usec_ = cpu_usec;
  last_at_ = now;
  return last_percent_;
}

Task<std::string> Metrics::report() {
  auto look = [roots = roots_] { return std::pair(take_sample(roots), disk_of(roots.disk)); };
  const auto looked = co_await run_blocking(context_.pool, std::move(look));
  const Sample& sample = looked.first;
  const Disk& disk = looked.second;
  const std::int64_t cpus = context_.boot.vcpus > 0
                                ? context_.boot.vcpus
                                : std::max<std::int64_t>(1, std::thread::hardware_concurrency());
  const std::int64_t total = context_.boot.memory_bytes > 0 ? context_.boot.memory_bytes : host_memory();
  const double percent = cpu_percent(sample.cpu_usec, context_.clock.steady(), cpus);
  const auto mib = [](std::int64_t bytes) { return bytes >> 20; };
  co_return fmt::format(
      R"({{"ts":{},"cpu_count":{},"cpu_used_pct":{:.2f},"mem_total":{},"mem_used":{},"mem_cache":{},)"
      R"("mem_total_mib":{},"mem_used_mib":{},"mem_cache_mib":{},"disk_used":{},"disk_total":{}}})",
      unix_millis(context_.clock.wall()) / 1000, cpus, percent, total, sample.memory_used,
      sample.memory_cache, mib(total), mib(sample.memory_used), mib(sample.memory_cache), disk.used,
      disk.total);
}

}  // namespace atl::agent
