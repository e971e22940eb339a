// Which instruction set the CPU kernels use, decided once at run time.
//
// Header-only and free of torch, so that both the operator library and the host module report the same answer.
#pragma once

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

// GCC compiles the same source for several instruction sets with `#pragma GCC target`; elsewhere one build serves all.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define DDARTS_X86_VARIANTS 1
#else
#define DDARTS_X86_VARIANTS 0
#endif

namespace ddarts {

enum class Capability { kDefault = 0, kAvx2 = 1, kAvx512 = 2 };

inline const char* capability_name(Capability capability) {
  switch (capability) {
    case Capability::kAvx512:
      return "avx512";
    case Capability::kAvx2:
      return "avx2";
    default:
      return "default";
  }
}

// The best variant this machine can run.
inline Capability machine_capability() {
#if DDARTS_X86_VARIANTS
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512) return Capability::kAvx512;
  if (avx2) return Capability::kAvx2;
#endif
  return Capability::kDefault;
}

// machine_capability(), or less where DDARTS_CPU_CAPABILITY asks for less; a request for more than there is, is capped.
inline Capability chosen_capability() {
  const Capability machine = machine_capability();
  const char* wanted = std::getenv("DDARTS_CPU_CAPABILITY");
  if (wanted == nullptr || *wanted == '\0') return machine;
  for (Capability candidate : {Capability::kDefault, Capability::kAvx2, Capability::kAvx512}) {
    if (std::strcmp(wanted, capability_name(candidate)) == 0) return candidate < machine ? candidate : machine;
  }
  throw std::runtime_error("DDARTS_CPU_CAPABILITY=" + std::string(wanted) + ": allowed are default, avx2, avx512");
}

}  // namespace ddarts
