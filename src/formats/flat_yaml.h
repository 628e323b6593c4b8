// The small part of YAML that accelerator descriptions use: nested maps of scalars, two blanks or more a level,
// comments. Everything else (lists, flow style, anchors, text over several lines) is refused, so that a file means here
// what it means to its authors or nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace assay::formats {

struct YamlScalar {
  std::string key;  // with its parents: "gpu.mem_bw", "misc.nccl_mem.8"
  std::string text;
  int64_t line = 0;
};

class FlatYaml {
 public:
  // At most 1 MB, 16 levels. `path` is for messages.
  static Result<FlatYaml> Parse(std::string_view text, const std::string& path);
  static Result<FlatYaml> Read(const std::string& path);

  [[nodiscard]] const std::vector<YamlScalar>& scalars() const { return scalars_; }
  [[nodiscard]] const YamlScalar* Find(std::string_view key) const;  // nullptr if absent
  // The value as a finite number; nothing if absent, an error if it is something else.
  [[nodiscard]] Result<std::optional<double>> Number(std::string_view key) const;
  // The same, where it must be there.
  [[nodiscard]] Result<double> NeedNumber(std::string_view key) const;

 private:
  std::string path_;
  std::vector<YamlScalar> scalars_;
};

}  // namespace assay::formats
