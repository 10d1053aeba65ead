#pragma once
#include <boost/asio/thread_pool.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/agent_client.h"
#include "cli/context.h"
#include "cli/host_tree.h"
#include "cli/progress.h"

namespace atl::cli {

// Moves file contents between this machine and one sandbox. A signal ends the transfer at hand with
// Errc::conflict and leaves no half-written file on this machine.
class Copier {
 public:
  Copier(Context& context, std::shared_ptr<AgentClient> agent);
  ~Copier();
  Copier(const Copier&) = delete;
  Copier& operator=(const Copier&) = delete;

  // A file or a folder with all in it. `into` is the remote name of the copy itself.
  Task<Status> upload_file(const std::string& host_path, const std::string& into);
  Task<Status> upload_tree(const std::string& host_root, const std::string& into);
  Task<Status> upload_input(const std::string& into);  // standard input

  Task<Status> download_file(const std::string& remote, int folder, const std::string& name, unsigned mode);
  Task<Status> download_tree(const std::string& remote, UniqueFd folder, int depth);
  Task<Status> download_output(const std::string& remote);  // standard output

  // Modes of what was uploaded, links, and the line that says what was done.
  Task<Status> finish();
  // What was left out, each told by finish().
  std::size_t skipped() const { return skipped_count_; }

 private:
  Task<Status> send_file(UniqueFd fd, const std::string& into);
  Task<Status> send_modes();
  Task<Status> send_link(const HostEntry& entry, const std::string& into);
  Task<Status> fetch_link(const std::string& name, const std::string& remote, int folder, int depth);
  Task<Status> download_entry(const RemoteFile& file, const std::string& remote, int folder, int depth);
  Status interrupted() const;
  Error transfer_error(const Error& error) const;
  void skip(const std::string& what, const std::string& why);

  Context& context_;
  std::shared_ptr<AgentClient> agent_;
  asio::thread_pool pool_{1};
  Progress progress_;
  rpc::ClientExchange* current_ = nullptr;  // what a signal cancels
  std::map<unsigned, std::vector<std::string>> modes_;
  std::vector<std::string> skipped_;        // at most 1000 are told, all are counted
  std::size_t skipped_count_ = 0, files_ = 0, entries_ = 0;
};

}  // namespace atl::cli
