//===- ProductKernel.h - The inner loops of products ------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One loop serves both kinds of product:
//
//  * Codes of eight bits are multiplied in f32. That is exact while the sum of
//    magnitudes stays within 2^24, and 256 * 255 * 255 does: a chunk of at
//    most 256 products per f32 accumulator, the chunks added up in double.
//  * Floats are multiplied in f64: the product of two f32 is exact there, and
//    the sum is rounded to f32 once at the end.
//
// The loops are compiled several times for wider vectors and chosen at load
// time; element order does not depend on the choice, nor does a fused multiply
// and add where one is made (its products are exact either way).
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_REFERENCE_PRODUCTKERNEL_H
#define QUERN_REFERENCE_PRODUCTKERNEL_H

#include <cstdint>

namespace quern::reference {

/// Columns of a panel: two cache lines of elements.
template <typename T>
inline constexpr int64_t panelWidth = 128 / static_cast<int64_t>(sizeof(T));
/// Elements of the contracted axis in one call at most.
inline constexpr int64_t panelDepth = 256;

/// c[i][j] = sum over k of a[i * lda + k] * b[k][j], for i < rows, k < depth
/// and j < panelWidth; b and c are dense with panelWidth columns.
void multiplyPanel(const float *a, int64_t lda, const float *b, int64_t depth,
                   int64_t rows, float *c);
void multiplyPanel(const double *a, int64_t lda, const double *b, int64_t depth,
                   int64_t rows, double *c);

/// acc[i][j] = fma(f32(part[i][j]), sa[i] * sb[j], acc[i][j]).
void accumulateScaled(const double *part, const float *sa, const float *sb,
                      int64_t rows, int64_t columns, float *acc);

/// sums[i][j] = (sums[i][j] * sa[i]) * sb[j] in f32; all values are f32's. A
/// factor of 1 changes nothing.
void scaleSums(const double *sa, const double *sb, int64_t rows,
               int64_t columns, double *sums);

} // namespace quern::reference

#endif // QUERN_REFERENCE_PRODUCTKERNEL_H
