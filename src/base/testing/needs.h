#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <string>

namespace atl::testing {

// A test names what it needs of the machine and skips aloud where that is missing. With STRICT=1
// a skip is a failure, for the machine that has everything.
enum class Need { root, crun, runc, runsc, mkfs_ext4, microvm };

inline bool in_path(const char* name) {
  for (const char* dir : {"/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/bin/", "/sbin/"})
    if (::access((std::string(dir) + name).c_str(), X_OK) == 0) return true;
  return false;
}

// What tools/guest-kernel made.
inline std::string guest_kernel_dir() {
  const char* path = std::getenv("ATOLL_GUEST_KERNEL");
  return path ? path : "/var/lib/atoll/guest/kernel";
}

inline std::optional<std::string> missing(Need need) {
  switch (need) {
    case Need::root: return ::geteuid() == 0 ? std::nullopt : std::optional<std::string>("root");
    case Need::crun: return in_path("crun") ? std::nullopt : std::optional<std::string>("crun");
    case Need::runc: return in_path("runc") ? std::nullopt : std::optional<std::string>("runc");
    case Need::mkfs_ext4: return in_path("mkfs.ext4") ? std::nullopt : std::optional<std::string>("mkfs.ext4");
    case Need::runsc:
      if (const char* path = std::getenv("ATOLL_RUNSC"); path && ::access(path, X_OK) == 0) return std::nullopt;
      return in_path("runsc") ? std::nullopt : std::optional<std::string>("runsc (set ATOLL_RUNSC)");
    case Need::microvm:
      for (const char* program : {"qemu-system-x86_64", "mkfs.erofs"})
        if (!in_path(program)) return program;
      if (::access((guest_kernel_dir() + "/vmlinux").c_str(), R_OK) == 0) return std::nullopt;
      return "a guest kernel (tools/guest-kernel DIR, then set ATOLL_GUEST_KERNEL)";
  }
  return "an unknown need";
}

}  // namespace atl::testing

#define NEEDS(what)                                                            \
  if (auto gone = ::atl::testing::missing(::atl::testing::Need::what)) {   \
    if (std::getenv("STRICT")) FAIL() << "needs " << *gone;                    \
    GTEST_SKIP() << "needs " << *gone;                                         \
  }
