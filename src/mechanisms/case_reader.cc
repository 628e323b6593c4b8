#include "mechanisms/case_reader.h"

#include <fmt/format.h>

#include <cmath>

#include "formats/text.h"

namespace assay {
namespace {

std::string Wanted(std::initializer_list<int64_t> shape) {
  std::string text = "[";
  for (const int64_t extent : shape) text += fmt::format("{}{}", text.size() > 1 ? ", " : "", extent == kAnyExtent ? std::string("*") : std::to_string(extent));
  return text + "]";
}

Status CheckShape(const TensorView& view, std::string_view name, std::initializer_list<int64_t> shape) {
  bool agrees = view.rank == static_cast<int>(shape.size());
  size_t axis = 0;
  for (const int64_t extent : shape) {
    if (agrees && extent != kAnyExtent && view.shape[axis] != extent) agrees = false;
    ++axis;
  }
  if (!agrees) return BadInput(fmt::format("input '{}' is {}; expected {}", name, ShapeString(view), Wanted(shape)));
  return Ok();
}

}  // namespace

Result<const TensorView*> CaseReader::View(std::string_view name, std::initializer_list<int64_t> shape) const {
  const TensorView* view = case_.Input(name);
  if (view == nullptr) return BadInput(fmt::format("input '{}' is missing", name));
  ASSAY_RETURN_IF_ERROR(CheckShape(*view, name, shape));
  return view;
}

Result<module_math::Array> CaseReader::Get(std::string_view name, std::initializer_list<int64_t> shape) const {
  ASSAY_TRY(const TensorView* view, View(name, shape));
  return module_math::Array::From(*view);
}

Result<module_math::Array> CaseReader::GetOptional(std::string_view name, std::initializer_list<int64_t> shape) const {
  if (case_.Input(name) == nullptr) return module_math::Array();
  return Get(name, shape);
}

Result<int64_t> CaseReader::Int(std::string_view name, int64_t fallback, int64_t low, int64_t high) const {
  const int64_t value = case_.Int(name, fallback);
  if (value < low || value > high) return BadInput(fmt::format("attribute '{}' is {}; it must be from {} to {}", name, value, low, high));
  return value;
}

Result<double> CaseReader::Finite(std::string_view name, double fallback) const {
  const double value = case_.Float(name, fallback);
  if (!std::isfinite(value)) return BadInput(fmt::format("attribute '{}' is {}; it must be finite", name, value));
  return value;
}

Status CaseReader::Require(std::initializer_list<std::string_view> names) const {
  for (const std::string_view name : names) {
    if (!case_.Has(name)) return BadInput(fmt::format("attribute '{}' is missing", name));
  }
  return Ok();
}

Status CheckWork(double operations, double elements) {
  constexpr double kMostOperations = 4e9;
  constexpr double kMostElements = 1 << 27;
  if (operations <= kMostOperations && elements <= kMostElements) return Ok();
  return Unsupported(fmt::format("the case needs {:.2g} operations and {:.2g} elements at once; at most {:.2g} and {:.2g} are verified", operations, elements, kMostOperations, kMostElements));
}

void AddOutput(CaseOutputs* outputs, std::string_view name, const module_math::Array& value) {
  outputs->outputs.push_back({std::string(name), value.ToTensor()});
}

}  // namespace assay
