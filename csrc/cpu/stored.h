// How numbers of a tensor are stored: as Real, or in two bytes. Plain data, free of torch and of instruction sets.
#pragma once

#include <cstdint>

namespace ddarts {

template <typename Real>
struct Stored {
  int64_t bytes = sizeof(Real);
  void (*load)(Real* to, const void* from, int64_t n) = nullptr;  // null: as Real
  void (*store)(void* to, const Real* from, int64_t n) = nullptr;
};

}  // namespace ddarts
