// SHA-256 of a byte string, as 64 hex digits: the address of an artifact and the seed of a cell key.
#pragma once

#include <string>
#include <string_view>

namespace assay {

std::string Sha256Hex(std::string_view bytes);

}  // namespace assay
