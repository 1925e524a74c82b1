// Losses and scores of a block of lanes, with the gradient of the mean loss over a batch.
#pragma once
#include <cmath>
#include <cstdint>

// Class targets of -100 and float targets that are not a number are left out, as in the library.
constexpr int64_t LEFT_OUT = -100;

enum LossKind : long { CROSS_ENTROPY, SQUARED_ERROR, BINARY_CROSS_ENTROPY };
enum ScoreKind : long { ACCURACY, SQUARED_ERROR_SCORE, SAME_AS_LOSS };

struct Measured {
  double loss = 0, score = 0;
};

// One step of one sample: adds to the loss and the score, and writes the gradient.
// `scale` is one over what the batch's mean counts.
inline void cross_entropy(const float* o, float* g, long rows, long lanes, int64_t target,
                          float scale, long score, Measured& sum) {
  float largest = o[0];
  long best = 0;
  for (long i = 1; i < rows; i++)
    if (o[i * lanes] > largest) largest = o[i * lanes], best = i;
  float whole = 0;
  for (long i = 0; i < rows; i++) whole += g[i * lanes] = std::exp(o[i * lanes] - largest);
  const float loss = std::log(whole) + largest - o[target * lanes];
  for (long i = 0; i < rows; i++) g[i * lanes] *= scale / whole;
  g[target * lanes] -= scale;
  sum.loss += loss;
  sum.score += score == ACCURACY ? best == target : loss;
}

inline void elementwise(const float* o, float* g, long rows, long lanes, const float* target,
                        float scale, long kind, long score, Measured& sum) {
  for (long i = 0; i < rows; i++) {
    const float x = o[i * lanes], y = target[i];
    if (y != y) {
      g[i * lanes] = 0;
      continue;
    }
    const float error = x - y;
    float loss;
    if (kind == SQUARED_ERROR) {
      loss = error * error;
      g[i * lanes] = 2 * error * scale;
    } else {
      const float e = std::exp(-std::fabs(x));
      loss = (x > 0 ? x : 0) - x * y + std::log1p(e);
      g[i * lanes] = ((x >= 0 ? 1 / (1 + e) : e / (1 + e)) - y) * scale;
    }
    sum.loss += loss;
    sum.score += score == SQUARED_ERROR_SCORE ? error * error : loss;
  }
}
