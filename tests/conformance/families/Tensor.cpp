//===- Tensor.cpp - Tensor copies -----------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX ISA: "Tensors" (tiled mode, bounding box, traversal stride, out-of-bound
// access, swizzling modes), "cp.async.bulk.tensor"; CUDA driver API:
// cuTensorMapEncodeTiled. The box lies in shared memory densely, dimension 0
// innermost; swizzling by w bytes then exchanges the 16-byte chunks of rows of
// w bytes: chunk c of row r goes to c xor (r mod 8, in units of 128 bytes of
// address) within w. With addresses aligned to 1024 that is
//
//   128 bytes   address bits 4-6 xor bits 7-9
//    64 bytes   address bits 4-5 xor bits 7-8
//    32 bytes   address bit  4   xor bit  7
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Bench.h"
#include "tests/conformance/Codecs.h"

#include <cmath>
#include <numeric>

using namespace quern;
using namespace quern::conformance;

namespace {

constexpr size_t tileBytes = 16384;

/// CUtensorMapDataType.
enum Type { U8 = 0, U16 = 1, U32 = 2, S32 = 3, U64 = 4, F16 = 6, F32 = 7 };
uint32_t widthOf(int type) {
  switch (type) {
  case U8:
    return 1;
  case U16:
  case F16:
    return 2;
  case U64:
    return 8;
  default:
    return 4;
  }
}

uint32_t swizzled(uint32_t address, int mode) {
  switch (mode) {
  case 1:
    return address ^ ((address >> 7 & 1) << 4);
  case 2:
    return address ^ ((address >> 7 & 3) << 4);
  case 3:
    return address ^ ((address >> 7 & 7) << 4);
  default:
    return address;
  }
}

struct Problem {
  const char *what;
  int type;
  std::vector<uint64_t> extents;
  std::vector<uint32_t> box;
  std::vector<int> at; ///< Coordinates of the box.
  int swizzle = 0;
  bool nan = false;
  std::vector<uint32_t> steps = {}; ///< Traversal strides; empty: 1.
};

/// The tensor in memory, its map, and where the box's elements lie.
struct Tensor {
  explicit Tensor(const Problem &problem) : problem(problem) {
    width = widthOf(problem.type);
    shape.dataType = problem.type;
    shape.extents = problem.extents;
    shape.box = problem.box;
    shape.swizzle = problem.swizzle;
    shape.fillNan = problem.nan;
    shape.elementStrides = problem.steps.empty()
                               ? std::vector<uint32_t>(problem.box.size(), 1)
                               : problem.steps;
    // Rows padded to 16 bytes, and 16 more, so that strides are no products of
    // the extents.
    uint64_t stride = (problem.extents[0] * width + 15) / 16 * 16 + 16;
    for (size_t d = 1; d < problem.extents.size(); ++d) {
      shape.strides.push_back(stride);
      stride *= problem.extents[d];
    }
    bytes = stride;
  }

  /// Calls f(shared byte offset, byte offset in the tensor or -1) for each
  /// element of the box.
  template <typename F> void eachElement(F f) const {
    size_t rank = problem.box.size();
    std::vector<uint32_t> counts(rank);
    for (size_t d = 0; d < rank; ++d) {
      uint32_t step = d ? shape.elementStrides[d] : 1;
      counts[d] = (problem.box[d] + step - 1) / step;
    }
    uint32_t total =
        std::accumulate(counts.begin(), counts.end(), 1u, std::multiplies<>());
    for (uint32_t i = 0; i < total; ++i) {
      uint32_t rest = i;
      int64_t from = 0;
      for (size_t d = 0; d < rank; ++d) {
        uint32_t step = d ? shape.elementStrides[d] : 1;
        int64_t at =
            problem.at[d] + static_cast<int64_t>(rest % counts[d]) * step;
        rest /= counts[d];
        if (at < 0 || at >= static_cast<int64_t>(problem.extents[d]))
          from = INT64_MIN;
        if (from != INT64_MIN)
          from += at * static_cast<int64_t>(d ? shape.strides[d - 1] : width);
      }
      f(swizzled(i * width, problem.swizzle), from == INT64_MIN ? -1 : from);
    }
  }
  uint32_t boxBytes() const {
    uint32_t count = 0;
    eachElement([&](uint32_t, int64_t) { ++count; });
    return count * width;
  }

