//===- HopperProblem.h - A problem for kernels/hopper.cu --------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Random operands, tensor maps and expected results of hopper_s8 and
// hopper_e4m3, and their launch under a schedule. Operands are chosen so that
// every sum is exact in f32: results must agree to the bit in any order.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_SIM_HOPPERPROBLEM_H
#define QUERN_TESTS_SIM_HOPPERPROBLEM_H

#include "tests/sim/SimHarness.h"

#include <gtest/gtest.h>
#include <random>

namespace quern::simtest {

class HopperProblem {
public:
  HopperProblem(Session &session, bool floats, unsigned m, unsigned n,
                unsigned k)
      : session(session), floats(floats), m(m), n(n), k(k),
        expected(size_t(m) * n), expectedMaxima(m) {
    // Rows are padded to what tensor maps want.
    unsigned pitch = (k + 15) / 16 * 16, pitchC = (n + 3) / 4 * 4;
    std::vector<uint8_t> a(size_t(m) * pitch), b(size_t(n) * pitch);
    std::mt19937 random(m * 31 + n * 7 + k);
    // As e4m3: 0, 1, 2 and -1, whose codes lie apart.
    static const uint8_t codes[] = {0x00, 0x38, 0x40, 0xb8};
    static const int values[] = {0, 1, 2, -1};
    auto fill = [&](std::vector<uint8_t> &matrix, std::vector<int> &numbers) {
      for (size_t i = 0; i < matrix.size(); ++i) {
        if (floats) {
          unsigned which = random() % 4;
          matrix[i] = codes[which];
          numbers.push_back(values[which]);
        } else {
          matrix[i] = static_cast<uint8_t>(random());
          numbers.push_back(static_cast<int8_t>(matrix[i]));
        }
      }
    };
    std::vector<int> numbersA, numbersB;
    fill(a, numbersA);
    fill(b, numbersB);
    for (unsigned row = 0; row < m; ++row)
      for (unsigned column = 0; column < n; ++column) {
        int sum = 0;
        for (unsigned x = 0; x < k; ++x)
          sum += numbersA[size_t(row) * pitch + x] *
                 numbersB[size_t(column) * pitch + x];
        uint32_t magnitude = bitsOf(sum < 0 ? -sum : sum);
        expected[size_t(row) * n + column] = bitsOf(sum);
        expectedMaxima[row] = std::max(expectedMaxima[row], magnitude);
      }
    pa = session.buffer("a", a, true);
    pb = session.buffer("b", b, true);
    pc = session.buffer("c", std::vector<uint32_t>(size_t(m) * pitchC));
    pMaxima = session.buffer("maxima", std::vector<uint32_t>(m));
    mapA = encode(0, pa, k, m, pitch, 128, 64);
    mapB = encode(0, pb, k, n, pitch, 128, 64);
    mapC = encode(floats ? 7 : 3, pc, n, m, pitchC * 4, 32, 64);
    rowElements = pitchC;
  }

  /// Runs the kernel; true if it reported nothing.
  bool run(uint64_t seed, uint64_t watchdog = uint64_t(1) << 22) {
    sim::SimOptions options;
    options.seed = seed;
    options.quantum = seed % 3 == 0 ? 9 : 64;
    options.watchdog = watchdog;
    session.setOptions(options);
    session.driver.memsetD8Async(pMaxima, 0, size_t(m) * 4, nullptr);
    session.driver.memsetD8Async(pc, 0xee, size_t(m) * rowElements * 4,
                                 nullptr);
    Session::Shape shape;
    shape.grid[0] = (n + 127) / 128 * 2;
    shape.grid[1] = (m + 127) / 128;
    shape.block[0] = 384;
    shape.dynamicShared = sharedBytes;
    int rows = int(m), depth = int(k);
    return session.launch(floats ? "hopper_e4m3" : "hopper_s8", shape, mapA,
                          mapB, mapC, pMaxima, rows,
                          depth) == cuda::status::Success;
  }

  /// How many results differ from the expected ones.
  size_t wrong() {
    auto c = session.read<uint32_t>(pc, size_t(m) * rowElements);
    auto maxima = session.read<uint32_t>(pMaxima, m);
    size_t count = 0;
    for (unsigned row = 0; row < m; ++row) {
      count += maxima[row] != expectedMaxima[row];
      for (unsigned column = 0; column < n; ++column)
        count += c[size_t(row) * rowElements + column] !=
                 expected[size_t(row) * n + column];
    }
    return count;
  }

  static constexpr unsigned sharedBytes =
      3 * (128 + 64) * 128 + 128 * 64 * 4 + 128 * 4 + 2 * 3 * 8;

private:
  uint32_t bitsOf(int x) const {
    if (!floats)
      return static_cast<uint32_t>(x);
    // -0 does not occur: sums begin with +0.
    float f = static_cast<float>(x);
    uint32_t bits;
    std::memcpy(&bits, &f, 4);
    return bits;
  }
  cuda::TensorMapStorage encode(int type, cuda::DevicePtr address,
                                uint64_t width, uint64_t height, uint64_t pitch,
                                unsigned boxWidth, unsigned boxHeight) {
    cuda::TensorMapStorage map = {};
    uint64_t size[] = {width, height};
    unsigned box[] = {boxWidth, boxHeight}, steps[] = {1, 1};
    EXPECT_EQ(session.driver.tensorMapEncodeTiled(
                  &map, type, 2, reinterpret_cast<void *>(address), size,
                  &pitch, box, steps, 0, 3, 0, 0),
              cuda::status::Success)
        << session.reportText();
    return map;
  }

  Session &session;
  bool floats;
  unsigned m, n, k, rowElements = 0;
  std::vector<uint32_t> expected, expectedMaxima;
  cuda::DevicePtr pa = 0, pb = 0, pc = 0, pMaxima = 0;
  cuda::TensorMapStorage mapA, mapB, mapC;
};

} // namespace quern::simtest

#endif // QUERN_TESTS_SIM_HOPPERPROBLEM_H
