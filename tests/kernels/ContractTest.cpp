//===- ContractTest.cpp - Products executed on the simulator --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Every form of product the CUDA back end takes, at ragged sizes and under
// several schedules, against plain loops: the same bits for integer operands,
// a bound for f16 and bf16.
//
//===----------------------------------------------------------------------===//

#include "tests/kernels/ContractCase.h"
#include "tests/kernels/KernelHarness.h"
#include "tests/kernels/StrictMath.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

using namespace quern;
using namespace quern::test;

namespace {

/// Inputs of a case at one M, and what the product must give.
class Problem {
public:
  Problem(const ContractCase &c, int64_t M, uint32_t seed)
      : c(c), M(M), random(seed) {
    int64_t B = std::max<int64_t>(c.batch, 1);
    x = operand("x", c.lhs, B * M * c.K);
    for (int t = 0; t < c.terms; ++t)
      w.push_back(operand(fmt::format("w{}", t), c.decodeRhs ? c.codes : c.rhs,
                          (c.rhsHasBatch ? B : 1) * c.N * c.K,
                          c.rhsTransposed ? c.N : c.K));
    sx = scales("sx", M * c.blocks());
    for (int t = 0; t < c.terms; ++t)
      sw.push_back(
          c.narrowScales
              ? operand(fmt::format("sw{}", t), c.rhs, c.N * c.blocks())
              : scales(fmt::format("sw{}", t), c.N * c.blocks()));
    for (int t = 0; c.zeros && t < c.terms; ++t)
      zr.push_back(operand(fmt::format("zr{}", t), c.codes, c.N * c.blocks(),
                           c.blocks()));
    if (c.corrected)
      zx = integers("zx", M * c.blocks());
    for (int t = 0; c.corrected && t < c.terms; ++t)
      zw.push_back(integers(fmt::format("zw{}", t), c.N * c.blocks()));
  }

  /// Compares y; the text of the first difference or nothing.
  std::string compare() const {
    std::vector<float> y = buffers.get<float>("y");
    int64_t B = std::max<int64_t>(c.batch, 1);
    if (y.size() != static_cast<size_t>(B * M * c.N))
      return fmt::format("{} results", y.size());
    for (int64_t b = 0; b < B; ++b)
      for (int64_t m = 0; m < M; ++m)
        for (int64_t n = 0; n < c.N; ++n) {
          float got = y[(b * M + m) * c.N + n], bound = 0;
          float want = expected(b, m, n, bound);
          if (bound ? std::fabs(got - want) <= bound : sameBits(got, want))
            continue;
          return fmt::format("y[{}, {}, {}] = {} instead of {}", b, m, n, got,
                             want);
        }
    return {};
  }

