// The Python files of python/assay_peers, carried inside the program (cmake/AssayEmbed.cmake writes the list).
#pragma once

#include <span>
#include <string_view>

namespace assay::foreign {

struct PeerScript {
  std::string_view name;  // "peer.py"
  std::string_view text;
};

std::span<const PeerScript> PeerScripts();

}  // namespace assay::foreign
