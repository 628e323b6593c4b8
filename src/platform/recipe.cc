// The recipes, family by family.
#include "platform/recipe.h"

namespace assay::platform {
namespace {

using F = Feature;

// Decode kernels split work into (sequence, KV head) items of equal cost, so batch and KV heads act through their product.
Recipe AttentionDecode() {
  return {.stages = {{.axes = {{F::kBatchKvHeads, 0.4}, {F::kGroup, 0.4}, {F::kTokens, 0.4}}, .options = {}}},
          .coverage = {F::kBatch, F::kTokens, F::kQueryHeads, F::kKvHeads, F::kGroup},
          .regimes = {F::kBatch, F::kTokens, F::kQueryHeads, F::kKvHeads, F::kGroup, F::kBatchKvHeads, F::kBatchHeads}};
}

Recipe AttentionPrefill() {
  return {.stages = {{.axes = {{F::kBatchHeads, 0.4}, {F::kGroup, 0.4}, {F::kTokens, 0.3}}, .options = {}}},
          .coverage = {F::kBatch, F::kTokens, F::kQueryHeads, F::kKvHeads, F::kGroup},
          .regimes = {F::kBatch, F::kTokens, F::kQueryHeads, F::kKvHeads, F::kGroup, F::kBatchKvHeads, F::kBatchHeads, F::kBatchTokens}};
}

Recipe Mla() {
  return {.stages = {{.axes = {{F::kBatch, 0.4}, {F::kQueryHeads, 0.4}, {F::kTokens, 0.3}}, .options = {}}},
          .coverage = {F::kBatch, F::kTokens, F::kQueryHeads},
          .regimes = {F::kBatch, F::kTokens, F::kQueryHeads, F::kBatchHeads, F::kBatchTokens}};
}

Recipe Gdn(bool decode) {
  Recipe recipe{.stages = {{.axes = {{F::kBatchHeads, 0.3}, {F::kGroup, 0.3}}, .options = {}}},
                .coverage = {F::kBatch, F::kQueryHeads, F::kKvHeads, F::kGroup},
                .regimes = {F::kBatch, F::kQueryHeads, F::kKvHeads, F::kBatchHeads}};
  if (!decode) {
    recipe.stages[0].axes = {{F::kBatchHeads, 0.3}, {F::kGroup, 0.3}, {F::kTokens, 0.3}};
    recipe.coverage.push_back(F::kTokens);
    recipe.regimes.push_back(F::kTokens);
    recipe.regimes.push_back(F::kBatchTokens);
  }
  return recipe;
}

// Time is close to affine in k (a tile's main loop) and steps in m and n (tiles and waves): few knots in k, all in m.
Recipe Gemm() {
  return {.stages = {{.axes = {{F::kM, 0.2}, {F::kN, 0.2}, {F::kK, 0.9}}, .options = {}}},
          .coverage = {F::kM, F::kN, F::kK},
          .regimes = {F::kM, F::kN, F::kK}};
}

Recipe Collective() {
  return {.stages = {{.axes = {{F::kGpus, 0.4}, {F::kBytes, 0.9}}, .options = {.smoothness = 0.02, .smoothness_per_axis = {}}}},
          .coverage = {F::kGpus, F::kBytes},
          .regimes = {F::kGpus, F::kBytes}};
}

}  // namespace

const Recipe& RecipeOf(Family family) {
  static const Recipe attention_prefill = AttentionPrefill();
  static const Recipe attention_decode = AttentionDecode();
  static const Recipe mla = Mla();
  static const Recipe gdn_decode = Gdn(true);
  static const Recipe gdn_prefill = Gdn(false);
  static const Recipe gemm = Gemm();
  static const Recipe collective = Collective();
  switch (family) {
    case Family::kAttentionPrefill: return attention_prefill;
    case Family::kAttentionDecode: return attention_decode;
    case Family::kMlaPrefill:
    case Family::kMlaDecode: return mla;
    case Family::kGdnDecode:
    case Family::kGdnConvDecode: return gdn_decode;
    case Family::kGdnPrefill:
    case Family::kGdnConvPrefill: return gdn_prefill;
    case Family::kGemm: return gemm;
    default: return collective;
  }
}

}  // namespace assay::platform
