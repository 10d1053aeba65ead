#include "agent/machine/boot_message.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>

#include "agent/machine/identity.h"
#include "base/json.h"
#include "base/unique_fd.h"

namespace atl::agent::machine {
namespace {

json::object good() {
  return {{"hostname", "box-1"}, {"machineId", std::string(32, 'a')}, {"entropy", std::string(128, '0')},
          {"unixNanos", 1'800'000'000'000'000'000}, {"pidsMax", 64}, {"boot", json::object{{"bootToken", "x"}}}};
}
Errc refused(const json::object& message) {
  const auto parsed = parse_boot_message(json::serialize(message));
  return parsed.ok() ? Errc::internal : parsed.error().code;
}

TEST(BootMessage, SaysWhatTheNodeWrote) {
  const auto parsed = parse_boot_message(json::serialize(good()));
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->hostname, "box-1");
  EXPECT_EQ(parsed->entropy, std::string(64, '\0'));
  EXPECT_EQ(parsed->pids_max, 64);
  EXPECT_EQ(parsed->boot_config, R"({"bootToken":"x"})");
}

TEST(BootMessage, WhatMakesNoSenseIsRefused) {
  EXPECT_EQ(parse_boot_message("[]").error().code, Errc::invalid);
  const std::pair<const char*, json::value> wrong[] = {
      {"hostname", json::value("a\nb")}, {"hostname", json::value("")},       {"machineId", json::value("../x")},
      {"entropy", json::value("00")},    {"unixNanos", json::value(-1)},     {"pidsMax", json::value("many")},
      {"boot", json::value("text")},     {"boot", json::value(nullptr)},     {"entropy", json::value(std::string(128, 'g'))}};
  for (const auto& [key, value] : wrong) {
    json::object message = good();
    message[key] = value;
    EXPECT_EQ(refused(message), Errc::invalid) << key << " " << value;
  }
}

TEST(BootMessage, ComesInPiecesAndIsBounded) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const UniqueFd reader(ends[0]), writer(ends[1]);
  const std::string body = json::serialize(good());
  std::string bytes{static_cast<char>(body.size() & 0xff), static_cast<char>(body.size() >> 8), 0, 0};
  bytes += body;
  std::thread slow([&] {
    for (const char c : bytes) ASSERT_EQ(::send(writer.get(), &c, 1, 0), 1);
  });
  const auto read = read_boot_message(reader.get());
  slow.join();
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->hostname, "box-1");
  ASSERT_EQ(::send(writer.get(), "\xff\xff\xff\x7f", 4, 0), 4);
  EXPECT_EQ(read_boot_message(reader.get()).error().code, Errc::too_large);
}

}  // namespace
}  // namespace atl::agent::machine
