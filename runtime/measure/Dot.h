//===- Dot.h - The instructions that products are made of -------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A product's arithmetic is one instruction, or a few of them, over and over;
// how often the machine starts it is the most a product can reach. One *step*
// of it (operations count multiplications and additions, each as one):
//
//     instructions      elements     operations per 32-bit lane
//     vpdpbusd          8 bits       8
//     vdpbf16ps         bf16         4
//     pmaddwd, paddd    i16          4
//     pmaddubsw, paddw  8 by 4 bits  8
//     fma               f32          2
//     mulps, addps      f32          2
//
// (that of four-bit codes leaves out the pmaddwd and paddd of every eighth
// step) on registers of 128 (SSE2), 256 (AVX2, AVX-VNNI) or 512 bits (AVX-512).
// Those of AArch64 are not measured. Loops of independent steps that read no
// memory, on registers that hold zero, are what `dotSteps` runs: products can
// at best be as fast. Enough chains run side by side to cover latencies of up
// to four cycles at two instructions a cycle.
//
// `chainedAdds` depends on itself: one addition a cycle, which gives the clock.
// It adds registers, as additions of constants may be done by renaming.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_MEASURE_DOT_H
#define QUERN_MEASURE_DOT_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace quern {
inline namespace v0 {
namespace measure {

enum class DotKind : uint8_t {
  Vpdpbusd,
  Vdpbf16ps,
  Pmaddubsw,
  Pmaddwd,
  Fma,
  MulAdd
};

struct Dot {
  DotKind kind = DotKind::MulAdd;
  unsigned bits = 128; ///< Of a register: 128, 256 or 512.

  /// "vpdpbusd zmm", "mulps + addps xmm"
  std::string name() const;
  /// Of one step; see above.
  double operations() const;
  unsigned instructions() const {
    return kind == DotKind::Pmaddubsw || kind == DotKind::Pmaddwd ||
                   kind == DotKind::MulAdd
               ? 2
               : 1;
  }
  bool operator==(const Dot &) const = default;
};

/// The dot that a CPU kernel's product uses: `schedule` is what its KernelDesc
/// says, `target` its variant's, "cpu:avx2". Nothing for kernels without a
/// product, and for what cannot be measured here.
std::optional<Dot> dotOf(std::string_view schedule, std::string_view target);

/// Whether this machine executes it, and `dotSteps` knows how.
bool canRun(const Dot &dot);

/// Runs at least so many steps of a dot that can run; returns how many.
uint64_t dotSteps(const Dot &dot, uint64_t steps);

/// Runs at least so many additions, each of which waits for the one before;
/// returns how many. 0 where no loop is known for the processor.
uint64_t chainedAdds(uint64_t additions);

/// Reads every byte once with the widest registers there are. Several `streams`
/// are so many parts of the memory read side by side, a line of each in turn,
/// what comes 2 KiB later being prefetched; one is plain reading in order.
/// `bytes` is a multiple of 256 and of 64 * streams.
void readAll(const std::byte *data, uint64_t bytes, unsigned streams);

} // namespace measure
} // namespace v0
} // namespace quern

#endif // QUERN_MEASURE_DOT_H
