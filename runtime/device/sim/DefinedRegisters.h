//===- DefinedRegisters.h - What a warp has written -------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// For each register the lanes in which it holds a value that some instruction
// has written, and where only a part of its bytes does, which.
//
// Most instructions need the lanes alone: a result is defined where all sources
// are. Bytes matter to the few that compilers use to put a register together
// from pieces and to take it apart (moves of vectors, prmt, dp2a, and,
// narrowing conversions): NVRTC fills bytes that nobody will read with those of
// registers that were never written, a dp2a.lo say of a word whose upper half
// is arbitrary. Such an instruction has an Instr::traceBytes, called instead of
// the rule for lanes when a source is not wholly defined. It runs before the
// instruction, as a result may be a source too.
//
// A register is named by its slot (Program.h), which lies at a multiple of 64
// bytes of 32 lanes: one or more lane masks per 64 bytes, of which the first is
// used, and two masks of bytes, of which a register has enough for all of its.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_DEFINEDREGISTERS_H
#define QUERN_DEVICE_SIM_DEFINEDREGISTERS_H

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace quern {
inline namespace v0 {
namespace sim {

struct Instr;
struct Warp;

class DefinedRegisters {
public:
  void resize(uint32_t registerBytes) {
    whole.resize(registerBytes / 64 + 1);
    partly.resize(whole.size());
    bytes.resize(2 * whole.size());
  }
  /// Nothing is defined but slot 0, which stands for no register.
  void clear() {
    std::ranges::fill(whole, 0);
    std::ranges::fill(partly, 0);
    whole[0] = ~uint32_t(0);
  }

  /// The lanes in which every byte is defined.
  uint32_t lanes(uint32_t slot) const { return whole[slot >> 6]; }
  /// The lanes in which this byte is, from the lowest one.
  uint32_t lanesOfByte(uint32_t slot, unsigned byte) const {
    return whole[slot >> 6] | (partly[slot >> 6] & bytes[(slot >> 5) + byte]);
  }

  /// Of the lanes `written` those in `defined` become so, the others not.
  void set(uint32_t slot, uint32_t defined, uint32_t written) {
    uint32_t &lanes = whole[slot >> 6];
    lanes = (lanes & ~written) | (defined & written);
    if (written & ~defined)
      partly[slot >> 6] &= ~written;
  }
  /// The same for each byte of a register.
  void setBytes(uint32_t slot, std::span<const uint32_t> defined,
                uint32_t written) {
    uint32_t all = ~uint32_t(0);
    for (unsigned byte = 0; byte < defined.size(); ++byte) {
      uint32_t &lanes = bytes[(slot >> 5) + byte];
      lanes = (lanes & ~written) | (defined[byte] & written);
      all &= defined[byte];
    }
    set(slot, all, written);
    partly[slot >> 6] |= written & ~all;
  }

private:
  std::vector<uint32_t> whole;
  /// Lanes for which `bytes` says more than `whole`.
  std::vector<uint32_t> partly;
  std::vector<uint32_t> bytes;
};

// What Instr::traceBytes may be. The operands lie as in MoveOps.cpp, BitOps.cpp
// and IntegerOps.cpp; `Bytes` and `Parts` are sizes in bytes.

using TraceFn = void (*)(Warp &warp, const Instr &instr);

/// Byte i of the result is byte i of the source, slots[1]: moves, and
/// conversions to an integer that is not wider.
template <unsigned Bytes> void traceLowBytes(Warp &warp, const Instr &instr);
/// A register of a vector's elements, and the elements of a register.
template <unsigned Bytes, unsigned PartBytes>
void tracePack(Warp &warp, const Instr &instr);
template <unsigned Bytes, unsigned PartBytes>
void traceUnpack(Warp &warp, const Instr &instr);
/// A byte that is 0 in one source is 0 in the result whatever the other has.
template <unsigned Bytes> void traceAnd(Warp &warp, const Instr &instr);
void tracePermute(Warp &warp, const Instr &instr);
/// dp2a, of the bytes `Second` and `Second` + 1 of the second source.
template <unsigned Second> void traceDot2(Warp &warp, const Instr &instr);

/// The byte of b:a that prmt puts at byte `i` of its result; bit 3 says that
/// its sign fills the byte. `mode` counts default, f4e, b4e, rc8, ecl, ecr,
/// rc16.
unsigned permuteSelector(unsigned mode, uint32_t control, unsigned i);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_DEFINEDREGISTERS_H
