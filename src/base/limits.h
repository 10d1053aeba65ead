#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>

// Every bound that more than one file needs, its unit in its name. Reaching one is an error that
// names it, never a hang.
namespace atl::limits {

inline constexpr std::size_t rest_body_bytes_max = 16u << 20;
inline constexpr std::size_t rpc_message_bytes_max = 16u << 20;      // one Connect message
inline constexpr std::size_t metadata_entries_max = 256;
inline constexpr std::size_t metadata_bytes_max = 64 * 1024;         // keys and values together
inline constexpr std::size_t env_entries_max = 1024;
inline constexpr std::size_t env_bytes_max = 512 * 1024;
inline constexpr std::size_t sandboxes_per_node_max = 2000;
inline constexpr std::size_t id_bytes_max = 64;

inline constexpr std::int64_t sandbox_timeout_s_max = 30 * 24 * 3600;
inline constexpr std::chrono::milliseconds agent_ready_ms_max{15'000};  // start to the agent's first answer
inline constexpr std::chrono::milliseconds create_ms_max{60'000};
inline constexpr std::uint64_t uid_range_size = 65536;                  // ids of one sandbox

}  // namespace atl::limits