  Buffers buffers;

private:
  /// Rows of four-bit codes are `row` long and begin at bytes.
  std::vector<float> operand(const std::string &name, const std::string &type,
                             int64_t count, int64_t row = 1) {
    std::vector<float> values(count);
    if (type == "i4" || type == "ui4") {
      int64_t bytes = (row + 1) / 2;
      // What is beyond a row of odd length is nobody's.
      std::vector<uint8_t> codes(row ? count / row * bytes : 0, 0xb0);
      for (int64_t i = 0; i < count; ++i) {
        uint32_t r = random() & 15;
        uint8_t &byte = codes[i / row * bytes + i % row / 2];
        int shift = i % row % 2 * 4;
        byte = static_cast<uint8_t>((byte & ~(15 << shift)) | r << shift);
        values[i] = static_cast<float>(type == "ui4" || r < 8
                                           ? static_cast<int>(r)
                                           : static_cast<int>(r) - 16);
      }
      buffers.set(name, codes);
      return values;
    }
    if (type == "i8" || type == "ui8") {
      std::vector<int8_t> codes(count);
      for (int64_t i = 0; i < count; ++i) {
        uint32_t r = random() & 0xff;
        codes[i] = static_cast<int8_t>(r);
        values[i] = type == "ui8" ? static_cast<float>(r) : codes[i];
      }
      buffers.set(name, codes);
      return values;
    }
    std::normal_distribution<float> normal;
    if (type.starts_with("f8")) {
      bool isE5M2 = type == "f8E5M2";
      std::vector<uint8_t> codes(count);
      for (int64_t i = 0; i < count; ++i) {
        // Any finite code, subnormals too, now and then; else like weights.
        codes[i] = random() % 8 == 0 ? static_cast<uint8_t>(random() & 0xfb)
                                     : toF8(normal(random), isE5M2);
        if (isE5M2 ? (codes[i] & 0x7c) == 0x7c : (codes[i] & 0x7f) == 0x7f)
          codes[i] &= 0x83;
        values[i] = fromF8(codes[i], isE5M2);
      }
      buffers.set(name, codes);
      return values;
    }
    std::vector<uint16_t> codes(count);
    for (int64_t i = 0; i < count; ++i) {
      codes[i] = toHalf(normal(random), type == "bf16");
      values[i] = fromBits(codes[i], type == "bf16");
    }
    buffers.set(name, codes);
    return values;
  }
  std::vector<uint32_t> integers(const std::string &name, int64_t count) {
    std::vector<uint32_t> values(count);
    for (uint32_t &value : values)
      value = random(); // Their products wrap.
    buffers.set(name, values);
    return values;
  }
  std::vector<float> scales(const std::string &name, int64_t count) {
    std::vector<float> values(count);
    std::uniform_real_distribution<float> uniform(0.001f, 0.02f);
    for (float &value : values)
      value = uniform(random);
    buffers.set(name, values);
    return values;
  }

  /// Element (row, k) of an operand.
  float at(const std::vector<float> &values, int64_t b, int64_t row, int64_t k,
           int64_t rows, bool transposed) const {
    return values[b * rows * c.K +
                  (transposed ? k * rows + row : row * c.K + k)];
  }
  float rhsAt(int t, int64_t b, int64_t n, int64_t k) const {
    float value = at(w[t], c.rhsHasBatch ? b : 0, n, k, c.N, c.rhsTransposed);
    if (!c.decodeRhs)
      return value;
    int64_t at = n * c.blocks() + (c.group ? k / c.group : 0);
    float number = c.zeros ? value - zr[t][at] : value;
    bool isBF16 = c.rhs == "bf16";
    return fromBits(toHalf(number * sw[t][at], isBF16), isBF16);
  }
  float expected(int64_t b, int64_t m, int64_t n, float &bound) const {
    std::vector<float> r(c.terms);
    for (int t = 0; t < c.terms; ++t) {
      int64_t g = c.split ? c.split : std::max<int64_t>(c.K, 1);
      float sum = 0;
      for (int64_t kb = 0; kb * g < c.K || kb == 0; ++kb) {
        int32_t exact = 0;
        double real = 0, absolute = 0;
        for (int64_t k = kb * g; k < std::min(c.K, (kb + 1) * g); ++k) {
          float a = at(x, b, m, k, M, c.lhsTransposed), v = rhsAt(t, b, n, k);
          if (c.isFloat()) {
            real += static_cast<double>(a) * v;
            absolute += std::fabs(static_cast<double>(a) * v);
          } else {
            exact += static_cast<int32_t>(a) * static_cast<int32_t>(v);
          }
        }
        if (c.corrected)
          exact = static_cast<int32_t>(static_cast<uint32_t>(exact) +
                                       zx[m * c.blocks() + kb] *
                                           zw[t][n * c.blocks() + kb]);
        float part =
            c.isFloat() ? static_cast<float>(real) : static_cast<float>(exact);
        float factor =
            c.split ? sx[m * c.blocks() + kb] * sw[t][n * c.blocks() + kb]
                    : 1.0f;
        if (c.isFloat()) // Sums of K terms in any order, each step rounded.
          bound += static_cast<float>(absolute * (g + 2) * 0x1p-23) * factor +
                   1e-30f;
        if (c.split) {
          sum = std::fma(part, factor, sum);
          if (c.isFloat()) // The sum so far differs, and so its rounding.
            bound += std::fabs(sum) * 0x1p-23f;
        } else {
          sum = c.isFloat() ? part : (part * sx[m]) * sw[t][n];
        }
      }
      r[t] = sum;
    }
    if (c.terms == 1)
      return r[0];
    float y = (r[0] / (1 + strictExp(-r[0]))) * r[1];
    for (int t = 2; t < c.terms; ++t)
      y = y + r[t];
    return y;
  }

