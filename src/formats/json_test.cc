// What the JSON reader refuses before it trusts a file.
#include "formats/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace assay::formats {
namespace {

TEST(Json, AKeyThatOneObjectHoldsTwiceIsRefusedWithItsLine) {
  const auto twice = ParseJson("{\n \"a\": 1,\n \"b\": {\"a\": [\"a\", {\"a\": 2}]},\n \"a\" : 3}", "f.json");
  ASSERT_FALSE(twice.ok());
  EXPECT_EQ(twice.error().message, "f.json:4: key 'a' is there twice in one object; remove one");
}

TEST(Json, OneKeyInSeveralObjectsAndAsAValueIsFine) {
  EXPECT_TRUE(ParseJson("{\"a\": {\"a\": \"a\"}, \"b\": [{\"a\": 1}, {\"a\": 2}], \"c\": \"a\\\"\"}", "f.json").ok());
}

TEST(Json, TextThatEndsInsideAStringIsTheParsersToName) {
  const auto cut = ParseJson("{\"a\": 1, \"a", "f.json");
  ASSERT_FALSE(cut.ok());
  EXPECT_NE(cut.error().message.find("not valid JSON"), std::string::npos) << cut.error().message;
}

}  // namespace
}  // namespace assay::formats
