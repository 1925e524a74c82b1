// Matrix products over lanes: rows of features times constants, and contractions over time.
#pragma once
#include "vectors.h"

// Accumulators that fit into the vector registers beside the operands.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int ACCUMULATORS = 24;
#else
constexpr int ACCUMULATORS = 12;
#endif

// Vectors of a row that a product takes at once: with the accumulators and a weight, four do not fit
// into 16 registers, and would be read again for every row of the result.
constexpr long AT_ONCE = ACCUMULATORS == 12 && NV == 4 ? 2 : NV;

// Rows of lanes and the weights that multiply them.
struct Part {
  const float* rows;
  long step;  // from one row to the next, in rows
  long count;
  const float* weights;
};

// Rows that are multiplied at once: they stay in the first-level cache while the results take turns.
constexpr long ROWS_AT_ONCE = 24 * 1024 / (4 * W * AT_ONCE);

// R rows of the result at once: every loaded row of lanes is used R times.
template <int R, int N>
INLINE void product_tile(float* out, const Part* parts, long across, long along, bool first,
                         const float* bias, long bias_step, const float* bias_rows) {
  V sum[R][AT_ONCE];
  for (int r = 0; r < R; r++)
    for (long v = 0; v < AT_ONCE; v++)
      sum[r][v] = !first      ? load(out + r * L + v * W)
                  : bias      ? splat(bias[r * bias_step])
                  : bias_rows ? load(bias_rows + r * L + v * W)
                              : V{};
  for (int q = 0; q < N; q++) {
    const float *rows = parts[q].rows, *weights = parts[q].weights;
    const long step = parts[q].step * L, count = parts[q].count;
    for (long k = 0; k < count; k++, rows += step, weights += across) {
      V x[AT_ONCE];
      for (long v = 0; v < AT_ONCE; v++) x[v] = load_once(rows + v * W);
      for (int r = 0; r < R; r++) {
        const V w = splat(weights[r * along]);
        for (long v = 0; v < AT_ONCE; v++) sum[r][v] += w * x[v];
      }
    }
  }
  for (int r = 0; r < R; r++)
    for (long v = 0; v < AT_ONCE; v++) store(out + r * L + v * W, sum[r][v]);
}

// The results from low to high, in tiles.
template <int N>
static void product_block(float* out, long low, long high, const Part* parts, long across,
                          long along, bool first, const float* bias, long bias_step,
                          const float* bias_rows) {
  constexpr int R = ACCUMULATORS / AT_ONCE;
  Part moved[N];
#define RNN_ROWS(r)                                                                          \
  {                                                                                          \
    for (int q = 0; q < N; q++)                                                              \
      moved[q] = {parts[q].rows + v, parts[q].step, parts[q].count,                          \
                  parts[q].weights + j * along};                                             \
    product_tile<(r), N>(out + j * L + v, moved, across, along, first,                       \
                         bias ? bias + j * bias_step : nullptr, bias_step,                   \
                         bias_rows ? bias_rows + j * L + v : nullptr);                       \
    j += (r);                                                                                \
  }
  for (long v = 0; v < L; v += AT_ONCE * W) {
    long j = low;
    while (j + R <= high) RNN_ROWS(R)
    if constexpr (R > 8) if (j + 8 <= high) RNN_ROWS(8)
    if constexpr (R > 4) if (j + 4 <= high) RNN_ROWS(4)
    if constexpr (R > 3) if (j + 3 <= high) RNN_ROWS(3)
    if constexpr (R > 2) if (j + 2 <= high) RNN_ROWS(2)
    while (j < high) RNN_ROWS(1)
  }
#undef RNN_ROWS
}

// out[j] = bias[j] + sum over parts and k of rows[k] * weights[k * across + j * along],
// for j from low to high.
template <int N>
static void product(float* out, long low, long high, const Part (&parts)[N], long across,
                    long along, const float* bias, long bias_step, const float* bias_rows) {
  long rows = 0;
  for (int q = 0; q < N; q++) rows += parts[q].count;
  if (rows <= ROWS_AT_ONCE)
    return product_block<N>(out, low, high, parts, across, along, true, bias, bias_step, bias_rows);
  bool first = true;
  for (int q = 0; q < N; q++)
    for (long k = 0; k < parts[q].count; k += ROWS_AT_ONCE, first = false) {
      const long left = parts[q].count - k;
      const Part some = {parts[q].rows + k * parts[q].step * L, parts[q].step,
                         left < ROWS_AT_ONCE ? left : ROWS_AT_ONCE, parts[q].weights + k * across};
      product_block<1>(out, low, high, &some, across, along, first, bias, bias_step, bias_rows);
    }
}

