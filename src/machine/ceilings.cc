#include "machine/ceilings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "machine/bursts.h"
#include "machine/ceiling_kernels.h"
#include "machine/clock.h"
#include "machine/huge_buffer.h"

namespace assay::machine {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kChunkUnit = 4096;  // chunks are whole pages, hence multiples of the loops' step

constexpr std::string_view kNames[kCeilingKinds] = {"fp32",    "bf16",     "int8",      "l2_read",   "l2_write",
                                                    "l3_read", "l3_write", "dram_read", "dram_write"};

bool IsFlops(CeilingKind kind) {
  return kind <= CeilingKind::kInt8;
}
bool IsWrite(CeilingKind kind) {
  return kind == CeilingKind::kL2Write || kind == CeilingKind::kL3Write || kind == CeilingKind::kDramWrite;
}

CeilingKernels KernelsOf(std::string_view backend, const Fingerprint& fingerprint) {
#if defined(__x86_64__)
  if (backend == "avx512") return avx512::Kernels({.vnni = fingerprint.avx512_vnni, .bf16 = fingerprint.avx512_bf16});
  if (backend == "avx2") return avx2::Kernels();
#endif
  (void)backend, (void)fingerprint;
  return generic::Kernels();
}

// One worker's memory of one level, walked in chunks; the cursor goes on from burst to burst, so that DRAM stays cold.
struct Walk {
  char* data = nullptr;
  size_t bytes = 0;
  size_t cursor = 0;
};

// Passes are repeated, each twice as long as the one before, until all workers were caught running together: on a busy
// host the scheduler seldom runs them at once, and what they did one after the other is no ceiling.
constexpr int kMostPasses = 7;

}  // namespace

std::string_view NameOf(CeilingKind kind) {
  return kNames[static_cast<size_t>(kind)];
}

std::string_view UnitOf(CeilingKind kind) {
  if (kind == CeilingKind::kInt8) return "OP/s";
  return IsFlops(kind) ? "FLOP/s" : "B/s";
}

std::vector<CeilingKind> AllCeilings() {
  std::vector<CeilingKind> kinds;
  for (size_t i = 0; i < kCeilingKinds; ++i) kinds.push_back(static_cast<CeilingKind>(i));
  return kinds;
}

CeilingSample::CeilingSample() {
  rate.fill(kNan);
}

std::vector<std::string> RunnableBackends(const Fingerprint& fingerprint) {
  std::vector<std::string> backends = {"generic"};
  if (fingerprint.best_backend == "avx2" || fingerprint.best_backend == "avx512") backends.emplace_back("avx2");
  if (fingerprint.best_backend == "avx512") backends.emplace_back("avx512");
  return backends;
}

// One kind, ready to run: either a loop with iterations per burst, or a walk per worker with bytes per burst.
struct Prepared {
  CeilingKind kind{};
  FlopLoop loop{};
  long iterations = 0;
  std::vector<Walk> walks;
  size_t chunk_bytes = 0;
};

struct Ceilings::State {
  ThreadPool* pool = nullptr;
  CeilingKernels kernels{};
  CeilingOptions options;
  std::vector<CeilingInfo> infos;
  std::vector<Prepared> prepared;
  std::vector<HugeBuffer> buffers;
  std::vector<WorkerLog> logs;

  void RunBurst(Prepared& item, int worker, size_t burst, WorkerLog& log) {
    Burst time;
    if (IsFlops(item.kind)) {
      time.start_ns = NowNs();
      log.sink += item.loop.run(item.iterations);
      time.end_ns = NowNs();
      log.bursts.push_back(time);
      return;
    }
    Walk& walk = item.walks[static_cast<size_t>(worker)];
    char* chunk = walk.data + walk.cursor;
    walk.cursor = walk.cursor + 2 * item.chunk_bytes > walk.bytes ? 0 : walk.cursor + item.chunk_bytes;
    // Turn about: whether software prefetch helps differs from one CPU to the next, and the better of the two is the
    // ceiling.
    const bool prefetch = item.kind != CeilingKind::kL2Read && burst % 2 == 1;
    time.start_ns = NowNs();
    if (item.kind == CeilingKind::kDramWrite)
      kernels.write_streaming(chunk, item.chunk_bytes);
    else if (IsWrite(item.kind))
      kernels.write(chunk, item.chunk_bytes);
    else if (prefetch)
      log.sink += static_cast<float>(kernels.read_prefetched(chunk, item.chunk_bytes));
    else
      log.sink += static_cast<float>(kernels.read(chunk, item.chunk_bytes));
    time.end_ns = NowNs();
    log.bursts.push_back(time);
  }