  ContractCase c;
  int64_t M;
  std::mt19937 random;
  std::vector<float> x, sx;
  std::vector<std::vector<float>> w, sw, zr;
  std::vector<uint32_t> zx;
  std::vector<std::vector<uint32_t>> zw;
};

class Contract : public testing::TestWithParam<ContractCase> {};

} // namespace

static void run(const ContractCase &c, const std::string &arch,
                const std::vector<int64_t> &rows, int seeds) {
  Result<VariantDesc> variant = compileTile(c.text(), arch);
  ASSERT_TRUE(variant) << variant.error().render();
  for (const KernelDesc &kernel : variant->kernels)
    EXPECT_EQ(kernel.spillBytes, 0u) << kernel.name;
  for (int64_t M : rows)
    for (int seed = 1; seed <= seeds; ++seed) {
      Problem problem(c, M, 100 * seed + static_cast<uint32_t>(M));
      Result<void> done = runOnSimulator(*variant, {M}, problem.buffers, seed);
      ASSERT_TRUE(done) << arch << " M=" << M << " seed " << seed << "\n"
                        << done.error().render();
      std::string difference = problem.compare();
      ASSERT_TRUE(difference.empty())
          << arch << " M=" << M << " seed " << seed << ": " << difference;
    }
}

TEST_P(Contract, MatchesPlainLoops) {
  QUERN_NEEDS_NVRTC();
  const ContractCase &c = GetParam();
  std::vector<int64_t> rows;
  for (int64_t M : {1, 5, 17, 130})
    if (!c.maxM || M <= c.maxM)
      rows.push_back(M);
  // One architecture for each of NVRTC's code generators.
  run(c, "sm_80", rows, 2);
  run(c, "sm_120a", {rows.back()}, 1);
}

