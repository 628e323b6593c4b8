#include "formats/model_spec.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

namespace assay::formats {
namespace {

ModelSpec Preset(std::string_view name) {
  auto spec = ModelPreset(name);
  EXPECT_TRUE(spec.ok()) << (spec.ok() ? "" : spec.error().message);
  return spec.ok() ? *spec : ModelSpec{};
}

int64_t LayersOf(const ModelSpec& spec, std::string_view mechanism) {
  return std::count_if(spec.layer_calls.begin(), spec.layer_calls.end(), [&](const MechanismCall& call) { return call.id == mechanism; });
}

TEST(ModelPreset, EveryPresetIsReadAndChecked) {
  EXPECT_GE(PresetNames().size(), 8u);
  for (const std::string_view name : PresetNames()) {
    const ModelSpec spec = Preset(name);
    EXPECT_FALSE(spec.source.empty()) << name;
    EXPECT_TRUE(CheckModelSpec(spec).ok()) << name;
  }
  auto unknown = ModelPreset("llama-3.1-80b");
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.error().message.find("did you mean 'llama-3.1-70b'?"), std::string::npos);
}

// Totals are the sums over the published checkpoints' tensors (quantisation scales and prediction heads aside), to the
// last parameter.
TEST(ModelPreset, ParameterCountsAreThePublishedOnes) {
  EXPECT_EQ(CountParameters(Preset("llama-3.1-8b")).total, 8030261248.0);
  EXPECT_EQ(CountParameters(Preset("llama-3.1-70b")).total, 70553706496.0);
  EXPECT_EQ(CountParameters(Preset("qwen3-32b")).total, 32762123264.0);
  EXPECT_EQ(CountParameters(Preset("deepseek-v3")).total, 671026419200.0);
  EXPECT_EQ(CountParameters(Preset("gpt-oss-20b")).total, 20914757184.0);
  EXPECT_EQ(CountParameters(Preset("qwen3-next-80b")).total, 79674391296.0);
  EXPECT_NEAR(CountParameters(Preset("gemma-3-27b")).total, 27.009e9, 0.001e9)
      << "27.43 billion less the vision tower's 0.42";
  EXPECT_NEAR(CountParameters(Preset("deepseek-v3")).active, 36.6e9, 0.05e9)
      << "README_WEIGHTS: 36.6 billion, the embedding not counted";
  EXPECT_NEAR(CountParameters(Preset("gpt-oss-20b")).active, 3.61e9, 0.005e9) << "model card: 3.61 billion";
}

TEST(ModelPreset, LayersFollowTheirPattern) {
  EXPECT_EQ(LayersOf(Preset("gemma-3-27b"), "gqa"), 10);
  EXPECT_EQ(Preset("gemma-3-27b").window_tokens, 1024);
  EXPECT_EQ(LayersOf(Preset("qwen3-next-80b"), "gated_delta_net"), 36);
  EXPECT_EQ(LayersOf(Preset("gpt-oss-20b"), "sliding_window"), 12);
  EXPECT_EQ(Preset("gpt-oss-20b").layer_calls[0].id, "sliding_window");
  EXPECT_EQ(LayersOf(Preset("deepseek-v3"), "mla"), 61);
}

// A model's own layers are timed and sized by these calls: an argument left out would be the mechanism's default, another model's.
TEST(ModelPreset, LayersSayAllThatTheFileSaysOfTheirMechanism) {
  const auto call = [](std::string_view preset, size_t layer) { return Preset(preset).layer_calls[layer].ToString(); };
  EXPECT_EQ(call("gemma-3-27b", 0), "sliding_window(1024)");
  EXPECT_EQ(call("deepseek-v3", 0), "mla(512,64,128,128,1536)");
  EXPECT_EQ(call("qwen3-next-80b", 0), "gated_delta_net(16,32,128,128,4)");
  EXPECT_EQ(call("qwen3-next-80b", 3), "gqa");
  EXPECT_EQ(call("gpt-oss-20b", 1), "gqa(learned_sink=1)");
}

TEST(ModelArithmetic, TheTinyModelCountedByHand) {
  const ParameterCounts counts = CountParameters(Preset("tiny"));
  EXPECT_EQ(counts.embedding, 256 * 64);
  EXPECT_EQ(counts.head, 0);
  EXPECT_EQ(counts.mixer, 4 * (64 * (64 + 2 * 32) + 64 * 64));
  EXPECT_EQ(counts.feed_forward, 4 * 3 * 64 * 128);
  EXPECT_EQ(counts.norms, 9 * 64);
  EXPECT_EQ(WeightBytes(Preset("tiny")), counts.total * 4);
}

TEST(ModelArithmetic, AStepReadsMoreExpertsTheMoreTokensItHas) {
  const ModelSpec spec = Preset("gpt-oss-20b");
  const double one = WeightBytesRead(spec, 1);
  EXPECT_LT(one, WeightBytesRead(spec, 8));
  EXPECT_LT(WeightBytesRead(spec, 8), WeightBytesRead(spec, 1e6));
  EXPECT_NEAR(WeightBytesRead(spec, 1e6) / WeightBytes(spec), 1.0, 1e-9) << "a large batch reads everything";
  const ModelSpec dense = Preset("llama-3.1-8b");
  EXPECT_NEAR(WeightBytesRead(dense, 1), (CountParameters(dense).total - 128256.0 * 4096 + 4096) * 2, 1)
      << "of the embedding one row";
}

const std::string kLlama =
    R"json({"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
  "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072, "rope_theta": 500000.0,
  "torch_dtype": "bfloat16", "tie_word_embeddings": false})json";

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string MessageOf(const std::string& text) {
  auto spec = ParseHfConfig(text, "m/config.json");
  return spec.ok() ? "parsed" : spec.error().message;
}

