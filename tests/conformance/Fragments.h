//===- Fragments.h - Elements of a warp's matrices -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "Matrix Fragments for mma.m16n8k..." and "mma.m8n8k...". With e
// elements in a 32-bit register, g = lane / 4 and t = lane mod 4, element i of
// a lane's fragment is
//
//   A   row g + 8 (i / e mod 2), column e t + i mod e + 4e (i / 2e)
//   B   row e t + i mod e + 4e (i / e), column g
//   C   row g + 8 (i / 2), column 2 t + i mod 2
//
// and of m8n8 shapes the rows of A and C below 8.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_CONFORMANCE_FRAGMENTS_H
#define QUERN_TESTS_CONFORMANCE_FRAGMENTS_H

#include "tests/conformance/Bench.h"

namespace quern::conformance {

struct Shape {
  int m, k, elementBits;

  int n() const { return 8; }
  int perRegister() const { return 32 / elementBits; }
  int aRegisters() const { return m * k / 32 / perRegister(); }
  int bRegisters() const { return 8 * k / 32 / perRegister(); }
  int accumulators() const { return m * 8 / 32; }
};

struct Place {
  int row, column;
};
inline Place placeA(const Shape &s, int lane, int i) {
  int e = s.perRegister(), g = lane / 4, t = lane % 4;
  if (s.m == 8)
    return {g, e * t + i % e};
  return {g + 8 * (i / e % 2), e * t + i % e + 4 * e * (i / (2 * e))};
}
inline Place placeB(const Shape &s, int lane, int i) {
  int e = s.perRegister(), g = lane / 4, t = lane % 4;
  return {e * t + i % e + 4 * e * (i / e), g};
}
inline Place placeC(int lane, int i) {
  int g = lane / 4, t = lane % 4;
  return {g + 8 * (i / 2), 2 * t + i % 2};
}

/// The registers of all lanes that hold matrix elements given as bits.
template <typename At>
Words fragments(const Shape &s, int registers, At bitsAt) {
  int e = s.perRegister();
  Words words(32 * registers);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < registers * e; ++i)
      words[lane * registers + i / e] |= bitsAt(lane, i)
                                         << (i % e * s.elementBits);
  return words;
}

} // namespace quern::conformance

#endif // QUERN_TESTS_CONFORMANCE_FRAGMENTS_H
