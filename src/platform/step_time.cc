// Step times: kernels looked up once, results cached by size.
#include "platform/step_time.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include <fmt/format.h>

namespace assay::platform {
namespace {

constexpr int kKnotsPerOctave = 4;    // of context, in the cache of decode times
constexpr int kContextOctaves = 22;
constexpr double kMemoryEfficiency = 0.7;  // of elementwise kernels: they stream, but are short

// Constants of serving systems as published by others; the likely value is near the middle of what they report.
constexpr std::array kAssumptions = {
    AssumedRange{"layer_overhead_us", "us", 4, 10, 32, "norms, RoPE, activation and cache write: 4-6 kernels of 1-3 us in a CUDA graph; upper end: 32 us a layer (BLIS fits)", &StepDraw::layer_overhead_us},
    AssumedRange{"host_ms", "ms", 0.05, 0.3, 2.0, "scheduler and sampling not hidden behind the GPU: 0.126 ms a step (BLIS fits), a few ms in engines without overlap", &StepDraw::host_ms},
    AssumedRange{"host_us_per_sequence", "us", 1, 5, 46, "per running sequence and step: 4.4 us a request (BLIS fits); up to 46 us an output token where it is not overlapped", &StepDraw::host_us_per_sequence},
    AssumedRange{"window_extra_tokens", "tokens", 0, 128, 256, "whole tiles of 128 keys: at window 128 a decode costs 14 % (H100) and 2 % (B200) more than full attention of 128 tokens (vLLM 0.24 tables)", &StepDraw::window_extra_tokens},
    AssumedRange{"request_overhead_ms", "ms", 1, 8, 30, "HTTP and tokenisation: 15.6 ms a request (BLIS fits)", &StepDraw::request_overhead_ms},
    AssumedRange{"fp8_quantise_share", "ratio", 0, 0.5, 1, "rows of fp8 matrix products time the quantising of activations as a kernel of its own (launch 7-13 us, bf16 3 us); engines fuse it into the norm or activation before: half of it fits vLLM's published Llama-3.1-70B points best", &StepDraw::fp8_quantise_share},
    AssumedRange{"outside_factor", "ratio", 0.5, 1, 2, "on a kernel call beyond the measured region: the largest held-out errors inside it (p99 of the fitted profiles) reach a factor of 2", &StepDraw::outside_factor},
};

double KnotContext(int knot) { return std::exp2(static_cast<double>(knot) / kKnotsPerOctave); }

StepDraw DrawAt(double AssumedRange::*end) {
  StepDraw draw;
  for (const AssumedRange& range : kAssumptions) draw.*range.part = range.*end;
  return draw;
}

KernelQuery MixerQuery(const MixerGroup& group, Family family, double batch, double tokens) {
  KernelQuery q;
  q.family = family;
  q.compute = group.compute;
  q.cache = group.cache;
  q.window = group.window;
  q.head_dim = group.head_dim;
  q.batch = batch;
  q.tokens = tokens;
  q.query_heads = group.query_heads;
  q.kv_heads = group.kv_heads;
  return q;
}

// What the launch of an fp8 matrix product takes beyond a bf16 one's in the same profile: the kernel that quantises its input.
double QuantiseMs(const Profile& profile, const Section& section) {
  if (BitsOf(section.compute) != 8) return 0;
  for (const Section& plain : profile.sections) {
    if (plain.family == section.family && plain.compute == DType::kBf16) return std::max(0.0, section.launch_ms - plain.launch_ms);
  }
  return 0;
}

struct MixerFamilies {
  Family prefill, decode;
};
MixerFamilies FamiliesOf(MixerKind kind) {
  switch (kind) {
    case MixerKind::kSoftmax: return {Family::kAttentionPrefill, Family::kAttentionDecode};
    case MixerKind::kMla: return {Family::kMlaPrefill, Family::kMlaDecode};
    case MixerKind::kGatedDeltaNet: return {Family::kGdnPrefill, Family::kGdnDecode};
  }
  return {Family::kAttentionPrefill, Family::kAttentionDecode};
}

// Tables of recurrent kernels and of GEMM have no cache dtype; sections are keyed with bf16 there.
MixerGroup Canonical(MixerGroup group) {
  if (group.kind == MixerKind::kGatedDeltaNet) {
    group.cache = DType::kBf16;
    group.window = 0;
  }
  if (group.kind == MixerKind::kMla) group.kv_heads = 1;
  return group;
}

}  // namespace

std::span<const AssumedRange> StepAssumptions() { return kAssumptions; }
StepDraw LikelyDraw() { return DrawAt(&AssumedRange::likely); }

StepDraw CornerDraw(const Profile& profile, const StepModel& model, bool high) {
  StepDraw draw = high ? DrawAt(&AssumedRange::high) : DrawAt(&AssumedRange::low);
  // A step sums tens of kernel calls of a family at nearby shapes, so their errors do not average out: the median regime's interval.
  // Of the sections that this model calls: another cache type's errors say nothing of this one's.
  const auto called = [&](const Section& section, Family MixerFamilies::*phase) {
    return std::any_of(model.mixers.begin(), model.mixers.end(), [&](const MixerGroup& mixer) {
      MixerGroup group = Canonical(mixer);
      const Family family = FamiliesOf(group.kind).*phase;
      if (FindSection(profile, MixerQuery(group, family, 1, 1)) == nullptr) group.window = 0;
      return FindSection(profile, MixerQuery(group, family, 1, 1)) == &section;
    });
  };
  const auto factor = [&](auto&& wanted) {
    std::vector<double> ends;
    for (const Section& section : profile.sections) {
      if (!wanted(section)) continue;
      for (const Regime& regime : section.regimes) ends.push_back(high ? regime.high : regime.low);
    }
    if (ends.empty()) return 1.0;
    std::nth_element(ends.begin(), ends.begin() + static_cast<std::ptrdiff_t>(ends.size() / 2), ends.end());
    return ends[ends.size() / 2];
  };
  draw.attention_factor = factor([&](const Section& s) { return called(s, &MixerFamilies::decode); });
  draw.prefill_factor = factor([&](const Section& s) { return called(s, &MixerFamilies::prefill); });
  draw.gemm_factor = factor([](const Section& s) { return s.family == Family::kGemm; });
  if (model.tensor_parallel > 1) draw.collective_factor = factor([](const Section& s) { return s.family == Family::kAllReduce; });
  return draw;
}

double OutsideShare(const StepParts& parts) {
  const double total = parts.total_ms();
  return total > 0 ? parts.outside_ms / total : 0;
}

double AttentionShare(const StepParts& parts) {
  const double total = parts.total_ms();
  return total > 0 ? parts.attention_ms / total : 0;
}

Result<StepTimer> StepTimer::Make(const Profile& profile, const StepModel& model, const StepDraw& draw, std::string_view gpu) {
  StepTimer timer;
  timer.profile_ = profile;
  timer.model_ = model;
  timer.draw_ = draw;
  const Gpu* found = FindGpu(gpu.empty() ? std::string_view(profile.gpu) : gpu);
  if (found == nullptr) return Unsupported(fmt::format("no datasheet of accelerator '{}'", gpu.empty() ? profile.gpu : std::string(gpu)));
  timer.gpu_ = *found;
  if (found->name != profile.gpu) {
    timer.notes_.push_back(fmt::format("{} has no tables here: times are those of {} scaled by the two datasheets", found->name, profile.name()));
    timer.basis_ = Basis::kAssumed;
  }
  ASSAY_RETURN_IF_ERROR(timer.Resolve(model));
  timer.dense_cache_.resize(64);
  for (StepParts& parts : timer.dense_cache_) parts.gemm_ms = -1;
  return timer;
}

Status StepTimer::Resolve(const StepModel& model) {
  // Sections are looked up in profile_, the timer's own copy; a vector's elements stay where they are when the timer is moved.
  for (const MixerGroup& original : model.mixers) {
    const MixerGroup group = Canonical(original);
    const MixerFamilies families = FamiliesOf(group.kind);
    Mixer mixer{.group = group, .prefill = FindSection(profile_, MixerQuery(group, families.prefill, 1, 1)),
                .decode = FindSection(profile_, MixerQuery(group, families.decode, 1, 1))};
    if (group.kind == MixerKind::kGatedDeltaNet) {
      mixer.conv_prefill = FindSection(profile_, MixerQuery(group, Family::kGdnConvPrefill, 1, 1));
      mixer.conv_decode = FindSection(profile_, MixerQuery(group, Family::kGdnConvDecode, 1, 1));
    }
    if (group.kind == MixerKind::kSoftmax && group.window > 0 && (mixer.prefill == nullptr || mixer.decode == nullptr)) {
      MixerGroup full = group;
      full.window = 0;
      mixer.prefill = FindSection(profile_, MixerQuery(full, families.prefill, 1, 1));
      mixer.decode = FindSection(profile_, MixerQuery(full, families.decode, 1, 1));
      mixer.window_by_equivalence = true;
      Weaken(Basis::kAssumed, fmt::format("{} has no rows of window {}: full attention's rows over the window's tokens stand in, between no "
                                          "and two extra tiles of keys", profile_.name(), group.window));
    }
    if (group.prefill_floor || group.decode_floor) {
      is_floor_ = true;
      Weaken(Basis::kBounded, group.floor_reason);
    }
    if (group.prefill_floor && group.decode_floor) {
      mixers_.push_back(mixer);
      continue;
    }
    if (mixer.prefill == nullptr || mixer.decode == nullptr) {
      return Unsupported(fmt::format("{} has no rows of {} ({} compute, {} cache, window {}); a table of it, through `assay platform fit`, "
                                     "would fill this", profile_.name(), NameOf(mixer.prefill == nullptr ? families.prefill : families.decode),
                                     NameOf(group.compute), NameOf(group.cache), group.window));
    }
    if (group.head_dim != mixer.decode->head_dim) {
      return Unsupported(fmt::format("{} was measured at head_dim {} only, not {}", profile_.name(), mixer.decode->head_dim, group.head_dim));
    }
    mixers_.push_back(mixer);
  }
  for (const GemmGroup& gemm : model.gemms) {
    KernelQuery q;
    q.compute = gemm.dtype;
    const Section* section = FindSection(profile_, q);
    if (section == nullptr) {
      return Unsupported(fmt::format("{} has no rows of gemm in {}; a gemm_perf table would fill this", profile_.name(), NameOf(gemm.dtype)));
    }
    gemm_sections_.push_back(section);
    quantise_ms_.push_back(QuantiseMs(profile_, *section));
  }
  for (const Section& section : profile_.sections) {
    // Engines run decodes in CUDA graphs; eager rows of the same kernel hold launch time that a step does not see.
    if (section.family == Family::kAllReduce && section.variant != "eager") reduce_sections_.push_back(&section);
  }
  if (model.tensor_parallel > 1 && reduce_sections_.empty()) {
    return Unsupported(fmt::format("{} has no rows of all_reduce, which {} ranks need", profile_.name(), model.tensor_parallel));
  }
  return Ok();
}

void StepTimer::Weaken(Basis basis, std::string note) {
  basis_ = Weaker(basis_, basis);
  if (std::find(notes_.begin(), notes_.end(), note) == notes_.end()) notes_.push_back(std::move(note));
}

double StepTimer::FloorWorkMs(const Work& work, DType compute) const {
  return 1e3 * std::max(work.bytes / gpu_.memory_bytes_per_s, work.flops / PeakFlops(gpu_, compute));
}

// What lies beyond the rows is extrapolated: swept by the draw's factor, never below what bytes and FLOPs take at the datasheet's peaks.
StepTimer::KernelMs StepTimer::Extrapolated(const Section& section, const KernelQuery& asked, double ms, double floor_ms) {
  ++outside_;
  if (const std::optional<Gap> gap = GapOf(section, gpu_, asked); gap) {
    const auto known = std::find_if(reached_.begin(), reached_.end(), [&](const Reach& r) { return r.section == &section && r.gap.SameSide(*gap); });
    if (known == reached_.end()) reached_.push_back({&section, *gap});
    else known->gap.Widen(*gap);
  }
  const double swept_ms = std::max(ms * draw_.outside_factor, floor_ms);
  return {swept_ms, swept_ms};
}

StepTimer::KernelMs StepTimer::Kernel(const Section& section, const KernelQuery& query) {
  const double ms = PredictMs(section, gpu_, query);
  return Covers(section, gpu_, query) ? KernelMs{ms, 0} : Extrapolated(section, query, ms, FloorMs(gpu_, query));
}

// A chunk behind a prefix is the difference of two whole prompts: inside only if both are.
StepTimer::KernelMs StepTimer::Chunk(const Section& section, const KernelQuery& query, double prefix_tokens) {
  const double ms = PrefillChunkMs(section, gpu_, query, prefix_tokens);
  KernelQuery prefix = query, whole = query;
  prefix.tokens = prefix_tokens;
  whole.tokens = prefix_tokens + query.tokens;
  if (Covers(section, gpu_, prefix) && Covers(section, gpu_, whole)) return {ms, 0};
  return Extrapolated(section, whole, ms, FloorMs(gpu_, whole) - FloorMs(gpu_, prefix));
}

std::vector<std::string> StepTimer::MissingRows() const {
  std::vector<std::string> missing;
  for (const Mixer& mixer : mixers_) {
    if (!mixer.window_by_equivalence) continue;
    missing.push_back(fmt::format("attention ({} cache) of {} at window {}", NameOf(mixer.group.cache), profile_.name(), mixer.group.window));
  }
  for (const Reach& reach : reached_) {
    missing.push_back(fmt::format("{} ({} cache) of {} {}", NameOf(reach.section->family), NameOf(reach.section->cache), profile_.name(), reach.gap.Text()));
  }
  return missing;
}

StepTimer::KernelMs StepTimer::AllReduce(double bytes) {
  KernelQuery q;
  q.family = Family::kAllReduce;
  q.gpus = model_.tensor_parallel;
  q.bytes = bytes;
  double best_ms = -1;
  for (const Section* section : reduce_sections_) {
    if (!Covers(*section, gpu_, q)) continue;
    const double ms = PredictMs(*section, gpu_, q);
    if (best_ms < 0 || ms < best_ms) best_ms = ms;  // engines choose the faster algorithm by size
  }
  return best_ms >= 0 ? KernelMs{best_ms, 0} : Kernel(*reduce_sections_.front(), q);
}

StepParts StepTimer::Dense(int rows, int sequences) {
  ASSAY_CHECK(rows >= 0 && rows <= kMostStepRows, "callers refuse larger steps");
  sequences = std::clamp(sequences, 0, rows);
  if (rows == 0) return {};
  const auto index = static_cast<size_t>(rows);
  if (index >= dense_cache_.size()) {
    StepParts empty;
    empty.gemm_ms = -1;
    dense_cache_.resize(std::max(index + 1, dense_cache_.size() * 2), empty);
  }
  const auto gemm_ms = [&](size_t g, double m) {
    const GemmGroup& gemm = model_.gemms[g];
    constexpr double kWidest = 65536;
    KernelQuery q;
    q.compute = gemm.dtype;
    q.m = m;
    const double parts = std::ceil(gemm.n / kWidest);
    q.n = gemm.n / parts;
    q.k = gemm.k;
    KernelMs all;
    KernelMs kernel = Kernel(*gemm_sections_[g], q);
    const double fused_ms = (1 - draw_.fp8_quantise_share) * quantise_ms_[g];
    const double share = std::max(kernel.ms - fused_ms, 0.0) / std::max(kernel.ms, 1e-12);
    kernel.ms *= share;
    kernel.outside_ms *= share;
    all.Add(kernel, gemm.count * parts * draw_.gemm_factor);
    return all;
  };
  if (dense_cache_[index].gemm_ms < 0) {
    StepParts parts;
    KernelMs gemm, reduce;
    for (size_t g = 0; g < model_.gemms.size(); ++g) {
      if (!model_.gemms[g].last_token_only) gemm.Add(gemm_ms(g, rows), 1);
    }
    if (model_.tensor_parallel > 1) reduce.Add(AllReduce(rows * model_.model_dim * 2), 2 * model_.layers * draw_.collective_factor);
    parts.gemm_ms = gemm.ms;
    parts.collective_ms = reduce.ms;
    parts.outside_ms = gemm.outside_ms + reduce.outside_ms;
    // Two norms with residuals (6 passes over the row), RoPE, activation (3 passes over the inner width), all in 2-byte elements.
    const double bytes = rows * (10 * model_.model_dim + 3 * model_.ffn_dim) * 2;
    parts.other_ms = model_.layers * (draw_.layer_overhead_us * 1e-3 + 1e3 * bytes / (gpu_.memory_bytes_per_s * kMemoryEfficiency));
    dense_cache_[index] = parts;
  }
  StepParts parts = dense_cache_[index];
  const auto head = static_cast<size_t>(sequences);
  if (head >= head_cache_.size()) head_cache_.resize(std::max(head + 1, head_cache_.size() * 2), KernelMs{-1, 0});
  if (head_cache_[head].ms < 0) {
    head_cache_[head] = {};
    for (size_t g = 0; g < model_.gemms.size() && sequences > 0; ++g) {
      if (model_.gemms[g].last_token_only) head_cache_[head].Add(gemm_ms(g, sequences), 1);
    }
  }
  parts.gemm_ms += head_cache_[head].ms;
  parts.outside_ms += head_cache_[head].outside_ms;
  parts.host_ms = draw_.host_ms + sequences * draw_.host_us_per_sequence * 1e-3;
  return parts;
}

StepTimer::KernelMs StepTimer::DecodeAttention(double decodes, double context) {
  KernelMs all;
  for (const Mixer& mixer : mixers_) {
    const MixerFamilies families = FamiliesOf(mixer.group.kind);
    if (mixer.group.decode_floor) {
      all.ms += mixer.group.layers * FloorWorkMs(mixer.group.decode_floor(decodes, 1, context - 1), mixer.group.compute);
      continue;
    }
    const bool recurrent = mixer.group.kind == MixerKind::kGatedDeltaNet;
    KernelQuery query = MixerQuery(mixer.group, families.decode, decodes, recurrent ? 1 : context);
    if (mixer.window_by_equivalence) {
      query.window = 0;
      query.tokens = std::min<double>(context, mixer.group.window + draw_.window_extra_tokens);
    }
    KernelMs layer = Kernel(*mixer.decode, query);
    if (mixer.conv_decode != nullptr) {
      layer.Add(Kernel(*mixer.conv_decode, MixerQuery(mixer.group, Family::kGdnConvDecode, decodes, 1)), 1);
    }
    if (mixer.window_by_equivalence) layer.outside_ms = layer.ms;
    all.Add(layer, mixer.group.layers * draw_.attention_factor);
  }
  return all;
}

DecodeLine StepTimer::Decode(int decodes, double mean_context) {
  const auto row = static_cast<size_t>(decodes);
  constexpr size_t kKnots = kContextOctaves * kKnotsPerOctave + 2;
  if (row >= decode_cache_.size()) decode_cache_.resize(std::max(row + 1, decode_cache_.size() * 2));
  auto& knots = decode_cache_[row];
  if (knots.empty()) knots.assign(kKnots, KernelMs{-1, 0});
  mean_context = std::clamp(mean_context, 1.0, KnotContext(kKnots - 2) * 0.999);
  auto knot = static_cast<size_t>(std::log2(mean_context) * kKnotsPerOctave);
  // log2 may round across a knot; the line that is valid at mean_context is wanted.
  if (mean_context >= KnotContext(static_cast<int>(knot) + 1)) ++knot;
  if (mean_context < KnotContext(static_cast<int>(knot))) --knot;
  for (size_t i : {knot, knot + 1}) {
    if (knots[i].ms < 0) knots[i] = DecodeAttention(decodes, KnotContext(static_cast<int>(i)));
  }
  const double low = KnotContext(static_cast<int>(knot));
  const double high = KnotContext(static_cast<int>(knot) + 1);
  const double both_ms = knots[knot].ms + knots[knot + 1].ms;
  return {.at_context = low, .ms = knots[knot].ms, .ms_per_token = (knots[knot + 1].ms - knots[knot].ms) / (high - low), .until_context = high,
          .outside_share = both_ms > 0 ? (knots[knot].outside_ms + knots[knot + 1].outside_ms) / both_ms : 0};
}

double StepTimer::PrefillAttentionMs(std::span<const PrefillChunk> prefills) {
  KernelMs all;
  for (const Mixer& mixer : mixers_) {
    const MixerFamilies families = FamiliesOf(mixer.group.kind);
    KernelMs layer;
    // Whole prompts go as one batch at their root mean square (attention's work is quadratic); chunks on a prefix one by one, sharing
    // one launch.
    double whole = 0;
    double squares = 0;
    bool launched = false;
    if (mixer.group.prefill_floor) {
      for (const PrefillChunk& chunk : prefills) {
        layer.ms += FloorWorkMs(mixer.group.prefill_floor(1, chunk.tokens, chunk.prefix_tokens), mixer.group.compute);
      }
      all.Add(layer, mixer.group.layers);
      continue;
    }
    for (const PrefillChunk& chunk : prefills) {
      const bool recurrent = mixer.group.kind == MixerKind::kGatedDeltaNet;
      if (chunk.prefix_tokens < 1 || recurrent) {
        whole += 1;
        squares += chunk.tokens * chunk.tokens;
        continue;
      }
      const KernelQuery q = MixerQuery(mixer.group, families.prefill, 1, chunk.tokens);
      layer.Add(Chunk(*mixer.prefill, q, chunk.prefix_tokens), 1);
      if (launched) layer.ms -= mixer.prefill->launch_ms;
      launched = true;
    }
    if (whole > 0) {
      const double tokens = std::sqrt(squares / whole);
      layer.Add(Kernel(*mixer.prefill, MixerQuery(mixer.group, families.prefill, whole, tokens)), 1);
      if (mixer.conv_prefill != nullptr) {
        layer.Add(Kernel(*mixer.conv_prefill, MixerQuery(mixer.group, Family::kGdnConvPrefill, whole, tokens)), 1);
      }
    }
    if (mixer.window_by_equivalence) layer.outside_ms = layer.ms;
    all.Add(layer, mixer.group.layers * draw_.prefill_factor);
  }
  prefill_outside_ms_ = std::min(all.outside_ms, all.ms);
  return all.ms;
}

StepParts StepTimer::Step(std::span<const PrefillChunk> prefills, int decodes, double decode_context_mean) {
  double rows = decodes;
  for (const PrefillChunk& chunk : prefills) rows += chunk.tokens;
  StepParts parts = Dense(static_cast<int>(rows), decodes + static_cast<int>(prefills.size()));
  if (decodes > 0) {
    const DecodeLine line = Decode(decodes, decode_context_mean);
    const double ms = line.ms + line.ms_per_token * (decode_context_mean - line.at_context);
    parts.attention_ms += ms;
    parts.outside_ms += ms * line.outside_share;
  }
  if (!prefills.empty()) {
    parts.attention_ms += PrefillAttentionMs(prefills);
    parts.outside_ms += prefill_outside_ms_;
  }
  return parts;
}

}  // namespace assay::platform
