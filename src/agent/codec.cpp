#include "agent/codec.h"

#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <charconv>

#include "base/blocking.h"
#include "base/limits.h"
#include "base/log.h"

namespace atl::agent {
namespace {

namespace pb = google::protobuf;

constexpr std::size_t kParseOnLoopBytesMax = 256u << 10;

std::string_view media_type(std::string_view value) {
  value = value.substr(0, value.find(';'));
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  return value;
}

std::string_view unary_type(Codec codec) {
  return codec == Codec::json ? "application/json" : "application/proto";
}
std::string_view stream_type(Codec codec) {
  return codec == Codec::json ? "application/connect+json" : "application/connect+proto";
}

rpc::ReplyHead head_of(int status, std::string_view type) {
  rpc::ReplyHead head;
  head.status = status;
  head.headers.add("content-type", type);
  return head;
}

// Content-Encoding other than identity: no client of this protocol compresses.
bool encoded(const rpc::RequestHead& request, std::string_view header) {
  const std::string_view value = request.headers.get_or(header, "identity");
  return !value.empty() && !rpc::iequals(value, "identity");
}

std::optional<std::int64_t> digits(std::optional<std::string_view> text, std::int64_t most) {
  std::int64_t value = 0;
  if (!text) return std::nullopt;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value < 0 || value > most)
    return std::nullopt;
  return value;
}

}  // namespace

std::optional<ContentKind> content_kind(const rpc::RequestHead& request) {
  const std::string_view type = media_type(request.headers.get_or("content-type", ""));
  for (Codec codec : {Codec::json, Codec::proto}) {
    if (rpc::iequals(type, unary_type(codec))) return ContentKind{codec, false};
    if (rpc::iequals(type, stream_type(codec))) return ContentKind{codec, true};
  }
  return std::nullopt;
}

Status parse_message(std::string_view bytes, Codec codec, pb::Message& into) {
  into.Clear();
  if (bytes.size() > limits::rpc_message_bytes_max)
    return make_error(Errc::too_large, "message of " + std::to_string(bytes.size()) +
                                           " bytes: the limit is " +
                                           std::to_string(limits::rpc_message_bytes_max));
  if (codec == Codec::proto) {
    if (!into.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
      return make_error(Errc::invalid, "the body is not a protobuf message of type " + into.GetTypeName());
    return ok();
  }
  if (bytes.find_first_not_of(" \t\r\n") == bytes.npos) return ok();
  pb::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status =
      pb::util::JsonStringToMessage(pb::StringPiece(bytes.data(), bytes.size()), &into, options);
  if (status.ok()) return ok();
  // The parser's own text quotes the body, which can be long: its beginning tells enough.
  std::string text(status.message().data(), std::min<std::size_t>(status.message().size(), 200));
  return make_error(Errc::invalid,
                    "the body is not JSON of " + into.GetTypeName() + ": " + json_escape(text));
}

Task<Status> parse_message_on(asio::thread_pool& pool, std::string_view bytes, Codec codec,
                              pb::Message& into) {
  if (bytes.size() < kParseOnLoopBytesMax) co_return parse_message(bytes, codec, into);
  auto work = [bytes, codec, &into] { return parse_message(bytes, codec, into); };
  co_return co_await run_blocking(pool, std::move(work));
}

std::string serialise_message(const pb::Message& message, Codec codec) {
  if (codec == Codec::proto) return message.SerializeAsString();
  std::string out;
  // Fails only for Any, Duration and Timestamp out of range, none of which the agent sends.
  const auto status = pb::util::MessageToJsonString(message, &out);
  if (!status.ok()) return "{}";
  return out;
}

std::optional<Millis> connect_timeout(const rpc::Headers& headers) {
  // Ten digits at most, by Connect's own grammar.
  const auto value = digits(headers.get("connect-timeout-ms"), 9'999'999'999);
  if (!value || *value == 0) return std::nullopt;
  return Millis(*value);
}

Millis keepalive_interval(const rpc::Headers& headers) {
  const auto seconds = digits(headers.get("keepalive-ping-interval"), 24 * 3600);
  if (!seconds || *seconds == 0) return std::chrono::seconds(90);
  return std::chrono::seconds(*seconds);
}

Task<bool> read_unary(rpc::Exchange& exchange, Codec codec, pb::Message& into, asio::thread_pool* pool) {
  const auto kind = content_kind(exchange.request());
  if (!kind || kind->stream) {
    co_await reply_unsupported_type(exchange);
    co_return false;
  }
  if (encoded(exchange.request(), "content-encoding")) {
    const Error error =
        make_error(Errc::unsupported, "compressed requests are not spoken here: send identity");
    co_await reply_error(exchange, error);
    co_return false;
  }
  auto body = co_await rpc::read_all(exchange.body(), limits::rpc_message_bytes_max);
  Status parsed = ok();
  if (!body.ok())
    parsed = body.error();
  else if (pool)
    parsed = co_await parse_message_on(*pool, *body, codec, into);
  else
    parsed = parse_message(*body, codec, into);
  if (parsed.ok()) co_return true;
  co_await reply_error(exchange, parsed.error());
  co_return false;
}

Task<void> reply_unary(rpc::Exchange& exchange, Codec codec, const pb::Message& message) {
  rpc::ReplyHead head = head_of(200, unary_type(codec));
  std::string body = serialise_message(message, codec);
  // A client that is gone has no further use for the outcome.
  (void)co_await exchange.reply(std::move(head), std::move(body));
}

Task<void> reply_error(rpc::Exchange& exchange, const Error& error) {
  rpc::ReplyHead head = head_of(rpc::connect_status(error.code), "application/json");
  std::string body = rpc::connect_error_json(error);
  (void)co_await exchange.reply(std::move(head), std::move(body));
}

Task<void> reply_unsupported_type(rpc::Exchange& exchange) {
  rpc::ReplyHead head = head_of(415, "application/json");
  head.headers.add(
      "accept-post",
      "application/json, application/proto, application/connect+json, application/connect+proto");
  std::string body =
      R"({"code":415,"message":"unsupported content type: unary calls take application/json or )"
      R"(application/proto, streams application/connect+json or application/connect+proto"})";
  (void)co_await exchange.reply(std::move(head), std::move(body));
}

