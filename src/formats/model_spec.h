// The shape of a model: what a HuggingFace config.json, a GGUF header or a preset says about layers and widths. It
// carries no weights.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/result.h"
#include "formats/stack.h"

namespace assay::formats {

class TomlReader;

// Experts of the feed-forward part. Layers before `dense_layers` have one dense feed-forward part of ModelSpec::ffn_dim
// instead.
struct MoeShape {
  int64_t experts = 0;
  int64_t experts_per_token = 0;
  int64_t expert_ffn_dim = 0;
  int64_t shared_experts = 0;         // always on, beside the routed ones
  int64_t shared_expert_ffn_dim = 0;  // of one of them
  int64_t dense_layers = 0;
  double expert_weight_bits =
      0;  // of one expert parameter, scales included; 0: as ModelSpec::weight_bits (gpt-oss: 4.25, MXFP4)
};

// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1).
struct MlaShape {
  int64_t kv_lora_rank = 0;
  int64_t q_lora_rank = 0;  // 0: queries are projected directly
  int64_t qk_nope_head_dim = 0;
  int64_t qk_rope_head_dim = 0;
  int64_t v_head_dim = 0;
};

// The recurrent layers of a hybrid (Qwen3-Next's gated delta net).
struct LinearAttentionShape {
  int64_t key_heads = 0;
  int64_t value_heads = 0;
  int64_t key_head_dim = 0;
  int64_t value_head_dim = 0;
  int64_t conv_kernel = 0;  // tokens of the short convolution; 0: none
};

struct ModelSpec {
  std::string name;
  std::string family;  // model_type of the config, general.architecture of a GGUF file
  std::string source;  // where these figures come from, for the report
  int64_t layers = 0;
  int64_t model_dim = 0;
  int64_t query_heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t ffn_dim = 0;  // inner width of the gated feed-forward part (three matrices); 0 if every layer has experts
  int64_t vocabulary = 0;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool attention_output_bias = false;
  bool qk_norm = false;
  bool attention_output_gate = false;  // the query projection also makes a gate of its own width (Qwen3-Next)
  bool attention_sinks = false;        // one learned logit a head (gpt-oss)
  bool four_norms_per_layer = false;   // Gemma 2 and 3 normalise after each part as well
  double weight_bits = 16;             // of one parameter, scales included
  DType weight_dtype = DType::kBf16;   // of activations and of what is not quantised
  // Of the quantised matrices, where the file says which type they multiply in: fp8 has tensor cores of its own, integers do not share them.
  std::optional<DType> quantised_dtype;
  std::optional<int64_t> max_context_tokens;
  std::optional<double> rope_theta;
  std::optional<double> attention_softcap;
  std::optional<int64_t> window_tokens;  // of the layers whose mechanism is sliding_window; a window of W sees W keys,
                                         // the own one included
  std::optional<MoeShape> moe;
  std::optional<MlaShape> mla;
  std::optional<LinearAttentionShape> linear_attention;
  // One call a layer, with every argument that the model's file gives: "sliding_window(1024)", "mla(512,64,...)".
  std::vector<MechanismCall> layer_calls;
  std::vector<std::string> notes;  // what a reader must know before trusting this reading: a family that is not known
};

// Adds to each call what the model's widths say of its mechanism and the call itself does not: readers name the mechanism of a layer, and
// call this last.
void CompleteLayerCalls(ModelSpec* spec);

// Parameters by part; `active` is what one token uses (all of it for a dense model; embedding rows count as one row).
struct ParameterCounts {
  double embedding = 0;
  double head = 0;  // 0 if tied
  double mixer = 0;
  double feed_forward = 0;
  double feed_forward_active = 0;
  double norms = 0;
  double total = 0;
  double active = 0;
};
ParameterCounts CountParameters(const ModelSpec& spec);

// Bytes of all weights, and those that one decode step of `batch_tokens` tokens must read at most (experts: the
// expected number of distinct experts under uniform routing; embedding rows of the tokens only).
double WeightBytes(const ModelSpec& spec);
double WeightBytesRead(const ModelSpec& spec, double batch_tokens);

// Refuses what cannot be a model: zero, negative or absurd sizes, query heads that kv heads do not divide.
Status CheckModelSpec(const ModelSpec& spec);

// Reads the keys of a preset or of a use case's [model.shape] out of a table; mistakes go to the reader's errors.
ModelSpec ModelSpecFromToml(TomlReader* reader);

// A preset of the user's own, as in models/.
Result<ModelSpec> ParseModelToml(std::string_view text, const std::string& path);
Result<ModelSpec> ParseHfConfig(std::string_view text, const std::string& path);
// The header of a GGUF file, version 2 or 3; `text` may be just its beginning, as long as the metadata is in it.
Result<ModelSpec> ParseGgufHeader(std::string_view bytes, const std::string& path);
// By what the file holds: a GGUF file (its magic), a TOML preset (.toml), or a config.json; a folder means its
// config.json.
Result<ModelSpec> ReadModelSpec(const std::string& path);

// The presets built into the program, from models/*.toml.
std::vector<std::string_view> PresetNames();
Result<ModelSpec> ModelPreset(std::string_view name);

}  // namespace assay::formats
