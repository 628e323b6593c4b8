// Layers to kernels.
#include "platform/model_steps.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "mechanisms/bind.h"

namespace assay::platform {
namespace {

struct Bound {
  const Mechanism* mechanism = nullptr;
  ParameterSet parameters;
};

Result<Bound> BoundTo(const formats::MechanismCall& call) {
  ASSAY_TRY(const Mechanism* mechanism, FindMechanism(call.id));
  ASSAY_TRY(ParameterSet parameters, Bind(*mechanism, call));
  return Bound{mechanism, std::move(parameters)};
}

// The share of what `heads` heads keep that one rank holds; fewer heads than ranks are replicated.
double HeadShare(int64_t heads, int tensor_parallel) { return std::max(1.0 / tensor_parallel, 1.0 / static_cast<double>(heads)); }

// Bytes of scales beside one token of one of `kv_heads` key/value heads, K and V together.
double ScaleBytes(const formats::KvFormat& kv, int64_t kv_heads, int64_t head_dim) {
  const double bytes = BytesOf(kv.scale_dtype.value_or(DType::kF32), 1);
  switch (kv.scale) {
    case formats::ScaleGranularity::kNone:
    case formats::ScaleGranularity::kTensor:
    case formats::ScaleGranularity::kHead: return 0;
    case formats::ScaleGranularity::kToken: return 2 * bytes / static_cast<double>(kv_heads);
    case formats::ScaleGranularity::kTokenHead: return 2 * bytes;
    // One scale a channel of a 64-token page for K, one a token for V.
    case formats::ScaleGranularity::kPage: return bytes * (static_cast<double>(head_dim) / 64 + 1);
    case formats::ScaleGranularity::kBlock: return 2 * bytes * static_cast<double>(head_dim) / static_cast<double>(kv.scale_block_elements.value_or(32));
  }
  return 0;
}

std::function<Work(double, double, double)> FloorOf(const Bound& bound, const LayerShape& shape, const StepModelOptions& options) {
  const double share = 1.0 / options.tensor_parallel;
  return [mechanism = bound.mechanism, query = CacheQuery(*bound.mechanism, shape, bound.parameters, options.kv), share](double sequences, double new_tokens, double context) {
    CostQuery asked = query;
    asked.new_tokens = static_cast<int64_t>(new_tokens);
    asked.context_tokens = static_cast<int64_t>(context);
    asked.sequences = static_cast<int64_t>(sequences);
    const LayerCost cost = mechanism->cost(asked);
    return Work{.bytes = (cost.bytes_read + cost.bytes_written) * share, .flops = cost.flops * share};
  };
}

// `bound` is the reader where there is one: its page bounds are kept beside the cache.
void FillMemory(const Bound& bound, const LayerShape& shape, const StepModelOptions& options, MixerGroup* group) {
  const ResidentBytes resident = bound.mechanism->resident(shape, bound.parameters, CacheQuery(*bound.mechanism, shape, bound.parameters, options.kv));
  const double share = HeadShare(resident.split_heads, options.tensor_parallel);
  group->memory = MixerMemory{.bytes_per_token = resident.per_token * share, .bytes_per_sequence = resident.per_sequence * share, .token_cap = resident.token_cap};
}

Result<MixerGroup> MakeGroup(const Bound& bound, const formats::MechanismCall& call, const LayerShape& shape, const StepModelOptions& options) {
  MixerGroup group{.layers = 1, .compute = DType::kBf16, .cache = options.kv.dtype};
  const TableKernel table = bound.mechanism->table_kernel != nullptr ? bound.mechanism->table_kernel(shape, bound.parameters) : TableKernel{};
  const int tp = options.tensor_parallel;
  const int64_t query_heads = table.query_heads > 0 ? table.query_heads : shape.query_heads;
  const int64_t kv_heads = table.kv_heads > 0 ? table.kv_heads : shape.kv_heads;
  if (query_heads % tp != 0) return BadInput(fmt::format("{}: {} heads do not divide over {} ranks", call.ToString(), query_heads, tp));
  group.query_heads = static_cast<int>(query_heads / tp);
  group.kv_heads = static_cast<int>(std::max<int64_t>(1, kv_heads / tp));
  group.head_dim = static_cast<int>(shape.head_dim);
  switch (table.family) {
    case TableKernel::Family::kSoftmax: group.kind = MixerKind::kSoftmax; break;
    case TableKernel::Family::kMla: group.kind = MixerKind::kMla; group.kv_heads = 1; group.head_dim = 128; break;
    case TableKernel::Family::kGatedDeltaNet: group.kind = MixerKind::kGatedDeltaNet; break;
    case TableKernel::Family::kNone:
      group.prefill_floor = group.decode_floor = FloorOf(bound, shape, options);
      group.floor_reason = fmt::format("no measured table holds {}: at least this, from its bytes and FLOPs at the datasheet's peaks", call.ToString());
      break;
  }
  if (table.family == TableKernel::Family::kSoftmax || table.family == TableKernel::Family::kGatedDeltaNet) {
    group.window = static_cast<int>(table.window_tokens);
    group.head_dim = static_cast<int>(table.head_dim);
  }
  if (!options.read || bound.mechanism->traits.state != StateKind::kGrowing) {
    FillMemory(bound, shape, options, &group);
  } else {
    ASSAY_TRY(const Bound reader, BoundTo(*options.read));
    ASSAY_TRY(const LayerShape read_shape, ReadShape(*bound.mechanism, bound.parameters, shape, *options.read));
    FillMemory(reader, read_shape, options, &group);
    group.decode_floor = FloorOf(reader, read_shape, options);
    group.floor_reason = fmt::format("no measured table holds {}: decodes take at least this, from its bytes and FLOPs at the datasheet's peaks",
                                     options.read->ToString());
  }
  return group;
}

}  // namespace

CostQuery CacheQuery(const Mechanism& mechanism, const LayerShape& shape, const ParameterSet& parameters, const formats::KvFormat& kv) {
  CostQuery query{.shape = shape, .parameters = parameters, .cache_bytes_per_element = BitsOf(kv.dtype) / 8.0};
  query.scale_bytes_per_token_head = ScaleBytes(kv, mechanism.resident(shape, parameters, query).split_heads, shape.head_dim);
  return query;
}

Result<LayerShape> ReadShape(const Mechanism& mechanism, const ParameterSet& parameters, const LayerShape& shape, const formats::MechanismCall& read) {
  const TableKernel kernel = mechanism.table_kernel != nullptr ? mechanism.table_kernel(shape, parameters) : TableKernel{};
  bool plain = kernel.family == TableKernel::Family::kSoftmax && kernel.window_tokens == 0;
  const ParameterSet defaults = ParameterSet::Defaults(mechanism);
  for (size_t i = 0; i < parameters.values().size(); ++i) {
    const ParameterValue& value = parameters.values()[i];
    if (value.name != "kv_heads" && value.value != defaults.values()[i].value) plain = false;
  }
  if (!plain) {
    return BadInput(fmt::format("read = \"{}\" selects pages of a plain softmax cache (gqa), not of {}({}); leave it out, or use gqa in the stack", read.id,
                                mechanism.id, parameters.Canonical()));
  }
  LayerShape own = shape;
  own.query_heads = kernel.query_heads;
  own.kv_heads = kernel.kv_heads;
  own.head_dim = kernel.head_dim;
  return own;
}

namespace {

void AddGemm(std::string name, double n, double k, DType dtype, StepModel* model) {
  if (n < 1 || k < 1) return;
  for (GemmGroup& gemm : model->gemms) {
    if (gemm.name == name && gemm.n == n && gemm.k == k) {
      gemm.count += 1;
      return;
    }
  }
  model->gemms.push_back({.name = std::move(name), .count = 1, .n = n, .k = k, .dtype = dtype, .last_token_only = false});
}

}  // namespace

Result<DType> TimedWeights(const formats::ModelSpec& model) {
  if (model.weight_bits >= 16) return model.weight_dtype == DType::kF32 && model.weight_bits == 32 ? DType::kF32 : DType::kBf16;
  if (model.quantised_dtype) return *model.quantised_dtype;
  return Unsupported(fmt::format("no table times weights of {:g} bits whose type the model's file does not say (fp8 is measured; integers and block formats are "
                                 "not); say weight_dtype = \"e4m3\" in [model] if they are fp8, or fit a gemm table of theirs with `assay platform fit`",
                                 model.weight_bits));
}

Result<StepModel> MakeStepModel(const formats::ModelSpec& spec, std::span<const formats::MechanismCall> layers, const StepModelOptions& options) {
  ASSAY_RETURN_IF_ERROR(formats::CheckModelSpec(spec));
  const int tp = options.tensor_parallel;
  if (tp < 1) return BadInput("tensor_parallel must be at least 1");
  if (spec.moe) {
    return Unsupported(fmt::format("{} has experts; step times of expert layers are not modelled yet (moe_perf tables hold them)", spec.name));
  }
  if (spec.ffn_dim % tp != 0) return BadInput(fmt::format("{}: {} inner columns do not divide over {} ranks", spec.name, spec.ffn_dim, tp));
  if (layers.empty()) layers = spec.layer_calls;
  const double d = static_cast<double>(spec.model_dim);
  StepModel model{.name = spec.name, .layers = static_cast<int>(spec.layers), .model_dim = d, .ffn_dim = static_cast<double>(spec.ffn_dim) / tp,
                  .mixers = {}, .gemms = {}, .tensor_parallel = tp};
  const LayerShape shape{.model_dim = spec.model_dim, .query_heads = spec.query_heads, .kv_heads = spec.kv_heads, .head_dim = spec.head_dim};
  for (const formats::LayerCount& count : formats::CountLayers({layers.begin(), layers.end()})) {
    ASSAY_TRY(const Bound bound, BoundTo(count.mechanism));
    ASSAY_TRY(MixerGroup group, MakeGroup(bound, count.mechanism, shape, options));
    group.layers = static_cast<int>(count.layers);
    model.mixers.push_back(std::move(group));
    for (const Projection& projection : bound.mechanism->projections(shape, bound.parameters)) {
      const double share = projection.heads > 0 ? HeadShare(projection.heads, tp) : 1.0 / tp;
      const double n = static_cast<double>(projection.n) * (projection.split == Projection::Split::kColumns ? share : 1);
      const double k = static_cast<double>(projection.k) / (projection.split == Projection::Split::kRows ? tp : 1);
      for (int64_t layer = 0; layer < count.layers; ++layer) AddGemm(std::string(projection.name), n, k, options.weights, &model);
    }
  }
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    AddGemm("ffn_up_gate", 2.0 * static_cast<double>(spec.ffn_dim) / tp, d, options.weights, &model);
    AddGemm("ffn_down", d, static_cast<double>(spec.ffn_dim) / tp, options.weights, &model);
  }
  model.gemms.push_back({.name = "vocabulary", .count = 1, .n = std::ceil(static_cast<double>(spec.vocabulary) / tp), .k = d,
                         .dtype = DType::kBf16, .last_token_only = true});
  return model;
}

double RankWeightBytes(const StepModel& model, const formats::ModelSpec& spec) {
  double bytes = 0;
  for (const GemmGroup& gemm : model.gemms) bytes += gemm.count * gemm.n * gemm.k * BitsOf(gemm.dtype) / 8.0;
  if (!spec.tied_embeddings) bytes += static_cast<double>(spec.vocabulary) * model.model_dim * 2 / model.tensor_parallel;
  return bytes;
}

}  // namespace assay::platform
