// The digest itself is OpenSSL's: a hash is the last thing worth writing again.
#include "store/sha256.h"

#include <openssl/evp.h>

#include <array>

#include "core/check.h"

namespace assay {

std::string Sha256Hex(std::string_view bytes) {
  std::array<unsigned char, 32> digest{};
  unsigned int length = 0;
  const int done = EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr);
  ASSAY_CHECK(done == 1 && length == digest.size(), "SHA-256 of OpenSSL failed");
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  text.reserve(64);
  for (const unsigned char byte : digest) {
    text.push_back(kHex[byte >> 4]);
    text.push_back(kHex[byte & 15]);
  }
  return text;
}

}  // namespace assay
