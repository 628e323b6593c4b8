// HugeBuffer: memory aligned to 2 MiB and advised to use huge pages, so that a bandwidth is that of the memory and not
// of the page tables.
#pragma once

#include <cstddef>

namespace assay::machine {

class HugeBuffer {
 public:
  HugeBuffer() = default;
  explicit HugeBuffer(size_t bytes);  // data() is nullptr if the memory is not to be had
  ~HugeBuffer();
  HugeBuffer(HugeBuffer&& other) noexcept;
  HugeBuffer& operator=(HugeBuffer&& other) noexcept;

  [[nodiscard]] char* data() const { return data_; }
  [[nodiscard]] size_t size() const { return size_; }

 private:
  void* mapping_ = nullptr;
  size_t mapping_bytes_ = 0;
  char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace assay::machine
