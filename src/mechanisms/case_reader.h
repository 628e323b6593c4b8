// Access to a conformance case for adapters: every tensor is checked against the extents the adapter needs, so that a malformed case is a
// message with the case's path and never a crash.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "core/result.h"
#include "formats/conformance_case.h"
#include "mechanisms/case_adapter.h"
#include "mechanisms/mechanism.h"
#include "mechanisms/module_math.h"

namespace assay {

constexpr int64_t kAnyExtent = -1;

class CaseReader {
 public:
  explicit CaseReader(const ConformanceCase& conformance_case) : case_(conformance_case) {}

  // BadInput if it is missing or of another shape. kAnyExtent matches any extent.
  [[nodiscard]] Result<const TensorView*> View(std::string_view name, std::initializer_list<int64_t> shape) const;
  [[nodiscard]] Result<module_math::Array> Get(std::string_view name, std::initializer_list<int64_t> shape) const;
  // A missing tensor is an empty array (rank 0, no elements).
  [[nodiscard]] Result<module_math::Array> GetOptional(std::string_view name, std::initializer_list<int64_t> shape) const;
  // x W^T (+ bias) from NAME.weight and NAME.bias.
  [[nodiscard]] Result<module_math::Array> Project(const module_math::Array& x, const std::string& name, int64_t width) const;
  // What every reader of a RoPE scaling finds under the same names, each behind `prefix`: "yarn_" gives yarn_factor, yarn_truncate, ...
  [[nodiscard]] Status ReadScaling(const std::string& prefix, module_math::RopeScaling* scaling) const;
  // An integer attribute within [low, high]; `fallback` if absent.
  [[nodiscard]] Result<int64_t> Int(std::string_view name, int64_t fallback, int64_t low, int64_t high) const;
  [[nodiscard]] Result<double> Finite(std::string_view name, double fallback) const;
  // A count that the case may state although its tensors have it: BadInput if it is stated and is another.
  [[nodiscard]] Status Agrees(std::string_view name, int64_t extent) const;
  // Attributes that change nothing in this case's answer; any other that stays unread makes the case one not understood.
  void Passes(std::initializer_list<std::string_view> names) const;
  // An attribute that must be there.
  [[nodiscard]] Status Require(std::initializer_list<std::string_view> names) const;
  [[nodiscard]] bool WantsOutput(std::string_view name) const { return case_.Output(name) != nullptr; }
  [[nodiscard]] const ConformanceCase& source() const { return case_; }

 private:
  const ConformanceCase& case_;
};

// A case is a text file, so what it asks for can be far larger than itself. Unsupported, with the figures, if `operations` or the `elements`
// of one intermediate are beyond what a verification should take (seconds, 1 GB).
Status CheckWork(double operations, double elements);

inline const module_math::Array* OrNull(const module_math::Array& array) { return array.count() == 0 ? nullptr : &array; }
void AddOutput(CaseOutputs* outputs, std::string_view name, const module_math::Array& value);

}  // namespace assay
