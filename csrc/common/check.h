// One-line errors without source paths: what a user reads names the tensor and the value, not our files.
#pragma once

#include <sstream>
#include <stdexcept>

namespace ddarts {

template <typename... Parts>
inline void check(bool condition, const Parts&... parts) {
  if (__builtin_expect(condition, 1)) return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::runtime_error(message.str());
}

}  // namespace ddarts
