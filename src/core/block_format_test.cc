// Block formats against blocks written by hand, whose values were worked out on paper.
#include "core/block_format.h"

#include <gtest/gtest.h>

#include <vector>

namespace assay {
namespace {

constexpr uint8_t kHalfOne[] = {0x00, 0x3c};    // binary16 1
constexpr uint8_t kHalfMinusTwo[] = {0x00, 0xc0};

std::vector<uint8_t> Zeros(BlockFormat format) { return std::vector<uint8_t>(static_cast<size_t>(BlockBytes(format))); }

TEST(BlockFormat, Q4_0HoldsTheLowNibblesFirstAndSubtracts8) {
  auto block = Zeros(BlockFormat::kQ4_0);
  block[0] = kHalfMinusTwo[0], block[1] = kHalfMinusTwo[1];
  block[2 + 5] = 0xa3;
  EXPECT_EQ(LoadBlockElement(block.data(), BlockFormat::kQ4_0, 5), -2.0 * (3 - 8));
  EXPECT_EQ(LoadBlockElement(block.data(), BlockFormat::kQ4_0, 21), -2.0 * (10 - 8));
  EXPECT_EQ(LoadBlockElement(block.data(), BlockFormat::kQ4_0, 0), 16.0);
}

TEST(BlockFormat, Q5_0HasItsFifthBitsInOneWord) {
  auto block = Zeros(BlockFormat::kQ5_0);
  block[1] = kHalfOne[1];
  block[2 + 2] = 0x20;  // bit 21
  block[6 + 5] = 0x7c;
  EXPECT_EQ(LoadBlockElement(block.data(), BlockFormat::kQ5_0, 5), 12 - 16);
  EXPECT_EQ(LoadBlockElement(block.data(), BlockFormat::kQ5_0, 21), 16 + 7 - 16);
}

TEST(BlockFormat, Q8_0HoldsSignedBytesAndTheSecondBlockFollowsTheFirst) {
  auto row = Zeros(BlockFormat::kQ8_0);
  row.resize(68);
  row[34] = kHalfMinusTwo[0], row[35] = kHalfMinusTwo[1];
  row[34 + 2 + 31] = 0x80;
  EXPECT_EQ(LoadBlockElement(row.data(), BlockFormat::kQ8_0, 63), 256.0);
}

TEST(BlockFormat, Q4_KTakesSixBitScalesAndMinimaFromTwelveBytes) {
  auto block = Zeros(BlockFormat::kQ4_K);
  block[1] = kHalfOne[1];
  block[2] = kHalfMinusTwo[0], block[3] = kHalfMinusTwo[1];
  // Sub-block 1: scale 33, minimum 5. Sub-block 6: scale 0b101101 = 45, minimum 0b110010 = 50.
  block[4 + 1] = 33;
  block[4 + 5] = 5;
  block[4 + 2] = 2 << 6;
  block[4 + 6] = 3 << 6;
  block[4 + 10] = 2 << 4 | 13;
  block[16 + 7] = 0xb0;       // element 39, the high nibble of the first 32 bytes
  block[16 + 96 + 30] = 0x09;  // element 222, a low nibble of the last 32 bytes
  EXPECT_EQ(LoadBlockElement(block.data(), BlockFormat::kQ4_K, 39), 33 * 11 + 2.0 * 5);
  EXPECT_EQ(LoadBlockElement(block.data(), BlockFormat::kQ4_K, 222), 45 * 9 + 2.0 * 50);
}

TEST(BlockFormat, Q6_KHasFourLowBitsTwoHighBitsAndAScaleFor16) {
  auto block = Zeros(BlockFormat::kQ6_K);
  block[209] = kHalfOne[1];
  // Element 128 + 3 * 32 + 20 = 244: the second half's quarter 3, a high nibble.
  block[64 + 32 + 20] = 0x90;
  block[128 + 32 + 20] = 2 << 6;
  block[192 + 15] = 0xfd;  // -3
  EXPECT_EQ(LoadBlockElement(block.data(), BlockFormat::kQ6_K, 244), -3.0 * (2 * 16 + 9 - 32));
  // Element 37: quarter 1, a low nibble, bits 2 and 3 of its high byte.
  block[32 + 5] = 0x04;
  block[128 + 5] = 1 << 2;
  block[192 + 2] = 7;
  EXPECT_EQ(LoadBlockElement(block.data(), BlockFormat::kQ6_K, 37), 7.0 * (16 + 4 - 32));
}

}  // namespace
}  // namespace assay
