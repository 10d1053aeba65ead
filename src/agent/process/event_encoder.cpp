#include "agent/process/event_encoder.h"

#include <array>
#include <cstring>

#include "proto/process.pb.h"
#include "rpc/connect.h"

namespace atl::agent {
namespace {

constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// Two characters for each value of twelve bits: three bytes take two look-ups.
constexpr auto kPairs = [] {
  std::array<std::array<char, 2>, 4096> table{};
  for (unsigned i = 0; i < 4096; ++i) table[i] = {kAlphabet[i >> 6], kAlphabet[i & 63]};
  return table;
}();

std::string_view json_name(OutputStream stream) {
  return stream == OutputStream::out ? "stdout" : stream == OutputStream::err ? "stderr" : "pty";
}

void append_frame_head(std::string& out, std::size_t payload) {
  const char head[5] = {0, static_cast<char>(payload >> 24), static_cast<char>(payload >> 16),
                        static_cast<char>(payload >> 8), static_cast<char>(payload)};
  out.append(head, sizeof head);
}

std::size_t varint_size(std::size_t value) {
  std::size_t size = 1;
  while (value >= 0x80) value >>= 7, ++size;
  return size;
}

void append_varint(std::string& out, std::size_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void append_json_output(std::string& out, OutputStream stream, std::string_view bytes) {
  constexpr std::string_view before = R"({"event":{"data":{")", between = R"(":")", after = R"("}}})";
  const std::string_view name = json_name(stream);
  append_frame_head(out,
                    before.size() + name.size() + between.size() + (bytes.size() + 2) / 3 * 4 + after.size());
  out.append(before).append(name).append(between);
  append_base64(out, bytes);
  out.append(after);
}

// event = 1 { data = 2 { stdout = 1 | stderr = 2 | pty = 3 } }, each length-delimited (wire type 2).
void append_proto_output(std::string& out, OutputStream stream, std::string_view bytes) {
  const std::size_t field = 1 + varint_size(bytes.size()) + bytes.size();
  const std::size_t data = 1 + varint_size(field) + field;
  append_frame_head(out, 1 + varint_size(data) + data);
  out.push_back(1 << 3 | 2);
  append_varint(out, data);
  out.push_back(2 << 3 | 2);
  append_varint(out, field);
  out.push_back(static_cast<char>((static_cast<int>(stream) + 1) << 3 | 2));
  append_varint(out, bytes.size());
  out.append(bytes);
}

void append_message(std::string& out, Codec codec, const ::process::StartResponse& message) {
  out += rpc::envelope(0, serialise_message(message, codec));
}

}  // namespace

void append_base64(std::string& out, std::string_view bytes) {
  const std::size_t begin = out.size();
  out.resize(begin + (bytes.size() + 2) / 3 * 4);
  char* to = out.data() + begin;
  const auto* from = reinterpret_cast<const unsigned char*>(bytes.data());
  std::size_t left = bytes.size();
  for (; left >= 3; left -= 3, from += 3, to += 4) {
    const unsigned value = from[0] << 16 | from[1] << 8 | from[2];
    std::memcpy(to, kPairs[value >> 12].data(), 2);
    std::memcpy(to + 2, kPairs[value & 4095].data(), 2);
  }
  if (left == 0) return;
  const unsigned value = from[0] << 16 | (left == 2 ? from[1] << 8 : 0);
  std::memcpy(to, kPairs[value >> 12].data(), 2);
  to[2] = left == 2 ? kAlphabet[value >> 6 & 63] : '=';
  to[3] = '=';
}

void append_output_event(std::string& out, Codec codec, OutputStream stream, std::string_view bytes) {
  if (codec == Codec::json)
    append_json_output(out, stream, bytes);
  else
    append_proto_output(out, stream, bytes);
}

void append_start_event(std::string& out, Codec codec, std::uint32_t pid) {
  ::process::StartResponse message;
  message.mutable_event()->mutable_start()->set_pid(pid);
  append_message(out, codec, message);
}

void append_end_event(std::string& out, Codec codec, const ExitReport& report) {
  ::process::StartResponse message;
  auto& end = *message.mutable_event()->mutable_end();
  end.set_exit_code(report.exit_code);
  end.set_exited(report.exited);
  end.set_status(report.status);
  if (report.error) end.set_error(*report.error);
  append_message(out, codec, message);
}

void append_keepalive_event(std::string& out, Codec codec) {
  ::process::StartResponse message;
  message.mutable_event()->mutable_keepalive();
  append_message(out, codec, message);
}

std::size_t encoded_size_max(std::size_t size) {
  return (size + 2) / 3 * 4 + 64;
}

}  // namespace atl::agent
