#include "agent/codec.h"

#include <gtest/gtest.h>

#include "base/crypto.h"
#include "proto/process.pb.h"

namespace atl::agent {
namespace {

rpc::RequestHead typed(std::string_view type) {
  rpc::RequestHead head;
  head.headers.add("content-type", type);
  return head;
}

TEST(Codec, TellsTheFourContentTypes) {
  EXPECT_EQ(content_kind(typed("application/json"))->codec, Codec::json);
  EXPECT_FALSE(content_kind(typed("application/json; charset=utf-8"))->stream);
  EXPECT_EQ(content_kind(typed("application/proto"))->codec, Codec::proto);
  EXPECT_TRUE(content_kind(typed("application/connect+json"))->stream);
  EXPECT_TRUE(content_kind(typed("Application/Connect+Proto"))->stream);
  EXPECT_FALSE(content_kind(typed("text/plain")).has_value());
  EXPECT_FALSE(content_kind(rpc::RequestHead{}).has_value());
}

TEST(Codec, ReadsWhatTheClientsSend) {
  ::process::StartRequest request;
  const auto parsed = parse_message(
      R"({"process":{"cmd":"/bin/bash","args":["-l","-c","echo hi"],"envs":{"A":"b"},"unknown":[1,{"x":null}]},)"
      R"("stdin":false,"tag":null,"later":"x"})",
      Codec::json, request);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(request.process().args(2), "echo hi");
  EXPECT_TRUE(request.has_stdin());
  EXPECT_FALSE(request.stdin());
  EXPECT_FALSE(request.has_tag());
  EXPECT_FALSE(request.has_pty());
}

TEST(Codec, ReadsEnumsByNameAndNumberAndBytesAsBase64) {
  ::process::SendSignalRequest signal;
  ASSERT_TRUE(parse_message(R"({"process":{"pid":42},"signal":"SIGNAL_SIGKILL"})", Codec::json, signal).ok());
  EXPECT_EQ(signal.signal(), ::process::SIGNAL_SIGKILL);
  ASSERT_TRUE(parse_message(R"({"process":{"pid":42},"signal":15})", Codec::json, signal).ok());
  EXPECT_EQ(signal.signal(), ::process::SIGNAL_SIGTERM);
  ::process::SendInputRequest input;
  ASSERT_TRUE(parse_message(R"({"process":{"tag":"t"},"input":{"stdin":"YWJj"}})", Codec::json, input).ok());
  EXPECT_EQ(input.input().stdin(), "abc");
}

TEST(Codec, ARoundTripInBothCodecs) {
  ::process::ListResponse list;
  auto& info = *list.add_processes();
  info.set_pid(7);
  info.set_tag("x");
  info.mutable_config()->set_cwd("/\xc3\xbc");
  for (Codec codec : {Codec::json, Codec::proto}) {
    ::process::ListResponse again;
    ASSERT_TRUE(parse_message(serialise_message(list, codec), codec, again).ok());
    EXPECT_EQ(again.SerializeAsString(), list.SerializeAsString());
  }
  ::process::StartResponse end;
  end.mutable_event()->mutable_end()->set_exit_code(3);
  EXPECT_EQ(serialise_message(end, Codec::json), R"({"event":{"end":{"exitCode":3}}})");
}

TEST(Codec, RefusesWhatIsNoMessage) {
  ::process::StartRequest request;
  for (std::string_view text : {"{", "[]", R"({"process":5})", R"({"process":{"args":[{}]}})", "{}x", "\xff"})
    EXPECT_FALSE(parse_message(text, Codec::json, request).ok()) << text;
  EXPECT_FALSE(parse_message("\xff\xff\xff", Codec::proto, request).ok());
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"x\":";
  EXPECT_FALSE(parse_message(deep, Codec::json, request).ok());
  EXPECT_TRUE(parse_message("", Codec::json, request).ok());
  EXPECT_TRUE(parse_message("{}", Codec::json, request).ok());
}

TEST(Codec, ReadsTheHeadersForTime) {
  rpc::Headers headers;
  EXPECT_FALSE(connect_timeout(headers).has_value());
  EXPECT_EQ(keepalive_interval(headers), std::chrono::seconds(90));
  headers.set("connect-timeout-ms", "60000");
  headers.set("keepalive-ping-interval", "50");
  EXPECT_EQ(connect_timeout(headers), Millis(60'000));
  EXPECT_EQ(keepalive_interval(headers), std::chrono::seconds(50));
  for (const char* wrong : {"", "0", "-5", "1x", "99999999999999999999"}) {
    headers.set("connect-timeout-ms", wrong);
    headers.set("keepalive-ping-interval", wrong);
    EXPECT_FALSE(connect_timeout(headers).has_value()) << wrong;
    EXPECT_EQ(keepalive_interval(headers), std::chrono::seconds(90)) << wrong;
  }
}

}  // namespace
}  // namespace atl::agent