static std::vector<ContractCase> cases() {
  std::vector<ContractCase> list;
  auto add = [&](auto change) {
    ContractCase c;
    change(c);
    list.push_back(c);
  };
  // Alignments of K: 16-, 8- and 4-byte copies, and element loads.
  for (int64_t K : {64, 80, 72, 68, 33, 1})
    add([&](ContractCase &c) { c.K = K, c.N = K == 80 ? 136 : 37; });
  add([](ContractCase &c) { c.K = 0; });
  // Tiles for few rows.
  for (int64_t maxM : {16, 32, 64})
    add([&](ContractCase &c) { c.maxM = maxM, c.N = 136, c.K = 208; });
  add([](ContractCase &c) { c.maxM = 0, c.N = 8, c.K = 144; });
  // Signs.
  for (auto [l, r] : {std::pair("i8", "ui8"), {"ui8", "i8"}, {"ui8", "ui8"}})
    add([&](ContractCase &c) { c.lhs = l, c.rhs = r, c.K = 96; });
  // Floats.
  for (const char *type : {"f16", "bf16"})
    for (int64_t K : {64, 72, 35})
      add([&](ContractCase &c) { c.lhs = c.rhs = type, c.K = K, c.N = 40; });
  const char *e4m3 = "f8E4M3FN", *e5m2 = "f8E5M2";
  for (auto [l, r] : {std::pair(e4m3, e4m3), {e4m3, e5m2}, {e5m2, e5m2}})
    add([&](ContractCase &c) { c.lhs = l, c.rhs = r, c.K = 96, c.N = 40; });
  for (int64_t K : {33, 264})
    add([&](ContractCase &c) { c.lhs = c.rhs = e4m3, c.K = K, c.N = 40; });
  add([&](ContractCase &c) {
    c.lhs = c.rhs = e4m3, c.rhsTransposed = true, c.K = 70, c.N = 40;
  });
  // Batches.
  add([](ContractCase &c) { c.batch = 3, c.K = 48, c.N = 24; });
  add([](ContractCase &c) {
    c.batch = 2, c.K = 48, c.N = 24, c.rhsHasBatch = false;
  });
  // Several products.
  for (int terms : {2, 3, 4})
    add([&](ContractCase &c) { c.terms = terms, c.K = 96, c.N = 72; });
  add([](ContractCase &c) { c.terms = 2, c.maxM = 16, c.N = 72; });
  // Split sums.
  for (int64_t split : {32, 64, 96, 128})
    add([&](ContractCase &c) { c.split = split, c.K = 272, c.N = 40; });
  add([](ContractCase &c) { c.split = 128, c.K = 272, c.maxM = 16; });
  add([](ContractCase &c) { c.split = 64, c.K = 160, c.terms = 2; });
  for (const char *type : {"ui8", e4m3, e5m2, "f16", "bf16"})
    add([&](ContractCase &c) {
      c.lhs = c.rhs = type, c.split = 64, c.K = 160, c.N = 40;
    });
  for (int terms : {1, 2})
    add([&](ContractCase &c) {
      c.split = 64, c.K = 160, c.N = 40, c.terms = terms, c.corrected = true;
    });
  // Groups that end within a matrix step are padded.
  for (int64_t split : {1, 7, 16, 48, 100})
    add([&](ContractCase &c) { c.split = split, c.K = 110, c.N = 40; });
  for (const char *type : {"ui8", e4m3, "bf16"})
    add([&](ContractCase &c) {
      c.lhs = c.rhs = type, c.split = 24, c.K = 110, c.N = 40;
    });
  add([](ContractCase &c) {
    c.split = 24, c.K = 110, c.N = 40, c.batch = 2, c.lhsTransposed = true;
  });
  // Operands that are written out first.
  add([](ContractCase &c) { c.rhsTransposed = true, c.K = 75, c.N = 40; });
  add([](ContractCase &c) { c.lhsTransposed = true, c.K = 75, c.N = 40; });
  add([](ContractCase &c) {
    c.rhsTransposed = true, c.K = 40, c.N = 24, c.batch = 2;
  });
  add([](ContractCase &c) {
    c.lhs = c.rhs = "f16", c.decodeRhs = true, c.K = 70, c.N = 40;
  });
  // Codes of four bits, decoded on load: alignments of K, odd ones too.
  for (const char *codes : {"i4", "ui4"}) {
    for (int64_t K : {64, 320, 80, 72, 68, 34, 33, 1})
      add([&](ContractCase &c) {
        c.rhs = codes, c.K = K, c.N = K == 80 ? 136 : 37;
      });
    add([&](ContractCase &c) { c.rhs = codes, c.K = 0; });
    for (int64_t maxM : {16, 32, 64})
      add([&](ContractCase &c) {
        c.rhs = codes, c.maxM = maxM, c.N = 136, c.K = 208;
      });
    add([&](ContractCase &c) { c.lhs = "ui8", c.rhs = codes, c.K = 96; });
    for (int64_t split : {32, 96, 128})
      for (int64_t maxM : {16, 4096})
        add([&](ContractCase &c) {
          c.rhs = codes, c.split = split, c.K = 272, c.N = 40, c.maxM = maxM;
          c.corrected = split != 96;
        });
    for (int terms : {2, 4})
      add([&](ContractCase &c) {
        c.rhs = codes, c.terms = terms, c.K = 96, c.N = 72;
      });
    add([&](ContractCase &c) {
      c.rhs = codes, c.batch = 3, c.K = 50, c.N = 24;
    });
    add([&](ContractCase &c) {
      c.rhs = codes, c.batch = 2, c.K = 48, c.N = 24, c.rhsHasBatch = false;
    });
    // Written out first.
    add([&](ContractCase &c) {
      c.rhs = codes, c.rhsTransposed = true, c.K = 75, c.N = 41;
    });
    add([&](ContractCase &c) {
      c.rhs = codes, c.split = 48, c.K = 110, c.N = 40;
    });
    // And those that become floats.
    for (const char *type : {"f16", "bf16"}) {
      auto wide = [&](auto change) {
        add([&](ContractCase &c) {
          c.lhs = c.rhs = type, c.decodeRhs = true, c.codes = codes, c.N = 40;
          change(c);
        });
      };
      for (int64_t K : {64, 320, 72, 35, 1})
        wide([&](ContractCase &c) { c.K = K, c.zeros = K == 320; });
      for (int64_t group : {32, 64, 96, 128, 48})
        for (int64_t maxM : {16, 4096})
          wide([&](ContractCase &c) {
            c.group = group, c.K = 290, c.maxM = maxM, c.zeros = group != 64;
          });
      // Scales that pairs of halves are multiplied with: the same bits, which
      // one element of K would show.
      wide([&](ContractCase &c) {
        c.K = 1, c.N = 2000, c.zeros = true, c.narrowScales = true;
      });
      for (int64_t group : {0, 32, 128})
        for (bool zeros : {false, true})
          wide([&](ContractCase &c) {
            c.group = group, c.K = group == 32 ? 161 : 192;
            c.maxM = group == 128 ? 4096 : 16;
            c.zeros = zeros, c.narrowScales = true;
          });
      wide([&](ContractCase &c) { c.maxM = 32, c.K = 128, c.N = 136; });
      wide([&](ContractCase &c) {
        c.terms = 2, c.group = 32, c.K = 96, c.zeros = true;
      });
      wide([&](ContractCase &c) { c.rhsTransposed = true, c.K = 70; });
    }
  }
  return list;
}

