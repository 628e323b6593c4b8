// The TOML files of claims/ and predictions/, carried inside the program (cmake/AssayEmbed.cmake writes the lists).
#pragma once

#include <span>
#include <string_view>

namespace assay {

struct EmbeddedFile {
  std::string_view path;  // "claims/MLA-01.toml"
  std::string_view text;
};

std::span<const EmbeddedFile> EmbeddedClaims();
std::span<const EmbeddedFile> EmbeddedPredictions();

}  // namespace assay
