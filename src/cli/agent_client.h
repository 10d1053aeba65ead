#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "cli/backend.h"
#include "rpc/connect.h"
#include "rpc/message.h"

namespace atl::cli {

struct TerminalSize {
  std::uint32_t columns = 80, rows = 24;
};

struct ProcessSpec {
  std::vector<std::string> argv;  // not empty
  Pairs env;
  std::string cwd;                // "" = the template's
  bool stdin_open = false;
  std::optional<TerminalSize> terminal;
  std::optional<std::int64_t> timeout_s;  // then the agent ends it, and the stream with Errc::deadline
};

struct ProcessStarted { std::uint32_t pid = 0; };
enum class OutputKind : std::uint8_t { out, err, terminal };
struct ProcessOutput { OutputKind kind; std::string bytes; };
struct ProcessEnded {
  int exit_code = 0;
  bool exited = true;
  std::string status, error;
};
using ProcessEvent = std::variant<ProcessStarted, ProcessOutput, ProcessEnded>;

// The events of one process, in order; destruction drops the connection and leaves the process
// running. Must not outlive the AgentClient that made it.
class ProcessStream {
 public:
  ProcessStream(std::unique_ptr<rpc::ClientExchange> exchange, std::string what);
  // The next event; an Error where the stream broke or the agent reported a failure.
  Task<Result<ProcessEvent>> next();
  // Makes a waiting next() return with an error.
  void cancel() { exchange_->cancel(); }

 private:
  std::unique_ptr<rpc::ClientExchange> exchange_;
  rpc::EnvelopeReader reader_;
  std::string what_;
};

struct RemoteFile {
  std::string name, path;
  bool is_directory = false, is_link = false, is_regular = false;
  std::uint64_t size = 0;
  std::uint32_t mode = 0;  // permission bits, of a link's target
};

// The agent of one sandbox, through the daemon's data plane. What it answers comes from the
// sandbox: hostile bytes.
class AgentClient {
 public:
  AgentClient(std::shared_ptr<Backend> backend, SandboxAccess sandbox, std::string user)
      : backend_(std::move(backend)), sandbox_(std::move(sandbox)), user_(std::move(user)) {}

  Task<Result<std::unique_ptr<ProcessStream>>> start(const ProcessSpec& spec);
  // not_found: the process has ended.
  Task<Status> send_input(std::uint32_t pid, std::string_view bytes, bool to_terminal);
  Task<Status> close_input(std::uint32_t pid);
  Task<Status> resize(std::uint32_t pid, TerminalSize size);
  Task<Status> signal(std::uint32_t pid, int number);  // SIGTERM, SIGKILL, or SIGINT to its whole group

  Task<Result<RemoteFile>> stat(const std::string& path);
  Task<Result<std::vector<RemoteFile>>> list(const std::string& path);  // one level
  Task<Status> make_dir(const std::string& path);                       // with parents; existing is fine

  struct Download {
    std::unique_ptr<rpc::ClientExchange> body;
    std::optional<std::uint64_t> bytes;
  };
  Task<Result<Download>> download(const std::string& path);
  // Write the file's bytes, then finish_upload.
  Task<Result<std::unique_ptr<rpc::ClientExchange>>> upload(const std::string& path,
                                                            std::optional<std::uint64_t> bytes);
  Task<Status> finish_upload(rpc::ClientExchange& exchange, const std::string& path);

  const SandboxAccess& sandbox() const { return sandbox_; }
  Backend& backend() { return *backend_; }

 private:
  rpc::RequestHead head(std::string method, std::string target) const;
  Task<Result<std::string>> unary(std::string rpc_path, std::string message);
  std::string files_target(const std::string& path) const;
  Task<Result<rpc::ReplyHead>> checked_head(rpc::ClientExchange& exchange, const std::string& what);

  std::shared_ptr<Backend> backend_;
  SandboxAccess sandbox_;
  std::string user_;
};

}  // namespace atl::cli