// Rows of lanes at several time steps.
struct Rows {
  const float* first;
  long stride;  // from one time step to the next, in floats
  long count;
  long step;  // from one row to the next, in rows
};

template <int R, int C, bool DENSE>
INLINE void contract_tile(float* out, long columns, const float* a, const float* b,
                          const Rows& left, const Rows& right, long steps) {
  V sum[R][C] = {};
  const long la = DENSE ? L : left.step * L, lb = DENSE ? L : right.step * L;
  for (long t = 0; t < steps; t++, a += left.stride, b += right.stride)
    for (long v = 0; v < L; v += W) {
      V y[C];
      for (int j = 0; j < C; j++) y[j] = load_once(b + j * lb + v);
      for (int i = 0; i < R; i++) {
        const V x = load_once(a + i * la + v);
        for (int j = 0; j < C; j++) sum[i][j] += x * y[j];
      }
    }
  for (int i = 0; i < R; i++)
    for (int j = 0; j < C; j++) out[i * columns + j] += total(sum[i][j]);
}

// Tiles of rows i to i_end of the left against j to j_end of the right, from step t on.
template <bool DENSE>
static void contract_block(float* out, long columns, const Rows& left, const Rows& right, long i,
                           long i_end, long j_start, long j_end, long t, long steps) {
  constexpr int R = ACCUMULATORS >= 24 ? 6 : 4, C = ACCUMULATORS >= 24 ? 4 : 3;
  const float* const a = left.first + t * left.stride;
  const float* const b = right.first + t * right.stride;
  const long la = left.step * L, lb = right.step * L;
#define RNN_TILE(r, c)                                                                       \
  contract_tile<(r), (c), DENSE>(out + i * columns + j, columns, a + i * la, b + j * lb,     \
                                 left, right, steps)
#define RNN_BAND(r)                                     \
  {                                                     \
    long j = j_start;                                   \
    for (; j + C <= j_end; j += C) RNN_TILE(r, C);      \
    for (; j + 2 <= j_end; j += 2) RNN_TILE(r, 2);      \
    for (; j < j_end; j++) RNN_TILE(r, 1);              \
    i += (r);                                           \
  }
  while (i + R <= i_end) RNN_BAND(R)
  if constexpr (R > 4) if (i + 4 <= i_end) RNN_BAND(4)
  if constexpr (R > 3) if (i + 3 <= i_end) RNN_BAND(3)
  if constexpr (R > 2) if (i + 2 <= i_end) RNN_BAND(2)
  while (i < i_end) RNN_BAND(1)
#undef RNN_BAND
#undef RNN_TILE
}

// out[i * columns + j] += sum over steps and lanes of left[i] * right[j]. Blocks of the right stay
// in the first-level cache, blocks of the left in the second; what is small is one block.
static void contract(float* out, long columns, const Rows left, const Rows right, long steps) {
  constexpr long STEPS = 16, LEFT = 96, RIGHT = 12;
  const bool small = (left.count + right.count) * steps * L * 4 <= 256 * 1024;
  const bool dense = left.step == 1 && right.step == 1;
  const long at_once = small || steps < STEPS ? steps : STEPS;
  const long tall = small ? left.count : LEFT, wide = small ? right.count : RIGHT;
  for (long t = 0; t < steps; t += at_once) {
    const long n = steps - t < at_once ? steps - t : at_once;
    for (long i = 0; i < left.count; i += tall) {
      const long i_end = left.count - i < tall ? left.count : i + tall;
      for (long j = 0; j < right.count; j += wide) {
        const long j_end = right.count - j < wide ? right.count : j + wide;
        (dense ? contract_block<true> : contract_block<false>)(out, columns, left, right, i, i_end,
                                                               j, j_end, t, n);
      }
    }
  }
}

INLINE void copy_rows(float* to, const float* from, long rows) {
  std::memcpy(to, from, rows * L * sizeof(float));
}
