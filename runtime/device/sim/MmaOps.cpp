//===- MmaOps.cpp - mma.sync ----------------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Shapes come in two depths: rows of 32 bytes (m16n8k16 of halves, m16n8k32 of
// bytes, ...) and of 16; and m8n8 is the upper half of an m16n8 of the smaller
// depth. Which types exist on which target follows what ptxas accepts.
//
// Block scaling (PTX ISA, "Block scaling for mma.sync"): scales of A's rows g
// and g + 8 come from the two threads of a quad that thread-id-a selects, those
// of B's column g from the one that thread-id-b selects; byte-id tells where in
// the register they begin.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Arithmetic.h"
#include "runtime/device/sim/MatrixOps.h"

#include <algorithm>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

namespace {

// Instr::flags.
constexpr uint8_t flagHalfAccumulators = 1;
constexpr uint8_t flagHalfDepth = 2;
constexpr uint8_t flagSaturate = 4;
constexpr uint8_t flagEightRows = 8;
constexpr uint8_t flagScaleE4M3 = 16; ///< Scales are ue4m3, not ue8m0.

struct OperandCounts {
  unsigned accumulators, a, b;
};
OperandCounts countsOf(uint8_t flags) {
  if (flags & flagEightRows)
    return {2, 1, 1};
  unsigned halves = flags & flagHalfDepth ? 1 : 2;
  return {flags & flagHalfAccumulators ? 2u : 4u, 2 * halves, halves};
}

/// Registers of the instruction; rows 8 to 15 of m8n8 are zero and go nowhere.
struct Binding {
  Fragments fragments;
  alignas(64) uint32_t single[4][32]; ///< f16 accumulators as f32.
  alignas(64) uint32_t nowhere[32];
};

alignas(64) constexpr uint32_t zeros[32] = {};

void bind(Warp &warp, const Instr &instr, Binding &binding) {
  OperandCounts counts = countsOf(instr.flags);
  const uint32_t *slots = &warp.block->kernel->slotPool[instr.vectorBegin];
  const uint32_t *slotsA = slots + counts.accumulators;
  const uint32_t *slotsB = slotsA + counts.a, *slotsC = slotsB + counts.b;
  Fragments &f = binding.fragments;
  f.halves = instr.flags & (flagHalfDepth | flagEightRows) ? 1 : 2;
  f.saturate = instr.flags & flagSaturate;
  for (unsigned i = 0; i < counts.a; ++i)
    f.a[i] = warp.lanes<std::byte>(slotsA[i]);
  for (unsigned i = 0; i < counts.b; ++i)
    f.b[i] = warp.lanes<std::byte>(slotsB[i]);
  if (instr.flags & flagHalfAccumulators) {
    for (unsigned i = 0; i < 4; ++i) {
      const uint32_t *packed = warp.lanes<uint32_t>(slotsC[i / 2]);
      for (unsigned lane = 0; lane < 32; ++lane)
        binding.single[i][lane] = std::bit_cast<uint32_t>(
            halfToFloat(static_cast<uint16_t>(packed[lane] >> i % 2 * 16)));
      f.c[i] = f.d[i] = binding.single[i];
    }
    return;
  }
  for (unsigned i = 0; i < counts.accumulators; ++i) {
    f.c[i] = warp.lanes<uint32_t>(slotsC[i]);
    f.d[i] = warp.lanes<uint32_t>(slots[i]);
  }
  if (instr.flags & flagEightRows) {
    f.a[1] = reinterpret_cast<const std::byte *>(zeros);
    f.c[2] = f.c[3] = zeros;
    f.d[2] = f.d[3] = binding.nowhere;
  }
}

void finish(Warp &warp, const Instr &instr, const Binding &binding) {
  if (!(instr.flags & flagHalfAccumulators))
    return;
  const uint32_t *slots = &warp.block->kernel->slotPool[instr.vectorBegin];
  for (unsigned i = 0; i < 2; ++i) {
    uint32_t *packed = warp.lanes<uint32_t>(slots[i]);
    for (unsigned lane = 0; lane < 32; ++lane)
      packed[lane] =
          floatToHalf(std::bit_cast<float>(binding.single[2 * i][lane])) |
          uint32_t(floatToHalf(
              std::bit_cast<float>(binding.single[2 * i + 1][lane])))
              << 16;
  }
}

/// Vector operands: D, A, B, C. `immediate`: the MultiplyFn.
void mma(Warp &warp, const Instr &instr) {
  if (!requireWholeWarp(warp, instr))
    return;
  Binding binding;
  bind(warp, instr, binding);
  reinterpret_cast<MultiplyFn>(instr.immediate)(binding.fragments);
  finish(warp, instr, binding);
}

/// `immediate`: types of A and B and scales for each row, a byte each. `slots`:
/// scales of A, byte-id, thread-id; the same of B.
void mmaScaled(Warp &warp, const Instr &instr) {
  if (!requireWholeWarp(warp, instr))
    return;
  Binding binding;
  bind(warp, instr, binding);
  BlockScales scales;
  scales.perRow = static_cast<unsigned>(instr.immediate >> 16 & 0xff);
  auto scaleOf = [&](uint32_t slot, unsigned lane, unsigned byte) {
    uint32_t bits = warp.lanes<uint32_t>(slot)[lane] >> byte * 8 & 0xff;
    if (instr.flags & flagScaleE4M3)
      return static_cast<float>(decode(bits & 0x7f, formatE4M3));
    return bits == 0xff ? std::bit_cast<float>(0x7fffffffu)
                        : static_cast<float>(
                              std::ldexp(1.0, static_cast<int>(bits) - 127));
  };
  uint32_t ids[4];
  const unsigned at[4] = {1, 2, 4, 5};
  for (unsigned i = 0; i < 4; ++i) {
    ids[i] = warp.lanes<uint16_t>(instr.slots[at[i]])[0];
    bool isByte = i % 2 == 0;
    uint32_t limit = isByte ? 4 - scales.perRow : i == 1 ? 1 : 3;
    if (ids[i] > limit || (isByte && ids[i] % scales.perRow)) {
      warp.block->fault(&warp, &instr, FaultKind::InvalidOperation, -1,
                        fmt::format("{}-id {} of the scales of {}",
                                    isByte ? "byte" : "thread", ids[i],
                                    i < 2 ? "A" : "B"));
      return;
    }
  }
  for (unsigned g = 0; g < 8; ++g)
    for (unsigned block = 0; block < scales.perRow; ++block) {
      for (unsigned upper = 0; upper < 2; ++upper)
        scales.a[g + 8 * upper][block] =
            scaleOf(instr.slots[0], g * 4 + ids[1] * 2 + upper, ids[0] + block);
      scales.b[g][block] =
          scaleOf(instr.slots[3], g * 4 + ids[3], ids[2] + block);
    }
  multiplyScaled(static_cast<MatrixType>(instr.immediate & 0xff),
                 static_cast<MatrixType>(instr.immediate >> 8 & 0xff),
                 binding.fragments, scales);
  finish(warp, instr, binding);
}

//===----------------------------------------------------------------------===//
// Decoding
//===----------------------------------------------------------------------===//

bool isSixOrFourBits(MatrixType type) {
  return type == MatrixType::E3M2 || type == MatrixType::E2M3 ||
         type == MatrixType::E2M1;
}

void bindAll(InstrBuilder &b) {
  OperandCounts counts = countsOf(b.instr.flags);
  bindVector(b, 0, counts.accumulators, true);
  bindVector(b, 1, counts.a, false);
  bindVector(b, 2, counts.b, false);
  bindVector(b, 3, counts.accumulators, false);
  b.instr.undefRule = UndefRule::Require;
}

/// The first type left, nibbles included, which are no type of registers.
std::optional<MatrixType> takeOperandType(InstrBuilder &b) {
  std::string_view nibble = b.firstOf({"s4", "u4"});
  if (nibble.empty())
    return matrixTypeOf(b.type());
  b.take(nibble);
  return nibble == "s4" ? MatrixType::S4 : MatrixType::U4;
}

/// kind::mxf8f6f4, mxf4 and mxf4nvf4.
void decodeScaled(InstrBuilder &b, int kind, std::string_view shape) {
  b.requireTargets({"sm_120a", "sm_120f", "sm_121a"}, "block-scaled mma");
  if (!b.take("block_scale"))
    return b.refuse(".block_scale is missing");
  int vector = b.takeOneOf({"scale_vec::1X", "scale_vec::2X", "scale_vec::4X"});
  bool e4m3Scales = b.take("ue4m3");
  bool ue8m0Scales = b.take("ue8m0");
  Type d = b.type(), a = b.type(), second = b.type(), c = b.type();
  b.expectOperands(8, 8);
  if (b.failed())
    return;
  std::optional<MatrixType> typeA = matrixTypeOf(a),
                            typeB = matrixTypeOf(second);
  bool fourBits = kind != 0;
  if (vector < 0)
    vector = kind == 0 ? 0 : kind == 1 ? 1 : -1;
  bool fits = d.is(Type::Kind::Float, 4) && c.is(Type::Kind::Float, 4) &&
              typeA && typeB && !isInteger(*typeA) && !isInteger(*typeB) &&
              elementBits(*typeA) == 8 && elementBits(*typeB) == 8 &&
              e4m3Scales != ue8m0Scales &&
              shape == (fourBits ? "m16n8k64" : "m16n8k32");
  if (kind == 0)
    fits = fits && vector == 0 && ue8m0Scales;
  else
    fits = fits && *typeA == MatrixType::E2M1 && *typeB == MatrixType::E2M1 &&
           ((vector == 1 && ue8m0Scales) ||
            (kind == 2 && vector == 2 && e4m3Scales));
  if (!fits)
    return b.refuse("this combination of kind, shape, types and scales does "
                    "not exist");
  if (fourBits)
    typeA = typeB = MatrixType::E2M1Packed;
  b.instr.flags = e4m3Scales ? flagScaleE4M3 : 0;
  b.instr.immediate = static_cast<uint64_t>(*typeA) |
                      static_cast<uint64_t>(*typeB) << 8 |
                      uint64_t(1) << (16 + vector);
  for (size_t at : {size_t(4), size_t(6)}) {
    std::vector<const ptx::Operand *> ids = b.elements(at + 1);
    if (ids.size() != 2)
      return b.refuse("{byte-id, thread-id} is expected behind the scales");
    b.source(at, 4);
    b.source(*ids[0], 2);
    b.source(*ids[1], 2);
  }
  b.instr.exec = mmaScaled;
  bindAll(b);
}

} // namespace

