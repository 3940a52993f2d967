//===- accumulate.cuh - Many threads into one word -------------*- CUDA -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Words of state that any thread may raise or add to, in any order: unsigned
// maxima and wrapping sums, for which the order does not matter. A word is zero
// before, which is neutral for both.
//
// Atomics on one address pass one after another, so where all lanes that are
// here together mean the same word (`*Together`) they combine first and one of
// them goes to memory, if there is anything to bring.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CUDA_COMMON_ACCUMULATE_CUH
#define QUERN_CUDA_COMMON_ACCUMULATE_CUH

#include "common/types.cuh"

namespace quern {

QN_DEVICE void accumulateMax(s32 *to, u32 x) {
  asm volatile("red.relaxed.gpu.global.max.u32 [%0], %1;" ::"l"(
                   __cvta_generic_to_global(to)),
               "r"(x)
               : "memory");
}
QN_DEVICE void accumulateAdd(s32 *to, u32 x) {
  asm volatile("red.relaxed.gpu.global.add.u32 [%0], %1;" ::"l"(
                   __cvta_generic_to_global(to)),
               "r"(x)
               : "memory");
}

QN_DEVICE void accumulateMaxTogether(s32 *to, u32 x) {
  const u32 here = __activemask();
  const u32 largest = __reduce_max_sync(here, x);
  if (threadIdx.x % 32 == __ffs(here) - 1 && largest != 0)
    accumulateMax(to, largest);
}
QN_DEVICE void accumulateAddTogether(s32 *to, u32 x) {
  const u32 here = __activemask();
  const u32 total = __reduce_add_sync(here, x);
  if (threadIdx.x % 32 == __ffs(here) - 1 && total != 0)
    accumulateAdd(to, total);
}

} // namespace quern

#endif // QUERN_CUDA_COMMON_ACCUMULATE_CUH
