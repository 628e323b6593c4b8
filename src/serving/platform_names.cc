// Which names are known is read off the shipped profiles.
#include "serving/platform_names.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/text.h"
#include "platform/gpu.h"
#include "platform/profile.h"

namespace assay::serving {

namespace {

struct Known {
  std::vector<std::string_view> gpus, engines;
  std::string profiles;  // "h100_sxm/vllm/0.24.0, ..."
};

Known KnownPlatforms() {
  Known known;
  for (const platform::Gpu& gpu : platform::KnownGpus()) known.gpus.push_back(gpu.name);
  for (const platform::ShippedProfile& profile : platform::ShippedProfiles()) {
    if (std::find(known.engines.begin(), known.engines.end(), profile.engine) == known.engines.end()) known.engines.push_back(profile.engine);
    known.profiles += (known.profiles.empty() ? "" : ", ") + profile.name();
  }
  return known;
}

}  // namespace

Status CheckPlatformNames(const formats::UseCase& usecase) {
  if (usecase.platform.is_this_cpu) return Ok();
  const Known known = KnownPlatforms();
  const std::string gpu = usecase.platform.gpu.value_or("");
  if (platform::FindGpu(gpu) == nullptr) {
    return BadInput(fmt::format("{}: platform.gpu is '{}', which Assay has no datasheet of{}; profiles of measured kernels exist of {}", usecase.path,
                                formats::Printable(gpu), formats::DidYouMean(gpu, known.gpus), known.profiles));
  }
  if (usecase.platform.profile_path) return Ok();  // the user's own fit, under whatever name
  bool any = false;
  for (const formats::Candidate& candidate : usecase.candidates) {
    const std::string& engine = candidate.implementation.engine;
    if (std::find(known.engines.begin(), known.engines.end(), engine) != known.engines.end()) {
      any = true;
      continue;
    }
    if (const std::string meant = formats::DidYouMean(engine, known.engines); !meant.empty()) {
      return BadInput(fmt::format("{}:{}: candidate '{}' runs in the engine '{}', which no profile knows{}", usecase.path, candidate.line, candidate.id,
                                  formats::Printable(engine), meant));
    }
  }
  if (any) return Ok();
  return BadInput(fmt::format("{}: no profile of measured kernels knows the engine '{}'; they exist of {}; fit one from a table of yours with `assay platform fit` "
                              "and name it as profile_path in [platform]", usecase.path, formats::Printable(usecase.engine.name), known.profiles));
}

}  // namespace assay::serving
