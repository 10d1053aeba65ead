#pragma once
namespace atl::cli {
// The project's version, CMakeLists.txt project(... VERSION ...).
extern const char* const kVersion;
}  // namespace atl::cli