INSTANTIATE_TEST_SUITE_P(Forms, Contract, testing::ValuesIn(cases()));

TEST(ContractCost, SharedMemoryMeetsNoBankConflict) {
  QUERN_NEEDS_NVRTC();
  // Rows of 64 and of 128 bytes; 32 by a split.
  for (auto [maxM, split] : {std::pair(4096, 0), {16, 0}, {4096, 32}}) {
    ContractCase c;
    c.maxM = maxM, c.N = 128, c.K = 256, c.split = split;
    Result<VariantDesc> variant = compileTile(c.text(), "sm_80");
    ASSERT_TRUE(variant) << variant.error().render();
    int64_t M = std::min<int64_t>(maxM, 128);
    Problem problem(c, M, 1);
    sim::Counters counters;
    Result<void> done =
        runOnSimulator(*variant, {M}, problem.buffers, 1, &counters);
    ASSERT_TRUE(done) << done.error().render();
    EXPECT_GT(counters.sharedRequests, 0u);
    EXPECT_EQ(counters.sharedBankConflicts, 0u) << variant->kernels[0].schedule;
    // Operands and scales, each byte of them; results, each once.
    uint64_t codes = uint64_t(M + c.N) * c.K;
    uint64_t scales = uint64_t(M + c.N) * c.blocks() * 4;
    EXPECT_EQ(counters.globalUniqueBytesRead, codes + scales);
    EXPECT_EQ(counters.globalUniqueBytesWritten, uint64_t(M) * c.N * 4);
    EXPECT_EQ(counters.globalBytesWritten, uint64_t(M) * c.N * 4);
  }
}

