#include "formats/stack.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

namespace assay::formats {
namespace {

TEST(Stack, APatternRepeatsAndIsCutAtTheLastLayer) {
  auto stack = ParseStack("5*sliding_window(1024)+1*gqa");
  ASSERT_TRUE(stack.ok()) << stack.error().message;
  auto layers = ExpandStack(*stack, 32);
  ASSERT_TRUE(layers.ok());
  const auto counts = CountLayers(*layers);
  ASSERT_EQ(counts.size(), 2u);
  EXPECT_EQ(counts[0].layers, 27);
  EXPECT_EQ(counts[1].layers, 5);
  EXPECT_EQ((*layers)[5].id, "gqa");
  EXPECT_EQ((*layers)[31].id, "sliding_window");
}

TEST(Stack, LastOverridesTheLastLayer) {
  auto stack = ParseStack("3*gated_delta_net + gqa");
  ASSERT_TRUE(stack.ok());
  stack->last = MechanismCall{.id = "gqa", .arguments = {}};
  auto layers = ExpandStack(*stack, 6);
  ASSERT_TRUE(layers.ok());
  EXPECT_EQ(layers->back().id, "gqa");
  EXPECT_EQ((*layers)[4].id, "gated_delta_net");
}

TEST(Stack, ReadsPositionalAndNamedArguments) {
  auto call = ParseMechanismCall(" mla( 512, rope_dim = 64 , form=absorbed) ");
  ASSERT_TRUE(call.ok()) << call.error().message;
  EXPECT_EQ(call->Find("kv_lora_rank", 0)->number, 512.0);
  EXPECT_EQ(call->Find("rope_dim", 1)->number, 64.0);
  EXPECT_EQ(call->Find("form", 2)->text, "absorbed");
  EXPECT_FALSE(call->Find("form", 2)->number.has_value());
  EXPECT_EQ(call->Find("missing", 1), nullptr) << "the second argument has a name of its own";
  EXPECT_EQ(call->ToString(), "mla(512,rope_dim=64,form=absorbed)");
}

TEST(Stack, RefusesWhatIsNotAPattern) {
  for (const char* text :
       {"", "+", "gqa+", "0*gqa", "1001*gqa", "5 gqa", "gqa gqa", "gqa(", "gqa(1", "gqa(1,)", "gqa(a=1,2)",
        "gqa(a=1,a=2)", "gqa(1..2)", "99999999999999999999*gqa", "gqa)", "(gqa)", "gqa(0x)", "gqa(inf", "\xff"}) {
    EXPECT_FALSE(ParseStack(text).ok()) << text;
  }
  EXPECT_FALSE(ParseStack(std::string(100000, '(')).ok());
  std::string many = "gqa";
  for (int i = 0; i < 64; ++i) many += "+gqa";
  EXPECT_FALSE(ParseStack(many).ok());
}

TEST(Stack, RefusesAPatternLongerThanTheModel) {
  EXPECT_FALSE(ExpandStack(*ParseStack("5*sliding_window(8)+1*gqa"), 4).ok());
  EXPECT_TRUE(ExpandStack(*ParseStack("8*gqa"), 4).ok()) << "a lone term repeats anyway";
  EXPECT_FALSE(ExpandStack(*ParseStack("gqa"), 0).ok());
}

TEST(Stack, PrintingAndParsingAreInverse) {
  EXPECT_TRUE(rc::check("ToString, then ParseStack", [] {
    const std::vector<std::string> ids = {"gqa", "mla", "sliding_window", "x_1"};
    const std::vector<std::string> words = {"1", "1024", "0.5", "-2", "1e-3", "per_head"};
    Stack stack;
    const int terms = *rc::gen::inRange(1, 5);
    for (int t = 0; t < terms; ++t) {
      StackTerm term{.count = *rc::gen::inRange(1, 1001),
                     .mechanism = {.id = *rc::gen::elementOf(ids), .arguments = {}}};
      const int positional = *rc::gen::inRange(0, 3);
      const int named = *rc::gen::inRange(0, 3);
      for (int a = 0; a < positional + named; ++a) {
        MechanismArgument argument{
            .name = a < positional ? "" : "p" + std::to_string(a), .text = *rc::gen::elementOf(words), .number = {}};
        if (argument.text != "per_head") argument.number = std::stod(argument.text);
        term.mechanism.arguments.push_back(argument);
      }
      stack.pattern.push_back(term);
    }
    auto parsed = ParseStack(stack.ToString());
    RC_ASSERT(parsed.ok());
    RC_ASSERT(parsed->pattern == stack.pattern);
  }));
}

}  // namespace
}  // namespace assay::formats
