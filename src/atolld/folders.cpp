#include "atolld/folders.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"

namespace atl::atolld {
namespace {

struct Folder {
  std::string path;
  uid_t owner;
  gid_t group;
  mode_t mode;
};

// By descriptor and without following a link: the api and the edge own some of these, and must not
// make root change something else.
Status prepare(const Folder& folder) {
  CHECK_OK(make_dirs(folder.path, 0755));
  TRY(UniqueFd fd, open_fd(folder.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (::fchown(fd.get(), folder.owner, folder.group) != 0) return os_error("chown", folder.path);
  if (::fchmod(fd.get(), folder.mode) != 0) return os_error("chmod", folder.path);
  return ok();
}

Status link_endpoint(const Paths& paths) {
  const std::string link = paths.endpoint_link();
  if (::unlink(link.c_str()) != 0 && errno != ENOENT) return os_error("unlink", link);
  if (::symlink("edge/endpoint", link.c_str()) != 0) return os_error("symlink", link);
  return ok();
}

}  // namespace

Status prepare_folders(const Config& config) {
  const Paths& p = config.paths;
  const Folder folders[] = {
      {p.root, 0, 0, 0755},
      {p.store_dir(), config.api_uid, config.api_uid, 0700},
      {p.templates_dir(), 0, 0, 0755},
      // Layers hold set-uid programs of real ids, so no other user of the host may enter.
      {p.layers_dir(), 0, 0, 0700},
      {p.runtimes_dir(), 0, 0, 0755},
      {p.node_dir(), 0, 0, 0700},
      {p.sandboxes_dir(), 0, 0, 0755},
      {p.disks_dir(), 0, 0, 0700},
      {p.run, 0, 0, 0755},
      // The edge connects to the api's socket; nobody else may.
      {p.api_run_dir(), config.api_uid, config.edge_uid, 0750},
      {p.edge_run_dir(), config.edge_uid, config.edge_uid, 0755},
  };
  for (const Folder& folder : folders) CHECK_OK(prepare(folder));
  return link_endpoint(p);
}

}  // namespace atl::atolld
