//===- RegisterSlots.h - Registers that share storage -----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// PTX has as many registers as the compiler likes, each used for a moment. When
// every one has storage of its own, a warp's registers do not fit the host's
// caches. Here registers whose lives do not meet get the same storage, by a
// linear scan over the program (Poletto & Sarkar 1999).
//
// Lanes are independent: a lane's value of a register is alive from a write to
// the last read along the paths that lane can take, and every instruction
// writes only the lanes that execute it. A register that may be read before it
// is written is alive from the beginning and shares with nothing before, so
// reads of undefined registers are found as before.
//
// Constants keep their storage, and so do registers of instructions that finish
// later (Instr::touchesPending).
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_REGISTERSLOTS_H
#define QUERN_DEVICE_SIM_REGISTERSLOTS_H

#include "runtime/device/sim/Program.h"

namespace quern {
inline namespace v0 {
namespace sim {

/// A register as declared: where it is, and its bytes for all lanes.
struct RegisterPlace {
  uint32_t slot = 0;
  uint32_t size = 0;
};

/// Moves the kernel's registers together; `registers` in ascending order.
void shareRegisterSlots(Kernel &kernel,
                        const std::vector<RegisterPlace> &registers);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_REGISTERSLOTS_H
