// A claim's formula: an arithmetic expression over named variables, compiled once and evaluated many times. muParser stays in the .cc.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace assay {

using Variables = std::map<std::string, double, std::less<>>;

class Formula {
 public:
  // Refuses an expression that does not parse, is longer than 2,000 characters, or assigns to a variable.
  static Result<Formula> Compile(std::string_view expression);
  Formula(Formula&&) noexcept;
  Formula& operator=(Formula&&) noexcept;
  ~Formula();

  [[nodiscard]] const std::vector<std::string>& names() const;  // the variables it uses, sorted
  [[nodiscard]] const std::string& expression() const;
  // The first variable it uses that `variables` lacks; empty if none.
  [[nodiscard]] std::string MissingFrom(const Variables& variables) const;
  // Refuses a missing variable and a result that is not finite (a division by zero).
  [[nodiscard]] Result<double> Evaluate(const Variables& variables) const;

 private:
  struct State;
  explicit Formula(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace assay
