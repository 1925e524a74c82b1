// One layer over time, forwards and backwards, on tensors of samples: the drop-in form.
#include "runner.h"

namespace {

struct Layer {
  Layer(const StepSpec& spec, long steps, long batch)
      : spec(spec), steps(steps), batch(batch), totals(spec) {
    for (long b = 0; b < batch; b += spec.lanes) {
      blocks.emplace_back(std::make_unique<Runner>(spec, steps, totals));
      inputs.emplace_back(steps * spec.input_rows * spec.lanes);
    }
  }
  long in_block(size_t k) const {
    const long left = batch - static_cast<long>(k) * spec.lanes;
    return left < spec.lanes ? left : spec.lanes;
  }
  const StepSpec spec;
  const long steps, batch;
  Totals totals;
  std::vector<std::unique_ptr<Runner>> blocks;
  std::vector<Floats> inputs;
};

}  // namespace

extern "C" {

void* rnn_layer_new(const StepSpec* spec, long steps, long batch) try {
  return new Layer(*spec, steps, batch);
} catch (const std::bad_alloc&) {
  return nullptr;
}

void rnn_layer_free(void* layer) { delete static_cast<Layer*>(layer); }

// inputs (steps, batch, input_rows), state parts (batch, rows), output (steps, batch, output_rows).
void rnn_layer_forward(void* handle, float* const* parameters, const float* inputs,
                       const float* const* state, float* output, float* const* last_state) {
  Layer& layer = *static_cast<Layer*>(handle);
  const StepSpec& s = layer.spec;
  const long L = s.lanes, m = s.input_rows, y = s.output_rows, B = layer.batch;
  Floats out(layer.steps * y * L);
  for (size_t k = 0; k < layer.blocks.size(); k++) {
    Runner& block = *layer.blocks[k];
    const long first = static_cast<long>(k) * L, count = layer.in_block(k);
    float* const x = layer.inputs[k].get();
    for (long t = 0; t < layer.steps; t++)
      to_lanes(x + t * m * L, inputs + (t * B + first) * m, m, count, m, L);
    for (long i = 0; i < s.states; i++)
      to_lanes(block.state(i, 0), state[i] + first * s.state_rows[i], s.state_rows[i], count,
               s.state_rows[i], L);
    block.frame.parameters = parameters;
    block.frame.inputs = x;
    block.frame.inputs_stride = m * L;
    block.frame.output = out.get();
    block.frame.output_stride = y * L;
    if (k == 0) block.derive();
    block.forward(layer.steps);
    for (long t = 0; t < layer.steps; t++)
      from_lanes(output + (t * B + first) * y, out.get() + t * y * L, y, count, y, L);
    for (long i = 0; i < s.states; i++)
      from_lanes(last_state[i] + first * s.state_rows[i], block.state(i, layer.steps),
                 s.state_rows[i], count, s.state_rows[i], L);
  }
}

// Gradients: of inputs may be null; those of parameters are added to.
void rnn_layer_backward(void* handle, float* const* parameters, const float* output_gradient,
                        const float* const* last_gradient, float* const* gradients,
                        float* input_gradient, float* const* state_gradient) {
  Layer& layer = *static_cast<Layer*>(handle);
  const StepSpec& s = layer.spec;
  const long L = s.lanes, m = s.input_rows, y = s.output_rows, B = layer.batch, T = layer.steps;
  Floats gy(T * y * L), gx(T * m * L);
  layer.totals.clear();
  for (size_t k = 0; k < layer.blocks.size(); k++) {
    Runner& block = *layer.blocks[k];
    const long first = static_cast<long>(k) * L, count = layer.in_block(k);
    for (long t = 0; t < T; t++)
      to_lanes_or_zero(gy.get() + t * y * L, output_gradient + (t * B + first) * y, y, count, y, L);
    for (long i = 0; i < s.states; i++)
      to_lanes_or_zero(block.last_gradient(i), last_gradient[i] + first * s.state_rows[i],
                       s.state_rows[i], count, s.state_rows[i], L);
    std::memset(gx.get(), 0, T * m * L * sizeof(float));
    block.frame.parameters = parameters;
    block.frame.gradients = gradients;
    block.frame.output_gradient = gy.get();
    block.frame.output_gradient_stride = y * L;
    block.frame.input_gradient = gx.get();
    block.frame.input_gradient_stride = m * L;
    block.backward(T);
    if (input_gradient)
      for (long t = 0; t < T; t++)
        from_lanes(input_gradient + (t * B + first) * m, gx.get() + t * m * L, m, count, m, L);
    for (long i = 0; i < s.states; i++)
      from_lanes(state_gradient[i] + first * s.state_rows[i], block.first_gradient(i),
                 s.state_rows[i], count, s.state_rows[i], L);
  }
  layer.blocks.back()->finish();
}

}  // extern "C"
