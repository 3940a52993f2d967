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

#include "runtime/device/sim/MatrixOps.h"
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
  uint32_t result[4][32];
  SharedAccess checked(warp, instr, AccessHistory::Kind::Read);
  for (unsigned matrix = 0; matrix < matrices; ++matrix) {
    // A row is four words, which are those of four lanes.
    uint16_t rows[8][8];
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
      if (!checked.check(lane, offset, 16))
        return;
      std::memcpy(rows[row], block.shared + offset, 16);
    }
    if (!instr.flags) {
      std::memcpy(result[matrix], rows, sizeof(rows));
      continue;
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
      unsigned g = lane / 4, t = lane % 4;
      uint16_t low = rows[2 * t][g], high = rows[2 * t + 1][g];
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