TEST(ContractCost, PackedCodesAreReadAsTheyAre) {
  QUERN_NEEDS_NVRTC();
  // Every product reads half the bytes of its codes, in half the sectors, and
  // no kernel writes them wider.
  struct Row {
    const char *lhs, *codes;
    int64_t maxM, split, group;
  };
  for (const Row &row : {Row{"i8", "i4", 4096, 0, 0},
                         {"i8", "ui4", 16, 0, 0},
                         {"i8", "i4", 4096, 128, 0},
                         {"i8", "i4", 4096, 32, 0},
                         {"i8", "ui4", 16, 32, 0},
                         {"f16", "ui4", 4096, 0, 128},
                         {"f16", "i4", 16, 0, 32},
                         {"bf16", "i4", 64, 0, 0}}) {
    ContractCase c;
    c.lhs = row.lhs, c.maxM = row.maxM, c.N = 128, c.K = 512;
    c.split = row.split, c.group = row.group;
    c.decodeRhs = c.isFloat();
    (c.decodeRhs ? c.codes : c.rhs) = row.codes;
    if (c.decodeRhs)
      c.rhs = c.lhs;
    int64_t M = std::min<int64_t>(c.maxM, 128);
    auto countersOf = [&](const ContractCase &product,
                          sim::Counters &counters) {
      Result<VariantDesc> variant = compileTile(product.text(), "sm_80");
      ASSERT_TRUE(variant) << variant.error().render();
      Problem problem(product, M, 1);
      Result<void> done =
          runOnSimulator(*variant, {M}, problem.buffers, 1, &counters);
      ASSERT_TRUE(done) << done.error().render();
      EXPECT_EQ(problem.compare(), "") << product;
      if (&product == &c) {
        EXPECT_EQ(variant->kernels.size(), 1u) << c;
      }
    };
    // The same product of codes that are twice as wide.
    ContractCase wide = c;
    (c.decodeRhs ? wide.codes : wide.rhs) =
        row.codes[0] == 'u' && !c.decodeRhs ? "ui8" : "i8";
    sim::Counters narrow, twice;
    countersOf(c, narrow);
    countersOf(wide, twice);
    EXPECT_EQ(narrow.sharedBankConflicts, 0u) << c;
    EXPECT_GT(narrow.sharedRequests, 0u) << c;
    uint64_t codes = uint64_t(c.N) * c.K / 2;
    uint64_t scales = uint64_t(c.N) * c.blocks() * 4;
    uint64_t lefts = uint64_t(M) * c.K * (c.isFloat() ? 2 : 1);
    uint64_t others = c.isFloat() ? 0 : uint64_t(M) * c.blocks() * 4;
    EXPECT_EQ(narrow.globalUniqueBytesRead, codes + scales + lefts + others)
        << c;
    if (c.isFloat()) {
      // The wider product's codes were written as values and read again.
      EXPECT_LT(narrow.globalSectors, twice.globalSectors) << c;
    } else {
      EXPECT_EQ(twice.globalSectors - narrow.globalSectors, codes / 32) << c;
    }
  }
}

/// Whether a product edited in PTX is caught, by a report of the simulator or
/// by a wrong value, under one of a few schedules.
static bool isCaught(const std::string &from, const std::string &to) {
  ContractCase c;
  c.N = 72, c.K = 400;
  Result<VariantDesc> variant = compileTile(c.text(), "sm_80");
  if (!variant || !editPtx(*variant, from, to)) {
    ADD_FAILURE() << "nothing to edit: " << from;
    return false;
  }
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    Problem problem(c, 70, 1);
    if (!runOnSimulator(*variant, {70}, problem.buffers, seed) ||
        !problem.compare().empty())
      return true;
  }
  return false;
}

TEST(ContractFaults, ArePlantedAndCaught) {
  QUERN_NEEDS_NVRTC();
  EXPECT_TRUE(isCaught("cp.async.wait_group 2;", "cp.async.wait_group 3;"));
  EXPECT_TRUE(isCaught("bar.sync \t0;", ""));
  EXPECT_TRUE(isCaught("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32",
                       "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32"));
  // Unedited it passes: the check itself is sound.
  EXPECT_FALSE(isCaught("mma.sync", "mma.sync"));
}

TEST(ContractSizes, ZeroRowsAreLegal) {
  QUERN_NEEDS_NVRTC();
  ContractCase c;
  run(c, "sm_80", {0}, 1);
}

TEST(ContractRefusals, AreExplained) {
  ContractCase c;
  c.terms = 5;
  Result<VariantDesc> variant = compileTile(c.text(), "sm_80");
  ASSERT_FALSE(variant);
  EXPECT_EQ(variant.error().code, Errc::Unsupported);
  EXPECT_NE(variant.error().message.find("at most 4"), std::string::npos);
  c = ContractCase();
  c.lhs = c.rhs = "f32";
  variant = compileTile(c.text(), "sm_80");
  ASSERT_FALSE(variant);
  EXPECT_NE(variant.error().message.find("f32 products"), std::string::npos);
}
