// Which of HuggingFace's model types Assay reads, and which fields of a config say that a model is not the transformer that our reader would
// make of it. Without this a hybrid or an unknown design would be read as a plain transformer, and every figure of it would be wrong in silence.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace assay::formats {

// Whether the rules of this model_type are written down in hf_config.cc: what its layers are, and what its code does without saying so.
bool IsKnownHfType(std::string_view model_type);

// Why a config cannot be read, its field named; empty if nothing speaks against it. For a type that is not known every sign of experts,
// recurrence, sparsity or unlike layers speaks against it, since only the family's own code says what they mean.
std::string WhyHfConfigIsUnreadable(const nlohmann::json& config, std::string_view model_type);

// What a reader must know of a type that was read without its family's rules.
std::string UnknownTypeNote(std::string_view key, std::string_view model_type, std::string_view path);

}  // namespace assay::formats
