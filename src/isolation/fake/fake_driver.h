#pragma once
#include <boost/asio/thread_pool.hpp>
#include <string>

#include "isolation/driver.h"

namespace atl::isolation {

// Runs the real agent as an ordinary process of this user: no root, no isolation, no limits, the
// host's own file system. For tests of all that lies above the drivers; its receipt says
// `"driver":"fake"` and that nothing is enforced. The node offers it only where it was asked to by
// name, and never as a tier of strangers' code.
//
// It keeps no state: a sandbox's process is found by its second argument, fake-sandbox:INSTANCE:ID.
class FakeDriver final : public Driver {
 public:
  struct Options {
    Tier tier = Tier::container;        // the tier it stands in for
    std::string instance = "main";      // [a-z0-9]+
    std::string agent_path;             // for probe()
    asio::thread_pool* pool = nullptr;  // borrowed; outlives the driver
  };
  explicit FakeDriver(Options options) : options_(std::move(options)) {}

  Tier tier() const override { return options_.tier; }
  Task<Probe> probe() override;
  Task<Result<Started>> start(Spec spec) override;
  Task<Status> kill(std::string id) override;
  Task<Status> destroy(std::string id) override;
  Task<Result<Started>> adopt(Spec spec, ProcessId init) override;
  Task<std::vector<std::string>> leftovers() override;
  Task<Result<Usage>> usage(std::string id) override;

 private:
  std::string prefix() const { return "fake-sandbox:" + options_.instance + ":"; }
  std::string mark_of(const std::string& id) const { return prefix() + id; }
  std::vector<pid_t> roots_of(const std::string& id) const;
  Started started(const Spec& spec, ProcessId init) const;
  Result<Started> start_now(const Spec& spec) const;
  Status destroy_now(const std::string& id) const;
  Result<Started> adopt_now(const Spec& spec, ProcessId init) const;
  std::vector<std::string> leftovers_now() const;
  Result<Usage> usage_now(const std::string& id) const;

  const Options options_;
};

}  // namespace atl::isolation
