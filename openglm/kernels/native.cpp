// The engine's inner loops for CPUs, as Python calls them through ctypes, and the small steps between the large ones.
// build.py compiles this file alone; it draws in the others.
//
// Two promises, both tested. A row's result is the same bits whatever rows share the call: every sum runs in an
// order that depends on that row alone. And nothing is read or written through an index that was not checked.

#include "native_attention.cpp"
#include "native_linear.cpp"
#include "native_low_rank.cpp"

template <typename T> static void norm_row(const T* x, const T* weight, int64_t size, float eps, T* y) {
  VF squares = {};
  for (int64_t i = 0; i < size; i += LANES) {
    VF v = load_up_to(x + i, (int)std::min<int64_t>(LANES, size - i));
    squares = fused(v, v, squares);
  }
  float factor = 1.f / __builtin_sqrtf(sum(squares) / (float)size + eps);
  for (int64_t i = 0; i < size; i += LANES) {
    int n = (int)std::min<int64_t>(LANES, size - i);
    T rounded[LANES];  // the norm is rounded to T before the gain, as in the published models
    store(rounded, load_up_to(x + i, n) * factor);
    store_up_to(y + i, load(rounded) * load_up_to(weight + i, n), n);
  }
}

static inline float value(float x) { return x; }
static inline float value(bf16 x) { return bits_of<float>((uint32_t)x.bits << 16); }
static inline void assign(float* p, float x) { *p = x; }
static inline void assign(bf16* p, float x) { store_part(p, splat(x), 1); }

template <typename T>
static void rotate_head(T* x, const float* cos, const float* sin, int64_t half_rotary, bool interleaved) {
  for (int64_t i = 0; i < half_rotary; i++) {
    T *a = x + (interleaved ? 2 * i : i), *b = x + (interleaved ? 2 * i + 1 : half_rotary + i);
    float first = value(*a), second = value(*b);
    assign(a, first * cos[i] - second * sin[i]);
    assign(b, second * cos[i] + first * sin[i]);
  }
}
template <>
void rotate_head(float* x, const float* cos, const float* sin, int64_t half_rotary, bool interleaved) {
  if (interleaved) {
    for (int64_t i = 0; i < half_rotary; i++) {
      float first = x[2 * i], second = x[2 * i + 1];
      x[2 * i] = first * cos[i] - second * sin[i];
      x[2 * i + 1] = second * cos[i] + first * sin[i];
    }
    return;
  }
  for (int64_t i = 0; i < half_rotary; i += LANES) {
    int n = (int)std::min<int64_t>(LANES, half_rotary - i);
    VF c = load_up_to(cos + i, n), s = load_up_to(sin + i, n);
    VF first = load_up_to(x + i, n), second = load_up_to(x + half_rotary + i, n);
    store_up_to(x + i, first * c - second * s, n);
    store_up_to(x + half_rotary + i, second * c + first * s, n);
  }
}

template <typename T> static void gate_row(const T* gate, const T* up, int64_t size, T* y) {
  for (int64_t i = 0; i < size; i += LANES) {
    int n = (int)std::min<int64_t>(LANES, size - i);
    VF g = load_up_to(gate + i, n);
    T rounded[LANES];  // silu is rounded to T before the product, as two torch operations would
    store(rounded, g / (1.f + exponential(-g)));
    store_up_to(y + i, load(rounded) * load_up_to(up + i, n), n);
  }
}


// ------------------------------------------------------------------------------------------ entry points
//
// Element types: 0 float32, 1 bfloat16, 2 float16 (scales only). Non-zero results are explained in build.py.

template <typename F> static void by_type(int type, const F& f) { type ? f((bf16*)nullptr) : f((float*)nullptr); }
template <typename F> static void by_rows(int64_t rows, int64_t work, int threads, const F& f) {
  parallel(rows, work < 65536 ? 1 : threads, f);
}

