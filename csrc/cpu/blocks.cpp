#include "blocks.h"

#include <torch/headeronly/util/Half.h>

#include "../common/capability.h"

#if DDARTS_X86_VARIANTS
#include <immintrin.h>
#endif

// One namespace per instruction set. blocks_real.h and blocks_sums.h are read for each accumulation type, blocks_once.h
// once.
#define DDARTS_REALS(name) {name::scale, name::add, name::gradient, name::total, name::dot, name::moments}
#define DDARTS_TABLE {DDARTS_REALS(f32), DDARTS_REALS(f64), load_bf16, store_bf16, load_f16, store_f16, finish_streams}

namespace ddarts {
#define DDARTS_AVX 0
namespace portable {
namespace f32 {
#define DDARTS_REAL float
#include "blocks_real.h"
#include "blocks_sums.h"
#undef DDARTS_REAL
}  // namespace f32
namespace f64 {
#define DDARTS_REAL double
#include "blocks_real.h"
#include "blocks_sums.h"
#undef DDARTS_REAL
}  // namespace f64
#include "blocks_once.h"
static const Blocks table = DDARTS_TABLE;
}  // namespace portable
#undef DDARTS_AVX

#if DDARTS_X86_VARIANTS
#define DDARTS_AVX 1
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace avx2 {
namespace f32 {
#define DDARTS_REAL float
#include "blocks_real.h"
#include "blocks_sums.h"
#undef DDARTS_REAL
}  // namespace f32
namespace f64 {
#define DDARTS_REAL double
#include "blocks_real.h"
#include "blocks_sums.h"
#undef DDARTS_REAL
}  // namespace f64
#include "blocks_once.h"
static const Blocks table = DDARTS_TABLE;
}  // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
namespace avx512 {
namespace f32 {
#define DDARTS_REAL float
#include "blocks_real.h"
#include "blocks_sums.h"
#undef DDARTS_REAL
}  // namespace f32
namespace f64 {
#define DDARTS_REAL double
#include "blocks_real.h"
#include "blocks_sums.h"
#undef DDARTS_REAL
}  // namespace f64
#include "blocks_once.h"
static const Blocks table = DDARTS_TABLE;
}  // namespace avx512
#pragma GCC pop_options
#undef DDARTS_AVX
#endif

static const Blocks& table_for(Capability capability) {
#if DDARTS_X86_VARIANTS
  if (capability == Capability::kAvx512) return avx512::table;
  if (capability == Capability::kAvx2) return avx2::table;
#endif
  (void)capability;
  return portable::table;
}

const Blocks& blocks() {
  static const Blocks& chosen = table_for(chosen_capability());
  return chosen;
}

}  // namespace ddarts
