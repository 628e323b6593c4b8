#include "formats/stack.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/text.h"

namespace assay::formats {
namespace {

constexpr size_t kLongest = 1000;
constexpr size_t kMostTerms = 64;
constexpr size_t kMostArguments = 32;
constexpr int64_t kLargestCount = 1000;

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}
bool StartsName(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool InName(char c) {
  return StartsName(c) || IsDigit(c);
}
bool InValue(char c) {
  return InName(c) || c == '.' || c == '-' || c == '+';
}

class StackParser {
 public:
  explicit StackParser(std::string_view text) : text_(text) {}

  Result<Stack> ParseWholeStack() {
    ASSAY_RETURN_IF_ERROR(CheckLength());
    Stack stack;
    do {
      if (stack.pattern.size() == kMostTerms) return Bad("more than 64 terms");
      StackTerm term;
      SkipBlanks();
      if (at_ < text_.size() && IsDigit(text_[at_])) {
        ASSAY_TRY(term.count, Count());
        if (!Accept('*')) return Bad("expected '*' after a count, as in 5*sliding_window(1024)");
      }
      ASSAY_TRY(term.mechanism, Call());
      stack.pattern.push_back(std::move(term));
    } while (Accept('+'));
    if (at_ != text_.size()) return Bad("expected '+' and another term, as in 5*sliding_window(1024)+1*gqa");
    return stack;
  }

  Result<MechanismCall> ParseWholeCall() {
    ASSAY_RETURN_IF_ERROR(CheckLength());
    ASSAY_TRY(MechanismCall call, Call());
    SkipBlanks();
    if (at_ != text_.size()) return Bad("expected nothing more after one mechanism, as in mla(512,64)");
    return call;
  }

 private:
  Error Bad(std::string_view what) const {
    return BadInput(fmt::format("'{}', character {}: {}", Printable(text_), at_ + 1, what));
  }
  Status CheckLength() const {
    if (text_.size() > kLongest) return Bad("longer than 1,000 characters");
    return Ok();
  }
  void SkipBlanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  bool Accept(char c) {
    SkipBlanks();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    SkipBlanks();
    return true;
  }
  std::string_view TakeWhile(bool (*belongs)(char)) {
    SkipBlanks();
    const size_t start = at_;
    while (at_ < text_.size() && belongs(text_[at_])) ++at_;
    return text_.substr(start, at_ - start);
  }

  Result<int64_t> Count() {
    const auto count = ParseInt(TakeWhile(IsDigit));
    if (!count || *count < 1 || *count > kLargestCount) return Bad("a count must be between 1 and 1000 layers");
    return *count;
  }

  Result<MechanismCall> Call() {
    SkipBlanks();
    MechanismCall call;
    if (at_ == text_.size() || !StartsName(text_[at_])) return Bad("expected a mechanism, as in gqa or mla(512,64)");
    call.id = TakeWhile(InName);
    if (!Accept('(')) return call;
    if (Accept(')')) return call;
    do {
      if (call.arguments.size() == kMostArguments) return Bad("more than 32 arguments");
      ASSAY_TRY(MechanismArgument argument, Argument());
      if (argument.name.empty() && !call.arguments.empty() && !call.arguments.back().name.empty()) {
        return Bad("an argument without a name follows one with a name; put it first");
      }
      const auto same_name = [&](const MechanismArgument& other) {
        return !argument.name.empty() && other.name == argument.name;
      };
      if (std::any_of(call.arguments.begin(), call.arguments.end(), same_name))
        return Bad(fmt::format("'{}' is given twice", argument.name));
      call.arguments.push_back(std::move(argument));
    } while (Accept(','));
    if (!Accept(')')) return Bad("expected ',' or ')'");
    return call;
  }

  Result<MechanismArgument> Argument() {
    MechanismArgument argument;
    argument.text = TakeWhile(InValue);
    if (!argument.text.empty() && StartsName(argument.text[0]) && Accept('=')) {
      if (!std::all_of(argument.text.begin(), argument.text.end(), InName))
        return Bad("an argument's name is letters, digits and _");
      argument.name = std::move(argument.text);
      argument.text = TakeWhile(InValue);
    }
    if (argument.text.empty()) return Bad("expected a value: a number or a word");
    argument.number = StartsName(argument.text[0]) ? std::nullopt : ParseDouble(argument.text);
    if (!argument.number && !StartsName(argument.text[0]))
      return Bad(fmt::format("'{}' is neither a number nor a word", argument.text));
    return argument;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

const MechanismArgument* MechanismCall::Find(std::string_view name, size_t position) const {
  for (const MechanismArgument& argument : arguments) {
    if (!argument.name.empty() && argument.name == name) return &argument;
  }
  if (position < arguments.size() && arguments[position].name.empty()) return &arguments[position];
  return nullptr;
}

std::string MechanismCall::ToString() const {
  if (arguments.empty()) return id;
  std::string text = id + "(";
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (i > 0) text += ",";
    if (!arguments[i].name.empty()) text += arguments[i].name + "=";
    text += arguments[i].text;
  }
  return text + ")";
}

std::string Stack::ToString() const {
  std::string text;
  for (const StackTerm& term : pattern) {
    if (!text.empty()) text += "+";
    if (term.count != 1 || pattern.size() > 1) text += fmt::format("{}*", term.count);
    text += term.mechanism.ToString();
  }
  return text;
}

Result<MechanismCall> ParseMechanismCall(std::string_view text) {
  return StackParser(text).ParseWholeCall();
}
Result<Stack> ParseStack(std::string_view text) {
  return StackParser(text).ParseWholeStack();
}

Result<std::vector<MechanismCall>> ExpandStack(const Stack& stack, int64_t layers) {
  int64_t period = 0;
  for (const StackTerm& term : stack.pattern) period += term.count;
  if (period < 1) return BadInput("a stack needs at least one term, as in 'gqa'");
  // A lone term repeats by itself, whatever its count.
  if (layers > 10000) return BadInput(fmt::format("{} layers; at most 10000 are read", layers));
  if (layers < 1 || (period > layers && stack.pattern.size() > 1)) {
    return BadInput(fmt::format("stack '{}' is {} layers long, the model has {}; shorten the pattern", stack.ToString(),
                                period, layers));
  }
  std::vector<MechanismCall> out;
  out.reserve(static_cast<size_t>(layers));
  while (static_cast<int64_t>(out.size()) < layers) {
    for (const StackTerm& term : stack.pattern) {
      for (int64_t i = 0; i < term.count && static_cast<int64_t>(out.size()) < layers; ++i)
        out.push_back(term.mechanism);
    }
  }
  if (stack.last) out.back() = *stack.last;
  return out;
}

std::vector<LayerCount> CountLayers(const std::vector<MechanismCall>& layers) {
  std::vector<LayerCount> counts;
  for (const MechanismCall& call : layers) {
    const auto found =
        std::find_if(counts.begin(), counts.end(), [&](const LayerCount& c) { return c.mechanism == call; });
    if (found == counts.end())
      counts.push_back({call, 1});
    else
      ++found->layers;
  }
  return counts;
}

}  // namespace assay::formats
