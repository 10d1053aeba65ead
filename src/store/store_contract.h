#pragma once
#include <gtest/gtest.h>

#include <functional>

#include "store/store.h"

namespace atl::store::testing {

// What every implementation of Store must do. `open` gives the same durable database each time, so
// that a second call is a restart; the first is empty.
struct Backend {
  virtual ~Backend() = default;
  virtual Result<std::unique_ptr<Store>> open() = 0;
};

Project a_project(const std::string& id);
ApiKey a_key(const std::string& id, const std::string& project_id);
Sandbox a_sandbox(const std::string& id, const std::string& project_id);

using MakeBackend = std::function<std::unique_ptr<Backend>()>;
class StoreContract : public ::testing::TestWithParam<MakeBackend> {
 protected:
  void SetUp() override;
  void restart();
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Store> store_;
};

}  // namespace atl::store::testing