bool sim::requireWholeWarp(Warp &warp, const Instr &instr) {
  if (warp.mask == ~uint32_t(0))
    return true;
  warp.block->fault(&warp, &instr, FaultKind::DivergentCollective, -1,
                    fmt::format("only {} of 32 threads execute an instruction "
                                "that needs the whole warp",
                                __builtin_popcount(warp.mask)));
  return false;
}

void sim::bindVector(InstrBuilder &b, size_t index, unsigned count,
                     bool isResult) {
  std::vector<const ptx::Operand *> parts = b.elements(index);
  if (parts.size() != count)
    return b.refuse(fmt::format("operand {} has {} registers; {} are expected",
                                index + 1, parts.size(), count));
  for (const ptx::Operand *part : parts) {
    if (isResult && part->name == "_")
      return b.refuse("every result needs a register");
    b.addToVector(isResult ? b.result(*part, 4) : b.source(*part, 4));
  }
}

std::optional<MatrixType> sim::matrixTypeOf(Type type) {
  using K = Type::Kind;
  if (type.packed)
    return std::nullopt;
  static const std::pair<Type, MatrixType> table[] = {
      {{K::Signed, 1}, MatrixType::S8},   {{K::Unsigned, 1}, MatrixType::U8},
      {{K::Float, 2}, MatrixType::F16},   {{K::BFloat, 2}, MatrixType::BF16},
      {{K::TFloat, 4}, MatrixType::TF32}, {{K::E4M3, 1}, MatrixType::E4M3},
      {{K::E5M2, 1}, MatrixType::E5M2},   {{K::E3M2, 1}, MatrixType::E3M2},
      {{K::E2M3, 1}, MatrixType::E2M3},   {{K::E2M1, 1}, MatrixType::E2M1},
  };
  for (const auto &[known, matrix] : table)
    if (known.kind == type.kind && known.bytes == type.bytes)
      return matrix;
  return std::nullopt;
}

