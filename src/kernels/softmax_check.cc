// Which problems the softmax kernel takes, and what it says of the others.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string_view>

#include "kernels/dispatch.h"
#include "kernels/driver.h"
#include "kernels/softmax_kernel.h"

namespace assay {
namespace {

constexpr Role kHonoured[] = {Role::kQ,         Role::kK,    Role::kV,    Role::kO,        Role::kLse,     Role::kKScale,
                              Role::kVScale,    Role::kCuQ,  Role::kCuK,  Role::kLenK,     Role::kPageTable, Role::kPosQ,
                              Role::kPosK,      Role::kSink, Role::kAlibi, Role::kMaskBool, Role::kMaskAdd};

Status CheckMask(const Problem& problem, const Extents& extents, Role role, std::string_view name) {
  const TensorView* mask = problem.Find(role);
  if (mask == nullptr) return Ok();
  if (mask->rank < 1 || mask->rank > 4) return BadInput(fmt::format("{} has rank {}; it broadcasts to [B,Hq,T,S]", name, mask->rank));
  const int64_t most_queries = extents.query_tokens.empty() ? 0 : *std::max_element(extents.query_tokens.begin(), extents.query_tokens.end());
  const int64_t needed[] = {extents.sequences, extents.query_heads, most_queries};
  for (int axis = 4 - mask->rank; axis < 3; ++axis) {
    const int64_t extent = mask->shape[static_cast<size_t>(axis - 4 + mask->rank)];
    if (extent != 1 && extent < needed[axis]) {
      return BadInput(fmt::format("{} {} does not broadcast to {} sequences, {} heads, {} queries", name, ShapeString(*mask), needed[0],
                                  needed[1], needed[2]));
    }
  }
  return Ok();
}

Status CheckTypes(const Problem& problem) {
  for (const Role role : {Role::kQ, Role::kO}) {
    const DType dtype = problem.Get(role).dtype;
    if (dtype != DType::kF32 && dtype != DType::kBf16 && dtype != DType::kF16) {
      return Unsupported(fmt::format("the tile kernel takes Q and O in f32, bf16 or f16, not {}", NameOf(dtype)));
    }
  }
  for (const Role role : {Role::kK, Role::kV}) {
    if (!problem.Has(role)) continue;
    const DType dtype = problem.Get(role).dtype;
    if (dtype == DType::kF64 || (!IsFloat(dtype) && dtype != DType::kI8 && dtype != DType::kI4)) {
      return Unsupported(fmt::format("the tile kernel takes K and V in f32, bf16, f16, e4m3, e5m2, i8 or i4, not {}", NameOf(dtype)));
    }
    const ScaleGranularity granularity = role == Role::kK ? problem.k_scale : problem.v_scale;
    if (granularity != ScaleGranularity::kNone && !problem.Has(role == Role::kK ? Role::kKScale : Role::kVScale)) {
      return BadInput("a quantised K or V needs its K_SCALE or V_SCALE");
    }
  }
  return Ok();
}

Status CheckShapes(const Problem& problem, const Extents& extents) {
  const TensorView& q = problem.Get(Role::kQ);
  const TensorView& o = problem.Get(Role::kO);
  if (o.rank != q.rank || o.shape[static_cast<size_t>(o.rank - 2)] != extents.query_heads || o.shape[0] < q.shape[0] ||
      (o.rank == 4 && o.shape[1] < q.shape[1])) {
    return BadInput(fmt::format("O {} does not fit Q {}", ShapeString(o), ShapeString(q)));
  }
  const int64_t o_width = o.shape[static_cast<size_t>(o.rank - 1)];
  if (problem.Has(Role::kV) ? o_width != extents.v_head_dim : o_width > extents.head_dim) {
    return BadInput(fmt::format("O {} does not have the width of the values", ShapeString(o)));
  }
  if (extents.head_dim < 1 || o_width < 1) return BadInput("a head has at least one channel");
  if (extents.query_heads % extents.kv_heads != 0) {
    return Unsupported(fmt::format("the tile kernel folds whole groups: {} query heads are no multiple of {} key/value heads",
                                   extents.query_heads, extents.kv_heads));
  }
  for (const Role role : {Role::kSink, Role::kAlibi}) {
    const TensorView* heads = problem.Find(role);
    if (heads != nullptr && (heads->rank != 1 || heads->shape[0] != extents.query_heads)) {
      return BadInput(fmt::format("SINK and ALIBI have one entry a query head ({}), not {}", extents.query_heads, ShapeString(*heads)));
    }
  }
  if (const TensorView* lse = problem.Find(Role::kLse); lse != nullptr && lse->rank != q.rank - 1) {
    return BadInput(fmt::format("LSE {} does not fit Q {}", ShapeString(*lse), ShapeString(q)));
  }
  ASSAY_RETURN_IF_ERROR(CheckMask(problem, extents, Role::kMaskBool, "MASK_BOOL"));
  return CheckMask(problem, extents, Role::kMaskAdd, "MASK_ADD");
}

}  // namespace

Status CheckSoftmaxTile(const Problem& problem, const Kernel& self) {
  if (problem.phase == Phase::kBackward) return Unsupported("the tile kernel computes no gradients");
  for (const Argument& argument : problem.arguments) {
    if (std::find(std::begin(kHonoured), std::end(kHonoured), argument.role) == std::end(kHonoured)) {
      return Unsupported(fmt::format("the tile kernel does not honour role {}", static_cast<int>(argument.role)));
    }
  }
  if (!problem.Has(Role::kO)) return BadInput("a problem for the tile kernel needs O");
  ASSAY_TRY(const Extents extents, ResolveExtents(problem));
  ASSAY_RETURN_IF_ERROR(CheckTypes(problem));
  ASSAY_RETURN_IF_ERROR(CheckShapes(problem, extents));
  if (!std::isfinite(problem.scale) || !std::isfinite(problem.softcap) || problem.softcap < 0) {
    return BadInput(fmt::format("scale {} and softcap {} must be finite, the softcap not negative", problem.scale, problem.softcap));
  }
  ASSAY_CHECK(self.epilogue >= 0 && self.epilogue < epilogue::kCount, "a kernel entry with an epilogue that epilogue.h lists");
  if (problem.softcap > 0 && self.epilogue != epilogue::kIdentity && self.epilogue != epilogue::kSoftcap) {
    return Unsupported("the tile kernel combines softcap with plain softmax only");
  }
  if (problem.softcap == 0 && self.epilogue == epilogue::kSoftcap) return BadInput("the softcap epilogue needs a softcap above 0");
  if (!generic::kTable.epilogue_traits[self.epilogue].normalised && (problem.Has(Role::kLse) || problem.Has(Role::kSink))) {
    return Unsupported("weights that are not normalised have neither LSE nor sink");
  }
  return Ok();
}

}  // namespace assay
