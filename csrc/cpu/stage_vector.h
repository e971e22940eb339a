// Vectors of DDARTS_LANES numbers of type DDARTS_REAL. Like the other stage_*_kernels.h, included by stage_variants.cpp
// once per instruction set, type and width, inside a namespace of its own: no include guard, and nothing of the
// standard library that the linker would share between instruction sets.

typedef DDARTS_REAL Real;
constexpr int kLanes = DDARTS_LANES;
constexpr int64_t kLongestSum = 64;  // terms that an accumulator takes before it is added to the total
typedef Real Vector __attribute__((vector_size(sizeof(Real) * kLanes)));
typedef Real Unaligned __attribute__((vector_size(sizeof(Real) * kLanes), aligned(sizeof(Real)), may_alias));

#define DDARTS_INLINE static inline __attribute__((always_inline))

DDARTS_INLINE Vector load(const Real* p) {
  return *reinterpret_cast<const Unaligned*>(p);
}

DDARTS_INLINE void store(Real* p, const Vector& v) {
  *reinterpret_cast<Unaligned*>(p) = v;
}

// Adds every lane to its own double.
DDARTS_INLINE void add_to(double* sums, const Vector& v) {
  for (int lane = 0; lane < kLanes; ++lane) sums[lane] += static_cast<double>(v[lane]);
}

static constexpr int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// How many rows of this width an accumulator may run over.
static int64_t rows_of_a_sum(int64_t width) {
  return width >= kLongestSum ? 1 : kLongestSum / width;
}
