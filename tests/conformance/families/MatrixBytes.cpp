//===- MatrixBytes.cpp - ldmatrix and stmatrix on bytes ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "ldmatrix", shapes .m16n16 and .m8n16, and "stmatrix", shape
// .m16n8. With g = lane / 4 and t = lane mod 4, byte b of register i is
//
//   m16n16.trans   row 4 t + b, column g + 8 (i mod 2) of matrix i / 2
//   m8n16          row g, column 4 t + b of matrix i
//   m16n8.trans    of matrix i, with 16 rows and 8 columns in registers: row
//                  g + 8 (b / 2), column 2 t + b mod 2; in memory its columns
//                  are rows
//
// A row in memory has 16 elements: 16 bytes, or 12 bytes and 4 of padding
// (.b6x16_p32), or 8 bytes and 8 of padding (.b4x16_p64). Narrow elements come
// in the low bits of a byte whose other bits are zero.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Bench.h"

#include <string>

using namespace quern;
using namespace quern::conformance;

namespace {

/// 16-byte rows of the 4 KiB tile, no two lanes' the same.
Words rowOffsets(Random &random) {
  Words rows(256);
  for (uint32_t i = 0; i < 256; ++i)
    rows[i] = i * 16;
  for (uint32_t i = 0; i < 32; ++i)
    std::swap(rows[i], rows[i + random.below(256 - i)]);
  rows.resize(32);
  return rows;
}

uint32_t bitAt(const Words &words, uint32_t bit) {
  return words[bit / 32] >> bit % 32 & 1;
}

/// Element `column` of the row at byte `offset`.
uint32_t elementAt(const Words &data, uint32_t offset, int column, int bits) {
  uint32_t value = 0;
  for (int i = 0; i < bits; ++i)
    value |= bitAt(data, offset * 8 + static_cast<uint32_t>(column * bits + i))
             << i;
  return value;
}

void load(Bench &bench, bool square, int bits, int count) {
  Random &random = bench.random();
  Words data(1024);
  for (uint32_t &x : data)
    x = random.bits();
  Words offsets = rowOffsets(random);
  int registers = square ? 2 * count : count;
  Words expected(32 * registers);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < registers; ++i)
      for (int b = 0; b < 4; ++b) {
        int g = lane / 4, t = lane % 4;
        int row = square ? i / 2 * 16 + 4 * t + b : i * 8 + g;
        int column = square ? g + 8 * (i % 2) : 4 * t + b;
        expected[lane * registers + i] |=
            elementAt(data, offsets[row], column, bits) << 8 * b;
      }
  Buffer out = bench.output(expected.size() * 4);
  bench.launch(std::string(square ? "load_m16n16_b" : "load_m8n16_b") +
                   std::to_string(bits) + "_x" + std::to_string(count),
               {}, bench.input(data, "data"), bench.input(offsets, "offsets"),
               out);
  bench.expectBits("registers", expected, bench.read<uint32_t>(out));
}

void store(Bench &bench, int count) {
  Random &random = bench.random();
  Words registers(32 * count);
  for (uint32_t &x : registers)
    x = random.bits();
  Words offsets = rowOffsets(random);
  Words expected(1024, 0xcdcdcdcd);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < count; ++i)
      for (int b = 0; b < 4; ++b) {
        int row = lane / 4 + 8 * (b / 2), column = 2 * (lane % 4) + b % 2;
        uint32_t byte = offsets[8 * i + column] + static_cast<uint32_t>(row);
        uint32_t shift = byte % 4 * 8;
        uint32_t &word = expected[byte / 4];
        word = (word & ~(0xffu << shift)) |
               (registers[lane * count + i] >> 8 * b & 0xff) << shift;
      }
  Buffer out = bench.output(4096);
  bench.launch("store_m16n8_x" + std::to_string(count), {},
               bench.input(registers, "registers"),
               bench.input(offsets, "offsets"), out);
  bench.expectBits("shared memory", expected, bench.read<uint32_t>(out));
}

} // namespace

std::vector<Case> conformance::matrixByteCases() {
  std::vector<Case> cases;
  for (int bits : {8, 6, 4})
    for (int count : {1, 2})
      cases.push_back({"ldmatrix m16n16 b" + std::to_string(bits) + " x" +
                           std::to_string(count),
                       "matrix_bytes",
                       [=](Bench &bench) { load(bench, true, bits, count); }});
  for (int bits : {6, 4})
    for (int count : {1, 2, 4})
      cases.push_back({"ldmatrix m8n16 b" + std::to_string(bits) + " x" +
                           std::to_string(count),
                       "matrix_bytes",
                       [=](Bench &bench) { load(bench, false, bits, count); }});
  for (int count : {1, 2, 4})
    cases.push_back({"stmatrix m16n8 b8 x" + std::to_string(count),
                     "matrix_bytes",
                     [=](Bench &bench) { store(bench, count); }});
  return cases;
}
