// Files through the real agent: this test is the edge.
#include "agent/files/signature.h"
#include "agent/files/testing/files_fixture.h"
#include "agent/testing/edge_harness.h"
#include "rpc/url.h"

namespace atl::agent {
namespace {

using testing::Edge;
using testing::get;
using testing::TempDir;

TEST(FilesOfAgent, TokenSignatureAndSecrets) {
  Edge edge;
  TempDir dir;
  const std::string path = dir / "sub/f.txt", target = "/files?path=" + rpc::percent_encode(path);
  auto up = edge.request("POST", target + "&username=root", "hello", "application/octet-stream");
  EXPECT_EQ(up.status, 200) << up.body;
  EXPECT_EQ(get(path), "hello");
  EXPECT_EQ(edge.request("GET", target).body, "hello");
  auto stat =
      edge.request("POST", "/filesystem.Filesystem/Stat", R"({"path":")" + path + "\"}", "application/json");
  EXPECT_NE(stat.body.find(R"("size":"5")"), std::string::npos) << stat.body;

  // The agent's own environment, memory and boot data are out of reach by any name.
  ASSERT_EQ(::symlink("/proc/self/mem", (dir / "trap").c_str()), 0);
  for (const std::string& trap :
       {dir / "trap", std::string("/proc/self/environ"), std::string("/proc/self/fd/0"),
        "/proc/" + std::to_string(edge.agent()) + "/maps"})
    EXPECT_EQ(edge.request("GET", "/files?path=" + rpc::percent_encode(trap)).status, 403) << trap;

  edge.send_token = false;
  EXPECT_EQ(edge.request("GET", target).status, 401);
  const std::string signature =
      file_signature(path, FileOperation::read, "", Edge::kAccessToken, std::nullopt);
  const std::string signed_target = target + "&signature=" + rpc::percent_encode(signature);
  EXPECT_EQ(edge.request("GET", signed_target).body, "hello");
  EXPECT_EQ(edge.request("POST", signed_target, "x", "application/octet-stream").status, 401);
  EXPECT_EQ(edge.request("POST", "/files/compose", "{}", "application/json").status, 401);
  const std::string old = file_signature(path, FileOperation::read, "", Edge::kAccessToken, 1000);
  auto expired =
      edge.request("GET", target + "&signature_expiration=1000&signature=" + rpc::percent_encode(old));
  EXPECT_EQ(expired.status, 401);
  EXPECT_NE(expired.body.find("signature is already expired"), std::string::npos) << expired.body;
}

}  // namespace
}  // namespace atl::agent
