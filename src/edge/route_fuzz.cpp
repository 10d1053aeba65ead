#include "edge/route.h"
#include "edge/signature.h"

// First line: method, host, target and the two headers, cut at 0x01.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace atl;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::string parts[5];
  for (std::string& part : parts) {
    const auto cut = rest.find('\x01');
    part = rest.substr(0, cut);
    rest = cut == rest.npos ? std::string_view() : rest.substr(cut + 1);
  }
  rpc::RequestHead head;
  head.method = parts[0];
  head.authority = parts[1];
  head.target = parts[2];
  if (!parts[3].empty()) head.headers.add("E2b-Sandbox-Id", parts[3]);
  if (!parts[4].empty()) head.headers.add("E2b-Sandbox-Port", parts[4]);
  const bool bounded = size > 0 && (data[size - 1] & 1);
  const edge::Route where = edge::route(head, bounded ? "sand.test" : "");
  if (where.kind == edge::Route::Kind::agent && !edge::is_agent_path(edge::path_of(head.target)))
    __builtin_trap();
  if (where.kind == edge::Route::Kind::port && (where.port == 0 || where.port == edge::kAgentPort))
    __builtin_trap();
  for (char c : where.id)
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) __builtin_trap();
  if (const auto asked = edge::signed_request(head)) (void)edge::signature_matches(*asked, "token");
  return 0;
}
