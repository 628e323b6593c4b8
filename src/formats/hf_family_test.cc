// Configs as they are published, cut to the keys that bear on shape: what is read of each, or which field refuses it.
#include "formats/hf_family.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "formats/model_spec.h"

namespace assay::formats {
namespace {

Result<ModelSpec> Read(const std::string& text) { return ParseHfConfig(text, "m/config.json"); }

ModelSpec Spec(const std::string& text) {
  auto spec = Read(text);
  EXPECT_TRUE(spec.ok()) << (spec.ok() ? "" : spec.error().message);
  return spec.ok() ? *spec : ModelSpec{};
}

// The refusal names the field and the file; "" if the config was read.
std::string Refusal(const std::string& text) {
  auto spec = Read(text);
  return spec.ok() ? "" : spec.error().message;
}

int64_t LayersOf(const ModelSpec& spec, std::string_view mechanism) {
  return std::count_if(spec.layer_calls.begin(), spec.layer_calls.end(), [&](const MechanismCall& call) { return call.id == mechanism; });
}

// A plain body of 32 layers, with `keys` before it.
std::string Plain(const std::string& keys) {
  return "{" + keys + R"json("num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
    "intermediate_size": 14336, "vocab_size": 32000, "hidden_act": "silu", "output_hidden_states": false, "torch_dtype": "bfloat16"})json";
}

TEST(HfFamily, ReadsTheKnownOnesWithoutANote) {
  const ModelSpec llama = Spec(Plain(R"("model_type": "llama", "rope_theta": 500000.0, "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "pretraining_tp": 1, )"));
  EXPECT_TRUE(llama.notes.empty());
  EXPECT_EQ(LayersOf(llama, "gqa"), 32);
  const ModelSpec mistral = Spec(Plain(R"("model_type": "mistral", "sliding_window": null, )"));
  EXPECT_TRUE(mistral.notes.empty());
  EXPECT_EQ(LayersOf(mistral, "gqa"), 32);
  const ModelSpec mixtral = Spec(Plain(R"("model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": null, )"));
  EXPECT_EQ(mixtral.moe->experts, 8);
  EXPECT_EQ(mixtral.moe->expert_ffn_dim, 14336);
  EXPECT_EQ(LayersOf(mixtral, "gqa"), 32);
  const ModelSpec phi3 = Spec(Plain(R"("model_type": "phi3", "sliding_window": 2047, "rope_scaling": null, "original_max_position_embeddings": 4096, )"));
  EXPECT_TRUE(phi3.notes.empty());
  EXPECT_EQ(LayersOf(phi3, "sliding_window"), 32) << "transformers' Phi3 gives every layer the window";
}

TEST(HfFamily, ReadsDeepSeekV2LiteAndQwen2Moe) {
  const ModelSpec lite = Spec(R"json({"model_type": "deepseek_v2", "num_hidden_layers": 27, "hidden_size": 2048, "num_attention_heads": 16,
    "num_key_value_heads": 16, "intermediate_size": 10944, "vocab_size": 102400, "n_routed_experts": 64, "n_shared_experts": 2,
    "num_experts_per_tok": 6, "moe_intermediate_size": 1408, "moe_layer_freq": 1, "first_k_dense_replace": 1, "kv_lora_rank": 512,
    "q_lora_rank": null, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "ep_size": 1, "topk_group": 1})json");
  EXPECT_TRUE(lite.notes.empty());
  EXPECT_EQ(lite.mla->q_lora_rank, 0);
  EXPECT_NEAR(CountParameters(lite).total, 15.7e9, 0.05e9) << "the model card: 15.7 billion";
  const ModelSpec moe = Spec(R"json({"model_type": "qwen2_moe", "num_hidden_layers": 24, "hidden_size": 2048, "num_attention_heads": 16,
    "num_key_value_heads": 16, "intermediate_size": 5632, "vocab_size": 151936, "num_experts": 60, "num_experts_per_tok": 4,
    "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "decoder_sparse_step": 1, "sliding_window": 32768,
    "use_sliding_window": false, "max_window_layers": 21})json");
  EXPECT_EQ(LayersOf(moe, "gqa"), 24);
  EXPECT_TRUE(moe.qkv_bias);
  EXPECT_NEAR(CountParameters(moe).total, 14.3e9, 0.05e9) << "the model card: 14.3 billion";
}

