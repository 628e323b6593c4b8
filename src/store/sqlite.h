// A thin, exception-free layer over SQLite for store.cc and its parts: statements that finalize themselves, and errors that say which
// file, what was wrong and what to do. Not for other folders: they use store.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace assay::sqlite {

class Database;

// A prepared statement. Bind in order (1-based), then Step() until it returns false.
class Statement {
 public:
  Statement() = default;
  Statement(Database* database, sqlite3_stmt* statement) : database_(database), statement_(statement) {}
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  Statement(Statement&& other) noexcept : database_(other.database_), statement_(std::exchange(other.statement_, nullptr)) {}
  Statement& operator=(Statement&& other) noexcept {
    std::swap(database_, other.database_);
    std::swap(statement_, other.statement_);
    return *this;
  }
  ~Statement();

  Statement& Bind(std::string_view text);
  Statement& BindBlob(std::string_view bytes);
  Statement& Bind(int64_t value);
  Statement& Bind(double value);  // infinities are kept; NaN becomes NULL
  Statement& BindTextOrNull(std::string_view text);

  Result<bool> Step();  // true: a row is ready
  Status Run();         // for statements that give no rows
  std::string Text(int column) const;
  std::string Blob(int column) const;
  int64_t Int(int column) const;
  double Real(int column) const;  // NULL reads as NaN
  bool IsNull(int column) const;

 private:
  Database* database_ = nullptr;
  sqlite3_stmt* statement_ = nullptr;
  int next_ = 1;
};

class Database {
 public:
  enum class Mode { kReadWrite, kReadOnly };

  static Result<std::unique_ptr<Database>> Open(const std::string& path, Mode mode, int busy_timeout_ms);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Result<Statement> Prepare(std::string_view sql);
  Status Execute(const std::string& sql);  // one or more statements, no rows wanted
  Result<int64_t> QueryInt(std::string_view sql);
  int64_t changes() const;
  // The last failure, as a message a user can act on.
  Error LastError(std::string_view doing) const;
  const std::string& path() const { return path_; }
  sqlite3* handle() const { return handle_; }

 private:
  Database() = default;
  std::string path_;
  sqlite3* handle_ = nullptr;
};

// BEGIN IMMEDIATE now; ROLLBACK on destruction unless Commit() succeeded.
class Transaction {
 public:
  static Result<Transaction> Begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Status Commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_ = nullptr;
};

// `path` as a file: URI that opens for reading only.
std::string ReadOnlyUri(const std::string& path);

// The error of SQLite result `code` for the file at `path`.
Error ErrorOf(int code, std::string_view path, std::string_view doing, std::string_view detail);

}  // namespace assay::sqlite
