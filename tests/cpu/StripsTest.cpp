//===- StripsTest.cpp - Several stages of blocks in one kernel ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What whole layers do with strips is tested in tests/ops/JoinedTest.cpp. Here:
// the numbers of one program, whose items are split over several calls, and
// what a kernel of stages without strips is told.
//
//===----------------------------------------------------------------------===//

#include "tests/cpu/CpuHarness.h"

#include <gmock/gmock.h>

#include <cmath>
#include <fstream>
#include <sstream>

using namespace quern;
using namespace quern::test;

static std::string readTile(const std::string &name) {
  std::ifstream file(std::string(QUERN_SOURCE_DIR) + "/tests/emit/tile/" +
                     name);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Strips, RunsTheStagesOfARowOneAfterTheOther) {
  for (const cpugen::CpuTarget &target : executableTargets()) {
    SCOPED_TRACE(target.name());
    CompiledProgram program(readTile("strips.mlir"), target);
    ASSERT_EQ(program.error, "");
    constexpr int64_t rows = 7, columns = 512, group = 128;
    program.allocate({rows});
    // Row m is m + 1 and, in its group 1, twice that; the sum of its squares is
    // that of 384 elements of one and 128 of the other.
    std::vector<uint16_t> x(rows * columns);
    for (int64_t m = 0; m < rows; ++m)
      for (int64_t k = 0; k < columns; ++k) {
        // As f16, exactly: 1, 2, 4, ...
        int exponent = static_cast<int>(m) - 6 + (k / group == 1);
        x[m * columns + k] = static_cast<uint16_t>((exponent + 15) << 10);
      }
    program.set("x", x);
    program.run(3);
    ASSERT_TRUE(program.intact()) << program.error;
    // The second and third buffer: q's scales and codes.
    const float *scales = program.memory[1].as<float>();
    const int8_t *codes = program.memory[2].as<int8_t>();
    for (int64_t m = 0; m < rows; ++m) {
      float value = std::ldexp(1.0f, static_cast<int>(m) - 6);
      float sum = 384 * value * value + 128 * 4 * value * value;
      for (int64_t g = 0; g < columns / group; ++g) {
        float element = (g == 1 ? 2 * value : value) / sum;
        // Rounded to f16 between the stages: 11 bits.
        float scale = scales[m * (columns / group) + g];
        EXPECT_NEAR(scale, element, element / 2048) << m << ", " << g;
        for (int64_t k = 0; k < group; ++k)
          EXPECT_EQ(codes[m * columns + g * group + k], 1);
      }
    }
  }
}

TEST(Strips, RefusesStagesThatHaveNone) {
  CompiledProgram program(
      readTile("strips_refused.mlir"),
      cpugen::CpuTarget::forLevel(cpugen::CpuLevel::Generic));
  EXPECT_THAT(program.error,
              testing::HasSubstr("its stages are not computed together: it "
                                 "skips elements"));
}
