#include "pools_rows.h"

#include "../common/capability.h"

// One namespace per instruction set and accumulation type.
#define DDARTS_TABLE {pool, moments, slopes, spread}

namespace ddarts {
namespace portable {
namespace f32 {
#define DDARTS_REAL float
#include "pools_rows_real.h"
static const PoolRows<float> table = DDARTS_TABLE;
#undef DDARTS_REAL
}  // namespace f32
namespace f64 {
#define DDARTS_REAL double
#include "pools_rows_real.h"
static const PoolRows<double> table = DDARTS_TABLE;
#undef DDARTS_REAL
}  // namespace f64
}  // namespace portable

#if DDARTS_X86_VARIANTS
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace avx2 {
namespace f32 {
#define DDARTS_REAL float
#include "pools_rows_real.h"
static const PoolRows<float> table = DDARTS_TABLE;
#undef DDARTS_REAL
}  // namespace f32
namespace f64 {
#define DDARTS_REAL double
#include "pools_rows_real.h"
static const PoolRows<double> table = DDARTS_TABLE;
#undef DDARTS_REAL
}  // namespace f64
}  // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
namespace avx512 {
namespace f32 {
#define DDARTS_REAL float
#include "pools_rows_real.h"
static const PoolRows<float> table = DDARTS_TABLE;
#undef DDARTS_REAL
}  // namespace f32
namespace f64 {
#define DDARTS_REAL double
#include "pools_rows_real.h"
static const PoolRows<double> table = DDARTS_TABLE;
#undef DDARTS_REAL
}  // namespace f64
}  // namespace avx512
#pragma GCC pop_options
#endif

template <>
const PoolRows<float>& pool_rows<float>() {
  static const Capability capability = chosen_capability();
#if DDARTS_X86_VARIANTS
  if (capability == Capability::kAvx512) return avx512::f32::table;
  if (capability == Capability::kAvx2) return avx2::f32::table;
#endif
  (void)capability;
  return portable::f32::table;
}

template <>
const PoolRows<double>& pool_rows<double>() {
  static const Capability capability = chosen_capability();
#if DDARTS_X86_VARIANTS
  if (capability == Capability::kAvx512) return avx512::f64::table;
  if (capability == Capability::kAvx2) return avx2::f64::table;
#endif
  (void)capability;
  return portable::f64::table;
}

}  // namespace ddarts
