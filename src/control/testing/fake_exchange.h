#pragma once
#include <cstring>

#include "base/json.h"
#include "rpc/message.h"

namespace atl::control::testing {

// A request without a connection: keeps the reply for the test to look at.
class FakeExchange final : public rpc::Exchange {
 public:
  FakeExchange(std::string method, std::string target, std::string body = "") : body_(std::move(body)) {
    request_.method = std::move(method);
    request_.target = std::move(target);
    if (!body_.bytes.empty()) request_.content_length = body_.bytes.size();
  }
  rpc::Headers& headers() { return request_.headers; }
  void go_away() {
    gone_ = true;
    if (on_gone_) on_gone_();
  }

  const rpc::RequestHead& request() const override { return request_; }
  rpc::ByteSource& body() override { return body_; }
  Task<Status> start(rpc::ReplyHead head) override {
    if (gone_) co_return make_error(Errc::unavailable, "the client is gone");
    reply_head = std::move(head);
    ++replies;
    co_return ok();
  }
  Task<Status> write(std::string_view bytes) override {
    reply_body.append(bytes);
    co_return ok();
  }
  Task<Status> finish() override { co_return ok(); }
  Task<Status> reply(rpc::ReplyHead head, std::string body) override {
    auto started = co_await start(std::move(head));
    if (started.ok()) reply_body = std::move(body);
    co_return started;
  }
  Task<Result<rpc::ByteStream*>> tunnel(rpc::ReplyHead) override { co_return make_error(Errc::unsupported, "no tunnel"); }
  void on_gone(std::function<void()> callback) override { on_gone_ = std::move(callback); }
  bool gone() const override { return gone_; }

  rpc::ReplyHead reply_head;
  std::string reply_body;
  int replies = 0;

 private:
  struct Body final : rpc::ByteSource {
    explicit Body(std::string text) : bytes(std::move(text)) {}
    Task<Result<std::size_t>> read_some(std::span<char> into) override {
      const std::size_t count = std::min(into.size(), bytes.size() - at);
      std::memcpy(into.data(), bytes.data() + at, count);
      at += count;
      co_return count;
    }
    std::string bytes;
    std::size_t at = 0;
  };
  rpc::RequestHead request_;
  Body body_;
  bool gone_ = false;
  std::function<void()> on_gone_;
};

// What a test wants to know of a reply.
struct Seen {
  int status = 0;
  rpc::Headers headers;
  std::string text;
  json::value body;  // null where the text is no JSON

  std::string field(std::string_view name) const {
    if (!body.is_object() || !body.as_object().contains(name)) return "(absent)";
    const json::value& value = body.as_object().at(name);
    return value.is_string() ? std::string(value.as_string()) : json::serialize(value);
  }
};

inline Seen seen(const FakeExchange& exchange) {
  Seen out{exchange.reply_head.status, exchange.reply_head.headers, exchange.reply_body, nullptr};
  auto parsed = parse_json(out.text);
  if (parsed.ok()) out.body = std::move(*parsed);
  return out;
}

}  // namespace atl::control::testing
