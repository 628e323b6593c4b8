#include "formats/conformance_case.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "formats/json.h"
#include "formats/text.h"

namespace assay::formats {
namespace {

constexpr size_t kLargestFileBytes = 64 * kMegabyte;
constexpr int kMostTensors = 64;
constexpr size_t kMostAttributeValues = 4096;
constexpr std::string_view kOpenVinoFile = "openvino_gated_delta_net.json";

template <class List>
const TensorView* FindIndex(const List& list, int index) {
  for (const CaseTensor& tensor : list) {
    if (tensor.index == index) return &tensor.tensor.view();
  }
  return nullptr;
}

template <class List>
const TensorView* FindName(const List& list, std::string_view name) {
  for (const CaseTensor& tensor : list) {
    if (tensor.name == name) return &tensor.tensor.view();
  }
  return nullptr;
}

// Doubles hold every floating type exactly; integers are stored through int64, which a double would not hold.
Status StoreWord(const TensorView& view, size_t index, std::string_view word) {
  if (IsFloat(view.dtype)) {
    const auto value = ParseDouble(word);
    if (!value) return BadInput(fmt::format("'{}' is not a number", Printable(word)));
    StoreElement(view.data, view.dtype, index, *value);
    return Ok();
  }
  const auto value = ParseInt(word);
  if (!value) return BadInput(fmt::format("'{}' is not an integer", Printable(word)));
  if (view.dtype == DType::kI64) {
    view.as<int64_t>()[index] = *value;
    return Ok();
  }
  StoreElement(view.data, view.dtype, index, static_cast<double>(*value));
  if (LoadElement(view.data, view.dtype, index) != static_cast<double>(*value)) {
    return BadInput(fmt::format("{} does not fit in {}", *value, NameOf(view.dtype)));
  }
  return Ok();
}

class CaseParser {
 public:
  CaseParser(std::string_view text, const std::string& path) : lines_(text), path_(path) { case_.path = path; }

  Result<Case> Parse() {
    case_.name = std::filesystem::path(path_).stem().string();
    ASSAY_RETURN_IF_ERROR(ParseHeader());
    std::string_view line;
    while (lines_.Next(&line)) {
      std::string_view rest = line;
      const std::string_view kind = NextWord(&rest);
      if (kind.empty()) continue;
      if (kind == "a") {
        if (!case_.inputs.empty() || !case_.outputs.empty()) return Bad("an attribute after a tensor; attributes come first");
        ASSAY_RETURN_IF_ERROR(ParseAttribute(rest));
      } else if (kind == "t") {
        ASSAY_RETURN_IF_ERROR(ParseTensor(rest));
      } else {
        return Bad(fmt::format("a line starts with '{}'; expected 'a' (attribute) or 't' (tensor)", Printable(kind)));
      }
    }
    if (case_.outputs.empty())
      return Bad("the case has no output ('t out ...'), so it checks nothing; is the file complete?");
    const auto by_index = [](const CaseTensor& a, const CaseTensor& b) { return a.index < b.index; };
    std::sort(case_.inputs.begin(), case_.inputs.end(), by_index);
    std::sort(case_.outputs.begin(), case_.outputs.end(), by_index);
    return std::move(case_);
  }

 private:
  Error Bad(std::string message) const { return BadInput(std::move(message)).In(At(path_, lines_.number())); }

  Status ParseHeader() {
    std::string_view line;
    if (!lines_.Next(&line)) return BadInput(fmt::format("{}: empty; a case starts with 'op NAME opset N'", path_));
    const std::string_view op = NextWord(&line);
    const std::string_view name = NextWord(&line);
    const std::string_view opset = NextWord(&line);
    const auto number = ParseInt(NextWord(&line));
    if (op != "op" || opset != "opset" || name.empty() || name.size() > 200 || !number || *number < 0 ||
        *number > 10000) {
      return Bad("a case starts with 'op NAME opset N'");
    }
    case_.op = Printable(name);
    case_.opset = static_cast<int>(*number);
    return Ok();
  }

