//===- CarryOps.cpp - Integer arithmetic with a carry ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// add.cc, sub.cc and mad.cc write the condition code register's carry flag;
// addc, subc and madc read it, and write it with .cc (PTX ISA, "Extended-
// Precision Integer Arithmetic Instructions"). The flag is a predicate of its
// own, shared by the whole kernel; for subtractions it is the borrow.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Decoder.h"
#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/Opcodes.h"

#include <type_traits>

using namespace quern;
using namespace quern::sim;

namespace {

// Instr::flags: what is added to or subtracted from what.
constexpr uint8_t subtracts = 1, multiplies = 2, takesHigh = 4, isSigned = 8;

/// slots: d, a, b, c (of mad), the flag read, the flag written (0: none).
template <typename T, typename Wide, typename SignedWide>
void withCarry(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  const T *b = warp.lanes<T>(instr.slots[2]);
  const T *c = warp.lanes<T>(instr.slots[3]);
  uint32_t in = instr.slots[4] ? warp.predicate(instr.slots[4]) : 0;
  uint32_t out = 0;
  T *result = instr.slots[0] ? warp.lanes<T>(instr.slots[0]) : nullptr;
  constexpr unsigned bits = sizeof(T) * 8;
  using S = std::make_signed_t<T>;
  forActiveLanes(warp.mask, [&](int lane) {
    T first = a[lane], second = b[lane];
    if (instr.flags & multiplies) {
      Wide product =
          instr.flags & isSigned
              ? static_cast<Wide>(SignedWide(S(first)) * SignedWide(S(second)))
              : Wide(first) * Wide(second);
      first =
          static_cast<T>(instr.flags & takesHigh ? product >> bits : product);
      second = c[lane];
    }
    Wide carry = in >> lane & 1;
    Wide sum = instr.flags & subtracts ? Wide(first) - Wide(second) - carry
                                       : Wide(first) + Wide(second) + carry;
    if (result)
      result[lane] = static_cast<T>(sum);
    out |= static_cast<uint32_t>(sum >> bits & 1) << lane;
  });
  if (instr.slots[5])
    warp.setPredicate(instr.slots[5], out);
}

enum class Form { Add, Sub, Mad };

void decode(InstrBuilder &b, Form form, bool readsFlag) {
  bool writesFlag = b.take("cc");
  int part = form == Form::Mad ? b.takeOneOf({"lo", "hi"}) : -1;
  if (form == Form::Mad && part < 0)
    return b.refuse("one of .lo and .hi is needed");
  Type type = b.type();
  if (!type.isInteger() || type.packed || type.bytes < 4)
    return b.refuse("u32, s32, u64 or s64 is expected");
  size_t operands = form == Form::Mad ? 4 : 3;
  b.expectOperands(operands, operands);
  b.result(0, type.bytes);
  for (size_t i = 1; i < operands; ++i)
    b.source(i, type.bytes);
  b.useCarry(readsFlag, writesFlag);
  b.instr.flags = static_cast<uint8_t>((form == Form::Sub ? subtracts : 0) |
                                       (form == Form::Mad ? multiplies : 0) |
                                       (part == 1 ? takesHigh : 0) |
                                       (type.isSigned() ? isSigned : 0));
  b.instr.exec = type.bytes == 8
                     ? withCarry<uint64_t, unsigned __int128, __int128>
                     : withCarry<uint32_t, uint64_t, int64_t>;
}

template <Form form> void decodeReading(InstrBuilder &b) {
  decode(b, form, true);
}

} // namespace

bool sim::decodeCarryOut(InstrBuilder &b) {
  if (b.firstOf({"cc"}).empty())
    return false;
  char first = b.statement.name.front();
  decode(b,
         first == 'a'   ? Form::Add
         : first == 's' ? Form::Sub
                        : Form::Mad,
         false);
  return true;
}

std::span<const Opcode> sim::carryOpcodes() {
  constexpr InstrClass c = InstrClass::Integer;
  static const Opcode table[] = {
      {"addc", c, decodeReading<Form::Add>},
      {"subc", c, decodeReading<Form::Sub>},
      {"madc", c, decodeReading<Form::Mad>},
  };
  return table;
}
