#include "control/testing/harness.h"
#include "rpc/connect.h"
#include "rpc/http1.h"

namespace atl::control::testing {
namespace {

// The node's half of the wire, written down from proto/node.proto's comment.
class WireNode {
 public:
  explicit WireNode(asio::any_io_executor executor, const std::string& path)
      : server_(executor, rpc::Http1Limits{}, [this](rpc::Exchange& e) { return handle(e); }) {
    listening = server_.listen_unix(path, 0600);
  }
  Task<bool> stop() {
    co_await server_.stop(Millis{1000});
    co_return true;
  }
  Status listening = ok();
  bool quiet = false;
  std::string last_target, last_type, last_body;

 private:
  Task<void> handle(rpc::Exchange& exchange) {
    last_target = exchange.request().target;
    last_type = exchange.request().headers.get_or("content-type", "");
    auto body = co_await rpc::read_all(exchange.body(), 1 << 20);
    last_body = body.ok() ? *body : "";
    rpc::ReplyHead head;
    if (last_target.ends_with("/Events")) {
      head.headers.set("content-type", "application/connect+proto");
      (void)co_await exchange.start(std::move(head));
      pb::Event one, end;
      one.mutable_sandbox()->set_id("ione");
      end.set_backlog_end(true);
      const std::string first = rpc::envelope(0, one.SerializeAsString());
      (void)co_await exchange.write(first);
      const std::string second = rpc::envelope(0, end.SerializeAsString());
      (void)co_await exchange.write(second);
      // A quiet stream stays open until one end gives it up.
      for (int i = 0; quiet && !exchange.gone() && i < 1000; ++i) co_await sleep_for(Millis{10});
      const std::string last = rpc::envelope(rpc::kEnvelopeEnd, "{}");
      (void)co_await exchange.write(last);
      (void)co_await exchange.finish();
      co_return;
    }
    std::string reply;
    if (last_target.ends_with("/SetEnd")) {
      head.status = rpc::connect_status(Errc::not_found);
      head.headers.set("content-type", "application/json");
      const Error error = make_error(Errc::not_found, "sandbox ione is not running");
      reply = rpc::connect_error_json(error);
    } else if (last_target.ends_with("/Tiers")) {
      head.status = 502;
      reply = "<html>";
    } else if (last_target.ends_with("/Create")) {
      pb::Sandbox made;
      made.set_id("ione");
      made.set_state("running");
      reply = made.SerializeAsString();
    }
    (void)co_await exchange.reply(std::move(head), std::move(reply));
  }
  rpc::Http1Server server_;
};

Task<void> wait_for(EventStream& stream, std::optional<Result<pb::Event>>& out) { out = co_await stream.next(); }

class NodeWire : public ::testing::Test {
 protected:
  NodeWire() : wire(h.loop.get_executor(), path()), client(http_node_client(h.loop.get_executor(), path())) {}
  ~NodeWire() override {
    client.reset();
    h.run(wire.stop());
  }
  std::string path() const { return h.folder.path() + "/node.sock"; }
  Harness h;
  WireNode wire;
  std::unique_ptr<NodeClient> client;
};

TEST_F(NodeWire, UnaryCallsAreBinaryPosts) {
  ASSERT_TRUE(wire.listening.ok()) << wire.listening.error().message;
  pb::CreateRequest request;
  request.set_id("ione");
  (*request.mutable_env())["A"] = "b";
  const auto made = h.run(client->create(request));
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(made->state(), "running");
  EXPECT_EQ(wire.last_target, "/atl.node.v1.Node/Create");
  EXPECT_EQ(wire.last_type, "application/proto");
  pb::CreateRequest arrived;
  ASSERT_TRUE(arrived.ParseFromString(wire.last_body));
  EXPECT_EQ(arrived.env().at("A"), "b");
  EXPECT_TRUE(h.run(client->destroy("ione", "killed")).ok()) << "an empty reply is an Empty";
}

TEST_F(NodeWire, ErrorsKeepTheirCodeAndOthersSaySo) {
  const auto refused = h.run(client->set_end("ione", 5, false));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::not_found);
  EXPECT_NE(refused.error().message.find("sandbox ione is not running"), std::string::npos);
  const auto broken = h.run(client->tiers());
  EXPECT_EQ(broken.error().code, Errc::internal);
  EXPECT_NE(broken.error().message.find("502"), std::string::npos) << broken.error().message;
}

TEST_F(NodeWire, EventsComeOneByOneUntilTheEnd) {
  auto stream = h.run(client->events());
  ASSERT_TRUE(stream.ok()) << stream.error().message;
  EXPECT_EQ(h.run((*stream)->next())->sandbox().id(), "ione");
  EXPECT_TRUE(h.run((*stream)->next())->backlog_end());
  EXPECT_EQ(h.run((*stream)->next()).error().code, Errc::unavailable);
}

TEST_F(NodeWire, AQuietStreamEndsWhenItIsCancelled) {
  wire.quiet = true;
  auto stream = h.run(client->events());
  ASSERT_TRUE(stream.ok()) << stream.error().message;
  EXPECT_TRUE(h.run((*stream)->next()).ok());
  EXPECT_TRUE(h.run((*stream)->next()).ok());
  std::optional<Result<pb::Event>> waiting;
  spawn(h.loop.get_executor(), "reader", wait_for(**stream, waiting));
  h.settle();
  EXPECT_FALSE(waiting);
  (*stream)->cancel();
  h.until([&] { return waiting.has_value(); });
  EXPECT_FALSE(waiting->ok());
}

TEST_F(NodeWire, ANodeThatIsNotThereIsUnavailable) {
  const auto nobody = http_node_client(h.loop.get_executor(), h.folder.path() + "/nobody.sock");
  const auto refused = h.run(nobody->destroy("ione", "x"));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::unavailable) << refused.error().message;
}

}  // namespace
}  // namespace atl::control::testing
