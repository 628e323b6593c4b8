// The recipes, family by family. Grids are coarse on purpose: between the points of a table, fewer knots predict better than all of them.
#include "platform/recipe.h"

namespace assay::platform {
namespace {

using F = Feature;

// Attention kernels split work into (sequence, KV head) items of equal cost, so batch and KV heads act through their product, as far as
// the kernel alone goes; what engines time with it (cache writes, per-sequence metadata, split heuristics) depends on each. The group
// (query heads a KV head) changes the intensity smoothly: four knots do.
std::vector<Layout> AttentionLayouts() {
  return {{.axes = {{F::kBatchKvHeads, 0.4}, {F::kGroup, 0.4}, {F::kTokens, 0.4}}, .options = {}},
          {.axes = {{F::kBatch, 0.9}, {F::kKvHeads, 0.9}, {F::kGroup, 1.9}, {F::kTokens, 0.9}}, .options = {}},
          {.axes = {{F::kBatch, 1.9}, {F::kKvHeads, 0.9}, {F::kGroup, 1.9}, {F::kTokens, 0.9}}, .options = {}},
          {.axes = {{F::kBatch, 0.9}, {F::kKvHeads, 0.9}, {F::kGroup, 0.9}, {F::kTokens, 0.9}}, .options = {}}};
}

Recipe Attention() {
  return {.layouts = AttentionLayouts(),
          .coverage = {F::kBatch, F::kTokens, F::kQueryHeads, F::kKvHeads, F::kGroup},
          .regimes = {F::kBatch, F::kTokens, F::kQueryHeads, F::kKvHeads, F::kGroup, F::kBatchKvHeads, F::kBatchHeads, F::kBatchTokens}};
}

Recipe Mla() {
  return {.layouts = {{.axes = {{F::kBatch, 0.4}, {F::kQueryHeads, 0.4}, {F::kTokens, 0.3}}, .options = {}},
                      {.axes = {{F::kBatch, 0.9}, {F::kQueryHeads, 1.9}, {F::kTokens, 0.9}}, .options = {}},
                      {.axes = {{F::kBatchHeads, 0.4}, {F::kTokens, 0.3}}, .options = {}}},
          .coverage = {F::kBatch, F::kTokens, F::kQueryHeads},
          .regimes = {F::kBatch, F::kTokens, F::kQueryHeads, F::kBatchHeads, F::kBatchTokens}};
}

Recipe Gdn(bool decode) {
  Recipe recipe{.layouts = {{.axes = {{F::kBatchHeads, 0.3}, {F::kGroup, 0.3}}, .options = {}}},
                .coverage = {F::kBatch, F::kQueryHeads, F::kKvHeads, F::kGroup},
                .regimes = {F::kBatch, F::kQueryHeads, F::kKvHeads, F::kBatchHeads}};
  if (!decode) {
    recipe.layouts[0].axes.push_back({F::kTokens, 0.3});
    recipe.coverage.push_back(F::kTokens);
    recipe.regimes.push_back(F::kTokens);
    recipe.regimes.push_back(F::kBatchTokens);
  }
  return recipe;
}

// Time is close to affine in k (a tile's main loop) and steps in m and n (tiles and waves): few knots in k, or few in n.
Recipe Gemm() {
  return {.layouts = {{.axes = {{F::kM, 0.2}, {F::kN, 0.2}, {F::kK, 0.9}}, .options = {}},
                      {.axes = {{F::kM, 0.2}, {F::kN, 0.9}, {F::kK, 0.2}}, .options = {}}},
          .coverage = {F::kM, F::kN, F::kK},
          .regimes = {F::kM, F::kN, F::kK, F::kMn, F::kNk, F::kMk}};
}

Recipe Collective() {
  return {.layouts = {{.axes = {{F::kGpus, 0.4}, {F::kBytes, 0.9}}, .options = {.smoothness = 0.02}}},
          .coverage = {F::kGpus, F::kBytes},
          .regimes = {F::kGpus, F::kBytes}};
}

}  // namespace

const Recipe& RecipeOf(Family family) {
  static const Recipe attention = Attention();
  static const Recipe mla = Mla();
  static const Recipe gdn_decode = Gdn(true);
  static const Recipe gdn_prefill = Gdn(false);
  static const Recipe gemm = Gemm();
  static const Recipe collective = Collective();
  switch (family) {
    case Family::kAttentionPrefill:
    case Family::kAttentionDecode: return attention;
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
