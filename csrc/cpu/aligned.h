// An array that starts on a cache line, as vectors of 64 bytes want it, and is zero.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace ddarts {

template <typename T>
class Aligned {
 public:
  Aligned() = default;
  explicit Aligned(int64_t size) {
    const size_t bytes = (static_cast<size_t>(size) * sizeof(T) + 64) / 64 * 64;
    data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
    if (!data_) throw std::bad_alloc();
    std::memset(static_cast<void*>(data_.get()), 0, bytes);
  }
  T* data() { return data_.get(); }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
};

}  // namespace ddarts
