#include "rootfs/disk_pool.h"

#include <time.h>
#include <unistd.h>

#include <chrono>

#include "base/crypto.h"
#include "base/fs.h"
#include "rootfs/loop.h"

namespace atl::rootfs {
namespace {

constexpr std::string_view kSuffix = ".img";

// The middle of PREFIX...SUFFIX, or "" where the name is of another form.
std::string middle(const std::string& name, std::string_view prefix) {
  if (name.size() <= prefix.size() + kSuffix.size() || name.rfind(prefix, 0) != 0 ||
      name.compare(name.size() - kSuffix.size(), kSuffix.size(), kSuffix) != 0)
    return "";
  return name.substr(prefix.size(), name.size() - prefix.size() - kSuffix.size());
}

}  // namespace

DiskPool::DiskPool(Options options) : options_(std::move(options)), maker_(options_.dir, options_.mkfs_path) {
  const auto names = list_dir(options_.dir);
  if (!names.ok()) return;
  for (const std::string& name : *names)
    if (!middle(name, "ready-").empty()) ::unlink((options_.dir + "/" + name).c_str());
}

DiskPool::~DiskPool() {
  for (auto& [size, shelf] : shelves_)
    for (Disk& disk : shelf.disks) {
      disk.shut_down();
      ::unlink(disk.image().c_str());
    }
}

Result<Disk> DiskPool::make(DiskSize size, const std::string& image) {
  CHECK_OK(make_dirs(options_.dir, 0700));
  {
    const std::lock_guard lock(master_mutex_);
    CHECK_OK(maker_.prepare(size));
  }
  return maker_.make(size, image);
}

Result<Disk> DiskPool::take(DiskSize size, const std::string& id, std::uint32_t owner) {
  std::optional<Disk> ready;
  std::vector<Disk> dropped;
  {
    const std::lock_guard lock(mutex_);
    Shelf& shelf = shelves_[size];
    shelf.last_used = ++uses_;
    if (!shelf.disks.empty()) {
      ready = std::move(shelf.disks.front());
      shelf.disks.pop_front();
    }
    trim_locked(dropped);
  }
  for (Disk& disk : dropped) ::unlink(disk.image().c_str());
  auto prepare = [&](Disk disk) -> Result<Disk> {
    CHECK_OK(disk.prepare(owner));
    return disk;
  };
  if (ready) {
    const std::string old = ready->image();
    auto disk = ready->rename_image(image_of(id)).ok() ? prepare(std::move(*ready)) : make_error(Errc::internal, "");
    if (disk.ok()) return disk;
    ::unlink(old.c_str());  // somebody touched it: a new one then
    ::unlink(image_of(id).c_str());
  }
  TRY(Disk disk, make(size, image_of(id)));
  return prepare(std::move(disk));
}

void DiskPool::trim_locked(std::vector<Disk>& dropped) {
  while (shelves_.size() > options_.sizes_max) {
    auto oldest = shelves_.begin();
    for (auto it = shelves_.begin(); it != shelves_.end(); ++it)
      if (it->second.last_used < oldest->second.last_used) oldest = it;
    for (Disk& disk : oldest->second.disks) dropped.push_back(std::move(disk));
    shelves_.erase(oldest);
  }
}

Status DiskPool::refill(DiskSize size) {
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      const auto shelf = shelves_.find(size);
      if (shelf == shelves_.end() && shelves_.size() >= options_.sizes_max) return ok();  // trimmed meanwhile
      if (shelves_[size].disks.size() + shelves_[size].in_making >= options_.ready_per_size) return ok();
      ++shelves_[size].in_making;
    }
    auto disk = make(size, options_.dir + "/ready-" + random_id(12) + std::string(kSuffix));
    const std::lock_guard lock(mutex_);
    Shelf& shelf = shelves_[size];
    if (shelf.in_making > 0) --shelf.in_making;  // 0: the shelf was trimmed and made anew meanwhile
    if (!disk.ok()) return std::move(disk).error();
    shelf.disks.push_back(std::move(*disk));
  }
}

Status DiskPool::discard(const std::string& id, Disk disk, int within_ms) const {
  const std::string image = image_of(id);
  if (!exists(image) && !disk.valid()) return ok();
  if (!disk.valid()) {
    auto found = Disk::reopen(image);
    if (found.ok()) disk = std::move(*found);
  }
  const std::string device = disk.device();
  disk.shut_down();
  disk = Disk();
  if (::unlink(image.c_str()) != 0 && errno != ENOENT) return os_error("unlink", image);
  // The last mount goes with the last process's exit, which the kernel finishes in the background.
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(within_ms);
  for (const timespec pause{0, 500'000}; !device.empty() && loop_has(device, image);) {
    if (std::chrono::steady_clock::now() >= until)
      return make_error(Errc::deadline, device + " still has " + image + " after " + std::to_string(within_ms) +
                                            " ms: something still uses the disk");
    ::nanosleep(&pause, nullptr);
  }
  return ok();
}

std::vector<std::string> DiskPool::ids() const {
  std::vector<std::string> out;
  const auto names = list_dir(options_.dir);
  if (!names.ok()) return out;
  for (const std::string& name : *names)
    if (std::string id = middle(name, "id-"); !id.empty()) out.push_back(std::move(id));
  return out;
}

std::size_t DiskPool::ready(DiskSize size) const {
  const std::lock_guard lock(mutex_);
  const auto shelf = shelves_.find(size);
  return shelf == shelves_.end() ? 0 : shelf->second.disks.size();
}

}  // namespace atl::rootfs
