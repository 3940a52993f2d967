//===- WarpOps.cpp - Shuffles, votes, matches, reductions -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The threads named by the member mask must execute the instruction together:
// a named thread that has not exited and is on another path is a fault.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/Opcodes.h"

#include <bit>
#include <cmath>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

namespace {

void checkMembers(Warp &warp, const Instr &instr, uint32_t slot) {
  const uint32_t *members = warp.lanes<uint32_t>(slot);
  forActiveLanes(warp.mask, [&](int lane) {
    uint32_t expected = members[lane] & warp.alive;
    bool self = members[lane] >> lane & 1;
    if (self && (expected & ~warp.mask) == 0)
      return;
    warp.block->fault(
        &warp, &instr, FaultKind::DivergentCollective, lane,
        self ? fmt::format("the member mask is {:#x} but only threads {:#x} "
                           "of the warp are here",
                           members[lane], warp.mask)
             : fmt::format("the thread is not in its member mask {:#x}",
                           members[lane]));
  });
}

/// slots: d, p, a, b, c, member mask. flags: 0 up, 1 down, 2 bfly, 3 idx.
void shuffle(Warp &warp, const Instr &instr) {
  checkMembers(warp, instr, instr.slots[5]);
  uint32_t source[32], by[32], clamp[32];
  std::memcpy(source, warp.lanes<uint32_t>(instr.slots[2]), sizeof(source));
  std::memcpy(by, warp.lanes<uint32_t>(instr.slots[3]), sizeof(by));
  std::memcpy(clamp, warp.lanes<uint32_t>(instr.slots[4]), sizeof(clamp));
  uint32_t inRange = 0;
  uint32_t known = warp.defined[instr.slots[2] >> 6], own = warp.mask;
  for (unsigned operand : {3, 4, 5})
    own &= warp.defined[instr.slots[operand] >> 6];
  warp.shuffled = 0;
  uint32_t *result =
      instr.slots[0] ? warp.lanes<uint32_t>(instr.slots[0]) : nullptr;
  forActiveLanes(warp.mask, [&](int lane) {
    int b = static_cast<int>(by[lane] & 31);
    int limit = static_cast<int>(clamp[lane] & 31);
    int segment = static_cast<int>(clamp[lane] >> 8 & 31);
    int highest = (lane & segment) | (limit & ~segment);
    int lowest = lane & segment;
    int from = 0;
    bool valid = false;
    switch (instr.flags) {
    case 0:
      from = lane - b;
      valid = from >= highest;
      break;
    case 1:
      from = lane + b;
      valid = from <= highest;
      break;
    case 2:
      from = lane ^ b;
      valid = from <= highest;
      break;
    default:
      from = lowest | (b & ~segment);
      valid = from <= highest;
      break;
    }
    if (!valid)
      from = lane;
    else if (!(warp.mask >> from & 1))
      warp.block->fault(&warp, &instr, FaultKind::DivergentCollective, lane,
                        fmt::format("the value of thread {} of the warp is "
                                    "read, which is not here",
                                    from));
    if (result)
      result[lane] = source[from];
    warp.shuffled |= (known >> from & own >> lane & 1) << lane;
    inRange |= uint32_t(valid) << lane;
  });
  if (instr.slots[1])
    warp.setPredicate(instr.slots[1], inRange);
}

/// slots: d, p, member mask. flags: 0 all, 1 any, 2 uni, 3 ballot; bit 2
/// negates the predicate.
void vote(Warp &warp, const Instr &instr) {
  checkMembers(warp, instr, instr.slots[2]);
  uint32_t bits = warp.predicate(instr.slots[1]);
  if (instr.flags & 4)
    bits = ~bits;
  uint32_t members =
      warp.lanes<uint32_t>(instr.slots[2])[__builtin_ctz(warp.mask)] &
      warp.mask;
  bits &= members;
  switch (instr.flags & 3) {
  case 0:
    return warp.setPredicate(instr.slots[0], bits == members ? ~0u : 0u);
  case 1:
    return warp.setPredicate(instr.slots[0], bits ? ~0u : 0u);
  case 2:
    return warp.setPredicate(instr.slots[0],
                             bits == members || !bits ? ~0u : 0u);
  default:
    writeLanes<uint32_t>(warp, instr.slots[0], [=](int) { return bits; });
  }
}

void activeMask(Warp &warp, const Instr &instr) {
  uint32_t mask = warp.mask;
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int) { return mask; });
}

