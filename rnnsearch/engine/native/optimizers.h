// Optimizers on flat parameters, with torch's update rules and defaults.
#pragma once
#include <cmath>

enum OptimizerKind : long { ADAM, ADAMW, SGD, RMSPROP };

struct Optimizer {
  long kind;
  double rate, decay, clip;  // clip: largest norm of the gradient, or 0
  long updates;              // made so far
  float *first, *second;     // moments, one per parameter
};

// Norm of the gradient before clipping; scales the gradient down to `clip` if it is larger.
inline double clip_gradient(float* g, long count, double clip) {
  double squares = 0;
  for (long i = 0; i < count; i++) squares += static_cast<double>(g[i]) * g[i];
  const double norm = std::sqrt(squares);
  const double factor = clip > 0 ? clip / (norm + 1e-6) : 1;
  if (factor < 1)
    for (long i = 0; i < count; i++) g[i] *= static_cast<float>(factor);
  else if (norm != norm)
    for (long i = 0; i < count && clip > 0; i++) g[i] *= static_cast<float>(norm);
  return norm;
}

inline void update(Optimizer& o, float* p, const float* g, long count) {
  o.updates++;
  const float rate = static_cast<float>(o.rate), decay = static_cast<float>(o.decay);
  if (o.kind == ADAM || o.kind == ADAMW) {
    const double c1 = 1 - std::pow(0.9, o.updates), c2 = 1 - std::pow(0.999, o.updates);
    const float step = static_cast<float>(o.rate / c1), root = static_cast<float>(std::sqrt(c2));
    const float shrink = o.kind == ADAMW ? static_cast<float>(1 - o.rate * o.decay) : 1.f;
    const float added = o.kind == ADAM ? decay : 0.f;
    for (long i = 0; i < count; i++) {
      const float q = p[i] * shrink, gradient = g[i] + added * q;
      o.first[i] += 0.1f * (gradient - o.first[i]);
      o.second[i] = 0.999f * o.second[i] + 0.001f * gradient * gradient;
      p[i] = q - step * o.first[i] / (std::sqrt(o.second[i]) / root + 1e-8f);
    }
  } else if (o.kind == SGD) {
    for (long i = 0; i < count; i++) p[i] -= rate * (g[i] + decay * p[i]);
  } else {
    for (long i = 0; i < count; i++) {
      const float gradient = g[i] + decay * p[i];
      o.second[i] = 0.99f * o.second[i] + 0.01f * gradient * gradient;
      p[i] -= rate * gradient / (std::sqrt(o.second[i]) + 1e-8f);
    }
  }
}
