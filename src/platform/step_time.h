// The time of one engine step (prefill chunks, decodes, or both) of a model on a platform: kernels from a profile, plus declared ranges for
// the parts that no table measures. Parts are kept apart, so that the share of attention in a step can be read off.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/quantity.h"
#include "core/result.h"
#include "platform/kernel_time.h"
#include "platform/profile.h"

namespace assay::platform {

enum class MixerKind { kSoftmax, kMla, kGatedDeltaNet };

// What one layer of one rank keeps for a sequence.
struct MixerMemory {
  double bytes_per_token = 0;     // of each of the first token_cap tokens
  double bytes_per_sequence = 0;
  double token_cap = -1;          // -1: no cap
};

// Equal layers, with the heads of one rank.
struct MixerGroup {
  MixerKind kind = MixerKind::kSoftmax;
  int layers = 0;
  int query_heads = 0;  // value heads of gated delta net
  int kv_heads = 0;     // key heads of gated delta net
  int head_dim = 128;
  int window = 0;       // tokens; 0: full
  DType compute = DType::kBf16;
  DType cache = DType::kBf16;
  MixerMemory memory = {};
  // Where no table holds the mixer: useful work of one layer by (sequences, new tokens, context before them); the time is then the least
  // that bytes and FLOPs allow, and the step's basis `bounded`.
  std::function<Work(double, double, double)> prefill_floor = nullptr;
  std::function<Work(double, double, double)> decode_floor = nullptr;
  std::string floor_reason = {};
};

// Equal matrix products of a step, as one rank runs them: [rows, k] x [k, n], `count` times.
struct GemmGroup {
  std::string name;     // "qkv", "mlp_up", ...
  double count = 0;
  double n = 0;
  double k = 0;
  DType dtype = DType::kBf16;
  bool last_token_only = false;  // the vocabulary projection: a row a sequence, not a token
};

struct StepModel {
  std::string name;
  int layers = 0;
  double model_dim = 0;
  double ffn_dim = 0;            // of one rank
  std::vector<MixerGroup> mixers;
  std::vector<GemmGroup> gemms;
  int tensor_parallel = 1;       // two all-reduces of [tokens, model_dim] a layer if above 1
};

struct StepDraw;

// What nobody measured in the tables: a range with its source, swept by whoever needs an interval.
struct AssumedRange {
  std::string_view name;
  std::string_view unit;
  double low = 0;
  double likely = 0;
  double high = 0;
  std::string_view source;
  double StepDraw::*part;  // what of a draw it is the range of
};
std::span<const AssumedRange> StepAssumptions();

// One point of the space of what is uncertain: factors on measured kernels, values within the assumed ranges.
struct StepDraw {
  double attention_factor = 1;    // on attention kernels of decodes
  double prefill_factor = 1;      // on those of prefills
  double gemm_factor = 1;
  double collective_factor = 1;
  double layer_overhead_us = 0;   // norms, RoPE, activation, cache write: launch-bound part of a layer
  double host_ms = 0;             // scheduler, sampling, detokenisation not hidden behind the GPU, a step
  double host_us_per_sequence = 0;
  double fp8_quantise_share = 1;  // of a quantising kernel's own launch in the rows of fp8 matrix products, what a service still pays
  double window_extra_tokens = 0; // keys a window's decode touches beyond the window, where full attention's rows stand in for it
  double request_overhead_ms = 0; // tokenisation and HTTP before a request reaches the scheduler
  double outside_factor = 1;      // on kernel calls from beyond the measured region, never below their floor of bytes and FLOPs
};
StepDraw LikelyDraw();
// All assumed parts at their low (high) end, kernels at the lower (upper) end of their intervals.
StepDraw CornerDraw(const Profile& profile, const StepModel& model, bool high);

struct StepParts {
  double attention_ms = 0;
  double gemm_ms = 0;
  double collective_ms = 0;
  double other_ms = 0;  // norms, RoPE, activation, cache write (assumed)
  double host_ms = 0;   // assumed
  double outside_ms = 0;  // of the above: kernel calls from beyond the measured region, extrapolated or stood in for
  [[nodiscard]] double total_ms() const { return attention_ms + gemm_ms + collective_ms + other_ms + host_ms; }
};

struct PrefillChunk {
  double prefix_tokens = 0;  // already in the cache
  double tokens = 0;         // processed in this step
};

// Attention of `n` decodes as a line over their mean context, exact between two knots: what lets a simulator sum many steps at once.
struct DecodeLine {
  double at_context = 0;     // the line's anchor
  double ms = 0;             // there
  double ms_per_token = 0;   // slope
  double until_context = 0;  // valid below
  double outside_share = 0;  // of ms: calls from beyond the measured region
};

// A step of which extrapolated kernels carry more than this share of the time is no longer a simulation from measured kernels: it is assumed.
// As large as the median width of the profiles' own intervals would hide.
constexpr double kOutsideShareTolerated = 0.05;
double OutsideShare(const StepParts& parts);

// The most tokens of one step that are timed; nobody measured more, and engines run fewer.
constexpr int kMostStepRows = 1 << 17;

// Times steps; fast (caches by size, no allocation once warm), not thread-safe: one a thread.
class StepTimer {
 public:
  // Refused, with the reason, if a mixer has no rows in the profile; `gpu` may name another accelerator than the profile's: its
  // datasheet then scales the roofline (a transfer, marked in notes()).
  StepTimer(const StepTimer&) = delete;  // it points into its own profile
  StepTimer& operator=(const StepTimer&) = delete;
  StepTimer(StepTimer&&) = default;
  StepTimer& operator=(StepTimer&&) = default;
  ~StepTimer() = default;

