//===- TensorMap.cpp - Descriptors of tensor copies -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/TensorMap.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

namespace {

constexpr unsigned typeBytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
constexpr unsigned typeCount = sizeof(typeBytes) / sizeof(typeBytes[0]);

// The names in cuda.h, without their prefix.
constexpr std::string_view packedTypes[] = {"16U4_ALIGN8B", "16U4_ALIGN16B",
                                            "16U6_ALIGN16B"};

template <typename... Args>
Diagnostic invalid(fmt::format_string<Args...> text, Args &&...args) {
  return fail(Errc::InvalidArgument,
              "tensor map: " + fmt::format(text, std::forward<Args>(args)...));
}
Diagnostic lacking(std::string what) {
  return fail(Errc::Unsupported,
              fmt::format("tensor map: {} are not simulated", what));
}

constexpr uint64_t magicOfMaps = 0x70614d6e65547571; // "quTenMap"

/// The fields in a form that fits: sizes and strides are bounded.
struct Packed {
  uint64_t magic;
  uint64_t address;
  uint8_t type, rank, swizzle, fillNaN;
  uint32_t check;
  uint32_t sizeMinusOne[maxTensorRank];
  uint8_t strideHigh[maxTensorRank]; ///< Strides are below 2^40.
  uint8_t elementStride[maxTensorRank];
  uint16_t box[maxTensorRank];
  uint32_t strideLow[maxTensorRank];
};
static_assert(sizeof(Packed) <= tensorMapBytes);

uint32_t checkOf(Packed packed) {
  packed.check = 0;
  unsigned char bytes[sizeof(Packed)];
  std::memcpy(bytes, &packed, sizeof(bytes));
  uint32_t hash = 2166136261u; // FNV-1a.
  for (unsigned char byte : bytes)
    hash = (hash ^ byte) * 16777619u;
  return hash;
}

} // namespace

unsigned sim::elementBytes(TensorType type) {
  return typeBytes[static_cast<unsigned>(type)];
}

bool sim::isFloat(TensorType type) {
  return type >= TensorType::F16 && type <= TensorType::TF32Ftz;
}

unsigned sim::spanBytes(TensorSwizzle swizzle) {
  return 16u << static_cast<unsigned>(swizzle);
}

uint32_t sim::swizzled(TensorSwizzle swizzle, uint32_t offset) {
  uint32_t chunks = (1u << static_cast<unsigned>(swizzle)) - 1;
  return offset ^ ((offset >> 7 & chunks) << 4);
}

uint32_t TensorMap::boxBytes() const {
  uint32_t bytes = elementBytes(type);
  for (unsigned d = 0; d < rank; ++d)
    bytes *= count(d);
  return bytes;
}

//===----------------------------------------------------------------------===//
// Making and encoding
//===----------------------------------------------------------------------===//