/// slots: d, p (match.all), a, member mask.
template <typename T, bool all> void match(Warp &warp, const Instr &instr) {
  checkMembers(warp, instr, instr.slots[3]);
  T values[32];
  std::memcpy(values, warp.lanes<T>(instr.slots[2]), sizeof(values));
  uint32_t agree = 0;
  uint32_t mask = warp.mask;
  uint32_t *result = warp.lanes<uint32_t>(instr.slots[0]);
  forActiveLanes(mask, [&](int lane) {
    uint32_t equal = 0;
    forActiveLanes(mask, [&](int other) {
      equal |= uint32_t(values[other] == values[lane]) << other;
    });
    if (all) {
      if (equal == mask)
        agree |= 1u << lane;
      else
        equal = 0;
    }
    result[lane] = equal;
  });
  if (all && instr.slots[1])
    warp.setPredicate(instr.slots[1], agree);
}

enum class Redux : uint8_t { Add, Min, Max, And, Or, Xor };

/// slots: d, a, member mask.
template <typename T> void reduce(Warp &warp, const Instr &instr) {
  checkMembers(warp, instr, instr.slots[2]);
  const T *values = warp.lanes<T>(instr.slots[1]);
  bool first = true;
  T total = 0;
  forActiveLanes(warp.mask, [&](int lane) {
    T value = values[lane];
    if (first) {
      total = value;
      first = false;
      return;
    }
    switch (static_cast<Redux>(instr.flags)) {
    case Redux::Add:
      total = static_cast<T>(static_cast<uint32_t>(total) +
                             static_cast<uint32_t>(value));
      break;
    case Redux::Min:
      total = value < total ? value : total;
      break;
    case Redux::Max:
      total = value > total ? value : total;
      break;
    case Redux::And:
      total &= value;
      break;
    case Redux::Or:
      total |= value;
      break;
    case Redux::Xor:
      total ^= value;
      break;
    }
  });
  writeLanes<T>(warp, instr.slots[0], [=](int) { return total; });
}

/// slots: d, a, member mask. flags: 1 max; 2 .abs; 4 .NaN.
void reduceFloats(Warp &warp, const Instr &instr) {
  checkMembers(warp, instr, instr.slots[2]);
  const float *values = warp.lanes<float>(instr.slots[1]);
  bool isMax = instr.flags & 1;
  float total = NAN;
  bool sawNaN = false;
  forActiveLanes(warp.mask, [&](int lane) {
    float value = instr.flags & 2 ? std::fabs(values[lane]) : values[lane];
    if (value != value) {
      sawNaN = true;
    } else if (total != total || (isMax ? value > total : value < total) ||
               (value == total && std::signbit(value) != isMax)) {
      total = value;
    }
  });
  if (total != total || (sawNaN && (instr.flags & 4)))
    total = std::bit_cast<float>(0x7fffffffu);
  writeLanes<float>(warp, instr.slots[0], [=](int) { return total; });
}

/// slots: d, p, member mask: the lowest member is elected.
void elect(Warp &warp, const Instr &instr) {
  checkMembers(warp, instr, instr.slots[2]);
  uint32_t leader = static_cast<uint32_t>(__builtin_ctz(warp.mask));
  if (instr.slots[0])
    writeLanes<uint32_t>(warp, instr.slots[0], [=](int) { return leader; });
  warp.setPredicate(instr.slots[1], 1u << leader);
}

/// Threads may name several groups at once: carries `op` out for each. The mask
/// is in slots[slot].
template <unsigned slot, void (*op)(Warp &, const Instr &)>
void forGroups(Warp &warp, const Instr &instr) {
  uint32_t all = warp.mask;
  uint32_t members[32];
  std::memcpy(members, warp.lanes<uint32_t>(instr.slots[slot]),
              sizeof(members));
  for (uint32_t rest = all; rest; rest &= ~warp.mask) {
    int first = __builtin_ctz(rest);
    uint32_t group = 0;
    forActiveLanes(rest, [&](int lane) {
      group |= uint32_t(members[lane] == members[first]) << lane;
    });
    warp.mask = group;
    op(warp, instr);
  }
  warp.mask = all;
}

/// Binds `d|p` or `d`; always two results.
void bindPair(InstrBuilder &b) {
  const ptx::Operand &results = b.operand(0);
  if (results.kind == ptx::Operand::Kind::Pair) {
    b.result(results.elements[0], 4);
    b.predicateResult(results.elements[1]);
    return;
  }
  b.result(results, 4);
  ptx::Operand none;
  none.name = "_";
  b.predicateResult(none);
}

