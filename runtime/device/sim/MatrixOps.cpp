//===- MatrixOps.cpp - mma.sync, ldmatrix, stmatrix -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Fragments, with g = lane / 4 and t = lane % 4 (PTX ISA, "Matrix fragments for
// mma"): a row of A or column of B takes 32 bytes for the full shapes (k32 of
// bytes, k16 of halves) and 16 for the half ones. Register i of A holds bytes
// 4t..4t+3 of row g + 8 * (i & 1), in the i / 2-th half; register i of B the
// same of column g. Accumulators 2i and 2i+1 are columns 2t and 2t+1 of row
// g + 8i; halves are packed in pairs.
//
// Floating-point products are exact in f32 and are added to the accumulator in
// f32, k ascending, each sum rounded to nearest. Hardware sums several products
// at once with its own truncation: results are comparable within a bound only.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Arithmetic.h"
#include "runtime/device/sim/MemoryAccess.h"
#include "runtime/device/sim/Opcodes.h"

#include <array>
#include <fmt/format.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

using namespace quern;
using namespace quern::sim;

namespace {

bool requireWholeWarp(Warp &warp, const Instr &instr) {
  if (warp.mask == ~uint32_t(0))
    return true;
  warp.block->fault(&warp, &instr, FaultKind::DivergentCollective, -1,
                    fmt::format("only {} of 32 threads execute an instruction "
                                "that needs the whole warp",
                                __builtin_popcount(warp.mask)));
  return false;
}

// Element types of A and B: how they are stored and what they multiply as.
struct S8 {
  using Storage = int8_t;
  using Value = int32_t;
  static int32_t load(int8_t x) { return x; }
};
struct U8 {
  using Storage = uint8_t;
  using Value = int32_t;
  static int32_t load(uint8_t x) { return x; }
};
struct F16 {
  using Storage = uint16_t;
  using Value = float;
  static float load(uint16_t x) { return halfToFloat(x); }
};
struct BF16 {
  using Storage = uint16_t;
  using Value = float;
  static float load(uint16_t x) { return bfloatToFloat(x); }
};
template <const Format &format> struct F8 {
  using Storage = uint8_t;
  using Value = float;
  static float load(uint8_t x) {
    static const auto table = [] {
      std::array<float, 256> values;
      for (unsigned i = 0; i < 256; ++i)
        values[i] = static_cast<float>(decode(i, format));
      return values;
    }();
    return table[x];
  }
};
using E4M3 = F8<formatE4M3>;
using E5M2 = F8<formatE5M2>;

/// c += a * b with n innermost, k ascending.
template <unsigned maxK>
void accumulateFloats(const float (&a)[16][maxK], const float (&b)[maxK][8],
                      float (&c)[16][8], unsigned depth) {
  for (unsigned row = 0; row < 16; ++row) {
    float sum[8];
    std::memcpy(sum, c[row], sizeof(sum));
    for (unsigned k = 0; k < depth; ++k)
      for (unsigned n = 0; n < 8; ++n)
        sum[n] += a[row][k] * b[k][n];
    std::memcpy(c[row], sum, sizeof(sum));
  }
}

/// The same on bytes widened to 16 bits; sums wrap. Two neighbouring k at once,
/// which is one instruction (pmaddwd) on x86: products of bytes cannot overflow
/// the pair's 32 bits.
template <unsigned maxK>
void accumulateIntegers(const int16_t (&a)[16][maxK],
                        const int16_t (&b)[maxK][8], int32_t (&c)[16][8],
                        unsigned depth) {
  alignas(16) int16_t pairs[maxK / 2][8][2];
  for (unsigned k = 0; k < depth; ++k)
    for (unsigned n = 0; n < 8; ++n)
      pairs[k / 2][n][k % 2] = b[k][n];
  for (unsigned row = 0; row < 16; ++row) {
#if defined(__SSE2__)
    auto *out = reinterpret_cast<__m128i *>(c[row]);
    __m128i low = _mm_loadu_si128(out), high = _mm_loadu_si128(out + 1);
    for (unsigned k = 0; k < depth / 2; ++k) {
      int32_t both;
      std::memcpy(&both, &a[row][2 * k], sizeof(both));
      __m128i x = _mm_set1_epi32(both);
      const auto *y = reinterpret_cast<const __m128i *>(pairs[k]);
      low = _mm_add_epi32(low, _mm_madd_epi16(x, y[0]));
      high = _mm_add_epi32(high, _mm_madd_epi16(x, y[1]));
    }
    _mm_storeu_si128(out, low);
    _mm_storeu_si128(out + 1, high);
#else
    for (unsigned k = 0; k < depth / 2; ++k)
      for (unsigned n = 0; n < 8; ++n)
        c[row][n] = static_cast<int32_t>(
            static_cast<uint32_t>(c[row][n]) +
            static_cast<uint32_t>(a[row][2 * k] * pairs[k][n][0] +
                                  a[row][2 * k + 1] * pairs[k][n][1]));
#endif
  }
}

/// Vector operands: D, A, B, C. `flags` bit 0: f16 accumulators; bit 1: half
/// the K of the full shape.
template <typename TA, typename TB> void mma(Warp &warp, const Instr &instr) {
  if (!requireWholeWarp(warp, instr))
    return;
  using Value = typename TA::Value;
  using StorageA = typename TA::Storage;
  using StorageB = typename TB::Storage;
  const uint32_t *slots = &warp.block->kernel->slotPool[instr.vectorBegin];
  bool halfAccumulators = instr.flags & 1;
  unsigned halves = instr.flags & 2 ? 1 : 2;
  unsigned accumulators = halfAccumulators ? 2 : 4;
  const uint32_t *slotsD = slots, *slotsA = slotsD + accumulators,
                 *slotsB = slotsA + 2 * halves, *slotsC = slotsB + halves;

  // Unpack to rows of A and to B with n innermost.
  constexpr unsigned perWord = 4 / sizeof(StorageA);
  constexpr unsigned maxK = 32 / sizeof(StorageA);
  unsigned depth = maxK / 2 * halves;
  // Bytes multiply as 16-bit numbers.
  using Factor =
      std::conditional_t<std::is_same_v<Value, float>, float, int16_t>;
  Factor a[16][maxK];
  Factor b[maxK][8];
  Value c[16][8];
  for (unsigned part = 0; part < 2 * halves; ++part) {
    const uint32_t *words = warp.lanes<uint32_t>(slotsA[part]);
    for (unsigned lane = 0; lane < 32; ++lane) {
      StorageA packed[perWord];
      std::memcpy(packed, &words[lane], 4);
      unsigned row = lane / 4 + 8 * (part & 1);
      unsigned column = lane % 4 * perWord + part / 2 * (maxK / 2);
      for (unsigned i = 0; i < perWord; ++i)
        a[row][column + i] = static_cast<Factor>(TA::load(packed[i]));
    }
  }
  for (unsigned part = 0; part < halves; ++part) {
    const uint32_t *words = warp.lanes<uint32_t>(slotsB[part]);
    for (unsigned lane = 0; lane < 32; ++lane) {
      StorageB packed[perWord];
      std::memcpy(packed, &words[lane], 4);
      unsigned row = lane % 4 * perWord + part * (maxK / 2);
      for (unsigned i = 0; i < perWord; ++i)
        b[row + i][lane / 4] = static_cast<Factor>(TB::load(packed[i]));
    }
  }
  for (unsigned i = 0; i < accumulators; ++i) {
    const uint32_t *words = warp.lanes<uint32_t>(slotsC[i]);
    for (unsigned lane = 0; lane < 32; ++lane) {
      unsigned g = lane / 4, t = lane % 4;
      if constexpr (std::is_same_v<Value, float>) {
        if (halfAccumulators) {
          c[g + 8 * i][2 * t] = halfToFloat(static_cast<uint16_t>(words[lane]));
          c[g + 8 * i][2 * t + 1] =
              halfToFloat(static_cast<uint16_t>(words[lane] >> 16));
          continue;
        }
      }
      c[g + i / 2 * 8][2 * t + (i & 1)] = std::bit_cast<Value>(words[lane]);
    }
  }

  if constexpr (std::is_same_v<Value, float>)
    accumulateFloats(a, b, c, depth);
  else
    accumulateIntegers(a, b, c, depth);

  for (unsigned i = 0; i < accumulators; ++i) {
    uint32_t *words = warp.lanes<uint32_t>(slotsD[i]);
    for (unsigned lane = 0; lane < 32; ++lane) {
      unsigned g = lane / 4, t = lane % 4;
      if constexpr (std::is_same_v<Value, float>) {
        if (halfAccumulators) {
          words[lane] = floatToHalf(c[g + 8 * i][2 * t]) |
                        uint32_t(floatToHalf(c[g + 8 * i][2 * t + 1])) << 16;
          continue;
        }
        words[lane] = std::bit_cast<uint32_t>(
            canonical(c[g + i / 2 * 8][2 * t + (i & 1)]));
      } else {
        words[lane] =
            std::bit_cast<uint32_t>(c[g + i / 2 * 8][2 * t + (i & 1)]);
      }
    }
  }
}

/// `immediate`: number of 8x8 matrices; `flags`: transposed.
void loadMatrix(Warp &warp, const Instr &instr) {
  if (!requireWholeWarp(warp, instr))
    return;
  Block &block = *warp.block;
  LaneAddresses addresses = computeAddresses(warp, instr.address);
  unsigned matrices = instr.vectorCount;
  const uint32_t *slots = &block.kernel->slotPool[instr.vectorBegin];
  if (instr.space == AddressSpace::Generic)
    for (uint64_t &address : addresses.value)
      address -= sharedWindow;
  uint16_t rows[8][8];
  uint32_t result[4][32];
  for (unsigned matrix = 0; matrix < matrices; ++matrix) {
    for (unsigned row = 0; row < 8; ++row) {
      int lane = static_cast<int>(matrix * 8 + row);
      uint64_t offset = addresses.value[lane];
      if (offset % 16) {
        block.fault(&warp, &instr, FaultKind::Misaligned, lane,
                    fmt::format("the row at shared offset {} needs a multiple "
                                "of 16",
                                static_cast<int64_t>(offset)));
        return;
      }
      if (!checkShared(warp, instr, lane, offset, 16, Access::Read))
        return;
      std::memcpy(rows[row], block.shared + offset, 16);
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
      unsigned g = lane / 4, t = lane % 4;
      uint16_t low = instr.flags ? rows[2 * t][g] : rows[g][2 * t];
      uint16_t high = instr.flags ? rows[2 * t + 1][g] : rows[g][2 * t + 1];
      result[matrix][lane] = low | uint32_t(high) << 16;
    }
  }
  for (unsigned matrix = 0; matrix < matrices; ++matrix)
    std::memcpy(warp.lanes<uint32_t>(slots[matrix]), result[matrix], 128);
  if (block.launch->options.checks) {
    Counters &counters = block.launch->counters;
    counters.sharedRequests += 1;
    uint32_t lanes =
        matrices == 4 ? ~uint32_t(0) : (uint32_t(1) << (8 * matrices)) - 1;
    counters.sharedBankConflicts += bankConflicts(addresses, lanes, 16);
  }
}

void storeMatrix(Warp &warp, const Instr &instr) {
  if (!requireWholeWarp(warp, instr))
    return;
  Block &block = *warp.block;
  LaneAddresses addresses = computeAddresses(warp, instr.address);
  unsigned matrices = instr.vectorCount;
  const uint32_t *slots = &block.kernel->slotPool[instr.vectorBegin];
  if (instr.space == AddressSpace::Generic)
    for (uint64_t &address : addresses.value)
      address -= sharedWindow;
  for (unsigned matrix = 0; matrix < matrices; ++matrix) {
    const uint32_t *words = warp.lanes<uint32_t>(slots[matrix]);
    uint16_t rows[8][8];
    for (unsigned lane = 0; lane < 32; ++lane) {
      unsigned g = lane / 4, t = lane % 4;
      uint16_t low = static_cast<uint16_t>(words[lane]);
      uint16_t high = static_cast<uint16_t>(words[lane] >> 16);
      (instr.flags ? rows[2 * t][g] : rows[g][2 * t]) = low;
      (instr.flags ? rows[2 * t + 1][g] : rows[g][2 * t + 1]) = high;
    }
    for (unsigned row = 0; row < 8; ++row) {
      int lane = static_cast<int>(matrix * 8 + row);
      uint64_t offset = addresses.value[lane];
      if (offset % 16) {
        block.fault(&warp, &instr, FaultKind::Misaligned, lane,
                    fmt::format("the row at shared offset {} needs a multiple "
                                "of 16",
                                static_cast<int64_t>(offset)));
        return;
      }
      if (!checkShared(warp, instr, lane, offset, 16, Access::Write))
        return;
      std::memcpy(block.shared + offset, rows[row], 16);
    }
  }
}

void bindVector(InstrBuilder &b, size_t index, unsigned count, bool isResult) {
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

template <typename TA> ExecFn pickMma(Type second) {
  switch (second.kind) {
  case Type::Kind::Signed:
    if constexpr (std::is_same_v<typename TA::Value, int32_t>)
      return mma<TA, S8>;
    return nullptr;
  case Type::Kind::Unsigned:
    if constexpr (std::is_same_v<typename TA::Value, int32_t>)
      return mma<TA, U8>;
    return nullptr;
  case Type::Kind::E4M3:
    if constexpr (sizeof(typename TA::Storage) == 1 &&
                  std::is_same_v<typename TA::Value, float>)
      return mma<TA, E4M3>;
    return nullptr;
  case Type::Kind::E5M2:
    if constexpr (sizeof(typename TA::Storage) == 1 &&
                  std::is_same_v<typename TA::Value, float>)
      return mma<TA, E5M2>;
    return nullptr;
  default:
    return nullptr;
  }
}

void decodeMma(InstrBuilder &b) {
  bool form = b.take("sync") && b.take("aligned");
  int shape = b.takeOneOf({"m16n8k32", "m16n8k16", "m16n8k8"});
  form = form && b.take("row") && b.take("col");
  if (!form || shape < 0)
    return b.refuse("mma.sync.aligned.{m16n8k32,m16n8k16,m16n8k8}.row.col is "
                    "expected");
  b.take("kind::f8f6f4");
  Type d = b.type(), a = b.type(), second = b.type(), c = b.type();
  b.expectOperands(4, 4);
  if (b.failed())
    return;
  bool isByte = a.bytes == 1;
  unsigned k = shape == 0 ? 32 : shape == 1 ? 16 : 8;
  unsigned fullK = isByte ? 32 : 16;
  bool integers = a.isInteger() && isByte && second.isInteger() &&
                  second.bytes == 1 && a.kind != Type::Kind::Bits;
  bool accumulatorsFit =
      integers ? d.is(Type::Kind::Signed, 4) && c.is(Type::Kind::Signed, 4)
               : d.kind == Type::Kind::Float && c.kind == Type::Kind::Float &&
                     d.bytes == c.bytes && (d.bytes == 4 || d.bytes == 2);
  if ((k != fullK && k * 2 != fullK) || !accumulatorsFit)
    return b.refuse("this combination of shape and types is not supported");
  bool halfAccumulators = d.bytes == 2;
  unsigned halves = k == fullK ? 2 : 1;
  unsigned accumulators = halfAccumulators ? 2 : 4;
  b.instr.flags =
      static_cast<uint8_t>(halfAccumulators | (halves == 1 ? 2 : 0));
  bindVector(b, 0, accumulators, true);
  bindVector(b, 1, 2 * halves, false);
  bindVector(b, 2, halves, false);
  bindVector(b, 3, accumulators, false);
  b.instr.undefRule = UndefRule::Require;
  if (a.is(Type::Kind::Signed, 1))
    b.instr.exec = pickMma<S8>(second);
  else if (a.is(Type::Kind::Unsigned, 1))
    b.instr.exec = pickMma<U8>(second);
  else if (a.is(Type::Kind::E4M3, 1))
    b.instr.exec = pickMma<E4M3>(second);
  else if (a.is(Type::Kind::E5M2, 1))
    b.instr.exec = pickMma<E5M2>(second);
  else if (a.is(Type::Kind::Float, 2) && second.is(Type::Kind::Float, 2))
    b.instr.exec = mma<F16, F16>;
  else if (a.is(Type::Kind::BFloat, 2) && second.is(Type::Kind::BFloat, 2) &&
           !halfAccumulators)
    b.instr.exec = mma<BF16, BF16>;
}

void decodeMatrixAccess(InstrBuilder &b, bool isLoad) {
  bool form = b.take("sync") && b.take("aligned") && b.take("m8n8");
  int count = b.takeOneOf({"x1", "x2", "x4"});
  bool transposed = b.take("trans");
  bool shared = b.take("shared") || b.take("shared::cta");
  b.expectOperands(2, 2);
  if (!form || count < 0 || !b.take("b16"))
    return b.refuse(".sync.aligned.m8n8.{x1,x2,x4}[.trans][.shared].b16 is "
                    "expected");
  b.instr.space = shared ? AddressSpace::Shared : AddressSpace::Generic;
  b.instr.flags = transposed;
  bindVector(b, isLoad ? 0 : 1, 1u << count, isLoad);
  b.instr.address = b.address(isLoad ? 1 : 0);
  b.instr.undefRule = UndefRule::Require;
  b.instr.exec = isLoad ? loadMatrix : storeMatrix;
}

void decodeLdmatrix(InstrBuilder &b) { decodeMatrixAccess(b, true); }
void decodeStmatrix(InstrBuilder &b) { decodeMatrixAccess(b, false); }

} // namespace

std::span<const Opcode> sim::matrixOpcodes() {
  constexpr InstrClass c = InstrClass::Matrix;
  static const Opcode table[] = {
      {"mma", c, decodeMma},
      {"ldmatrix", c, decodeLdmatrix},
      {"stmatrix", c, decodeStmatrix},
  };
  return table;
}
