// Included by pools_rows.cpp once per instruction set and accumulation type DDARTS_REAL, inside a namespace, under the
// `#pragma GCC target` of that set; it may call nothing of the standard library, which the linker would share between
// variants. Vectors of 32 bytes are written out, as in blocks_real.h.

typedef DDARTS_REAL Vector __attribute__((vector_size(32)));
typedef DDARTS_REAL Unaligned __attribute__((vector_size(32), aligned(sizeof(DDARTS_REAL)), may_alias));
constexpr int64_t kLanes = 32 / sizeof(DDARTS_REAL);
typedef uint8_t Bytes __attribute__((vector_size(kLanes)));
typedef decltype(Vector{} < Vector{}) Mask;

static inline const Unaligned& load(const DDARTS_REAL* x) {
  return *reinterpret_cast<const Unaligned*>(x);
}

static inline Unaligned& into(DDARTS_REAL* out) {
  return *reinterpret_cast<Unaligned*>(out);
}

template <int Count>
static void pool_counted(DDARTS_REAL* most, DDARTS_REAL* average, uint8_t* index, const Window<DDARTS_REAL>& window,
                         int64_t n) {
  const DDARTS_REAL* at[Count];
  for (int t = 0; t < Count; ++t) at[t] = window.at[t];
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    Vector best = load(at[0] + j), sum = best;
    Mask number = Mask{} + window.number[0];
    for (int t = 1; t < Count; ++t) {
      const Vector value = load(at[t] + j);
      const Mask larger = (value > best) | (value != value);
      best = larger ? value : best;
      number = larger ? Mask{} + window.number[t] : number;
      sum += value;
    }
    into(most + j) = best;
    into(average + j) = sum / static_cast<DDARTS_REAL>(Count);
    const Bytes narrow = __builtin_convertvector(number, Bytes);
    __builtin_memcpy(index + j, &narrow, sizeof(narrow));
  }
  for (; j < n; ++j) {
    DDARTS_REAL best = at[0][j], sum = best;
    uint8_t number = window.number[0];
    for (int t = 1; t < Count; ++t) {
      const DDARTS_REAL value = at[t][j];
      const bool larger = value > best || value != value;
      best = larger ? value : best;
      number = larger ? window.number[t] : number;
      sum += value;
    }
    most[j] = best;
    average[j] = sum / static_cast<DDARTS_REAL>(Count);
    index[j] = number;
  }
}

// A window has 1, 2 or 3 rows and as many columns.
static void pool(DDARTS_REAL* most, DDARTS_REAL* average, uint8_t* index, const Window<DDARTS_REAL>& window,
                 int64_t n) {
  switch (window.count) {
    case 1:
      return pool_counted<1>(most, average, index, window, n);
    case 2:
      return pool_counted<2>(most, average, index, window, n);
    case 3:
      return pool_counted<3>(most, average, index, window, n);
    case 4:
      return pool_counted<4>(most, average, index, window, n);
    case 6:
      return pool_counted<6>(most, average, index, window, n);
    default:
      return pool_counted<9>(most, average, index, window, n);
  }
}

static void moments(double* sum, double* square, const DDARTS_REAL* x, const DDARTS_REAL* shift, int64_t pixels,
                    int64_t channels) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    const Vector centre = load(shift + c);
    Vector first = {}, second = {};
    for (int64_t p = 0; p < pixels; ++p) {
      const Vector distance = load(x + p * channels + c) - centre;
      first += distance;
      second += distance * distance;
    }
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      sum[c + lane] += static_cast<double>(first[lane]);
      square[c + lane] += static_cast<double>(second[lane]);
    }
  }
  for (; c < channels; ++c) {
    DDARTS_REAL first = 0, second = 0;
    for (int64_t p = 0; p < pixels; ++p) {
      const DDARTS_REAL distance = x[p * channels + c] - shift[c];
      first += distance;
      second += distance * distance;
    }
    sum[c] += static_cast<double>(first);
    square[c] += static_cast<double>(second);
  }
}

static void slopes(DDARTS_REAL* most, DDARTS_REAL* average, const DDARTS_REAL* const* grads, int64_t edges,
                   const DDARTS_REAL* most_y, const DDARTS_REAL* average_y, const DDARTS_REAL* lines,
                   const DDARTS_REAL* size, int64_t pixels, int64_t channels) {
  const DDARTS_REAL* second = lines + (edges + 2) * channels;
  for (int64_t p = 0; p < pixels; ++p) {
    const int64_t at = p * channels;
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) {
      const int64_t own = edges * channels + c;
      Vector a = load(lines + own) * load(most_y + at + c) + load(lines + own + channels);
      Vector b = load(second + own) * load(average_y + at + c) + load(second + own + channels);
      for (int64_t e = 0; e < edges; ++e) {
        const Vector grad = load(grads[e] + at + c);
        a += load(lines + e * channels + c) * grad;
        b += load(second + e * channels + c) * grad;
      }
      into(most + at + c) = a;
      into(average + at + c) = b / size[p];
    }
    for (; c < channels; ++c) {
      const int64_t own = edges * channels + c;
      DDARTS_REAL a = lines[own] * most_y[at + c] + lines[own + channels];
      DDARTS_REAL b = second[own] * average_y[at + c] + second[own + channels];
      for (int64_t e = 0; e < edges; ++e) {
        a += lines[e * channels + c] * grads[e][at + c];
        b += second[e * channels + c] * grads[e][at + c];
      }
      most[at + c] = a;
      average[at + c] = b / size[p];
    }
  }
}

static void spread(DDARTS_REAL* out, const DDARTS_REAL* most, const DDARTS_REAL* average, const uint8_t* index,
                   uint8_t number, int64_t n) {
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    Bytes narrow;
    __builtin_memcpy(&narrow, index + j, sizeof(narrow));
    const Mask chosen = __builtin_convertvector(narrow, Mask) == Mask{} + number;
    into(out + j) = load(out + j) + (load(average + j) + (chosen ? load(most + j) : Vector{}));
  }
  for (; j < n; ++j) out[j] += average[j] + (index[j] == number ? most[j] : 0);
}
