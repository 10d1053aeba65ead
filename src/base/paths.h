#pragma once
#include <string>

namespace atl {

// Every on-disk name in one place; nobody else joins path pieces.
//
//   <root>                      /var/lib/atoll
//   |-- store/                  api's own: atoll.db, seed (32 bytes, mode 0600)
//   |-- credentials.json        root's, mode 0600: the first project's API key, for `atoll env`
//   |-- templates/NAME/         template.json
//   |-- layers/ID/              one layer's tree, read-only once complete; ID.tmp-* while being made
//   |-- guest/                  microVMs: kernel/ (made by setup), initramfs-*.cpio, image-*.erofs
//   |-- runtimes/runsc          built by setup where the machine has none
//   |-- tls/DOMAIN/             the local authority: ca.pem (for clients), cert.pem; ca.key, key.pem (0600)
//   `-- node/                   root's, mode 0700
//       |-- sandboxes/ID/       journal.json, boot.log, channel/channel.sock, bundle/ ...
//       `-- disks/              disk images, ready and in use
//   <run>                       /run/atoll
//   |-- api/api.sock            edge -> api, HTTP/1.1; api's own folder, since it binds without privilege
//   |-- node.sock               api -> node, proto/node.proto
//   |-- channels.sock           node -> edge, descriptors
//   |-- edge/endpoint           host:port that the edge listens on, written when it does; edge's own folder
//   |-- endpoint                a link to it
//   `-- ROLE.pid, atolld.pid    pid and start time
struct Paths {
  std::string root = "/var/lib/atoll";
  std::string run = "/run/atoll";

  std::string store_dir() const { return root + "/store"; }
  std::string store_file() const { return store_dir() + "/atoll.db"; }
  std::string seed_file() const { return store_dir() + "/seed"; }
  std::string credentials_file() const { return root + "/credentials.json"; }
  std::string templates_dir() const { return root + "/templates"; }
  std::string template_dir(const std::string& name) const { return templates_dir() + "/" + name; }
  std::string layers_dir() const { return root + "/layers"; }
  std::string guest_dir() const { return root + "/guest"; }
  std::string guest_kernel_dir() const { return guest_dir() + "/kernel"; }
  std::string runtimes_dir() const { return root + "/runtimes"; }
  std::string tls_dir(const std::string& domain) const { return root + "/tls/" + domain; }
  std::string node_dir() const { return root + "/node"; }
  std::string sandboxes_dir() const { return node_dir() + "/sandboxes"; }
  std::string sandbox_dir(const std::string& id) const { return sandboxes_dir() + "/" + id; }
  std::string disks_dir() const { return node_dir() + "/disks"; }

  std::string api_run_dir() const { return run + "/api"; }
  std::string edge_run_dir() const { return run + "/edge"; }
  std::string api_socket() const { return api_run_dir() + "/api.sock"; }
  std::string node_socket() const { return run + "/node.sock"; }
  std::string channels_socket() const { return run + "/channels.sock"; }
  std::string endpoint_file() const { return edge_run_dir() + "/endpoint"; }
  std::string endpoint_link() const { return run + "/endpoint"; }
  std::string pid_file(const std::string& role) const { return run + "/" + role + ".pid"; }
};

}  // namespace atl
