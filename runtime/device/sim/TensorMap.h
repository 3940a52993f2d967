//===- TensorMap.h - Descriptors of tensor copies ---------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A tensor map tells the copy engine (TMA) where a tensor of 1 to 5 dimensions
// lies in global memory, which box of it one copy moves, and how the box lies
// in shared memory. Its 128 bytes are opaque to programs: on a device
// cuTensorMapEncodeTiled writes them; here encodeTensorMap() does, in a form of
// our own, after checking every constraint that cuda.h documents for that
// function. Dimension 0 is the innermost one.
//
// A box at coordinates c covers, in dimension d, the positions
//     c[d] + i * elementStrides[d],  i = 0 .. ceil(box[d] /
//     elementStrides[d])-1
// (elementStrides[0] counts as 1). Positions outside the tensor are not
// accessed: loads fill them with zeros or NaN, stores skip them. In shared
// memory the box is dense, dimension 0 fastest, and then swizzled: within spans
// of 32, 64 or 128 bytes, chunks of 16 bytes change places by the bits of the
// address above them (swizzled()).
//
// Strides may come in any order and may overlap, as drivers let them.
//
// Modelling choices, where the documents are silent:
//  - the NaN of out-of-bounds elements is the one with all bits below the sign
//    set;
//  - TFLOAT32 and the FTZ types move bits unchanged;
//  - a box whose inner extent is smaller than the swizzle span is refused, as
//    are interleaved layouts, packed 4- and 6-bit types and the 128-byte
//    swizzles with larger atoms.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_TENSORMAP_H
#define QUERN_DEVICE_SIM_TENSORMAP_H

#include "runtime/core/Result.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace quern {
inline namespace v0 {
namespace sim {

inline constexpr unsigned maxTensorRank = 5;
inline constexpr size_t tensorMapBytes = 128;

/// CUtensorMapDataType.
enum class TensorType : uint8_t {
  U8,
  U16,
  U32,
  S32,
  U64,
  S64,
  F16,
  F32,
  F64,
  BF16,
  F32Ftz,
  TF32,
  TF32Ftz,
};
unsigned elementBytes(TensorType type);
bool isFloat(TensorType type);

/// CUtensorMapSwizzle.
enum class TensorSwizzle : uint8_t { None, B32, B64, B128 };
/// 16 (nothing moves), 32, 64 or 128 bytes.
unsigned spanBytes(TensorSwizzle swizzle);
/// Where the byte at shared offset `offset` of an unswizzled box really lies.
uint32_t swizzled(TensorSwizzle swizzle, uint32_t offset);

struct TensorMap {
  TensorType type = TensorType::U8;
  uint8_t rank = 1;
  TensorSwizzle swizzle = TensorSwizzle::None;
  bool fillNaN = false;
  uint64_t address = 0;
  uint64_t size[maxTensorRank] = {1, 1, 1, 1, 1};
  /// Bytes between neighbours; of dimension 0, the element's size.
  uint64_t stride[maxTensorRank] = {};
  uint32_t box[maxTensorRank] = {1, 1, 1, 1, 1};
  uint32_t elementStride[maxTensorRank] = {1, 1, 1, 1, 1};

  /// Elements a copy moves along a dimension.
  uint32_t count(unsigned dimension) const {
    return (box[dimension] + elementStride[dimension] - 1) /
           elementStride[dimension];
  }
  uint32_t rowBytes() const { return count(0) * elementBytes(type); }
  /// Of the whole box in shared memory: what complete_tx counts.
  uint32_t boxBytes() const;
};

/// The arguments of cuTensorMapEncodeTiled, enumerations as plain numbers.
struct TensorMapRequest {
  int dataType = 0;
  uint32_t rank = 0;
  uint64_t address = 0;
  const uint64_t *size = nullptr;
  const uint64_t *strides = nullptr; ///< rank - 1 of them, in bytes.
  const uint32_t *box = nullptr;
  const uint32_t *elementStrides = nullptr;
  int interleave = 0;
  int swizzle = 0;
  int l2Promotion = 0;
  int oobFill = 0;
};

/// Errc::InvalidArgument for what the driver would refuse, Errc::Unsupported
/// for what the simulator lacks.
Result<TensorMap> makeTensorMap(const TensorMapRequest &request);
/// What the driver asks of fields together: alignment, swizzle and box, fill.
std::optional<Diagnostic> checkTensorMap(const TensorMap &map);

/// Fields of tensormap.replace.
enum class TensorField : uint8_t {
  GlobalAddress,
  Rank,
  BoxDim,
  GlobalDim,
  GlobalStride,
  ElementStride,
  ElemType,
  InterleaveLayout,
  SwizzleMode,
  SwizzleAtomicity,
  FillMode,
};
/// Sets one, `value` as the instruction has it: ranks count from zero, strides
/// are those of dimension `ordinal` + 1, in bytes. An error if no map may have
/// it; what fields must be together is left to checkTensorMap().
std::optional<Diagnostic> replaceField(TensorMap &map, TensorField field,
                                       uint32_t ordinal, uint64_t value);

void encodeTensorMap(const TensorMap &map, std::byte (&bytes)[tensorMapBytes]);
/// Nothing if the bytes were not written by encodeTensorMap().
std::optional<TensorMap>
decodeTensorMap(const std::byte (&bytes)[tensorMapBytes]);

/// One row of a box: `before` bytes outside the tensor, `inside` bytes at
/// `address`, and the rest outside again.
struct TensorRow {
  uint32_t boxOffset = 0; ///< Unswizzled.
  uint32_t before = 0;
  uint32_t inside = 0;
  uint64_t address = 0; ///< 0 if nothing is inside.
};
/// All rows of the box at `coordinates`.
std::vector<TensorRow> rowsOf(const TensorMap &map, const int32_t *coordinates);

/// Copies between a swizzled box at shared offset `offset` (whose first byte is
/// `shared`) and `bytes` plain bytes of it from `boxOffset` on.
void writeBox(const TensorMap &map, std::byte *shared, uint32_t offset,
              uint32_t boxOffset, const std::byte *from, uint32_t bytes);
void readBox(const TensorMap &map, const std::byte *shared, uint32_t offset,
             uint32_t boxOffset, std::byte *to, uint32_t bytes);
/// Fills a part of a box with zeros or NaN.
void fillBox(const TensorMap &map, std::byte *shared, uint32_t offset,
             uint32_t boxOffset, uint32_t bytes);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_TENSORMAP_H
