// What a use case says that changes nothing in an audit yet: said in its notes instead of being ignored in silence.
#pragma once

#include <string>
#include <vector>

#include "formats/usecase.h"

namespace assay {

// "workload.shared_prefix", "task.recall_keys", ...: of the keys that this file gives. docs/usecase.md marks those that are for readers only.
std::vector<std::string> UnusedKeys(const formats::UseCase& usecase);

}  // namespace assay