TEST(HfConfig, ReadsLlama) {
  auto spec = ParseHfConfig(kLlama, "Llama-3.1-8B/config.json");
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->name, "Llama-3.1-8B");
  EXPECT_EQ(spec->head_dim, 128);
  EXPECT_EQ(CountParameters(*spec).total, 8030261248.0);
  EXPECT_EQ(spec->rope_theta, 500000.0);
  EXPECT_EQ(spec->max_context_tokens, 131072);
}

TEST(HfConfig, ReadsGemma3InsideItsTextConfig) {
  auto spec = ParseHfConfig(
      R"json({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "num_hidden_layers": 62, "hidden_size": 5376,
    "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128, "intermediate_size": 21504, "vocab_size": 262208,
    "sliding_window": 1024, "sliding_window_pattern": 6}})json",
      "config.json");
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->layer_calls, Preset("gemma-3-27b").layer_calls);
  EXPECT_EQ(CountParameters(*spec).total, CountParameters(Preset("gemma-3-27b")).total);
}

TEST(HfConfig, ACapOnScoresBelongsToTheLayersCall) {
  auto capped = ParseHfConfig(Replaced(kLlama, "\"model_type\": \"llama\"", "\"model_type\": \"gemma2\", \"attn_logit_softcapping\": 50.0, \"sliding_window\": 4096"), "config.json");
  ASSERT_TRUE(capped.ok()) << capped.error().message;
  EXPECT_EQ(capped->layer_calls[0].ToString(), "sliding_window(4096)");
  EXPECT_EQ(capped->layer_calls[1].ToString(), "gqa(softcap=50)");
}

TEST(HfConfig, ReadsDeepSeekV3) {
  auto spec = ParseHfConfig(
      R"json({"model_type": "deepseek_v3", "num_hidden_layers": 61, "hidden_size": 7168, "num_attention_heads": 128,
    "num_key_value_heads": 128, "intermediate_size": 18432, "vocab_size": 129280, "n_routed_experts": 256, "num_experts_per_tok": 8,
    "moe_intermediate_size": 2048, "n_shared_experts": 1, "first_k_dense_replace": 3, "kv_lora_rank": 512, "q_lora_rank": 1536,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "quantization_config": {"quant_method": "fp8"}})json",
      "config.json");
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(CountParameters(*spec).total, CountParameters(Preset("deepseek-v3")).total);
  EXPECT_EQ(spec->weight_bits, 8);
  EXPECT_EQ(LayersOf(*spec, "mla"), 61);
}

TEST(HfConfig, ReadsGptOssAndQwen3NextLayerTypes) {
  auto oss = ParseHfConfig(
      R"json({"model_type": "gpt_oss", "num_hidden_layers": 4, "hidden_size": 2880, "num_attention_heads": 64, "num_key_value_heads": 8,
    "head_dim": 64, "intermediate_size": 2880, "vocab_size": 201088, "num_local_experts": 32, "num_experts_per_tok": 4, "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"], "quantization_config": {"quant_method": "mxfp4"}})json",
      "config.json");
  ASSERT_TRUE(oss.ok()) << oss.error().message;
  EXPECT_EQ(oss->layer_calls[0].id, "sliding_window");
  EXPECT_EQ(oss->moe->expert_weight_bits, 4.25);
  EXPECT_TRUE(oss->attention_sinks);
  auto next = ParseHfConfig(
      R"json({"model_type": "qwen3_next", "num_hidden_layers": 48, "hidden_size": 2048, "num_attention_heads": 16,
    "num_key_value_heads": 2, "head_dim": 256, "intermediate_size": 5120, "vocab_size": 151936, "num_experts": 512, "num_experts_per_tok": 10,
    "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "decoder_sparse_step": 1, "mlp_only_layers": [], "full_attention_interval": 4,
    "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4})json",
      "config.json");
  ASSERT_TRUE(next.ok()) << next.error().message;
  EXPECT_EQ(next->layer_calls, Preset("qwen3-next-80b").layer_calls);
  EXPECT_EQ(CountParameters(*next).total, CountParameters(Preset("qwen3-next-80b")).total);
}

