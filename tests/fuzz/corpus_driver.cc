// Runs a fuzz target over a committed corpus once: every file below the folders given, and every file cut at a number of places,
// since readers break most often where an input ends early. libFuzzer needs clang; this needs any compiler.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kCuts = 24;

std::vector<uint8_t> ReadBytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// The input is copied to an allocation of exactly its size, so that a sanitizer sees a read past its end.
void Run(const uint8_t* data, size_t size) {
  const std::vector<uint8_t> exact(data, data + size);
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

}  // namespace

int main(int argc, char** argv) {
  size_t files = 0;
  Run(nullptr, 0);
  for (int i = 1; i < argc; ++i) {
    std::error_code error;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i], error)) {
      if (!entry.is_regular_file()) continue;
      const std::vector<uint8_t> bytes = ReadBytes(entry.path());
      std::fprintf(stderr, "%s\n", entry.path().c_str());  // the last line before a crash names its input
      Run(bytes.data(), bytes.size());
      for (size_t cut = 1; cut < kCuts; ++cut) Run(bytes.data(), bytes.size() * cut / kCuts);
      ++files;
    }
  }
  if (files == 0) {
    std::fprintf(stderr, "no corpus: put at least one seed into %s\n", argc > 1 ? argv[1] : "tests/fuzz/NAME/");
    return 1;
  }
  std::printf("%zu passed, 0 failed\n", files);
  return 0;
}
