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

Result<module_math::Array> CaseReader::Project(const module_math::Array& x, const std::string& name, int64_t width) const {
  ASSAY_TRY(const module_math::Array weight, Get(name + ".weight", {width, x.extent(-1)}));
  ASSAY_TRY(const module_math::Array bias, GetOptional(name + ".bias", {width}));
  return module_math::Linear(x, weight, OrNull(bias));
}

Status CaseReader::ReadScaling(const std::string& prefix, module_math::RopeScaling* scaling) const {
  struct Field {
    const char* name;
    double* value;
  };
  const Field fields[] = {{"factor", &scaling->factor},
                          {"original_max_position_embeddings", &scaling->original_max_position_embeddings},
                          {"max_position_embeddings", &scaling->max_position_embeddings},
                          {"mscale", &scaling->mscale},
                          {"mscale_all_dim", &scaling->mscale_all_dim},
                          {"beta_fast", &scaling->beta_fast},
                          {"beta_slow", &scaling->beta_slow},
                          {"low_freq_factor", &scaling->low_freq_factor},
                          {"high_freq_factor", &scaling->high_freq_factor}};
  for (const Field& field : fields) {
    ASSAY_TRY(*field.value, Finite(prefix + field.name, *field.value));
  }
  ASSAY_TRY(const int64_t truncate, Int(prefix + "truncate", 1, 0, 1));
  scaling->truncate = truncate != 0;
  return Ok();
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

Status CaseReader::Agrees(std::string_view name, int64_t extent) const {
  const int64_t stated = case_.Int(name, extent);
  if (stated != extent) return BadInput(fmt::format("attribute '{}' is {}; the tensors have {}", name, stated, extent));
  return Ok();
}

void CaseReader::Passes(std::initializer_list<std::string_view> names) const {
  for (const std::string_view name : names) static_cast<void>(case_.Has(name));
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
