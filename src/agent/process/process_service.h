#pragma once
#include <memory>
#include <optional>
#include <string_view>

#include "agent/codec.h"
#include "agent/context.h"
#include "agent/process/process_table.h"
#include "agent/reaper.h"

namespace atl::agent {

// E2B's process service (proto/process.proto): /process.Process/<Rpc>. A client that goes away
// ends its own stream only; commands go on.
class ProcessService {
 public:
  // `open_files` is RLIMIT_NOFILE as commands shall have it; the agent raises its own.
  ProcessService(AgentContext& context, Reaper& reaper, ProcessTimes times, std::optional<rlimit> open_files);

  Task<void> handle_rpc(rpc::Exchange& exchange, std::string_view method, Codec codec);

 private:
  using Deadline = std::optional<Wakeup::TimePoint>;

  Task<void> list(rpc::Exchange& exchange, Codec codec);
  Task<void> start(rpc::Exchange& exchange, Codec codec);
  Task<void> connect(rpc::Exchange& exchange, Codec codec);
  Task<void> update(rpc::Exchange& exchange, Codec codec);
  Task<void> send_input(rpc::Exchange& exchange, Codec codec);
  Task<void> stream_input(rpc::Exchange& exchange, Codec codec);
  Task<void> send_signal(rpc::Exchange& exchange, Codec codec);
  Task<void> close_stdin(rpc::Exchange& exchange, Codec codec);

  Task<Result<std::shared_ptr<Process>>> launch(::process::StartRequest request, std::string user);
  Task<Status> apply_input_stream(rpc::Exchange& exchange, Codec codec);
  Task<Status> write(std::shared_ptr<Process> process, const ::process::ProcessInput& input,
                     Wakeup::TimePoint deadline, std::shared_ptr<const bool> gone);
  Deadline deadline_of(const rpc::Exchange& exchange) const;

  AgentContext& context_;
  Reaper& reaper_;
  ProcessTimes times_;
  std::optional<rlimit> open_files_;
  ProcessTable table_;
  // Of its own: a file request that hangs on a guest's own file system must not stop commands.
  asio::thread_pool starters_{2};
};

}  // namespace atl::agent
