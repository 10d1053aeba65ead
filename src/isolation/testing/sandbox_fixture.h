#pragma once
#include <gtest/gtest.h>

#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <string>

#include "isolation/driver.h"
#include "rootfs/disk_pool.h"

namespace atl::isolation::testing {

enum class Kind { fake, container, gvisor, microvm, clone };  // microvm: each boots
std::string name(Kind kind);

// The host's end of one sandbox's channel.
class Channel {
 public:
  // Makes `dir`/channel.sock and listens.
  explicit Channel(const std::string& dir);
  // Waits for process 1 and reads its preface; "" when none came in time.
  std::string accept_preface();
  // Sends the line to the test agent and returns its answer; "" when the channel broke.
  std::string ask(const std::string& line);

 private:
  UniqueFd listener_, stream_;
};

// A folder of its own, a pool, and one driver of the kind asked; ends what the test started.
class World {
 public:
  explicit World(Kind kind);
  // The world of another process: its folder is used as it is, and nothing is removed at the end.
  World(Kind kind, std::string instance);
  ~World();
  World(const World&) = delete;

  // Why this machine cannot run the kind; nullopt when it can.
  static std::optional<std::string> missing(Kind kind);

  Spec spec(const std::string& id);
  Result<Started> start(Spec spec);
  Status destroy(const std::string& id);
  // A new driver object, as after the node's restart.
  void restart_driver();
  Driver& driver() { return *driver_; }
  Channel& channel(const std::string& id) { return *channels_.at(id); }
  const std::string& dir() const { return dir_; }
  const std::string& instance() const { return instance_; }
  template <class T>
  T wait(Task<T> task);
  // What of the id is still on this host: one text for each thing.
  std::vector<std::string> traces_of(const std::string& id);

 private:
  void make_template();
  void open_vm_driver();
  Kind kind_;
  std::string instance_, dir_;
  bool own_ = true;
  asio::thread_pool pool_{2};
  std::shared_ptr<rootfs::DiskPool> disks_;
  std::unique_ptr<Driver> driver_;
  std::map<std::string, std::unique_ptr<Channel>> channels_;
  std::map<std::string, std::uint32_t> uid_bases_;
  std::vector<std::string> started_;
};

template <class T>
T World::wait(Task<T> task) {
  asio::io_context loop;
  std::optional<T> result;
  auto keep = [](Task<T> inner, std::optional<T>& into) -> Task<void> { into.emplace(co_await std::move(inner)); };
  spawn(loop.get_executor(), "test", keep(std::move(task), result));
  loop.run();
  return std::move(result.value());
}

}  // namespace atl::isolation::testing
