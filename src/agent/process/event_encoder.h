#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "agent/codec.h"
#include "agent/process/exit_status.h"

namespace atl::agent {

enum class OutputStream : std::uint8_t { out, err, pty };

// Appends the standard base64 of `bytes`. The agent's hot path: twice libsodium's speed or more,
// since nothing here is a secret that needs constant time.
void append_base64(std::string& out, std::string_view bytes);

// Each appends one whole envelope that holds a StartResponse or ConnectResponse (both are
// {event=1}), so that a batch of events is one write.
void append_output_event(std::string& out, Codec codec, OutputStream stream, std::string_view bytes);
void append_start_event(std::string& out, Codec codec, std::uint32_t pid);
void append_end_event(std::string& out, Codec codec, const ExitReport& report);
void append_keepalive_event(std::string& out, Codec codec);

// Bytes that append_output_event adds for `size` bytes of output, at most.
std::size_t encoded_size_max(std::size_t size);

}  // namespace atl::agent
