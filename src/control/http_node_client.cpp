#include "base/json.h"
#include "base/limits.h"
#include "control/node_client.h"
#include "rpc/connect.h"
#include "rpc/http1.h"

namespace atl::control {
namespace {

constexpr std::size_t kConnectionsMax = 256;
constexpr Millis kConnectDeadline{2000};
constexpr Millis kCallDeadline{30'000};
// The node bounds these itself; a little more, so that its own error arrives.
constexpr Millis kCreateDeadline = limits::create_ms_max + Millis{5000};
constexpr Millis kDestroyDeadline{65'000};
constexpr Millis kTiersDeadline{65'000};
constexpr std::size_t kEventBytesMax = 1u << 20;

Errc errc_of_connect(std::string_view code) {
  for (int i = 0; i <= static_cast<int>(Errc::internal); ++i)
    if (rpc::connect_code(static_cast<Errc>(i)) == code) return static_cast<Errc>(i);
  return Errc::internal;
}

Error error_of(int status, std::string_view body) {
  auto parsed = parse_json(body);
  if (parsed.ok() && parsed->is_object()) {
    const JsonReader reader(*parsed);
    const auto code = reader.opt_string("code"), message = reader.opt_string("message");
    if (code.ok() && *code && message.ok())
      return make_error(errc_of_connect(**code), "node: " + message->value_or(**code));
  }
  return make_error(Errc::internal, "node: answered " + std::to_string(status) + " without a reason");
}

rpc::RequestHead head_for(const char* method, const char* content_type) {
  rpc::RequestHead head;
  head.method = "POST";
  head.target = std::string("/atl.node.v1.Node/") + method;
  head.authority = "node";
  head.headers.set("content-type", content_type);
  return head;
}

class HttpEventStream final : public EventStream {
 public:
  explicit HttpEventStream(std::unique_ptr<rpc::ClientExchange> exchange)
      : exchange_(std::move(exchange)), reader_(*exchange_, kEventBytesMax) {}

  Task<Result<pb::Event>> next() override {
    auto frame = co_await reader_.next();
    if (!frame.ok()) co_return with_context(frame.error(), "node's events");
    if (!*frame || ((*frame)->flags & rpc::kEnvelopeEnd))
      co_return make_error(Errc::unavailable, "node's events: the node ended the stream");
    pb::Event event;
    if (!event.ParseFromString((*frame)->payload))
      co_return make_error(Errc::invalid, "node's events: a message that is no Event");
    co_return event;
  }
  void cancel() override { exchange_->cancel(); }

 private:
  std::unique_ptr<rpc::ClientExchange> exchange_;
  rpc::EnvelopeReader reader_;
};

class HttpNodeClient final : public NodeClient {
 public:
  HttpNodeClient(asio::any_io_executor executor, std::string path) {
    rpc::Http1Target target;
    target.unix_path = std::move(path);
    http_ = rpc::http1_client(executor, std::move(target), kConnectionsMax, kConnectDeadline);
  }

  Task<Result<pb::Sandbox>> create(pb::CreateRequest request) override {
    return call<pb::Sandbox>("Create", request.SerializeAsString(), kCreateDeadline);
  }
  Task<Status> destroy(std::string id, std::string reason) override {
    pb::IdRequest request;
    request.set_id(std::move(id));
    request.set_reason(std::move(reason));
    CO_TRY(const auto reply, co_await call<pb::Empty>("Destroy", request.SerializeAsString(), kDestroyDeadline));
    co_return ok();
  }
  Task<Result<pb::Sandbox>> set_end(std::string id, std::int64_t end_unix_ms, bool only_extend) override {
    pb::SetEndRequest request;
    request.set_id(std::move(id));
    request.set_end_unix_ms(end_unix_ms);
    request.set_only_extend(only_extend);
    return call<pb::Sandbox>("SetEnd", request.SerializeAsString(), kCallDeadline);
  }
  Task<Result<pb::UsageReply>> usage(pb::UsageRequest request) override {
    return call<pb::UsageReply>("Usage", request.SerializeAsString(), kCallDeadline);
  }
  Task<Result<std::string>> logs(std::string id) override {
    pb::LogsRequest request;
    request.set_id(std::move(id));
    CO_TRY(auto reply, co_await call<pb::LogsReply>("Logs", request.SerializeAsString(), kCallDeadline));
    co_return std::move(*reply.mutable_lines());
  }
  Task<Result<pb::TierList>> tiers() override { return call<pb::TierList>("Tiers", "", kTiersDeadline); }

  Task<Result<std::unique_ptr<EventStream>>> events() override {
    rpc::RequestHead head = head_for("Events", "application/connect+proto");
    head.content_length = 0;
    CO_TRY(auto exchange, co_await http_->open(std::move(head), false));
    auto reply = co_await exchange->head();
    if (!reply.ok()) co_return with_context(reply.error(), "node's events");
    if (reply->status != 200) {
      CO_TRY(const auto body, co_await rpc::read_all(*exchange, 64 * 1024));
      co_return error_of(reply->status, body);
    }
    std::unique_ptr<EventStream> stream = std::make_unique<HttpEventStream>(std::move(exchange));
    co_return stream;
  }

 private:
  template <class Message>
  Task<Result<Message>> call(const char* method, std::string body, Millis deadline) {
    rpc::RequestHead head = head_for(method, "application/proto");
    auto reply = co_await rpc::call(*http_, std::move(head), std::move(body), limits::rpc_message_bytes_max, deadline);
    if (!reply.ok()) co_return with_context(reply.error(), std::string("node: ") + method);
    if (reply->head.status != 200) co_return error_of(reply->head.status, reply->body);
    Message message;
    if (!message.ParseFromString(reply->body))
      co_return make_error(Errc::internal, std::string("node: ") + method + " answered with something else");
    co_return message;
  }

  std::unique_ptr<rpc::Client> http_;
};

}  // namespace

std::unique_ptr<NodeClient> http_node_client(asio::any_io_executor executor, std::string socket_path) {
  return std::make_unique<HttpNodeClient>(executor, std::move(socket_path));
}

}  // namespace atl::control
