//===- TensorMapTest.cpp - Tensor maps: constraints, rows, swizzles -------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/TensorMap.h"

#include <cstring>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

using namespace quern;
using namespace quern::sim;
using testing::HasSubstr;

namespace {

/// A valid request that tests bend.
struct Request {
  uint64_t size[5] = {100, 50, 7, 3, 2};
  uint64_t strides[4] = {112, 112 * 50, 112 * 50 * 7, 112 * 50 * 21};
  uint32_t box[5] = {64, 8, 2, 1, 1};
  uint32_t elementStrides[5] = {1, 1, 1, 1, 1};
  TensorMapRequest request;
  Request() {
    request.rank = 3;
    request.address = 0x1000;
    request.size = size;
    request.strides = strides;
    request.box = box;
    request.elementStrides = elementStrides;
  }
};

TEST(TensorMap, EveryConstraintIsToldByName) {
  struct Case {
    std::function<void(Request &)> bend;
    Errc code;
    const char *says;
  };
  const Case cases[] = {
      {[](Request &r) { r.request.dataType = 16; }, Errc::InvalidArgument,
       "data type 16"},
      {[](Request &r) { r.request.dataType = -1; }, Errc::InvalidArgument,
       "data type -1"},
      {[](Request &r) { r.request.dataType = 13; }, Errc::Unsupported,
       "16U4_ALIGN8B"},
      {[](Request &r) { r.request.rank = 0; }, Errc::InvalidArgument, "rank 0"},
      {[](Request &r) { r.request.rank = 6; }, Errc::InvalidArgument, "rank 6"},
      {[](Request &r) { r.request.box = nullptr; }, Errc::InvalidArgument,
       "missing"},
      {[](Request &r) { r.request.address += 8; }, Errc::InvalidArgument,
       "multiple of 16"},
      {[](Request &r) { r.size[1] = 0; }, Errc::InvalidArgument,
       "size 0 of dimension 1"},
      {[](Request &r) { r.size[2] = (uint64_t(1) << 32) + 1; },
       Errc::InvalidArgument, "dimension 2"},
      {[](Request &r) { r.strides[0] = 100; }, Errc::InvalidArgument,
       "stride 100 of dimension 1"},
      {[](Request &r) { r.strides[1] = uint64_t(1) << 40; },
       Errc::InvalidArgument, "2^40"},
      {[](Request &r) { r.box[1] = 257; }, Errc::InvalidArgument,
       "box extent 257"},
      {[](Request &r) { r.box[0] = 0; }, Errc::InvalidArgument, "box extent 0"},
      {[](Request &r) { r.box[0] = 24; }, Errc::InvalidArgument, "24 bytes"},
      {[](Request &r) { r.elementStrides[1] = 9; }, Errc::InvalidArgument,
       "element stride 9"},
      {[](Request &r) { r.request.interleave = 3; }, Errc::InvalidArgument,
       "interleave 3"},
      {[](Request &r) { r.request.interleave = 1; }, Errc::Unsupported,
       "interleaved"},
      {[](Request &r) { r.request.swizzle = 7; }, Errc::InvalidArgument,
       "swizzle 7"},
      {[](Request &r) { r.request.swizzle = 4; }, Errc::Unsupported, "atoms"},
      {[](Request &r) { r.request.swizzle = 1; }, Errc::InvalidArgument,
       "swizzle span of 32"},
      {[](Request &r) { r.request.swizzle = 3; }, Errc::Unsupported,
       "narrower"},
      {[](Request &r) { r.request.l2Promotion = 4; }, Errc::InvalidArgument,
       "L2 promotion"},
      {[](Request &r) { r.request.oobFill = 1; }, Errc::InvalidArgument,
       "floating-point"},
      {[](Request &r) { r.request.oobFill = 2; }, Errc::InvalidArgument,
       "fill 2"},
  };
  EXPECT_TRUE(makeTensorMap(Request().request));
  for (const Case &c : cases) {
    Request request;
    c.bend(request);
    Result<TensorMap> map = makeTensorMap(request.request);
    ASSERT_FALSE(map) << c.says;
    EXPECT_EQ(map.error().code, c.code) << c.says;
    EXPECT_THAT(map.error().message, HasSubstr(c.says));
  }
}

TEST(TensorMap, SurvivesEncoding) {
  Request request;
  request.request.rank = 5;
  request.request.dataType = 7; // f32
  request.request.oobFill = 1;
  request.request.swizzle = 3;
  request.box[0] = 32;
  request.size[4] = uint64_t(1) << 32;
  request.strides[3] = (uint64_t(1) << 40) - 16;
  request.elementStrides[2] = 3;
  Result<TensorMap> made = makeTensorMap(request.request);
  ASSERT_TRUE(made) << made.error().message;
  std::byte bytes[tensorMapBytes];
  encodeTensorMap(*made, bytes);
  std::optional<TensorMap> map = decodeTensorMap(bytes);
  ASSERT_TRUE(map);
  EXPECT_EQ(map->type, TensorType::F32);
  EXPECT_EQ(map->rank, 5);
  EXPECT_EQ(map->address, 0x1000u);
  EXPECT_TRUE(map->fillNaN);
  EXPECT_EQ(map->swizzle, TensorSwizzle::B128);
  for (unsigned d = 0; d < 5; ++d) {
    EXPECT_EQ(map->size[d], request.size[d]);
    EXPECT_EQ(map->box[d], request.box[d]);
    EXPECT_EQ(map->elementStride[d], request.elementStrides[d]);
    EXPECT_EQ(map->stride[d], d ? request.strides[d - 1] : 4u);
  }
  // Any changed byte that matters is noticed.
  for (unsigned i = 0; i < 64; ++i) {
    std::byte changed[tensorMapBytes];
    std::memcpy(changed, bytes, sizeof(changed));
    changed[i] ^= std::byte{4};
    EXPECT_FALSE(decodeTensorMap(changed)) << i;
  }
}

TEST(TensorMap, RowsFollowTheDefinition) {
  std::mt19937 random(1);
  for (unsigned round = 0; round < 200; ++round) {
    Request request;
    request.request.rank = 1 + random() % 5;
    request.request.dataType = int(random() % 13);
    for (unsigned d = 0; d < 5; ++d) {
      request.size[d] = 1 + random() % 20;
      request.box[d] = d ? 1 + random() % 5 : 16;
      request.elementStrides[d] = 1 + random() % 3;
    }
    Result<TensorMap> map = makeTensorMap(request.request);
    ASSERT_TRUE(map) << map.error().message;
    unsigned bytes = elementBytes(map->type);
    int32_t at[5];
    for (int32_t &c : at)
      c = int32_t(random() % 30) - 10;
    std::vector<TensorRow> rows = rowsOf(*map, at);
    uint32_t expectedRows = 1;
    for (unsigned d = 1; d < map->rank; ++d)
      expectedRows *= (request.box[d] + request.elementStrides[d] - 1) /
                      request.elementStrides[d];
    ASSERT_EQ(rows.size(), expectedRows);
    ASSERT_EQ(map->boxBytes(), expectedRows * 16 * bytes);
    for (uint32_t row = 0; row < expectedRows; ++row) {
      uint32_t rest = row;
      uint64_t base = 0x1000;
      bool inside = true;
      for (unsigned d = 1; d < map->rank; ++d) {
        uint32_t count = (request.box[d] + request.elementStrides[d] - 1) /
                         request.elementStrides[d];
        int64_t position =
            at[d] + int64_t(rest % count) * request.elementStrides[d];
        rest /= count;
        inside &= position >= 0 && position < int64_t(request.size[d]);
        base += uint64_t(position) * request.strides[d - 1];
      }
      for (int i = 0; i < 16; ++i) {
        int64_t x = at[0] + i;
        bool in = inside && x >= 0 && x < int64_t(request.size[0]);
        uint32_t byte = uint32_t(i) * bytes;
        bool got = byte >= rows[row].before &&
                   byte < rows[row].before + rows[row].inside;
        ASSERT_EQ(in, got);
        if (in)
          ASSERT_EQ(rows[row].address + byte - rows[row].before,
                    base + uint64_t(x) * bytes);
      }
      ASSERT_EQ(rows[row].boxOffset, row * 16 * bytes);
    }
  }
}

TEST(TensorMap, SwizzlesPermuteChunks) {
  // By the definition: within spans, chunk index xor the low bits of the index
  // of 128-byte lines.
  for (unsigned which = 0; which < 4; ++which) {
    auto swizzle = static_cast<TensorSwizzle>(which);
    unsigned chunks = spanBytes(swizzle) / 16;
    for (uint32_t offset = 0; offset < 4096; ++offset) {
      uint32_t line = offset / 128, chunk = offset / 16 % chunks;
      uint32_t expected = offset - chunk * 16 + (chunk ^ line % chunks) * 16;
      ASSERT_EQ(swizzled(swizzle, offset), expected) << which << " " << offset;
    }
  }
}

TEST(TensorMap, BoxesAreWrittenReadAndFilled) {
  Request request;
  request.request.dataType = 6; // f16
  request.request.rank = 2;
  request.request.swizzle = 3;
  request.request.oobFill = 1;
  Result<TensorMap> map = makeTensorMap(request.request);
  ASSERT_TRUE(map);
  std::vector<std::byte> shared(1024), plain(1024), back(1024);
  std::mt19937 random(2);
  for (std::byte &x : plain)
    x = static_cast<std::byte>(random());
  // A box at an offset that is not a multiple of the pattern.
  uint32_t offset = 384;
  writeBox(*map, shared.data(), offset, 0, plain.data(), 1024);
  for (uint32_t i = 0; i < 1024; ++i)
    ASSERT_EQ(shared[swizzled(TensorSwizzle::B128, offset + i) - offset],
              plain[i]);
  readBox(*map, shared.data(), offset, 130, back.data(), 700);
  EXPECT_EQ(std::memcmp(back.data(), plain.data() + 130, 700), 0);
  fillBox(*map, shared.data(), offset, 0, 1024);
  for (uint32_t i = 0; i < 1024; i += 2) {
    EXPECT_EQ(shared[i], std::byte{0xff});
    EXPECT_EQ(shared[i + 1], std::byte{0x7f});
  }
}

} // namespace
