//===- WarpOps.cpp - Shuffles, votes, matches, reductions -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A group is the threads that name the same member mask: each carries out an
// instruction of its own. Threads that a mask names have waited for each other
// (Convergence.h); one that has not exited and does not come is a fault, as is
// one that comes with another mask.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/Opcodes.h"

#include <bit>
#include <cmath>
#include <fmt/format.h>
#include <span>

using namespace quern;
using namespace quern::sim;

void sim::checkMembers(Warp &warp, const Instr &instr, uint32_t elsewhere) {
  const uint32_t *members = warp.lanes<uint32_t>(instr.memberSlot);
  Block &block = *warp.block;
  for (uint32_t rest = warp.mask; rest;) {
    uint32_t group = warp.lanesThatAgree(instr.memberSlot, rest);
    uint32_t named = members[__builtin_ctz(rest)];
    rest &= ~group;
    uint32_t here = group | elsewhere;
    uint32_t strangers = group & ~named, missing = named & warp.alive & ~here;
    if (!strangers && !missing)
      continue;
    if (block.isKnown(&instr, FaultKind::DivergentCollective))
      continue;
    std::string what;
    if (strangers)
      what = fmt::format("the thread is not in its member mask {:#x}", named);
    else if (uint32_t others = missing & warp.mask)
      what = fmt::format("the member mask is {:#x}, but threads {:#x} in it "
                         "come with another mask",
                         named, others);
    else
      what = fmt::format("the member mask is {:#x} but only threads {:#x} of "
                         "the warp are here",
                         named, here);
    block.fault(&warp, &instr, FaultKind::DivergentCollective,
                __builtin_ctz(strangers ? strangers : group), what,
                warp.whereTheOthersAre());
  }
}

namespace {

/// Calls f(group, members) for the running lanes of each member mask.
template <typename F> void forGroups(Warp &warp, const Instr &instr, F f) {
  const uint32_t *named = warp.lanes<uint32_t>(instr.memberSlot);
  for (uint32_t rest = warp.mask; rest;) {
    uint32_t group = warp.lanesThatAgree(instr.memberSlot, rest);
    f(group, named[__builtin_ctz(rest)]);
    rest &= ~group;
  }
}

/// The same for an instruction whose lanes of a group get one result: calls
/// f(lanes that take part) for it.
template <typename T, typename F>
void writeGroups(Warp &warp, const Instr &instr, uint32_t slot, F f) {
  T *result = warp.lanes<T>(slot);
  forGroups(warp, instr, [&](uint32_t group, uint32_t members) {
    T value = f(group & members ? group & members : group);
    forActiveLanes(group, [&](int lane) { result[lane] = value; });
  });
}

/// slots: d, p, a, b, c, member mask. flags: 0 up, 1 down, 2 bfly, 3 idx.
void shuffle(Warp &warp, const Instr &instr) {
  checkMembers(warp, instr);
  uint32_t source[32], by[32], clamp[32];
  std::memcpy(source, warp.lanes<uint32_t>(instr.slots[2]), sizeof(source));
  std::memcpy(by, warp.lanes<uint32_t>(instr.slots[3]), sizeof(by));
  std::memcpy(clamp, warp.lanes<uint32_t>(instr.slots[4]), sizeof(clamp));
  // A result is defined where the value read and what says which one are.
  uint32_t known = warp.defined.lanes(instr.slots[3]) &
                   warp.defined.lanes(instr.slots[4]) &
                   warp.defined.lanes(instr.slots[5]);
  uint32_t given = warp.defined.lanes(instr.slots[2]), received = 0;
  uint32_t inRange = 0;
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
    else if (!(warp.mask >> from & 1) &&
             !warp.block->isKnown(&instr, FaultKind::DivergentCollective))
      warp.block->fault(&warp, &instr, FaultKind::DivergentCollective, lane,
                        fmt::format("the value of thread {} of the warp is "
                                    "read, which is not here",
                                    from));
    if (result)
      result[lane] = source[from];
    received |= (given >> from & 1) << lane;
    inRange |= uint32_t(valid) << lane;
  });
  if (instr.slots[0])
    warp.defined.set(instr.slots[0], known & received, warp.mask);
  if (instr.slots[1])
    warp.defined.set(instr.slots[1], known, warp.mask);
  if (instr.slots[1])
    warp.setPredicate(instr.slots[1], inRange);
}

/// slots: d, p, member mask. flags: 0 all, 1 any, 2 uni, 3 ballot; bit 2
/// negates the predicate.
void vote(Warp &warp, const Instr &instr) {
  checkMembers(warp, instr);
  uint32_t bits = warp.predicate(instr.slots[1]);
  if (instr.flags & 4)
    bits = ~bits;
  if ((instr.flags & 3) == 3)
    return writeGroups<uint32_t>(warp, instr, instr.slots[0],
                                 [=](uint32_t lanes) { return bits & lanes; });
  uint32_t result = 0;
  forGroups(warp, instr, [&](uint32_t group, uint32_t members) {
    uint32_t lanes = group & members ? group & members : group;
    bool all = (bits & lanes) == lanes, any = bits & lanes;
    bool holds[] = {all, any, all || !any};
    result |= holds[instr.flags & 3] ? group : 0;
  });
  warp.setPredicate(instr.slots[0], result);
}

void activeMask(Warp &warp, const Instr &instr) {
  uint32_t mask = warp.mask;
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int) { return mask; });
}

