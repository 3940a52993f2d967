//===- MatrixOps.cpp - ldmatrix, stmatrix, movmatrix ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Matrices between shared memory and fragments (PTX ISA, "Warp-level matrix
// load instruction: ldmatrix" and the following sections). Every row in memory
// takes 16 bytes at an address that one thread gives; row i of the instruction
// by thread i. With g = lane / 4 and t = lane % 4, a register of lane holds
//
//   m8n8             word t of row g; element 2t, 2t + 1 of column g if .trans
//   m8n16            bytes 4t..4t+3 of row g, rows being 16 elements of 4 or 6
//                    bits that are spread to bytes (low bits first; the rest
//                    of the row is padding and not read)
//   m16n16.trans     byte b of register r: row 4t + b, column g + 8r
//   m16n8.trans      (store) byte b: row 2t + b % 2, column g + 8 * (b / 2)
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/MatrixOps.h"
#include "runtime/device/sim/MemoryAccess.h"
#include "runtime/device/sim/Opcodes.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

namespace {

enum class Shape : uint8_t { M8N8, M8N8Trans, M8N16, M16N16, M16N8 };

// Instr::flags: the Shape; `bytes`: bits of an element in memory; `immediate`:
// rows in all; vector: the registers.

/// Checks row `row` of the access; false after a fault.
bool checkRow(Warp &warp, const Instr &instr, SharedAccess &access,
              unsigned row, uint64_t offset, uint32_t bytes) {
  int lane = static_cast<int>(row);
  if (offset % 16 == 0)
    return access.check(lane, offset, bytes);
  warp.block->fault(&warp, &instr, FaultKind::Misaligned, lane,
                    fmt::format("the row at shared offset {} needs a multiple "
                                "of 16",
                                static_cast<int64_t>(offset)));
  return false;
}

LaneAddresses rowAddresses(Warp &warp, const Instr &instr) {
  LaneAddresses addresses = computeAddresses(warp, instr.address);
  if (instr.space == AddressSpace::Generic)
    for (uint64_t &address : addresses.value)
      address -= sharedWindow;
  return addresses;
}

void countAccess(Warp &warp, const Instr &instr,
                 const LaneAddresses &addresses) {
  Launch &launch = *warp.block->launch;
  if (!launch.options.checks)
    return;
  uint32_t lanes =
      instr.immediate == 32 ? ~uint32_t(0) : (1u << instr.immediate) - 1;
  launch.counters.sharedRequests += 1;
  launch.counters.sharedBankConflicts += bankConflicts(addresses, lanes, 16);
}

/// 16 elements of `bits` bits as bytes.
void spread(const std::byte *from, unsigned bits, uint8_t (&to)[16]) {
  uint64_t words[2] = {};
  std::memcpy(words, from, bits * 2);
  for (unsigned i = 0; i < 16; ++i) {
    unsigned at = i * bits;
    uint64_t value = words[at / 64] >> at % 64;
    if (at % 64 + bits > 64)
      value |= words[1] << (64 - at % 64);
    to[i] = static_cast<uint8_t>(value & ((1u << bits) - 1));
  }
}

void loadMatrix(Warp &warp, const Instr &instr) {
  if (!requireWholeWarp(warp, instr))
    return;
  Block &block = *warp.block;
  LaneAddresses addresses = rowAddresses(warp, instr);
  const uint32_t *slots = &block.kernel->slotPool[instr.vectorBegin];
  unsigned rowCount = static_cast<unsigned>(instr.immediate);
  uint32_t rowBytes = instr.bytes >= 8 ? 16 : instr.bytes * 2;
  SharedAccess access(warp, instr, AccessHistory::Kind::Read);
  for (unsigned row = 0; row < rowCount; ++row)
    if (!checkRow(warp, instr, access, row, addresses.value[row], rowBytes))
      return;
  countAccess(warp, instr, addresses);
  alignas(16) uint8_t rows[32][16];
  for (unsigned row = 0; row < rowCount; ++row) {
    const std::byte *from = block.shared + addresses.value[row];
    if (instr.bytes >= 8)
      std::memcpy(rows[row], from, 16);
    else
      spread(from, instr.bytes, rows[row]);
  }
  for (unsigned i = 0; i < instr.vectorCount; ++i) {
    auto *result = warp.lanes<uint8_t>(slots[i]);
    switch (static_cast<Shape>(instr.flags)) {
    case Shape::M8N8Trans:
      for (unsigned lane = 0; lane < 32; ++lane)
        for (unsigned b = 0; b < 4; ++b)
          result[lane * 4 + b] =
              rows[8 * i + lane % 4 * 2 + b / 2][lane / 4 * 2 + b % 2];
      break;
    case Shape::M16N16:
      for (unsigned lane = 0; lane < 32; ++lane)
        for (unsigned b = 0; b < 4; ++b)
          result[lane * 4 + b] =
              rows[i / 2 * 16 + lane % 4 * 4 + b][lane / 4 + i % 2 * 8];
      break;
    default:
      std::memcpy(result, rows[8 * i], 128);
      break;
    }
  }
}

void storeMatrix(Warp &warp, const Instr &instr) {
  if (!requireWholeWarp(warp, instr))
    return;
  Block &block = *warp.block;
  LaneAddresses addresses = rowAddresses(warp, instr);
  const uint32_t *slots = &block.kernel->slotPool[instr.vectorBegin];
  alignas(16) uint8_t rows[32][16];
  for (unsigned i = 0; i < instr.vectorCount; ++i) {
    const auto *source = warp.lanes<uint8_t>(slots[i]);
    switch (static_cast<Shape>(instr.flags)) {
    case Shape::M8N8Trans:
      for (unsigned lane = 0; lane < 32; ++lane)
        for (unsigned b = 0; b < 4; ++b)
          rows[8 * i + lane % 4 * 2 + b / 2][lane / 4 * 2 + b % 2] =
              source[lane * 4 + b];
      break;
    case Shape::M16N8:
      for (unsigned lane = 0; lane < 32; ++lane)
        for (unsigned b = 0; b < 4; ++b)
          rows[8 * i + lane % 4 * 2 + b % 2][lane / 4 + b / 2 * 8] =
              source[lane * 4 + b];
      break;
    default:
      std::memcpy(rows[8 * i], source, 128);
      break;
    }
  }
  SharedAccess access(warp, instr, AccessHistory::Kind::Write);
  for (unsigned row = 0; row < instr.immediate; ++row) {
    if (!checkRow(warp, instr, access, row, addresses.value[row], 16))
      return;
    std::memcpy(block.shared + addresses.value[row], rows[row], 16);
  }
  countAccess(warp, instr, addresses);
}

/// slots: d, a: the transpose of an 8x8 matrix of 16 bits.
void moveMatrix(Warp &warp, const Instr &instr) {
  if (!requireWholeWarp(warp, instr))
    return;
  uint16_t rows[8][8];
  std::memcpy(rows, warp.lanes<uint16_t>(instr.slots[1]), sizeof(rows));
  auto *result = warp.lanes<uint16_t>(instr.slots[0]);
  for (unsigned row = 0; row < 8; ++row)
    for (unsigned column = 0; column < 8; ++column)
      result[row * 8 + column] = rows[column][row];
}

void decodeMatrixAccess(InstrBuilder &b, bool isLoad) {
  bool form = b.take("sync") && b.take("aligned");
  int shape = b.takeOneOf({"m8n8", "m8n16", "m16n16", "m16n8"});
  int count = b.takeOneOf({"x1", "x2", "x4"});
  bool transposed = b.take("trans");
  bool shared = b.take("shared") || b.take("shared::cta");
  b.expectOperands(2, 2);
  if (!form || shape < 0 || count < 0)
    return b.refuse(".sync.aligned.<shape>.{x1,x2,x4} is expected");
  unsigned bits = 16;
  bool widened = isLoad && b.take("b8x16");
  if (widened) {
    int packed = b.takeOneOf({"b6x16_p32", "b4x16_p64"});
    if (packed < 0)
      return b.refuse(".b8x16 needs .b6x16_p32 or .b4x16_p64");
    bits = packed == 0 ? 6 : 4;
  } else if (!b.take("b16")) {
    if (!b.take("b8"))
      return b.refuse(".b16 or .b8 is expected");
    bits = 8;
  }
  bool exists = false;
  unsigned registers = 1u << count, rows = 8u << count;
  Shape which = transposed ? Shape::M8N8Trans : Shape::M8N8;
  switch (shape) {
  case 0:
    exists = bits == 16;
    if (!isLoad)
      b.requireTarget(90, "stmatrix");
    break;
  case 1:
    exists = isLoad && widened && !transposed;
    which = Shape::M8N16;
    break;
  case 2:
    exists = isLoad && transposed && bits <= 8 && count < 2;
    which = Shape::M16N16;
    registers = 2u << count;
    rows = 16u << count;
    break;
  default:
    exists = !isLoad && transposed && bits == 8;
    which = Shape::M16N8;
    break;
  }
  if (!exists)
    return b.refuse("this combination of shape and type does not exist");
  if (shape)
    b.requireTargets({"sm_100a", "sm_100f", "sm_103a", "sm_103f", "sm_110a",
                      "sm_110f", "sm_120a", "sm_120f", "sm_121a", "sm_121f"},
                     "matrices of bytes");
  b.instr.space = shared ? AddressSpace::Shared : AddressSpace::Generic;
  b.instr.flags = static_cast<uint8_t>(which);
  b.instr.bytes = static_cast<uint8_t>(bits);
  b.instr.immediate = rows;
  bindVector(b, isLoad ? 0 : 1, registers, isLoad);
  b.instr.address = b.address(isLoad ? 1 : 0);
  b.instr.undefRule = UndefRule::Require;
  b.instr.exec = isLoad ? loadMatrix : storeMatrix;
}

void decodeLdmatrix(InstrBuilder &b) { decodeMatrixAccess(b, true); }
void decodeStmatrix(InstrBuilder &b) { decodeMatrixAccess(b, false); }

void decodeMovmatrix(InstrBuilder &b) {
  bool form = b.take("sync") && b.take("aligned") && b.take("m8n8") &&
              b.take("trans") && b.take("b16");
  b.expectOperands(2, 2);
  if (!form)
    return b.refuse("movmatrix.sync.aligned.m8n8.trans.b16 is expected");
  b.result(0, 4);
  b.source(1, 4);
  b.instr.exec = moveMatrix;
}

} // namespace

std::span<const Opcode> sim::matrixOpcodes() {
  constexpr InstrClass c = InstrClass::Matrix;
  static const Opcode table[] = {
      {"mma", c, decodeMma},
      {"ldmatrix", c, decodeLdmatrix},
      {"stmatrix", c, decodeStmatrix},
      {"movmatrix", c, decodeMovmatrix},
  };
  return table;
}
