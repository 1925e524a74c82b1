// A compiled step with memory of its own: it runs one block of lanes over time.
#pragma once
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "frame.h"

// A compiled step and its tables, as the library describes them.
struct StepSpec {
  void (*derive)(const Frame*);
  void (*forward)(const Frame*, long steps);
  void (*backward)(Frame*, long steps);
  void (*finish)(const Frame*);
  long lanes;
  const long* sizes;
  const float* constants;
  long names, input_rows, output_rows;
  long states, kept, recent, scratch;
  const long *state_rows, *kept_rows, *recent_rows, *scratch_rows;
  long summed_rows, total_size, derived_size;
};

// Floats on a cache line's boundary.
class Floats {
 public:
  explicit Floats(size_t count) : data_(static_cast<float*>(
      std::aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64 + 64))) {
    if (!data_) throw std::bad_alloc();
  }
  float* get() const { return data_.get(); }

 private:
  struct Free { void operator()(float* p) const { std::free(p); } };
  std::unique_ptr<float, Free> data_;
};

// What the blocks of one batch add up together.
struct Totals {
  explicit Totals(const StepSpec& s)
      : size(s.total_size), sums_size(s.summed_rows * s.lanes),
        floats(size + 16 + sums_size + 16 + s.derived_size + 16) {
    sums = floats.get();
    totals = sums + (sums_size + 15) / 16 * 16;
    derived = totals + (size + 15) / 16 * 16;
    std::memset(derived, 0, s.derived_size * sizeof(float));
  }
  void clear() {
    std::memset(totals, 0, size * sizeof(float));
    std::memset(sums, 0, sums_size * sizeof(float));
  }
  size_t size, sums_size;
  Floats floats;
  float *sums, *totals, *derived;
};

class Runner {
 public:
  Runner(const StepSpec& spec, long steps, Totals& totals)
      : spec_(spec), frame(), memory_(floats_needed(spec, steps)) {
    const long lanes = spec.lanes;
    float* next = memory_.get();
    const auto take = [&](long rows, long slots) {
      float* const at = next;
      next += rows * slots * lanes;
      return at;
    };
    const auto fill = [&](std::vector<float*>& at, std::vector<long>& stride, const long* rows,
                          long count, long slots) {
      for (long i = 0; i < count; i++) {
        at.push_back(take(rows[i], slots));
        stride.push_back(rows[i] * lanes);
      }
    };
    fill(state_, state_stride_, spec.state_rows, spec.states, steps + 1);
    fill(kept_, kept_stride_, spec.kept_rows, spec.kept, steps);
    fill(recent_, recent_stride_, spec.recent_rows, spec.recent, CHUNK);
    std::vector<long> unused;
    fill(scratch_, unused, spec.scratch_rows, spec.scratch, 1);
    fill(after_, unused, spec.state_rows, spec.states, 1);
    fill(before_, unused, spec.state_rows, spec.states, 1);
    frame.sizes = spec.sizes;
    frame.constants = spec.constants;
    frame.derived = totals.derived;
    frame.totals = totals.totals;
    frame.sums = totals.sums;
    frame.state = state_.data();
    frame.state_stride = state_stride_.data();
    frame.kept = kept_.data();
    frame.kept_stride = kept_stride_.data();
    frame.recent = recent_.data();
    frame.recent_stride = recent_stride_.data();
    frame.scratch = scratch_.data();
    frame.summed_rows = spec.summed_rows;
  }
  Runner(const Runner&) = delete;

  void derive() const { spec_.derive(&frame); }
  void forward(long steps) const { spec_.forward(&frame, steps); }
  // The gradients of the last state are in `last_gradient`; those of the first will be in
  // `first_gradient`.
  void backward(long steps) {
    frame.state_gradient = after_.data();
    frame.previous_gradient = before_.data();
    spec_.backward(&frame, steps);
  }
  void finish() const { spec_.finish(&frame); }

  float* state(long part, long step) const { return state_[part] + step * state_stride_[part]; }
  float* last_gradient(long part) const { return after_[part]; }
  float* first_gradient(long part) const { return frame.state_gradient[part]; }

 private:
  static size_t floats_needed(const StepSpec& s, long steps) {
    const auto sum = [](const long* rows, long count) {
      size_t total = 0;
      for (long i = 0; i < count; i++) total += rows[i];
      return total;
    };
    const size_t rows = sum(s.state_rows, s.states) * (steps + 3) + sum(s.kept_rows, s.kept) * steps +
                        sum(s.recent_rows, s.recent) * CHUNK + sum(s.scratch_rows, s.scratch);
    return rows * s.lanes;
  }

  const StepSpec& spec_;

 public:
  Frame frame;

 private:
  Floats memory_;
  std::vector<float*> state_, kept_, recent_, scratch_, after_, before_;
  std::vector<long> state_stride_, kept_stride_, recent_stride_;
};

// Samples `[sample][row]` to lanes `[row][lane]`. A block that is not full repeats its last sample;
// its gradient is zero.
inline void to_lanes(float* rows, const float* samples, long stride, long count, long width,
                     long lanes) {
  for (long l = 0; l < lanes; l++) {
    const float* sample = samples + (l < count ? l : count - 1) * stride;
    for (long i = 0; i < width; i++) rows[i * lanes + l] = sample[i];
  }
}

// The same for gradients: lanes without a sample get zero.
inline void to_lanes_or_zero(float* rows, const float* samples, long stride, long count, long width,
                             long lanes) {
  for (long l = 0; l < lanes; l++)
    for (long i = 0; i < width; i++)
      rows[i * lanes + l] = l < count ? samples[l * stride + i] : 0.f;
}

inline void from_lanes(float* samples, const float* rows, long stride, long count, long width,
                       long lanes) {
  for (long l = 0; l < count; l++)
    for (long i = 0; i < width; i++) samples[l * stride + i] = rows[i * lanes + l];
}
