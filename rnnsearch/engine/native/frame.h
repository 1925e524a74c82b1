// What the compiled code of a step is given to work on. Rows are blocks of lanes, `[row][lane]`.
#pragma once

struct Frame {
  const long* sizes;
  const float* constants;
  float* const* parameters;  // of one member of a population
  float* const* gradients;   // of the same parameters; null where none is wanted
  float* derived;            // arithmetic on parameters, and on the way to gradients
  float* totals;             // sums over samples and time
  float* sums;               // the same for rows, before the lanes are summed

  float* inputs;  // the first time step's rows; the stride leads to the next
  long inputs_stride;
  float* input_gradient;  // added to; not read where none is wanted
  long input_gradient_stride;
  float* output;
  long output_stride;
  float* output_gradient;
  long output_gradient_stride;

  float* const* state;  // slot 0 is the state before the first step
  const long* state_stride;
  float** state_gradient;     // of the state after the step at hand
  float** previous_gradient;  // of the state before it
  float* const* kept;         // a slot per time step
  const long* kept_stride;
  float* const* recent;  // a slot per time step of a chunk
  const long* recent_stride;
  float* const* scratch;
  long summed_rows;
};

// Steps whose operands are contracted at once: enough to pay for summing lanes, few enough to stay
// in the cache.
constexpr long CHUNK = 32;
