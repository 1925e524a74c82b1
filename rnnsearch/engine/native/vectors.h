// Vectors of lanes and their functions, in the compiler's own vector types: the same text serves
// AVX-512, AVX2, SSE, NEON, and gcc as well as clang. No intrinsics.
#pragma once
#include <cmath>
#include <cstring>

#ifndef RNN_LANES
#error "RNN_LANES (samples in a block) and RNN_WIDTH (samples in a vector) must be defined"
#endif
constexpr long L = RNN_LANES, W = RNN_WIDTH, NV = L / W;

typedef float V __attribute__((vector_size(RNN_WIDTH * 4)));
typedef int VI __attribute__((vector_size(RNN_WIDTH * 4)));
#define INLINE static inline __attribute__((always_inline))

constexpr float infinity = __builtin_inff(), not_a_number = __builtin_nanf("");

// The same in every lane. Not 0 + x, which costs an addition, as it makes 0 of -0.
INLINE V splat(float x) { return x - V{}; }
INLINE V load(const float* p) { return *reinterpret_cast<const V*>(p); }
// For what is used several times: compilers would rather read it from memory again at each use.
INLINE V load_once(const float* p) { return *reinterpret_cast<const volatile V*>(p); }
INLINE void store(float* p, V v) { *reinterpret_cast<V*>(p) = v; }
INLINE void store(float* p, float v) { store(p, splat(v)); }
INLINE void add_to(float* p, V v) { store(p, load(p) + v); }
INLINE void add_to(float* p, float v) { store(p, load(p) + v); }

// The words of the equations, once for lanes and once for single floats.
namespace lanes {
const V zero = V{}, one = splat(1.f);
INLINE V constant(float x) { return splat(x); }
INLINE V flag(VI m) { return reinterpret_cast<V>(m & reinterpret_cast<VI>(one)); }
INLINE V choose(V c, V a, V b) { return c != 0.f ? a : b; }
INLINE V choose(V c, float a, V b) { return choose(c, splat(a), b); }
INLINE V choose(V c, V a, float b) { return choose(c, a, splat(b)); }
INLINE V choose(V c, float a, float b) { return choose(c, splat(a), splat(b)); }
// As torch: not a number stays not a number.
INLINE V larger(V a, V b) { return (a < b) | (b != b) ? b : a; }
INLINE V smaller(V a, V b) { return (a > b) | (b != b) ? b : a; }
INLINE V absolute(V x) { return reinterpret_cast<V>(reinterpret_cast<VI>(x) & 0x7fffffff); }

template <class F> INLINE V each(V x, F f) {
  V y;
  for (long i = 0; i < W; i++) y[i] = f(x[i]);
  return y;
}
INLINE V square_root(V x) { return each(x, [](float a) { return __builtin_sqrtf(a); }); }
INLINE V sine(V x) { return each(x, [](float a) { return std::sin(a); }); }
INLINE V cosine(V x) { return each(x, [](float a) { return std::cos(a); }); }
INLINE V arcsine(V x) { return each(x, [](float a) { return std::asin(a); }); }
INLINE V arccosine(V x) { return each(x, [](float a) { return std::acos(a); }); }
INLINE V arctangent(V x) { return each(x, [](float a) { return std::atan(a); }); }
INLINE V hyperbolic_sine(V x) { return each(x, [](float a) { return std::sinh(a); }); }
INLINE V hyperbolic_cosine(V x) { return each(x, [](float a) { return std::cosh(a); }); }
INLINE V error_function(V x) { return each(x, [](float a) { return std::erf(a); }); }
INLINE V round_down(V x) { return each(x, [](float a) { return __builtin_floorf(a); }); }
INLINE V power(V x, V y) {
  V z;
  for (long i = 0; i < W; i++) z[i] = std::pow(x[i], y[i]);
  return z;
}
INLINE V remainder_towards_zero(V x, V y) {
  V z;
  for (long i = 0; i < W; i++) z[i] = std::fmod(x[i], y[i]);
  return z;
}

INLINE V bounded(V x, float low, float high) {  // not a number stays not a number
  x = x > high ? splat(high) : x;
  return x < low ? splat(low) : x;
}
// e^x = 2^k e^r with |r| <= ln(2) / 2, and a polynomial for e^r - 1 (Cephes' coefficients).
struct Split { V rest, exponent; };
INLINE Split split(V x) {
  const V magic = splat(12582912.f);  // 1.5 * 2^23: adding it rounds to the nearest integer
  const V k = (x * 1.44269504f + magic) - magic;
  return {(x - k * 0.693359375f) + k * 2.12194440e-4f, k};  // ln 2 in two parts
}
INLINE V power_of_two(V k) {  // k in [-126, 127]
  return reinterpret_cast<V>((__builtin_convertvector(k, VI) + 127) << 23);
}
INLINE V small_exponential_minus_one(V r) {
  V p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return p * r * r + r;
}
INLINE V exponential(V x) {
  const Split s = split(bounded(x, -120.f, 120.f));
  const V magic = splat(12582912.f);
  const V half = (s.exponent * 0.5f + magic) - magic;  // in two factors: 2^k may be subnormal
  const V e = small_exponential_minus_one(s.rest) + 1.f;
  return e * power_of_two(half) * power_of_two(s.exponent - half);
}
INLINE V exponential_minus_one_within(V x) {  // |x| < 87
  const Split s = split(x);
  const V scale = power_of_two(s.exponent);
  return small_exponential_minus_one(s.rest) * scale + (scale - 1.f);
}
INLINE V exponential_minus_one(V x) {
  const V y = exponential_minus_one_within(bounded(x, -80.f, 87.f));
  return x > 87.f ? exponential(x) - 1.f : y;
}
INLINE V logistic(V x) {
  const Split s = split(bounded(-x, -87.f, 87.f));
  return 1.f / ((small_exponential_minus_one(s.rest) + 1.f) * power_of_two(s.exponent) + 1.f);
}
INLINE V hyperbolic_tangent(V x) {
  const V t = exponential_minus_one_within(bounded(x + x, -20.f, 20.f));
  return t / (t + 2.f);
}
// ln x = k ln 2 + 2 artanh(s), s = (m - 1) / (m + 1), with m in [sqrt(1/2), sqrt(2)].
INLINE V logarithm(V x) {
  const VI tiny = x < 1.17549435e-38f;
  const V scaled = tiny ? x * 8388608.f : x;
  VI bits = reinterpret_cast<VI>(scaled) - 0x3f3504f3;
  const V k = __builtin_convertvector(bits >> 23, V) - (tiny ? splat(23.f) : V{});
  const V m = reinterpret_cast<V>((bits & 0x007fffff) + 0x3f3504f3);
  const V s = (m - 1.f) / (m + 1.f), q = s * s;
  V p = splat(1.f / 11);
  p = p * q + 1.f / 9;
  p = p * q + 1.f / 7;
  p = p * q + 1.f / 5;
  p = p * q + 1.f / 3;
  const V y = k * 0.693359375f + (2.f * s + (2.f * s * q * p + k * -2.12194440e-4f));
  const V ended = x == infinity ? x : y;
  const V signed_ = x < 0.f ? splat(not_a_number) : ended;
  return x == 0.f ? V{} - infinity : (x != x ? x : signed_);
}
INLINE V logarithm_plus_one(V x) {
  const V u = 1.f + x;
  const V rest = u - 1.f;
  const V y = logarithm(u) * (x / rest);  // corrects what rounding 1 + x lost
  return rest == 0.f ? x : (u == infinity ? u : y);
}
}  // namespace lanes

