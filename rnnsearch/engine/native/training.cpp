// Whole training steps of a model: samples in, parameters updated. No tensor is made on the way.
#include <algorithm>
#include <cstdint>

#include "losses.h"
#include "optimizers.h"
#include "runner.h"

namespace {

// STEP runs a compiled step; REVERSE turns each sequence around within its length; LAST and FIRST
// pick a time step; FLATTEN lays all steps side by side.
enum StageKind : long { STEP, REVERSE, LAST, FIRST, FLATTEN };

// Rows that stages hand to each other; `steps` is 1, or 0 for as many as the sequence has.
struct BufferSpec {
  long rows, steps;
};

// What happens to a block between two buffers: from which rows of the one to which of the other.
struct StageSpec {
  long kind, input, output, input_row, output_row, rows;
  const StepSpec* step;      // a compiled step, run over the steps of its input
  const StepSpec* start;     // computes its first state, or null for zeros
  const long* parameters;    // indices of the step's parameters among the model's
  const long* start_parameters;
};

struct ProgramSpec {
  long lanes, steps;  // steps: of the longest sequence
  long buffers, stages;
  const BufferSpec* buffer;
  const StageSpec* stage;
  long loss, score;
};

enum Element : long { FLOAT32, UINT8, INT8, INT16, FLOAT64 };

// A split of a data set as it lies in memory, samples first.
struct Data {
  const void* inputs;  // (samples, steps, features)
  long element, steps, features;
  const int64_t* classes;  // targets: one of the two, (samples, width)
  const float* values;
  long width;
  const int64_t* lengths;  // or null
  const double* weights;   // of a sample in a mean over batches, or null where all weigh one
};

// One member of a population: everything that differs between two runs of a program.
struct Member {
  float* flat;      // trained parameters, one after the other
  float* gradient;  // the same, of the update at hand
  long count;
  float* const* parameters;  // pointers to all of them, trained or not
  float* const* gradients;   // pointers into `gradient`, null for what is not trained
  Optimizer optimizer;
};

struct Result {
  double loss, score, norm;
};

struct Stage {
  Stage(const StageSpec& spec, long steps) : spec(spec) {
    if (spec.kind != STEP) return;
    totals = std::make_unique<Totals>(*spec.step);
    runner = std::make_unique<Runner>(*spec.step, steps, *totals);
    parameters.resize(spec.step->names);
    gradients.resize(spec.step->names);
    if (!spec.start) return;
    start_totals = std::make_unique<Totals>(*spec.start);
    start = std::make_unique<Runner>(*spec.start, 1, *start_totals);
    start_parameters.resize(spec.start->names);
    start_gradients.resize(spec.start->names);
    const size_t rows = spec.start->output_rows * spec.start->lanes;
    first_state = std::make_unique<Floats>(2 * rows + spec.start->input_rows * spec.start->lanes);
    std::memset(first_state->get() + 2 * rows, 0,
                spec.start->input_rows * spec.start->lanes * sizeof(float));
    Frame& f = start->frame;
    f.output = first_state->get();
    f.output_gradient = first_state->get() + rows;
    f.inputs = first_state->get() + 2 * rows;
    f.parameters = start_parameters.data();
    f.gradients = start_gradients.data();
  }
  StageSpec spec;
  std::unique_ptr<Totals> totals, start_totals;
  std::unique_ptr<Runner> runner, start;
  std::unique_ptr<Floats> first_state;
  std::vector<float*> parameters, gradients, start_parameters, start_gradients;
};

class Program {
 public:
  explicit Program(const ProgramSpec& spec)
      : lanes_(spec.lanes), steps_(spec.steps), loss_(spec.loss), score_(spec.score) {
    for (long i = 0; i < spec.buffers; i++) {
      specs_.push_back(spec.buffer[i]);
      const size_t size = specs_[i].rows * (specs_[i].steps ? 1 : steps_) * lanes_;
      values_.emplace_back(size);
      gradients_.emplace_back(size);
    }
    for (long i = 0; i < spec.stages; i++)
      stages_.push_back(std::make_unique<Stage>(
          spec.stage[i], specs_[spec.stage[i].input].steps ? 1 : steps_));
    length_.resize(lanes_);
  }

