#include "isolation/vm/tsc.h"

#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace atl::isolation::vm {
namespace {

constexpr int kHz = 250;  // CONFIG_HZ of Debian's kernels

std::int64_t raw_nanos() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_RAW, &now);
  return now.tv_sec * 1'000'000'000ll + now.tv_nsec;
}

struct Both {
  std::int64_t nanos = 0;
  std::uint64_t ticks = 0;
};

#if defined(__x86_64__)
// The reading with the least time around it: nothing came between the two clocks.
Both read_both() {
  Both best;
  std::int64_t least = INT64_MAX;
  for (int i = 0; i < 32; ++i) {
    const std::int64_t before = raw_nanos();
    const std::uint64_t ticks = __rdtsc();
    const std::int64_t after = raw_nanos();
    if (after - before >= least) continue;
    least = after - before;
    best = {before + (after - before) / 2, ticks};
  }
  return best;
}
#endif

}  // namespace

std::int64_t measure_tsc_khz() {
#if defined(__x86_64__)
  const Both first = read_both();
  const timespec pause{0, 50'000'000};
  ::nanosleep(&pause, nullptr);
  const Both second = read_both();
  const double seconds = static_cast<double>(second.nanos - first.nanos) * 1e-9;
  return static_cast<std::int64_t>(static_cast<double>(second.ticks - first.ticks) / seconds / 1000 + 0.5);
#else
  return 0;
#endif
}

std::string kernel_command_line(std::int64_t tsc_khz) {
  std::string line =
      "console=ttyS0 8250.nr_uarts=1 loglevel=3 panic=-1 reboot=t nokaslr mitigations=off no_timer_check tsc=reliable "
      "noreplace-smp nowatchdog cryptomgr.notests random.trust_cpu=on";
  if (tsc_khz > 0)
    line += " tsc_early_khz=" + std::to_string(tsc_khz) + " lpj=" + std::to_string(tsc_khz * 1000 / kHz);
  return line;
}

}  // namespace atl::isolation::vm
