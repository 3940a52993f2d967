//===- ProductKernel.cpp - The inner loops of products --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/ProductKernel.h"

#include <cmath>
#include <cstring>

#if defined(__x86_64__) && defined(__ELF__)
#define QUERN_CLONES                                                           \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define QUERN_CLONES
#endif

namespace quern::reference {

/// R rows of one panel, held in registers over the whole depth.
template <typename T, int R>
[[gnu::always_inline]] static inline void
multiplyRows(const T *a, int64_t lda, const T *b, int64_t depth, T *c) {
  constexpr int lanes = 64 / sizeof(T);
  typedef T Vector __attribute__((vector_size(64), aligned(alignof(T))));
  Vector sum[R][2] = {};
  for (int64_t k = 0; k < depth; ++k) {
    Vector b0 = *reinterpret_cast<const Vector *>(b + k * 2 * lanes);
    Vector b1 = *reinterpret_cast<const Vector *>(b + k * 2 * lanes + lanes);
    for (int i = 0; i < R; ++i) {
      T x = a[i * lda + k];
      sum[i][0] += x * b0;
      sum[i][1] += x * b1;
    }
  }
  for (int i = 0; i < R; ++i)
    for (int half = 0; half < 2; ++half)
      *reinterpret_cast<Vector *>(c + (2 * i + half) * lanes) = sum[i][half];
}

template <typename T>
[[gnu::always_inline]] static inline void multiplyAll(const T *a, int64_t lda,
                                                      const T *b, int64_t depth,
                                                      int64_t rows, T *c) {
  int64_t i = 0;
  for (; i + 6 <= rows; i += 6)
    multiplyRows<T, 6>(a + i * lda, lda, b, depth, c + i * panelWidth<T>);
  for (; i < rows; ++i)
    multiplyRows<T, 1>(a + i * lda, lda, b, depth, c + i * panelWidth<T>);
}

QUERN_CLONES void multiplyPanel(const float *a, int64_t lda, const float *b,
                                int64_t depth, int64_t rows, float *c) {
  multiplyAll(a, lda, b, depth, rows, c);
}

QUERN_CLONES void multiplyPanel(const double *a, int64_t lda, const double *b,
                                int64_t depth, int64_t rows, double *c) {
  multiplyAll(a, lda, b, depth, rows, c);
}

QUERN_CLONES void accumulateScaled(const double *part, const float *sa,
                                   const float *sb, int64_t rows,
                                   int64_t columns, float *acc) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      float &sum = acc[i * columns + j];
      sum = std::fma(static_cast<float>(part[i * columns + j]), sa[i] * sb[j],
                     sum);
    }
}

void scaleSums(const double *sa, const double *sb, int64_t rows,
               int64_t columns, double *sums) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      double &sum = sums[i * columns + j];
      sum = (static_cast<float>(sum) * static_cast<float>(sa[i])) *
            static_cast<float>(sb[j]);
    }
}

} // namespace quern::reference