  // Bursts one after the other on every worker, at least two and for `duration_us`.
  void RunPass(Prepared& item, double duration_us) {
    const auto duration_ns = static_cast<int64_t>(duration_us * 1e3);
    pool->RunOnAll([&](int worker) {
      WorkerLog& log = logs[static_cast<size_t>(worker)];
      log.bursts.clear();
      const int64_t end_ns = NowNs() + duration_ns;
      for (size_t burst = 0; burst < 2 || NowNs() < end_ns; ++burst) RunBurst(item, worker, burst, log);
    });
  }

  // Bursts per second of all workers together, the best; NaN if they never ran together.
  double BestRate(Prepared& item) {
    const bool flops = IsFlops(item.kind);
    double duration_us =
        flops ? options.flop_bursts * options.flop_burst_us : options.memory_bursts * options.memory_burst_us;
    double best = kNan;
    for (int pass = 0; pass < kMostPasses && std::isnan(best); ++pass, duration_us *= 2) {
      RunPass(item, duration_us);
      best = BestRateTogether(logs);
    }
    return best;
  }

  // Seconds of one worker's burst, the shortest.
  double ShortestBurst(Prepared& item, double duration_us) {
    RunPass(item, duration_us);
    return 1e-9 * static_cast<double>(ShortestNs(logs));
  }

  [[nodiscard]] double WorkPerBurst(const Prepared& item) const {
    return IsFlops(item.kind) ? item.loop.ops_per_iteration * static_cast<double>(item.iterations)
                              : static_cast<double>(item.chunk_bytes);
  }

  // Gives every worker `bytes` of its own, touched by that worker first, so that on a NUMA machine they are local to
  // it.
  bool MakeWalks(Prepared& item, size_t bytes) {
    const size_t first = buffers.size();
    for (int worker = 0; worker < pool->workers(); ++worker) {
      buffers.emplace_back(bytes);
      if (buffers.back().data() == nullptr) return false;
      item.walks.push_back({.data = buffers.back().data(), .bytes = bytes});
    }
    pool->RunOnAll([&](int worker) { std::memset(buffers[first + static_cast<size_t>(worker)].data(), 1, bytes); });
    return true;
  }

  void CalibrateFlops(Prepared& item) {
    item.iterations = 1024;
    const double seconds = ShortestBurst(item, 50);
    item.iterations = std::max(64L, std::lround(1024 * options.flop_burst_us * 1e-6 / seconds));
  }

  void CalibrateMemory(Prepared& item) {
    const size_t bytes = item.walks[0].bytes;
    item.chunk_bytes = std::min(bytes, size_t{256} << 10) / kChunkUnit * kChunkUnit;
    const double seconds = ShortestBurst(item, 200);
    const double wanted = static_cast<double>(item.chunk_bytes) * options.memory_burst_us * 1e-6 / seconds;
    item.chunk_bytes = std::clamp(static_cast<size_t>(wanted) / kChunkUnit, size_t{4}, bytes / kChunkUnit) * kChunkUnit;
    for (Walk& walk : item.walks) walk.cursor = 0;
  }
};

namespace {

struct WorkingSets {
  int64_t l2 = 0;
  int64_t l3 = 0;
  int64_t dram = 0;
  std::string l2_refusal, l3_refusal, dram_refusal;
};

// Bytes per thread that live in each level and in none above it.
WorkingSets SizeWorkingSets(const Fingerprint& fingerprint, int threads) {
  WorkingSets sets;
  const int64_t l1 = fingerprint.CacheBytes(1);
  const int64_t l2 = fingerprint.CacheBytes(2);
  const int64_t l3 = fingerprint.CacheBytes(3) * fingerprint.CacheInstances(3);
  // Threads that share an L2 share its set too.
  const int64_t l2_share = l2 * std::min(fingerprint.CacheInstances(2), threads) / threads;
  sets.l2 = l2_share / 2;
  if (sets.l2 < 2 * l1 || l1 == 0) sets.l2_refusal = "the L2 cache per thread is not known or not larger than L1";
  // Four times L2 misses it almost always, and leaves the L3, which other tenants use too, mostly alone.
  sets.l3 = std::min(4 * l2, l3 / 2 / threads);
  if (l3 == 0 || 2 * sets.l3 < 3 * l2_share) sets.l3_refusal = "no L3 cache that holds more per thread than L2 does";
  const int64_t last_level = std::max(l3, l2 * fingerprint.CacheInstances(2));
  const int64_t most = std::min(int64_t{2} << 30, fingerprint.usable_memory_bytes() / 4);
  const int64_t wanted = std::max(4 * last_level, int64_t{64} << 20);
  sets.dram = std::min(wanted, most) / threads;
  if (sets.dram * threads < 2 * last_level)
    sets.dram_refusal = fmt::format("needs {} MiB free to step past the caches; {} MiB are usable",
                                    (4 * 2 * last_level) >> 20, fingerprint.usable_memory_bytes() >> 20);
  const auto whole = [](int64_t bytes) {
    return bytes / static_cast<int64_t>(kChunkUnit) * static_cast<int64_t>(kChunkUnit);
  };
  sets.l2 = whole(sets.l2);
  sets.l3 = whole(sets.l3);
  sets.dram = whole(sets.dram);
  return sets;
}

// The loop of a FLOP kind and its label.
FlopLoop LoopOf(CeilingKind kind, const CeilingKernels& kernels, CeilingInfo& info) {
  FlopLoop loop = kind == CeilingKind::kFp32 ? kernels.fp32 : kind == CeilingKind::kBf16 ? kernels.bf16 : kernels.int8;
  if (loop.run != nullptr) {
    info.instruction = loop.instruction;
    return loop;
  }
  info.instruction = fmt::format("{}: {} has no {} instruction, values are widened to fp32", kernels.fp32.instruction,
                                 kernels.backend, NameOf(kind));
  return kernels.fp32;
}

}  // namespace

