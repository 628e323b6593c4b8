// KernelQuery: one kernel call whose time on an accelerator is asked for, with its useful work (bytes, FLOPs) as the physics sees it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/dtype.h"

namespace assay::platform {

// Families of measured kernels. Names are stored in profiles and never change.
enum class Family : uint8_t {
  kAttentionPrefill,   // softmax attention of a whole prompt
  kAttentionDecode,    // one new token a sequence
  kMlaPrefill,
  kMlaDecode,
  kGdnPrefill,         // the recurrence kernel of gated delta net
  kGdnDecode,
  kGdnConvPrefill,     // its causal convolution
  kGdnConvDecode,
  kGemm,               // [m,k] x [k,n]
  kAllReduce,
  kAllGather,
  kReduceScatter,
  kAllToAll,
};
constexpr int kFamilyCount = 13;

std::string_view NameOf(Family family);
std::optional<Family> FamilyFromName(std::string_view name);

struct KernelQuery {
  Family family = Family::kGemm;
  DType compute = DType::kBf16;  // of the tensor-core operands
  DType cache = DType::kBf16;    // of the KV cache
  int32_t window = 0;            // tokens; 0: full
  int32_t head_dim = 128;
  // Sequences of equal length; tokens is the prompt length (prefill) or the context with the new token (decode).
  double batch = 1;
  double tokens = 1;
  double query_heads = 1;        // value heads of gated delta net
  double kv_heads = 1;           // key heads of gated delta net
  double m = 0, n = 0, k = 0;    // GEMM
  double gpus = 1, bytes = 0;    // collectives
};

// Coordinates that grids and coverage are laid out in; all are reported as log2.
enum class Feature : uint8_t {
  kBatch,
  kTokens,
  kQueryHeads,
  kKvHeads,
  kGroup,         // query heads a KV head
  kBatchKvHeads,  // independent (sequence, KV head) pairs: the work items of a decode kernel
  kBatchHeads,
  kBatchTokens,
  kM,
  kN,
  kK,
  kGpus,
  kBytes,
  kMn,            // elements of a GEMM's output: its tiles
  kNk,            // elements of its weights
  kMk,
};
constexpr int kFeatureCount = 16;

std::string_view NameOf(Feature feature);
std::optional<Feature> FeatureFromName(std::string_view name);
double Log2Feature(Feature feature, const KernelQuery& query) noexcept;

// What any correct kernel must move and compute, at least.
struct Work {
  double bytes = 0;
  double flops = 0;
};
Work UsefulWork(const KernelQuery& query) noexcept;

}  // namespace assay::platform