  // One update, or without a gradient one measurement, on a batch.
  Result run(const Data& data, const int64_t* batch, long size, Member& member, bool train) {
    const Data& d = data;
    order_.assign(batch, batch + size);
    if (d.lengths)  // neighbours of like length share a block, which stops at its longest
      std::stable_sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) {
        return d.lengths[a] > d.lengths[b];
      });
    const double counted = count(d, batch, size);
    begin(member, train);
    Measured sum;
    for (long first = 0; first < size; first += lanes_)
      block(d, order_.data() + first, std::min(lanes_, size - first), counted, train, sum);
    Result result = {sum.loss / counted, sum.score / counted, 0};
    if (!train) return result;
    for (auto& stage : stages_) {
      if (stage->spec.kind != STEP) continue;
      stage->runner->finish();
      if (stage->start) stage->start->finish();
    }
    result.norm = clip_gradient(member.gradient, member.count, member.optimizer.clip);
    update(member.optimizer, member.flat, member.gradient, member.count);
    return result;
  }

 private:
  float* values(long buffer) { return values_[buffer].get(); }
  float* gradients(long buffer) { return gradients_[buffer].get(); }
  long stride(long buffer) const { return specs_[buffer].rows * lanes_; }
  long steps_of(long buffer, long steps) const { return specs_[buffer].steps ? 1 : steps; }

  double count(const Data& d, const int64_t* batch, long size) const {
    double counted = 0;
    for (long b = 0; b < size; b++)
      for (long i = 0; i < d.width; i++) {
        const long at = batch[b] * d.width + i;
        counted += d.classes ? d.classes[at] != LEFT_OUT : d.values[at] == d.values[at];
      }
    return counted;
  }

  void begin(Member& member, bool train) {
    if (train) std::memset(member.gradient, 0, member.count * sizeof(float));
    const auto point = [&](Runner& runner, Totals& totals, const long* which,
                           std::vector<float*>& p, std::vector<float*>& g) {
      for (size_t i = 0; i < p.size(); i++) {
        p[i] = member.parameters[which[i]];
        g[i] = member.gradients[which[i]];
      }
      runner.frame.parameters = p.data();
      runner.frame.gradients = g.data();
      if (train) totals.clear();
      runner.derive();
    };
    for (auto& stage : stages_) {
      if (stage->spec.kind != STEP) continue;
      point(*stage->runner, *stage->totals, stage->spec.parameters, stage->parameters,
            stage->gradients);
      if (!stage->start) continue;
      point(*stage->start, *stage->start_totals, stage->spec.start_parameters,
            stage->start_parameters, stage->start_gradients);
      stage->start->forward(1);
    }
  }

  void block(const Data& d, const int64_t* samples, long size, double counted, bool train,
             Measured& sum) {
    long steps = d.steps;
    if (d.lengths) steps = d.lengths[samples[0]];  // the longest is first
    for (long l = 0; l < lanes_; l++)
      length_[l] = d.lengths ? d.lengths[samples[std::min(l, size - 1)]] : steps;
    load(d, samples, size, steps);
    for (auto& stage : stages_) forward(*stage, steps);
    const long last = static_cast<long>(specs_.size()) - 1;
    measure(d, samples, size, steps_of(last, steps), counted, sum);
    if (!train) return;
    for (long i = 0; i < last; i++)
      std::memset(gradients(i), 0, stride(i) * steps_of(i, steps) * sizeof(float));
    for (auto stage = stages_.rbegin(); stage != stages_.rend(); ++stage) backward(**stage, steps);
  }

  template <class T> void load_as(const Data& d, const int64_t* samples, long size, long steps) {
    const T* const inputs = static_cast<const T*>(d.inputs);
    const long sample_size = d.steps * d.features, row = stride(0);
    // A few steps at a time: what is written stays in the first-level cache.
    const long at_once = std::max(1L, 16 * 1024 / (4 * row));
    for (long first = 0; first < steps; first += at_once) {
      const long count = std::min(at_once, steps - first) * d.features;
      for (long l = 0; l < lanes_; l++) {
        const long sample = samples[std::min(l, size - 1)];
        const T* const x = inputs + sample * sample_size + first * d.features;
        float* const to = values(0) + first * row + l;
        for (long i = 0; i < count; i++) to[i * lanes_] = static_cast<float>(x[i]);
      }
    }
  }

  void load(const Data& d, const int64_t* samples, long size, long steps) {
    switch (d.element) {
      case UINT8: return load_as<uint8_t>(d, samples, size, steps);
      case INT8: return load_as<int8_t>(d, samples, size, steps);
      case INT16: return load_as<int16_t>(d, samples, size, steps);
      case FLOAT64: return load_as<double>(d, samples, size, steps);
      default: return load_as<float>(d, samples, size, steps);
    }
  }

  void forward(Stage& stage, long all_steps) {
    const StageSpec& s = stage.spec;
    const long steps = steps_of(s.input, all_steps);
    if (s.kind != STEP)
      return move(s, values(s.input), values(s.output), steps, [](float& to, float& from) { to = from; });
    Frame& f = stage.runner->frame;
    f.inputs = values(s.input);
    f.inputs_stride = stride(s.input);
    f.output = values(s.output) + s.output_row * lanes_;
    f.output_stride = stride(s.output);
    f.input_gradient = gradients(s.input);
    f.input_gradient_stride = stride(s.input);
    f.output_gradient = gradients(s.output) + s.output_row * lanes_;
    f.output_gradient_stride = stride(s.output);
    long row = 0;
    for (long i = 0; i < s.step->states; i++) {
      const long rows = s.step->state_rows[i];
      float* const state = stage.runner->state(i, 0);
      if (stage.start)
        std::memcpy(state, stage.start->frame.output + row * lanes_, rows * lanes_ * sizeof(float));
      else
        std::memset(state, 0, rows * lanes_ * sizeof(float));
      row += rows;
    }
    stage.runner->forward(steps);
  }

  void backward(Stage& stage, long all_steps) {
    const StageSpec& s = stage.spec;
    const long steps = steps_of(s.input, all_steps);
    if (s.kind != STEP)
      return move(s, gradients(s.input), gradients(s.output), steps,
                  [](float& to, float& from) { from += to; });
    for (long i = 0; i < s.step->states; i++)
      std::memset(stage.runner->last_gradient(i), 0,
                  s.step->state_rows[i] * lanes_ * sizeof(float));
    stage.runner->backward(steps);
    if (!stage.start) return;
    long row = 0;
    for (long i = 0; i < s.step->states; i++) {
      const long rows = s.step->state_rows[i];
      std::memcpy(stage.start->frame.output_gradient + row * lanes_,
                  stage.runner->first_gradient(i), rows * lanes_ * sizeof(float));
      row += rows;
    }
    stage.start->backward(1);
  }

  // Visits every element that a stage moves, where it comes from and where it goes.
  template <class F>
  void move(const StageSpec& s, float* input, float* output, long steps, F visit) {
    const long from = stride(s.input), to = stride(s.output);
    if (s.kind == FLATTEN) {
      for (long i = 0; i < from * steps; i++) visit(output[i], input[i]);
      return;
    }
    float* const a = input + s.input_row * lanes_;
    float* const b = output + s.output_row * lanes_;
    const long targets = s.kind == REVERSE ? steps : 1;
    for (long t = 0; t < targets; t++)
      for (long l = 0; l < lanes_; l++) {
        const long n = length_[l];
        const long source = s.kind == FIRST ? 0 : s.kind == LAST ? n - 1 : t < n ? n - 1 - t : t;
        for (long i = 0; i < s.rows; i++)
          visit(b[t * to + i * lanes_ + l], a[source * from + i * lanes_ + l]);
      }
  }

  void measure(const Data& d, const int64_t* samples, long size, long steps, double counted,
               Measured& sum) {
    const long last = static_cast<long>(specs_.size()) - 1, rows = specs_[last].rows;
    const float scale = static_cast<float>(1 / counted);
    for (long t = 0; t < steps; t++)
      for (long l = 0; l < lanes_; l++) {
        const float* o = values(last) + t * stride(last) + l;
        float* g = gradients(last) + t * stride(last) + l;
        bool left_out = l >= size;
        if (!left_out && d.classes) {
          const int64_t target = d.classes[samples[l] * d.width + t];
          left_out = target < 0 || target >= rows;
          if (!left_out) cross_entropy(o, g, rows, lanes_, target, scale, score_, sum);
        } else if (!left_out) {
          const float* target = d.values + samples[l] * d.width + t * rows;
          elementwise(o, g, rows, lanes_, target, scale, loss_, score_, sum);
        }
        if (left_out)
          for (long i = 0; i < rows; i++) g[i * lanes_] = 0;
      }
  }

  const long lanes_, steps_, loss_, score_;
  std::vector<BufferSpec> specs_;
  std::vector<Floats> values_, gradients_;
  std::vector<std::unique_ptr<Stage>> stages_;
  std::vector<int64_t> order_;
  std::vector<long> length_;
};

}  // namespace

