// Step times: shapes to kernels, the lines that simulators sum, and what is refused or bounded.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <utility>

#include "formats/model_spec.h"
#include "formats/stack.h"
#include "platform/model_steps.h"

namespace assay::platform {
namespace {

Profile Vllm() {
  auto profile = LoadProfile("h100_sxm/vllm/0.24.0");
  EXPECT_TRUE(profile.ok()) << profile.error().message;
  return std::move(*profile);
}

formats::ModelSpec Llama() { return *formats::ModelPreset("llama-3.1-8b"); }

StepModel Model(std::string_view stack, StepModelOptions options = {}) {
  const formats::ModelSpec spec = Llama();
  const auto layers = formats::ExpandStack(*formats::ParseStack(stack), spec.layers);
  EXPECT_TRUE(layers.ok());
  auto model = MakeStepModel(spec, *layers, options);
  EXPECT_TRUE(model.ok()) << model.error().message;
  return std::move(*model);
}

StepTimer Timer(const StepModel& model, const StepDraw& draw = LikelyDraw()) {
  auto timer = StepTimer::Make(Vllm(), model, draw);
  EXPECT_TRUE(timer.ok()) << timer.error().message;
  return std::move(*timer);
}

TEST(ModelSteps, MatricesHoldTheModelsParameters) {
  const formats::ModelSpec spec = Llama();
  double elements = 0;
  for (const GemmGroup& gemm : Model("gqa").gemms) elements += gemm.count * gemm.n * gemm.k;
  const formats::ParameterCounts counts = formats::CountParameters(spec);
  EXPECT_NEAR(elements / (counts.total - counts.embedding - counts.norms), 1, 1e-9);
}

TEST(ModelSteps, RanksShareMatricesAndHeads) {
  const StepModel one = Model("gqa");
  const StepModel four = Model("gqa", {.tensor_parallel = 4});
  double elements_one = 0, elements_four = 0;
  for (const GemmGroup& gemm : one.gemms) elements_one += gemm.count * gemm.n * gemm.k;
  for (const GemmGroup& gemm : four.gemms) elements_four += gemm.count * gemm.n * gemm.k;
  EXPECT_NEAR(elements_one / elements_four, 4, 1e-9);
  EXPECT_EQ(four.mixers[0].query_heads, 8);
  EXPECT_EQ(four.mixers[0].kv_heads, 2);
}

// Mechanisms say over how many heads their cache splits, in every parametrisation: also where no table times them.
TEST(ModelSteps, RanksShareACacheByItsHeadsAndKeepWholeWhatAllHeadsRead) {
  const auto share = [](std::string_view stack) {
    const MixerMemory one = Model(stack).mixers[0].memory;
    const MixerMemory four = Model(stack, {.tensor_parallel = 4}).mixers[0].memory;
    return one.bytes_per_token > 0 ? four.bytes_per_token / one.bytes_per_token : four.bytes_per_sequence / one.bytes_per_sequence;
  };
  EXPECT_DOUBLE_EQ(share("gqa"), 0.25);
  EXPECT_DOUBLE_EQ(share("gqa(kv_heads=2)"), 0.5) << "two heads on four ranks are held twice";
  EXPECT_DOUBLE_EQ(share("mla(512,64)"), 1);
  EXPECT_DOUBLE_EQ(share("mla(256,32)"), 1) << "a latent that no table times is one row for all heads too";
  EXPECT_DOUBLE_EQ(share("sliding_window(512,4)"), 0.25);
  EXPECT_DOUBLE_EQ(share("gated_delta_net"), 0.25);
  EXPECT_DOUBLE_EQ(share("gated_delta_net(value_heads=8,key_heads=2)"), 0.25) << "states belong to value heads";
}

TEST(ModelSteps, RanksShareProjectionsOfHeadsAndRepeatThoseThatAllHeadsRead) {
  const auto widths = [](int ranks) {
    std::map<std::string, std::pair<double, double>> by_name;
    for (const GemmGroup& gemm : Model("mla(512,64,q_rank=1536)", {.tensor_parallel = ranks}).gemms) by_name[gemm.name] = {gemm.n, gemm.k};
    return by_name;
  };
  auto one = widths(1), four = widths(4);
  for (const char* replicated : {"q_a", "kv_a"}) EXPECT_EQ(four[replicated], one[replicated]) << replicated;
  for (const char* columns : {"q_b", "kv_b"}) EXPECT_EQ(four[columns], std::pair(one[columns].first / 4, one[columns].second)) << columns;
  EXPECT_EQ(four["o"], std::pair(one["o"].first, one["o"].second / 4));
}

TEST(ModelSteps, ARankProjectsOneKeyHeadAtLeast) {
  for (const GemmGroup& gemm : Model("gqa(kv_heads=1)", {.tensor_parallel = 4}).gemms) {
    if (gemm.name == "q" || gemm.name == "k" || gemm.name == "v") {
      EXPECT_EQ(gemm.n, gemm.name == "q" ? 32 * 128 / 4 : 128) << gemm.name;
    }
  }
}

TEST(ModelSteps, RowsOfPlainAttentionTimeNoCapAndNoSink) {
  EXPECT_EQ(Model("gqa").mixers[0].decode_floor, nullptr);
  for (const char* stack : {"gqa(softcap=30)", "gqa(learned_sink=1)"}) {
    const StepModel model = Model(stack);
    EXPECT_NE(model.mixers[0].decode_floor, nullptr) << stack;
    EXPECT_NE(model.mixers[0].floor_reason.find("no measured table holds gqa("), std::string::npos) << model.mixers[0].floor_reason;
  }
}

// Not the mechanism's defaults, which are another model's.
TEST(ModelSteps, AModelsOwnLayersHaveItsOwnWidths) {
  formats::ModelSpec hybrid = Llama();
  hybrid.linear_attention = {.key_heads = 4, .value_heads = 12, .key_head_dim = 128, .value_head_dim = 128, .conv_kernel = 4};
  for (formats::MechanismCall& call : hybrid.layer_calls) call = {.id = "gated_delta_net", .arguments = {}};
  formats::CompleteLayerCalls(&hybrid);
  const auto model = MakeStepModel(hybrid, {}, {});
  ASSERT_TRUE(model.ok()) << model.error().message;
  ASSERT_EQ(model->mixers.size(), 1U);
  EXPECT_EQ(model->mixers[0].query_heads, 12);
  EXPECT_EQ(model->mixers[0].kv_heads, 4);
}

TEST(ModelSteps, RefusesHeadsThatDoNotDivideAndExperts) {
  EXPECT_FALSE(MakeStepModel(Llama(), {}, {.tensor_parallel = 3}).ok());
  EXPECT_FALSE(MakeStepModel(*formats::ModelPreset("gpt-oss-20b"), {}, {}).ok());
}

TEST(StepTimer, DecodeLineIsTheTimeAtItsKnots) {
  StepTimer timer = Timer(Model("gqa"));
  const DecodeLine line = timer.Decode(16, 3000);
  const DecodeLine next = timer.Decode(16, line.until_context);
  EXPECT_NEAR(line.ms + line.ms_per_token * (line.until_context - line.at_context), next.ms, 1e-9);
  EXPECT_LE(line.at_context, 3000);
  EXPECT_GT(line.until_context, 3000);
}

TEST(StepTimer, EveryContextFindsItsLine) {
  StepTimer timer = Timer(Model("gqa"));
  for (double context = 1; context < 200000; context *= 1.003) {
    const DecodeLine line = timer.Decode(4, context);
    ASSERT_LE(line.at_context, context * (1 + 1e-12));
    ASSERT_GT(line.until_context, context);
  }
}

TEST(StepTimer, FusedQuantisingTakesItsLaunchOffFp8ProductsAlone) {
  const Profile profile = Vllm();
  const auto launch_ms = [&](DType compute) {
    for (const Section& section : profile.sections) {
      if (section.family == Family::kGemm && section.compute == compute) return section.launch_ms;
    }
    return 0.0;
  };
  StepDraw paid = LikelyDraw(), fused = LikelyDraw();
  paid.fp8_quantise_share = 1;
  fused.fp8_quantise_share = 0;
  const auto saved_ms = [&](const StepModel& model) { return Timer(model, paid).Dense(8, 8).gemm_ms - Timer(model, fused).Dense(8, 8).gemm_ms; };
  EXPECT_EQ(saved_ms(Model("gqa")), 0);
  const StepModel fp8 = Model("gqa", {.weights = DType::kE4m3});
  double products = 0;
  for (const GemmGroup& gemm : fp8.gemms) products += BitsOf(gemm.dtype) == 8 ? gemm.count : 0;
  EXPECT_GE(products, 4 * 32);
  EXPECT_NEAR(saved_ms(fp8), products * (launch_ms(DType::kE4m3) - launch_ms(DType::kBf16)), 1e-9);
}

TEST(StepTimer, MoreWorkTakesLonger) {
  StepTimer timer = Timer(Model("gqa"));
  EXPECT_LT(timer.Step({}, 8, 1000).total_ms(), timer.Step({}, 8, 60000).total_ms());
  const PrefillChunk small{.prefix_tokens = 0, .tokens = 512};
  const PrefillChunk large{.prefix_tokens = 0, .tokens = 8192};
  EXPECT_LT(timer.Step({&small, 1}, 0, 0).total_ms(), timer.Step({&large, 1}, 0, 0).total_ms());
}

TEST(StepTimer, DecodeOfAnEightBillionModelIsNotFasterThanItsWeights) {
  StepTimer timer = Timer(Model("gqa"));
  const double floor_ms = 1e3 * 2 * 7.5e9 / 3.35e12;
  const StepParts parts = timer.Step({}, 1, 500);
  EXPECT_GT(parts.total_ms(), floor_ms);
  EXPECT_LT(parts.total_ms(), 3 * floor_ms);
}

TEST(StepTimer, AWindowWithoutRowsIsStoodInForByFullAttentionsRows) {
  const StepModel full = Model("gqa");
  StepTimer whole = Timer(full);
  StepModel windowed = full;
  windowed.mixers[0].window = 1024;
  StepTimer timer = Timer(windowed);
  EXPECT_EQ(timer.kernel_basis(), Basis::kAssumed);
  EXPECT_FALSE(timer.is_floor());
  ASSERT_FALSE(timer.notes().empty());
  const StepParts stood_in = timer.Step({}, 32, 512);
  EXPECT_NEAR(stood_in.outside_ms, stood_in.attention_ms, 1e-9);
  EXPECT_NE(timer.MissingRows().at(0).find("window 1024"), std::string::npos);
  EXPECT_NEAR(timer.Step({}, 32, 512).attention_ms, whole.Step({}, 32, 512).attention_ms, 1e-9);
  EXPECT_LT(timer.Step({}, 32, 30000).attention_ms, 0.3 * whole.Step({}, 32, 30000).attention_ms);
}

TEST(StepTimer, MixerWithoutRowsIsRefusedAndSaysWhatFillsIt) {
  const StepModel model = Model("gqa", {.kv = {.dtype = DType::kI4}});
  const auto timer = StepTimer::Make(Vllm(), model, LikelyDraw());
  ASSERT_FALSE(timer.ok());
  EXPECT_NE(timer.error().message.find("assay platform fit"), std::string::npos);
}

TEST(StepTimer, AStepIsAsWeakAsItsWeakestPart) {
  StepTimer timer = Timer(Model("gqa"));
  EXPECT_EQ(timer.kernel_basis(), Basis::kInterpolated);
  EXPECT_EQ(timer.basis(), Basis::kAssumed);  // norms and host time
}

TEST(StepTimer, AFloorIsNotScaledByTheErrorsOfMeasuredKernels) {
  StepModelOptions options{.read = *formats::ParseMechanismCall("quest(page_tokens=16,budget_pages=64)")};
  const StepModel model = Model("gqa", options);
  StepDraw slow = LikelyDraw();
  slow.attention_factor = 3;
  EXPECT_TRUE(Timer(model).is_floor());
  EXPECT_EQ(Timer(model, slow).Step({}, 8, 30000).attention_ms, Timer(model).Step({}, 8, 30000).attention_ms);
}

TEST(StepTimer, PrefillsTakeTheErrorsOfPrefillKernels) {
  const StepModel model = Model("gqa");
  Profile profile = Vllm();
  for (Section& section : profile.sections) {
    for (Regime& regime : section.regimes) {
      if (section.family == Family::kAttentionPrefill && section.cache == DType::kBf16) regime.low = 0.5, regime.high = 2;
      if (section.family == Family::kAttentionPrefill && section.cache != DType::kBf16) regime.low = 0.1, regime.high = 9;
      if (section.family == Family::kAttentionDecode) regime.low = 0.9, regime.high = 1.1;
    }
  }
  EXPECT_EQ(CornerDraw(profile, model, true).prefill_factor, 2);
  EXPECT_EQ(CornerDraw(profile, model, true).attention_factor, 1.1);
}

TEST(StepTimer, CornersBracketTheLikelyStep) {
  const StepModel model = Model("gqa");
  StepTimer likely = Timer(model);
  StepTimer fast = Timer(model, CornerDraw(Vllm(), model, false));
  StepTimer slow = Timer(model, CornerDraw(Vllm(), model, true));
  EXPECT_LT(fast.Step({}, 32, 2000).total_ms(), likely.Step({}, 32, 2000).total_ms());
  EXPECT_GT(slow.Step({}, 32, 2000).total_ms(), likely.Step({}, 32, 2000).total_ms());
}

TEST(StepTimer, CallsBeyondTheRowsAreCountedSweptAndNamed) {
  const StepModel model = Model("gqa(kv_heads=16)");  // decodes of at most 8 KV heads were measured
  StepTimer likely = Timer(model);
  const StepParts parts = likely.Step({}, 32, 4000);
  EXPECT_NEAR(parts.outside_ms, parts.attention_ms, 1e-9);
  EXPECT_GT(OutsideShare(parts), kOutsideShareTolerated);
  ASSERT_EQ(likely.MissingRows().size(), 1u);
  EXPECT_NE(likely.MissingRows()[0].find("kv_heads 16 (rows: 1 to 8)"), std::string::npos) << likely.MissingRows()[0];
  StepDraw high = LikelyDraw();
  high.outside_factor = 2;
  EXPECT_NEAR(Timer(model, high).Step({}, 32, 4000).attention_ms, 2 * parts.attention_ms, 1e-9);
  EXPECT_EQ(OutsideShare(Timer(Model("gqa")).Step({}, 32, 4000)), 0);
}

TEST(StepTimer, AChunkBehindAPrefixIsOutsideWhereTheWholePromptIs) {
  StepTimer timer = Timer(Model("gqa"));  // prompts of at most 16,384 tokens were measured
  const PrefillChunk inside{.prefix_tokens = 8192, .tokens = 8192}, outside{.prefix_tokens = 16384, .tokens = 8192};
  EXPECT_EQ(timer.Step({&inside, 1}, 0, 0).outside_ms, 0);
  const StepParts parts = timer.Step({&outside, 1}, 0, 0);
  EXPECT_NEAR(parts.outside_ms, parts.attention_ms, 1e-9);
}

}  // namespace
}  // namespace assay::platform
