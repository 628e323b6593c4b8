// What a case adapter returns: the outputs it computed, by the names the conformance case uses.
#pragma once

#include <string>
#include <vector>

#include "core/tensor.h"

namespace assay {

struct CaseOutput {
  std::string name;
  Tensor value;  // float64, or the integer or bool type of the case
};

struct CaseOutputs {
  std::vector<CaseOutput> outputs;
};

}  // namespace assay