TEST(HfConfig, WindowsFollowTheFamilysRule) {
  const auto with = [](const std::string& extra) {
    auto spec = ParseHfConfig(Replaced(kLlama, "\"model_type\": \"llama\"", extra), "config.json");
    EXPECT_TRUE(spec.ok()) << (spec.ok() ? "" : spec.error().message);
    return spec.ok() ? *spec : ModelSpec{};
  };
  EXPECT_EQ(LayersOf(with(R"("model_type": "mistral", "sliding_window": 4096)"), "sliding_window"), 32);
  EXPECT_EQ(LayersOf(with(R"("model_type": "mistral", "sliding_window": null)"), "gqa"), 32);
  EXPECT_EQ(LayersOf(with(R"("model_type": "gemma2", "sliding_window": 4096)"), "sliding_window"), 16);
  EXPECT_EQ(LayersOf(with(R"("model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": false)"), "gqa"), 32);
  EXPECT_EQ(
      LayersOf(
          with(R"("model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": true, "max_window_layers": 28)"),
          "sliding_window"),
      4);
  EXPECT_TRUE(with(R"("model_type": "qwen2")").qkv_bias);
}

TEST(HfConfig, ReadsAnUnknownFamilyByTheCommonKeys) {
  auto spec = ParseHfConfig(Replaced(kLlama, "\"llama\"", "\"brand_new\""), "config.json");
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(LayersOf(*spec, "gqa"), 32);
}

TEST(HfConfig, RefusesWhatIsMissingZeroHugeOrDoesNotDivide) {
  EXPECT_EQ(MessageOf(kLlama), "parsed");
  EXPECT_EQ(MessageOf(Replaced(kLlama, "\"vocab_size\": 128256,", "")),
            "m/config.json: 'vocab_size' is missing; is this the config.json of a language model?");
  const auto refused = [](const std::string& from, const std::string& to, const std::string& part) {
    const std::string message = MessageOf(Replaced(kLlama, from, to));
    EXPECT_NE(message.find(part), std::string::npos) << to << ": " << message;
    EXPECT_EQ(message.find("m/config.json"), 0u) << message;
  };
  refused("\"num_hidden_layers\": 32", "\"num_hidden_layers\": 0", "must be between 1 and 10000");
  refused("\"num_hidden_layers\": 32", "\"num_hidden_layers\": 99999999999", "must be between 1 and 10000");
  refused("\"num_hidden_layers\": 32", "\"num_hidden_layers\": 18446744073709551615", "no model is that large");
  refused("\"num_hidden_layers\": 32", "\"num_hidden_layers\": \"32\"", "must be an integer");
  refused("\"hidden_size\": 4096", "\"hidden_size\": -4096", "model_dim is -4096");
  refused("\"num_attention_heads\": 32", "\"num_attention_heads\": 0", "query_heads is 0");
  refused("\"num_attention_heads\": 32", "\"num_attention_heads\": 30", "30 heads do not divide hidden_size 4096");
  refused("\"num_key_value_heads\": 8", "\"num_key_value_heads\": 5", "kv_heads 5 does not divide query_heads 32");
  refused("\"num_key_value_heads\": 8", "\"num_key_value_heads\": 0", "kv_heads is 0");
  refused("\"vocab_size\": 128256", "\"vocab_size\": 4611686018427387904", "vocabulary is");
  refused("\"model_type\": \"llama\"", "\"layer_types\": [\"full_attention\"]",
          "'layer_types' has 1 entries for 32 layers");
  refused("\"model_type\": \"llama\"", "\"quantization_config\": {\"quant_method\": \"odd\"}",
          "'odd', which Assay does not know");
  EXPECT_NE(MessageOf("[1]"), "parsed");
  EXPECT_NE(MessageOf("{\"a\":" + std::string(1000000, '[')), "parsed");
  EXPECT_NE(MessageOf("{\n\n\"a\": tru").find("m/config.json:3: not valid JSON"), std::string::npos);
}

}  // namespace
}  // namespace assay::formats
