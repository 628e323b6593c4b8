// RecurrenceForm and its preparation on a given backend's table. Internal to src/kernels: tests run emulated backends through it.
#pragma once

#include "kernels/kernel.h"
#include "kernels/kernel_table.h"

namespace assay {

enum class RecurrenceForm { kStep, kChunk };

Result<std::unique_ptr<Plan>> PrepareRecurrenceOn(const KernelTable& table, RecurrenceForm form, const Problem& problem, const Kernel& self,
                                                  ThreadPool* pool);

}  // namespace assay
