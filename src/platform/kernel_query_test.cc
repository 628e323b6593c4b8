// The work that measured kernels are scaled by (kernel_query.cc) beside the work that mechanisms count (their cost.cc): the same, but for what
// is said here. Scaling leaves out what a roofline does not see; a mechanism counts all of it.
#include <gtest/gtest.h>

#include "mechanisms/mechanism.h"
#include "platform/kernel_query.h"

namespace assay::platform {
namespace {

constexpr double kActivationBytes = 2, kGateBytes = 4;

struct Shape {
  double sequences, new_tokens, context, query_heads, kv_heads, head_dim;
  DType cache = DType::kBf16;
};

LayerCost CostOf(std::string_view id, const Shape& s, std::span<const ParameterValue> named) {
  const Mechanism& mechanism = **FindMechanism(id);
  return mechanism.cost({.shape = {.model_dim = 4096, .query_heads = static_cast<int64_t>(s.query_heads), .kv_heads = static_cast<int64_t>(s.kv_heads),
                                   .head_dim = static_cast<int64_t>(s.head_dim)},
                         .parameters = *ParameterSet::Make(mechanism, {}, named),
                         .new_tokens = static_cast<int64_t>(s.new_tokens),
                         .context_tokens = static_cast<int64_t>(s.context),
                         .sequences = static_cast<int64_t>(s.sequences),
                         .cache_bytes_per_element = BitsOf(s.cache) / 8.0});
}

Work WorkOf(Family family, const Shape& s, double window = 0) {
  KernelQuery q;
  q.family = family;
  q.cache = s.cache;
  q.window = static_cast<int32_t>(window);
  q.head_dim = static_cast<int32_t>(s.head_dim);
  q.batch = s.sequences;
  // A recurrence knows no context: its state stands for it.
  const bool recurrent = family == Family::kGdnDecode || family == Family::kGdnPrefill;
  q.tokens = s.new_tokens + (recurrent ? 0 : s.context);
  q.query_heads = s.query_heads;
  q.kv_heads = s.kv_heads;
  return UsefulWork(q);
}

struct Difference {
  double flops, bytes;  // that the mechanism counts beyond
};
void ExpectDifference(const LayerCost& cost, const Work& work, const Difference& beyond) {
  EXPECT_DOUBLE_EQ(cost.flops - work.flops, beyond.flops);
  EXPECT_DOUBLE_EQ(cost.bytes_read + cost.bytes_written - work.bytes, beyond.bytes);
}

// Softmax's scale, difference and sum (3 a pair) and the division of a row; and new keys and values arriving as activations.
Difference OfSoftmax(const Shape& s, double pairs, double rows_wide, double value_width) {
  const double tokens = s.sequences * s.new_tokens;
  return {.flops = s.query_heads * (s.sequences * pairs * 3 + tokens * value_width), .bytes = tokens * rows_wide * kActivationBytes};
}

TEST(UsefulWork, OfAttentionIsTheMechanismsButForScalarsAndNewRows) {
  for (const DType cache : {DType::kBf16, DType::kE4m3}) {
    const Shape decode{.sequences = 3, .new_tokens = 1, .context = 999, .query_heads = 32, .kv_heads = 8, .head_dim = 128, .cache = cache};
    ExpectDifference(CostOf("gqa", decode, {}), WorkOf(Family::kAttentionDecode, decode), OfSoftmax(decode, 1000, 2 * 8 * 128, 128));
    const Shape prefill{.sequences = 3, .new_tokens = 1000, .context = 0, .query_heads = 32, .kv_heads = 8, .head_dim = 128, .cache = cache};
    ExpectDifference(CostOf("gqa", prefill, {}), WorkOf(Family::kAttentionPrefill, prefill), OfSoftmax(prefill, 500500, 2 * 8 * 128, 128));
    const ParameterValue window[] = {{"window_tokens", 64}};
    ExpectDifference(CostOf("sliding_window", decode, window), WorkOf(Family::kAttentionDecode, decode, 64), OfSoftmax(decode, 64, 2 * 8 * 128, 128));
    ExpectDifference(CostOf("sliding_window", prefill, window), WorkOf(Family::kAttentionPrefill, prefill, 64),
                     OfSoftmax(prefill, 64 * 65 / 2 + (1000 - 64) * 64, 2 * 8 * 128, 128));
  }
}

TEST(UsefulWork, OfLatentAttentionIsTheMechanismsInTheFormOfItsPhase) {
  const Shape decode{.sequences = 3, .new_tokens = 1, .context = 999, .query_heads = 128, .kv_heads = 1, .head_dim = 128};
  const ParameterValue absorbed[] = {{"form", 2}};
  ExpectDifference(CostOf("mla", decode, absorbed), WorkOf(Family::kMlaDecode, decode), OfSoftmax(decode, 1000, 512 + 64, 512));
  const Shape prefill{.sequences = 3, .new_tokens = 1000, .context = 0, .query_heads = 128, .kv_heads = 1, .head_dim = 128};
  const ParameterValue expanded[] = {{"form", 1}};
  // Expanded rows reach the mechanism as a key of 128 + 64 a head; measured kernels read the 64 rotary channels once for all heads.
  Difference beyond = OfSoftmax(prefill, 500500, 0, 128);
  beyond.bytes = 3 * 1000 * 128 * 64 * kActivationBytes;
  ExpectDifference(CostOf("mla", prefill, expanded), WorkOf(Family::kMlaPrefill, prefill), beyond);
}

TEST(UsefulWork, OfGatedDeltaNetIsTheMechanismsButForDecayGatesAndTheChunkedForm) {
  const ParameterValue heads[] = {{"value_heads", 32}, {"key_heads", 16}};
  const Shape decode{.sequences = 3, .new_tokens = 1, .context = 999, .query_heads = 32, .kv_heads = 16, .head_dim = 128};
  // Scaled by 6 D Dv a token; the mechanism's 7 D Dv + 3 Dv hold the decay and what touches one value row.
  ExpectDifference(CostOf("gated_delta_net", decode, heads), WorkOf(Family::kGdnDecode, decode),
                   {.flops = 3 * 32 * (128 * 128 + 3 * 128), .bytes = 3 * 32 * 2 * kGateBytes});
  const Shape prefill{.sequences = 3, .new_tokens = 1000, .context = 0, .query_heads = 32, .kv_heads = 16, .head_dim = 128};
  // Chunks do 8 D Dv: more than the recurrence, in exchange for matrix products.
  ExpectDifference(CostOf("gated_delta_net", prefill, heads), WorkOf(Family::kGdnPrefill, prefill),
                   {.flops = 3 * 1000.0 * 32 * (-128 * 128 + 3 * 128), .bytes = 3 * 1000 * 32 * 2 * kGateBytes});
}

}  // namespace
}  // namespace assay::platform