  Problem problem;
  TensorMapShape shape;
  uint32_t width = 1;
  uint64_t bytes = 0;
};

std::vector<uint8_t> randomBytes(Bench &bench, size_t count) {
  std::vector<uint8_t> bytes(count);
  for (uint8_t &b : bytes)
    b = static_cast<uint8_t>(bench.random().bits());
  return bytes;
}

void load(Bench &bench, const Problem &problem) {
  Tensor tensor(problem);
  std::vector<uint8_t> data = randomBytes(bench, tensor.bytes);
  std::vector<uint8_t> expected(tileBytes, 0xcd);
  std::vector<bool> isFill(tileBytes);
  tensor.eachElement([&](uint32_t to, int64_t from) {
    for (uint32_t i = 0; i < tensor.width; ++i) {
      expected[to + i] = from < 0 ? 0 : data[from + i];
      isFill[to + i] = from < 0;
    }
  });
  Buffer in = bench.input(data, "tensor");
  TensorMap map = bench.tensorMap(in, tensor.shape);
  Buffer out = bench.output(tileBytes);
  std::vector<int> at = problem.at;
  at.resize(5);
  bench.launch("tensor_load_" + std::to_string(problem.at.size()),
               {.block = {128}}, map, at[0], at[1], at[2], at[3], at[4],
               tensor.boxBytes(), out);
  std::vector<uint8_t> actual = bench.read<uint8_t>(out);
  if (problem.nan) {
    // Which NaN is not said.
    bool all = true;
    const Format &format = problem.type == F16 ? f16 : f32;
    for (size_t i = 0; i < tileBytes; i += tensor.width)
      if (isFill[i]) {
        uint32_t bits = 0;
        std::memcpy(&bits, actual.data() + i, tensor.width);
        all &= std::isnan(decode(format, bits));
        std::memset(actual.data() + i, 0, tensor.width);
      }
    bench.expect(all, "an element out of bounds is not NaN");
  }
  bench.expectBits(problem.what, expected, actual);
}

/// What a store does to the elements it reaches.
enum class Effect { Store, Add, Max };

void store(Bench &bench, const Problem &problem, const char *kernel,
           Effect effect) {
  Tensor tensor(problem);
  std::vector<uint8_t> tile = randomBytes(bench, tileBytes);
  std::vector<uint8_t> data = randomBytes(bench, tensor.bytes);
  std::vector<uint8_t> expected = data;
  tensor.eachElement([&](uint32_t from, int64_t to) {
    if (to < 0)
      return;
    if (effect == Effect::Store) {
      std::memcpy(expected.data() + to, tile.data() + from, tensor.width);
      return;
    }
    uint32_t a, b;
    std::memcpy(&a, expected.data() + to, 4);
    std::memcpy(&b, tile.data() + from, 4);
    a = effect == Effect::Add                               ? a + b
        : static_cast<int32_t>(a) > static_cast<int32_t>(b) ? a
                                                            : b;
    std::memcpy(expected.data() + to, &a, 4);
  });
  Buffer out = bench.inout(data, "tensor");
  TensorMap map = bench.tensorMap(out, tensor.shape);
  std::vector<int> at = problem.at;
  at.resize(3);
  bench.launch(kernel, {.block = {128}}, map, at[0], at[1], at[2],
               bench.input(tile, "tile"));
  bench.expectBits(problem.what, expected, bench.read<uint8_t>(out));
}

void multicast(Bench &bench) {
  Problem problem = {"both blocks", U16, {100, 40}, {64, 24}, {8, 20}, 3};
  Tensor tensor(problem);
  std::vector<uint8_t> data = randomBytes(bench, tensor.bytes);
  std::vector<uint8_t> expected(2 * tileBytes, 0xcd);
  tensor.eachElement([&](uint32_t to, int64_t from) {
    for (uint32_t block = 0; block < 2; ++block)
      for (uint32_t i = 0; i < tensor.width; ++i)
        expected[block * tileBytes + to + i] = from < 0 ? 0 : data[from + i];
  });
  Buffer in = bench.input(data, "tensor");
  TensorMap map = bench.tensorMap(in, tensor.shape);
  Buffer out = bench.output(2 * tileBytes);
  bench.launch("tensor_multicast", {.grid = {2}, .block = {128}, .cluster = 2},
               map, problem.at[0], problem.at[1], tensor.boxBytes(), out);
  bench.expectBits(problem.what, expected, bench.read<uint8_t>(out));
}

/// A map of something else, made anew by the kernel field by field.
void remake(Bench &bench) {
  Random &random = bench.random();
  constexpr uint32_t pitch = 20; // Words.
  for (int round = 0; round < 4; ++round) {
    uint32_t width = 9 + random.below(10), height = 5 + random.below(8);
    Words data(pitch * height);
    for (uint32_t &x : data)
      x = random.bits();
    int x = static_cast<int>(random.below(width + 6)) - 3;
    int y = static_cast<int>(random.below(height + 3)) - 2;
    Words expected(32);
    for (int i = 0; i < 32; ++i) {
      int column = x + i % 8, row = y + i / 8;
      if (column >= 0 && column < static_cast<int>(width) && row >= 0 &&
          row < static_cast<int>(height))
        expected[i] = data[row * pitch + column];
    }
    Buffer in = bench.input(data, "data");
    TensorMapShape other;
    other.dataType = U8;
    other.extents = {64};
    other.box = {64};
    other.elementStrides = {1};
    TensorMap map = bench.tensorMap(in, other);
    Buffer scratch = bench.output(128, "scratch"), out = bench.output(128);
    bench.launch("tensor_map_replace", {}, map, in, width, height,
                 uint64_t{pitch * 4}, x, y, scratch, out);
    bench.expectBits("box", expected, bench.read<uint32_t>(out));
  }
}

} // namespace

