//===- WgmmaOps.cpp - wgmma -----------------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A product of 64 rows of A by 8 to 256 columns of B, by the four warps of a
// warpgroup: warp i has rows 16i to 16i + 15, its registers hold them as mma's
// fragments do, eight columns after eight.
//
// The product is an operation of the async proxy. It is issued when the last of
// the four warps arrives, reads shared memory as one access of the whole
// warpgroup, and is carried out at a random moment before the end of the
// wgmma.wait_group that waits for it; products on the same accumulator in
// order. Until that wait its accumulators, and registers of A, must not be
// touched; a plain mov of an accumulator, which the assembler removes by
// renaming, carries the state over to the copy.
//
// A register that a wgmma uses and an ordinary instruction has written needs a
// wgmma.fence in between (PTX ISA, "wgmma.fence").
//
// Arithmetic: see MatrixArithmetic.h.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Arithmetic.h"
#include "runtime/device/sim/AsyncProxy.h"
#include "runtime/device/sim/MatrixOps.h"
#include "runtime/device/sim/Opcodes.h"
#include "runtime/device/sim/WgmmaLayout.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

namespace {

// Instr::flags.
constexpr uint8_t flagHalfAccumulators = 1;
constexpr uint8_t flagRegistersOfA = 2;
constexpr uint8_t flagTransposeA = 4;
constexpr uint8_t flagTransposeB = 8;
constexpr uint8_t flagNegate = 16;
constexpr uint8_t flagSaturate = 32;
constexpr uint8_t flagScaleNegated = 64; ///< The predicate scale-d is `!p`.

// Instr::slots: descriptor of B, scale-d, descriptor of A. Vector: D, then
// registers of A. `immediate`: the MultiplyFn; `target`: columns; `bytes`: bits
// of an element.

unsigned accumulatorCount(const Instr &instr) {
  return instr.target / (instr.flags & flagHalfAccumulators ? 4 : 2);
}

/// One product on its way.
struct Product {
  Warp *warps[4];
  const Instr *instr;
  Block *block;
  WgmmaMatrix a, b;
  bool accumulate;
};

/// The 16 bytes of k that chunk `half` of line `index` (a row of A, a column of
/// B) consists of.
void gatherChunk(const Block &block, const WgmmaMatrix &matrix, uint32_t index,
                 uint32_t half, std::byte *to) {
  if (!matrix.mnMajor) {
    std::memcpy(to, block.shared + matrix.place(index, half), 16);
    return;
  }
  for (uint32_t k = 0; k < 8; ++k)
    std::memcpy(to + k * 2,
                block.shared + matrix.place(half * 8 + k, index / 8) +
                    index % 8 * 2,
                2);
}

/// Flips the signs of 128 bytes of elements.
void negate(std::byte *data, unsigned bits) {
  for (unsigned i = bits / 8 - 1; i < 128; i += bits / 8)
    data[i] ^= std::byte{0x80};
}

void perform(const Product &product) {
  const Instr &instr = *product.instr;
  const Block &block = *product.block;
  const uint32_t *slots = &block.kernel->slotPool[instr.vectorBegin];
  const uint32_t *slotsA = slots + accumulatorCount(instr);
  bool halves = instr.flags & flagHalfAccumulators;
  auto multiply = reinterpret_cast<MultiplyFn>(instr.immediate);
  alignas(64) static constexpr uint32_t zeros[32] = {};
  alignas(64) std::byte a[4][4][128];
  alignas(64) std::byte b[2][128];
  for (unsigned w = 0; w < 4; ++w)
    for (unsigned i = 0; i < 4; ++i) {
      if (instr.flags & flagRegistersOfA)
        std::memcpy(a[w][i], product.warps[w]->lanes<std::byte>(slotsA[i]),
                    128);
      else
        for (unsigned row = 0; row < 8; ++row)
          gatherChunk(block, product.a, w * 16 + (i & 1) * 8 + row, i / 2,
                      a[w][i] + row * 16);
      if (instr.flags & flagNegate)
        negate(a[w][i], instr.bytes);
    }
  for (unsigned n = 0; n < instr.target / 8; ++n) {
    for (unsigned half = 0; half < 2; ++half)
      for (unsigned column = 0; column < 8; ++column)
        gatherChunk(block, product.b, n * 8 + column, half,
                    b[half] + column * 16);
    for (unsigned w = 0; w < 4; ++w) {
      Warp &warp = *product.warps[w];
      alignas(64) uint32_t single[4][32];
      Fragments f;
      f.saturate = instr.flags & flagSaturate;
      f.b[0] = b[0];
      f.b[1] = b[1];
      for (unsigned i = 0; i < 4; ++i) {
        f.a[i] = a[w][i];
        if (halves) {
          const uint32_t *packed = warp.lanes<uint32_t>(slots[n * 2 + i / 2]);
          for (unsigned lane = 0; lane < 32; ++lane)
            single[i][lane] = std::bit_cast<uint32_t>(
                halfToFloat(static_cast<uint16_t>(packed[lane] >> i % 2 * 16)));
          f.d[i] = single[i];
        } else {
          f.d[i] = warp.lanes<uint32_t>(slots[n * 4 + i]);
        }
        f.c[i] = product.accumulate ? f.d[i] : zeros;
      }
      multiply(f);
      for (unsigned i = 0; halves && i < 2; ++i) {
        uint32_t *packed = warp.lanes<uint32_t>(slots[n * 2 + i]);
        for (unsigned lane = 0; lane < 32; ++lane)
          packed[lane] =
              floatToHalf(std::bit_cast<float>(single[2 * i][lane])) |
              uint32_t(
                  floatToHalf(std::bit_cast<float>(single[2 * i + 1][lane])))
                  << 16;
      }
    }
  }
}

/// Registers every read of a matrix with the operation; false after a fault.
bool readMatrix(AsyncOp &op, Block &block, const WgmmaMatrix &matrix,
                uint32_t extent) {
  uint32_t lines = matrix.mnMajor ? 16 : extent;
  uint32_t chunks = matrix.mnMajor ? extent / 8 : 2;
  for (uint32_t line = 0; line < lines; ++line) {
    // Neighbouring chunks make one access, in whichever order they lie.
    uint32_t begin = matrix.place(line, 0), end = begin + 16;
    auto flush = [&] {
      return op.readShared({&block, begin}, end - begin) != nullptr;
    };
    for (uint32_t chunk = 1; chunk < chunks; ++chunk) {
      uint32_t at = matrix.place(line, chunk);
      if (at == end) {
        end += 16;
      } else if (at + 16 == begin) {
        begin = at;
      } else {
        if (!flush())
          return false;
        begin = at;
        end = at + 16;
      }
    }
    if (!flush())
      return false;
  }
  return true;
}

/// The value that all threads of the warpgroup must agree on.
template <typename T>
bool uniform(Warp *const (&warps)[4], const Instr &instr, uint32_t slot,
             const char *what, T &value) {
  value = warps[0]->lanes<T>(slot)[0];
  for (Warp *warp : warps)
    for (unsigned lane = 0; lane < 32; ++lane)
      if (warp->lanes<T>(slot)[lane] != value) {
        warp->block->fault(
            warp, &instr, FaultKind::InvalidOperation, static_cast<int>(lane),
            fmt::format("{} is not the same in all threads of the warpgroup",
                        what));
        return false;
      }
  return true;
}

/// Marks what the warp may not touch until the group has been waited for.
void markOperands(Warp &warp, const Instr &instr) {
  const uint32_t *slots = &warp.block->kernel->slotPool[instr.vectorBegin];
  for (unsigned i = 0; i < instr.vectorCount; ++i)
    markPending(warp, slots[i]);
}

void checkOperands(Warp &warp, const Instr &instr, bool accumulate) {
  const uint32_t *slots = &warp.block->kernel->slotPool[instr.vectorBegin];
  unsigned first = accumulate ? 0 : accumulatorCount(instr);
  for (unsigned i = first; i < instr.vectorCount; ++i) {
    uint32_t missing = ~warp.defined.lanes(slots[i]);
    if (missing) {
      warp.block->fault(&warp, &instr, FaultKind::UninitializedRegister,
                        __builtin_ctz(missing),
                        fmt::format("register {} of {} was never written in {} "
                                    "of 32 lanes",
                                    i < accumulatorCount(instr)
                                        ? i
                                        : i - accumulatorCount(instr),
                                    i < accumulatorCount(instr) ? "D" : "A",
                                    __builtin_popcount(missing)));
      return;
    }
  }
  bool unfenced = !warp.wgmmaFenced;
  for (unsigned i = 0; i < instr.vectorCount; ++i)
    unfenced |= warp.unfencedSlots[slots[i] >> 6];
  if (unfenced)
    warp.block->fault(
        &warp, &instr, FaultKind::PendingAccumulator, -1,
        warp.wgmmaFenced
            ? "a register of D or A was written by an ordinary instruction, "
              "and no wgmma.fence stands in between"
            : "no wgmma.fence has been executed before the first wgmma");
}

void multiplyAsync(Warp &warp, const Instr &instr) {
  Block &block = *warp.block;
  bool checks = block.launch->options.checks;
  if (warp.mask == ~uint32_t(0)) {
    bool accumulate = (warp.predicate(instr.slots[1]) != 0) !=
                      bool(instr.flags & flagScaleNegated);
    if (checks)
      checkOperands(warp, instr, accumulate);
    markOperands(warp, instr);
    warp.wgmmaPending.push_back({warp.wgmmaGroup, &instr, 0});
  }
  Product product;
  if (!meetWarpgroup(warp, instr, product.warps))
    return;
  uint64_t bitsA = 0, bitsB = 0;
  if (!uniform(product.warps, instr, instr.slots[0], "the descriptor of B",
               bitsB) ||
      (!(instr.flags & flagRegistersOfA) &&
       !uniform(product.warps, instr, instr.slots[2], "the descriptor of A",
                bitsA)))
    return;
  uint32_t scale = product.warps[0]->predicate(instr.slots[1]);
  for (Warp *member : product.warps)
    if (member->predicate(instr.slots[1]) != scale ||
        (scale && scale != ~uint32_t(0))) {
      block.fault(member, &instr, FaultKind::InvalidOperation, -1,
                  "scale-d is not the same in all threads of the warpgroup");
      return;
    }
  auto decode = [&](uint64_t bits, bool mnMajor, WgmmaMatrix &matrix) {
    Result<WgmmaMatrix> decoded = decodeWgmmaDescriptor(bits, mnMajor);
    if (!decoded) {
      block.fault(&warp, &instr, FaultKind::InvalidOperation, -1,
                  decoded.error().message);
      return false;
    }
    matrix = *decoded;
    return true;
  };
  if (!decode(bitsB, instr.flags & flagTransposeB, product.b) ||
      (!(instr.flags & flagRegistersOfA) &&
       !decode(bitsA, instr.flags & flagTransposeA, product.a)))
    return;
  product.accumulate = (scale != 0) != bool(instr.flags & flagScaleNegated);
  product.instr = &instr;
  product.block = &block;
  AsyncOp op = beginAsync(product.warps, instr);
  if (!(instr.flags & flagRegistersOfA) &&
      !readMatrix(op, block, product.a, 64))
    return;
  if (!readMatrix(op, block, product.b, instr.target))
    return;
  const uint32_t *slots = &block.kernel->slotPool[instr.vectorBegin];
  op.chain = (uint64_t(block.linear) << 32 | slots[0]) + (warp.id / 4 + 1) +
             (uint64_t(1) << 63);
  op.onLanding([product](AsyncOp &) { perform(product); });
  op.joinWgmmaGroup();
  schedule(std::move(op));
}

void fence(Warp &warp, const Instr &instr) {
  if (!requireWholeWarp(warp, instr))
    return;
  warp.wgmmaFenced = true;
  std::fill(warp.unfencedSlots.begin(), warp.unfencedSlots.end(), 0);
}

void commit(Warp &warp, const Instr &instr) {
  if (requireWholeWarp(warp, instr))
    commitWgmmaGroup(warp);
}

/// `immediate`: groups that may stay pending.
void wait(Warp &warp, const Instr &instr) {
  if (!requireWholeWarp(warp, instr))
    return;
  uint32_t pending = static_cast<uint32_t>(instr.immediate);
  waitWgmmaGroup(warp, pending);
  const std::vector<uint32_t> &pool = warp.block->kernel->slotPool;
  auto finished = [&](const PendingWgmma &entry) {
    return uint64_t(entry.group) + pending < warp.wgmmaGroup;
  };
  for (const PendingWgmma &entry : warp.wgmmaPending)
    if (finished(entry)) {
      if (entry.copy)
        clearPending(warp, entry.copy);
      for (unsigned i = 0; entry.instr && i < entry.instr->vectorCount; ++i)
        clearPending(warp, pool[entry.instr->vectorBegin + i]);
    }
  std::erase_if(warp.wgmmaPending, finished);
  // Registers that later groups use as well stay marked.
  for (const PendingWgmma &entry : warp.wgmmaPending) {
    if (entry.copy)
      markPending(warp, entry.copy);
    if (entry.instr)
      markOperands(warp, *entry.instr);
  }
}

//===----------------------------------------------------------------------===//
// Decoding
//===----------------------------------------------------------------------===//

void decodeProduct(InstrBuilder &b) {
  bool form = b.take("sync") && b.take("aligned");
  std::string_view shape;
  for (std::string_view word : b.statement.modifiers)
    if (word.starts_with("m64n"))
      shape = word;
  size_t at = shape.find('k');
  if (!form || shape.empty() || at == std::string_view::npos)
    return b.refuse("wgmma.mma_async.sync.aligned.m64n<n>k<k> is expected");
  b.take(shape);
  auto number = [](std::string_view digits) {
    unsigned value = 0;
    for (char digit : digits)
      value = digit >= '0' && digit <= '9' && value < 1000
                  ? value * 10 + static_cast<unsigned>(digit - '0')
                  : 1000;
    return value;
  };
  unsigned n = number(shape.substr(4, at - 4));
  unsigned k = number(shape.substr(at + 1));
  bool saturate = b.take("satfinite");
  if (b.take("b1"))
    return b.refuse("products of single bits (.b1) are not supported");
  Type d = b.type(), a = b.type(), second = b.type();
  if (b.failed())
    return;
  std::optional<MatrixType> typeA = matrixTypeOf(a),
                            typeB = matrixTypeOf(second);
  MultiplyFn multiply = typeA && typeB ? findMultiply(*typeA, *typeB) : nullptr;
  if (!multiply)
    return b.refuse("this combination of types does not exist");
  unsigned bits = elementBits(*typeA);
  bool integers = isInteger(*typeA), fp8 = !integers && bits == 8;
  bool halves = d.is(Type::Kind::Float, 2);
  bool accumulators = integers
                          ? d.is(Type::Kind::Signed, 4)
                          : d.is(Type::Kind::Float, 4) ||
                                (halves && (fp8 || *typeA == MatrixType::F16));
  bool nFits = n >= 8 && n <= 256 && n % 8 == 0 &&
               (!integers || n % 16 == 0 || n == 8 || n == 24);
  if (!accumulators || k != 256 / bits || !nFits || (saturate && !integers) ||
      bits == 4)
    return b.refuse("this combination of shape and types does not exist");
  // What stands behind the descriptors: scale-d; for floats the signs of A and
  // B; for 16 bits the transpositions of those that are in shared memory.
  std::vector<const ptx::Operand *> listA = b.elements(1);
  bool registersOfA = b.operand(1).kind == ptx::Operand::Kind::Vector;
  size_t expected =
      4 + (integers ? 0 : 2) + (bits == 16 ? (registersOfA ? 1 : 2) : 0);
  b.expectOperands(expected, expected);
  if (b.failed())
    return;
  uint8_t flags = (halves ? flagHalfAccumulators : 0) |
                  (registersOfA ? flagRegistersOfA : 0) |
                  (saturate ? flagSaturate : 0);
  if (!integers) {
    auto sign = [&](size_t index) {
      int64_t value = static_cast<int64_t>(b.immediate(index));
      if (value != 1 && value != -1)
        b.refuse("imm-scale must be 1 or -1");
      return value;
    };
    if (sign(4) * sign(5) < 0)
      flags |= flagNegate;
  }
  auto transposed = [&](size_t index) {
    uint64_t value = b.immediate(index);
    if (value > 1)
      b.refuse("imm-trans must be 0 or 1");
    return value == 1;
  };
  if (bits == 16) {
    if (!registersOfA && transposed(6))
      flags |= flagTransposeA;
    if (transposed(registersOfA ? 6 : 7))
      flags |= flagTransposeB;
  }
  b.source(2, 8);
  bool negated = false;
  b.predicateSource(b.operand(3), negated);
  if (negated)
    flags |= flagScaleNegated;
  if (!registersOfA)
    b.source(1, 8);
  bindVector(b, 0, n / (halves ? 4 : 2), true);
  if (registersOfA)
    bindVector(b, 1, 4, false);
  b.instr.flags = flags;
  b.instr.bytes = static_cast<uint8_t>(bits);
  b.instr.target = n;
  b.instr.immediate = reinterpret_cast<uint64_t>(multiply);
  b.instr.touchesPending = true;
  b.instr.undefRule = UndefRule::Require;
  b.instr.exec = multiplyAsync;
}

void decodeWgmma(InstrBuilder &b) {
  b.requireTargets({"sm_90a"}, "wgmma");
  if (b.take("mma_async")) {
    if (b.take("sp"))
      return b.refuse("sparse products are not supported");
    return decodeProduct(b);
  }
  int which = b.takeOneOf({"fence", "commit_group", "wait_group"});
  if (which < 0 || !b.take("sync") || !b.take("aligned"))
    return b.refuse("wgmma.{mma_async,fence,commit_group,wait_group}.sync."
                    "aligned is expected");
  b.expectOperands(which == 2, which == 2);
  if (which == 2)
    b.instr.immediate = b.immediate(0);
  b.instr.exec = which == 0 ? fence : which == 1 ? commit : wait;
}

/// Blackwell's tensor memory and its products.
void decodeTcgen05(InstrBuilder &b) {
  b.refuse("tcgen05 and tensor memory are not simulated");
}

} // namespace

void sim::carryPending(Warp &warp, const Instr &instr) {
  const uint32_t *use = &warp.block->kernel->slotPool[instr.usesBegin];
  uint32_t from = use[0], to = use[1];
  landWgmmas(warp);
  uint32_t group = warp.wgmmaGroup;
  const std::vector<uint32_t> &pool = warp.block->kernel->slotPool;
  for (const PendingWgmma &entry : warp.wgmmaPending) {
    bool uses = entry.copy == from;
    for (unsigned i = 0; entry.instr && i < entry.instr->vectorCount; ++i)
      uses |= pool[entry.instr->vectorBegin + i] == from;
    if (uses)
      group = entry.group;
  }
  markPending(warp, to);
  warp.wgmmaPending.push_back({group, nullptr, to});
}

std::span<const Opcode> sim::wgmmaOpcodes() {
  static const Opcode table[] = {
      {"wgmma", InstrClass::Matrix, decodeWgmma},
      {"tcgen05", InstrClass::Matrix, decodeTcgen05},
  };
  return table;
}
