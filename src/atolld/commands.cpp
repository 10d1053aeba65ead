#include "atolld/commands.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "atolld/folders.h"
#include "atolld/privileges.h"
#include "atolld/supervisor.h"
#include "base/crypto.h"
#include "base/fs.h"
#include "base/json.h"
#include "control/role.h"
#include "edge/role.h"
#include "node/probe.h"
#include "node/role.h"
#include "tls/authority.h"

namespace atl::atolld {
namespace {

int fail(const Error& error) {
  std::fprintf(stderr, "atolld: %s\n", error.message.c_str());
  return 1;
}

// The store is the api's own, so the work is done by its user in a child, and the key comes back
// through a pipe. "" = there is a project already.
Result<std::string> key_as_api(const Config& config) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return os_error("pipe2", "");
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return os_error("fork", "");
  if (pid == 0) {
    const auto become = become_role("bootstrap", Power::none, config.api_uid, 0);
    if (!become.ok()) ::_exit(fail(become.error()));
    const auto key = control::bootstrap_default_project(config);
    if (!key.ok()) ::_exit(fail(key.error()));
    const bool written =
        ::write(write_end.get(), key->data(), key->size()) == static_cast<ssize_t>(key->size());
    ::_exit(written ? 0 : 1);
  }
  write_end.reset();
  std::string key;
  char buffer[256];
  for (ssize_t n; (n = ::read(read_end.get(), buffer, sizeof buffer)) > 0;)
    key.append(buffer, static_cast<std::size_t>(n));
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0)
    return make_error(Errc::internal, "bootstrap failed as user " + std::to_string(config.api_uid));
  return key;
}

Result<bool> make_credentials(const Config& config) {
  if (::geteuid() != 0)
    return make_error(Errc::denied, "atolld bootstrap needs root: credentials.json is root's");
  CHECK_OK(prepare_folders(config));
  TRY(std::string key, key_as_api(config));
  if (key.empty()) return false;
  const std::string text = json::serialize(json::object{{"project", "default"}, {"apiKey", key}}) + "\n";
  CHECK_OK(write_file_atomic(config.paths.credentials_file(), text, 0600));
  return true;
}

}  // namespace

int run_role(const Invocation& call) {
  const Power power = call.role == "node" ? Power::root : Power::none;
  const std::uint32_t uid = call.role == "api" ? call.config.api_uid : call.config.edge_uid;
  if (const auto ready = become_role(call.role, power, uid, call.parent); !ready.ok()) {
    log_error("role cannot start", {{"error", ready.error().message}});
    return 1;
  }
  if (call.role == "node") return node::run_node(call.config);
  if (call.role == "api") return control::run_api(call.config);
  return edge::run_edge(call.config, UniqueFd(call.supervisor));
}

int bootstrap(const Config& config) {
  const auto made = make_credentials(config);
  if (!made.ok()) return fail(made.error());
  const std::string path = config.paths.credentials_file();
  if (*made)
    std::printf("project default made, its key is in %s\n", path.c_str());
  else
    std::printf("there is a project already; its key, if kept, is in %s\n", path.c_str());
  return 0;
}

int tls_authority(const Config& config) {
  if (config.domain.empty()) return fail(make_error(Errc::invalid, "tls-authority needs --domain"));
  if (::geteuid() != 0) return fail(make_error(Errc::denied, "atolld tls-authority needs root: its keys are root's"));
  const tls::AuthorityFiles files{config.paths.tls_dir(config.domain)};
  const auto made = tls::ensure_local_identity(files, config.domain, std::chrono::system_clock::now());
  if (!made.ok()) return fail(made.error());
  std::printf("%s the certificate for *.%s\nclients trust it with SSL_CERT_FILE=%s (Python) or "
              "NODE_EXTRA_CA_CERTS=%s (Node)\n",
              *made ? "made" : "kept", config.domain.c_str(), files.ca_certificate().c_str(),
              files.ca_certificate().c_str());
  return 0;
}

int atolld_main(int argc, char** argv) {
  int status = 0;
  const auto call = parse_command_line(argc, argv, status);
  if (!call) return status;
  ::signal(SIGPIPE, SIG_IGN);
  ::umask(0022);
  crypto_init();
  const std::string name = call->action == Action::role ? call->role : "supervisor";
  log_configure(name, call->verbose ? Level::debug : Level::info);
  switch (call->action) {
    case Action::run:
      return Supervisor(call->config, call->config_arguments).run();
    case Action::role:
      return run_role(*call);
    case Action::bootstrap:
      return bootstrap(call->config);
    case Action::tls_authority:
      return tls_authority(call->config);
    case Action::probe:
      return node::run_probe(call->config);
  }
  return 2;
}

}  // namespace atl::atolld
