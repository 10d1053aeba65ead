#include "rootfs/template.h"

#include <gtest/gtest.h>

#include "base/crypto.h"
#include "base/fs.h"

namespace atl::rootfs {
namespace {

TEST(Template, ReadsAllFields) {
  const auto read = Template::parse(R"({"name":"base","templateId":"t1","buildId":"b1","layers":["low","high"],
      "defaultUser":"user","defaultWorkdir":"/home/user","env":{"A":"1"},"vcpus":2,"memoryMB":512,"diskMB":1024,
      "tier":"gvisor","createdAt":"2026-01-01T00:00:00Z","startCmd":"s","readyCmd":"r"})", "/l");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->name, "base");
  EXPECT_EQ(read->layers, (std::vector<std::string>{"/l/low", "/l/high"}));
  EXPECT_EQ(read->default_workdir, "/home/user");
  EXPECT_EQ(read->env.at("A"), "1");
  EXPECT_EQ(read->memory_mb, 512);
  EXPECT_EQ(read->tier, "gvisor");
  EXPECT_EQ(read->ready_cmd, "r");
}

TEST(Template, WhatIsNotStatedIsEmpty) {
  const auto read = Template::parse(R"({"layers":["a"],"startCmd":null})", "/l");
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->vcpus, 0);
  EXPECT_EQ(read->start_cmd, "");
}

TEST(Template, RefusesLayersThatAreNoIds) {
  for (const char* text : {R"({"layers":["../../etc"]})", R"({"layers":["a/b"]})", R"({"layers":[""]})",
                           R"({"layers":["A"]})", R"({"layers":["a:b"]})", R"({"layers":[]})", R"({})", R"([])", "",
                           R"({"layers":["a"],"vcpus":-1})", R"({"layers":["a"],"name":7})"}) {
    const auto read = Template::parse(text, "/l");
    ASSERT_FALSE(read.ok()) << text;
    EXPECT_EQ(read.error().code, Errc::invalid) << read.error().message;
  }
}

TEST(Template, RefusesMoreLayersThanAMountTakes) {
  std::string layers;
  for (std::size_t i = 0; i <= kLayersMax; ++i) layers += (i ? ",\"a\"" : "\"a\"");
  EXPECT_FALSE(Template::parse("{\"layers\":[" + layers + "]}", "/l").ok());
}

TEST(Template, AMissingLayerIsNamed) {
  const std::string root = "/tmp/atoll-template-" + random_id(8);
  ASSERT_TRUE(make_dirs(root + "/templates/x", 0700).ok());
  ASSERT_TRUE(make_dirs(root + "/layers/one", 0700).ok());
  EXPECT_EQ(Template::open(root + "/templates/none").error().code, Errc::not_found);
  const std::string file = root + "/templates/x/template.json";
  ASSERT_TRUE(write_file_atomic(file, R"({"layers":["one"]})", 0600).ok());
  EXPECT_TRUE(Template::open(root + "/templates/x").ok());
  EXPECT_TRUE(Template::open(root + "/templates/x/").ok());
  ASSERT_TRUE(write_file_atomic(file, R"({"layers":["one","two"]})", 0600).ok());
  const auto missing = Template::open(root + "/templates/x");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, Errc::not_found);
  EXPECT_NE(missing.error().message.find(root + "/layers/two"), std::string::npos) << missing.error().message;
  EXPECT_TRUE(remove_tree(root).ok());
}

}  // namespace
}  // namespace atl::rootfs