namespace scalar {
constexpr float zero = 0.f, one = 1.f;
INLINE float constant(float x) { return x; }
INLINE float flag(bool m) { return m ? 1.f : 0.f; }
INLINE float choose(float c, float a, float b) { return c != 0.f ? a : b; }
INLINE float larger(float a, float b) { return a < b || b != b ? b : a; }
INLINE float smaller(float a, float b) { return a > b || b != b ? b : a; }
INLINE float absolute(float x) { return std::fabs(x); }
INLINE float square_root(float x) { return std::sqrt(x); }
INLINE float sine(float x) { return std::sin(x); }
INLINE float cosine(float x) { return std::cos(x); }
INLINE float arcsine(float x) { return std::asin(x); }
INLINE float arccosine(float x) { return std::acos(x); }
INLINE float arctangent(float x) { return std::atan(x); }
INLINE float hyperbolic_sine(float x) { return std::sinh(x); }
INLINE float hyperbolic_cosine(float x) { return std::cosh(x); }
INLINE float error_function(float x) { return std::erf(x); }
INLINE float round_down(float x) { return std::floor(x); }
INLINE float power(float x, float y) { return std::pow(x, y); }
INLINE float remainder_towards_zero(float x, float y) { return std::fmod(x, y); }
INLINE float exponential(float x) { return std::exp(x); }
INLINE float exponential_minus_one(float x) { return std::expm1(x); }
INLINE float logistic(float x) { return 1.f / (1.f + std::exp(-x)); }
INLINE float hyperbolic_tangent(float x) { return std::tanh(x); }
INLINE float logarithm(float x) { return std::log(x); }
INLINE float logarithm_plus_one(float x) { return std::log1p(x); }
}  // namespace scalar

// Sum over the lanes of a vector, in halves.
template <int N> INLINE float total_of(const float* x) {
  typedef float H __attribute__((vector_size(N * 2), aligned(4)));
  H low, high;
  std::memcpy(&low, x, sizeof low);
  std::memcpy(&high, x + N / 2, sizeof high);
  low += high;
  float rest[N / 2];
  std::memcpy(rest, &low, sizeof rest);
  return total_of<N / 2>(rest);
}
template <> inline float total_of<2>(const float* x) { return x[0] + x[1]; }
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define RNN_SHUFFLES 1
#endif
#endif
INLINE float total(V v) {
#if defined(RNN_SHUFFLES) && RNN_WIDTH == 4
  v += __builtin_shufflevector(v, v, 2, 3, 0, 1);
  v += __builtin_shufflevector(v, v, 1, 0, 3, 2);
  return v[0];
#elif defined(RNN_SHUFFLES) && RNN_WIDTH == 8
  auto h = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
  h += __builtin_shufflevector(h, h, 2, 3, 0, 1);
  return h[0] + h[1];
#elif defined(RNN_SHUFFLES) && RNN_WIDTH == 16
  auto g = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
           __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  auto h = __builtin_shufflevector(g, g, 0, 1, 2, 3) + __builtin_shufflevector(g, g, 4, 5, 6, 7);
  h += __builtin_shufflevector(h, h, 2, 3, 0, 1);
  return h[0] + h[1];
#else
  float x[W];
  std::memcpy(x, &v, sizeof x);
  return total_of<W>(x);
#endif
}
