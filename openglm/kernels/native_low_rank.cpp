// What a LoRA adapter adds to a linear layer's output, row by row, in float32.

#pragma once

#include "native_threads.cpp"
#include "native_vectors.cpp"

struct Part { int64_t rank, start, width; };  // one pair: so many of the rows of `down`, these columns of y

// h[r] = down[r] . x for RANKS neighbouring rows of down, each summed in an order of its own
template <int RANKS, typename T>
static inline void project(const T* x, int64_t inputs, const float* down, float* h) {
  VF total[RANKS] = {};
  for (int64_t i = 0; i < inputs; i += LANES) {
    const int n = (int)std::min<int64_t>(LANES, inputs - i);
    const VF v = load_up_to(x + i, n);
#pragma GCC unroll 4
    for (int r = 0; r < RANKS; r++) total[r] = fused(v, load_up_to(down + r * inputs + i, n), total[r]);
  }
  for (int r = 0; r < RANKS; r++) h[r] = sum(total[r]);
}

// y += up^T down x. down (rank, inputs); up: for each part its (rank, width), end to end.
template <typename T>
static void add_low_rank_row(const T* x, int64_t inputs, const float* down, int64_t rank, const float* up,
                             const Part* parts, int64_t num_parts, T* y) {
  float* h = scratch<float>(rank, 1);
  int64_t r = 0;
  for (; r + 4 <= rank; r += 4) project<4>(x, inputs, down + r * inputs, h + r);
  for (; r < rank; r++) project<1>(x, inputs, down + r * inputs, h + r);
  for (int64_t p = 0; p < num_parts; p++) {
    const Part part = parts[p];
    for (int64_t o = 0; o < part.width; o += LANES) {
      const int n = (int)std::min<int64_t>(LANES, part.width - o);
      VF total = {};
      for (int64_t k = 0; k < part.rank; k++)
        total = fused(splat(h[k]), load_up_to(up + k * part.width + o, n), total);
      T* to = y + part.start + o;
      store_up_to(to, load_up_to(to, n) + total, n);
    }
    h += part.rank;
    up += part.rank * part.width;
  }
}
