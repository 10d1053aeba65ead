#include "rpc/message.h"

#include "base/deadline.h"

namespace atl::rpc {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

Task<Result<Reply>> exchange_once(Client& client, RequestHead head, std::string body, std::size_t limit) {
  const bool has_body = !body.empty();
  if (has_body || head.method == "POST" || head.method == "PUT") head.content_length = body.size();
  CO_TRY(auto exchange, co_await client.open(std::move(head), has_body));
  if (has_body) {
    // A server may answer before it read all: a failed write is no verdict, the reply's head is.
    const Status written = co_await exchange->write(body);
    if (written.ok()) {
      const Status finished = co_await exchange->finish_body();
      (void)finished.ok();
    }
  }
  Reply reply;
  CO_TRY(reply.head, co_await exchange->head());
  CO_TRY(reply.body, co_await read_all(*exchange, limit));
  co_return reply;
}

}  // namespace

bool iequals(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

void Headers::add(std::string_view name, std::string_view value) {
  fields_.emplace_back(name, value);
}

void Headers::set(std::string_view name, std::string_view value) {
  erase(name);
  add(name, value);
}

void Headers::erase(std::string_view name) {
  std::erase_if(fields_, [&](const auto& field) { return iequals(field.first, name); });
}

std::optional<std::string_view> Headers::get(std::string_view name) const {
  for (const auto& [key, value] : fields_)
    if (iequals(key, name)) return value;
  return std::nullopt;
}

std::string_view Headers::get_or(std::string_view name, std::string_view otherwise) const {
  return get(name).value_or(otherwise);
}

std::size_t Headers::count(std::string_view name) const {
  return std::count_if(fields_.begin(), fields_.end(),
                       [&](const auto& field) { return iequals(field.first, name); });
}

Task<Result<std::string>> read_all(ByteSource& source, std::size_t limit) {
  std::string out;
  std::size_t used = 0;
  for (;;) {
    // One byte beyond the limit is asked for, so that a body of exactly the limit is not refused.
    if (out.size() == used) out.resize(std::min(limit + 1, std::max<std::size_t>(4096, used * 2)));
    CO_TRY(const std::size_t n, co_await source.read_some(std::span(out).subspan(used)));
    if (n == 0) break;
    used += n;
    if (used > limit)
      co_return make_error(Errc::too_large,
                           "body is larger than the limit of " + std::to_string(limit) + " bytes");
  }
  out.resize(used);
  co_return out;
}

Task<Result<Reply>> call(Client& client, RequestHead head, std::string body, std::size_t limit,
                         Millis deadline) {
  const std::string what = head.method + " " + head.target;
  auto work = exchange_once(client, std::move(head), std::move(body), limit);
  co_return co_await within(deadline, what, std::move(work));
}

}  // namespace atl::rpc
