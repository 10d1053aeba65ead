#include "rootfs/root.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"

namespace atl::rootfs {
namespace {

std::string by_descriptor(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

struct Attached {
  Mount mount;
  UniqueFd root;  // names it in overlay's options, whose length is bounded by a page
};

// Kernels before 6.14 or so refuse a detached mount as a layer, so each is attached for as long as
// the overlay's mount call takes; the overlay then has its own copy.
Result<Attached> attach_at(int mount_fd, const std::string& path) {
  CHECK_OK(make_dirs(path, 0711));
  TRY(Mount mount, attach(mount_fd, path));
  TRY(UniqueFd root, open_fd(path, O_PATH | O_DIRECTORY));
  return Attached{std::move(mount), std::move(root)};
}

Result<std::vector<Attached>> attach_layers(const Template& from, int user_namespace, const std::string& scratch) {
  std::vector<Attached> layers;
  for (const std::string& tree : from.layers) {
    TRY(const UniqueFd clone, clone_idmapped(tree, user_namespace));
    TRY(Attached layer, attach_at(clone.get(), scratch + "/layers/" + std::to_string(layers.size())));
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace

Result<Mount> mount_root(const Template& from, const Disk& disk, int user_namespace, const std::string& scratch) {
  TRY(const auto layers, attach_layers(from, user_namespace, scratch));
  TRY(const Attached upper, attach_at(disk.mount_fd(), scratch + "/disk"));

  std::string options = "lowerdir=";  // overlay names the highest first
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer)
    options.append(layer == layers.rbegin() ? "" : ":").append(by_descriptor(layer->root.get()));
  const std::string writes = by_descriptor(upper.root.get());
  // volatile: no syncing, since the disk does not outlive the sandbox. It makes fsync inside free.
  options += ",upperdir=" + writes + "/upper,workdir=" + writes + "/work,volatile";
  const std::string target = scratch + "/root";
  CHECK_OK(make_dirs(target, 0711));
  if (::mount("overlay", target.c_str(), "overlay", MS_NODEV, options.c_str()) != 0)
    return os_error("mount overlay", target + " (" + std::to_string(layers.size()) + " layers)");
  return Mount(target);
}

void remove_scratch(const std::string& scratch) {
  std::vector<std::string> folders{scratch + "/root", scratch + "/disk"};
  if (const auto layers = list_dir(scratch + "/layers"); layers.ok())
    for (const std::string& layer : *layers) folders.push_back(scratch + "/layers/" + layer);
  folders.push_back(scratch + "/layers");
  for (const std::string& folder : folders) {
    ::umount2(folder.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    ::rmdir(folder.c_str());  // never a tree: if a mount is still there, its files stay
  }
  ::rmdir(scratch.c_str());
}

}  // namespace atl::rootfs