  Status ParseAttribute(std::string_view rest) {
    const std::string name(NextWord(&rest));
    const std::string_view type = NextWord(&rest);
    if (name.empty() || name.size() > 200)
      return Bad("an attribute needs a name: 'a NAME int|float|ints|floats|str VALUE...'");
    if (case_.attributes.size() >= kMostAttributeValues) return Bad("more than 4096 attributes");
    if (case_.Has(name)) return Bad(fmt::format("attribute '{}' is given twice; keep one", Printable(name)));
    std::vector<std::string_view> words;
    if (type != "str") {
      for (std::string_view word = NextWord(&rest); !word.empty(); word = NextWord(&rest)) {
        if (words.size() == kMostAttributeValues)
          return Bad(fmt::format("attribute '{}' has more than {} values", Printable(name), kMostAttributeValues));
        words.push_back(word);
      }
    }
    const bool single = type == "int" || type == "float";
    if (single && words.size() != 1)
      return Bad(fmt::format("attribute '{}' has {} values; {} takes one", Printable(name), words.size(), type));
    std::vector<int64_t> ints;
    std::vector<double> floats;
    for (const std::string_view word : words) {
      if (type == "int" || type == "ints") {
        const auto value = ParseInt(word);
        if (!value) return Bad(fmt::format("attribute '{}': '{}' is not an integer", Printable(name), Printable(word)));
        ints.push_back(*value);
      } else {
        const auto value = ParseDouble(word);
        if (!value) return Bad(fmt::format("attribute '{}': '{}' is not a number", Printable(name), Printable(word)));
        floats.push_back(*value);
      }
    }
    if (type == "int")
      case_.attributes[name] = ints[0];
    else if (type == "float")
      case_.attributes[name] = floats[0];
    else if (type == "ints")
      case_.attributes[name] = std::move(ints);
    else if (type == "floats")
      case_.attributes[name] = std::move(floats);
    else if (type == "str")
      case_.attributes[name] = std::string(Trim(rest));
    else
      return Bad(fmt::format("attribute type '{}' is unknown; known: int, float, ints, floats, str", Printable(type)));
    return Ok();
  }

  Status ParseTensor(std::string_view rest) {
    const std::string_view side = NextWord(&rest);
    const auto index = ParseInt(NextWord(&rest));
    const std::string name(NextWord(&rest));
    const std::string_view dtype_name = NextWord(&rest);
    const auto rank = ParseInt(NextWord(&rest));
    if ((side != "in" && side != "out") || !index || *index < 0 || *index >= kMostTensors || name.empty() ||
        name.size() > 200 || !rank) {
      return Bad("a tensor line reads 't in|out INDEX NAME DTYPE NDIM DIM...', INDEX below 64");
    }
    auto& list = side == "in" ? case_.inputs : case_.outputs;
    if (FindIndex(list, static_cast<int>(*index)) != nullptr)
      return Bad(fmt::format("{} {} is given twice; keep one", side, *index));
    const auto dtype = DTypeFromName(dtype_name);
    if (!dtype)
      return Unsupported(fmt::format("dtype '{}' is not one Assay computes with", Printable(dtype_name)))
          .In(At(path_, lines_.number()));
    if (*rank < 0 || *rank > kMaxRank)
      return Unsupported(fmt::format("{} dimensions; at most {} are read", *rank, kMaxRank))
          .In(At(path_, lines_.number()));
    std::vector<int64_t> shape;
    for (int64_t axis = 0; axis < *rank; ++axis) {
      const auto extent = ParseInt(NextWord(&rest));
      if (!extent || *extent < 0)
        return Bad(fmt::format("tensor '{}' needs {} dimensions >= 0", Printable(name), *rank));
      shape.push_back(*extent);
    }
    if (!NextWord(&rest).empty())
      return Bad(fmt::format("tensor '{}' names more dimensions than its NDIM {}", Printable(name), *rank));
    return ParseValues(&list, static_cast<int>(*index), name, *dtype, shape);
  }

  Status ParseValues(std::vector<CaseTensor>* list, int index, const std::string& name, DType dtype,
                     const std::vector<int64_t>& shape) {
    std::string_view values;
    if (!lines_.Next(&values)) values = {};
    // A value takes at least two bytes of the line (a digit and a blank), so the line bounds what is allocated,
    // whatever the header says. An empty tensor takes no memory; its other extents are only kept from overflowing.
    const bool is_empty = std::find(shape.begin(), shape.end(), 0) != shape.end();
    const auto most = is_empty ? int64_t{1} << 24 : static_cast<int64_t>(values.size() / 2 + 1);
    int64_t count = 1;
    for (const int64_t extent : shape) {
      if (extent != 0 && count > most / extent) {
        return Bad(
            fmt::format("tensor '{}' has fewer values than its shape needs; is the file cut short?", Printable(name)));
      }
      if (extent != 0) count *= extent;
    }
    Tensor tensor(dtype, shape);
    if (is_empty) count = 0;
    for (int64_t i = 0; i < count; ++i) {
      const std::string_view word = NextWord(&values);
      if (word.empty())
        return Bad(fmt::format("tensor '{}' has {} values; its shape needs {}", Printable(name), i, count));
      if (auto stored = StoreWord(tensor.view(), static_cast<size_t>(i), word); !stored.ok()) {
        return std::move(stored).TakeError().In(
            fmt::format("{}: tensor '{}', value {}", At(path_, lines_.number()), Printable(name), i));
      }
    }
    if (!NextWord(&values).empty())
      return Bad(fmt::format("tensor '{}' has more values than its shape's {}", Printable(name), count));
    list->push_back({index, name, std::move(tensor)});
    return Ok();
  }

