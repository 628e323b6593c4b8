// Outside test vectors: one operator call with its attributes, inputs and expected outputs, as `assay verify` checks
// them. Two sources give the same structure: the text format (`op NAME opset N`, `a ...`, `t ...`;
// docs/conformance_format.md) and openvino_gated_delta_net.json.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/result.h"
#include "core/tensor.h"

namespace assay::formats {

using CaseAttribute = std::variant<int64_t, double, std::vector<int64_t>, std::vector<double>, std::string>;

struct CaseTensor {
  int index = 0;  // position in the operator's list; a missing optional input leaves a gap
  std::string name;
  Tensor tensor;
};

struct Case {
  std::string path;  // of the file; a file may hold several cases (the OpenVINO one does)
  std::string name;  // the file's stem, or the stem and the case's own name
  std::string op;    // "Attention", "GatedDeltaRule", ..., "openvino"
  int opset = 0;     // 0: not ONNX
  std::map<std::string, CaseAttribute, std::less<>> attributes;
  std::vector<CaseTensor> inputs;   // by ascending index
  std::vector<CaseTensor> outputs;  // by ascending index

  // nullptr if the case has none.
  [[nodiscard]] const TensorView* Input(int index) const;
  [[nodiscard]] const TensorView* Input(std::string_view tensor_name) const;
  [[nodiscard]] const TensorView* Output(int index) const;
  [[nodiscard]] const TensorView* Output(std::string_view tensor_name) const;
  [[nodiscard]] bool Has(std::string_view attribute) const { return Find(attribute) != nullptr; }
  // The attribute, or `fallback` where it is absent. An attribute of another type is `fallback` too, and told by
  // Misread(); an int serves as a float.
  [[nodiscard]] int64_t Int(std::string_view attribute, int64_t fallback) const;
  [[nodiscard]] double Float(std::string_view attribute, double fallback) const;
  [[nodiscard]] std::string Str(std::string_view attribute, std::string_view fallback) const;

  // What a reader of the case has passed over: an adapter that ignores an attribute or an input would call an answer
  // right that follows another convention. `Misread` names attributes asked for as another type than they have.
  void ForgetReads() const { reads_ = {}; }
  [[nodiscard]] std::vector<std::string> Unread() const;   // "attribute 'x'", "input 'y'"
  [[nodiscard]] std::vector<std::string> Misread() const;  // "attribute 'x'"

 private:
  [[nodiscard]] const CaseAttribute* Find(std::string_view attribute) const;

  struct Reads {
    std::set<std::string, std::less<>> attributes, misread;
    std::set<int> inputs;
  };
  mutable Reads reads_;
};

// `path` is for messages and names only. At most 64 MB of text, 6 dimensions, 64 tensors a side.
Result<Case> ParseCaseText(std::string_view text, const std::string& path);
Result<std::vector<Case>> ParseOpenVinoCases(std::string_view text, const std::string& path);

// Every case in the file: `*.txt` in the text format, `openvino_gated_delta_net.json`.
Result<std::vector<Case>> ReadCaseFile(const std::string& path);

// All case files below `directory`, sorted; symbolic links to folders are not followed. A folder without any is an
// error.
Result<std::vector<std::string>> ListCaseFiles(const std::string& directory);

}  // namespace assay::formats
