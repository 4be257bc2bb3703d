// All layers of a decoder, for a few positions, or of an encoder, for a whole source, in one call. What takes a
// decoder's time is to read weights, keys and values from memory, so each is read once, for all positions, in the order
// in which it lies there. Numbers are float32; a vector holds 16 of them, and a processor without registers of that
// width takes several.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/clone.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

using at::Tensor;
using floats = float __attribute__((vector_size(64)));
using integers = int32_t __attribute__((vector_size(64)));

static inline floats load(const float* p) { floats v; __builtin_memcpy(&v, p, 64); return v; }

static inline floats load(const c10::BFloat16* p) {  // the upper half of a float
  uint16_t __attribute__((vector_size(32))) half; __builtin_memcpy(&half, p, 32);
  auto whole = __builtin_convertvector(half, uint32_t __attribute__((vector_size(64)))) << 16;
  floats v; __builtin_memcpy(&v, &whole, 64); return v;
}

static inline floats load(const int8_t* p) {
  int8_t __attribute__((vector_size(16))) small; __builtin_memcpy(&small, p, 16);
  auto wider = __builtin_convertvector(small, int16_t __attribute__((vector_size(32))));  // a step that g++ knows
  return __builtin_convertvector(__builtin_convertvector(wider, integers), floats);
}

static inline void store(float* p, floats v, int64_t n = 16) { __builtin_memcpy(p, &v, 4 * n); }

static inline float sum(floats v) {
  using eight = float __attribute__((vector_size(32)));
  using four = float __attribute__((vector_size(16)));
  eight e[2]; __builtin_memcpy(e, &v, 64); e[0] += e[1];
  four f[2]; __builtin_memcpy(f, &e[0], 32); f[0] += f[1];
  return (f[0][0] + f[0][2]) + (f[0][1] + f[0][3]);
}

// exp(x): 2^whole times a polynomial of the rest, to a float's last digits.
static inline floats exponential(floats x) {
  x = x < -87.f ? floats{} - 87.f : x > 88.f ? floats{} + 88.f : x;
  floats scaled = x * 1.44269504f, whole = (scaled + 12582912.f) - 12582912.f;  // adding 1.5 * 2^23 rounds
  floats y = (scaled - whole) * 0.693147181f, value = floats{} + 1 / 5040.f;
  for (float c : {1 / 720.f, 1 / 120.f, 1 / 24.f, 1 / 6.f, 0.5f, 1.f, 1.f}) value = value * y + c;
  integers bits = (__builtin_convertvector(whole, integers) + 127) << 23;
  floats power; __builtin_memcpy(&power, &bits, 64); return value * power;
}

template <typename Work>
static void each_of(int64_t pieces, const Work& work) {
  at::parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) { while (begin < end) work(begin++); });
}

// Weights lie as (outputs / 32, inputs, 32): 32 outputs at a time, for N positions, in 2 N registers.
constexpr int64_t WIDE = 32, AHEAD = 2048;  // bytes, about as many as arrive in the time that memory takes to answer

template <int N, typename Weight>
static void tile(const float* x, const Weight* w, float* y, int64_t inputs, int64_t outputs, int64_t used) {
  floats left[N] = {}, right[N] = {};
  for (int64_t i = 0; i < inputs; i++, w += WIDE) {
    for (size_t line = 0; line < WIDE * sizeof(Weight); line += 64) __builtin_prefetch((char*)w + AHEAD + line);
    floats a = load(w), b = load(w + 16);
#pragma GCC unroll 16
    for (int n = 0; n < N; n++) left[n] += a * x[n * inputs + i], right[n] += b * x[n * inputs + i];
  }
  for (int n = 0; n < N; n++) {
    store(y + n * outputs, left[n], std::min<int64_t>(used, 16));
    if (used > 16) store(y + n * outputs + 16, right[n], std::min<int64_t>(used - 16, 16));
  }
}

