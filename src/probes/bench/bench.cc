#include "probes/bench/bench.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "core/random.h"
#include "kernels/matmul.h"
#include "kernels/recurrence_kernel.h"
#include "kernels/softmax_kernel.h"
#include "machine/roofline.h"
#include "probes/bench/bench_peers.h"
#include "probes/bench/bench_shape.h"
#include "stats/descriptive.h"
#include "store/time.h"

namespace assay {
namespace {

using bench::CacheBytes;
using bench::ErrorOf;
using bench::IsRecurrent;
using bench::Shape;
using machine::CeilingKind;

// Work that any implementation must do: multiply-adds of visible pairs, and what must be read or written once.
machine::UsefulWork WorkOf(const Shape& s, const machine::Fingerprint& fingerprint, int threads) {
  machine::UsefulWork work;
  const auto d = static_cast<double>(s.head_dim), dv = static_cast<double>(s.v_head_dim);
  const auto batch = static_cast<double>(s.sequences), heads = static_cast<double>(s.query_heads), t = static_cast<double>(s.queries);
  const double element = BitsOf(s.dtype) / 8.0;
  if (s.family == Shape::Family::kMatmul) {
    const auto columns = static_cast<double>(s.keys);
    work.arithmetic = s.dtype == DType::kBf16 ? CeilingKind::kBf16 : CeilingKind::kFp32;
    work.ops = 2 * t * columns * d;
    work.bytes = element * (t * d + columns * d + t * columns);
    work.bandwidth = machine::ReadLevelFor(fingerprint, work.bytes / threads, threads);
    return work;
  }
  work.arithmetic = s.kv_dtype() == DType::kBf16 ? CeilingKind::kBf16 : CeilingKind::kFp32;
  if (!IsRecurrent(s)) {
    const auto keys = static_cast<double>(s.keys);
    const double pairs = s.causal == Causal::kNone ? t * keys : t * (keys - t) + t * (t + 1) / 2;
    work.ops = 2 * batch * heads * pairs * (d + dv);
    // Absorbed latent attention reads its values within its keys.
    const bool latent = s.kv_heads == 1 && s.head_dim > s.v_head_dim;
    const double row = CacheBytes(s, s.head_dim, s.k_scale) + (latent ? 0 : CacheBytes(s, s.v_head_dim, s.v_scale));
    work.bytes = batch * (keys * static_cast<double>(s.kv_heads) * row + element * t * heads * (d + dv));
  } else if (s.family == Shape::Family::kRecurrentChunk) {
    constexpr double kChunk = 64;
    const double macs = kChunk * (kChunk - 1) / 2 * (d + dv) + kChunk * (kChunk + 1) / 2 * (d + dv) + 3 * kChunk * d * dv;
    work.ops = 2 * batch * heads * (t / kChunk) * macs;
    work.bytes = batch * heads * t * element * 2 * (d + dv);
  } else {
    work.ops = 2 * batch * heads * t * 3 * d * dv;
    work.bytes = 2 * batch * heads * d * dv * 4;
    work.arithmetic = CeilingKind::kFp32;
  }
  work.bandwidth = machine::ReadLevelFor(fingerprint, work.bytes / threads, threads);
  return work;
}

Result<std::unique_ptr<Plan>> PrepareShape(const Shape& s, const Problem& p, const KernelEnv& env) {
  const Kernel kernel{.id = "bench"};
  switch (s.family) {
    case Shape::Family::kPrefill:
    case Shape::Family::kDecode: return PrepareSoftmaxTile(p, kernel, env);
    case Shape::Family::kRecurrentChunk: return PrepareRecurrenceChunk(p, kernel, env);
    case Shape::Family::kRecurrentStep: return PrepareRecurrenceStep(p, kernel, env);
    case Shape::Family::kMatmul: return PrepareMatmul({.a = p.Get(Role::kQ), .w = p.Get(Role::kK), .w_scale = {}, .o = p.Get(Role::kO)}, env);
  }
  return Unsupported("a family of shapes without a kernel");
}

// What the plan keeps in memory beside the caller's tensors, roughly, in bytes.
double PackedBytes(const Shape& s) {
  return static_cast<double>(s.sequences * s.keys * s.kv_heads) *
         (CacheBytes(s, s.head_dim, s.k_scale) + CacheBytes(s, s.v_head_dim, s.v_scale));
}

// Over the rounds that have it.
double MedianCeiling(const machine::PairedResult& result, CeilingKind kind) {
  std::vector<double> rates;
  for (const machine::Round& round : result.rounds) {
    if (!std::isnan(round.ceilings[kind])) rates.push_back(round.ceilings[kind]);
  }
  return stats::Median(rates);
}

Result<BenchRow> RunRow(const Shape& shape, const BenchOptions& options, const machine::Fingerprint& fingerprint, ThreadPool& pool, foreign::PeerHost* host) {
  if (2 * PackedBytes(shape) > 0.5 * static_cast<double>(fingerprint.usable_memory_bytes())) {
    return EnvironmentError(fmt::format("needs about {:.1f} GB of memory, twice what it may use of this machine's", 2e-9 * PackedBytes(shape)));
  }
  Rng rng(DeriveSeed(options.seed, fmt::format("bench/{}", shape.name)));
  OwnedProblem owned = bench::MakeProblem(shape, rng);
  ASSAY_TRY(const std::unique_ptr<Plan> plan, PrepareShape(shape, owned.problem, {.pool = &pool, .products = shape.products}));
  BenchRow row;
  if (!IsRecurrent(shape)) {
    plan->Pack();  // the first touch of its pages is not packing
    const auto start = std::chrono::steady_clock::now();
    plan->Pack();
    row.pack_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }
  const machine::UsefulWork work = WorkOf(shape, fingerprint, pool.workers());
  ASSAY_TRY(const auto ceilings, machine::Ceilings::Make(fingerprint, pool, {.kinds = {work.arithmetic, work.bandwidth}}));
  const uint64_t rows_seed = DeriveSeed(options.seed, fmt::format("bench/{}/compared rows", shape.name));
  std::vector<machine::TimedSubject> subjects{{
      .name = std::string(shape.name),
      .run = [&plan] { plan->Run(); },
      .check = [&]() -> Status {
        Rng compared_rows(rows_seed);
        row.row_error = ErrorOf(shape, owned.problem, compared_rows);
        // Half a unit in the last place of O, and the roundings of the sums: far below what a wrong convention would give.
        const double allowed = 4 * EpsilonOf(shape.dtype) + 1e-4;
        if (row.row_error <= allowed) return Ok();
        return NotHeld(fmt::format("{}: the answer is off by {:.2g} of its magnitude ({:.2g} allowed); not timed", shape.name, row.row_error, allowed));
      }}};
  std::vector<bench::RowPeer> peers;
  if (host != nullptr) {
    plan->Run();
    const double memory_bytes = 0.8 * static_cast<double>(fingerprint.usable_memory_bytes()) - 2 * PackedBytes(shape);
    peers = bench::PreparePeers(shape, owned.problem, {.host = *host, .threads = pool.workers(), .seed = rows_seed, .memory_bytes = memory_bytes, .stop = options.stop});
    for (bench::RowPeer& peer : peers) {
      if (peer.peer) subjects.push_back(bench::SubjectOf(peer));
    }
  }
  ASSAY_TRY(const machine::PairedResult result,
            machine::RunPaired(subjects, ceilings.get(),
                               {.min_rounds = options.rounds, .max_rounds = options.rounds, .repeats = shape.queries >= 2048 ? 1 : 3,
                                .threads = pool.workers(), .seed = options.seed, .stop = options.stop}));
  ASSAY_TRY(const machine::CeilingShare share, machine::ShareOfCeiling(result, 0, work));
  row.name = shape.name;
  row.family = bench::FamilyName(shape);
  row.shape = bench::ShapeText(shape);
  row.dtype = NameOf(shape.kv_dtype());
  row.implementation = plan->target();
  row.threads = pool.workers();
  row.median_ms = share.milliseconds;
  const stats::Summary seconds = stats::Summarize(result.subjects[0].best_s);
  row.ms_q1 = 1e3 * seconds.q1;
  row.ms_q3 = 1e3 * seconds.q3;
  row.rate = share.rate;
  row.rate_unit = machine::UnitOf(share.ceiling);
  row.ceiling = share.ceiling_rate;
  row.ceiling_kind = machine::NameOf(share.ceiling);
  row.ceiling_instruction = ceilings->info(share.ceiling).instruction;
  row.share_of_ceiling = share.share;
  row.share_q1 = share.share_q1;
  row.share_q3 = share.share_q3;
  row.rounds = static_cast<int>(result.rounds.size());
  row.flags = result.flags();
  row.ops_per_byte = work.ops / work.bytes;
  row.arithmetic_ceiling = MedianCeiling(result, work.arithmetic);
  row.bandwidth_ceiling = MedianCeiling(result, work.bandwidth);
  row.arithmetic_kind = machine::NameOf(work.arithmetic);
  row.bandwidth_kind = machine::NameOf(work.bandwidth);
  row.peers = bench::ComparePeers(result, peers, rows_seed);
  return row;
}

}  // namespace

std::vector<std::string> BenchRowNames() {
  std::vector<std::string> names;
  for (const Shape& shape : bench::AllShapes()) names.emplace_back(shape.name);
  return names;
}

Result<BenchReport> RunBench(const BenchOptions& options) {
  if (options.rounds < 2) return BadInput(fmt::format("{} rounds; quartiles need at least 2", options.rounds));
  std::vector<const Shape*> chosen;
  for (const Shape& shape : bench::AllShapes()) {
    if (shape.name.find(options.filter) != std::string_view::npos) chosen.push_back(&shape);
  }
  if (chosen.empty()) return BadInput(fmt::format("no row of the bench has '{}' in its name; there are: {}", options.filter, fmt::join(BenchRowNames(), ", ")));
  const machine::Fingerprint fingerprint = machine::TakeFingerprint();
  const int most = static_cast<int>(AllowedCpus().size());
  if (options.threads < 0 || options.threads > most) return BadInput(fmt::format("{} threads; this process may use {}", options.threads, most));
  ThreadPool pool(options.threads == 0 ? most : options.threads);
  std::unique_ptr<foreign::PeerHost> host;
  if (!options.peers_python.empty()) {
    ASSAY_TRY(host, foreign::PeerHost::Make({.python = options.peers_python, .prepare_timeout_s = options.peer_timeout_s,
                                             .time_timeout_s = options.peer_timeout_s, .stop = options.stop}));
  }
  BenchReport report{.machine = fingerprint.Line(), .date = UtcNow(), .seed = options.seed};
  for (const Shape* shape : chosen) {
    if (options.stop && options.stop()) break;
    if (options.progress) options.progress(shape->name);
    Result<BenchRow> row = RunRow(*shape, options, fingerprint, pool, host.get());
    if (row.ok()) {
      report.rows.push_back(std::move(row).value());
    } else if (row.error().kind == ErrorKind::kNotHeld || row.error().kind == ErrorKind::kInternal) {
      return std::move(row).TakeError();
    } else if (!(options.stop && options.stop())) {  // a row cut short before its first rounds is not refused
      report.refused.push_back({std::string(shape->name), row.error().message});
    }
  }
  report.stopped = options.stop && options.stop();
  return report;
}

}  // namespace assay