// What equals the default of transformers' Gemma3TextConfig is not in the published file.
TEST(HfFamily, ReadsGemma3WithoutItsDefaults) {
  const ModelSpec spec = Spec(R"json({"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": {"hidden_size": 2560,
    "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    "sliding_window": 1024}, "vision_config": {"num_hidden_layers": 27}})json");
  EXPECT_EQ(spec.query_heads, 8);
  EXPECT_EQ(spec.kv_heads, 4);
  EXPECT_EQ(spec.head_dim, 256);
  EXPECT_NEAR(CountParameters(spec).total, 3.88e9, 0.01e9) << "4.3 billion less the vision tower and its projection";
}

TEST(HfFamily, AnUnknownTypeIsReadWithANoteThatNamesIt) {
  const ModelSpec spec = Spec(Plain(R"("model_type": "brand_new", "num_experts": 1, "moe_layer_freq": 1, "sparse_mode": false, "ssm_cfg": {}, )"));
  ASSERT_EQ(spec.notes.size(), 1u);
  EXPECT_NE(spec.notes[0].find("m/config.json: model_type 'brand_new' is not known; the model is read as a plain transformer"), std::string::npos) << spec.notes[0];
  EXPECT_EQ(LayersOf(spec, "gqa"), 32);
  const ModelSpec nameless = Spec(Plain(""));
  ASSERT_EQ(nameless.notes.size(), 1u);
  EXPECT_NE(nameless.notes[0].find("model_type is missing"), std::string::npos) << nameless.notes[0];
}

TEST(HfFamily, AnUnknownTypeWithUnlikeFieldsIsRefusedByTheField) {
  const auto refused = [](const std::string& keys, const std::string& field) {
    const std::string message = Refusal(Plain(keys));
    EXPECT_EQ(message.find("m/config.json: '" + field + "'"), 0u) << keys << ": " << message;
  };
  refused(R"("model_type": "jamba", "attn_layer_period": 8, "attn_layer_offset": 4, "expert_layer_period": 2, "mamba_d_state": 16, "num_experts": 16, "num_experts_per_tok": 2, )", "attn_layer_period");
  refused(R"("model_type": "glm4_moe", "n_routed_experts": 128, "n_shared_experts": 1, )", "n_routed_experts");
  refused(R"("model_type": "ernie4_5_moe", "moe_num_experts": 64, "moe_k": 6, )", "moe_k");
  refused(R"("model_type": "falcon_h1", "mamba_expand": 2, )", "mamba_expand");
  refused(R"("model_type": "brand_new", "linear_num_value_heads": 32, )", "linear_num_value_heads");
  refused(R"("model_type": "brand_new", "sliding_window": 4096, )", "sliding_window");
  refused(R"("model_type": "nemotron_h", "hybrid_override_pattern": "M-M-M*-", )", "hybrid_override_pattern");
  refused(R"("model_type": "recurrent_gemma", "block_types": ["recurrent", "recurrent", "attention"], )", "block_types");
  refused(R"("model_type": "falcon", "multi_query": true, )", "model_type");
  refused(R"("model_type": "t5", )", "model_type");
  refused(R"("model_type": "brand_new", "is_encoder_decoder": true, )", "is_encoder_decoder");
  // In a known type too, where it would change what is read.
  refused(R"("model_type": "deepseek_v3", "index_topk": 2048, )", "index_topk");
  EXPECT_NE(Refusal(R"json({"model_type": "mamba2", "num_hidden_layers": 64, "hidden_size": 4096, "num_heads": 128, "head_dim": 64, "state_size": 128,
    "conv_kernel": 4, "vocab_size": 32768})json").find("'state_size' (128) is not read"), std::string::npos);
  EXPECT_NE(Refusal(R"json({"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": null, "vocab_size": 50257})json").find("two matrices"), std::string::npos);
  EXPECT_NE(Refusal(Plain(R"("model_type": "brand_new", "layer_types": [)" + [] {
    std::string types;
    for (int i = 0; i < 32; ++i) types += i == 0 ? "\"linear_attention\"" : ", \"full_attention\"";
    return types;
  }() + "], ")).find("layer type 'linear_attention'"), std::string::npos);
}

}  // namespace
}  // namespace assay::formats
