// Forecasts, traffic and the score on end-to-end points, on the shipped profile.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "formats/table.h"
#include "serving/forecast.h"
#include "serving/score_serving.h"
#include "serving/synthetic_test.h"
#include "serving/workload.h"

namespace assay::serving {
namespace {

struct Case {
  Deployment deployment;
  std::vector<Request> requests;
};

DeploymentPlan Llama(int ranks = 1) {
  DeploymentPlan plan;
  plan.model = *formats::ModelPreset("llama-3.1-8b");
  plan.step.tensor_parallel = ranks;
  return plan;
}

Result<Deployment> OnH100(const DeploymentPlan& plan, const Assumptions& assumptions = {}) {
  return MakeDeployment(plan, *platform::LoadProfile("h100_sxm/vllm/0.24.0"), "", assumptions);
}

Case Chat() {
  return {.deployment = *OnH100(Llama()),
          .requests = Generate({.process = ArrivalProcess::kPoisson, .requests_per_s = 4, .requests = 600,
                                .prompt = {.mean_log = 6.5, .sigma_log = 0.6}, .output = {.mean_log = 5, .sigma_log = 0.5}}, 1)};
}

TEST(Deployment, WeightsOfEightBillionParametersAreSixteenGigabytes) {
  const Case c = Chat();
  EXPECT_NEAR(c.deployment.weight_bytes / 16.06e9, 1, 0.01);
}

TEST(Deployment, CacheOfLlamaIs128KiBATokenAndSplitsOverRanks) {
  for (int ranks : {1, 2, 8}) {
    const Deployment deployment = *OnH100(Llama(ranks));
    for (const KvPool& pool : deployment.pools) EXPECT_EQ(pool.BytesFor(16), 16 * 131072 / ranks) << ranks;
  }
}

TEST(Deployment, ScalesOfACacheCountForTheHeadsThatTheLayerHas) {
  const auto bytes = [](std::string_view stack, formats::ScaleGranularity scale) {
    DeploymentPlan plan = Llama();
    plan.layers = *formats::ExpandStack(*formats::ParseStack(stack), plan.model.layers);
    plan.step.kv = {.dtype = DType::kE4m3, .scale = scale};
    return platform::MakeStepModel(plan.model, plan.layers, plan.step)->mixers[0].memory.bytes_per_token;
  };
  using enum formats::ScaleGranularity;
  EXPECT_EQ(bytes("gqa", kTokenHead) - bytes("gqa", kTensor), 8 * 2 * 4);
  EXPECT_EQ(bytes("gqa", kToken) - bytes("gqa", kTensor), 2 * 4) << "one scale a token for K, one for V";
  EXPECT_EQ(bytes("gqa(kv_heads=2)", kToken) - bytes("gqa(kv_heads=2)", kTensor), 2 * 4) << "however many heads the layer has of its own";
  EXPECT_EQ(bytes("mla(512,64)", kToken) - bytes("mla(512,64)", kTensor), 4) << "the latent is one row for K and V";
}

// Memory left to the cache is what decides how many requests run at once, so everything that takes of it is swept.
TEST(Deployment, MemoryIsLeastWhereEverythingIsSlow) {
  formats::UseCase usecase;
  const auto pools = [&] { return OnH100(Llama(), Assumptions(usecase))->pools; };
  const auto own = pools();
  EXPECT_EQ(own[kFast].pool_bytes - own[kSlow].pool_bytes, int64_t{4} << 30) << "2 to 6 GiB where nobody says better";
  usecase.assume = {{.name = "memory_overhead_gib", .range = {1, 1}}};
  const auto fixed = pools();
  EXPECT_EQ(fixed[kFast].pool_bytes, fixed[kSlow].pool_bytes);
  EXPECT_EQ(fixed[kFast].pool_bytes - own[kFast].pool_bytes, int64_t{1} << 30);
  usecase.assume.push_back({.name = "cache_fragmentation_share", .range = {0, 0.5}});
  const auto lost = pools();
  EXPECT_EQ(lost[kFast].pool_bytes, fixed[kFast].pool_bytes);
  EXPECT_NEAR(static_cast<double>(lost[kSlow].pool_bytes), 0.5 * static_cast<double>(fixed[kSlow].pool_bytes), 1);
}

// Whoever asks for a range depends on it: no list of names says otherwise.
TEST(Deployment, UsesTheAssumptionsThatMoveItsDrawsOrItsMemory) {
  const Deployment own = *OnH100(Llama());
  for (const formats::AssumptionRow& row : formats::KnownAssumptions()) {
    formats::UseCase usecase;
    const double value = std::clamp(0.123, row.low, row.high);
    usecase.assume = {{.name = std::string(row.name), .range = {value, value}}};
    const Deployment assumed = *OnH100(Llama(), Assumptions(usecase));
    const auto same = [](const platform::StepDraw& a, const platform::StepDraw& b) {
      return a.attention_factor == b.attention_factor && a.collective_factor == b.collective_factor && a.layer_overhead_us == b.layer_overhead_us &&
             a.host_ms == b.host_ms && a.host_us_per_sequence == b.host_us_per_sequence && a.fp8_quantise_share == b.fp8_quantise_share &&
             a.request_overhead_ms == b.request_overhead_ms;
    };
    const bool moves = !same(own.draws[kLikely], assumed.draws[kLikely]) || own.pools[kLikely].pool_bytes != assumed.pools[kLikely].pool_bytes;
    EXPECT_EQ(UsesAssumption(row.name), moves) << row.name;
  }
  for (const char* name : {"fp8_quantise_share", "host_us_per_step", "memory_overhead_gib"}) EXPECT_TRUE(UsesAssumption(name)) << name;
}

TEST(Deployment, ThePartsOfALayersOverheadAreSummed) {
  formats::UseCase usecase;
  usecase.assume = {{.name = "norms_us_per_layer", .range = {2, 10}}, {.name = "rope_us_per_layer", .range = {1, 5}}};
  const Deployment assumed = *OnH100(Llama(), Assumptions(usecase));
  EXPECT_EQ(assumed.draws[kFast].layer_overhead_us, 3);
  EXPECT_EQ(assumed.draws[kSlow].layer_overhead_us, 15);
}

TEST(Deployment, WithoutRoomForACacheIsRefused) {
  DeploymentPlan plan = Llama();
  plan.memory_gib = 23;
  const auto refused = OnH100(plan);
  ASSERT_FALSE(refused.ok()) << "20.7 GiB do not hold weights of 15 GiB and, where it is slow, 6 GiB of workspace";
  EXPECT_NE(refused.error().message.find("leave the cache no room"), std::string::npos) << refused.error().message;
}

TEST(Forecast, IntervalHoldsTheLikelyRun) {
  const Case c = Chat();
  const auto forecast = MakeForecast(c.requests, {.deployment = &c.deployment});
  ASSERT_TRUE(forecast.ok());
  EXPECT_LT(forecast->fast.tpot_ms.p50.value, forecast->likely.tpot_ms.p50.value);
  EXPECT_GT(forecast->slow.tpot_ms.p50.value, forecast->likely.tpot_ms.p50.value);
}

TEST(Forecast, StoppedBetweenDrawsKeepsTheLikelyRunAndInventsNoInterval) {
  Case c = Chat();
  c.requests = Generate({.requests_per_s = 4, .requests = 20'000, .prompt = {.mean_log = 6.5, .sigma_log = 0.6}, .output = {.mean_log = 5, .sigma_log = 0.5}}, 1);
  const auto forecast = MakeForecast(c.requests, {.deployment = &c.deployment, .watch = [](double share) { return share < 0.4; }});
  ASSERT_TRUE(forecast.ok());
  EXPECT_TRUE(forecast->stopped);
  EXPECT_FALSE(forecast->likely_outcome.stopped);
  EXPECT_EQ(forecast->likely.requests, 20'000);
  EXPECT_EQ(forecast->fast.ttft_ms.count, 0);
  EXPECT_EQ(forecast->slow.ttft_ms.count, 0);
}

TEST(Workload, RefusesNoSampleAndMoreThanIsSimulatedAtOnce) {
  formats::Workload w;
  w.prompt_tokens = formats::LengthDistribution::Constant(100);
  w.output_tokens = formats::LengthDistribution::Constant(10);
  w.requests_per_second = 1;
  for (int64_t count : {int64_t{0}, int64_t{-1}, formats::kMostSimulatedRequests + 1}) EXPECT_FALSE(FromUseCase(w, count, 1).ok()) << count;
  EXPECT_EQ(FromUseCase(w, 1, 1)->requests.size(), 1U);
  formats::Trace trace;
  trace.requests.resize(static_cast<size_t>(formats::kMostSimulatedRequests) + 1, {.prompt_tokens = 1, .output_tokens = 1});
  const auto refused = FromTrace(trace);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("cut the trace"), std::string::npos);
}

TEST(Workload, DropsAndCountsRequestsWithoutAnAnswer) {
  const auto trace = formats::ParseTrace("arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,10,0\n2,20,5\n", "t.csv");
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  const auto workload = FromTrace(*trace, {.rate = 2});
  ASSERT_TRUE(workload.ok());
  EXPECT_EQ(workload->dropped, 1);
  EXPECT_EQ(workload->requests.size(), 2U);
  EXPECT_DOUBLE_EQ(workload->requests[1].arrival_ms, 1000);
}

TEST(Workload, SaysWhatItLeavesOutAndWhatDoesNotFitTheModel) {
  const auto trace = formats::ParseTrace("arrival_s,prompt_tokens,output_tokens\n0,3000000,5\n1,10,0\n2,131000,73\n3,131000,72\n", "t.csv");
  ASSERT_TRUE(trace.ok());
  auto workload = FromTrace(*trace);
  ASSERT_TRUE(workload.ok());
  EXPECT_EQ(workload->requests[0].prompt_tokens, 3'000'000) << "no length is cut";
  auto spec = *formats::ModelPreset("llama-3.1-8b");
  ASSERT_EQ(spec.max_context_tokens, 131072);
  NoteBeyondContext(spec, &*workload);
  EXPECT_EQ(workload->beyond_context, 2);
  ASSERT_EQ(workload->notes.size(), 2U);
  EXPECT_NE(workload->notes[0].find("1 of 4 requests of t.csv have no answer"), std::string::npos) << workload->notes[0];
  EXPECT_NE(workload->notes[1].find("2 of 3 requests are longer than the 131072 tokens"), std::string::npos) << workload->notes[1];
}

TEST(Workload, RefusesAFactorThatMakesLengthsAbsurd) {
  const auto trace = formats::ParseTrace("arrival_s,prompt_tokens,output_tokens\n0,3000000,5\n", "t.csv");
  const auto refused = FromTrace(*trace, {.prompt_tokens = 50});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("t.csv: a prompt of 3000000 tokens times 50"), std::string::npos) << refused.error().message;
}

TEST(Workload, ATraceGivesItsLengthsToABatchOrToPoissonArrivals) {
  formats::Workload w;
  w.trace_path = std::string(ASSAY_SOURCE_DIR) + "/tests/e2e/data/short.csv";
  w.arrivals = formats::Arrivals::kTrace;
  const auto own = FromUseCase(w, 1, 1);
  ASSERT_TRUE(own.ok()) << own.error().message;
  w.arrivals = formats::Arrivals::kBatch;
  const auto batch = FromUseCase(w, 1, 1);
  w.arrivals = formats::Arrivals::kPoisson;
  w.requests_per_second = 100;
  const auto poisson = FromUseCase(w, 1, 1);
  ASSERT_EQ(own->requests.size(), poisson->requests.size());
  for (size_t i = 1; i < own->requests.size(); ++i) {
    EXPECT_EQ(batch->requests[i].arrival_ms, 0);
    EXPECT_EQ(batch->requests[i].prompt_tokens, own->requests[i].prompt_tokens);
    EXPECT_NE(poisson->requests[i].arrival_ms, own->requests[i].arrival_ms);
  }
}

TEST(Workload, RequestsOfTheFilePlayTheFirstOfATrace) {
  formats::Workload w;
  w.trace_path = std::string(ASSAY_SOURCE_DIR) + "/tests/e2e/data/short.csv";
  w.arrivals = formats::Arrivals::kTrace;
  const auto all = FromUseCase(w, 1, 1);
  w.requests = 3;
  const auto three = FromUseCase(w, 1, 1);
  ASSERT_TRUE(all.ok() && three.ok());
  ASSERT_GT(all->requests.size(), 3U);
  ASSERT_EQ(three->requests.size(), 3U);
  EXPECT_EQ(three->requests[2].prompt_tokens, all->requests[2].prompt_tokens);
  EXPECT_NE(three->notes.back().find("the first 3 of"), std::string::npos) << three->notes.back();
}

TEST(ScoreServing, RefusesWithReasonsAndLeavesConflictingRowsOut) {
  const std::string header = "backend,model_path,system,mode,isl,osl,gemm_quant_mode,batch_size,tp_size,pp_size,silicon_ttft_ms,silicon_tpot_ms\n";
  const auto table = formats::Table::Parse(header +
      "vllm,meta-llama/Llama-3.1-8B-Instruct,h100_sxm,agg,1024,128,,8,1,1,90,8\n"
      "vllm,meta-llama/Llama-3.1-8B-Instruct,h100_sxm,agg,1024,128,,8,1,1,70,7\n"
      "vllm,meta-llama/Llama-3.1-8B-Instruct,h100_sxm,agg,1024,128,,8,2,1,70,7\n"
      "vllm,deepseek-ai/DeepSeek-R1,h100_sxm,agg,1024,128,,8,8,1,71,7\n"
      "vllm,meta-llama/Llama-3.1-8B-Instruct,h100_sxm,disagg,1024,128,,8,1,1,91,8\n", "silicon.csv");
  ASSERT_TRUE(table.ok()) << table.error().message;
  const auto report = ScoreServing(*table, 1);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->conflicting, 2);
  EXPECT_EQ(report->overall.rows, 3);
  EXPECT_EQ(report->overall.refused, 2);
  EXPECT_EQ(report->refusals.size(), 2U);
}

// The share of fp8 quantising was chosen on vLLM's rows of Llama-3.1-70B; TensorRT-LLM's were not looked at for it. Paying all of it missed
// their TPOT by 51 % in the median.
TEST(ScoreServing, Fp8PointsOfAnEngineThatChoseNothingAreNearerWithFusedQuantising) {
  std::ifstream file(std::string(ASSAY_SHARED_DATA_DIR) + "/gpu_end_to_end/silicon.csv");
  if (!file) GTEST_SKIP() << "no measured end-to-end points beside the checkout";
  std::string line, rows;
  for (bool header = true; std::getline(file, line); header = false) {
    const bool wanted = line.find(",trtllm,") != std::string::npos && line.find("Llama-3.1-70B,h200_sxm") != std::string::npos;
    if (header || wanted) rows += line + "\n";
  }
  const auto table = formats::Table::Parse(rows, "silicon.csv");
  ASSERT_TRUE(table.ok()) << table.error().message;
  const auto report = ScoreServing(*table, 1);
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto score = report->groups.find("meta-llama/Llama-3.1-70B / h200_sxm / trtllm");
  ASSERT_NE(score, report->groups.end());
  EXPECT_GE(score->second.rows, 30);
  EXPECT_LE(score->second.tpot.p50, 0.40);
}

}  // namespace
}  // namespace assay::serving
