// Inside the numerics probe: the kernel under test, the truth it is held against, and how a single probe looks. The door of this folder is
// numerics.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/thread_pool.h"
#include "mechanisms/mechanism.h"
#include "probes/finding.h"

namespace assay::numerics {

// One kernel of one mechanism, on one backend, for one element type.
struct Subject {
  const Mechanism* mechanism = nullptr;
  const Kernel* kernel = nullptr;
  Backend backend = Backend::kAuto;
  DType dtype = DType::kF32;
  ParameterSet parameters;
  bool quick = true;
  uint64_t seed = 0;
  bool decode_only = false;  // the kernel takes one query a sequence

  // Queries a probe may use where it would like `wanted`.
  [[nodiscard]] int64_t Rows(int64_t wanted) const { return decode_only ? std::min<int64_t>(wanted, 1) : wanted; }
  [[nodiscard]] Rng Stream(std::string_view key) const;
  // A random problem of this mechanism; spec.dtype is the subject's.
  [[nodiscard]] Result<OwnedProblem> Example(ExampleSpec spec, std::string_view key) const;
  // Ok if mechanism and kernel both take it; else why not.
  [[nodiscard]] Status Serves(const Problem& problem) const;
  // Poisons every output, then prepares, packs and runs. The target that ran, or why nothing did.
  [[nodiscard]] Result<std::string> Run(const Problem& problem, ThreadPool* pool = nullptr) const;
};

// The parameters that probes run with: widths of real models (a latent of 512) are divided until a probe takes milliseconds, windows and
// budgets until its lengths reach beyond them.
ParameterSet SmallParameters(const Mechanism& mechanism);

// The values of a role, in row-major order of its shape.
std::vector<double> Values(const Problem& problem, Role role);
// Equal bit patterns, NaN included. How many differ.
int64_t MismatchCount(std::span<const double> a, std::span<const double> b);

// Sets the value row of a key: V, or the leading channels of K where the mechanism has no V of its own.
void SetValue(const Problem& problem, int64_t sequence, int64_t key, int64_t head, int64_t channel, double value);
void ForEachElement(const TensorView& view, const std::function<void(std::span<const int64_t> index)>& visit);
void Fill(const TensorView& view, double value);

// How a kernel's answer compares with the fp64 reference. Errors of a row are relative to sum_j p_j |v_j| (an output that cancels is not
// an error that grew); a state's to its largest element. `twin` is the error of the same reference in fp32.
struct Judgement {
  bool right = false;
  bool poisoned = false;  // NaN or infinity where the truth is finite
  double row_error = 0;
  double twin_error = 0;
  double allowed = 0;
  std::string target;
  std::string text;  // of a wrong answer: which output, where, by how much
};
// Unsupported if the kernel does not serve the problem.
Result<Judgement> Judge(const Subject& subject, const Problem& problem, ThreadPool* pool = nullptr);

// The same of an answer that is in the problem's outputs already.
Judgement JudgeAnswer(const Mechanism& mechanism, DType dtype, const Problem& problem);

// --- One probe ---

struct Outcome {
  std::vector<ProbeFinding> findings;
  std::string not_applicable;  // the reason; empty: the probe ran
  std::vector<Judgement> judgements;

  static Outcome NotApplicable(std::string reason);
  void Add(Severity severity, std::string title, std::string reproducer);
  // Judges and records: a wrong answer becomes a finding, an unserved problem is noted in `unserved`.
  void Expect(const Subject& subject, const Problem& problem, const std::string& reproducer);
  int served = 0;
  int64_t bitwise_mismatches = 0;  // where a probe asks for equal bits, findings or not
  std::string unserved;  // the last reason
};

struct Probe {
  std::string_view id;
  std::string_view title;
  std::string_view resembles;  // a public defect with this trigger
  Outcome (*run)(const Subject& subject);
};

std::span<const Probe> MaskProbes();        // T01-T06, T09
std::span<const Probe> SoftmaxProbes();     // T10, T12
std::span<const Probe> InvarianceProbes();  // T11, T15
std::span<const Probe> RecurrentProbes();   // T20-T22
std::span<const Probe> MemoryProbes();      // T27-T31
std::vector<Probe> AllProbes();

}  // namespace assay::numerics
