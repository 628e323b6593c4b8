#include "probes/bench/bench_peers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "core/random.h"
#include "stats/descriptive.h"

namespace assay::bench {
namespace {

constexpr std::pair<Role, std::string_view> kInputs[] = {{Role::kQ, "q"}, {Role::kK, "k"}, {Role::kV, "v"}, {Role::kLogDecay, "log_decay"},
                                                         {Role::kBeta, "beta"}, {Role::kStateIn, "state_in"}};

bool IsQuantised(const Shape& shape) { return shape.kv_dtype() != DType::kBf16 && shape.kv_dtype() != DType::kF32; }

// What may serve a row. In fp32 on bf16 rows too: where a processor has no bf16 instructions, a peer's fp32 is its faster kernel.
std::vector<std::string> PeerNames(const Shape& shape) {
  std::vector<std::string> names;
  const auto torch = [&](std::string_view what) {
    if (shape.dtype == DType::kBf16) names.push_back(fmt::format("pytorch_{}_bf16", what));
    names.push_back(fmt::format("pytorch_{}_fp32", what));
  };
  if (IsRecurrent(shape)) {
    torch("gateddelta");
    names.emplace_back("onnxruntime_linearattention_fp32");
  } else if (shape.family == Shape::Family::kMatmul) {
    torch("matmul");
    names.emplace_back("onnxruntime_matmul_fp32");
  } else {
    torch("sdpa");
    names.emplace_back("onnxruntime_attention_fp32");
    if (shape.causal != Causal::kNone && shape.head_dim == shape.v_head_dim) names.emplace_back("onnxruntime_gqa_fp32");
    if (shape.query_heads == shape.kv_heads) names.emplace_back("onnxruntime_mha_fp32");
  }
  return names;
}

foreign::PeerRow RowOf(const Shape& shape, const Problem& problem) {
  foreign::PeerRow row{.family = FamilyName(shape), .queries = shape.queries, .keys = shape.keys, .causal = shape.causal != Causal::kNone, .scale = problem.scale};
  for (const auto& [role, name] : kInputs) {
    const TensorView* tensor = problem.Find(role);
    if (tensor == nullptr) continue;
    TensorView stored = *tensor;
    int64_t repeat = 1;
    if (stored.rank > 0 && stored.stride[0] == 0) std::swap(repeat, stored.shape[0]);
    const auto bytes = static_cast<size_t>(stored.count() * BitsOf(stored.dtype) / 8);
    row.tensors.push_back({.role = name, .dtype = stored.dtype, .shape = {stored.shape.begin(), stored.shape.begin() + stored.rank},
                           .repeat = repeat, .bytes = {static_cast<const std::byte*>(stored.data), bytes}});
  }
  return row;
}

// While it prepares, a peer holds what it read, a converted copy and a rearranged one.
double BytesOf(const foreign::PeerRow& row) {
  double elements = 0;
  for (const foreign::PeerTensor& tensor : row.tensors) {
    double count = static_cast<double>(tensor.repeat);
    for (const int64_t extent : tensor.shape) count *= static_cast<double>(extent);
    elements += count;
  }
  return 3 * 4 * elements;
}

// Error against fp64 of a peer's answer, on the rows that ours was judged by.
double RowError(const Shape& shape, const Problem& problem, std::vector<float> answer, uint64_t seed) {
  Problem theirs = problem;
  for (Argument& argument : theirs.arguments) {
    if (argument.role != Role::kO) continue;
    const TensorView& ours = argument.tensor;
    argument.tensor = TensorView::Contiguous(answer.data(), DType::kF32, std::span(ours.shape.data(), static_cast<size_t>(ours.rank)));
  }
  Rng rng(seed);
  return ErrorOf(shape, theirs, rng);
}

void Prepare(RowPeer& peer, const Shape& shape, const Problem& problem, const PeerRun& run) {
  const TensorView& ours = problem.Get(Role::kO);
  Result<std::unique_ptr<foreign::Peer>> prepared = run.host.Prepare(peer.shown.name, run.threads, static_cast<size_t>(ours.count()));
  if (!prepared.ok()) {
    peer.shown.refusal = prepared.error().message;
    return;
  }
  peer.peer = std::move(prepared).value();
  peer.shown.implementation = peer.peer->implementation();
  // Rounding in bf16 moves an answer by a hundredth at most, a wrong convention by its own size.
  const double allowed = shape.dtype == DType::kBf16 ? 0.05 : 1e-3;
  const double distance = DistanceToOurs(ours, peer.peer->answer());
  if (!(distance <= allowed)) {
    peer.shown.refusal = fmt::format("its answer differs from ours, which agrees with fp64, by {:.2g} of its size ({:.2g} allowed); not timed", distance, allowed);
    peer.peer.reset();
    return;
  }
  peer.shown.row_error = RowError(shape, problem, peer.peer->answer(), run.seed);
}

}  // namespace

double DistanceToOurs(const TensorView& ours, const std::vector<float>& theirs) {
  if (static_cast<size_t>(ours.count()) != theirs.size()) return std::numeric_limits<double>::infinity();
  double difference = 0, size = 0;
  for (size_t i = 0; i < theirs.size(); ++i) {
    const double value = LoadElement(ours.data, ours.dtype, i);
    difference += (theirs[i] - value) * (theirs[i] - value);
    size += value * value;
  }
  return std::sqrt(difference / size);
}

std::vector<RowPeer> PreparePeers(const Shape& shape, const Problem& problem, const PeerRun& run) {
  std::vector<RowPeer> peers;
  const auto refuse = [&](std::string name, std::string reason) { peers.push_back({.shown = {.name = std::move(name), .refusal = std::move(reason)}, .peer = {}}); };
  if (IsQuantised(shape)) {
    for (const char* name : {"pytorch", "onnxruntime"}) {
      refuse(name, fmt::format("no attention on the CPU over a cache of {} with these scales; its bf16 row is decode_32k_b1_bf16", NameOf(shape.kv_dtype())));
    }
    return peers;
  }
  const foreign::PeerRow row = RowOf(shape, problem);
  const Status written = run.host.SetRow(row);
  double held = 0;
  for (std::string& name : PeerNames(shape)) {
    if (run.stop && run.stop()) {
      refuse(std::move(name), "stopped");
    } else if (!written.ok()) {
      refuse(std::move(name), written.error().message);
    } else if (held + BytesOf(row) > run.memory_bytes) {
      refuse(std::move(name), fmt::format("needs about {:.1f} GB of memory, and what is left for peers is {:.1f} GB", 1e-9 * BytesOf(row), 1e-9 * (run.memory_bytes - held)));
    } else {
      peers.push_back({.shown = {.name = std::move(name)}, .peer = {}});
      Prepare(peers.back(), shape, problem, run);
      if (peers.back().peer) held += BytesOf(row) / 3;
    }
  }
  return peers;
}

machine::TimedSubject SubjectOf(RowPeer& row_peer) {
  return {.name = row_peer.shown.name, .run = {}, .time_itself = [&row_peer](int64_t calls) {
            const Result<double> seconds = row_peer.peer->Time(calls);
            if (seconds.ok()) return seconds.value();
            row_peer.shown.refusal = seconds.error().message;
            return std::numeric_limits<double>::quiet_NaN();
          }};
}

std::vector<BenchPeer> ComparePeers(const machine::PairedResult& result, std::vector<RowPeer>& peers, uint64_t seed) {
  std::vector<BenchPeer> shown;
  size_t subject = 0;
  for (RowPeer& peer : peers) {
    if (peer.peer) {
      ++subject;
      if (peer.shown.refusal.empty()) {
        const Result<stats::PairedRatio> ratio = result.Compare(subject, 0, seed);
        if (ratio.ok()) {
          const stats::Interval& median = ratio.value().median_ratio;
          peer.shown.median_ms = 1e3 * stats::Summarize(result.subjects[subject].best_s).median;
          peer.shown.ratio = median.estimate;
          peer.shown.ratio_low = median.low;
          peer.shown.ratio_high = median.high;
        } else {
          peer.shown.refusal = ratio.error().message;
        }
      }
    }
    shown.push_back(peer.shown);
  }
  return shown;
}

}  // namespace assay::bench
