#include "store/sqlite.h"

#include <sqlite3.h>

#include <cmath>
#include <limits>

#include "fmt/format.h"

namespace assay::sqlite {

Error ErrorOf(int code, std::string_view path, std::string_view doing, std::string_view detail) {
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return EnvironmentError(fmt::format(
          "{}: locked by another process; wait for it to end, or use another store with --db (while {})", path, doing));
    case SQLITE_FULL:
      return EnvironmentError(fmt::format(
          "{}: the disk is full (while {}); everything stored before is safe: free some space and run the command again", path,
          doing));
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
      return EnvironmentError(fmt::format(
          "{}: cannot be written (while {}): {}; check its permissions and its directory's, or use another store with --db", path,
          doing, detail));
    case SQLITE_IOERR:
      return EnvironmentError(fmt::format(
          "{}: reading or writing failed (while {}): {}; check the disk and its quota; everything stored before is safe", path,
          doing, detail));
    case SQLITE_NOMEM:
      return EnvironmentError(fmt::format("{}: out of memory while {}", path, doing));
    case SQLITE_NOTADB:
      return BadInput(fmt::format("{}: not an Assay store: {}; give the path of a store with --db", path, detail));
    case SQLITE_CORRUPT:
      return BadInput(fmt::format(
          "{}: the file is damaged ({}, while {}); restore a copy, or salvage it with: sqlite3 '{}' .recover", path, detail, doing,
          path));
    default:
      return Error{ErrorKind::kInternal, fmt::format("{}: SQLite error {} while {}: {}", path, code, doing, detail)};
  }
}

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement& Statement::Bind(std::string_view text) {
  sqlite3_bind_text64(statement_, next_++, text.data() ? text.data() : "", text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  return *this;
}
Statement& Statement::BindBlob(std::string_view bytes) {
  sqlite3_bind_blob64(statement_, next_++, bytes.data() ? bytes.data() : "", bytes.size(), SQLITE_TRANSIENT);
  return *this;
}
Statement& Statement::Bind(int64_t value) {
  sqlite3_bind_int64(statement_, next_++, value);
  return *this;
}
Statement& Statement::Bind(double value) {
  sqlite3_bind_double(statement_, next_++, value);
  return *this;
}
Statement& Statement::BindTextOrNull(std::string_view text) {
  if (text.empty())
    sqlite3_bind_null(statement_, next_++);
  else
    Bind(text);
  return *this;
}

Result<bool> Statement::Step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) {
    sqlite3_reset(statement_);
    next_ = 1;
    return false;
  }
  Error error = database_->LastError(sqlite3_sql(statement_));
  sqlite3_reset(statement_);
  next_ = 1;
  return error;
}
Status Statement::Run() {
  ASSAY_TRY(const bool row, Step());
  ASSAY_CHECK(!row, "Run() is for statements without rows");
  return Ok();
}

std::string Statement::Text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return text == nullptr ? std::string() : std::string(text, static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
}
std::string Statement::Blob(int column) const {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  return bytes == nullptr ? std::string() : std::string(bytes, static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
}
int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_, column); }
double Statement::Real(int column) const {
  return IsNull(column) ? std::numeric_limits<double>::quiet_NaN() : sqlite3_column_double(statement_, column);
}
bool Statement::IsNull(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

namespace {
// A path as a file: URI; SQLite reads %, ? and # in one.
std::string UriOf(const std::string& path, std::string_view query) {
  std::string uri = "file:";
  for (const char c : path) {
    if (c == '%' || c == '?' || c == '#')
      uri += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    else
      uri.push_back(c);
  }
  return uri + std::string(query);
}
}  // namespace

std::string ReadOnlyUri(const std::string& path) { return UriOf(path, "?mode=ro"); }

Result<std::unique_ptr<Database>> Database::Open(const std::string& path, Mode mode, int busy_timeout_ms) {
  std::unique_ptr<Database> database(new Database);
  database->path_ = path;
  const std::string uri = UriOf(path, mode == Mode::kReadOnly ? "?mode=ro" : "?mode=rw");
  const int flags =
      SQLITE_OPEN_URI | SQLITE_OPEN_FULLMUTEX | (mode == Mode::kReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE);
  const int code = sqlite3_open_v2(uri.c_str(), &database->handle_, flags, nullptr);
  if (code != SQLITE_OK)
    return ErrorOf(code, path, "opening it", database->handle_ ? sqlite3_errmsg(database->handle_) : "out of memory");
  sqlite3_extended_result_codes(database->handle_, 1);
  sqlite3_busy_timeout(database->handle_, busy_timeout_ms);
  // A store may come from elsewhere (merge): nothing in its schema may run code of its own choosing.
  sqlite3_db_config(database->handle_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(database->handle_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  return database;
}

Database::~Database() { sqlite3_close_v2(handle_); }

Result<Statement> Database::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(handle_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr) != SQLITE_OK)
    return LastError("reading the store");
  return Statement(this, statement);
}

Status Database::Execute(const std::string& sql) {
  if (sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return LastError(sql.substr(0, 60));
  return Ok();
}

Result<int64_t> Database::QueryInt(std::string_view sql) {
  ASSAY_TRY(Statement statement, Prepare(sql));
  ASSAY_TRY(const bool row, statement.Step());
  return row ? statement.Int(0) : int64_t{0};
}

int64_t Database::changes() const { return sqlite3_changes64(handle_); }

Error Database::LastError(std::string_view doing) const {
  return ErrorOf(sqlite3_extended_errcode(handle_), path_, doing, sqlite3_errmsg(handle_));
}

Result<Transaction> Transaction::Begin(Database& database) {
  ASSAY_RETURN_IF_ERROR(database.Execute("BEGIN IMMEDIATE"));
  return Transaction(database);
}
Transaction::~Transaction() {
  // A failed statement may already have rolled back; then this does nothing worth reporting.
  if (database_ != nullptr && !sqlite3_get_autocommit(database_->handle())) (void)database_->Execute("ROLLBACK");
}
Status Transaction::Commit() {
  ASSAY_RETURN_IF_ERROR(database_->Execute("COMMIT"));
  database_ = nullptr;
  return Ok();
}

}  // namespace assay::sqlite
