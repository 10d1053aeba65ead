#pragma once
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "base/notifier.h"
#include "node/journal.h"

namespace atl::node {

// One reader of the node's events. Too slow a reader is cut off and starts over with a backlog.
struct Subscriber {
  static constexpr std::size_t kQueueMax = 4096;
  std::deque<Record> queue;
  Notifier more;
  bool closed = false;
  bool overflow = false;
};

class Events {
 public:
  static constexpr std::size_t kSubscribersMax = 64;

  std::shared_ptr<Subscriber> subscribe() {
    std::erase_if(subscribers_, [](const auto& weak) { return weak.expired(); });
    if (subscribers_.size() >= kSubscribersMax) return nullptr;
    auto subscriber = std::make_shared<Subscriber>();
    subscribers_.push_back(subscriber);
    return subscriber;
  }
  void publish(const Record& record) {
    for (auto& weak : subscribers_) {
      auto subscriber = weak.lock();
      if (!subscriber || subscriber->closed) continue;
      if (subscriber->queue.size() >= Subscriber::kQueueMax)
        subscriber->overflow = subscriber->closed = true;
      else
        subscriber->queue.push_back(record);
      subscriber->more.notify();
    }
  }
  void close_all() {
    for (auto& weak : subscribers_)
      if (auto subscriber = weak.lock()) {
        subscriber->closed = true;
        subscriber->more.notify();
      }
  }

 private:
  std::vector<std::weak_ptr<Subscriber>> subscribers_;
};

}  // namespace atl::node
