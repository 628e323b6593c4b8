// Arithmetic on a model's shape, its checks, and presets. The readers of config.json and GGUF are files of their own.
#include "formats/model_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "formats/model_presets.h"
#include "formats/stack.h"
#include "formats/text.h"
#include "formats/toml.h"

namespace assay::formats {
namespace {

constexpr TomlBounds kCount{.low = 1, .high = 100000, .unit = "a count"};
constexpr TomlBounds kCountOrNone{.low = 0, .high = 100000, .unit = "a count"};
constexpr TomlBounds kWidth{.low = 1, .high = 1048576, .unit = "elements"};
constexpr TomlBounds kWidthOrNone{.low = 0, .high = 1048576, .unit = "elements"};

double MixerParameters(const ModelSpec& m, std::string_view mechanism) {
  const auto width = static_cast<double>(m.model_dim);
  if (mechanism == "mla" && m.mla) {
    const MlaShape& a = *m.mla;
    const auto heads = static_cast<double>(m.query_heads);
    const auto query_dim = heads * static_cast<double>(a.qk_nope_head_dim + a.qk_rope_head_dim);
    const auto q_rank = static_cast<double>(a.q_lora_rank);
    const auto kv_rank = static_cast<double>(a.kv_lora_rank);
    const double query = a.q_lora_rank > 0 ? width * q_rank + q_rank + q_rank * query_dim : width * query_dim;
    const double down = width * (kv_rank + static_cast<double>(a.qk_rope_head_dim)) + kv_rank;
    const double up = kv_rank * heads * static_cast<double>(a.qk_nope_head_dim + a.v_head_dim);
    return query + down + up + heads * static_cast<double>(a.v_head_dim) * width;
  }
  if (mechanism == "gated_delta_net" && m.linear_attention) {
    const LinearAttentionShape& a = *m.linear_attention;
    const auto keys = static_cast<double>(a.key_heads * a.key_head_dim);
    const auto values = static_cast<double>(a.value_heads * a.value_head_dim);
    const auto value_heads = static_cast<double>(a.value_heads);
    // Projections to q, k, v and the output gate z; beta and decay; the short convolution over q, k, v; A_log and
    // dt_bias; the gated norm.
    return width * (2 * keys + 2 * values) + width * 2 * value_heads +
           (2 * keys + values) * static_cast<double>(a.conv_kernel) + 2 * value_heads +
           static_cast<double>(a.value_head_dim) + values * width;
  }
  const auto query = static_cast<double>(m.query_heads * m.head_dim);
  const auto key = static_cast<double>(m.kv_heads * m.head_dim);
  double count = width * (query * (m.attention_output_gate ? 2 : 1) + 2 * key) + query * width;
  if (m.qkv_bias) count += query + 2 * key;
  if (m.attention_output_bias) count += width;
  if (m.qk_norm) count += 2 * static_cast<double>(m.head_dim);
  if (m.attention_sinks) count += static_cast<double>(m.query_heads);
  return count;
}

struct FeedForward {
  double total = 0;
  double active = 0;
  double routed = 0;  // of one expert
};

FeedForward ExpertLayer(const ModelSpec& m) {
  const MoeShape& e = *m.moe;
  const auto width = static_cast<double>(m.model_dim);
  FeedForward out;
  out.routed = 3 * width * static_cast<double>(e.expert_ffn_dim);
  double router = width * static_cast<double>(e.experts);
  if (m.family == "gpt_oss") {  // gpt-oss has biases on its experts and its router
    out.routed += 2 * static_cast<double>(e.expert_ffn_dim) + width;
    router += static_cast<double>(e.experts);
  }
  if (m.family == "deepseek_v3") router += static_cast<double>(e.experts);  // the balancing bias
  double shared = static_cast<double>(e.shared_experts) * 3 * width * static_cast<double>(e.shared_expert_ffn_dim);
  if (m.family == "qwen3_next" && e.shared_experts > 0) shared += width;  // the shared expert's gate
  out.total = router + shared + out.routed * static_cast<double>(e.experts);
  out.active = router + shared + out.routed * static_cast<double>(e.experts_per_token);
  return out;
}

double DenseFeedForward(const ModelSpec& m) {
  return 3 * static_cast<double>(m.model_dim) * static_cast<double>(m.ffn_dim);
}

double DenseLayers(const ModelSpec& m) {
  return static_cast<double>(m.moe ? std::min(m.moe->dense_layers, m.layers) : m.layers);
}

double ExpertWeightBits(const ModelSpec& m) {
  return m.moe && m.moe->expert_weight_bits > 0 ? m.moe->expert_weight_bits : m.weight_bits;
}

Status CheckSize(const char* name, int64_t value, TomlBounds bounds) {
  if (static_cast<double>(value) >= bounds.low && static_cast<double>(value) <= bounds.high) return Ok();
  return BadInput(fmt::format("{} is {}; it must be between {:g} and {:g}; is this the config of a language model?",
                              name, value, bounds.low, bounds.high));
}

// Sizes that depend on each other.
Status CheckRelations(const ModelSpec& m) {
  if (m.query_heads % m.kv_heads != 0) {
    return BadInput(fmt::format(
        "kv_heads {} does not divide query_heads {}; every key head must serve the same number of query heads",
        m.kv_heads, m.query_heads));
  }
  if (static_cast<int64_t>(m.layer_calls.size()) != m.layers) {
    return BadInput(
        fmt::format("{} layers have a mechanism, of {}; the two must agree", m.layer_calls.size(), m.layers));
  }
  const auto runs = [&](std::string_view id) {
    return std::any_of(m.layer_calls.begin(), m.layer_calls.end(), [&](const MechanismCall& call) { return call.id == id; });
  };
  if (runs("sliding_window") && !m.window_tokens)
    return BadInput("layers run sliding_window, but window_tokens is missing; add it");
  if (runs("mla") && !m.mla)
    return BadInput("layers run mla, but its ranks are missing; add kv_lora_rank and the head widths");
  if (runs("gated_delta_net") && !m.linear_attention)
    return BadInput("layers run gated_delta_net, but its heads are missing; add the linear attention widths");
  if (m.moe && m.moe->experts_per_token > m.moe->experts) {
    return BadInput(fmt::format("experts_per_token is {}, of {} experts; it must not be more", m.moe->experts_per_token,
                                m.moe->experts));
  }
  if (m.linear_attention && m.linear_attention->value_heads % m.linear_attention->key_heads != 0) {
    return BadInput(fmt::format("linear attention: {} key heads do not divide {} value heads",
                                m.linear_attention->key_heads, m.linear_attention->value_heads));
  }
  const bool has_dense_layers = !m.moe || m.moe->dense_layers > 0;
  if (has_dense_layers && m.ffn_dim < 1)
    return BadInput("ffn_dim is missing; add the inner width of the feed-forward part");
  return Ok();
}

template <class T>
void Assign(std::optional<T> value, T* target) {
  if (value) *target = *value;
}

std::optional<MoeShape> MoeFromToml(TomlReader* r) {
  auto table = r->Table("moe");
  if (!table) return std::nullopt;
  MoeShape moe;
  for (const char* key : {"experts", "experts_per_token", "expert_ffn_dim"})
    table->Require(key, fmt::format("{} = 8", key));
  Assign(table->Integer("experts", kCount), &moe.experts);
  Assign(table->Integer("experts_per_token", kCount), &moe.experts_per_token);
  Assign(table->Integer("expert_ffn_dim", kWidth), &moe.expert_ffn_dim);
  Assign(table->Integer("shared_experts", kCountOrNone), &moe.shared_experts);
  Assign(table->Integer("shared_expert_ffn_dim", kWidthOrNone), &moe.shared_expert_ffn_dim);
  Assign(table->Integer("dense_layers", kCountOrNone), &moe.dense_layers);
  Assign(table->Number("expert_weight_bits", {.low = 1, .high = 64, .unit = "bits a parameter"}),
         &moe.expert_weight_bits);
  table->Close();
  return moe;
}

std::optional<MlaShape> MlaFromToml(TomlReader* r) {
  auto table = r->Table("mla");
  if (!table) return std::nullopt;
  MlaShape mla;
  for (const char* key : {"kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"})
    table->Require(key, fmt::format("{} = 128", key));
  Assign(table->Integer("kv_lora_rank", kWidth), &mla.kv_lora_rank);
  Assign(table->Integer("q_lora_rank", kWidthOrNone), &mla.q_lora_rank);
  Assign(table->Integer("qk_nope_head_dim", kWidth), &mla.qk_nope_head_dim);
  Assign(table->Integer("qk_rope_head_dim", kWidth), &mla.qk_rope_head_dim);
  Assign(table->Integer("v_head_dim", kWidth), &mla.v_head_dim);
  table->Close();
  return mla;
}

std::optional<LinearAttentionShape> LinearFromToml(TomlReader* r) {
  auto table = r->Table("linear_attention");
  if (!table) return std::nullopt;
  LinearAttentionShape shape;
  for (const char* key : {"key_heads", "value_heads", "key_head_dim", "value_head_dim"})
    table->Require(key, fmt::format("{} = 16", key));
  Assign(table->Integer("key_heads", kCount), &shape.key_heads);
  Assign(table->Integer("value_heads", kCount), &shape.value_heads);
  Assign(table->Integer("key_head_dim", kWidth), &shape.key_head_dim);
  Assign(table->Integer("value_head_dim", kWidth), &shape.value_head_dim);
  Assign(table->Integer("conv_kernel", {.low = 0, .high = 64, .unit = "tokens"}), &shape.conv_kernel);
  table->Close();
  return shape;
}

// `stack = "5*sliding_window(1024)+1*gqa"`: the mechanism of each layer, and the window.
void LayersFromToml(TomlReader* r, ModelSpec* m) {
  const std::string text = r->String("stack").value_or(m->mla ? "mla" : "gqa");
  auto stack = ParseStack(text);
  auto layers = stack.ok() ? ExpandStack(*stack, m->layers) : Result<std::vector<MechanismCall>>(stack.error());
  if (!layers.ok()) return r->Fail("stack", layers.error().message);
  for (const MechanismCall& call : *layers) {
    m->layer_calls.push_back(call);
    if (call.id != "sliding_window") continue;
    const MechanismArgument* window = call.Find("window_tokens", 0);
    if (window == nullptr || !window->number || !(*window->number >= 1) || *window->number > 1e9) {
      return r->Fail("stack", "needs a window of at least one token, as in sliding_window(1024)");
    }
    m->window_tokens = static_cast<int64_t>(*window->number);
  }
}

}  // namespace

void CompleteLayerCalls(ModelSpec* m) {
  struct Known {
    std::string_view id, name;
    size_t position;  // among the mechanism's parameters
    std::optional<int64_t> value;
  };
  std::vector<Known> known = {{"sliding_window", "window_tokens", 0, m->window_tokens}};
  if (m->mla) {
    known.insert(known.end(), {{"mla", "kv_rank", 0, m->mla->kv_lora_rank}, {"mla", "rope_dim", 1, m->mla->qk_rope_head_dim},
                               {"mla", "nope_dim", 2, m->mla->qk_nope_head_dim}, {"mla", "v_head_dim", 3, m->mla->v_head_dim},
                               {"mla", "q_rank", 4, m->mla->q_lora_rank}});
  }
  if (const auto& linear = m->linear_attention; linear) {
    known.insert(known.end(), {{"gated_delta_net", "key_heads", 0, linear->key_heads}, {"gated_delta_net", "value_heads", 1, linear->value_heads},
                               {"gated_delta_net", "key_dim", 2, linear->key_head_dim}, {"gated_delta_net", "value_dim", 3, linear->value_head_dim},
                               // One tap is no convolution.
                               {"gated_delta_net", "conv_kernel", 4, std::max<int64_t>(linear->conv_kernel, 1)}});
  }
  if (m->attention_sinks) known.push_back({"gqa", "learned_sink", 2, 1});
  for (MechanismCall& call : m->layer_calls) {
    for (const Known& argument : known) {
      if (argument.id != call.id || !argument.value || call.Find(argument.name, argument.position) != nullptr) continue;
      // As a user would write it: by position as long as nothing before it is left out.
      const bool positional = argument.position == call.arguments.size() && (call.arguments.empty() || call.arguments.back().name.empty());
      call.arguments.push_back({.name = positional ? "" : std::string(argument.name), .text = std::to_string(*argument.value), .number = static_cast<double>(*argument.value)});
    }
    if (call.id == "gqa" && m->attention_softcap && call.Find("softcap", 1) == nullptr) {
      call.arguments.push_back({.name = "softcap", .text = fmt::format("{:g}", *m->attention_softcap), .number = *m->attention_softcap});
    }
  }
}

ParameterCounts CountParameters(const ModelSpec& m) {
  ParameterCounts counts;
  const auto width = static_cast<double>(m.model_dim);
  counts.embedding = static_cast<double>(m.vocabulary) * width;
  counts.head = m.tied_embeddings ? 0 : counts.embedding;
  for (const MechanismCall& call : m.layer_calls) counts.mixer += MixerParameters(m, call.id);
  const double dense_layers = DenseLayers(m);
  counts.feed_forward = counts.feed_forward_active = dense_layers * DenseFeedForward(m);
  if (m.moe) {
    const FeedForward experts = ExpertLayer(m);
    counts.feed_forward += (static_cast<double>(m.layers) - dense_layers) * experts.total;
    counts.feed_forward_active += (static_cast<double>(m.layers) - dense_layers) * experts.active;
  }
  counts.norms = width * (static_cast<double>(m.layers) * (m.four_norms_per_layer ? 4 : 2) + 1);
  counts.total = counts.embedding + counts.head + counts.mixer + counts.feed_forward + counts.norms;
  // The head multiplies every token; of the embedding a token reads one row.
  counts.active = width + (m.tied_embeddings ? counts.embedding : counts.head) + counts.mixer +
                  counts.feed_forward_active + counts.norms;
  return counts;
}

double WeightBytes(const ModelSpec& m) {
  const ParameterCounts counts = CountParameters(m);
  double routed = 0;
  if (m.moe)
    routed =
        (static_cast<double>(m.layers) - DenseLayers(m)) * ExpertLayer(m).routed * static_cast<double>(m.moe->experts);
  return ((counts.total - routed) * m.weight_bits + routed * ExpertWeightBits(m)) / 8;
}

double WeightBytesRead(const ModelSpec& m, double batch_tokens) {
  const ParameterCounts counts = CountParameters(m);
  const double rows = std::min(batch_tokens, static_cast<double>(m.vocabulary)) * static_cast<double>(m.model_dim);
  double common = counts.total - counts.embedding + (m.tied_embeddings ? counts.embedding : rows);
  double read = 0;
  if (m.moe) {
    const double routed_layer = ExpertLayer(m).routed;
    const double layers = static_cast<double>(m.layers) - DenseLayers(m);
    const auto experts = static_cast<double>(m.moe->experts);
    // Each token leaves an expert out with probability 1 - k/E under uniform routing.
    const double miss = std::pow(1 - static_cast<double>(m.moe->experts_per_token) / experts, batch_tokens);
    common -= layers * routed_layer * experts;
    read = layers * routed_layer * experts * (1 - miss);
  }
  return (common * m.weight_bits + read * ExpertWeightBits(m)) / 8;
}

Status CheckModelSpec(const ModelSpec& m) {
  ASSAY_RETURN_IF_ERROR(CheckSize("layers", m.layers, {.low = 1, .high = 10000}));
  ASSAY_RETURN_IF_ERROR(CheckSize("model_dim", m.model_dim, kWidth));
  ASSAY_RETURN_IF_ERROR(CheckSize("query_heads", m.query_heads, kCount));
  ASSAY_RETURN_IF_ERROR(CheckSize("kv_heads", m.kv_heads, kCount));
  ASSAY_RETURN_IF_ERROR(CheckSize("head_dim", m.head_dim, {.low = 1, .high = 65536}));
  ASSAY_RETURN_IF_ERROR(CheckSize("ffn_dim", m.ffn_dim, kWidthOrNone));
  ASSAY_RETURN_IF_ERROR(CheckSize("vocabulary", m.vocabulary, {.low = 1, .high = 16777216}));
  if (m.window_tokens) ASSAY_RETURN_IF_ERROR(CheckSize("window_tokens", *m.window_tokens, {.low = 1, .high = 1e9}));
  if (m.max_context_tokens)
    ASSAY_RETURN_IF_ERROR(CheckSize("max_context_tokens", *m.max_context_tokens, {.low = 1, .high = 1e9}));
  if (m.moe) {
    ASSAY_RETURN_IF_ERROR(CheckSize("experts", m.moe->experts, kCount));
    ASSAY_RETURN_IF_ERROR(CheckSize("experts_per_token", m.moe->experts_per_token, kCount));
    ASSAY_RETURN_IF_ERROR(CheckSize("expert_ffn_dim", m.moe->expert_ffn_dim, kWidth));
    ASSAY_RETURN_IF_ERROR(CheckSize("shared_experts", m.moe->shared_experts, kCountOrNone));
    ASSAY_RETURN_IF_ERROR(CheckSize("shared_expert_ffn_dim", m.moe->shared_expert_ffn_dim, kWidthOrNone));
    ASSAY_RETURN_IF_ERROR(CheckSize("dense_layers", m.moe->dense_layers, kCountOrNone));
  }
  if (m.mla) {
    ASSAY_RETURN_IF_ERROR(CheckSize("kv_lora_rank", m.mla->kv_lora_rank, kWidth));
    ASSAY_RETURN_IF_ERROR(CheckSize("q_lora_rank", m.mla->q_lora_rank, kWidthOrNone));
    ASSAY_RETURN_IF_ERROR(CheckSize("qk_nope_head_dim", m.mla->qk_nope_head_dim, kWidth));
    ASSAY_RETURN_IF_ERROR(CheckSize("qk_rope_head_dim", m.mla->qk_rope_head_dim, kWidthOrNone));
    ASSAY_RETURN_IF_ERROR(CheckSize("v_head_dim", m.mla->v_head_dim, kWidth));
  }
  if (m.linear_attention) {
    ASSAY_RETURN_IF_ERROR(CheckSize("linear key heads", m.linear_attention->key_heads, kCount));
    ASSAY_RETURN_IF_ERROR(CheckSize("linear value heads", m.linear_attention->value_heads, kCount));
    ASSAY_RETURN_IF_ERROR(CheckSize("linear key_head_dim", m.linear_attention->key_head_dim, kWidth));
    ASSAY_RETURN_IF_ERROR(CheckSize("linear value_head_dim", m.linear_attention->value_head_dim, kWidth));
    ASSAY_RETURN_IF_ERROR(CheckSize("conv_kernel", m.linear_attention->conv_kernel, {.low = 0, .high = 64}));
  }
  return CheckRelations(m);
}

ModelSpec ModelSpecFromToml(TomlReader* r) {
  ModelSpec m;
  for (const char* key : {"layers", "model_dim", "query_heads", "kv_heads", "vocabulary"})
    r->Require(key, fmt::format("{} = 32", key));
  m.name = r->String("name").value_or("inline shape");
  m.family = r->String("family").value_or("llama");
  m.source = r->String("source").value_or("given by the user");
  Assign(r->Integer("layers", {.low = 1, .high = 10000, .unit = "layers"}), &m.layers);
  Assign(r->Integer("model_dim", kWidth), &m.model_dim);
  Assign(r->Integer("query_heads", kCount), &m.query_heads);
  Assign(r->Integer("kv_heads", kCount), &m.kv_heads);
  if (m.query_heads > 0) m.head_dim = m.model_dim / m.query_heads;
  Assign(r->Integer("head_dim", {.low = 1, .high = 65536, .unit = "elements"}), &m.head_dim);
  Assign(r->Integer("ffn_dim", kWidthOrNone), &m.ffn_dim);
  Assign(r->Integer("vocabulary", {.low = 1, .high = 16777216, .unit = "tokens"}), &m.vocabulary);
  Assign(r->Bool("tied_embeddings"), &m.tied_embeddings);
  Assign(r->Bool("qkv_bias"), &m.qkv_bias);
  Assign(r->Bool("attention_output_bias"), &m.attention_output_bias);
  Assign(r->Bool("qk_norm"), &m.qk_norm);
  Assign(r->Bool("attention_output_gate"), &m.attention_output_gate);
  Assign(r->Bool("attention_sinks"), &m.attention_sinks);
  Assign(r->Bool("four_norms_per_layer"), &m.four_norms_per_layer);
  if (const auto name = r->String("weight_dtype")) {
    if (const auto dtype = DTypeFromName(*name)) {
      m.weight_dtype = *dtype;
      m.weight_bits = BitsOf(*dtype);
      if (m.weight_bits < 16) m.quantised_dtype = *dtype;
    } else {
      r->Fail("weight_dtype",
              fmt::format("is '{}'; it must be a dtype such as bf16, f16, f32, e4m3 or i8", Printable(*name)));
    }
  }
  Assign(r->Number("weight_bits", {.low = 1, .high = 64, .unit = "bits a parameter, scales included"}), &m.weight_bits);
  m.max_context_tokens = r->Integer("max_context_tokens", {.low = 1, .high = 1e9, .unit = "tokens"});
  m.rope_theta = r->Number("rope_theta", {.low = 1, .high = 1e12});
  m.attention_softcap = r->Number("attention_softcap", {.low = 1e-3, .high = 1e6});
  m.moe = MoeFromToml(r);
  m.mla = MlaFromToml(r);
  m.linear_attention = LinearFromToml(r);
  if (m.layers > 0) LayersFromToml(r, &m);
  CompleteLayerCalls(&m);
  if (m.layers > 0 && m.model_dim > 0 && m.query_heads > 0 && m.kv_heads > 0 && m.vocabulary > 0 &&
      !m.layer_calls.empty()) {
    if (const Status status = CheckModelSpec(m); !status.ok())
      r->Fail("layers", fmt::format("and its neighbours do not fit together: {}", status.error().message));
  }
  return m;
}

std::vector<std::string_view> PresetNames() {
  std::vector<std::string_view> names;
  for (const EmbeddedPreset& preset : EmbeddedPresets()) names.push_back(preset.name);
  return names;
}

Result<ModelSpec> ParseModelToml(std::string_view text, const std::string& path) {
  ASSAY_TRY(const TomlNode root, ParseToml(text, path));
  TomlErrors errors(path);
  TomlReader reader(root, "", &errors);
  ModelSpec spec = ModelSpecFromToml(&reader);
  reader.Close();
  ASSAY_RETURN_IF_ERROR(errors.ToStatus());
  return spec;
}

Result<ModelSpec> ModelPreset(std::string_view name) {
  for (const EmbeddedPreset& preset : EmbeddedPresets()) {
    if (preset.name == name) return ParseModelToml(preset.toml, fmt::format("models/{}.toml", preset.name));
  }
  return BadInput(fmt::format("no model preset '{}'{}", Printable(name), DidYouMean(name, PresetNames())));
}

}  // namespace assay::formats
