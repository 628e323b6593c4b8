#include "formats/hf_family.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "formats/text.h"

namespace assay::formats {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 17> kKnownTypes = {
    "deepseek_v2", "deepseek_v3", "gemma", "gemma2", "gemma3_text", "gpt_oss", "granite", "kimi_k2", "llama",
    "mistral", "mixtral", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next"};

// Their feed-forward part is two matrices without a gate; three would be counted.
constexpr std::array<std::string_view, 22> kUngatedTypes = {
    "bart", "bert", "bloom", "codegen", "distilbert", "falcon", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj",
    "mpt", "nemotron", "opt", "persimmon", "phi", "roberta", "stablelm_alpha", "starcoder2", "t5", "whisper", "xlm-roberta"};

// Fields that no reader of ours understands, whatever the type.
constexpr std::array<std::string_view, 15> kUnreadKeys = {
    "attention_chunk_size", "attn_layer_period", "attn_type_list", "attention_type_list", "block_configs", "block_types",
    "hybrid_override_pattern", "index_topk", "layers_block_type", "linear_attn_config", "mamba_d_state", "num_kv_shared_layers",
    "sparse_attention", "ssm_cfg", "state_size"};

// Words of keys that only a family's code explains: "moe_num_experts", "mamba_expand", "blocksparse_block_size", "lru_width".
constexpr std::array<std::string_view, 16> kUnlikeWords = {
    "blocksparse", "chunk", "conv", "expert", "experts", "hybrid", "lightning", "linear", "lru", "mamba", "mamba2", "moe", "recurrent", "rwkv",
    "sparse", "ssm"};

template <class List>
bool Contains(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

// A field that is null, false, 0, 1 (one expert is none) or empty turns its feature off.
bool IsOn(const json& value) {
  if (value.is_null() || value == false) return false;
  if (value.is_number()) return value != 0 && value != 1;
  return !((value.is_array() || value.is_object() || value.is_string()) && value.empty());
}

bool HasUnlikeWord(std::string_view key) {
  while (!key.empty()) {
    const size_t end = std::min(key.find('_'), key.size());
    if (Contains(kUnlikeWords, key.substr(0, end))) return true;
    key.remove_prefix(std::min(end + 1, key.size()));
  }
  return false;
}

// The value where it fits into a sentence.
std::string Shown(const json& value) {
  const std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return text.size() <= 40 ? " (" + Printable(text) + ")" : "";
}

}  // namespace

bool IsKnownHfType(std::string_view model_type) { return Contains(kKnownTypes, model_type); }

std::string WhyHfConfigIsUnreadable(const json& config, std::string_view model_type) {
  if (Contains(kUngatedTypes, model_type)) {
    return fmt::format("'model_type' is '{}', whose feed-forward part is two matrices without a gate; Assay models gated ones only, and a preset "
                       "cannot say otherwise",
                       model_type);
  }
  const auto encoder = config.find("is_encoder_decoder");
  if (encoder != config.end() && *encoder == true) return "'is_encoder_decoder' is true; only models of one decoder are read";
  for (const std::string_view key : kUnreadKeys) {
    const auto found = config.find(std::string(key));
    if (found != config.end() && IsOn(*found))
      return fmt::format("'{}'{} is not read; write a preset with a stack, as in models/", key, Shown(*found));
  }
  if (IsKnownHfType(model_type)) return "";
  const std::string type = model_type.empty() ? "without a model_type" : fmt::format("of model_type '{}', which Assay does not know", Printable(std::string(model_type)));
  for (const auto& [key, value] : config.items()) {
    if (HasUnlikeWord(key) && IsOn(value))
      return fmt::format("'{}'{} is not read in a config {}; write a preset, as in models/", Printable(key), Shown(value), type);
  }
  // Which layers slide is the family's rule unless the config lists them.
  const auto window = config.find("sliding_window");
  const auto use = config.find("use_sliding_window");
  const auto types = config.find("layer_types");
  const bool off = use != config.end() && *use == false;
  const bool listed = types != config.end() && types->is_array();
  if (window != config.end() && IsOn(*window) && !off && !listed) {
    return fmt::format("'sliding_window'{} does not say which layers it is of in a config {}; add layer_types, or write a preset with a stack",
                       Shown(*window), type);
  }
  return "";
}

std::string UnknownTypeNote(std::string_view key, std::string_view model_type, std::string_view path) {
  const std::string what = model_type.empty() ? fmt::format("{} is missing", key) : fmt::format("{} '{}' is not known", key, Printable(std::string(model_type)));
  return fmt::format("{}: {}; the model is read as a plain transformer by its fields: a gated feed-forward part, no biases, full attention where no "
                     "field says otherwise. A preset (models/) says what differs.",
                     path, what);
}

}  // namespace assay::formats
