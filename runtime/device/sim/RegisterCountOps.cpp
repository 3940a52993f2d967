//===- RegisterCountOps.cpp - setmaxnreg ----------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A warpgroup gives registers back to its block's pool (.dec) or asks for more
// (.inc), which waits until the pool has them. PTX registers are virtual, so
// nothing depends on the counts but the checks: all four warps take part, .dec
// does not raise and .inc does not lower the count, and what has been asked for
// can be had at all. A block starts with what its .maxntid leaves each thread
// of 65536 registers, in steps of 8, at most 248; a warpgroup that has not
// executed setmaxnreg could still go down to 24.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/AsyncProxy.h"
#include "runtime/device/sim/Opcodes.h"

#include <algorithm>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

namespace {

constexpr uint32_t poolRegisters = 65536;
constexpr uint32_t leastRegisters = 24, mostRegisters = 256;

uint32_t initialRegisters(const Block &block) {
  uint32_t threads = block.kernel->maxThreads
                         ? block.kernel->maxThreads
                         : static_cast<uint32_t>(block.warps.size()) * 32;
  return std::min(poolRegisters / std::max(threads, 32u) / 8 * 8, 248u);
}

/// `immediate`: the count; `flags`: .inc.
void setRegisters(Warp &warp, const Instr &instr) {
  Warp *warps[4];
  if (!meetWarpgroup(warp, instr, warps))
    return;
  Block &block = *warp.block;
  uint32_t wanted = static_cast<uint32_t>(instr.immediate);
  uint32_t now =
      warp.registers8 ? warp.registers8 * 8u : initialRegisters(block);
  if (instr.flags ? wanted < now : wanted > now) {
    block.fault(&warp, &instr, FaultKind::InvalidOperation, -1,
                fmt::format("setmaxnreg.{} to {} registers; the warpgroup has "
                            "{}",
                            instr.flags ? "inc" : "dec", wanted, now));
    return;
  }
  for (Warp *member : warps)
    member->registers8 = static_cast<uint8_t>(wanted / 8);
  uint32_t least = 0;
  for (const Warp &other : block.warps)
    least += (other.registers8 ? other.registers8 * 8u : leastRegisters) * 32;
  if (least > poolRegisters)
    block.fault(
        &warp, &instr, FaultKind::Deadlock, -1,
        fmt::format("setmaxnreg waits for ever: the block's warps would "
                    "hold {} registers of {}",
                    least, poolRegisters));
}

void decodeSetmaxnreg(InstrBuilder &b) {
  b.requireTargets({"sm_90a", "sm_100a", "sm_100f", "sm_103a", "sm_120a",
                    "sm_120f", "sm_121a"},
                   "setmaxnreg");
  int action = b.takeOneOf({"inc", "dec"});
  bool form = b.take("sync") && b.take("aligned") && b.take("u32");
  b.expectOperands(1, 1);
  uint64_t count = b.immediate(0);
  if (action < 0 || !form)
    return b.refuse("setmaxnreg.{inc,dec}.sync.aligned.u32 is expected");
  if (count < leastRegisters || count > mostRegisters || count % 8)
    return b.refuse(fmt::format("{} registers; multiples of 8 from {} to {} "
                                "are accepted",
                                count, leastRegisters, mostRegisters));
  b.instr.immediate = count;
  b.instr.flags = action == 0;
  b.instr.exec = setRegisters;
}

} // namespace

std::span<const Opcode> sim::registerCountOpcodes() {
  static const Opcode table[] = {
      {"setmaxnreg", InstrClass::Barrier, decodeSetmaxnreg},
  };
  return table;
}
