#include <chrono>
#include <cstdio>

#include "base/fs.h"
#include "isolation/testing/sandbox_fixture.h"

// Clones of a saved machine: quick, and not taken for each other.
namespace atl::isolation {
namespace {

using testing::Kind;
using testing::World;

class Clones : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto gone = World::missing(Kind::clone)) {
      if (std::getenv("STRICT")) FAIL() << "needs " << *gone;
      GTEST_SKIP() << "needs " << *gone;
    }
    world.emplace(Kind::clone);
    // The first boots, and the machine that is saved for the next is made meanwhile.
    for (int i = 0; i < 60 && from != "clone"; ++i) {
      const std::string id = "warm" + std::to_string(i);
      start(id);
      ASSERT_EQ(world->channel(id).accept_preface().size(), 64u);
      ASSERT_TRUE(world->destroy(id).ok());
      if (from != "clone") ASSERT_TRUE(wait_until_saved());
    }
    ASSERT_EQ(from, "clone") << "no machine was saved in time";
  }
  // A saved machine's disk lies there, and nothing of the one that was saved.
  bool wait_until_saved() {
    const std::string node = world->dir() + "/node";
    const auto until = std::chrono::steady_clock::now() + std::chrono::minutes(3);
    while (std::chrono::steady_clock::now() < until) {
      const auto disks = list_dir(node + "/machine-states"), all = list_dir(node);
      const bool saved = disks.ok() && !disks->empty();
      const auto is_saving = [](const std::string& name) { return name.rfind("savemicrovm", 0) == 0; };
      if (saved && all.ok() && std::none_of(all->begin(), all->end(), is_saving)) return true;
      world->wait(sleep_for(Millis(20)));
    }
    return false;
  }
  void start(const std::string& id) {
    const auto started = world->start(world->spec(id));
    ASSERT_TRUE(started.ok()) << started.error().message;
    from = started->receipt.fields.at("startedFrom").as_string().c_str();
  }
  std::string ask(const std::string& id, const std::string& line) { return world->channel(id).ask(line); }
  std::optional<World> world;
  std::string from;
};

TEST_F(Clones, AreQuickAndNobodysTwin) {
  std::set<std::string> uuids, machines, names;
  std::vector<double> ms;
  constexpr int kClones = 6;
  for (int i = 0; i < kClones; ++i) {
    const std::string id = "c" + std::to_string(i);
    Spec spec = world->spec(id);
    const auto before = std::chrono::steady_clock::now();
    const auto started = world->start(spec);
    ASSERT_TRUE(started.ok()) << started.error().message;
    EXPECT_EQ(started->receipt.fields.at("startedFrom").as_string(), "clone");
    const std::string token = parse_json(spec.boot_config)->at("bootToken").as_string().c_str();
    EXPECT_EQ(world->channel(id).accept_preface(), token);
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before).count());
    uuids.insert(ask(id, "read /proc/sys/kernel/random/uuid"));
    machines.insert(ask(id, "read /etc/machine-id"));
    names.insert(ask(id, "read /etc/hostname"));
    EXPECT_EQ(ask(id, "read /etc-mark"), "upper layer\n");
    // time(): within two seconds of the host's.
    EXPECT_NEAR(std::atof(ask(id, "syscall 201 0 0 0 0 0 0").c_str()), static_cast<double>(::time(nullptr)), 2);
  }
  EXPECT_EQ(uuids.size(), kClones);
  EXPECT_EQ(machines.size(), kClones);
  EXPECT_EQ(names.size(), kClones);
  std::sort(ms.begin(), ms.end());
  std::printf("start of a clone to its preface: %.0f ms (median of %zu; least %.0f, most %.0f)\n", ms[ms.size() / 2],
              ms.size(), ms.front(), ms.back());
}

TEST_F(Clones, KeepWhatTheyWriteToThemselves) {
  start("c0");
  ASSERT_EQ(world->channel("c0").accept_preface().size(), 64u);
  EXPECT_EQ(ask("c0", "write /mine 3"), "3 written 0");
  EXPECT_EQ(ask("c0", "eat 64"), "eaten");  // its memory, which must not be another's
  ask("c0", "syscall 162 0 0 0 0 0 0");
  start("c1");
  EXPECT_EQ(from, "clone");
  ASSERT_EQ(world->channel("c1").accept_preface().size(), 64u);
  EXPECT_EQ(ask("c1", "read /mine"), "errno 2");
  EXPECT_TRUE(world->destroy("c0").ok());
  EXPECT_EQ(world->traces_of("c0"), std::vector<std::string>{});
  EXPECT_EQ(ask("c1", "write /more 3"), "3 written 0");
}

}  // namespace
}  // namespace atl::isolation