std::vector<Case> conformance::tensorCases() {
  std::vector<Case> cases;
  auto loads = [&](const char *name, std::vector<Problem> problems) {
    cases.push_back({name, "bulk", [problems](Bench &bench) {
                       for (const Problem &problem : problems)
                         load(bench, problem);
                     }});
  };
  loads("tensor load 1-D", {{"inside", U32, {300}, {64}, {16}},
                            {"over the end", U8, {300}, {128}, {256}},
                            {"before the beginning", U32, {300}, {32}, {-8}}});
  loads("tensor load 2-D",
        {{"inside", U8, {200, 50}, {64, 16}, {32, 8}},
         {"over both ends", U16, {100, 30}, {64, 16}, {72, 20}},
         {"before both beginnings", F32, {100, 30}, {32, 16}, {-4, -3}},
         {"whole box outside", U32, {20, 20}, {8, 8}, {24, 3}},
         {"64-bit elements", U64, {40, 20}, {8, 8}, {35, 1}}});
  loads("tensor load 3-D",
        {{"over the ends", U16, {60, 20, 9}, {32, 8, 4}, {40, 15, 7}},
         {"before", U32, {60, 20, 9}, {16, 8, 4}, {-3, -2, -1}}});
  loads("tensor load 4-D",
        {{"over the ends", U8, {70, 9, 8, 7}, {32, 4, 4, 4}, {48, 6, 5, 4}}});
  loads("tensor load 5-D", {{"over the ends",
                             U16,
                             {40, 7, 6, 5, 4},
                             {16, 4, 3, 2, 2},
                             {30, 4, 4, 4, -1}}});
  loads("tensor load, swizzled by 32 bytes",
        {{"u8", U8, {100, 50}, {32, 40}, {16, 4}, 1},
         {"f16, over the ends", F16, {50, 50}, {16, 64}, {40, 20}, 1}});
  loads("tensor load, swizzled by 64 bytes",
        {{"u8", U8, {100, 70}, {64, 64}, {16, 4}, 2},
         {"f32, over the ends", F32, {50, 50}, {16, 64}, {40, 20}, 2}});
  loads("tensor load, swizzled by 128 bytes",
        {{"u8", U8, {300, 70}, {128, 64}, {16, 4}, 3},
         {"f16, over the ends", F16, {90, 50}, {64, 64}, {40, 20}, 3},
         {"3-D", U16, {90, 10, 9}, {64, 8, 4}, {40, 5, 2}, 3}});
  loads("tensor load, NaN out of bounds",
        {{"f32", F32, {50, 20}, {32, 16}, {30, 10}, 0, true},
         {"f16, swizzled", F16, {90, 20}, {64, 16}, {40, 10}, 3, true}});
  loads(
      "tensor load, traversal strides",
      {{"every second row", U8, {100, 60}, {32, 16}, {16, 5}, 0, false, {1, 2}},
       {"every third plane",
        U16,
        {40, 20, 30},
        {16, 4, 9},
        {8, 6, 2},
        0,
        false,
        {1, 1, 3}}});
  cases.push_back(
      {"tensor store", "bulk", [](Bench &bench) {
         store(bench, {"over both ends", U16, {100, 30}, {64, 16}, {72, 20}},
               "tensor_store_2", Effect::Store);
         store(bench, {"swizzled", F16, {90, 50}, {64, 32}, {16, 8}, 3},
               "tensor_store_2", Effect::Store);
         store(bench,
               {"3-D, before", U32, {60, 20, 9}, {16, 8, 4}, {-3, -2, 6}},
               "tensor_store_3", Effect::Store);
       }});
  cases.push_back(
      {"tensor reduction", "bulk", [](Bench &bench) {
         store(bench, {"add", U32, {60, 30}, {32, 16}, {40, 20}},
               "tensor_add_2", Effect::Add);
         store(bench, {"max, swizzled", S32, {60, 30}, {32, 16}, {40, 20}, 3},
               "tensor_max_2", Effect::Max);
       }});
  cases.push_back({"tensor load, multicast", "bulk", multicast});
  cases.push_back({"tensormap.replace", "tensor_map", remake});
  return cases;
}