template <typename Weight>
static void products(const float* x, const Weight* packed, float* y, int64_t n, int64_t inputs, int64_t outputs) {
  each_of((outputs + WIDE - 1) / WIDE, [&](int64_t block) {
    auto tiles = [&](auto positions, int64_t first) {
      tile<positions()>(x + first * inputs, packed + block * inputs * WIDE, y + first * outputs + block * WIDE, inputs,
                        outputs, outputs - block * WIDE);
    };
    int64_t first = 0;
    for (; n - first > 8; first += 8) tiles(std::integral_constant<int, 8>(), first);
    [&]<int... N>(std::integer_sequence<int, N...>) {
      ((n - first == N + 1 ? tiles(std::integral_constant<int, N + 1>(), first) : void()), ...);
    }(std::make_integer_sequence<int, 8>());
  });
}

// What is made of a product's output before it is stored: a scale for each output (8-bit weights), a bias.
struct Product {
  Tensor packed, bias, scale;
  int64_t outputs;

  void operator()(const float* x, float* y, int64_t n) const {
    int64_t inputs = packed.size(1);
    auto multiply = [&](auto* w) { products(x, w, y, n, inputs, outputs); };
    if (packed.scalar_type() == at::kFloat) multiply(packed.const_data_ptr<float>());
    else if (packed.scalar_type() == at::kBFloat16) multiply(packed.const_data_ptr<c10::BFloat16>());
    else multiply(packed.const_data_ptr<int8_t>());
    const float* factor = scale.defined() ? scale.const_data_ptr<float>() : nullptr;
    const float* more = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
    for (int64_t i = 0; i < n; i++, y += outputs) {
      if (factor) for (int64_t j = 0; j < outputs; j++) y[j] *= factor[j];
      if (more) for (int64_t j = 0; j < outputs; j++) y[j] += more[j];
    }
  }
};

struct Norm {
  Tensor weight, bias;  // without a bias, T5's: no mean is taken away
  float eps;

  void operator()(const float* x, float* y, int64_t n) const {
    int64_t width = weight.numel();
    const float* factor = weight.const_data_ptr<float>();
    const float* more = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
    for (int64_t i = 0; i < n; i++, x += width, y += width) {
      floats total = {}, square = {};
      if (more) for (int64_t j = 0; j < width; j += 16) total += load(x + j);
      float mean = sum(total) / width;
      for (int64_t j = 0; j < width; j += 16) square += (load(x + j) - mean) * (load(x + j) - mean);
      float scale = 1 / std::sqrt(sum(square) / width + eps);
      for (int64_t j = 0; j < width; j += 16) {
        floats value = (load(x + j) - mean) * scale * load(factor + j);
        store(y + j, more ? value + load(more + j) : value);
      }
    }
  }
};

// Keys and values of n positions, in rows of `stride` numbers, into their buffers (heads, length, size).
static void keep(const float* row, int64_t stride, Tensor& keys, Tensor& values, int64_t first, int64_t n) {
  int64_t heads = keys.size(1), length = keys.size(2), size = keys.size(3);
  for (int64_t i = first; i < first + n; i++, row += stride)
    for (int64_t h = 0; h < heads; h++) {
      const float *k = row + h * size, *v = k + heads * size;
      std::copy(k, k + size, keys.data_ptr<float>() + (h * length + i) * size);
      std::copy(v, v + size, values.data_ptr<float>() + (h * length + i) * size);
    }
}

// Query i, in rows of `stride` numbers, is at position first + i and sees `seen(i)` keys (heads, length, size).
// `distances` (heads, ...) is added to its scores: the bias of a key 1 - length, 2 - length ... positions away.
template <typename Seen>
static void attention(const float* query, int64_t stride, const Tensor& keys, const Tensor& values, const Tensor& distances,
                      float scale, float* out, int64_t first, int64_t n, Seen seen) {
  int64_t heads = keys.size(1), length = keys.size(2), size = keys.size(3);
  each_of(heads, [&](int64_t h) {
    std::vector<float> weights((length + 15) / 16 * 16);
    float* w = weights.data();
    const float* k = keys.const_data_ptr<float>() + h * length * size;
    const float* v = values.const_data_ptr<float>() + h * length * size;
    const float* here = distances.defined() ? distances.const_data_ptr<float>() + h * distances.size(1) + length - 1 : nullptr;
    for (int64_t i = 0; i < n; i++) {
      const float* q = query + i * stride + h * size;
      int64_t used = seen(i), room = (used + 15) / 16 * 16;
      float best = -INFINITY;
      for (int64_t j = 0; j < used; j++) {
        floats dots = {};
        for (int64_t d = 0; d < size; d += 16) dots += load(q + d) * load(k + j * size + d);
        w[j] = sum(dots) * scale + (here ? here[j - first - i] : 0);
        best = std::max(best, w[j]);
      }
      std::fill(w + used, w + room, -INFINITY);
      floats total = {};
      for (int64_t j = 0; j < room; j += 16) {
        floats each = exponential(load(w + j) - best);
        store(w + j, each);
        for (int64_t e = used - j; e < 16; e++) each[e] = 0;
        total += each;
      }
      float share = 1 / sum(total);
      float* y = out + (i * heads + h) * size;
      for (int64_t d = 0; d < size; d += 16) {
        floats mixed = {};
        for (int64_t j = 0; j < used; j++) mixed += load(v + j * size + d) * w[j];
        store(y + d, mixed * share);
      }
    }
  });
}

