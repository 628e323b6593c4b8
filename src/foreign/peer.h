// Peers: kernels of other projects, PyTorch's and ONNX Runtime's, called through a small Python server (python/assay_peers) that runs in
// a process of its own. It is handed one row's tensors, gives its answer for comparison, and then times its own calls when asked, so that
// the pipe between us is in no time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/result.h"
#include "foreign/child_process.h"

namespace assay::foreign {

struct PeerTensor {
  std::string_view role;          // "q", "k", "v", "log_decay", "beta", "state_in"
  DType dtype = DType::kF32;      // or bf16
  std::vector<int64_t> shape{};   // as stored in `bytes`, row-major
  int64_t repeat = 1;             // of the first extent: sequences that share one memory here have their own there
  std::span<const std::byte> bytes{};
};

// What a peer computes: see python/assay_peers/peer.py.
struct PeerRow {
  std::string_view family;  // "prefill", "decode", "recurrence", "matmul"
  int64_t queries = 0, keys = 0;
  bool causal = false;
  double scale = 0;
  std::vector<PeerTensor> tensors{};
};

struct PeerHostOptions {
  std::string python;             // the interpreter that has the libraries
  double prepare_timeout_s = 600;  // imports, conversions and a first call of the slowest shapes
  double time_timeout_s = 300;
  std::function<bool()> stop{};
};

class Peer {
 public:
  [[nodiscard]] const std::string& implementation() const { return implementation_; }  // "PyTorch 2.13.0+cpu: SDPA, bf16"
  [[nodiscard]] const std::vector<float>& answer() const { return answer_; }           // [batch, tokens, heads, channels]
  // Seconds a call, measured by the peer. After an error the peer is dead.
  Result<double> Time(int64_t calls);

 private:
  friend class PeerHost;
  std::unique_ptr<ChildProcess> child_;
  std::string implementation_;
  std::vector<float> answer_;
  double timeout_s_ = 0;
  std::function<bool()> stop_;
};

// The folder that the tensors of one row pass through. It outlives its peers.
class PeerHost {
 public:
  // An environment error that names the remedy where `options.python` is no file that can be run.
  static Result<std::unique_ptr<PeerHost>> Make(PeerHostOptions options);
  // Replaces the row that peers are prepared for.
  Status SetRow(const PeerRow& row);
  // Starts a process for the peer and has it run once. `answer_count`: how many numbers its answer must have.
  Result<std::unique_ptr<Peer>> Prepare(std::string_view name, int threads, size_t answer_count);

 private:
  explicit PeerHost(PeerHostOptions options, std::unique_ptr<PrivateFolder> folder) : options_(std::move(options)), folder_(std::move(folder)) {}
  PeerHostOptions options_;
  std::unique_ptr<PrivateFolder> folder_;
  std::string row_json_;
};

}  // namespace assay::foreign