Result<TensorMap> sim::makeTensorMap(const TensorMapRequest &request) {
  if (request.dataType < 0 || request.dataType >= int(typeCount + 3))
    return invalid("data type {} does not exist", request.dataType);
  if (request.dataType >= int(typeCount))
    return lacking(fmt::format(
        "packed elements ({})",
        packedTypes[static_cast<unsigned>(request.dataType) - typeCount]));
  if (request.rank < 1 || request.rank > maxTensorRank)
    return invalid("rank {}; 1 to {} are accepted", request.rank,
                   maxTensorRank);
  if (!request.size || !request.box || !request.elementStrides ||
      (request.rank > 1 && !request.strides))
    return invalid("an array of sizes, strides or extents is missing");
  if (request.interleave < 0 || request.interleave > 2)
    return invalid("interleave {} does not exist", request.interleave);
  if (request.swizzle < 0 || request.swizzle > 6)
    return invalid("swizzle {} does not exist", request.swizzle);
  if (request.l2Promotion < 0 || request.l2Promotion > 3)
    return invalid("L2 promotion {} does not exist", request.l2Promotion);
  if (request.oobFill < 0 || request.oobFill > 1)
    return invalid("out-of-bounds fill {} does not exist", request.oobFill);
  if (request.interleave)
    return lacking("interleaved layouts");
  if (request.swizzle > 3)
    return lacking("128-byte swizzles of atoms beyond 16 bytes");

  TensorMap map;
  map.type = static_cast<TensorType>(request.dataType);
  map.rank = static_cast<uint8_t>(request.rank);
  map.swizzle = static_cast<TensorSwizzle>(request.swizzle);
  map.fillNaN = request.oobFill == 1;
  map.address = request.address;
  unsigned bytes = elementBytes(map.type);
  map.stride[0] = bytes;
  for (unsigned d = 0; d < request.rank; ++d) {
    map.size[d] = request.size[d];
    if (map.size[d] < 1 || map.size[d] > uint64_t(1) << 32)
      return invalid("size {} of dimension {}; 1 to 2^32 are accepted",
                     map.size[d], d);
    map.box[d] = request.box[d];
    if (map.box[d] < 1 || map.box[d] > 256)
      return invalid("box extent {} of dimension {}; 1 to 256 are accepted",
                     map.box[d], d);
    map.elementStride[d] = request.elementStrides[d];
    if (map.elementStride[d] < 1 || map.elementStride[d] > 8)
      return invalid("element stride {} of dimension {}; 1 to 8 are accepted",
                     map.elementStride[d], d);
    if (d == 0)
      map.elementStride[0] = 1; // Ignored, as documented.
    if (d == 0)
      continue;
    map.stride[d] = request.strides[d - 1];
    if (map.stride[d] % 16 || map.stride[d] >= uint64_t(1) << 40)
      return invalid("stride {} of dimension {} must be a multiple of 16 and "
                     "below 2^40",
                     map.stride[d], d);
  }
  if (std::optional<Diagnostic> problem = checkTensorMap(map))
    return *problem;
  return map;
}

std::optional<Diagnostic> sim::checkTensorMap(const TensorMap &map) {
  if (map.fillNaN && !isFloat(map.type))
    return invalid("NaN as fill needs a floating-point type");
  if (map.address == 0 || map.address % 16)
    return invalid("the address {:#x} is no multiple of 16", map.address);
  uint32_t inner = map.box[0] * elementBytes(map.type);
  if (inner % 16)
    return invalid("the box is {} bytes wide; a multiple of 16 is needed",
                   inner);
  if (map.swizzle == TensorSwizzle::None)
    return std::nullopt;
  unsigned span = spanBytes(map.swizzle);
  if (inner > span)
    return invalid("the box is {} bytes wide, more than the swizzle span of {}",
                   inner, span);
  if (inner < span)
    return lacking(fmt::format("boxes narrower ({} bytes) than their swizzle "
                               "span of {}",
                               inner, span));
  return std::nullopt;
}

/// The types in the order of tensormap.replace, which is not that of
/// CUtensorMapDataType.
static constexpr TensorType replacedTypes[] = {
    TensorType::U8,     TensorType::U16, TensorType::U32,  TensorType::S32,
    TensorType::U64,    TensorType::S64, TensorType::F16,  TensorType::F32,
    TensorType::F32Ftz, TensorType::F64, TensorType::BF16, TensorType::TF32,
    TensorType::TF32Ftz};

