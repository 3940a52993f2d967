//===- DefinedRegisters.cpp - Which bytes of a result are defined ---------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/DefinedRegisters.h"
#include "runtime/device/sim/Machine.h"

#include <algorithm>
#include <array>

using namespace quern;
using namespace quern::sim;

unsigned sim::permuteSelector(unsigned mode, uint32_t control, unsigned i) {
  unsigned by = control & 3;
  switch (mode) {
  case 0: // No mode: four selectors.
    return control >> (4 * i) & 15;
  case 1: // f4e: forward
    return (by + i) & 7;
  case 2: // b4e: backward
    return (by - i) & 7;
  case 3: // rc8: replicate a byte
    return by;
  case 4: // ecl: edge clamp left
    return std::max(i, by);
  case 5: // ecr: edge clamp right
    return std::min(i, by);
  default: // rc16: replicate a half word
    return (by & 1) * 2 + (i & 1);
  }
}

template <unsigned Bytes>
void sim::traceLowBytes(Warp &warp, const Instr &instr) {
  std::array<uint32_t, Bytes> defined;
  for (unsigned i = 0; i < Bytes; ++i)
    defined[i] = warp.defined.lanesOfByte(instr.slots[1], i);
  warp.defined.setBytes(instr.slots[0], defined, warp.mask);
}

template <unsigned Bytes, unsigned PartBytes>
void sim::tracePack(Warp &warp, const Instr &instr) {
  const uint32_t *parts = &warp.block->kernel->slotPool[instr.vectorBegin];
  std::array<uint32_t, Bytes> defined;
  for (unsigned i = 0; i < Bytes; ++i)
    defined[i] = warp.defined.lanesOfByte(parts[i / PartBytes], i % PartBytes);
  warp.defined.setBytes(instr.slots[0], defined, warp.mask);
}

template <unsigned Bytes, unsigned PartBytes>
void sim::traceUnpack(Warp &warp, const Instr &instr) {
  const uint32_t *parts = &warp.block->kernel->slotPool[instr.vectorBegin];
  std::array<uint32_t, Bytes> defined;
  for (unsigned i = 0; i < Bytes; ++i)
    defined[i] = warp.defined.lanesOfByte(instr.slots[0], i);
  std::span<const uint32_t> rest = defined;
  for (unsigned i = 0; i < Bytes / PartBytes; ++i)
    if (parts[i])
      warp.defined.setBytes(parts[i], rest.subspan(i * PartBytes, PartBytes),
                            warp.mask);
}

template <unsigned Bytes> void sim::traceAnd(Warp &warp, const Instr &instr) {
  using T =
      std::conditional_t<Bytes == 8, uint64_t,
                         std::conditional_t<Bytes == 4, uint32_t, uint16_t>>;
  std::array<uint32_t, Bytes> known[2], zero[2] = {};
  for (unsigned source = 0; source < 2; ++source) {
    uint32_t slot = instr.slots[1 + source];
    const T *values = warp.lanes<T>(slot);
    for (unsigned i = 0; i < Bytes; ++i) {
      known[source][i] = warp.defined.lanesOfByte(slot, i);
      forActiveLanes(warp.mask & known[source][i], [&](int lane) {
        bool isZero = !(values[lane] >> (8 * i) & 255);
        zero[source][i] |= uint32_t(isZero) << lane;
      });
    }
  }
  std::array<uint32_t, Bytes> defined;
  for (unsigned i = 0; i < Bytes; ++i)
    defined[i] = (known[0][i] & known[1][i]) | zero[0][i] | zero[1][i];
  warp.defined.setBytes(instr.slots[0], defined, warp.mask);
}

void sim::tracePermute(Warp &warp, const Instr &instr) {
  const uint32_t *control = warp.lanes<uint32_t>(instr.slots[3]);
  std::array<uint32_t, 4> defined = {};
  forActiveLanes(warp.mask & warp.defined.lanes(instr.slots[3]), [&](int lane) {
    for (unsigned i = 0; i < 4; ++i) {
      unsigned byte = permuteSelector(instr.flags, control[lane], i) & 7;
      uint32_t source = instr.slots[byte < 4 ? 1 : 2];
      defined[i] |= warp.defined.lanesOfByte(source, byte % 4) & 1u << lane;
    }
  });
  warp.defined.setBytes(instr.slots[0], defined, warp.mask);
}

template <unsigned Second> void sim::traceDot2(Warp &warp, const Instr &instr) {
  uint32_t defined = warp.defined.lanes(instr.slots[1]) &
                     warp.defined.lanes(instr.slots[3]) &
                     warp.defined.lanesOfByte(instr.slots[2], Second) &
                     warp.defined.lanesOfByte(instr.slots[2], Second + 1);
  warp.defined.set(instr.slots[0], defined, warp.mask);
}

template void sim::traceLowBytes<2>(Warp &, const Instr &);
template void sim::traceLowBytes<4>(Warp &, const Instr &);
template void sim::traceLowBytes<8>(Warp &, const Instr &);
template void sim::tracePack<4, 2>(Warp &, const Instr &);
template void sim::tracePack<8, 2>(Warp &, const Instr &);
template void sim::tracePack<8, 4>(Warp &, const Instr &);
template void sim::traceUnpack<4, 2>(Warp &, const Instr &);
template void sim::traceUnpack<8, 2>(Warp &, const Instr &);
template void sim::traceUnpack<8, 4>(Warp &, const Instr &);
template void sim::traceAnd<2>(Warp &, const Instr &);
template void sim::traceAnd<4>(Warp &, const Instr &);
template void sim::traceAnd<8>(Warp &, const Instr &);
template void sim::traceDot2<0>(Warp &, const Instr &);
template void sim::traceDot2<2>(Warp &, const Instr &);
