//===- ContractCase.h - Products as tile IR text ----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A product described by a few choices, written as a tile module. Operands are
// x (left) and w0, w1, ... (right, one per term); scales are sx[M, blocks] and
// sw0[N, blocks], ...; the result is y[batch, M, N] in f32:
//
//     int, one term:   y = (f32(acc) * sx[m]) * sw0[n]
//     two terms:       y = silu(that) * (the same of term 1)
//     float:           y = acc
//     split:           y = acc, with factors sx[m, kb] * sw[n, kb]
//     corrected:       and zx[m, kb] * zw[n, kb] added to each part, modulo
//     2^32
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_KERNELS_CONTRACTCASE_H
#define QUERN_TESTS_KERNELS_CONTRACTCASE_H

#include <cstdint>
#include <ostream>
#include <string>

namespace quern::test {

struct ContractCase {
  /// i8, ui8, f8E4M3FN, f8E5M2, f16, bf16, f32; i4 and ui4 on the right.
  std::string lhs = "i8", rhs = "i8";
  int64_t maxM = 4096; ///< Of the symbol M; 0: unbounded.
  int64_t N = 64, K = 64;
  int64_t batch = 0; ///< 0: no batch dimension.
  bool rhsHasBatch = true;
  int terms = 1;
  int64_t split = 0;
  bool corrected = false; ///< With a split of integers.
  bool lhsTransposed = false, rhsTransposed = false; ///< [K, M], [K, N].
  /// f16 or bf16 operand decoded from `codes`: i8, i4 or ui4, with a scale per
  /// row, or per `group` elements of it, and possibly zero points alike. Scales
  /// are f32, or of the operand's type.
  bool decodeRhs = false;
  std::string codes = "i8";
  int64_t group = 0;
  bool zeros = false, narrowScales = false;

  bool isFloat() const { return lhs != "i8" && lhs != "ui8"; }
  int64_t blocks() const {
    int64_t length = split ? split : group;
    return length ? (K + length - 1) / length : 1;
  }
  std::string text() const;
};

inline std::ostream &operator<<(std::ostream &out, const ContractCase &c) {
  out << c.lhs << "*" << c.rhs << " M<=" << c.maxM << " N" << c.N << " K"
      << c.K;
  if (c.batch)
    out << " batch" << c.batch << (c.rhsHasBatch ? "" : " shared rhs");
  if (c.terms > 1)
    out << " terms" << c.terms;
  if (c.split)
    out << " split" << c.split << (c.corrected ? " corrected" : "");
  if (c.lhsTransposed)
    out << " lhsT";
  if (c.rhsTransposed)
    out << " rhsT";
  if (c.decodeRhs)
    out << " decoded from " << c.codes;
  if (c.group)
    out << " group" << c.group;
  if (c.zeros)
    out << " zeros";
  if (c.narrowScales)
    out << " narrow scales";
  return out;
}

} // namespace quern::test

#endif // QUERN_TESTS_KERNELS_CONTRACTCASE_H