void sim::decodeMma(InstrBuilder &b) {
  if (b.take("sp") || b.take("sp::ordered_metadata"))
    return b.refuse("sparse products (mma.sp) are not supported");
  bool form = b.take("sync") && b.take("aligned");
  static constexpr std::string_view shapes[] = {
      "m16n8k4", "m16n8k8",   "m16n8k16",  "m16n8k32", "m16n8k64", "m8n8k16",
      "m8n8k32", "m16n8k128", "m16n8k256", "m8n8k128", "m8n8k4"};
  std::string_view shape;
  for (std::string_view candidate : shapes)
    if (b.take(candidate)) {
      shape = candidate;
      break;
    }
  form = form && b.take("row") && b.take("col");
  if (!form || shape.empty())
    return b.refuse("mma.sync.aligned.m16n8k<n>.row.col or .m8n8k<n>.row.col "
                    "is expected");
  int kind = b.takeOneOf({"kind::mxf8f6f4", "kind::mxf4", "kind::mxf4nvf4"});
  if (kind >= 0)
    return decodeScaled(b, kind, shape);
  bool f8f6f4 = b.take("kind::f8f6f4");
  bool saturate = b.take("satfinite");
  if (b.take("b1"))
    return b.refuse("products of single bits (.b1) are not supported");
  Type d = b.type();
  std::optional<MatrixType> typeA = takeOperandType(b);
  std::optional<MatrixType> typeB = takeOperandType(b);
  Type c = b.type();
  b.expectOperands(4, 4);
  if (b.failed())
    return;
  if (!typeA || !typeB)
    return b.refuse("products of these types are not supported");
  bool integers = isInteger(*typeA);
  bool fp8 = !integers && elementBits(*typeA) == 8;
  MultiplyFn multiply = findMultiply(*typeA, *typeB);
  bool halfAccumulators = d.is(Type::Kind::Float, 2);
  bool accumulatorsFit =
      integers ? d.is(Type::Kind::Signed, 4) && c.is(Type::Kind::Signed, 4)
               : d.kind == Type::Kind::Float && c.kind == Type::Kind::Float &&
                     d.bytes == c.bytes &&
                     (d.bytes == 4 ||
                      (halfAccumulators && (fp8 || *typeA == MatrixType::F16)));
  unsigned fullDepth = 256 / elementBits(*typeA);
  bool eightRows = shape.starts_with("m8n8");
  unsigned depth = 0;
  for (char digit : shape.substr(shape.find('k') + 1))
    depth = depth * 10 + static_cast<unsigned>(digit - '0');
  bool shapeFits = eightRows ? integers && depth * 2 == fullDepth
                             : depth == fullDepth || depth * 2 == fullDepth;
  if (!multiply || !accumulatorsFit || !shapeFits || (saturate && !integers) ||
      (f8f6f4 && (!fp8 || depth != 32)))
    return b.refuse("this combination of shape and types does not exist");
  bool narrow = isSixOrFourBits(*typeA) || isSixOrFourBits(*typeB);
  if (fp8)
    b.requireTarget(89, "mma of 8-bit floats");
  if (f8f6f4)
    b.requireTarget(100, "kind::f8f6f4");
  if (narrow)
    b.requireTargets({"sm_120a", "sm_120f", "sm_121a"}, "mma of 6- and 4-bit "
                                                        "floats");
  if (narrow && !f8f6f4)
    return b.refuse("6- and 4-bit floats need kind::f8f6f4");
  b.instr.flags = static_cast<uint8_t>(
      (halfAccumulators ? flagHalfAccumulators : 0) |
      (depth != fullDepth ? flagHalfDepth : 0) | (saturate ? flagSaturate : 0) |
      (eightRows ? flagEightRows : 0));
  b.instr.immediate = reinterpret_cast<uint64_t>(multiply);
  bindAll(b);
  b.instr.exec = mma;
}
