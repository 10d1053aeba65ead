#include "node/service.h"

#include "base/limits.h"
#include "rpc/connect.h"

namespace atl::node {
namespace {

constexpr std::string_view kPrefix = "/atl.node.v1.Node/";
constexpr std::size_t kBodyBytesMax = 4u << 20;
constexpr Millis kTiersWait{60'000};
constexpr Millis kKeepalive{30'000};

template <class Message>
Result<Message> parse(const std::string& body) {
  Message message;
  if (!message.ParseFromString(body))
    return make_error(Errc::invalid, "the body is no " + message.GetTypeName());
  return message;
}

CreateSpec spec_of(v1::CreateRequest&& m) {
  CreateSpec s;
  s.id = m.id();
  s.template_name = m.template_name();
  s.template_id = m.template_id();
  s.tier = m.tier();
  s.owner = m.owner();
  s.limits.vcpus = m.limits().vcpus();
  s.limits.memory_bytes = m.limits().memory_bytes();
  s.limits.pids = m.limits().pids();
  s.limits.disk_bytes = m.limits().disk_bytes();
  s.end_ms = m.end_unix_ms();
  s.timeout_ms = m.timeout_ms();
  for (const auto& [key, value] : m.env()) s.env[key] = value;
  s.access_token = m.access_token();
  s.traffic_token = m.traffic_token();
  s.mask_request_host = m.mask_request_host();
  return s;
}

v1::Sample to_proto(const UsageSample& s, const Record& record) {
  v1::Sample out;
  out.set_unix_ms(s.unix_ms);
  out.set_vcpus(record.limits.vcpus);
  out.set_cpu_used_pct(s.cpu_used_pct);
  out.set_memory_used_bytes(s.usage.memory_bytes);
  out.set_memory_total_bytes(s.usage.memory_limit_bytes > 0 ? s.usage.memory_limit_bytes
                                                            : record.limits.memory_bytes);
  out.set_memory_cache_bytes(s.usage.memory_cache_bytes);
  out.set_disk_used_bytes(s.usage.disk_used_bytes);
  out.set_disk_total_bytes(s.usage.disk_total_bytes > 0 ? s.usage.disk_total_bytes
                                                        : record.limits.disk_bytes);
  return out;
}

Task<void> reply_error(rpc::Exchange& exchange, Error error) {
  rpc::ReplyHead head;
  head.status = rpc::connect_status(error.code);
  head.headers.add("content-type", "application/json");
  std::string body = rpc::connect_error_json(error);
  (void)co_await exchange.reply(std::move(head), std::move(body));
}

std::string event_frame(const Record* record) {
  v1::Event event;
  if (record)
    *event.mutable_sandbox() = to_proto(*record);
  else
    event.set_backlog_end(true);
  return rpc::envelope(0, event.SerializeAsString());
}

}  // namespace

v1::Sandbox to_proto(const Record& r) {
  v1::Sandbox out;
  out.set_id(r.id);
  out.set_state(std::string(name(r.state)));
  out.set_tier(std::string(isolation::name(r.tier)));
  out.set_started_unix_ms(r.started_ms);
  out.set_end_unix_ms(r.state == State::ended ? r.ended_ms : r.end_ms);
  out.mutable_limits()->set_vcpus(r.limits.vcpus);
  out.mutable_limits()->set_memory_bytes(r.limits.memory_bytes);
  out.mutable_limits()->set_pids(r.limits.pids);
  out.mutable_limits()->set_disk_bytes(r.limits.disk_bytes);
  out.set_receipt_json(json::serialize(r.receipt));
  out.set_owner(r.owner);
  out.set_end_reason(r.end_reason);
  out.set_oom_kills(r.oom_kills);
  out.set_pids_refused(r.pids_refused);
  out.set_disk_full_seen(r.disk_full_seen);
  return out;
}

Task<void> NodeService::handle(rpc::Exchange& exchange) {
  const rpc::RequestHead& request = exchange.request();
  if (request.method != "POST" || !request.target.starts_with(kPrefix)) {
    Error unknown = make_error(Errc::not_found, "POST /atl.node.v1.Node/<Rpc> expected");
    co_await reply_error(exchange, std::move(unknown));
    co_return;
  }
  std::string method = request.target.substr(kPrefix.size());
  if (method == "Events") {
    co_await events(exchange);
    co_return;
  }
  auto body = co_await rpc::read_all(exchange.body(), kBodyBytesMax);
  Result<std::string> result = body.ok() ? Result<std::string>(std::string()) : body;
  if (body.ok()) result = co_await unary(std::move(method), std::move(*body));
  if (!result.ok()) {
    co_await reply_error(exchange, result.error());
    co_return;
  }
  rpc::ReplyHead head;
  head.headers.add("content-type", "application/proto");
  (void)co_await exchange.reply(std::move(head), std::move(*result));
}

Task<Result<std::string>> NodeService::unary(std::string method, std::string body) {
  if (method == "Create") co_return co_await create(std::move(body));
  if (method == "Destroy") co_return co_await destroy(std::move(body));
  if (method == "SetEnd") co_return co_await set_end(std::move(body));
  if (method == "Logs") co_return co_await logs(std::move(body));
  if (method == "Tiers") co_return co_await tiers();
  if (method == "List") co_return list();
  if (method == "Usage") co_return co_await usage(std::move(body));
  co_return make_error(Errc::not_found, "the node has no rpc \"" + method + "\"");
}

Task<Result<std::string>> NodeService::create(std::string body) {
  CO_TRY(auto message, parse<v1::CreateRequest>(body));
  CreateSpec spec = spec_of(std::move(message));
  CO_TRY(Record record, co_await node_.create(std::move(spec)));
  co_return to_proto(record).SerializeAsString();
}

Task<Result<std::string>> NodeService::destroy(std::string body) {
  CO_TRY(auto message, parse<v1::IdRequest>(body));
  std::string reason = message.reason().empty() ? "killed" : message.reason().substr(0, 256);
  CO_CHECK_OK(co_await node_.destroy(message.id(), std::move(reason)));
  co_return std::string();
}

Task<Result<std::string>> NodeService::set_end(std::string body) {
  CO_TRY(auto message, parse<v1::SetEndRequest>(body));
  CO_TRY(Record record, co_await node_.set_end(message.id(), message.end_unix_ms(), message.only_extend()));
  co_return to_proto(record).SerializeAsString();
}

Task<Result<std::string>> NodeService::logs(std::string body) {
  CO_TRY(auto message, parse<v1::LogsRequest>(body));
  CO_TRY(std::string lines, co_await node_.logs(message.id(), message.from_byte()));
  v1::LogsReply reply;
  reply.set_lines(std::move(lines));
  co_return reply.SerializeAsString();
}

Task<Result<std::string>> NodeService::tiers() {
  v1::TierList out;
  const auto found = co_await tiers_.all(kTiersWait);
  for (const auto& t : found) {
    auto* tier = out.add_tiers();
    tier->set_name(std::string(isolation::name(t.tier)));
    tier->set_works(t.probe.works);
    tier->set_reason(t.probe.reason);
    tier->set_runtime(t.probe.runtime);
    tier->set_version(t.probe.version);
    tier->set_posture(std::string(posture(t.tier)));
    tier->set_is_auto(t.is_auto);
  }
  co_return out.SerializeAsString();
}

Result<std::string> NodeService::list() const {
  v1::SandboxList out;
  for (const Record& r : node_.list()) *out.add_sandboxes() = to_proto(r);
  return out.SerializeAsString();
}

Task<Result<std::string>> NodeService::usage(std::string body) {
  CO_TRY(auto message, parse<v1::UsageRequest>(body));
  v1::UsageReply out;
  for (const std::string& id : message.ids()) {
    co_await node_.first_sample(id);
    const UsageRing* ring = node_.usage(id);
    const Record* record = node_.find(id);
    if (!ring || !record) continue;
    auto* one = out.add_sandboxes();
    one->set_id(id);
    const auto& samples = ring->samples();
    const std::size_t first = message.last_only() && !samples.empty() ? samples.size() - 1 : 0;
    for (std::size_t i = first; i < samples.size(); ++i) {
      if (message.from_unix_ms() > 0 && samples[i].unix_ms < message.from_unix_ms()) continue;
      if (message.to_unix_ms() > 0 && samples[i].unix_ms > message.to_unix_ms()) continue;
      *one->add_samples() = to_proto(samples[i], *record);
    }
  }
  co_return out.SerializeAsString();
}

Task<void> NodeService::events(rpc::Exchange& exchange) {
  const auto subscriber = node_.subscribe();
  if (!subscriber) {
    Error full = make_error(Errc::exhausted, "64 readers of events are connected, the limit");
    co_await reply_error(exchange, std::move(full));
    co_return;
  }
  // Snapshot and subscription happen without a pause in between, so no change is missed.
  const std::vector<Record> backlog = node_.list();
  exchange.on_gone([subscriber] {
    subscriber->closed = true;
    subscriber->more.notify();
  });
  rpc::ReplyHead head;
  head.headers.add("content-type", "application/connect+proto");
  auto status = co_await exchange.start(std::move(head));
  for (const Record& r : backlog) {
    if (!status.ok()) co_return;
    std::string frame = event_frame(&r);
    status = co_await exchange.write(frame);
  }
  std::string end_of_backlog = event_frame(nullptr);
  if (status.ok()) status = co_await exchange.write(end_of_backlog);
  while (status.ok() && !exchange.gone()) {
    if (subscriber->queue.empty()) {
      if (subscriber->closed) break;
      co_await subscriber->more.wait(kKeepalive);
      continue;
    }
    const Record next = std::move(subscriber->queue.front());
    subscriber->queue.pop_front();
    std::string frame = event_frame(&next);
    status = co_await exchange.write(frame);
  }
  if (!status.ok() || exchange.gone()) co_return;
  Status outcome = ok();
  if (subscriber->overflow)
    outcome = make_error(Errc::unavailable, "reader of events was too slow; start over");
  std::string frame = rpc::envelope(rpc::kEnvelopeEnd, rpc::connect_end_json(outcome));
  status = co_await exchange.write(frame);
  if (status.ok()) (void)co_await exchange.finish();
}

}  // namespace atl::node
