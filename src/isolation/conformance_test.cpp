#include "isolation/testing/sandbox_fixture.h"

namespace atl::isolation {
namespace {

using testing::Kind;
using testing::World;

class Conformance : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (auto gone = World::missing(GetParam())) {
      if (std::getenv("STRICT")) FAIL() << "needs " << *gone;
      GTEST_SKIP() << "needs " << *gone;
    }
    world.emplace(GetParam());
  }
  std::optional<World> world;
};

TEST_P(Conformance, ProcessOneAnswersOnItsChannel) {
  Spec spec = world->spec("a1");
  const std::string token = parse_json(spec.boot_config)->at("bootToken").as_string().c_str();
  const auto started = world->start(spec);
  ASSERT_TRUE(started.ok()) << started.error().message;
  EXPECT_EQ(world->channel("a1").accept_preface(), token);
  EXPECT_TRUE(is_alive(started->init));
  EXPECT_TRUE(world->destroy("a1").ok());
  EXPECT_EQ(world->traces_of("a1"), std::vector<std::string>{});
}

INSTANTIATE_TEST_SUITE_P(Drivers, Conformance, ::testing::Values(Kind::fake, Kind::container, Kind::gvisor),
                         [](const auto& info) { return testing::name(info.param); });

}  // namespace
}  // namespace atl::isolation
