// Result<T>: a value or an Error that tells the user what was wrong, where, and what to do. Expected failures (a file, a plan,
// an unsupported problem) travel as Result; bugs stop the program through ASSAY_CHECK (check.h).
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "core/check.h"

namespace assay {

// What kind of failure it is decides the exit code of the command line (docs/schemas/exit_codes.md).
enum class ErrorKind {
  kNotHeld,      // exit 1: something the user asked to hold does not
  kBadInput,     // exit 2: a file, an argument or a plan is malformed; the message says where and what to do
  kUnsupported,  // exit 2: well-formed, but nothing here serves it
  kEnvironment,  // exit 3: the machine, disk, permissions or a missing tool
  kInternal,     // exit 4: a bug that was caught
};

struct Error {
  ErrorKind kind = ErrorKind::kInternal;
  std::string message;  // e.g. "traces/a.csv:17: output_tokens is -3; it must be >= 0"

  // Adds context on the way up: Error{"x"}.In("file") reads "file: x".
  [[nodiscard]] Error In(std::string_view where) && {
    message = std::string(where) + ": " + message;
    return std::move(*this);
  }
};

inline Error BadInput(std::string message) { return {ErrorKind::kBadInput, std::move(message)}; }
inline Error Unsupported(std::string message) { return {ErrorKind::kUnsupported, std::move(message)}; }
inline Error EnvironmentError(std::string message) { return {ErrorKind::kEnvironment, std::move(message)}; }
inline Error NotHeld(std::string message) { return {ErrorKind::kNotHeld, std::move(message)}; }

struct Unit {};  // the value of a Result that carries none

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}    // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // The value; asking a failed Result for it is a bug, so check ok() first.
  [[nodiscard]] const T& value() const& {
    ASSAY_CHECK(ok(), std::get<1>(state_).message);
    return std::get<0>(state_);
  }
  [[nodiscard]] T& value() & {
    ASSAY_CHECK(ok(), std::get<1>(state_).message);
    return std::get<0>(state_);
  }
  // By value: `for (x : *F())` would otherwise walk a T that died with the Result.
  [[nodiscard]] T value() && {
    ASSAY_CHECK(ok(), std::get<1>(state_).message);
    return std::get<0>(std::move(state_));
  }
  const T& operator*() const& { return value(); }
  T& operator*() & { return value(); }
  T operator*() && { return std::move(*this).value(); }
  const T* operator->() const { return &value(); }
  T* operator->() { return &value(); }

  [[nodiscard]] const Error& error() const {
    ASSAY_CHECK(!ok(), "error() of a Result that holds a value");
    return std::get<1>(state_);
  }
  [[nodiscard]] Error TakeError() && {
    ASSAY_CHECK(!ok(), "TakeError() of a Result that holds a value");
    return std::get<1>(std::move(state_));
  }

 private:
  std::variant<T, Error> state_;
};

using Status = Result<Unit>;
inline Status Ok() { return Unit{}; }

#define ASSAY_CONCAT_INNER(a, b) a##b
#define ASSAY_CONCAT(a, b) ASSAY_CONCAT_INNER(a, b)

// ASSAY_TRY(auto x, F()): declares x with F()'s value, or returns F()'s error from the enclosing function.
#define ASSAY_TRY(declaration, expression)                                                     \
  auto ASSAY_CONCAT(assay_result_, __LINE__) = (expression);                                   \
  if (!ASSAY_CONCAT(assay_result_, __LINE__).ok())                                             \
    return std::move(ASSAY_CONCAT(assay_result_, __LINE__)).TakeError();                       \
  declaration = std::move(ASSAY_CONCAT(assay_result_, __LINE__)).value()

// ASSAY_RETURN_IF_ERROR(F()): for a Status, or a Result whose value is not needed.
#define ASSAY_RETURN_IF_ERROR(expression)                                       \
  do {                                                                          \
    if (auto assay_status = (expression); !assay_status.ok())                   \
      return std::move(assay_status).TakeError();                               \
  } while (false)

}  // namespace assay
