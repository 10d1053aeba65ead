#pragma once
#include "store/store.h"

namespace atl::store {

// Opens (or creates, mode 0600) the database file and brings its schema up to date. The folder must
// exist. Another process may have the same file open; writes wait for each other, 5 s at most.
Result<std::unique_ptr<Store>> open_sqlite_store(const std::string& path);

}  // namespace atl::store
