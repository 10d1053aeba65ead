#include "store/sqlite/database.h"

#include <fcntl.h>

#include "base/fs.h"

namespace atl::store {
namespace {

constexpr int kBusyMs = 5000;  // another process (a bootstrap, a backup) may hold the write lock that long

Errc errc_of_sqlite(int code) {
  switch (code & 0xff) {
    case SQLITE_CONSTRAINT: return Errc::exists;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: return Errc::unavailable;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH: return Errc::denied;
    default: return Errc::internal;
  }
}

}  // namespace

Result<Database> Database::open(const std::string& path) {
  // SQLite would create it with the umask's mode; it holds hashes of keys and customers' metadata.
  { TRY(const auto created, open_fd(path, O_RDWR | O_CREAT, 0600)); }
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  Database db(raw);
  if (code != SQLITE_OK) return db.failure("open " + path);
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(raw, kBusyMs);
  CHECK_OK(db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
                      "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"));
  return db;
}

Error Database::failure(std::string_view doing) const {
  const int code = handle_ ? sqlite3_extended_errcode(handle_.get()) : SQLITE_NOMEM;
  const char* text = handle_ ? sqlite3_errmsg(handle_.get()) : "out of memory";
  return make_error(errc_of_sqlite(code), "database: " + std::string(doing) + ": " + text);
}

Status Database::execute(const char* sql) {
  if (sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK)
    return failure(std::string_view(sql).substr(0, 40));
  return ok();
}

Result<std::int64_t> Database::number(const char* sql) {
  TRY(auto statement, Statement::prepare(*this, sql));
  auto run = statement.run();
  if (!run.row()) return failure(sql);
  return run.number(0);
}

Result<Statement> Statement::prepare(Database& db, std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  const int code = sqlite3_prepare_v3(db.handle(), sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  if (code != SQLITE_OK) return db.failure("prepare " + std::string(sql.substr(0, 60)));
  return Statement(raw);
}

Statement::Run& Statement::Run::bind(std::string_view text) {
  sqlite3_bind_text64(stmt_, next_++, text.data() ? text.data() : "", text.size(), SQLITE_STATIC, SQLITE_UTF8);
  return *this;
}

Statement::Run& Statement::Run::bind(std::int64_t number) {
  sqlite3_bind_int64(stmt_, next_++, number);
  return *this;
}

std::string Statement::Run::text(int column) const {
  const auto* bytes = sqlite3_column_text(stmt_, column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(stmt_, column));
  return bytes ? std::string(reinterpret_cast<const char*>(bytes), size) : std::string();
}

Result<Transaction> Transaction::begin(Database& db) {
  // IMMEDIATE: the lock is waited for here, not found missing in the middle.
  CHECK_OK(db.execute("BEGIN IMMEDIATE"));
  return Transaction(&db);
}

Transaction::~Transaction() {
  if (db_) sqlite3_exec(db_->handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

Status Transaction::commit() {
  CHECK_OK(db_->execute("COMMIT"));
  db_ = nullptr;
  return ok();
}

}  // namespace atl::store
