#include "machine/huge_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <utility>

namespace assay::machine {

HugeBuffer::HugeBuffer(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  if (bytes == 0 || bytes > SIZE_MAX - 2 * kHugePage) return;
  const size_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* mapping = mmap(nullptr, rounded + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return;
  mapping_ = mapping;
  mapping_bytes_ = rounded + kHugePage;
  const uintptr_t address = reinterpret_cast<uintptr_t>(mapping);
  data_ = static_cast<char*>(mapping) + ((kHugePage - address % kHugePage) % kHugePage);
  size_ = rounded;
  madvise(data_, size_,
          MADV_HUGEPAGE);  // advice: without huge pages it is slower, which is then this machine's ceiling
}

HugeBuffer::~HugeBuffer() {
  if (mapping_ != nullptr) munmap(mapping_, mapping_bytes_);
}

HugeBuffer::HugeBuffer(HugeBuffer&& other) noexcept {
  *this = std::move(other);
}

HugeBuffer& HugeBuffer::operator=(HugeBuffer&& other) noexcept {
  std::swap(mapping_, other.mapping_);
  std::swap(mapping_bytes_, other.mapping_bytes_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace assay::machine
