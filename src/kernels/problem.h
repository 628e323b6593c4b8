// Problem: one attention (or recurrence) call, described by role-tagged tensors and explicit options. References, kernels, probes and
// the C ABI speak of the same roles with the same numbers, so a new mechanism adds a role at most, never a new signature.
//
// Shapes by role are those of include/assay/assay_kernel.h: B sequences; T query tokens, S key tokens; Hq query heads, Hkv
// key/value heads; D and Dv widths. Token-wise tensors are dense [B,T,H,D], packed [total,H,D] with kCuQ / kCuK (ragged batches), or
// paged [pages,page_tokens,Hkv,D] with kPageTable and kLenK.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "assay/assay_kernel.h"
#include "core/result.h"
#include "core/tensor.h"

namespace assay {

enum class Role : int {
  kQ = ASSAY_Q,
  kK = ASSAY_K,
  kV = ASSAY_V,
  kO = ASSAY_O,
  kLse = ASSAY_LSE,
  kWeights = ASSAY_WEIGHTS,
  kScores = ASSAY_SCORES,
  kKNew = ASSAY_K_NEW,
  kVNew = ASSAY_V_NEW,
  kKScale = ASSAY_K_SCALE,
  kVScale = ASSAY_V_SCALE,
  kCuQ = ASSAY_CU_Q,
  kCuK = ASSAY_CU_K,
  kLenK = ASSAY_LEN_K,
  kPageTable = ASSAY_PAGE_TABLE,
  kPosQ = ASSAY_POS_Q,
  kPosK = ASSAY_POS_K,
  kMaskBool = ASSAY_MASK_BOOL,
  kMaskAdd = ASSAY_MASK_ADD,
  kSink = ASSAY_SINK,
  kAlibi = ASSAY_ALIBI,
  kTopkIndex = ASSAY_TOPK_INDEX,
  kLogDecay = ASSAY_LOG_DECAY,
  kBeta = ASSAY_BETA,
  kDt = ASSAY_DT,
  kA = ASSAY_A,
  kD = ASSAY_D,
  kKey2 = ASSAY_KEY2,
  kStateIn = ASSAY_STATE_IN,
  kStateOut = ASSAY_STATE_OUT,
  kConvIn = ASSAY_CONV_IN,
  kConvOut = ASSAY_CONV_OUT,
  kUser = ASSAY_USER,
};

enum class Phase { kPrefill = ASSAY_PREFILL, kDecode = ASSAY_DECODE, kMixed = ASSAY_MIXED, kBackward = ASSAY_BACKWARD };
enum class Causal { kNone = ASSAY_CAUSAL_NONE, kTopLeft = ASSAY_CAUSAL_TOP_LEFT, kBottomRight = ASSAY_CAUSAL_BOTTOM_RIGHT };

// Scales of a quantised cache: one per token and head; per channel over a 64-token page (KIVI's choice for keys); per group of
// 32 channels of a token.
enum class ScaleGranularity { kNone, kPerToken, kPerPageChannel, kPerGroup32 };

struct Argument {
  Role role;
  TensorView tensor;
};

// A named number of a mechanism: ("page_budget", 32). Few, so a vector beats a map.
struct ParameterValue {
  std::string name;
  double value;
};

struct Problem {
  Phase phase = Phase::kPrefill;
  std::string mechanism;
  std::vector<Argument> arguments;
  std::vector<ParameterValue> parameters;  // of the mechanism; absent: the descriptor's default
  double scale = 0;                        // multiplies q.k; never implied
  double softcap = 0;                      // c tanh(score / c), after scale and before masks; 0: none
  int64_t window_left = -1;                // visible keys beyond the own position; -1: all. A window of W keys is W - 1.
  int64_t window_right = -1;
  Causal causal = Causal::kNone;
  int page_tokens = 0;
  int splits = 0;  // over keys; 0: the kernel chooses
  int chunk = 0;   // tokens of a recurrent chunk; 0: the kernel chooses, 1: stepwise
  ScaleGranularity k_scale = ScaleGranularity::kNone;
  ScaleGranularity v_scale = ScaleGranularity::kNone;

  [[nodiscard]] const TensorView* Find(Role role) const;
  [[nodiscard]] bool Has(Role role) const { return Find(role) != nullptr; }
  // The tensor of a role that a check has established; a missing one is a bug.
  [[nodiscard]] const TensorView& Get(Role role) const;
  [[nodiscard]] double Parameter(std::string_view name, double otherwise) const;
};

// The extents of a problem, resolved once. Fails on contradictory shapes, with the shapes in the message.
struct Extents {
  int64_t sequences = 0;
  int64_t query_heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t v_head_dim = 0;
  std::vector<int64_t> query_tokens;  // per sequence
  std::vector<int64_t> key_tokens;    // per sequence, kLenK respected
};
Result<Extents> ResolveExtents(const Problem& problem);

// The key/value head that query head `h` reads: repeat, not tile (h * Hkv / Hq).
inline int64_t KvHeadOf(int64_t query_head, const Extents& extents) { return query_head * extents.kv_heads / extents.query_heads; }

// Token rows of one sequence, whatever the storage: dense, packed or paged, plain or quantised. For references, generators and tests:
// one element at a time as a double.
class TokenRows {
 public:
  // `role` is any token-wise role the problem has; `sequence` counts from 0.
  TokenRows(const Problem& problem, Role role, int64_t sequence);
  [[nodiscard]] double At(int64_t token, int64_t head, int64_t channel = 0) const;
  void Set(int64_t token, int64_t head, int64_t channel, double value) const;

 private:
  [[nodiscard]] int64_t Offset(int64_t token, int64_t head, int64_t channel) const;
  [[nodiscard]] double ScaleAt(int64_t token, int64_t head, int64_t channel) const;

  TensorView tensor_;
  const TensorView* page_table_ = nullptr;
  const TensorView* scale_ = nullptr;
  ScaleGranularity granularity_ = ScaleGranularity::kNone;
  bool packed_ = false;
  int64_t sequence_ = 0;
  int64_t first_token_ = 0;  // of this sequence in packed storage
  int64_t page_tokens_ = 0;
};

// Which keys a query sees, and with what bias: causality, windows, positions and masks. The one place where they are defined.
class Visibility {
 public:
  Visibility(const Problem& problem, const Extents& extents, int64_t sequence);
  [[nodiscard]] bool Allowed(int64_t query_head, int64_t query, int64_t key) const;
  // What additive masks and ALiBi add to a visible score.
  [[nodiscard]] double Bias(int64_t query_head, int64_t query, int64_t key) const;
  [[nodiscard]] int64_t QueryPosition(int64_t query) const;
  [[nodiscard]] int64_t KeyPosition(int64_t key) const;

 private:
  const Problem& problem_;
  const TensorView* mask_bool_;
  const TensorView* mask_add_;
  const TensorView* alibi_;
  const TensorView* pos_q_;
  const TensorView* pos_k_;
  int64_t sequence_;
  int64_t first_query_ = 0;  // in packed storage
  int64_t first_key_ = 0;
  int64_t alignment_ = 0;  // position of query 0
};

// A Problem that owns its tensors; generators and case readers build these.
struct OwnedProblem {
  Problem problem;
  std::deque<Tensor> tensors;

  // Adds a zero-filled tensor under `role` and returns its view.
  TensorView Add(Role role, DType dtype, std::initializer_list<int64_t> shape);
  TensorView Adopt(Role role, Tensor tensor);
};

}  // namespace assay
