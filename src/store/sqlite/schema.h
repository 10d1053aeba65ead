#pragma once
#include "store/sqlite/database.h"

namespace atl::store {

// The version that this program writes; kept in PRAGMA user_version.
std::int64_t schema_version();

// Brings the database to schema_version(), each step in its own transaction. A database of a later
// version is Errc::unsupported and is left as it is.
Status migrate(Database& db);

}  // namespace atl::store