  static Result<StepTimer> Make(const Profile& profile, const StepModel& model, const StepDraw& draw, std::string_view gpu = {});

  StepParts Step(std::span<const PrefillChunk> prefills, int decodes, double decode_context_mean);
  // The parts that do not depend on context, for `rows` tokens of which `sequences` need the vocabulary projection.
  StepParts Dense(int rows, int sequences);
  DecodeLine Decode(int decodes, double mean_context);
  double PrefillAttentionMs(std::span<const PrefillChunk> prefills);
  [[nodiscard]] double prefill_outside_ms() const { return prefill_outside_ms_; }  // of the last PrefillAttentionMs

  [[nodiscard]] const StepDraw& draw() const { return draw_; }
  // The one place where the basis of whatever is made of these steps is decided: the weakest among all parts. Every step holds norms and host
  // time, which are declared ranges: it is never better than assumed. What its kernels rest on is kernel_basis().
  [[nodiscard]] Basis basis() const { return Weaker(basis_, Basis::kAssumed); }
  [[nodiscard]] Basis kernel_basis() const { return basis_; }
  // A mixer is timed by the least that bytes and FLOPs allow: times are lower bounds, rates upper bounds, and neither has another end.
  [[nodiscard]] bool is_floor() const { return is_floor_; }
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }
  [[nodiscard]] int64_t outside_coverage() const { return outside_; }         // kernel calls answered from beyond the measured region
  // Which rows would bring those calls inside, one entry a kernel and coordinate; empty if all were inside.
  [[nodiscard]] std::vector<std::string> MissingRows() const;

 private:
  struct KernelMs {
    double ms = 0;
    double outside_ms = 0;
    void Add(const KernelMs& other, double times) { ms += other.ms * times, outside_ms += other.outside_ms * times; }
  };
  struct Reach {  // how far beyond its rows a kernel was asked
    const Section* section;
    Gap gap;
  };
  struct Mixer {
    MixerGroup group;
    const Section* prefill = nullptr;
    const Section* decode = nullptr;
    const Section* conv_prefill = nullptr;
    const Section* conv_decode = nullptr;
    bool window_by_equivalence = false;  // full attention's rows over the window's tokens
  };
  StepTimer() = default;
  Status Resolve(const StepModel& model);
  void Weaken(Basis basis, std::string note);
  double FloorWorkMs(const Work& work, DType compute) const;
  KernelMs DecodeAttention(double decodes, double context);
  KernelMs AllReduce(double bytes);
  KernelMs Kernel(const Section& section, const KernelQuery& query);
  KernelMs Chunk(const Section& section, const KernelQuery& query, double prefix_tokens);
  KernelMs Extrapolated(const Section& section, const KernelQuery& asked, double ms, double floor_ms);

  Profile profile_;
  StepModel model_;
  StepDraw draw_;
  Gpu gpu_;
  std::vector<Mixer> mixers_;
  std::vector<const Section*> gemm_sections_;
  std::vector<double> quantise_ms_;  // by gemm: part of its time that engines may fuse away
  std::vector<const Section*> reduce_sections_;
  Basis basis_ = Basis::kInterpolated;
  bool is_floor_ = false;
  std::vector<std::string> notes_;
  int64_t outside_ = 0;
  std::vector<Reach> reached_;
  double prefill_outside_ms_ = 0;
  std::vector<StepParts> dense_cache_;     // by rows, without the vocabulary projection; gemm_ms < 0: not yet
  std::vector<KernelMs> head_cache_;       // by sequences; ms < 0: not yet
  std::vector<std::vector<KernelMs>> decode_cache_;  // [decodes][knot of context]
};

// Attention's share of the step, and so the most any other mechanism could gain (Amdahl).
double AttentionShare(const StepParts& parts);

}  // namespace assay::platform
