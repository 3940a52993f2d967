//===- MatrixLoad.cpp - ldmatrix, stmatrix, movmatrix ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "ldmatrix", "stmatrix", "movmatrix". Lanes 8j to 8j+7 give the row
// addresses of matrix j, which goes to register j: lane l holds elements 2(l
// mod 4) and the next of row l / 4, or, with .trans, of column l / 4.
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

uint32_t half(const Words &words, uint32_t byte) {
  return words[byte / 4] >> (byte % 4 * 8) & 0xffff;
}

/// Row and column of half h (0, 1) of a lane's register.
struct Place {
  int row, column;
};
Place placeOf(int lane, int h, bool transposed) {
  Place p = {lane / 4, 2 * (lane % 4) + h};
  return transposed ? Place{p.column, p.row} : p;
}

std::string kernelName(const char *base, int count, bool transposed) {
  return std::string(base) + "_x" + std::to_string(count) +
         (transposed ? "_trans" : "");
}

void load(Bench &bench, int count, bool transposed) {
  Random &random = bench.random();
  Words data(1024);
  for (uint32_t &x : data)
    x = random.bits();
  Words offsets = rowOffsets(random);
  Words expected(32 * count);
  for (int lane = 0; lane < 32; ++lane)
    for (int j = 0; j < count; ++j)
      for (int h = 0; h < 2; ++h) {
        Place p = placeOf(lane, h, transposed);
        expected[lane * count + j] |=
            half(data, offsets[8 * j + p.row] + 2 * p.column) << 16 * h;
      }
  Buffer out = bench.output(expected.size() * 4);
  bench.launch(kernelName("ldmatrix", count, transposed), {},
               bench.input(data, "data"), bench.input(offsets, "offsets"), out);
  bench.expectBits("registers", expected, bench.read<uint32_t>(out));
}

void store(Bench &bench, int count, bool transposed) {
  Random &random = bench.random();
  Words registers(32 * count);
  for (uint32_t &x : registers)
    x = random.bits();
  Words offsets = rowOffsets(random);
  Words expected(1024, 0xcdcdcdcd);
  for (int lane = 0; lane < 32; ++lane)
    for (int j = 0; j < count; ++j)
      for (int h = 0; h < 2; ++h) {
        Place p = placeOf(lane, h, transposed);
        uint32_t byte = offsets[8 * j + p.row] + 2 * p.column;
        uint32_t shift = byte % 4 * 8;
        uint32_t &word = expected[byte / 4];
        word = (word & ~(0xffffu << shift)) |
               (registers[lane * count + j] >> 16 * h & 0xffff) << shift;
      }
  Buffer out = bench.output(4096);
  bench.launch(kernelName("stmatrix", count, transposed), {},
               bench.input(registers, "registers"),
               bench.input(offsets, "offsets"), out);
  bench.expectBits("shared memory", expected, bench.read<uint32_t>(out));
}

void move(Bench &bench) {
  Random &random = bench.random();
  Words in(32), expected(32);
  for (uint32_t &x : in)
    x = random.bits();
  for (int lane = 0; lane < 32; ++lane)
    for (int h = 0; h < 2; ++h) {
      Place p = placeOf(lane, h, true);
      int from = p.row * 4 + p.column / 2;
      expected[lane] |= (in[from] >> 16 * (p.column % 2) & 0xffff) << 16 * h;
    }
  Buffer out = bench.output(128);
  bench.launch("movmatrix", {}, bench.input(in), out);
  bench.expectBits("registers", expected, bench.read<uint32_t>(out));
}

} // namespace

std::vector<Case> conformance::matrixLoadCases() {
  std::vector<Case> cases;
  for (int count : {1, 2, 4})
    for (bool transposed : {false, true}) {
      std::string form =
          " x" + std::to_string(count) + (transposed ? " trans" : "");
      cases.push_back({"ldmatrix" + form, "matrix_load",
                       [=](Bench &bench) { load(bench, count, transposed); }});
      cases.push_back({"stmatrix" + form, "matrix_store",
                       [=](Bench &bench) { store(bench, count, transposed); }});
    }
  cases.push_back({"movmatrix", "matrix_load", move});
  return cases;
}
