// The bound of a batch on this machine, on made-up ceilings: what it reads, and that it stays a bound.
#include "advice/batch_bound.h"

#include <gtest/gtest.h>

#include <cmath>

namespace assay {
namespace {

class BatchBound : public testing::Test {
 protected:
  void SetUp() override {
    setting_.usecase = std::move(formats::ReadUseCase(std::string(ASSAY_SOURCE_DIR) + "/usecases/batch_summaries_cpu.toml")).value();
    setting_.usecase.assume.clear();
    setting_.traffic = std::move(serving::MakeTraffic(setting_.usecase, {}, 1)).value();
  }
  Quantity Hours(const CpuCeilings& ceilings, size_t plan = 0) {
    setting_.plans = std::move(PlanCandidates(setting_.usecase)).value();
    return BatchHoursBound(setting_, setting_.plans[plan], ceilings);
  }

  AuditSetting setting_;
  const CpuCeilings slow_memory_{.flops_per_second = 1e15, .int8_ops_per_second = 4e15, .bytes_per_second = 1e9};
  const CpuCeilings slow_arithmetic_{.flops_per_second = 1e9, .int8_ops_per_second = 4e9, .bytes_per_second = 1e15};
};

TEST_F(BatchBound, IsOpenAbove) {
  const Quantity hours = Hours(slow_memory_);
  EXPECT_EQ(hours.value, hours.low);
  EXPECT_TRUE(std::isinf(hours.high));
  EXPECT_EQ(hours.basis, Basis::kBounded);
}

TEST_F(BatchBound, TakesAssumedRangesAtTheirLeast) {
  const double without = Hours(slow_memory_).value;
  setting_.conditions.assume["host_us_per_step"] = {1e6, 2e6};
  const Quantity with = Hours(slow_memory_);
  double tokens = 0;
  for (const serving::Request& request : setting_.traffic.unit_rate) tokens += request.output_tokens;
  EXPECT_NEAR(with.value - without, tokens / 16 / 3600, 1e-9);  // a second a step of 16 sequences
  EXPECT_EQ(with.basis, Basis::kAssumed);
  EXPECT_NE(with.origin.find("host_us_per_step 1e+06"), std::string::npos) << with.origin;
  setting_.conditions.assume["host_us_per_step"] = {0, 0};
  setting_.conditions.assume["output_length_factor"] = {0.5, 2};
  EXPECT_LT(Hours(slow_memory_).value, without);
}

TEST_F(BatchBound, WhatTheCachesHoldIsNotReadFromMemory) {
  CpuCeilings cached = slow_memory_;
  cached.cache_bytes = 1e12;
  cached.cache_bytes_per_second = 1e12;
  EXPECT_LT(Hours(cached).value, 0.01 * Hours(slow_memory_).value);
}

TEST_F(BatchBound, WithoutALimitAllSequencesMayShareAStep) {
  const double sixteen = Hours(slow_memory_).value;
  setting_.usecase.engine.policy.max_sequences.reset();
  EXPECT_LT(Hours(slow_memory_).value, sixteen);
}

TEST_F(BatchBound, IntegerMatricesMayRunOnIntegerArithmetic) {
  const double bf16 = Hours(slow_arithmetic_).value;
  setting_.usecase.model.weight_bits = 8;
  EXPECT_LT(Hours(slow_arithmetic_).value, bf16);
  setting_.usecase.model.weight_bits = 16;
  EXPECT_LT(Hours(slow_arithmetic_, 1).value, bf16);  // the second candidate's cache is int8
}

}  // namespace
}  // namespace assay