extern "C" {

const char* openglm_isa() { return ISA; }

void openglm_linear(const void* x, int x_type, int64_t rows, int bits, const uint8_t* data, const void* scale,
                    const void* minimum, int scale_type, int64_t groups, const float* bias, void* y,
                    int64_t outputs, int threads) {
  by_type(x_type, [&](auto* t) {
    using T = std::remove_pointer_t<decltype(t)>;
    auto run = [&](auto* s) {
      using S = std::remove_pointer_t<decltype(s)>;
      Panels<S> w{data, (const S*)scale, (const S*)minimum, groups};
      auto go = [&](auto kernel) { kernel((const T*)x, rows, w, bias, (T*)y, outputs, threads); };
      if (bits == 4) go(minimum ? linear<4, true, S, T> : linear<4, false, S, T>);
      else go(minimum ? linear<8, true, S, T> : linear<8, false, S, T>);
    };
    scale_type ? run((half*)nullptr) : run((float*)nullptr);
  });
}

// chosen rows of y (count, outputs) += up^T down x, for x (count, inputs)
int openglm_add_low_rank(const int64_t* chosen, int64_t count, int64_t rows, const void* x, int type, int64_t inputs,
                         const float* down, int64_t rank, const float* up, const int64_t* parts, int64_t num_parts,
                         void* y, int64_t outputs, int threads) {
  for (int64_t i = 0; i < count; i++)
    if (chosen[i] < 0 || chosen[i] >= rows) return 6;
  by_type(type, [&](auto* t) {
    using T = std::remove_pointer_t<decltype(t)>;
    by_rows(count, count * rank * (inputs + outputs), threads, [&](int64_t i) {
      add_low_rank_row((const T*)x + chosen[i] * inputs, inputs, down, rank, up, (const Part*)parts, num_parts,
                       (T*)y + chosen[i] * outputs);
    });
  });
  return 0;
}

void openglm_rms_norm(const void* x, int type, int64_t rows, int64_t size, int64_t stride, const void* weight,
                      float eps, void* y, int threads) {
  by_type(type, [&](auto* t) {
    using T = std::remove_pointer_t<decltype(t)>;
    by_rows(rows, rows * size, threads, [&](int64_t r) {
      norm_row((const T*)x + r * stride, (const T*)weight, size, eps, (T*)y + r * size);
    });
  });
}

void openglm_rope(void* x, int type, int64_t rows, int64_t heads, int64_t row_stride, int64_t head_stride,
                  const float* cos, const float* sin, int64_t half_rotary, int interleaved, int threads) {
  by_type(type, [&](auto* t) {
    using T = std::remove_pointer_t<decltype(t)>;
    by_rows(rows, rows * heads * half_rotary, threads, [&](int64_t r) {
      for (int64_t h = 0; h < heads; h++)
        rotate_head((T*)x + r * row_stride + h * head_stride, cos + r * half_rotary, sin + r * half_rotary,
                    half_rotary, interleaved);
    });
  });
}

void openglm_silu_and_mul(const void* gate, const void* up, int type, int64_t rows, int64_t size,
                          int64_t gate_stride, int64_t up_stride, void* y, int threads) {
  by_type(type, [&](auto* t) {
    using T = std::remove_pointer_t<decltype(t)>;
    by_rows(rows, rows * size, threads, [&](int64_t r) {
      gate_row((const T*)gate + r * gate_stride, (const T*)up + r * up_stride, size, (T*)y + r * size);
    });
  });
}

void openglm_add(const void* a, const void* b, int type, int64_t size, void* y, int threads) {
  constexpr int64_t PIECE = 8192;
  by_type(type, [&](auto* t) {
    using T = std::remove_pointer_t<decltype(t)>;
    by_rows((size + PIECE - 1) / PIECE, size, threads, [&](int64_t piece) {
      for (int64_t i = piece * PIECE; i < std::min(size, (piece + 1) * PIECE); i += LANES) {
        int n = (int)std::min<int64_t>(LANES, size - i);
        store_up_to((T*)y + i, load_up_to((const T*)a + i, n) + load_up_to((const T*)b + i, n), n);
      }
    });
  });
}

// chosen rows of a weight in panels -> y (count, groups * GROUP)
int openglm_dequantize_rows(const int64_t* rows, int64_t count, int64_t num_rows, int bits, const uint8_t* data,
                            const void* scale, const void* minimum, int scale_type, int64_t groups, void* y,
                            int type) {
  for (int64_t r = 0; r < count; r++)
    if (rows[r] < 0 || rows[r] >= num_rows) return 5;
  by_type(type, [&](auto* t) {
    using T = std::remove_pointer_t<decltype(t)>;
    auto run = [&](auto* s) {
      using S = std::remove_pointer_t<decltype(s)>;
      const Panels<S> w{data, (const S*)scale, (const S*)minimum, groups};
      for (int64_t r = 0; r < count; r++) dequantise_row(w, bits, rows[r], (T*)y + r * groups * GROUP);
    };
    scale_type ? run((half*)nullptr) : run((float*)nullptr);
  });
  return 0;
}

// rows of (heads, dim), k and v, into cache rows of the same shape, at slots
int openglm_write_cache(const int64_t* slots, int64_t rows, int64_t num_slots, int64_t heads, int type, int cache_type,
                        const void* k, int64_t key_dim, int64_t k_row_stride, int64_t k_head_stride, void* key_cache,
                        const void* v, int64_t value_dim, int64_t v_row_stride, int64_t v_head_stride,
                        void* value_cache) {
  for (int64_t r = 0; r < rows; r++)
    if (slots[r] < 0 || slots[r] >= num_slots) return 1;
  by_type(type, [&](auto* t) {
    using T = std::remove_pointer_t<decltype(t)>;
    by_type(cache_type, [&](auto* c) {
      using C = std::remove_pointer_t<decltype(c)>;
      auto write = [&](const void* x, int64_t dim, int64_t row_stride, int64_t head_stride, void* cache) {
        for (int64_t r = 0; r < rows; r++)
          for (int64_t h = 0; h < heads; h++)
            copy_row((const T*)x + r * row_stride + h * head_stride, (C*)cache + (slots[r] * heads + h) * dim, dim);
      };
      write(k, key_dim, k_row_stride, k_head_stride, key_cache);
      write(v, value_dim, v_row_stride, v_head_stride, value_cache);
    });
  });
  return 0;
}

int openglm_paged_attention(const void* q, int q_type, int64_t rows, int64_t heads, int64_t q_row_stride,
                            int64_t q_head_stride, const void* key_cache, const void* value_cache, int cache_type,
                            int64_t num_blocks, int64_t block_size, int64_t kv_heads, int64_t key_dim,
                            int64_t value_dim, const int32_t* block_tables, int64_t max_blocks, int64_t sequences,
                            const int32_t* starts, const int32_t* lengths, const int32_t* contexts, float scale,
                            void* out, int threads) {
  std::vector<Span> spans;
  for (int64_t b = 0; b < sequences; b++) {
    const int64_t start = starts[b], length = lengths[b], context = contexts[b];
    if (length == 0) continue;
    if (start < 0 || length < 0 || start + length > rows) return 2;
    if (context < length || context > max_blocks * block_size) return 3;
    for (int64_t i = 0; i * block_size < context; i++) {
      const int32_t block = block_tables[b * max_blocks + i];
      if (block < 0 || block >= num_blocks) return 4;
    }
    for (int64_t r = 0; r < length; r += QUERY_ROWS)
      spans.push_back({b, start + r, std::min<int64_t>(QUERY_ROWS, length - r), context - length + r + 1});
  }
  const Attention a{heads, kv_heads, key_dim, value_dim, block_size, max_blocks, q_row_stride, q_head_stride,
                    scale, block_tables};
  by_type(q_type, [&](auto* t) {
    using T = std::remove_pointer_t<decltype(t)>;
    std::memset(out, 0, rows * heads * value_dim * sizeof(T));  // for rows that no sequence owns
    by_type(cache_type, [&](auto* c) {
      using C = std::remove_pointer_t<decltype(c)>;
      attend_all(a, spans, (const T*)q, (const C*)key_cache, (const C*)value_cache, (T*)out, threads);
    });
  });
  return 0;
}
}