extern "C" {

void* rnn_program_new(const ProgramSpec* spec) try {
  return new Program(*spec);
} catch (const std::bad_alloc&) {
  return nullptr;
}

void rnn_program_free(void* program) { delete static_cast<Program*>(program); }

// Consecutive batches of `order`; sums over the samples, as they weigh, of loss and score, over the
// batches of the gradient's norm.
void rnn_program_run(void* handle, const Data* data, const int64_t* order, long samples, long batch,
                     Member* member, long train, Result* sum) {
  Program& program = *static_cast<Program*>(handle);
  for (long first = 0; first < samples; first += batch) {
    const long size = std::min(batch, samples - first);
    const Result r = program.run(*data, order + first, size, *member, train != 0);
    double weight = size;
    if (data->weights) {
      weight = 0;
      for (long i = 0; i < size; i++) weight += data->weights[order[first + i]];
    }
    sum->loss += r.loss * weight;
    sum->score += r.score * weight;
    sum->norm += r.norm;
  }
}

// The gradient of one batch, without an update, for comparison with other engines.
void rnn_program_gradient(void* handle, const Data* data, const int64_t* order, long samples,
                          Member* member, Result* sum) {
  Member still = *member;
  std::vector<float> parameters(member->flat, member->flat + member->count);
  std::vector<float> unused(2 * member->count);
  still.optimizer = {SGD, 0, 0, 0, 0, unused.data(), unused.data() + member->count};
  rnn_program_run(handle, data, order, samples, samples, &still, 1, sum);
  std::copy(parameters.begin(), parameters.end(), member->flat);
}

}  // extern "C"
