#include "base/crypto.h"
#include "base/limits.h"
#include "base/log.h"
#include "control/create_request.h"
#include "control/ids.h"
#include "control/routes.h"
#include "control/shapes.h"

namespace atl::control {
namespace {

constexpr std::int64_t kTemplatesReloadMs = 1000;
constexpr std::size_t kIdempotencyKeyBytesMax = 255;

// What one create carries through its steps.
struct Create {
  CreateRequest asked;
  EntryPtr entry;
  KeyedPtr keyed;  // nullptr: no Idempotency-Key
};

Task<std::optional<Template>> find_template(Core& core, std::string name, const store::Project& project) {
  const Template* found = core.templates.resolve(name, project);
  if (!found && core.now_ms() - core.templates_loaded_ms >= kTemplatesReloadMs) {
    const auto loaded = co_await core.load_templates();
    if (!loaded.ok()) log_warn("templates were not read", {{"error", loaded.error().message}});
    found = core.templates.resolve(name, project);
  }
  if (!found) co_return std::nullopt;
  co_return *found;
}

Answer no_template(const std::string& name) {
  return failure(404, "template '" + name + "' not found; `atoll template list` shows what is on this host");
}

Answer too_many(Core& core, const store::Project& project, const Refusal& why) {
  Answer answer = with_retry(failure(429, why.message), why.retry_helps, why.wait_s);
  const RateState rate = core.rate.state(project.id, project.quota.creates_per_minute);
  answer.headers.set("RateLimit-Limit", std::to_string(rate.limit));
  answer.headers.set("RateLimit-Remaining", std::to_string(rate.remaining));
  answer.headers.set("RateLimit-Reset", std::to_string(std::max(rate.reset_s, why.wait_s)));
  return answer;
}

// Takes the project's share, or says why not. Between this and index.add() nothing may wait.
std::optional<Refusal> take_share(Core& core, const store::Project& project, const Template& from) {
  const Use wanted{1, from.vcpus, from.memory_mb};
  const Use use = core.index.use(project.id);
  // When the first one ends is looked for only where it matters: that takes a walk over all.
  if (check_quota(project.quota, use, wanted, 0, core.now_ms()))
    return check_quota(project.quota, use, wanted, core.index.first_end_ms(project.id), core.now_ms());
  return core.rate.take(project.id, project.quota.creates_per_minute);
}

store::Sandbox new_row(Core& core, const store::Project& project, const Template& from, const CreateRequest& asked) {
  store::Sandbox row;
  row.id = new_sandbox_id();
  row.project_id = project.id;
  row.template_id = from.id;
  row.template_name = from.name;
  row.tier = !asked.tier.empty() ? asked.tier : from.tier.empty() ? "auto" : from.tier;
  row.vcpus = from.vcpus;
  row.memory_mb = from.memory_mb;
  row.disk_mb = from.disk_mb;
  row.created_ms = core.now_ms();
  row.metadata = asked.metadata;
  row.deny_out = asked.network.deny_out;
  row.secure = asked.secure;
  row.public_traffic = asked.network.public_traffic;
  row.internet_asked = asked.internet_asked;
  row.mask_request_host = asked.network.mask_request_host;
  return row;
}

pb::CreateRequest node_request(const Core& core, const Create& create) {
  const store::Sandbox& row = create.entry->row;
  pb::CreateRequest out;
  out.set_id(row.id);
  out.set_template_name(row.template_name);
  out.set_template_id(row.template_id);
  out.set_tier(row.tier);
  out.mutable_limits()->set_vcpus(row.vcpus);
  out.mutable_limits()->set_memory_bytes(row.memory_mb << 20);
  out.mutable_limits()->set_disk_bytes(row.disk_mb << 20);
  out.set_timeout_ms(create.asked.timeout_s * 1000);  // from when it is ready: the session starts then
  for (const auto& [key, value] : create.asked.env) (*out.mutable_env())[key] = value;
  if (row.secure) out.set_access_token(access_token_of(core.options.seed, row.id));
  if (!row.public_traffic) out.set_traffic_token(traffic_token_of(core.options.seed, row.id));
  out.set_mask_request_host(row.mask_request_host);
  out.set_owner(row.project_id);
  return out;
}

// E2B's words for what the node could not do.
Answer node_failed(const Error& error) {
  switch (error.code) {
    case Errc::invalid:
    case Errc::too_large: return failure(400, error.message);
    case Errc::not_found: return failure(404, error.message);
    case Errc::unsupported: return failure(501, error.message, "sandbox_no_compatible_node");
    case Errc::exhausted: return with_retry(failure(503, error.message, "sandbox_capacity_unavailable"), true, 2);
    case Errc::unavailable: return with_retry(failure(503, error.message, "sandbox_capacity_unavailable"), true);
    // It took the whole time once: three more times help nobody.
    case Errc::deadline: return with_retry(failure(504, error.message, "sandbox_placement_timeout"), false);
    default: return failure(500, error.message, "sandbox_create_failed");
  }
}

Answer created(const Core& core, const store::Sandbox& row, bool keyed) {
  Answer answer = json_answer(201, sandbox_shape(core, row));
  if (!keyed) answer.undo_if_lost = row.id;
  return answer;
}

Task<Status> write_begin(Core& core, const Create& create) {
  auto write = [row = create.entry->row,
                record = create.keyed ? std::optional(create.keyed->record) : std::nullopt](store::Store& s) {
    return s.begin_create(row, record ? &*record : nullptr,
                          {row.id, row.created_ms, "info", "sandbox requested from template " + row.template_name});
  };
  co_return co_await core.on_store(std::move(write));
}

Task<Status> write_finish(Core& core, store::Sandbox row) {
  auto write = [row = std::move(row)](store::Store& s) {
    return s.finish_create(row, {row.id, row.started_ms, "info", "sandbox started on tier " + row.tier});
  };
  co_return co_await core.on_store(std::move(write));
}

Task<Result<store::Sandbox>> run_create(Core& core, const Create& create) {
  const EntryPtr entry = create.entry;
  CO_CHECK_OK(co_await write_begin(core, create));
  pb::CreateRequest request = node_request(core, create);
  CO_TRY(const pb::Sandbox made, co_await core.node.create(std::move(request)));
  store::Sandbox row = entry->row;
  merge(row, made);
  row.state = store::State::running;
  if (row.started_ms == 0) row.started_ms = core.now_ms();
  if (row.end_ms == 0) row.end_ms = row.started_ms + create.asked.timeout_s * 1000;
  CO_CHECK_OK(co_await write_finish(core, row));
  core.index.update(entry, row);
  entry->in_hand = false;
  store::TemplateUse& use = core.uses[row.template_id];
  use.template_id = row.template_id;
  ++use.spawned;
  use.last_ms = row.started_ms;
  if (entry->ended_meanwhile) {
    const auto closed = co_await close_sandbox(core, entry, "lost", entry->ended_meanwhile.get());
    if (!closed.ok()) log_error("end of a sandbox", {{"sandbox", row.id}, {"error", closed.error().message}});
  }
  co_return row;
}

Task<Answer> repeat(Call& call, KeyedPtr keyed, std::string body_hash) {
  if (keyed->record.body_hash != body_hash)
    co_return failure(422, "this Idempotency-Key was used for a create with another body; take a new key");
  const auto until = std::chrono::steady_clock::now() + limits::create_ms_max;
  while (keyed->pending) {
    const auto left = std::chrono::duration_cast<Millis>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0)
      co_return with_retry(
          failure(409, "the first create with this Idempotency-Key has not ended yet", "sandbox_start_in_flight"), true);
    co_await keyed->settled.wait(left);
  }
  if (keyed->failed) co_return *keyed->failed;
  const EntryPtr entry = call.core.index.find(keyed->record.sandbox_id);
  if (!entry) co_return failure(409, "the answer to this Idempotency-Key is not kept any more; take a new key");
  co_return created(call.core, entry->row, true);
}

Task<Answer> create_new(Call& call, CreateRequest asked, std::optional<store::Idempotency> record) {
  Core& core = call.core;
  const auto from = co_await find_template(core, asked.template_name, call.project);
  if (!from) co_return no_template(asked.template_name);
  // Another with the same key may have come first while templates were read.
  if (record) {
    if (KeyedPtr known = core.idempotency.find(call.project.id, record->key))
      co_return co_await repeat(call, std::move(known), record->body_hash);
  }
  if (const auto refused = take_share(core, call.project, *from)) co_return too_many(core, call.project, *refused);

  Create create{std::move(asked), std::make_shared<Entry>(), nullptr};
  create.entry->row = new_row(core, call.project, *from, create.asked);
  create.entry->in_hand = true;
  core.index.add(create.entry);
  if (record) {
    create.keyed = std::make_shared<Keyed>();
    record->sandbox_id = create.entry->row.id;
    create.keyed->record = std::move(*record);
    core.idempotency.add(create.keyed);
  }
  const auto row = co_await run_create(core, create);
  if (row.ok()) {
    ++core.creates_done;
    if (create.keyed) core.idempotency.succeeded(create.keyed);
    log_info("sandbox created", {{"sandbox", row->id}, {"project", row->project_id}, {"tier", row->tier},
                                 {"ms", core.now_ms() - row->created_ms}});
    co_return created(core, *row, create.keyed != nullptr);
  }
  ++core.creates_failed;
  Answer answer = node_failed(row.error());
  core.rate.give_back(call.project.id, call.project.quota.creates_per_minute);
  co_await drop_create(core, create.entry);
  if (create.keyed) core.idempotency.failed(create.keyed, answer);
  co_return answer;
}

// The header's value; "" where there is none. Errc::invalid: it is not fit to be a key.
Result<std::string> idempotency_key(const rpc::RequestHead& request) {
  const auto key = request.headers.get("Idempotency-Key");
  if (!key) return std::string();
  const bool printable = std::all_of(key->begin(), key->end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (key->empty() || key->size() > kIdempotencyKeyBytesMax || !printable)
    return make_error(Errc::invalid, "header Idempotency-Key: 1 to 255 printable characters without blanks expected");
  return std::string(*key);
}

Task<Answer> create_sandbox(Call& call, ApiVersion version) {
  const auto key = idempotency_key(call.exchange.request());
  if (!key.ok()) co_return invalid(key.error());
  auto body = co_await call.body();
  if (!body.ok()) co_return failure(body.error());
  auto asked = parse_create(*body, version);
  if (!asked.ok()) co_return invalid(asked.error());
  if (key->empty()) co_return co_await create_new(call, std::move(*asked), std::nullopt);

  const std::string hash = sha256_hex((version == ApiVersion::v1 ? "v1\n" : "v2\n") + *body);
  if (KeyedPtr known = call.core.idempotency.find(call.project.id, *key))
    co_return co_await repeat(call, std::move(known), hash);
  if (call.core.idempotency.full(call.project.id))
    co_return with_retry(failure(429, "this project has 100000 Idempotency-Keys of the last 24 hours, the limit"), false);
  std::optional<store::Idempotency> record;
  record.emplace(store::Idempotency{call.project.id, *key, hash, "", call.core.now_ms()});
  co_return co_await create_new(call, std::move(*asked), std::move(record));
}

}  // namespace

Task<Answer> create_v1(Call& call) { return create_sandbox(call, ApiVersion::v1); }
Task<Answer> create_v2(Call& call) { return create_sandbox(call, ApiVersion::v2); }

}  // namespace atl::control