Task<bool> read_stream_request(rpc::Exchange& exchange, Codec codec, pb::Message& into) {
  const auto kind = content_kind(exchange.request());
  if (!kind || !kind->stream) {
    co_await reply_unsupported_type(exchange);
    co_return false;
  }
  Status outcome = ok();
  if (encoded(exchange.request(), "connect-content-encoding")) {
    outcome = make_error(Errc::unsupported, "compressed requests are not spoken here: send identity");
  } else {
    rpc::EnvelopeReader reader(exchange.body(), limits::rpc_message_bytes_max);
    auto next = co_await reader.next();
    if (!next.ok()) {
      outcome = next.error();
    } else if (!next->has_value() || ((*next)->flags & rpc::kEnvelopeEnd) != 0) {
      outcome = make_error(Errc::invalid, "the stream ended without a request message");
    } else if (((*next)->flags & rpc::kEnvelopeCompressed) != 0) {
      outcome = make_error(Errc::unsupported, "compressed messages are not spoken here: send identity");
    } else {
      outcome = parse_message((*next)->payload, codec, into);
    }
  }
  if (outcome.ok()) co_return true;
  StreamWriter writer(exchange, codec);
  (void)co_await writer.finish(std::move(outcome));
  co_return false;
}

Task<Status> StreamWriter::start() {
  if (started_) co_return ok();
  started_ = true;
  rpc::ReplyHead head = head_of(200, stream_type(codec_));
  co_return co_await exchange_.start(std::move(head));
}

Task<Status> StreamWriter::send(const pb::Message& message) {
  const std::string bytes = rpc::envelope(0, serialise_message(message, codec_));
  co_return co_await send_envelopes(bytes);
}

Task<Status> StreamWriter::send_envelopes(std::string_view bytes) {
  CO_CHECK_OK(co_await start());
  co_return co_await exchange_.write(bytes);
}

Task<Status> StreamWriter::finish(Status outcome) {
  CO_CHECK_OK(co_await start());
  const std::string bytes = rpc::envelope(rpc::kEnvelopeEnd, rpc::connect_end_json(outcome));
  CO_CHECK_OK(co_await exchange_.write(bytes));
  co_return co_await exchange_.finish();
}

Task<void> reply_plain_error(rpc::Exchange& exchange, int status, std::string_view message) {
  rpc::ReplyHead head = head_of(status, "application/json");
  std::string body = fmt::format(R"({{"code":{},"message":"{}"}})", status, json_escape(message));
  (void)co_await exchange.reply(std::move(head), std::move(body));
}

}  // namespace atl::agent