std::optional<Diagnostic> sim::replaceField(TensorMap &map, TensorField field,
                                            uint32_t ordinal, uint64_t value) {
  unsigned dimension = ordinal + (field == TensorField::GlobalStride);
  if (ordinal >= maxTensorRank || dimension >= maxTensorRank)
    return invalid("there is no ordinal {}", ordinal);
  switch (field) {
  case TensorField::GlobalAddress:
    map.address = value;
    return std::nullopt;
  case TensorField::Rank:
    if (value >= maxTensorRank)
      return invalid("rank field {}; 0 to {} stand for 1 to {} dimensions",
                     value, maxTensorRank - 1, maxTensorRank);
    map.rank = static_cast<uint8_t>(value + 1);
    return std::nullopt;
  case TensorField::BoxDim:
    if (value < 1 || value > 256)
      return invalid("box extent {} of dimension {}; 1 to 256 are accepted",
                     value, dimension);
    map.box[dimension] = static_cast<uint32_t>(value);
    return std::nullopt;
  case TensorField::GlobalDim:
    if (value < 1)
      return invalid("size {} of dimension {}; 1 to 2^32 are accepted", value,
                     dimension);
    map.size[dimension] = value;
    return std::nullopt;
  case TensorField::GlobalStride:
    if (value % 16 || value >= uint64_t(1) << 40)
      return invalid("stride {} of dimension {} must be a multiple of 16 and "
                     "below 2^40",
                     value, dimension);
    map.stride[dimension] = value;
    return std::nullopt;
  case TensorField::ElementStride:
    if (value < 1 || value > 8)
      return invalid("element stride {} of dimension {}; 1 to 8 are accepted",
                     value, dimension);
    map.elementStride[dimension] =
        dimension == 0 ? 1 : static_cast<uint32_t>(value);
    return std::nullopt;
  case TensorField::ElemType:
    if (value >= std::size(replacedTypes))
      return value < 16 ? lacking("packed elements")
                        : invalid("element type {} does not exist", value);
    map.type = replacedTypes[value];
    map.stride[0] = elementBytes(map.type);
    return std::nullopt;
  case TensorField::InterleaveLayout:
    if (value)
      return value < 3 ? lacking("interleaved layouts")
                       : invalid("interleave {} does not exist", value);
    return std::nullopt;
  case TensorField::SwizzleMode:
    if (value > 3)
      return value == 4 ? lacking("swizzles of 96 bytes")
                        : invalid("swizzle {} does not exist", value);
    map.swizzle = static_cast<TensorSwizzle>(value);
    return std::nullopt;
  case TensorField::SwizzleAtomicity:
    if (value)
      return lacking("swizzles of atoms beyond 16 bytes");
    return std::nullopt;
  case TensorField::FillMode:
    if (value > 1)
      return invalid("out-of-bounds fill {} does not exist", value);
    map.fillNaN = value == 1;
    return std::nullopt;
  }
  return std::nullopt;
}

void sim::encodeTensorMap(const TensorMap &map,
                          std::byte (&bytes)[tensorMapBytes]) {
  Packed packed = {};
  packed.magic = magicOfMaps;
  packed.address = map.address;
  packed.type = static_cast<uint8_t>(map.type);
  packed.rank = map.rank;
  packed.swizzle = static_cast<uint8_t>(map.swizzle);
  packed.fillNaN = map.fillNaN;
  for (unsigned d = 0; d < maxTensorRank; ++d) {
    packed.sizeMinusOne[d] = static_cast<uint32_t>(map.size[d] - 1);
    packed.strideLow[d] = static_cast<uint32_t>(map.stride[d]);
    packed.strideHigh[d] = static_cast<uint8_t>(map.stride[d] >> 32);
    packed.box[d] = static_cast<uint16_t>(map.box[d]);
    packed.elementStride[d] = static_cast<uint8_t>(map.elementStride[d]);
  }
  packed.check = checkOf(packed);
  std::fill(std::begin(bytes), std::end(bytes), std::byte{0});
  std::memcpy(bytes, &packed, sizeof(packed));
}

std::optional<TensorMap>
sim::decodeTensorMap(const std::byte (&bytes)[tensorMapBytes]) {
  Packed packed;
  std::memcpy(&packed, bytes, sizeof(packed));
  if (packed.magic != magicOfMaps || packed.check != checkOf(packed) ||
      packed.type >= typeCount || packed.swizzle > 3 || packed.rank < 1 ||
      packed.rank > maxTensorRank)
    return std::nullopt;
  TensorMap map;
  map.type = static_cast<TensorType>(packed.type);
  map.rank = packed.rank;
  map.swizzle = static_cast<TensorSwizzle>(packed.swizzle);
  map.fillNaN = packed.fillNaN;
  map.address = packed.address;
  for (unsigned d = 0; d < maxTensorRank; ++d) {
    map.size[d] = uint64_t(packed.sizeMinusOne[d]) + 1;
    map.stride[d] = packed.strideLow[d] | uint64_t(packed.strideHigh[d]) << 32;
    map.box[d] = packed.box[d];
    map.elementStride[d] = packed.elementStride[d];
    if (!map.box[d] || !map.elementStride[d])
      return std::nullopt;
  }
  return map;
}