Result<std::unique_ptr<Ceilings>> Ceilings::Make(const Fingerprint& fingerprint, ThreadPool& pool,
                                                 CeilingOptions options) {
  if (options.backend.empty()) options.backend = fingerprint.best_backend;
  const std::vector<std::string> backends = RunnableBackends(fingerprint);
  if (std::find(backends.begin(), backends.end(), options.backend) == backends.end())
    return Unsupported(
        fmt::format("backend '{}' does not run here; these do: {}", options.backend, fmt::join(backends, ", ")));

  auto state = std::make_unique<State>();
  state->pool = &pool;
  state->kernels = KernelsOf(options.backend, fingerprint);
  state->logs.resize(static_cast<size_t>(pool.workers()));
  for (WorkerLog& log : state->logs) log.bursts.reserve(4096);
  state->options = std::move(options);
  const WorkingSets sets = SizeWorkingSets(fingerprint, pool.workers());

  // Reads and writes of one level walk the same memory.
  std::vector<Walk> shared[3];
  for (const CeilingKind kind : state->options.kinds) {
    CeilingInfo info{.kind = kind, .instruction = {}, .working_set_bytes = 0, .refusal = {}};
    Prepared item{};
    item.kind = kind;
    if (IsFlops(kind)) {
      item.loop = LoopOf(kind, state->kernels, info);
      state->CalibrateFlops(item);
    } else {
      const int level = (static_cast<int>(kind) - static_cast<int>(CeilingKind::kL2Read)) / 2;
      info.working_set_bytes = level == 0 ? sets.l2 : level == 1 ? sets.l3 : sets.dram;
      info.refusal = level == 0 ? sets.l2_refusal : level == 1 ? sets.l3_refusal : sets.dram_refusal;
      info.instruction = kind == CeilingKind::kDramWrite ? state->kernels.store_instruction
                         : IsWrite(kind)                 ? "stores through the caches"
                         : level == 0                    ? "loads"
                                                         : "loads, the better of with and without software prefetch";
      if (info.refusal.empty()) {
        std::vector<Walk>& walks = shared[level];
        if (walks.empty()) {
          if (!state->MakeWalks(item, static_cast<size_t>(info.working_set_bytes)))
            info.refusal = "memory could not be allocated";
          else
            walks = item.walks;
        } else {
          item.walks = walks;
        }
      }
      if (info.refusal.empty()) state->CalibrateMemory(item);
    }
    if (info.refusal.empty()) state->prepared.push_back(std::move(item));
    state->infos.push_back(std::move(info));
  }
  return std::unique_ptr<Ceilings>(new Ceilings(std::move(state)));
}

Ceilings::Ceilings(std::unique_ptr<State> state) : state_(std::move(state)) {}
Ceilings::~Ceilings() = default;

CeilingSample Ceilings::Measure() {
  CeilingSample sample;
  for (Prepared& item : state_->prepared) sample[item.kind] = state_->WorkPerBurst(item) * state_->BestRate(item);
  return sample;
}

const std::vector<CeilingInfo>& Ceilings::infos() const {
  return state_->infos;
}

const CeilingInfo& Ceilings::info(CeilingKind kind) const {
  for (const CeilingInfo& info : state_->infos)
    if (info.kind == kind) return info;
  ASSAY_CHECK(false, "this ceiling was not asked for");
}

std::string_view Ceilings::backend() const {
  return state_->kernels.backend;
}
int Ceilings::threads() const {
  return state_->pool->workers();
}

}  // namespace assay::machine
