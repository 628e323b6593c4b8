// Memory of a deployment.
#include "serving/deployment.h"

#include <algorithm>
#include <cmath>

namespace assay::serving {
namespace {

constexpr double kMlaWidth = 512 + 64;  // latent and rope part, shared by all heads and not split over ranks
constexpr int kConvTaps = 3;            // cached inputs of a width-4 causal convolution

}  // namespace

KvPool PoolOf(const Deployment& d, const platform::Gpu& gpu) {
  KvPool pool;
  pool.block_tokens = d.block_tokens;
  pool.pool_bytes = static_cast<int64_t>(std::max(0.0, d.memory_fraction * gpu.memory_bytes - d.weight_bytes - d.reserve_bytes));
  for (const platform::MixerGroup& m : d.model.mixers) {
    const double bytes = BitsOf(m.cache) / 8.0;
    if (m.memory) {
      pool.state_bytes += static_cast<int64_t>(m.layers * m.memory->bytes_per_sequence);
      if (m.memory->bytes_per_token > 0) {
        pool.groups.push_back({.bytes_per_token = static_cast<int64_t>(m.layers * m.memory->bytes_per_token),
                               .window_tokens = m.memory->token_cap > 0 ? static_cast<int32_t>(m.memory->token_cap) : 0});
      }
      continue;
    }
    switch (m.kind) {
      case platform::MixerKind::kSoftmax:
        pool.groups.push_back({.bytes_per_token = static_cast<int64_t>(2.0 * m.layers * m.kv_heads * m.head_dim * bytes), .window_tokens = m.window});
        break;
      case platform::MixerKind::kMla:
        pool.groups.push_back({.bytes_per_token = static_cast<int64_t>(m.layers * kMlaWidth * bytes), .window_tokens = 0});
        break;
      case platform::MixerKind::kGatedDeltaNet:
        // An fp32 state a value head, and the convolution's last inputs in bf16.
        pool.state_bytes += int64_t{m.layers} * (int64_t{m.query_heads} * m.head_dim * m.head_dim * 4 +
                                                 int64_t{kConvTaps} * m.head_dim * (m.query_heads + 2 * m.kv_heads) * 2);
        break;
    }
  }
  return pool;
}

}  // namespace assay::serving
