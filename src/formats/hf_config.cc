// Model shapes from HuggingFace's config.json. Families that Assay knows (hf_family.cc) are read by their own keys; others by the keys that most
// share, with a note that says so, and refused when a field shows what only the family's code explains.
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "formats/hf_family.h"
#include "formats/json.h"
#include "formats/model_spec.h"
#include "formats/text.h"

namespace assay::formats {
namespace {

using nlohmann::json;

constexpr size_t kLargestConfigBytes = 16 * kMegabyte;
constexpr size_t kLargestGgufHeaderBytes = 64 * kMegabyte;

// Typed access with the first mistake kept: later ones follow from it.
class ConfigReader {
 public:
  ConfigReader(const json& object, std::string path) : object_(object), path_(std::move(path)) {}

  [[nodiscard]] const Status& status() const { return status_; }
  void Fail(std::string message) {
    if (status_.ok()) status_ = BadInput(fmt::format("{}: {}", path_, message));
  }
  [[nodiscard]] bool Has(const char* key) const { return Find(key) != nullptr; }

  // The first of the keys that is present and not null.
  std::optional<int64_t> Int(std::initializer_list<const char*> keys) {
    for (const char* key : keys) {
      const json* value = Find(key);
      if (value == nullptr) continue;
      if (value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
        Fail(fmt::format("'{}' is {}; no model is that large", key, value->get<uint64_t>()));
        return std::nullopt;
      }
      if (value->is_number_integer()) return value->get<int64_t>();
      Fail(fmt::format("'{}' must be an integer", key));
      return std::nullopt;
    }
    return std::nullopt;
  }
  int64_t Need(std::initializer_list<const char*> keys) {
    const auto value = Int(keys);
    if (!value && status_.ok())
      Fail(fmt::format("'{}' is missing; is this the config.json of a language model?", *keys.begin()));
    return value.value_or(0);
  }
  std::optional<double> Number(const char* key) {
    const json* value = Find(key);
    if (value == nullptr) return std::nullopt;
    if (value->is_number()) return value->get<double>();
    Fail(fmt::format("'{}' must be a number", key));
    return std::nullopt;
  }
  std::optional<bool> Bool(const char* key) {
    const json* value = Find(key);
    if (value == nullptr) return std::nullopt;
    if (value->is_boolean()) return value->get<bool>();
    Fail(fmt::format("'{}' must be true or false", key));
    return std::nullopt;
  }
  std::optional<std::string> String(const char* key) {
    const json* value = Find(key);
    if (value == nullptr || !value->is_string()) return std::nullopt;
    return value->get<std::string>();
  }
  const json* Find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