/// slots: d, p (match.all), a, member mask.
template <typename T, bool all> void match(Warp &warp, const Instr &instr) {
  checkMembers(warp, instr);
  T values[32];
  std::memcpy(values, warp.lanes<T>(instr.slots[2]), sizeof(values));
  uint32_t agree = 0;
  uint32_t unused[32];
  uint32_t *result =
      instr.slots[0] ? warp.lanes<uint32_t>(instr.slots[0]) : unused;
  // A mask register may be the result's.
  uint32_t groups[32];
  unsigned count = 0;
  forGroups(warp, instr,
            [&](uint32_t group, uint32_t) { groups[count++] = group; });
  for (uint32_t group : std::span(groups, count))
    forActiveLanes(group, [&](int lane) {
      uint32_t equal = 0;
      forActiveLanes(group, [&](int other) {
        equal |= uint32_t(values[other] == values[lane]) << other;
      });
      if (all) {
        if (equal == group)
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

template <typename T> T combine(Redux op, T a, T b) {
  switch (op) {
  case Redux::Add:
    return static_cast<T>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b));
  case Redux::Min:
    return b < a ? b : a;
  case Redux::Max:
    return b > a ? b : a;
  case Redux::And:
    return a & b;
  case Redux::Or:
    return a | b;
  case Redux::Xor:
    return a ^ b;
  }
  return a;
}

/// slots: d, a, member mask.
template <typename T> void reduce(Warp &warp, const Instr &instr) {
  checkMembers(warp, instr);
  T values[32];
  std::memcpy(values, warp.lanes<T>(instr.slots[1]), sizeof(values));
  writeGroups<T>(warp, instr, instr.slots[0], [&](uint32_t lanes) {
    T total = values[__builtin_ctz(lanes)];
    forActiveLanes(lanes & (lanes - 1), [&](int lane) {
      total = combine(static_cast<Redux>(instr.flags), total, values[lane]);
    });
    return total;
  });
}

/// slots: d, a, member mask. flags: 1 max; 2 .abs; 4 .NaN.
void reduceFloats(Warp &warp, const Instr &instr) {
  checkMembers(warp, instr);
  float values[32];
  std::memcpy(values, warp.lanes<float>(instr.slots[1]), sizeof(values));
  bool isMax = instr.flags & 1;
  writeGroups<float>(warp, instr, instr.slots[0], [&](uint32_t lanes) {
    float total = NAN;
    bool sawNaN = false;
    forActiveLanes(lanes, [&](int lane) {
      float value = instr.flags & 2 ? std::fabs(values[lane]) : values[lane];
      if (value != value)
        sawNaN = true;
      else if (total != total || (isMax ? value > total : value < total) ||
               (value == total && std::signbit(value) != isMax))
        total = value;
    });
    if (total != total || (sawNaN && (instr.flags & 4)))
      return std::bit_cast<float>(0x7fffffffu);
    return total;
  });
}

/// slots: d, p, member mask: one of each group is elected.
void elect(Warp &warp, const Instr &instr) {
  checkMembers(warp, instr);
  uint32_t leaders = 0;
  forGroups(warp, instr, [&](uint32_t group, uint32_t members) {
    uint32_t lanes = group & members ? group & members : group;
    leaders |= lanes & -lanes;
  });
  if (instr.slots[0])
    writeGroups<uint32_t>(warp, instr, instr.slots[0], [](uint32_t lanes) {
      return static_cast<uint32_t>(__builtin_ctz(lanes));
    });
  warp.setPredicate(instr.slots[1], leaders);
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
  for (size_t i = 1; i < 4; ++i)
    b.source(i, 4);
  b.instr.memberSlot = b.source(4, 4);
  b.instr.undefRule = UndefRule::Own;
  b.instr.flags = static_cast<uint8_t>(mode);
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
  b.instr.memberSlot = b.source(2, 4);
  b.instr.flags = static_cast<uint8_t>(mode | (negated ? 4 : 0));
  b.instr.exec = vote;
}

void decodeActiveMask(InstrBuilder &b) {
  b.type();
  b.expectOperands(1, 1);
  b.result(0, 4);
  b.instr.collective = false; // Whoever happens to be here.
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
  b.instr.memberSlot = b.source(2, 4);
  if (mode == 1)
    b.instr.exec =
        type.bytes == 8 ? match<uint64_t, true> : match<uint32_t, true>;
  else
    b.instr.exec =
        type.bytes == 8 ? match<uint64_t, false> : match<uint32_t, false>;
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
    b.instr.memberSlot = b.source(2, 4);
    b.instr.flags =
        static_cast<uint8_t>((op == 2) | (absolute ? 2 : 0) | (nan ? 4 : 0));
    b.instr.exec = reduceFloats;
    return;
  }
  if (absolute || nan)
    return b.refuse(".abs and .NaN need .f32");
  if (!sync || op < 0 || type.bytes != 4 || !type.isInteger())
    return b.refuse("redux.sync on 32-bit integers is expected");
  b.result(0, 4);
  b.source(1, 4);
  b.instr.memberSlot = b.source(2, 4);
  b.instr.flags = static_cast<uint8_t>(op);
  b.instr.exec = type.isSigned() ? reduce<int32_t> : reduce<uint32_t>;
}

void decodeElect(InstrBuilder &b) {
  b.requireTarget(90, "elect.sync");
  bool sync = b.take("sync");
  b.expectOperands(2, 2);
  bindPair(b);
  b.instr.memberSlot = b.source(1, 4);
  if (!sync || !b.instr.slots[1])
    return b.refuse("elect.sync d|p, membermask is expected");
  b.instr.exec = elect;
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
