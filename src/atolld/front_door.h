#pragma once
#include <array>
#include <chrono>

#include "base/config.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "tls/authority.h"
#include "tls/identity.h"

namespace atl::atolld {

// What domain mode needs of root: the bound port, and certificates with their key, which the edge gets
// through a socket of its own and never from the disk. Keeps the local authority's certificate fresh, and
// passes changed files on. For the supervisor: nothing here waits.
class FrontDoor {
 public:
  static constexpr std::chrono::seconds kLookEvery{2};     // at the files
  static constexpr std::chrono::hours kRenewalEvery{1};    // to think of the local authority's renewal

  explicit FrontDoor(const Config& config);
  bool wanted() const { return !config_.domain.empty(); }

  // Binds the port and reads the identity, once; an error says what to mend.
  Status open();
  // A new edge's end of a new socket, on which listener and identity already wait.
  Result<UniqueFd> connect_edge();
  // Looks at the files; `at_once` = told to (SIGHUP). Files that changed and then stood still are sent.
  void look(std::chrono::system_clock::time_point now, bool at_once);

 private:
  // Of one file; enough to see that it was replaced or written.
  struct Stamp {
    std::uint64_t device = 0, inode = 0, size = 0;
    std::int64_t changed_ns = 0;
    bool operator==(const Stamp&) const = default;
  };
  using Stamps = std::array<Stamp, 2>;

  bool is_local() const { return config_.tls_certificate.empty(); }
  std::string certificate() const;
  std::string key() const;
  Stamps stamps() const;
  void renew(std::chrono::system_clock::time_point now);
  void reload();
  Status send_identity(int to) const;

  Config config_;
  tls::AuthorityFiles authority_;
  UniqueFd listener_;
  UniqueFd edge_;  // our end of the present edge's socket
  tls::Identity identity_;
  Stamps loaded_{}, seen_{};
  std::chrono::system_clock::time_point renewal_at_{};
};

}  // namespace atl::atolld
