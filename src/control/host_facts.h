#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace atl::control {

// Ticks since the machine's start, of all CPUs.
struct CpuTimes {
  std::uint64_t busy = 0, total = 0;
};

struct DiskFacts {
  std::string mount_point, device, fs_type;
  std::uint64_t used_bytes = 0, total_bytes = 0;
};

// What the kernel says of this machine.
struct HostFacts {
  std::string cpu_family, cpu_model, cpu_model_name;  // "" where the kernel does not say, as on arm64
  std::string cpu_architecture;                       // amd64, arm64, or uname's word
  std::int64_t cpu_count = 0;                         // online
  CpuTimes cpu;
  std::uint64_t memory_total_bytes = 0, memory_used_bytes = 0;  // used: what could not be given to a program now
  std::uint64_t huge_pages_total = 0, huge_pages_used = 0, huge_pages_reserved = 0, huge_page_size_bytes = 0;
  std::vector<DiskFacts> disks;  // the one that has `on_disk`
};

// Blocking, for a pool thread. What cannot be read stays 0 or empty.
HostFacts read_host_facts(const std::string& on_disk);
CpuTimes read_cpu_times();

// Whole percent of all CPUs between two readings; 0 where no time has passed.
std::int64_t cpu_percent(const CpuTimes& before, const CpuTimes& now);

// Of /proc/stat, /proc/cpuinfo, /proc/meminfo (the last two fill their part of `into`).
CpuTimes parse_cpu_times(std::string_view stat);
void parse_cpu_names(std::string_view cpuinfo, HostFacts& into);
void parse_memory(std::string_view meminfo, HostFacts& into);
// The line of /proc/self/mountinfo whose mount point is the longest one above `path`; sizes are not in it.
DiskFacts parse_mount_of(std::string_view mountinfo, std::string_view path);

}  // namespace atl::control
