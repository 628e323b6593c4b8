// Useful work and coordinates of kernel calls.
#include "platform/kernel_query.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace assay::platform {
namespace {

constexpr std::array<std::string_view, kFamilyCount> kFamilyNames = {
    "attention_prefill", "attention_decode", "mla_prefill", "mla_decode", "gdn_prefill", "gdn_decode", "gdn_conv_prefill",
    "gdn_conv_decode",   "gemm",             "all_reduce",  "all_gather", "reduce_scatter", "all_to_all"};
constexpr std::array<std::string_view, kFeatureCount> kFeatureNames = {
    "batch", "tokens", "query_heads", "kv_heads", "group", "batch_kv_heads", "batch_heads", "batch_tokens", "m", "n", "k", "gpus", "bytes", "mn", "nk", "mk"};

// MLA in its usual shape: a latent of 512 and a rope part of 64 a token, shared by all heads; 128 + 64 a head when expanded.
constexpr double kMlaLatent = 512;
constexpr double kMlaRope = 64;
constexpr double kMlaHeadDim = 128;

double BytesPer(DType dtype) { return BitsOf(dtype) / 8.0; }

// Pairs (query, key) of causal attention over `tokens`, cut to a window.
double CausalPairs(double tokens, double window) {
  if (window <= 0 || tokens <= window) return tokens * (tokens + 1) / 2;
  return window * (window + 1) / 2 + (tokens - window) * window;
}

Work PrefillWork(const KernelQuery& q) {
  const double d = q.head_dim;
  const double pairs = CausalPairs(q.tokens, q.window);
  return {.bytes = q.batch * q.tokens * d * (2 * q.kv_heads * BytesPer(q.cache) + 2 * q.query_heads * 2),
          .flops = 4 * q.batch * q.query_heads * d * pairs};
}

Work DecodeWork(const KernelQuery& q) {
  const double d = q.head_dim;
  const double keys = q.window > 0 ? std::min<double>(q.tokens, q.window) : q.tokens;
  return {.bytes = q.batch * (2 * q.kv_heads * keys * d * BytesPer(q.cache) + 2 * q.query_heads * d * 2),
          .flops = 4 * q.batch * q.query_heads * d * keys};
}

Work MlaWork(const KernelQuery& q) {
  const double latent = kMlaLatent + kMlaRope;
  if (q.family == Family::kMlaDecode) {
    return {.bytes = q.batch * (q.tokens * latent * BytesPer(q.cache) + q.query_heads * (latent + kMlaLatent) * 2),
            .flops = 2 * q.batch * q.query_heads * q.tokens * (latent + kMlaLatent)};
  }
  const double pairs = CausalPairs(q.tokens, 0);
  return {.bytes = q.batch * q.tokens * (latent * BytesPer(q.cache) + q.query_heads * (4 * kMlaHeadDim + kMlaRope) * 2),
          .flops = 2 * q.batch * q.query_heads * pairs * (2 * kMlaHeadDim + kMlaRope)};
}

// The recurrent state (value heads x 128 x 128, fp32) is read and written once a decode step, and kept on chip in prefill chunks.
Work GdnWork(const KernelQuery& q) {
  const double d = q.head_dim;
  const double rows = q.batch * q.tokens;
  const double state_bytes = q.batch * q.query_heads * d * d * 4 * 2;
  const double io_bytes = rows * d * 2 * (2 * q.kv_heads + 2 * q.query_heads);
  const double channels = d * (2 * q.kv_heads + q.query_heads);
  switch (q.family) {
    case Family::kGdnDecode:
      return {.bytes = state_bytes + io_bytes, .flops = rows * q.query_heads * 6 * d * d};
    case Family::kGdnPrefill:
      return {.bytes = state_bytes + io_bytes, .flops = rows * q.query_heads * 8 * d * d};
    default:
      return {.bytes = rows * channels * 2 * 2 + q.batch * channels * 3 * 2 * 2, .flops = rows * channels * 8};
  }
}

// Bytes one GPU must send, for the volume factors of ring algorithms.
Work CollectiveWork(const KernelQuery& q) {
  const double share = q.gpus > 1 ? (q.gpus - 1) / q.gpus : 0;
  return {.bytes = q.bytes * share * (q.family == Family::kAllReduce ? 2 : 1), .flops = 0};
}

}  // namespace

std::string_view NameOf(Family family) { return kFamilyNames[static_cast<size_t>(family)]; }

std::optional<Family> FamilyFromName(std::string_view name) {
  for (size_t i = 0; i < kFamilyNames.size(); ++i) {
    if (kFamilyNames[i] == name) return static_cast<Family>(i);
  }
  return std::nullopt;
}

std::string_view NameOf(Feature feature) { return kFeatureNames[static_cast<size_t>(feature)]; }

std::optional<Feature> FeatureFromName(std::string_view name) {
  for (size_t i = 0; i < kFeatureNames.size(); ++i) {
    if (kFeatureNames[i] == name) return static_cast<Feature>(i);
  }
  return std::nullopt;
}

double Log2Feature(Feature feature, const KernelQuery& q) noexcept {
  switch (feature) {
    case Feature::kBatch: return std::log2(q.batch);
    case Feature::kTokens: return std::log2(q.tokens);
    case Feature::kQueryHeads: return std::log2(q.query_heads);
    case Feature::kKvHeads: return std::log2(q.kv_heads);
    case Feature::kGroup: return std::log2(q.query_heads / q.kv_heads);
    case Feature::kBatchKvHeads: return std::log2(q.batch * q.kv_heads);
    case Feature::kBatchHeads: return std::log2(q.batch * q.query_heads);
    case Feature::kBatchTokens: return std::log2(q.batch * q.tokens);
    case Feature::kM: return std::log2(q.m);
    case Feature::kN: return std::log2(q.n);
    case Feature::kK: return std::log2(q.k);
    case Feature::kGpus: return std::log2(q.gpus);
    case Feature::kBytes: return std::log2(q.bytes);
    case Feature::kMn: return std::log2(q.m * q.n);
    case Feature::kNk: return std::log2(q.n * q.k);
    case Feature::kMk: return std::log2(q.m * q.k);
  }
  return 0;
}

Work UsefulWork(const KernelQuery& q) noexcept {
  switch (q.family) {
    case Family::kAttentionPrefill: return PrefillWork(q);
    case Family::kAttentionDecode: return DecodeWork(q);
    case Family::kMlaPrefill:
    case Family::kMlaDecode: return MlaWork(q);
    case Family::kGdnPrefill:
    case Family::kGdnDecode:
    case Family::kGdnConvPrefill:
    case Family::kGdnConvDecode: return GdnWork(q);
    case Family::kGemm:
      return {.bytes = (q.m * q.k + q.k * q.n) * BytesPer(q.compute) + q.m * q.n * 2, .flops = 2 * q.m * q.n * q.k};
    default: return CollectiveWork(q);
  }
}

}  // namespace assay::platform
