#include "atolld/options.h"

#include <CLI/CLI.hpp>

#include "tls/identity.h"

namespace atl::atolld {
namespace {

void add_options(CLI::App& app, Config& c, Invocation& call) {
  app.add_option("--root", c.paths.root, "Folder of all that is kept")->capture_default_str();
  app.add_option("--run,--run-dir", c.paths.run, "Folder of sockets and pid files")->capture_default_str();
  app.add_option("--listen", c.listen_host, "Address that clients connect to")->capture_default_str();
  app.add_option("--port", c.listen_port, "Port that clients connect to; 0 = any free one")
      ->capture_default_str();
  app.add_option("--domain", c.domain,
                 "Domain mode: serve https://api.DOMAIN and https://{port}-{id}.DOMAIN, with TLS");
  app.add_option("--tls-listen", c.tls_listen_host, "Address of domain mode; * = all")->capture_default_str();
  app.add_option("--tls-port", c.tls_port, "Port of domain mode")->check(CLI::Range(1, 65535))->capture_default_str();
  app.add_option("--tls-certificate", c.tls_certificate,
                 "PEM chain for *.DOMAIN; without it, a local authority makes one");
  app.add_option("--tls-key", c.tls_key, "Its private key: root's, readable by root alone");
  app.add_option("--api-uid", c.api_uid, "User of the api role")->capture_default_str();
  app.add_option("--edge-uid", c.edge_uid, "User of the edge role")->capture_default_str();
  app.add_option("--uid-first", c.uid_first, "First host id for sandboxes")->capture_default_str();
  app.add_option("--uid-ranges", c.uid_ranges, "How many ranges of 65536 ids sandboxes may have")
      ->check(CLI::Range(16u, 32768u))
      ->capture_default_str();
  app.add_option("--instance", c.instance, "Name in cgroups, so that two instances on one host never meet")
      ->capture_default_str();
  app.add_option("--agent", c.agent_path, "The static atoll-agent")->capture_default_str();
  app.add_option("--crun", c.crun_path, "crun, for the tier container")->capture_default_str();
  app.add_option("--runc", c.runc_path, "runc")->capture_default_str();
  app.add_option("--qemu", c.qemu_path, "QEMU, for the tier microvm")->capture_default_str();
  app.add_option("--jail", c.jail_path, "atoll-jail, which confines QEMU")->capture_default_str();
  app.add_option("--guest-kernel", c.guest_kernel_dir, "Folder of the microvms' kernel; found where it is not given");
  app.add_flag("--microvm-slow", c.microvm_slow, "Let QEMU emulate the CPU for the tier microvm where KVM does not work");
  app.add_option("--runsc", c.runsc_path, "runsc, for the tier gvisor; found where it is not given");
  app.add_flag("--verbose", call.verbose, "Log more");
  app.set_config("--config", "", "File with these options in INI or TOML form");
}

std::vector<std::string> arguments_of(const Config& c, bool verbose) {
  std::vector<std::string> out{"--root",       c.paths.root,
                               "--run-dir",    c.paths.run,
                               "--listen",     c.listen_host,
                               "--port",       std::to_string(c.listen_port),
                               "--api-uid",    std::to_string(c.api_uid),
                               "--edge-uid",   std::to_string(c.edge_uid),
                               "--uid-first",  std::to_string(c.uid_first),
                               "--uid-ranges", std::to_string(c.uid_ranges),
                               "--instance",   c.instance,
                               "--agent",      c.agent_path,
                               "--crun",       c.crun_path,
                               "--runc",       c.runc_path,
                               "--qemu",       c.qemu_path,
                               "--jail",       c.jail_path};
  if (!c.runsc_path.empty()) out.insert(out.end(), {"--runsc", c.runsc_path});
  // The certificate's files are the supervisor's business: no role opens them.
  if (!c.domain.empty())
    out.insert(out.end(), {"--domain", c.domain, "--tls-listen", c.tls_listen_host, "--tls-port",
                           std::to_string(c.tls_port)});
  if (!c.guest_kernel_dir.empty()) out.insert(out.end(), {"--guest-kernel", c.guest_kernel_dir});
  if (c.microvm_slow) out.push_back("--microvm-slow");
  if (verbose) out.push_back("--verbose");
  return out;
}

std::string tls_problem_with(const Config& c) {
  if (c.tls_certificate.empty() != c.tls_key.empty()) return "--tls-certificate and --tls-key go together";
  if (c.domain.empty()) return c.tls_certificate.empty() ? "" : "--tls-certificate needs --domain";
  const auto domain = tls::check_domain(c.domain);
  return domain.ok() ? "" : domain.error().message;
}

std::string problem_with(const Config& c) {
  for (const std::string* path : {&c.paths.root, &c.paths.run, &c.agent_path})
    if (path->empty() || path->front() != '/') return "\"" + *path + "\": paths must be absolute";
  // The longest name in it must fit a Unix socket's address.
  if (c.paths.run.size() > 80) return "--run-dir: at most 80 bytes, because sockets lie in it";
  if (c.api_uid == 0 || c.edge_uid == 0 || c.api_uid == c.edge_uid)
    return "--api-uid and --edge-uid must differ, and neither may be 0: the roles are kept apart by them";
  const bool named =
      !c.instance.empty() && c.instance.size() <= 32 &&
      c.instance.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
  if (!named) return "--instance: 1 to 32 of [a-z0-9-]";
  if (c.uid_first < 65536 || c.uid_first + static_cast<std::uint64_t>(c.uid_ranges) * 65536 > 0xfffffffeull)
    return "--uid-first and --uid-ranges: ids from 65536 to 4294967294 only";
  return tls_problem_with(c);
}

}  // namespace

std::optional<Invocation> parse_command_line(int argc, char** argv, int& exit_status) {
  Invocation call;
  CLI::App app("atolld: runs sandboxes on this machine", "atolld");
  app.require_subcommand(1);
  app.fallthrough();
  add_options(app, call.config, call);
  auto* run = app.add_subcommand("run", "Start all roles and keep them running");
  auto* role = app.add_subcommand("role", "Be one role; the supervisor starts it so");
  role->add_option("name", call.role, "node, api or edge")
      ->required()
      ->check(CLI::IsMember({"node", "api", "edge"}));
  role->add_option("--parent", call.parent, "Pid of the supervisor");
  auto* bootstrap =
      app.add_subcommand("bootstrap", "Make the first project and its key, in credentials.json");
  auto* authority = app.add_subcommand(
      "tls-authority", "Make the local authority and certificate of --domain; atolld run does it too");
  role->add_option("--supervisor", call.supervisor, "Descriptor of the edge's socket to the supervisor");
  app.add_subcommand("probe", "Try which tiers work here, as JSON");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    exit_status = app.exit(error) == 0 ? 0 : 2;
    return std::nullopt;
  }
  if (const std::string problem = problem_with(call.config); !problem.empty()) {
    fprintf(stderr, "atolld: %s\n", problem.c_str());
    exit_status = 2;
    return std::nullopt;
  }
  call.action = run->parsed()         ? Action::run
                : role->parsed()      ? Action::role
                : bootstrap->parsed() ? Action::bootstrap
                : authority->parsed() ? Action::tls_authority
                                      : Action::probe;
  call.config_arguments = arguments_of(call.config, call.verbose);
  return call;
}

}  // namespace atl::atolld
