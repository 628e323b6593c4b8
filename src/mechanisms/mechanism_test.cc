// The registry and parameter sets.
#include "mechanisms/mechanism.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace assay {
namespace {

TEST(Registry, ListsEveryFolderOnceInAlphabeticalOrder) {
  std::vector<std::string> ids;
  for (const Mechanism* mechanism : AllMechanisms()) ids.emplace_back(mechanism->id);
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), ids.size());
  EXPECT_NE(std::find(ids.begin(), ids.end(), "gqa"), ids.end());
}

TEST(Registry, EveryDescriptorIsComplete) {
  for (const Mechanism* mechanism : AllMechanisms()) {
    SCOPED_TRACE(mechanism->id);
    EXPECT_FALSE(mechanism->title.empty() || mechanism->formula.empty() || mechanism->citation.empty() || mechanism->summary.empty());
    EXPECT_TRUE(mechanism->check && mechanism->reference && mechanism->twin && mechanism->count && mechanism->example && mechanism->cost &&
                mechanism->resident && mechanism->projections);
    for (const Parameter& parameter : mechanism->parameters) {
      EXPECT_LE(parameter.low, parameter.default_value) << parameter.name;
      EXPECT_LE(parameter.default_value, parameter.high) << parameter.name;
      EXPECT_FALSE(parameter.meaning.empty()) << parameter.name;
    }
    for (const FeatureRisk& risk : mechanism->risks) {
      EXPECT_EQ(risk.date.size(), 10U) << risk.what;
      EXPECT_EQ(risk.url.substr(0, 8), "https://") << risk.what;
    }
  }
}

// Parameters in reach of short calls, so that windows close, pages are left out and forms change: each its default or near its lower end.
std::vector<ParameterValue> DrawParameters(const Mechanism& mechanism, Rng& rng) {
  std::vector<ParameterValue> values;
  for (const Parameter& parameter : mechanism.parameters) {
    if (rng.Below(2) == 0) continue;
    values.push_back({std::string(parameter.name), std::min(parameter.low + static_cast<double>(rng.Below(9)), parameter.high)});
  }
  return values;
}

TEST(Cost, EqualsTheCountedReferenceOfEveryMechanism) {
  constexpr std::pair<int64_t, int64_t> kCalls[] = {{1, 0}, {1, 40}, {1, 103}, {12, 0}, {5, 13}};  // new tokens, tokens before them
  for (const Mechanism* mechanism : AllMechanisms()) {
    Rng rng(1);
    int compared = 0;
    for (int draw = 0; draw < 40; ++draw) {
      const auto drawn = draw == 0 ? std::vector<ParameterValue>() : DrawParameters(*mechanism, rng);
      const auto parameters = ParameterSet::Make(*mechanism, {}, drawn);
      if (!parameters.ok()) continue;
      for (const auto& [fresh, context] : kCalls) {
        // The expanded form expands cached latents before its reference sees them: mla/test.cc counts that.
        if (mechanism->id == "mla" && parameters->Int("form") != 2 && context > 0) continue;
        const auto owned = mechanism->example({.query_tokens = {fresh, fresh},
                                               .key_tokens = {context + fresh, context + fresh},
                                               .v_head_dim = 24,
                                               .with_lse = false},
                                              *parameters, rng);
        if (!owned.ok() || !mechanism->check(owned->problem).ok()) continue;  // parameters that contradict each other
        const WorkCount counted = mechanism->count(owned->problem);
        const LayerCost cost = mechanism->cost({.shape = {.model_dim = 128, .query_heads = 4, .kv_heads = 2, .head_dim = 32, .v_head_dim = 24},
                                                .parameters = *parameters,
                                                .new_tokens = fresh,
                                                .context_tokens = context,
                                                .sequences = 2});
        SCOPED_TRACE(std::string(mechanism->id) + "(" + parameters->Canonical() + ")");
        ASSERT_EQ(cost.flops, counted.flops()) << fresh << " tokens behind " << context;
        ASSERT_EQ(cost.transcendentals, static_cast<double>(counted.transcendentals)) << fresh << " tokens behind " << context;
        ++compared;
      }
    }
    EXPECT_GE(compared, 40) << mechanism->id;
  }
}

TEST(Registry, NamesTheNearestMechanismForAMistypedOne) {
  const auto found = FindMechanism("gqq");
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().kind, ErrorKind::kBadInput);
  EXPECT_NE(found.error().message.find("did you mean 'gqa'"), std::string::npos) << found.error().message;
}

TEST(ParameterSet, TakesPositionalThenNamedAndDefaults) {
  const Mechanism& gqa = **FindMechanism("gqa");
  const double positional[] = {8};
  const ParameterValue named[] = {{"learned_sink", 1}};
  const auto set = ParameterSet::Make(gqa, positional, named);
  ASSERT_TRUE(set.ok()) << set.error().message;
  EXPECT_EQ(set->Canonical(), "kv_heads=8,softcap=0,learned_sink=1");
}

TEST(ParameterSet, RefusesWhatIsOutOfRangeFractionalUnknownOrTwice) {
  const Mechanism& gqa = **FindMechanism("gqa");
  const auto refusal = [&](std::vector<double> positional, std::vector<ParameterValue> named) {
    const auto set = ParameterSet::Make(gqa, positional, named);
    return set.ok() ? std::string("accepted") : set.error().message;
  };
  EXPECT_EQ(refusal({-1}, {}), "gqa: kv_heads is -1; it must be from 0 to 4096");
  EXPECT_EQ(refusal({1.5}, {}), "gqa: kv_heads is 1.5; it must be a whole number");
  EXPECT_EQ(refusal({1}, {{"kv_heads", 2}}), "gqa: kv_heads is given twice; keep one");
  EXPECT_EQ(refusal({}, {{"kvheads", 2}}), "gqa: no parameter 'kvheads'; it has kv_heads, softcap, learned_sink");
  EXPECT_EQ(refusal({1, 2, 0, 4}, {}), "gqa: 4 positional parameters; it has kv_heads, softcap, learned_sink");
  EXPECT_NE(refusal({std::nan("")}, {}), "accepted");
}

}  // namespace
}  // namespace assay