enum Activation { RELU, GELU, GELU_TANH, SILU };

static inline floats activate(floats x, int64_t kind) {
  if (kind == RELU) return x < 0 ? floats{} : x;
  if (kind == SILU) return x / (1 + exponential(-x));
  if (kind == GELU_TANH) return x / (1 + exponential(-1.59576912f * (x + 0.044715f * x * x * x)));
  floats z = x * 0.707106781f, a = z < 0 ? -z : z, t = 1 / (1 + 0.3275911f * a), series = {};  // 7.1.26 in Abramowitz, Stegun
  for (float c : {1.061405429f, -1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) series = (series + c) * t;
  floats erf = 1 - series * exponential(-a * a);
  return 0.5f * x * (1 + (z < 0 ? -erf : erf));
}

// One layer. Projections of query, key and value are one product, and so are the two of a gated feed-forward. An
// encoder's has no attention to a source.
struct Layer {
  Norm norms[3];
  Product own_in, own_out, cross_in, cross_out, up, down, source_in;
  Tensor keys, values, source_keys, source_values, distances;

  bool in_decoder() const { return source_in.packed.defined(); }
};

struct Stack {
  std::vector<Layer> layers;
  int64_t activation, gated, norm_first;
  double scale;
  std::vector<float> normed, wide, mixed, added;

  // x + block(norm(x)), or norm(x + block(x)) as in the first Transformer.
  template <typename Block>
  void residual(float* x, int64_t n, int64_t width, const Norm& norm, Block block) {
    if (norm_first) norm(x, normed.data(), n);
    else std::copy(x, x + n * width, normed.data());
    block(normed.data(), added.data());
    for (int64_t j = 0; j < n * width; j++) x[j] += added[j];
    if (!norm_first) norm(x, x, n);
  }

  void run(float* x, int64_t n, int64_t width, int64_t start, int64_t source) {
    for (Layer& layer : layers) {
      int64_t inner = layer.keys.size(1) * layer.keys.size(3), between = layer.up.outputs / (1 + gated);
      normed.resize(n * width), added.resize(n * width), mixed.resize(n * inner);
      wide.resize(n * std::max(3 * inner, layer.up.outputs));
      residual(x, n, width, layer.norms[0], [&](const float* in, float* out) {
        layer.own_in(in, wide.data(), n);
        keep(wide.data() + inner, 3 * inner, layer.keys, layer.values, start, n);
        attention(wide.data(), 3 * inner, layer.keys, layer.values, layer.distances, scale, mixed.data(), start, n,
                  [&](int64_t i) { return layer.in_decoder() ? start + i + 1 : n; });
        layer.own_out(mixed.data(), out, n);
      });
      if (layer.in_decoder())
        residual(x, n, width, layer.norms[1], [&](const float* in, float* out) {
          layer.cross_in(in, wide.data(), n);
          attention(wide.data(), inner, layer.source_keys, layer.source_values, Tensor(), scale, mixed.data(), start, n,
                    [&](int64_t) { return source; });
          layer.cross_out(mixed.data(), out, n);
        });
      residual(x, n, width, layer.norms[2], [&](const float* in, float* out) {
        layer.up(in, wide.data(), n);
        for (int64_t i = 0; i < n; i++)
          for (int64_t j = 0; j < between; j += 16) {
            const float* one = wide.data() + i * layer.up.outputs + j;
            floats value = activate(load(one), activation);
            store(wide.data() + i * between + j, gated ? value * load(one + between) : value);
          }
        layer.down(wide.data(), out, n);
      });
    }
  }

  void read(const float* states, int64_t n) {
    for (Layer& layer : layers) {
      wide.resize(n * layer.source_in.outputs);
      layer.source_in(states, wide.data(), n);
      keep(wide.data(), layer.source_in.outputs, layer.source_keys, layer.source_values, 0, n);
    }
  }
};

// Stacks by number: an operator takes tensors and numbers.
static std::vector<std::unique_ptr<Stack>> stacks;

int64_t make_stack(const c10::List<std::optional<Tensor>>& tensors, at::IntArrayRef outputs, at::IntArrayRef kinds,
                   at::ArrayRef<double> reals) {
  auto stack = std::make_unique<Stack>();
  stack->activation = kinds[0], stack->gated = kinds[1], stack->norm_first = kinds[2];
  stack->scale = reals[0];
  for (size_t next = 0; next < tensors.size();) {
    auto take = [&] { std::optional<Tensor> tensor = tensors.get(next++); return tensor ? *tensor : Tensor(); };
    Layer& layer = stack->layers.emplace_back();
    for (Norm& norm : layer.norms) norm.weight = take(), norm.bias = take(), norm.eps = reals[1];
    int which = 0;
    for (Product* product : {&layer.own_in, &layer.own_out, &layer.cross_in, &layer.cross_out, &layer.up, &layer.down,
                             &layer.source_in})
      product->packed = take(), product->bias = take(), product->scale = take(), product->outputs = outputs[which++];
    for (Tensor* tensor : {&layer.keys, &layer.values, &layer.source_keys, &layer.source_values, &layer.distances})
      *tensor = take();
  }
  auto place = std::find(stacks.begin(), stacks.end(), nullptr);
  if (place == stacks.end()) place = stacks.emplace(place);
  *place = std::move(stack);
  return place - stacks.begin();
}

void drop_stack(int64_t stack) { stacks[stack].reset(); }

static int64_t ones(const Tensor& mask) {
  const int64_t* seen = mask.const_data_ptr<int64_t>();
  return std::count_if(seen, seen + mask.numel(), [](int64_t each) { return each != 0; });
}

Tensor run_stack(int64_t stack, const Tensor& hidden, const Tensor& start, const Tensor& mask) {
  Tensor x = hidden.clone(at::MemoryFormat::Contiguous);
  int64_t first = *start.const_data_ptr<int64_t>();
  TORCH_CHECK(first + x.size(1) <= stacks[stack]->layers[0].keys.size(2), "the buffers are full");
  stacks[stack]->run(x.data_ptr<float>(), x.size(1), x.size(2), first, ones(mask));
  return x;
}

void read_source(int64_t stack, const Tensor& states, const Tensor& mask) {
  stacks[stack]->read(states.const_data_ptr<float>(), ones(mask));
}

Tensor linear(const Tensor& x, const Tensor& packed, int64_t outputs) {
  auto sizes = x.sizes().vec();
  sizes.back() = outputs;
  Tensor rows = x.contiguous(), y = at::empty(sizes, x.options());
  Product{packed, {}, {}, outputs}(rows.const_data_ptr<float>(), y.data_ptr<float>(), x.numel() / packed.size(1));
  return y;
}

TORCH_LIBRARY(specdec_lite, library) {
  library.def("linear(Tensor x, Tensor packed, int outputs) -> Tensor");
  library.def("make_stack(Tensor?[] tensors, int[] outputs, int[] kinds, float[] reals) -> int", make_stack);
  library.def("drop_stack(int stack) -> ()", drop_stack);
  library.def("run_stack(int stack, Tensor hidden, Tensor start, Tensor mask) -> Tensor");
  library.def("read_source(int stack, Tensor states, Tensor mask) -> ()");
}

TORCH_LIBRARY_IMPL(specdec_lite, CPU, library) {
  library.impl("linear", linear);
  library.impl("run_stack", run_stack);
  library.impl("read_source", read_source);
}
