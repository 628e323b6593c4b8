#include "claims/formula.h"

#include <muParser.h>

#include <cmath>

#include "fmt/format.h"

namespace assay {

struct Formula::State {
  std::string expression;
  std::vector<std::string> names;
  std::vector<double> values;  // bound to the parser by address: never resized after Compile
  mu::Parser parser;
};

Formula::Formula(std::unique_ptr<State> state) : state_(std::move(state)) {}
Formula::Formula(Formula&&) noexcept = default;
Formula& Formula::operator=(Formula&&) noexcept = default;
Formula::~Formula() = default;
const std::vector<std::string>& Formula::names() const { return state_->names; }
const std::string& Formula::expression() const { return state_->expression; }

Result<Formula> Formula::Compile(std::string_view expression) {
  if (expression.size() > 2000) return BadInput("a formula is longer than 2,000 characters");
  auto state = std::make_unique<State>();
  state->expression = expression;
  // A plain "=" assigns in muParser: always a slip for "==" here.
  for (size_t at = expression.find('='); at != std::string_view::npos; at = expression.find('=', at + 2)) {
    const bool compares = at + 1 < expression.size() && expression[at + 1] == '=';
    const bool after_sign = at > 0 && std::string_view("<>!").find(expression[at - 1]) != std::string_view::npos;
    if (!compares && !after_sign) return BadInput(fmt::format("the formula \"{}\" assigns with =; compare with ==", expression));
  }
  try {
    state->parser.SetExpr(state->expression);
    for (const auto& [name, unused] : state->parser.GetUsedVar()) state->names.push_back(name);
    state->values.resize(state->names.size());
    for (size_t i = 0; i < state->names.size(); ++i) state->parser.DefineVar(state->names[i], &state->values[i]);
    (void)state->parser.Eval();
  } catch (const mu::Parser::exception_type& error) {
    return BadInput(fmt::format("the formula \"{}\" does not parse: {}", expression, error.GetMsg()));
  } catch (const std::exception& error) {
    return BadInput(fmt::format("the formula \"{}\" does not parse: {}", expression, error.what()));
  }
  return Formula(std::move(state));
}

std::string Formula::MissingFrom(const Variables& variables) const {
  for (const std::string& name : state_->names)
    if (!variables.contains(name)) return name;
  return {};
}

Result<double> Formula::Evaluate(const Variables& variables) const {
  for (size_t i = 0; i < state_->names.size(); ++i) {
    const auto at = variables.find(state_->names[i]);
    if (at == variables.end())
      return BadInput(fmt::format("the formula \"{}\" needs {}, which has no value", state_->expression, state_->names[i]));
    state_->values[i] = at->second;
  }
  try {
    const double value = state_->parser.Eval();
    if (std::isfinite(value)) return value;
  } catch (const mu::Parser::exception_type& error) {
    return BadInput(fmt::format("the formula \"{}\" cannot be evaluated: {}", state_->expression, error.GetMsg()));
  }
  std::string inputs;
  for (size_t i = 0; i < state_->names.size(); ++i) inputs += fmt::format(" {}={}", state_->names[i], state_->values[i]);
  return BadInput(fmt::format("the formula \"{}\" has no finite value at{}", state_->expression, inputs));
}

}  // namespace assay
