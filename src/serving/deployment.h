// Deployment: a model on ranks of an accelerator under an engine's policy. Turns shapes into the pool and the step costs that the
// simulator needs.
#pragma once

#include <string>

#include "core/result.h"
#include "serving/simulator.h"

namespace assay::serving {

struct Deployment {
  platform::StepModel model;      // one rank
  double weight_bytes = 0;        // of one rank
  double memory_fraction = 0.90;  // of the accelerator that the engine may use
  double reserve_bytes = 3.5 * 1024 * 1024 * 1024;  // activations, graphs, communication buffers (assumed; sources say 0.5 to 3.5 GiB)
  int32_t block_tokens = 16;
  Policy policy;
};

// Bytes of the cache by kind of layer, from the rank's mixers.
KvPool PoolOf(const Deployment& deployment, const platform::Gpu& gpu);

}  // namespace assay::serving
