// Query, headers and paths of /files, as any client may send them.
#include <cstdint>
#include <cstdlib>

#include "agent/context.h"
#include "agent/files/guest_path.h"
#include "agent/files/http_fields.h"
#include "agent/files/metadata.h"
#include "agent/files/signature.h"
#include "rpc/url.h"

namespace {

using namespace atl;

// First line: the target; the others: "name: value".
void check(std::string_view text, agent::AgentContext& context) {
  const std::size_t cut = std::min(text.find('\n'), text.size());
  const std::string target(text.substr(0, cut));
  text.remove_prefix(std::min(cut + 1, text.size()));
  rpc::Headers headers;
  for (int lines = 0; !text.empty() && lines < 64; ++lines) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t colon = line.find(": ");
    if (colon != std::string_view::npos) headers.add(line.substr(0, colon), line.substr(colon + 2));
  }
  (void)agent::accepted_codings(headers);
  (void)agent::metadata_of(headers);
  (void)agent::parse_http_date(headers.get_or("if-modified-since", ""));
  for (std::uint64_t size : {0ull, 1ull, 1000ull, ~0ull}) {
    const auto range = agent::range_of(headers.get_or("range", ""), size);
    const auto* part = std::get_if<agent::ByteRange>(&range);
    if (part && (part->length == 0 || part->first >= size || part->length > size - part->first)) std::abort();
  }
  auto parsed = rpc::parse_target(target);
  if (!parsed.ok()) return;
  (void)agent::check_file_access(context, headers, *parsed, agent::FileOperation::read);
  const std::string_view path = parsed->param("path").value_or("");
  const agent::UserInfo user{"user", 1000, 1000, {1000}, "/home/user", "/bin/sh"};
  auto full = agent::expand_path(path, user, "/work");
  if (full.ok() && (full->empty() || full->front() != '/')) std::abort();
  if (full.ok()) (void)agent::content_disposition(agent::base_name(*full));
  if (agent::utf8_text(agent::utf8_text(path)) != agent::utf8_text(path)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static asio::io_context loop;
  static asio::thread_pool pool(1);
  static FakeClock clock;
  static agent::AgentContext context{loop.get_executor(), pool, clock, {}, {}};
  context.boot.access_token = "token";
  check(std::string_view(reinterpret_cast<const char*>(data), size), context);
  return 0;
}
