// From a model's shape and its layers' mechanisms to the kernels of a step (StepModel): the mechanisms say which measured rows time them,
// what projections surround them and what they keep in memory; this file cuts all of it into tensor-parallel ranks.
#pragma once

#include <optional>
#include <span>

#include "core/result.h"
#include "formats/model_spec.h"
#include "formats/stack.h"
#include "formats/usecase.h"
#include "mechanisms/mechanism.h"
#include "platform/step_time.h"

namespace assay::platform {

struct StepModelOptions {
  int tensor_parallel = 1;
  DType weights = DType::kBf16;            // of the matrices: bf16 or e4m3 are measured
  formats::KvFormat kv = {};
  // What a decode step reads, where it is not all that is resident ("quest"): its time is then bounded unless a table holds it.
  std::optional<formats::MechanismCall> read = std::nullopt;
};

// What a layer's cost model is asked with, its token counts aside: the widths of the cache's elements and of the scales beside them, which the
// layer's own heads decide.
CostQuery CacheQuery(const Mechanism& mechanism, const LayerShape& shape, const ParameterSet& parameters, const formats::KvFormat& kv);

// The type that the matrices are timed in. Half precision is timed as bf16, which runs at the same rate; whatever else the tables do not
// hold is refused there, and never timed as another type of as many bits.
Result<DType> TimedWeights(const formats::ModelSpec& model);

// `layers`: one call a layer (formats::ExpandStack); empty: the model's own mechanisms. Models with experts are refused for now.
Result<StepModel> MakeStepModel(const formats::ModelSpec& spec, std::span<const formats::MechanismCall> layers, const StepModelOptions& options);

// The layer on which a read policy (quest) selects: `shape` with the heads of the mechanism that keeps the cache. BadInput for anything but
// plain softmax attention over a whole cache: page bounds say nothing of a latent, a window, a cap or a sink.
Result<LayerShape> ReadShape(const Mechanism& mechanism, const ParameterSet& parameters, const LayerShape& shape, const formats::MechanismCall& read);

// Bytes of one rank's weights, embedding included.
double RankWeightBytes(const StepModel& model, const formats::ModelSpec& spec);

}  // namespace assay::platform