//===----------------------------------------------------------------------===//
// Boxes
//===----------------------------------------------------------------------===//

std::vector<TensorRow> sim::rowsOf(const TensorMap &map,
                                   const int32_t *coordinates) {
  uint32_t rows = 1;
  for (unsigned d = 1; d < map.rank; ++d)
    rows *= map.count(d);
  uint32_t width = map.count(0);
  unsigned bytes = elementBytes(map.type);
  // The part of a row that lies inside along dimension 0.
  int64_t first = coordinates[0], end = first + width;
  int64_t low = std::max<int64_t>(first, 0);
  int64_t high = std::min<int64_t>(end, static_cast<int64_t>(map.size[0]));
  std::vector<TensorRow> list(rows);
  for (uint32_t row = 0; row < rows; ++row) {
    TensorRow &out = list[row];
    out.boxOffset = row * width * bytes;
    uint64_t address = map.address;
    bool inside = low < high;
    uint32_t rest = row;
    for (unsigned d = 1; d < map.rank; ++d) {
      uint32_t step = rest % map.count(d);
      rest /= map.count(d);
      int64_t position =
          int64_t(coordinates[d]) + int64_t(step) * map.elementStride[d];
      inside &= position >= 0 && position < static_cast<int64_t>(map.size[d]);
      address += static_cast<uint64_t>(position) * map.stride[d];
    }
    if (!inside)
      continue;
    out.before = static_cast<uint32_t>(low - first) * bytes;
    out.inside = static_cast<uint32_t>(high - low) * bytes;
    out.address = address + static_cast<uint64_t>(low) * bytes;
  }
  return list;
}

namespace {

/// Calls `move(byte of the box in shared memory, plain byte, count)` for runs
/// that stay together.
template <typename F>
void forRuns(const TensorMap &map, uint32_t offset, uint32_t boxOffset,
             uint32_t bytes, F move) {
  if (map.swizzle == TensorSwizzle::None)
    return move(boxOffset, 0u, bytes);
  for (uint32_t done = 0; done < bytes;) {
    uint32_t plain = offset + boxOffset + done;
    uint32_t run = std::min(bytes - done, 16 - plain % 16);
    move(swizzled(map.swizzle, plain) - offset, done, run);
    done += run;
  }
}

} // namespace

void sim::writeBox(const TensorMap &map, std::byte *shared, uint32_t offset,
                   uint32_t boxOffset, const std::byte *from, uint32_t bytes) {
  forRuns(map, offset, boxOffset, bytes,
          [&](uint32_t at, uint32_t plain, uint32_t run) {
            std::memcpy(shared + at, from + plain, run);
          });
}

void sim::readBox(const TensorMap &map, const std::byte *shared,
                  uint32_t offset, uint32_t boxOffset, std::byte *to,
                  uint32_t bytes) {
  forRuns(map, offset, boxOffset, bytes,
          [&](uint32_t at, uint32_t plain, uint32_t run) {
            std::memcpy(to + plain, shared + at, run);
          });
}

void sim::fillBox(const TensorMap &map, std::byte *shared, uint32_t offset,
                  uint32_t boxOffset, uint32_t bytes) {
  unsigned element = elementBytes(map.type);
  forRuns(map, offset, boxOffset, bytes,
          [&](uint32_t at, uint32_t, uint32_t run) {
            for (uint32_t i = 0; i < run; ++i)
              shared[at + i] = !map.fillNaN ? std::byte{0}
                               : (at + i) % element == element - 1
                                   ? std::byte{0x7f}
                                   : std::byte{0xff};
          });
}