  Lines lines_;
  const std::string& path_;
  Case case_;
};

// The arrays of the OpenVINO file, in the order that the Case lists them. log_decay and beta have a value per (batch,
// token, value head).
struct OpenVinoField {
  const char* key;
  const char* shape_key;
  bool drops_last_axis;
};
constexpr OpenVinoField kOpenVinoInputs[] = {{"q", "q_shape", false},        {"k", "q_shape", false},
                                             {"v", "v_shape", false},        {"state", "state_shape", false},
                                             {"log_decay", "v_shape", true}, {"beta", "v_shape", true}};
constexpr OpenVinoField kOpenVinoOutputs[] = {{"out", "v_shape", false}, {"final_state", "state_shape", false}};

Result<Tensor> OpenVinoTensor(const nlohmann::json& object, const OpenVinoField& field) {
  const auto shape_json = object.find(field.shape_key);
  const auto values = object.find(field.key);
  if (shape_json == object.end() || !shape_json->is_array() || shape_json->size() != 4) {
    return BadInput(fmt::format("'{}' must be an array of 4 extents", field.shape_key));
  }
  if (values == object.end() || !values->is_array())
    return BadInput(fmt::format("'{}' must be an array of numbers", field.key));
  std::vector<int64_t> shape;
  int64_t count = 1;
  for (size_t axis = 0; axis < (field.drops_last_axis ? 3u : 4u); ++axis) {
    const auto& extent = (*shape_json)[axis];
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > values->size()) {
      return BadInput(
          fmt::format("'{}' does not describe the {} values of '{}'", field.shape_key, values->size(), field.key));
    }
    shape.push_back(extent.get<int64_t>());
    count =
        std::min<int64_t>(count * shape.back(), int64_t{1} << 31);  // saturates: only equality with a real size matters
  }
  if (count != static_cast<int64_t>(values->size())) {
    return BadInput(
        fmt::format("'{}' has {} values; '{}' needs {}", field.key, values->size(), field.shape_key, count));
  }
  Tensor tensor(DType::kF32, shape);
  for (size_t i = 0; i < values->size(); ++i) {
    if (!(*values)[i].is_number()) return BadInput(fmt::format("'{}' holds something that is not a number", field.key));
    tensor.data<float>()[i] = static_cast<float>((*values)[i].get<double>());
  }
  return tensor;
}

}  // namespace

const TensorView* Case::Input(int index) const {
  reads_.inputs.insert(index);
  return FindIndex(inputs, index);
}
const TensorView* Case::Input(std::string_view tensor_name) const {
  for (const CaseTensor& input : inputs) {
    if (input.name == tensor_name) return Input(input.index);
  }
  return nullptr;
}
const TensorView* Case::Output(int index) const {
  return FindIndex(outputs, index);
}
const TensorView* Case::Output(std::string_view tensor_name) const {
  return FindName(outputs, tensor_name);
}

const CaseAttribute* Case::Find(std::string_view attribute) const {
  const auto found = attributes.find(attribute);
  if (found == attributes.end()) return nullptr;
  reads_.attributes.emplace(attribute);
  return &found->second;
}

int64_t Case::Int(std::string_view attribute, int64_t fallback) const {
  const CaseAttribute* found = Find(attribute);
  if (found == nullptr) return fallback;
  if (const auto* value = std::get_if<int64_t>(found)) return *value;
  reads_.misread.emplace(attribute);
  return fallback;
}

double Case::Float(std::string_view attribute, double fallback) const {
  const CaseAttribute* found = Find(attribute);
  if (found == nullptr) return fallback;
  if (const auto* value = std::get_if<double>(found)) return *value;
  if (const auto* value = std::get_if<int64_t>(found)) return static_cast<double>(*value);
  reads_.misread.emplace(attribute);
  return fallback;
}

std::string Case::Str(std::string_view attribute, std::string_view fallback) const {
  const CaseAttribute* found = Find(attribute);
  if (found == nullptr) return std::string(fallback);
  if (const auto* value = std::get_if<std::string>(found)) return *value;
  reads_.misread.emplace(attribute);
  return std::string(fallback);
}