void decodeShfl(InstrBuilder &b) {
  bool sync = b.take("sync");
  int mode = b.takeOneOf({"up", "down", "bfly", "idx"});
  Type type = b.type();
  b.expectOperands(5, 5);
  if (!sync || mode < 0 || type.bytes != 4)
    return b.refuse("shfl.sync.{up,down,bfly,idx}.b32 is expected");
  bindPair(b);
  for (size_t i = 1; i < 5; ++i)
    b.source(i, 4);
  b.instr.flags = static_cast<uint8_t>(mode);
  b.instr.undefRule = UndefRule::Shuffle;
  b.instr.exec = shuffle;
}

void decodeVote(InstrBuilder &b) {
  bool sync = b.take("sync");
  int mode = b.takeOneOf({"all", "any", "uni", "ballot"});
  b.type();
  b.expectOperands(3, 3);
  if (!sync || mode < 0)
    return b.refuse("vote.sync.{all,any,uni,ballot} is expected");
  bool negated = false;
  if (mode == 3)
    b.result(0, 4);
  else
    b.predicateResult(b.operand(0));
  b.predicateSource(b.operand(1), negated);
  b.source(2, 4);
  b.instr.flags = static_cast<uint8_t>(mode | (negated ? 4 : 0));
  b.instr.exec = forGroups<2, vote>;
}

void decodeActiveMask(InstrBuilder &b) {
  b.type();
  b.expectOperands(1, 1);
  b.result(0, 4);
  b.instr.exec = activeMask;
}

void decodeMatch(InstrBuilder &b) {
  int mode = b.takeOneOf({"any", "all"});
  bool sync = b.take("sync");
  Type type = b.type();
  b.expectOperands(3, 3);
  if (mode < 0 || !sync || type.bytes < 4)
    return b.refuse("match.{any,all}.sync.{b32,b64} is expected");
  bindPair(b);
  b.source(1, type.bytes);
  b.source(2, 4);
  if (mode == 1)
    b.instr.exec = type.bytes == 8 ? forGroups<3, match<uint64_t, true>>
                                   : forGroups<3, match<uint32_t, true>>;
  else
    b.instr.exec = type.bytes == 8 ? forGroups<3, match<uint64_t, false>>
                                   : forGroups<3, match<uint32_t, false>>;
}

void decodeRedux(InstrBuilder &b) {
  bool sync = b.take("sync");
  int op = b.takeOneOf({"add", "min", "max", "and", "or", "xor"});
  bool absolute = b.take("abs"), nan = b.take("NaN");
  Type type = b.type();
  b.expectOperands(3, 3);
  if (sync && type.is(Type::Kind::Float, 4) && (op == 1 || op == 2)) {
    b.requireTargets({"sm_100a", "sm_100f", "sm_103a", "sm_103f"},
                     "redux.sync of f32");
    b.result(0, 4);
    b.source(1, 4);
    b.source(2, 4);
    b.instr.flags =
        static_cast<uint8_t>((op == 2) | (absolute ? 2 : 0) | (nan ? 4 : 0));
    b.instr.exec = forGroups<2, reduceFloats>;
    return;
  }
  if (absolute || nan)
    return b.refuse(".abs and .NaN need .f32");
  if (!sync || op < 0 || type.bytes != 4 || !type.isInteger())
    return b.refuse("redux.sync on 32-bit integers is expected");
  b.result(0, 4);
  b.source(1, 4);
  b.source(2, 4);
  b.instr.flags = static_cast<uint8_t>(op);
  b.instr.exec = type.isSigned() ? forGroups<2, reduce<int32_t>>
                                 : forGroups<2, reduce<uint32_t>>;
}

void decodeElect(InstrBuilder &b) {
  b.requireTarget(90, "elect.sync");
  bool sync = b.take("sync");
  b.expectOperands(2, 2);
  bindPair(b);
  b.source(1, 4);
  if (!sync || !b.instr.slots[1])
    return b.refuse("elect.sync d|p, membermask is expected");
  b.instr.exec = forGroups<2, elect>;
}

} // namespace

std::span<const Opcode> sim::warpOpcodes() {
  constexpr InstrClass c = InstrClass::Warp;
  static const Opcode table[] = {
      {"shfl", c, decodeShfl},
      {"vote", c, decodeVote},
      {"activemask", c, decodeActiveMask},
      {"match", c, decodeMatch},
      {"redux", c, decodeRedux},
      {"elect", c, decodeElect},
  };
  return table;
}
