#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdlib>

#include "base/fs.h"
#include "cli/commands.h"
#include "cli/copier.h"
#include "cli/copy_place.h"
#include "cli/exits.h"

namespace atl::cli {
namespace {

bool is_folder(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// The name a host path goes by, also for "." and "..".
std::string host_name(const std::string& path) {
  if (std::string name = base_name(path); !name.empty()) return name;
  const std::unique_ptr<char, void (*)(void*)> whole(::realpath(path.c_str(), nullptr), std::free);
  return whole ? base_name(whole.get()) : "";
}

// As cp does: into a folder that exists (or is named with a slash), else to that very name.
Task<Result<std::string>> remote_target(AgentClient& agent, const std::string& path, const std::string& name) {
  if (path.empty() || path.ends_with('/')) co_return join_path(path, name);
  const auto found = co_await agent.stat(path);
  if (found.ok() && found->is_directory) co_return join_path(path, name);
  if (!found.ok() && found.error().code != Errc::not_found) co_return found.error();
  co_return path;
}

Task<Status> upload(Copier& copier, AgentClient& agent, const std::string& source, const std::string& destination) {
  struct stat info {};
  if (::stat(source.c_str(), &info) != 0) co_return os_error("open", source);
  // "folder/." means what is in it.
  if (S_ISDIR(info.st_mode) && (source.ends_with("/.") || source == "."))
    co_return co_await copier.upload_tree(source, destination);
  CO_TRY(const std::string into, co_await remote_target(agent, destination, host_name(source)));
  if (S_ISDIR(info.st_mode)) co_return co_await copier.upload_tree(source, into);
  co_return co_await copier.upload_file(source, into);
}

struct HostTarget {
  UniqueFd folder;
  std::string name;
};

Result<HostTarget> host_target(const std::string& path, const std::string& remote_name) {
  HostTarget target;
  if (is_folder(path)) {
    if (!is_safe_name(remote_name))
      return make_error(Errc::invalid, fmt::format("the source has no name of its own; name the copy: {}/NAME", path));
    TRY(target.folder, open_fd(path, O_RDONLY | O_DIRECTORY));
    target.name = remote_name;
    return target;
  }
  target.name = base_name(path);
  if (path.ends_with('/') || target.name.empty())
    return make_error(Errc::not_found, fmt::format("the folder {} does not exist", path));
  std::string parent = path.substr(0, path.size() - target.name.size());
  if (parent.empty()) parent = ".";
  TRY(target.folder, open_fd(parent, O_RDONLY | O_DIRECTORY));
  return target;
}

Task<Status> download(Copier& copier, AgentClient& agent, const std::string& source, const std::string& destination) {
  CO_TRY(const RemoteFile file, co_await agent.stat(source));
  const std::string name = base_name(source).empty() ? base_name(file.path) : base_name(source);
  if (!file.is_directory) {
    CO_TRY(const HostTarget target, host_target(destination, name));
    co_return co_await copier.download_file(source, target.folder.get(), target.name, file.mode);
  }
  if (source.ends_with("/.") && is_folder(destination)) {
    CO_TRY(UniqueFd folder, open_fd(destination, O_RDONLY | O_DIRECTORY));
    co_return co_await copier.download_tree(source, std::move(folder), 0);
  }
  CO_TRY(const HostTarget target, host_target(destination, name));
  CO_TRY(UniqueFd folder, open_or_make_folder(target.folder.get(), target.name));
  co_return co_await copier.download_tree(source, std::move(folder), 0);
}

Task<Status> copy(Copier& copier, AgentClient& agent, const CopyPlace& from, const CopyPlace& to) {
  using Kind = CopyPlace::Kind;
  if (from.kind == Kind::sandbox) {
    if (to.kind == Kind::stream) co_return co_await copier.download_output(from.path);
    co_return co_await download(copier, agent, from.path, to.path);
  }
  if (from.kind == Kind::host) co_return co_await upload(copier, agent, from.path, to.path);
  if (base_name(to.path).empty() || to.path.ends_with('/'))
    co_return make_error(Errc::invalid, "standard input has no name: write ID:PATH with the file's name");
  co_return co_await copier.upload_input(to.path);
}

}  // namespace

Task<Result<int>> execute(Context& context, CopyOptions options) {
  CO_TRY(const CopyPlace from, CopyPlace::parse(options.source));
  CO_TRY(const CopyPlace to, CopyPlace::parse(options.destination));
  const bool from_sandbox = from.kind == CopyPlace::Kind::sandbox;
  if (from_sandbox == (to.kind == CopyPlace::Kind::sandbox)) {
    co_await context.note(from_sandbox ? "cp copies between this machine and one sandbox; for two sandboxes: atoll cp "
                                         "A:PATH - | atoll cp - B:PATH"
                                       : "neither side is ID:PATH; cp copies between this machine and a sandbox");
    co_return kExitUsage;
  }
  CO_TRY(const auto backend, context.connect());
  CO_TRY(const SandboxAccess access, co_await backend->access(from_sandbox ? from.id : to.id));
  auto agent = std::make_shared<AgentClient>(backend, access, options.user);
  Copier copier(context, agent);
  const Status copied = co_await copy(copier, *agent, from, to);
  const Status finished = co_await copier.finish();
  if (context.interrupts.received() != 0) co_return 128 + context.interrupts.received();
  if (!copied.ok()) co_return copied.error();
  if (!finished.ok()) co_return finished.error();
  co_return copier.skipped() == 0 ? kExitOk : kExitOther;
}

}  // namespace atl::cli
