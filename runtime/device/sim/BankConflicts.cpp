//===- BankConflicts.cpp - What a shared-memory layout costs --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/MemoryAccess.h"

#include <algorithm>

using namespace quern;
using namespace quern::sim;

// Compiled for several instruction sets where the loader can choose.
#if defined(__x86_64__) && defined(__gnu_linux__) &&                           \
    !defined(__SANITIZE_THREAD__)
#define QUERN_SIM_CLONES                                                       \
  __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define QUERN_SIM_CLONES
#endif

/// One bit for the group of banks each active lane uses, for accesses of
/// 1 << `shift` bytes; returns all address bits they ever set.
QUERN_SIM_CLONES static uint32_t bankGroups(const uint64_t *addresses,
                                            uint32_t lanes, uint32_t shift,
                                            uint32_t *groups) {
  uint32_t mask = (128u >> shift) - 1, any = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    uint32_t address = static_cast<uint32_t>(addresses[lane]);
    uint32_t active = lanes >> lane & 1;
    groups[lane] = active << (address >> shift & mask);
    any |= address & (0u - active);
  }
  return any;
}

/// Whether each active lane of every phase has banks of its own.
static bool allBanksDiffer(const LaneAddresses &addresses, uint32_t lanes,
                           uint32_t bytes, unsigned lanesPerPhase) {
  uint32_t groups[32];
  uint32_t any =
      bankGroups(addresses.value, lanes,
                 static_cast<uint32_t>(__builtin_ctz(bytes)), groups);
  if (any % bytes)
    return false;
  int distinct = 0;
  for (unsigned first = 0; first < 32; first += lanesPerPhase) {
    uint32_t taken = 0;
    for (unsigned i = 0; i < lanesPerPhase; ++i)
      taken |= groups[first + i];
    distinct += __builtin_popcount(taken);
  }
  return distinct == __builtin_popcount(lanes);
}

unsigned sim::bankConflicts(const LaneAddresses &addresses, uint32_t lanes,
                            uint32_t bytes) {
  unsigned lanesPerPhase = bytes >= 16 ? 8 : bytes == 8 ? 16 : 32;
  if ((bytes == 4 || bytes == 8 || bytes == 16) &&
      allBanksDiffer(addresses, lanes, bytes, lanesPerPhase))
    return 0;
  unsigned extra = 0;
  for (unsigned first = 0; first < 32; first += lanesPerPhase) {
    uint32_t phase = lanesPerPhase == 32
                         ? lanes
                         : lanes & (((1u << lanesPerPhase) - 1) << first);
    if (!phase)
      continue;
    // Lanes in a row, or all at one place, never collide.
    uint64_t begin = addresses.value[__builtin_ctz(phase)], expected = begin;
    bool inOrder = true, allSame = true;
    forActiveLanes(phase, [&](int lane) {
      inOrder &= addresses.value[lane] == expected;
      allSame &= addresses.value[lane] == begin;
      expected += bytes;
    });
    if (inOrder || allSame)
      continue;
    // Distinct words in each bank.
    uint64_t words[32][8];
    uint8_t count[32] = {};
    unsigned most = 1;
    forActiveLanes(phase, [&](int lane) {
      uint64_t begin = addresses.value[lane] / 4;
      uint64_t end = (addresses.value[lane] + bytes - 1) / 4;
      for (uint64_t word = begin; word <= end; ++word) {
        unsigned bank = word % 32;
        unsigned known = std::min<unsigned>(count[bank], 8);
        if (std::find(words[bank], words[bank] + known, word) !=
            words[bank] + known)
          continue;
        if (count[bank] < 8)
          words[bank][count[bank]] = word;
        most = std::max<unsigned>(most, ++count[bank]);
      }
    });
    extra += most - 1;
  }
  return extra;
}
