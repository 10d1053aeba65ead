#pragma once
#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace atl::store {

// Owns one SQLite connection. Blocking; one thread at a time.
class Database {
 public:
  // Creates the file with mode 0600 where it is missing. WAL, foreign keys on, every commit synced.
  static Result<Database> open(const std::string& path);

  Status execute(const char* sql);  // any number of statements without parameters
  Result<std::int64_t> number(const char* sql);
  Error failure(std::string_view doing) const;
  sqlite3* handle() const { return handle_.get(); }
  int changes() const { return sqlite3_changes(handle_.get()); }

 private:
  struct Close {
    void operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }
  };
  explicit Database(sqlite3* handle) : handle_(handle) {}
  std::unique_ptr<sqlite3, Close> handle_;
};

// One prepared statement, used again and again: bind, step..., and it resets itself when the
// Run that the use began with is destroyed.
class Statement {
 public:
  static Result<Statement> prepare(Database& db, std::string_view sql);

  class Run {
   public:
    explicit Run(sqlite3_stmt* stmt) : stmt_(stmt) {}
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    ~Run() {
      sqlite3_reset(stmt_);
      sqlite3_clear_bindings(stmt_);
    }
    // Parameters in order. The text must live until the Run ends.
    Run& bind(std::string_view text);
    Run& bind(std::int64_t number);
    bool row() { return (code_ = sqlite3_step(stmt_)) == SQLITE_ROW; }
    // After row() said false: did it end well?
    bool done() const { return code_ == SQLITE_DONE; }
    bool complete() { return !row() && done(); }
    bool constraint() const { return (code_ & 0xff) == SQLITE_CONSTRAINT; }
    std::string text(int column) const;
    std::int64_t number(int column) const { return sqlite3_column_int64(stmt_, column); }

   private:
    sqlite3_stmt* stmt_;
    int next_ = 1;
    int code_ = SQLITE_OK;
  };
  Run run() { return Run(stmt_.get()); }

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* stmt) const { sqlite3_finalize(stmt); }
  };
  explicit Statement(sqlite3_stmt* stmt) : stmt_(stmt) {}
  std::unique_ptr<sqlite3_stmt, Finalize> stmt_;
};

// Rolled back unless committed.
class Transaction {
 public:
  static Result<Transaction> begin(Database& db);
  Transaction(Transaction&& other) noexcept : db_(std::exchange(other.db_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Status commit();

 private:
  explicit Transaction(Database* db) : db_(db) {}
  Database* db_;
};

}  // namespace atl::store