 private:
  const json& object_;
  std::string path_;
  Status status_ = Ok();
};

void ReadWeights(ConfigReader* r, ModelSpec* m) {
  auto name = r->String("torch_dtype");
  if (!name) name = r->String("dtype");
  if (name) {
    if (const auto dtype = DTypeFromName(*name)) m->weight_dtype = *dtype;
  }
  m->weight_bits = BitsOf(m->weight_dtype);
  const json* quantisation = r->Find("quantization_config");
  if (quantisation == nullptr || !quantisation->is_object()) return;
  const auto method = quantisation->find("quant_method");
  const std::string how = method != quantisation->end() && method->is_string() ? method->get<std::string>() : "";
  if (how == "fp8") {
    m->weight_bits = 8;
    m->quantised_dtype = DType::kE4m3;
  } else if (how == "mxfp4" && m->moe)
    m->moe->expert_weight_bits = 4.25;  // 4 bits and an 8-bit scale for 32 values
  else {
    const auto bits = quantisation->find("bits");
    if (bits != quantisation->end() && bits->is_number_integer() && bits->get<int64_t>() >= 1 &&
        bits->get<int64_t>() <= 16) {
      m->weight_bits = static_cast<double>(bits->get<int64_t>());
    } else {
      r->Fail(fmt::format(
          "quantization_config.quant_method is '{}', which Assay does not know; state weight_bits in a preset",
          Printable(how)));
    }
  }
}

void ReadMoe(ConfigReader* r, ModelSpec* m) {
  const auto experts = r->Int({"num_experts", "num_local_experts", "n_routed_experts"});
  if (!experts || *experts <= 1) return;
  MoeShape moe;
  moe.experts = *experts;
  moe.experts_per_token = r->Need({"num_experts_per_tok", "experts_per_token", "num_selected_experts"});
  moe.expert_ffn_dim = r->Int({"moe_intermediate_size"}).value_or(m->ffn_dim);
  if (m->family == "deepseek_v2" || m->family == "deepseek_v3") {
    moe.shared_experts = r->Int({"n_shared_experts"}).value_or(0);
    moe.shared_expert_ffn_dim = moe.expert_ffn_dim;
    moe.dense_layers = r->Int({"first_k_dense_replace"}).value_or(0);
    if (r->Int({"moe_layer_freq"}).value_or(1) != 1)
      r->Fail("'moe_layer_freq' other than 1 is not read; write a preset");
  } else if (const auto shared = r->Int({"shared_expert_intermediate_size"}); shared && *shared > 0) {
    moe.shared_experts = 1;
    moe.shared_expert_ffn_dim = *shared;
  }
  if (r->Int({"decoder_sparse_step"}).value_or(1) != 1)
    r->Fail("'decoder_sparse_step' other than 1 is not read; write a preset");
  if (const json* dense = r->Find("mlp_only_layers"); dense != nullptr && dense->is_array() && !dense->empty()) {
    r->Fail("'mlp_only_layers' is not read; write a preset");
  }
  m->moe = moe;
}

void ReadMla(ConfigReader* r, ModelSpec* m) {
  if (!r->Has("kv_lora_rank")) return;
  MlaShape mla;
  mla.kv_lora_rank = r->Need({"kv_lora_rank"});
  mla.q_lora_rank = r->Int({"q_lora_rank"}).value_or(0);
  mla.qk_nope_head_dim = r->Need({"qk_nope_head_dim"});
  mla.qk_rope_head_dim = r->Need({"qk_rope_head_dim"});
  mla.v_head_dim = r->Need({"v_head_dim"});
  m->mla = mla;
  m->head_dim = mla.v_head_dim;
}

void ReadLinearAttention(ConfigReader* r, ModelSpec* m) {
  if (!r->Has("linear_num_value_heads")) return;
  LinearAttentionShape shape;
  shape.key_heads = r->Need({"linear_num_key_heads"});
  shape.value_heads = r->Need({"linear_num_value_heads"});
  shape.key_head_dim = r->Need({"linear_key_head_dim"});
  shape.value_head_dim = r->Need({"linear_value_head_dim"});
  shape.conv_kernel = r->Int({"linear_conv_kernel_dim"}).value_or(0);
  m->linear_attention = shape;
}

// HuggingFace's name of a layer, as a mechanism of ours.
std::string_view MechanismOf(std::string_view layer_type, const ModelSpec& m) {
  if (layer_type == "full_attention") return m.mla ? "mla" : "gqa";
  if (layer_type == "sliding_attention") return "sliding_window";
  if (layer_type == "linear_attention" && m.family == "qwen3_next") return "gated_delta_net";
  return "";
}

// From `layer_types` where the config has it, else by the family's rule (transformers 4.x: the same rules made
// layer_types later).
void ReadLayers(ConfigReader* r, ModelSpec* m) {
  if (m->layers < 1 || m->layers > 10000)
    return r->Fail(fmt::format("'num_hidden_layers' is {}; it must be between 1 and 10000", m->layers));
  const auto window = r->Int({"sliding_window"});
  const bool window_is_off = r->Bool("use_sliding_window") == false;
  if (window && !window_is_off) m->window_tokens = *window;
  if (const json* types = r->Find("layer_types"); types != nullptr && types->is_array()) {
    if (static_cast<int64_t>(types->size()) != m->layers)
      return r->Fail(fmt::format("'layer_types' has {} entries for {} layers", types->size(), m->layers));
    for (const json& type : *types) {
      const std::string name = type.is_string() ? type.get<std::string>() : "";
      const std::string_view mechanism = MechanismOf(name, *m);
      if (mechanism.empty())
        return r->Fail(fmt::format("layer type '{}' is unknown; write a preset with a stack", Printable(name)));
      m->layer_calls.push_back({.id = std::string(mechanism), .arguments = {}});
    }
    return;
  }
  const auto layers = static_cast<size_t>(m->layers);
  m->layer_calls.assign(layers, {.id = m->mla ? "mla" : "gqa", .arguments = {}});
  const auto every = [&](int64_t period, const char* others) {  // each `period`-th layer is full attention
    if (period < 1) return r->Fail("the interval of full attention layers must be at least 1");
    for (size_t i = 0; i < layers; ++i) {
      if (static_cast<int64_t>(i + 1) % period != 0) m->layer_calls[i].id = others;
    }
  };
  if (m->family == "qwen3_next")
    every(r->Int({"full_attention_interval"}).value_or(4), "gated_delta_net");
  else if (m->family == "gemma3_text")
    every(r->Int({"sliding_window_pattern", "_sliding_window_pattern"}).value_or(6), "sliding_window");
  else if (m->family == "gemma2" || m->family == "gpt_oss")
    every(2, "sliding_window");
  else if ((m->family == "mistral" || m->family == "mixtral" || m->family == "phi3") && m->window_tokens)
    m->layer_calls.assign(layers, {.id = "sliding_window", .arguments = {}});
  else if (m->family.rfind("qwen", 0) == 0 && m->window_tokens) {
    const int64_t full = r->Int({"max_window_layers"}).value_or(m->layers);  // the first so many see everything
    for (size_t i = 0; i < layers; ++i) {
      if (static_cast<int64_t>(i) >= full) m->layer_calls[i].id = "sliding_window";
    }
  }
}

// What the code of a family does without saying so in its config.
void ApplyFamily(ConfigReader* r, ModelSpec* m) {
  const std::string& f = m->family;
  const bool is_gemma = f == "gemma2" || f == "gemma3_text" || f == "gemma";
  m->tied_embeddings = r->Bool("tie_word_embeddings").value_or(is_gemma);
  m->qkv_bias = r->Bool("attention_bias").value_or(f == "qwen2" || f == "qwen2_moe" || f == "gpt_oss");
  m->attention_output_bias = (f == "llama" || f == "gpt_oss") && m->qkv_bias;
  m->qk_norm = f == "qwen3" || f == "qwen3_moe" || f == "qwen3_next" || f == "gemma3_text";
  m->attention_output_gate = f == "qwen3_next";
  m->attention_sinks = f == "gpt_oss";
  m->four_norms_per_layer = f == "gemma2" || f == "gemma3_text";
  m->attention_softcap = r->Number("attn_logit_softcapping");
}

}  // namespace

Result<ModelSpec> ParseHfConfig(std::string_view text, const std::string& path) {
  ASSAY_TRY(const json root, ParseJson(text, path));
  if (!root.is_object()) return BadInput(fmt::format("{}: expected a JSON object, as in a model's config.json", path));
  // A model with pictures keeps its language part inside.
  const auto inner = root.find("text_config");
  const json& object = inner != root.end() && inner->is_object() ? *inner : root;
  ConfigReader r(object, path);
  ModelSpec m;
  const std::string type = r.String("model_type").value_or("");
  m.family = type == "gemma3" ? "gemma3_text" : type == "kimi_k2" ? "deepseek_v3" : type;  // Kimi K2 is DeepSeek-V3's code in other widths
  if (const std::string why = WhyHfConfigIsUnreadable(object, m.family); !why.empty()) return BadInput(fmt::format("{}: {}", path, why));
  if (!IsKnownHfType(m.family)) m.notes.push_back(UnknownTypeNote("model_type", m.family, path));
  m.source = path;
  m.name = std::filesystem::path(path).parent_path().filename().string();
  if (m.name.empty()) m.name = m.family.empty() ? "model" : m.family;
  m.layers = r.Need({"num_hidden_layers", "n_layer", "n_layers"});
  m.model_dim = r.Need({"hidden_size", "n_embd", "d_model"});
  const bool is_gemma3 = m.family == "gemma3_text";  // published without what equals transformers' Gemma3TextConfig defaults
  m.query_heads = is_gemma3 ? r.Int({"num_attention_heads"}).value_or(8) : r.Need({"num_attention_heads", "n_head", "n_heads"});
  m.kv_heads = r.Int({"num_key_value_heads", "num_kv_heads"}).value_or(is_gemma3 ? 4 : m.query_heads);
  m.vocabulary = is_gemma3 ? r.Int({"vocab_size"}).value_or(262208) : r.Need({"vocab_size"});
  const auto head_dim = r.Int({"head_dim"});
  if (head_dim || is_gemma3) {
    m.head_dim = head_dim.value_or(256);
  } else if (m.query_heads > 0 && m.model_dim % m.query_heads == 0) {
    m.head_dim = m.model_dim / m.query_heads;
  } else if (!r.Has("kv_lora_rank") && m.query_heads > 0) {
    r.Fail(fmt::format("'head_dim' is missing and {} heads do not divide hidden_size {}; add head_dim", m.query_heads,
                       m.model_dim));
  }
  m.ffn_dim = r.Int({"intermediate_size", "n_inner", "ffn_dim"}).value_or(0);
  m.max_context_tokens = r.Int({"max_position_embeddings", "n_positions"});
  m.rope_theta = r.Number("rope_theta");
  if (const json* rope = r.Find("rope_parameters"); !m.rope_theta && rope != nullptr && rope->is_object()) {
    const auto theta = rope->find("rope_theta");
    if (theta != rope->end() && theta->is_number()) m.rope_theta = theta->get<double>();
  }
  ReadMla(&r, &m);
  ReadMoe(&r, &m);
  ReadLinearAttention(&r, &m);
  ReadLayers(&r, &m);
  ApplyFamily(&r, &m);
  CompleteLayerCalls(&m);
  ReadWeights(&r, &m);
  ASSAY_RETURN_IF_ERROR(r.status());
  if (auto status = CheckModelSpec(m); !status.ok()) return std::move(status).TakeError().In(path);
  return m;
}

Result<ModelSpec> ReadModelSpec(const std::string& given) {
  std::string path = given;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) path = (std::filesystem::path(path) / "config.json").string();
  const std::string extension = std::filesystem::path(path).extension().string();
  if (extension == ".gguf") {
    ASSAY_TRY(const std::string bytes, ReadFilePrefix(path, kLargestGgufHeaderBytes));
    return ParseGgufHeader(bytes, path);
  }
  ASSAY_TRY(const std::string text, ReadFile(path, kLargestConfigBytes));
  if (extension != ".toml") return ParseHfConfig(text, path);
  return ParseModelToml(text, path);
}

}  // namespace assay::formats
