// Evidence for or against a claim or a prediction, as their files keep it.
#pragma once

#include <string>

namespace assay {

struct Evidence {
  std::string id;  // "E11"; of predictions only
  bool against = false;
  std::string summary, url, date;
};

}  // namespace assay