std::vector<std::string> Case::Unread() const {
  std::vector<std::string> names;
  for (const auto& [attribute, value] : attributes) {
    if (!reads_.attributes.contains(attribute)) names.push_back(fmt::format("attribute '{}'", Printable(attribute)));
  }
  for (const CaseTensor& input : inputs) {
    if (!reads_.inputs.contains(input.index)) names.push_back(fmt::format("input '{}'", Printable(input.name)));
  }
  return names;
}

std::vector<std::string> Case::Misread() const {
  std::vector<std::string> names;
  for (const std::string& attribute : reads_.misread) names.push_back(fmt::format("attribute '{}'", Printable(attribute)));
  return names;
}

Result<Case> ParseCaseText(std::string_view text, const std::string& path) {
  if (text.size() > kLargestFileBytes) return BadInput(fmt::format("{}: larger than 64 MB", path));
  return CaseParser(text, path).Parse();
}

Result<std::vector<Case>> ParseOpenVinoCases(std::string_view text, const std::string& path) {
  ASSAY_TRY(const nlohmann::json root, ParseJson(text, path));
  if (!root.is_array() || root.size() > 10000) return BadInput(fmt::format("{}: expected an array of cases", path));
  std::vector<Case> cases;
  for (const auto& object : root) {
    const std::string where = fmt::format("{}: case {}", path, cases.size());
    if (!object.is_object()) return BadInput(fmt::format("{}: expected an object", where));
    Case item;
    item.path = path;
    item.op = "openvino";
    const auto name = object.find("name");
    if (name == object.end() || !name->is_string()) return BadInput(fmt::format("{}: 'name' must be a string", where));
    item.name = fmt::format("{}/{}", std::filesystem::path(path).stem().string(),
                            Printable(name->get_ref<const std::string&>()));
    const auto fuse = object.find("fuse_qk_l2norm");
    const auto epsilon = object.find("l2_eps");
    if (fuse == object.end() || !fuse->is_number_integer() || epsilon == object.end() || !epsilon->is_number()) {
      return BadInput(fmt::format("{}: needs 'fuse_qk_l2norm' (0 or 1) and 'l2_eps' (a number)", where));
    }
    item.attributes["fuse_qk_l2norm"] = fuse->get<int64_t>();
    item.attributes["l2_eps"] = epsilon->get<double>();
    const auto read = [&](std::span<const OpenVinoField> fields, std::vector<CaseTensor>* list) -> Status {
      for (const OpenVinoField& field : fields) {
        auto tensor = OpenVinoTensor(object, field);
        if (!tensor.ok()) return std::move(tensor).TakeError().In(where);
        list->push_back({static_cast<int>(list->size()), field.key, std::move(tensor).value()});
      }
      return Ok();
    };
    ASSAY_RETURN_IF_ERROR(read(kOpenVinoInputs, &item.inputs));
    ASSAY_RETURN_IF_ERROR(read(kOpenVinoOutputs, &item.outputs));
    cases.push_back(std::move(item));
  }
  return cases;
}

Result<std::vector<Case>> ReadCaseFile(const std::string& path) {
  ASSAY_TRY(const std::string text, ReadFile(path, kLargestFileBytes));
  if (std::filesystem::path(path).filename() == kOpenVinoFile) return ParseOpenVinoCases(text, path);
  ASSAY_TRY(Case item, ParseCaseText(text, path));
  std::vector<Case> cases;
  cases.push_back(std::move(item));
  return cases;
}

Result<std::vector<std::string>> ListCaseFiles(const std::string& directory) {
  constexpr size_t kMostFiles = 100000;
  std::vector<std::string> files;
  std::error_code code;
  auto walk = std::filesystem::recursive_directory_iterator(
      directory, std::filesystem::directory_options::skip_permission_denied, code);
  if (code)
    return BadInput(
        fmt::format("{}: cannot be listed ({}); give a folder with conformance cases", directory, code.message()));
  size_t seen = 0;
  for (; walk != std::filesystem::recursive_directory_iterator(); walk.increment(code)) {
    if (++seen > 10 * kMostFiles || files.size() > kMostFiles)
      return BadInput(fmt::format("{}: too many files below it; give the folder of the cases itself", directory));
    // Whatever bears a case's name is read or named as unreadable: a dangling link or a pipe is no case passed over.
    std::error_code ignored;
    if (walk->is_directory(ignored) && !walk->is_symlink(ignored)) continue;
    const std::filesystem::path& path = walk->path();
    std::string extension = path.extension().string();
    std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (extension == ".txt" || path.filename() == kOpenVinoFile) files.push_back(path.string());
  }
  if (code) return EnvironmentError(fmt::format("{}: {}", directory, code.message()));
  if (files.empty())
    return BadInput(fmt::format("{}: no conformance case (*.txt or {}) below it", directory, kOpenVinoFile));
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace assay::formats
