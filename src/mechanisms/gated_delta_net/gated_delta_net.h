// The parts of gated_delta_net that its own files share: the shape of a call, its cost, its case adapters. Nothing outside this folder
// includes this header; the door is the descriptor in mechanism.cc.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/result.h"
#include "kernels/problem.h"
#include "mechanisms/case_adapter.h"
#include "mechanisms/mechanism.h"

namespace assay::gated_delta_net {

// Extents of one call. A state belongs to a value head: H states of [D, Dv] a sequence. Keys may have fewer heads (grouped values, as in
// Qwen3-Next), queries fewer or more (grouped queries, as in ONNX LinearAttention); there are as many output heads as the larger of the two.
struct Shape {
  int64_t sequences = 0;
  int64_t query_heads = 0;
  int64_t key_heads = 0;
  int64_t state_heads = 0;
  int64_t output_heads = 0;
  int64_t key_dim = 0;
  int64_t value_dim = 0;
  bool channel_decay = false;   // LOG_DECAY has a channel axis
  std::vector<int64_t> tokens;  // a sequence

  [[nodiscard]] int64_t KeyHeadOf(int64_t state) const { return state * key_heads / state_heads; }
  [[nodiscard]] int64_t StateOf(int64_t output) const { return output * state_heads / output_heads; }
  [[nodiscard]] int64_t QueryHeadOf(int64_t output) const { return output * query_heads / output_heads; }
};

// Fails on what is no gated delta rule: contradictory shapes, masks, windows, a softmax's outputs.
Result<Shape> ResolveShape(const Problem& problem);

// Which widths and head counts a layer has once the parameters that are 0 have taken the layer's own.
struct LayerWidths {
  int64_t key_heads;
  int64_t value_heads;
  int64_t key_dim;
  int64_t value_dim;
  int64_t conv_channels;  // q, k and v pass through the convolution
};
LayerWidths WidthsOf(const LayerShape& shape, const ParameterSet& parameters);

LayerCost Cost(const CostQuery& query);
ResidentBytes Resident(const LayerShape& shape, const ParameterSet& parameters, const CostQuery& bytes);
std::vector<Projection> Projections(const LayerShape& shape, const ParameterSet& parameters);
TableKernel TimedBy(const LayerShape& shape, const ParameterSet& parameters);
// The two forms of the recurrence. verify runs both on every case: they must agree with it, and so with each other.
enum class Form { kStepwise, kChunked };
// Adapters of conformance operators (rule_cases.cc, layer_cases.cc).
template <Form kForm>
Result<CaseOutputs> RunLinearAttention(const ConformanceCase& conformance_case, const Attend& attend);
template <Form kForm>
Result<CaseOutputs> RunGatedDeltaRule(const ConformanceCase& conformance_case, const Attend& attend);
template <Form kForm>
Result<CaseOutputs> RunKimiDeltaRule(const ConformanceCase& conformance_case, const Attend& attend);
template <Form kForm>
Result<CaseOutputs> RunOpenVino(const ConformanceCase& conformance_case, const Attend& attend);
template <Form kForm>
Result<CaseOutputs> RunGatedDeltaNetLayer(const ConformanceCase& conformance_case, const Attend& attend);
template <Form kForm>
Result<CaseOutputs> RunKimiDeltaAttentionLayer(const ConformanceCase& conformance_case, const Attend& attend);

Result<OwnedProblem> Example(const ExampleSpec& spec, const ParameterSet& parameters, Rng& rng);

}  // namespace assay::gated_delta_net
