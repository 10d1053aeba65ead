#include "node/channel_hub.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "base/fs.h"

namespace atl::node {
namespace {

using namespace std::chrono_literals;

struct HubTest : ::testing::Test {
  std::string dir;
  asio::io_context io{1};
  FakeClock clock;
  ChannelHub hub{io.get_executor(), clock, ::geteuid()};

  HubTest() {
    char pattern[] = "/tmp/atoll-hub-XXXXXX";
    dir = ::mkdtemp(pattern);
    clock.steady_now += 1h;
  }
  ~HubTest() override {
    hub.stop();
    (void)remove_tree(dir);
  }
  void settle() {
    for (int i = 0; i < 10; ++i) {
      io.restart();
      io.run_for(2ms);
    }
  }
  ChannelInfo info(const std::string& id) { return {id, std::string(64, 'b'), "access", "traffic", "mask"}; }
  UniqueFd dial(const std::string& id) {
    auto fd = connect_unix(dir + "/" + id + "/channel.sock", SOCK_STREAM);
    EXPECT_TRUE(fd.ok());
    return std::move(*fd);
  }
  UniqueFd connect_edge() {
    auto fd = connect_unix(dir + "/channels.sock", SOCK_SEQPACKET);
    EXPECT_TRUE(fd.ok());
    settle();
    return std::move(*fd);
  }
  // All packets that are there, with how many descriptors came.
  std::vector<std::string> packets(int edge, int* descriptors = nullptr) {
    settle();
    std::vector<std::string> out;
    for (;;) {
      char data[4096];
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
      iovec part{data, sizeof data};
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      const ssize_t n = ::recvmsg(edge, &message, MSG_DONTWAIT);
      if (n <= 0) return out;
      out.emplace_back(data, n);
      const cmsghdr* c = CMSG_FIRSTHDR(&message);
      if (!c) continue;
      int fd;
      std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
      ::close(fd);
      if (descriptors) ++*descriptors;
    }
  }
  bool closed(int fd) {
    settle();
    char byte;
    return ::recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
  }
  Status ready_of(const std::string& id, Millis at_most) {
    std::optional<Status> result;
    asio::co_spawn(io, keep(hub.wait_ready(id, at_most), result), [](std::exception_ptr) {});
    for (int i = 0; i < 500 && !result; ++i) {
      io.restart();
      io.run_one_for(10ms);
    }
    return result.value_or(make_error(Errc::internal, "no answer"));
  }
  static Task<void> keep(Task<Status> task, std::optional<Status>& out) {
    out.emplace(co_await std::move(task));
  }
};

TEST_F(HubTest, TellsTheEdgeAllThenSyncedAndHandsOverWhatWaited) {
  ASSERT_TRUE(hub.listen(dir + "/channels.sock").ok());
  ASSERT_TRUE(hub.open(info("a"), dir + "/a", PeerCheck::none).ok());
  const auto first = dial("a");
  settle();
  const auto second = dial("a");  // without an edge only the newest is kept
  EXPECT_TRUE(closed(first.get()));
  const auto edge = connect_edge();
  int descriptors = 0;
  const auto got = packets(edge.get(), &descriptors);
  ASSERT_EQ(got.size(), 3u);
  EXPECT_NE(got[0].find("\"type\":\"sandbox\""), std::string::npos);
  EXPECT_EQ(got[1], R"({"type":"synced"})");
  EXPECT_EQ(got[2], R"({"type":"channel","id":"a"})");
  EXPECT_EQ(descriptors, 1);
  hub.close("a");
  EXPECT_EQ(packets(edge.get()), std::vector<std::string>{R"({"type":"gone","id":"a"})"});
}

TEST_F(HubTest, ReadyComesFromTheEdgeAlone) {
  ASSERT_TRUE(hub.listen(dir + "/channels.sock").ok());
  ASSERT_TRUE(hub.open(info("a"), dir + "/a", PeerCheck::none).ok());
  EXPECT_EQ(ready_of("a", 20ms).error().code, Errc::deadline);
  const auto edge = connect_edge();
  const std::string_view ready = R"({"type":"ready","id":"a"})";
  ASSERT_GT(::send(edge.get(), ready.data(), ready.size(), 0), 0);
  EXPECT_TRUE(ready_of("a", 2000ms).ok());
  hub.close("a");
  EXPECT_EQ(ready_of("a", 2000ms).error().code, Errc::conflict);
}

TEST_F(HubTest, OnlyProcess1MayBeTheAgentOfAContainer) {
  ASSERT_TRUE(hub.listen(dir + "/channels.sock").ok());
  ASSERT_TRUE(hub.open(info("mine"), dir + "/mine", PeerCheck::init_pid).ok());
  ASSERT_TRUE(hub.open(info("other"), dir + "/other", PeerCheck::init_pid).ok());
  const auto edge = connect_edge();
  packets(edge.get());
  const auto mine = dial("mine"), other = dial("other");
  // Nobody knows process 1 yet: nothing is decided.
  EXPECT_TRUE(packets(edge.get()).empty());
  hub.set_init("mine", ::getpid());
  hub.set_init("other", 1);
  EXPECT_EQ(packets(edge.get()), std::vector<std::string>{R"({"type":"channel","id":"mine"})"});
  EXPECT_TRUE(closed(other.get()));
}

TEST_F(HubTest, AFloodIsBounded) {
  ASSERT_TRUE(hub.listen(dir + "/channels.sock").ok());
  ASSERT_TRUE(hub.open(info("a"), dir + "/a", PeerCheck::none).ok());
  const auto edge = connect_edge();
  packets(edge.get());
  std::size_t handed_over = 0;
  for (int i = 0; i < 40; ++i) {
    const auto fd = dial("a");
    handed_over += packets(edge.get()).size();
    if (i % 2 == 1) {  // the edge judges some, so that more may come
      const std::string_view refused = R"({"type":"refused","id":"a","reason":"wrong preface"})";
      ::send(edge.get(), refused.data(), refused.size(), 0);
      settle();
    }
  }
  // The clock stands still, so no more than one bucket.
  EXPECT_LE(handed_over, static_cast<std::size_t>(ChannelHub::kAcceptsPerSecond));
  EXPECT_GE(handed_over, 5u);
}

TEST_F(HubTest, BadPacketsEndTheConnectionNotTheNode) {
  ASSERT_TRUE(hub.listen(dir + "/channels.sock").ok());
  for (const std::string bad : {std::string("{"), std::string("[]"), std::string(R"({"type":"x","id":"a"})"),
                                std::string(kPacketBytesMax + 1, 'x')}) {
    const auto edge = connect_edge();
    packets(edge.get());
    ::send(edge.get(), bad.data(), bad.size(), 0);
    EXPECT_TRUE(closed(edge.get())) << bad.substr(0, 40);
  }
}

TEST(PacketSocketTest, ClosesDescriptorsThatNobodyAskedFor) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  asio::io_context io{1};
  PacketSocket socket(io.get_executor(), UniqueFd(ends[0]));
  const UniqueFd peer(ends[1]);
  int pipe_ends[2];
  ASSERT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
  const UniqueFd read_end(pipe_ends[0]);
  UniqueFd write_end(pipe_ends[1]);
  // Three copies of the pipe's writing end in one packet.
  const int fds[3] = {write_end.get(), write_end.get(), write_end.get()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)] = {};
  char byte = 'x';
  iovec part{&byte, 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof fds);
  std::memcpy(CMSG_DATA(c), fds, sizeof fds);
  ASSERT_EQ(::sendmsg(peer.get(), &message, 0), 1);
  std::optional<Errc> code;
  asio::co_spawn(
      io,
      [](PacketSocket& s, std::optional<Errc>& out) -> Task<void> {
        const auto got = co_await s.receive();
        if (!got.ok()) out = got.error().code;
      }(socket, code),
      [](std::exception_ptr) {});
  io.run_for(1s);
  EXPECT_EQ(code, Errc::invalid);
  write_end.reset();
  // The end of the pipe is seen only when every copy is closed.
  EXPECT_EQ(::read(read_end.get(), &byte, 1), 0);
}

}  // namespace
}  // namespace atl::node
