// The loops over time around the generated step, and the functions that the library calls.
#pragma once
#include <utility>

extern "C" {

void rnn_derive(const Frame* f) { derive(*f); }

void rnn_forward(const Frame* f, long steps) {
  for (long t = 0; t < steps; t++) step_forward(*f, t);
}

// On entry `state_gradient` is that of the last state, on return that of the first.
void rnn_backward(Frame* f, long steps) {
  for (long end = steps; end > 0;) {
    const long t0 = end > CHUNK ? end - CHUNK : 0;
    for (long t = end - 1; t >= t0; t--) {
      step_backward(*f, t, t0);
      std::swap(f->state_gradient, f->previous_gradient);
    }
    contract_steps(*f, t0, end - t0);
    end = t0;
  }
}

void rnn_finish(const Frame* f) {
  for (long row = 0; row < f->summed_rows; row++) {
    V sum = load(f->sums + row * L);
    for (long v = W; v < L; v += W) sum += load(f->sums + row * L + v);
    f->totals[row] = total(sum);
  }
  finish(*f);
}

}  // extern "C"
