// The kernels compiled for each instruction set, type and width, and the choice between them at run time.

#include "../common/capability.h"
#include "stage_plan.h"

namespace ddarts {
namespace portable {
#define DDARTS_REGISTERS 16
namespace f32x4 {
#define DDARTS_REAL float
#define DDARTS_LANES 4
#include "stage_kernels.h"
}  // namespace f32x4
namespace f64x2 {
#define DDARTS_REAL double
#define DDARTS_LANES 2
#include "stage_kernels.h"
}  // namespace f64x2
}  // namespace portable

#if DDARTS_X86_VARIANTS
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace avx2 {
namespace f32x4 {
#define DDARTS_REAL float
#define DDARTS_LANES 4
#include "stage_kernels.h"
}  // namespace f32x4
namespace f32x8 {
#define DDARTS_REAL float
#define DDARTS_LANES 8
#include "stage_kernels.h"
}  // namespace f32x8
namespace f64x4 {
#define DDARTS_REAL double
#define DDARTS_LANES 4
#include "stage_kernels.h"
}  // namespace f64x4
}  // namespace avx2
#pragma GCC pop_options

#undef DDARTS_REGISTERS
#define DDARTS_REGISTERS 32
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
namespace avx512 {
namespace f32x16 {
#define DDARTS_REAL float
#define DDARTS_LANES 16
#include "stage_kernels.h"
}  // namespace f32x16
}  // namespace avx512
#pragma GCC pop_options
#endif
#undef DDARTS_REGISTERS

// The fewest vectors for these channels, and among those the narrowest.
template <typename Real>
static const StageTable<Real>& best_of(std::initializer_list<const StageTable<Real>*> narrow_to_wide,
                                       int64_t channels) {
  const auto vectors = [&](const StageTable<Real>* t) { return rounded_up(channels, t->lanes) / t->lanes; };
  return **std::min_element(narrow_to_wide.begin(), narrow_to_wide.end(),
                            [&](auto* a, auto* b) { return vectors(a) < vectors(b); });
}

template <>
const StageTable<float>& stage_table<float>(int64_t channels) {
#if DDARTS_X86_VARIANTS
  static const Capability capability = chosen_capability();
  if (capability == Capability::kAvx512) {
    return best_of<float>({&avx2::f32x4::table, &avx2::f32x8::table, &avx512::f32x16::table}, channels);
  }
  if (capability == Capability::kAvx2) {
    return best_of<float>({&avx2::f32x4::table, &avx2::f32x8::table}, channels);
  }
#endif
  (void)channels;
  return portable::f32x4::table;
}

template <>
const StageTable<double>& stage_table<double>(int64_t channels) {
  (void)channels;
#if DDARTS_X86_VARIANTS
  static const Capability capability = chosen_capability();
  if (capability != Capability::kDefault) return avx2::f64x4::table;
#endif
  return portable::f64x2::table;
}

}  // namespace ddarts
