//===- FloatOps.cpp - Floating-point arithmetic ---------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Everything but the .approx instructions is bit-exact. The latter, whose
// results NVIDIA only bounds, are evaluated by the host's library and rounded:
// results that pass through them compare within a tolerance.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Arithmetic.h"
#include "runtime/device/sim/FloatMinMax.h"
#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/Opcodes.h"

#include <utility>

using namespace quern;
using namespace quern::sim;

namespace {

// Instr::flags of the general forms: a Rounding in bits 0-1, and these.
constexpr uint8_t flagFtz = 4;
constexpr uint8_t flagSat = 8;
constexpr uint8_t flagRelu = 32;

Rounding roundingOf(uint8_t flags) { return static_cast<Rounding>(flags & 3); }

// Operations: exactly rounded in T, and in double rounded to odd.
struct Add {
  static constexpr int arity = 2;
  template <typename T> static T nearest(T a, T b, T) { return a + b; }
  static double odd(double a, double b, double) { return addOdd(a, b); }
};
struct Sub {
  static constexpr int arity = 2;
  template <typename T> static T nearest(T a, T b, T) { return a - b; }
  static double odd(double a, double b, double) { return addOdd(a, -b); }
};
struct Mul {
  static constexpr int arity = 2;
  template <typename T> static T nearest(T a, T b, T) { return a * b; }
  // Exact: no format here has more than 24 bits.
  static double odd(double a, double b, double) { return a * b; }
};
struct Fma {
  static constexpr int arity = 3;
  template <typename T> static T nearest(T a, T b, T c) {
    return std::fma(a, b, c);
  }
  static double odd(double a, double b, double c) { return fmaOdd(a, b, c); }
};
struct Div {
  static constexpr int arity = 2;
  template <typename T> static T nearest(T a, T b, T) { return a / b; }
  static double odd(double a, double b, double) { return divOdd(a, b); }
};
struct Rcp {
  static constexpr int arity = 1;
  template <typename T> static T nearest(T a, T, T) { return T(1) / a; }
  static double odd(double a, double, double) { return divOdd(1, a); }
};
struct Sqrt {
  static constexpr int arity = 1;
  template <typename T> static T nearest(T a, T, T) { return std::sqrt(a); }
  static double odd(double a, double, double) { return sqrtOdd(a); }
};

/// Round to nearest in the host's own arithmetic: the fast and usual case.
template <typename Op, typename T, bool ftz>
void nearest(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  const T *b = Op::arity > 1 ? warp.lanes<T>(instr.slots[2]) : a;
  const T *c = Op::arity > 2 ? warp.lanes<T>(instr.slots[3]) : a;
  writeLanes<T>(warp, instr.slots[0], [=](int lane) {
    T x = a[lane], y = b[lane], z = c[lane];
    if constexpr (ftz) {
      x = flush(x);
      y = flush(y);
      z = flush(z);
    }
    T result = canonical(Op::template nearest<T>(x, y, z));
    if constexpr (ftz)
      result = flush(result);
    return result;
  });
}

/// Any rounding, .ftz and .sat, of one f32.
template <typename Op>
float generally(float x, float y, float z, uint8_t flags) {
  if (flags & flagFtz) {
    x = flush(x);
    y = flush(y);
    z = flush(z);
  }
  float result = std::bit_cast<float>(
      encode(Op::odd(x, y, z), formatF32, roundingOf(flags)));
  // x + -x is -0 when rounding down.
  if (result == 0 && Op::arity > 1 && roundingOf(flags) == Rounding::Down &&
      (std::is_same_v<Op, Add> || std::is_same_v<Op, Sub> ||
       std::is_same_v<Op, Fma>)) {
    double first = std::is_same_v<Op, Fma> ? double(x) * y : double(x);
    double second = std::is_same_v<Op, Fma>   ? double(z)
                    : std::is_same_v<Op, Sub> ? -double(y)
                                              : double(y);
    if (first == -second && !(std::signbit(first) == std::signbit(second)))
      result = -0.0f;
  }
  if (flags & flagFtz)
    result = flush(result);
  if (flags & flagSat)
    result = result > 0 ? (result < 1 ? result : 1.0f) : 0.0f;
  return result;
}

template <typename Op> void general(Warp &warp, const Instr &instr) {
  const float *a = warp.lanes<float>(instr.slots[1]);
  const float *b = Op::arity > 1 ? warp.lanes<float>(instr.slots[2]) : a;
  const float *c = Op::arity > 2 ? warp.lanes<float>(instr.slots[3]) : a;
  uint8_t flags = instr.flags;
  writeLanes<float>(warp, instr.slots[0], [=](int lane) {
    return generally<Op>(a[lane], b[lane], c[lane], flags);
  });
}

/// All operands but the last are of 16 bits.
template <typename Op, bool bfloat> void mixed(Warp &warp, const Instr &instr) {
  auto half = [&](unsigned operand, int lane) {
    uint16_t bits = warp.lanes<uint16_t>(instr.slots[operand])[lane];
    return bfloat ? bfloatToFloat(bits) : halfToFloat(bits);
  };
  const float *last = warp.lanes<float>(instr.slots[Op::arity]);
  writeLanes<float>(warp, instr.slots[0], [&](int lane) {
    float second = Op::arity == 2 ? last[lane] : half(2, lane);
    return generally<Op>(half(1, lane), second, last[lane], instr.flags);
  });
}

template <bool bfloat> double halfValue(uint16_t bits) {
  return bfloat ? bfloatToFloat(bits) : halfToFloat(bits);
}

template <typename Op, bool bfloat>
uint16_t halfResult(uint16_t a, uint16_t b, uint16_t c, uint8_t flags) {
  if (flags & flagFtz)
    for (uint16_t *operand : {&a, &b, &c})
      if (!(*operand & (bfloat ? 0x7f80 : 0x7c00)))
        *operand &= 0x8000;
  double result =
      Op::odd(halfValue<bfloat>(a), halfValue<bfloat>(b), halfValue<bfloat>(c));
  if (flags & flagSat)
    result = result > 0 ? (result < 1 ? result : 1.0) : 0.0;
  if ((flags & flagRelu) && result < 0)
    result = 0.0;
  uint16_t bits =
      static_cast<uint16_t>(encode(result, bfloat ? formatBF16 : formatF16));
  if ((flags & flagFtz) && !(bits & (bfloat ? 0x7f80 : 0x7c00)))
    bits &= 0x8000;
  return bits;
}

/// f16, bf16 and their packed pairs.
template <typename Op, bool bfloat, typename Word>
void half(Warp &warp, const Instr &instr) {
  const Word *a = warp.lanes<Word>(instr.slots[1]);
  const Word *b = Op::arity > 1 ? warp.lanes<Word>(instr.slots[2]) : a;
  const Word *c = Op::arity > 2 ? warp.lanes<Word>(instr.slots[3]) : a;
  uint8_t flags = instr.flags;
  writeLanes<Word>(warp, instr.slots[0], [=](int lane) {
    Word result = 0;
    for (unsigned shift = 0; shift < sizeof(Word) * 8; shift += 16)
      result = static_cast<Word>(
          result | Word(halfResult<Op, bfloat>(
                       static_cast<uint16_t>(a[lane] >> shift),
                       static_cast<uint16_t>(b[lane] >> shift),
                       static_cast<uint16_t>(c[lane] >> shift), flags))
                       << shift);
    return result;
  });
}

/// Two f32 in 64 bits.
template <typename Op> void pairOfSingles(Warp &warp, const Instr &instr) {
  const uint64_t *a = warp.lanes<uint64_t>(instr.slots[1]);
  const uint64_t *b = warp.lanes<uint64_t>(instr.slots[2]);
  const uint64_t *c = Op::arity > 2 ? warp.lanes<uint64_t>(instr.slots[3]) : a;
  uint8_t flags = instr.flags;
  writeLanes<uint64_t>(warp, instr.slots[0], [=](int lane) {
    uint64_t result = 0;
    for (unsigned shift = 0; shift < 64; shift += 32) {
      auto part = [&](const uint64_t *from) {
        float x =
            std::bit_cast<float>(static_cast<uint32_t>(from[lane] >> shift));
        return flags & flagFtz ? flush(x) : x;
      };
      float x = part(a), y = part(b), z = part(c);
      float value =
          flags & 3 ? std::bit_cast<float>(encode(Op::odd(x, y, z), formatF32,
                                                  roundingOf(flags)))
                    : canonical(Op::template nearest<float>(x, y, z));
      if (flags & flagFtz)
        value = flush(value);
      result |= uint64_t(std::bit_cast<uint32_t>(value)) << shift;
    }
    return result;
  });
}

//===----------------------------------------------------------------------===//
// Signs and tests
//===----------------------------------------------------------------------===//

/// neg and abs work on the sign bits of one or two numbers.
template <typename Word, bool isNegate>
void signOp(Warp &warp, const Instr &instr) {
  const Word *a = warp.lanes<Word>(instr.slots[1]);
  Word signs = static_cast<Word>(instr.immediate);
  bool ftz = instr.flags & flagFtz;
  writeLanes<Word>(warp, instr.slots[0], [=](int lane) {
    Word value = a[lane];
    if constexpr (sizeof(Word) == 4)
      if (ftz)
        value = std::bit_cast<uint32_t>(flush(std::bit_cast<float>(value)));
    return static_cast<Word>(isNegate ? value ^ signs : value & ~signs);
  });
}

template <typename Word> void copysign(Warp &warp, const Instr &instr) {
  const Word *a = warp.lanes<Word>(instr.slots[1]);
  const Word *b = warp.lanes<Word>(instr.slots[2]);
  Word sign = Word(1) << (sizeof(Word) * 8 - 1);
  writeLanes<Word>(warp, instr.slots[0], [=](int lane) {
    return (a[lane] & sign) | (b[lane] & ~sign);
  });
}

template <typename T> void testProperty(Warp &warp, const Instr &instr) {
  const T *a = warp.lanes<T>(instr.slots[1]);
  unsigned property = instr.flags;
  writePredicate(warp, instr.slots[0], [=](int lane) {
    int kind = std::fpclassify(a[lane]);
    switch (property) {
    case 0:
      return kind != FP_INFINITE && kind != FP_NAN;
    case 1:
      return kind == FP_INFINITE;
    case 2:
      return kind != FP_NAN;
    case 3:
      return kind == FP_NAN;
    case 4:
      // Zeros are normal numbers here (PTX ISA, testp).
      return kind == FP_NORMAL || kind == FP_ZERO;
    default:
      return kind == FP_SUBNORMAL;
    }
  });
}

//===----------------------------------------------------------------------===//
// Approximations
//===----------------------------------------------------------------------===//

struct ApproxRcp {
  static float apply(float x) { return 1.0f / x; }
};
struct ApproxSqrt {
  static float apply(float x) { return std::sqrt(x); }
};
struct ApproxRsqrt {
  static float apply(float x) {
    return static_cast<float>(1.0 / std::sqrt(static_cast<double>(x)));
  }
};
struct ApproxEx2 {
  static float apply(float x) { return std::exp2(x); }
};
struct ApproxLg2 {
  static float apply(float x) { return std::log2(x); }
};
struct ApproxSin {
  static float apply(float x) { return std::sin(x); }
};
struct ApproxCos {
  static float apply(float x) { return std::cos(x); }
};
struct ApproxTanh {
  static float apply(float x) { return std::tanh(x); }
};

template <typename Op> void approximate(Warp &warp, const Instr &instr) {
  const float *a = warp.lanes<float>(instr.slots[1]);
  bool ftz = instr.flags & flagFtz;
  writeLanes<float>(warp, instr.slots[0], [=](int lane) {
    float x = ftz ? flush(a[lane]) : a[lane];
    float result = canonical(Op::apply(x));
    return ftz ? flush(result) : result;
  });
}

template <typename Op, bool bfloat, typename Word>
void approximateHalf(Warp &warp, const Instr &instr) {
  const Word *a = warp.lanes<Word>(instr.slots[1]);
  writeLanes<Word>(warp, instr.slots[0], [=](int lane) {
    Word result = 0;
    for (unsigned shift = 0; shift < sizeof(Word) * 8; shift += 16) {
      float value = Op::apply(static_cast<float>(
          halfValue<bfloat>(static_cast<uint16_t>(a[lane] >> shift))));
      result = static_cast<Word>(
          result | Word(bfloat ? floatToBfloat(value) : floatToHalf(value))
                       << shift);
    }
    return result;
  });
}

/// rcp.approx.ftz.f64: made of the upper halves; the lower ones are zero.
void approximateRcp64(Warp &warp, const Instr &instr) {
  constexpr uint64_t upper = ~uint64_t(0) << 32;
  const uint64_t *a = warp.lanes<uint64_t>(instr.slots[1]);
  writeLanes<uint64_t>(warp, instr.slots[0], [=](int lane) {
    auto flushed = [](double x) {
      return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0, x) : x;
    };
    double x = flushed(std::bit_cast<double>(a[lane] & upper));
    uint64_t bits =
        std::bit_cast<uint64_t>(flushed(canonical(1.0 / x))) & upper;
    return bits;
  });
}

/// 1/sqrt in double, exact enough for rsqrt.approx.f64.
void approximateRsqrt64(Warp &warp, const Instr &instr) {
  const double *a = warp.lanes<double>(instr.slots[1]);
  writeLanes<double>(warp, instr.slots[0], [=](int lane) {
    return canonical(1.0 / std::sqrt(a[lane]));
  });
}

//===----------------------------------------------------------------------===//
// Decoding
//===----------------------------------------------------------------------===//

uint8_t takeRounding(InstrBuilder &b) {
  int mode = b.takeOneOf({"rn", "rz", "rm", "rp"});
  return static_cast<uint8_t>(mode < 0 ? 0 : mode);
}

void bindOperands(InstrBuilder &b, unsigned arity, unsigned bytes) {
  b.expectOperands(arity + 1, arity + 1);
  b.result(0, bytes);
  for (unsigned i = 1; i <= arity; ++i)
    b.source(i, bytes);
}

template <typename Op> ExecFn halfExec(Type type) {
  bool bfloat = type.kind == Type::Kind::BFloat;
  if (type.packed)
    return bfloat ? half<Op, true, uint32_t> : half<Op, false, uint32_t>;
  return bfloat ? half<Op, true, uint16_t> : half<Op, false, uint16_t>;
}

/// add, sub and fma of f32 with operands of 16 bits.
template <typename Op>
void decodeMixed(InstrBuilder &b, Type type, Type narrow, uint8_t flags) {
  constexpr bool exists = std::is_same_v<Op, Add> || std::is_same_v<Op, Sub> ||
                          std::is_same_v<Op, Fma>;
  b.requireTarget(100, "arithmetic on f32 and 16-bit floats");
  b.expectOperands(Op::arity + 1, Op::arity + 1);
  if (!exists || !type.is(Type::Kind::Float, 4) || narrow.bytes != 2 ||
      narrow.isInteger() || narrow.packed || (flags & (flagFtz | flagRelu)))
    return b.refuse("this combination of types and modifiers does not exist");
  b.result(0, 4);
  for (unsigned i = 1; i < Op::arity; ++i)
    b.source(i, 2);
  b.source(Op::arity, 4);
  b.instr.flags = flags;
  b.instr.exec =
      narrow.kind == Type::Kind::BFloat ? mixed<Op, true> : mixed<Op, false>;
}

template <typename Op> void decodeArithmetic(InstrBuilder &b) {
  uint8_t flags = takeRounding(b);
  if (b.take("ftz"))
    flags |= flagFtz;
  if (b.take("sat"))
    flags |= flagSat;
  bool relu = b.take("relu");
  if (relu)
    flags |= flagRelu;
  Type type = b.type();
  if (std::optional<Type> narrow = b.takeType())
    return decodeMixed<Op>(b, type, *narrow, flags);
  bindOperands(b, Op::arity, type.bytes);
  b.instr.flags = flags;
  if (type.bytes == 2 || (type.packed && type.bytes == 4)) {
    if (type.kind == Type::Kind::BFloat && !std::is_same_v<Op, Fma>)
      b.requireTarget(90, "add, sub and mul of bf16");
    if (flags & 3)
      return b.refuse("half precision rounds to nearest only");
    b.instr.exec = halfExec<Op>(type);
    return;
  }
  if (relu || type.kind != Type::Kind::Float)
    return b.refuse("the type is not supported here");
  if (type.bytes == 8 && type.packed) {
    b.requireTarget(100, "arithmetic on .f32x2");
    if ((flags & flagSat) || Op::arity < 2 || std::is_same_v<Op, Div>)
      return b.refuse("this operation does not exist on .f32x2");
    b.instr.exec = pairOfSingles<Op>;
    return;
  }
  if (type.bytes == 8) {
    if (flags)
      return b.refuse("f64 is supported with .rn alone");
    b.instr.exec = nearest<Op, double, false>;
  } else if (flags == 0) {
    b.instr.exec = nearest<Op, float, false>;
  } else if (flags == flagFtz) {
    b.instr.exec = nearest<Op, float, true>;
  } else {
    b.instr.exec = general<Op>;
  }
}

/// div, rcp and sqrt come as .approx, .full or rounded.
/// rcp.approx.ftz.f64: of the upper 32 bits of the operand, in those of the
/// result; the lower ones are zero (PTX ISA).
void approximateRcp64(Warp &warp, const Instr &instr) {
  const uint64_t *a = warp.lanes<uint64_t>(instr.slots[1]);
  auto normal = [](double x) {
    return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0, x) : x;
  };
  constexpr uint64_t upper = 0xffffffff00000000;
  writeLanes<uint64_t>(warp, instr.slots[0], [=](int lane) {
    double value = normal(std::bit_cast<double>(a[lane]));
    if (value == value)
      value =
          normal(std::bit_cast<double>(std::bit_cast<uint64_t>(value) & upper));
    double result = normal(canonical(1.0 / value));
    return std::bit_cast<uint64_t>(result) & upper;
  });
}

template <typename Op, typename Approx> void decodeRounded(InstrBuilder &b) {
  if (!b.take("approx")) {
    if (!b.take("full"))
      return decodeArithmetic<Op>(b);
  }
  bool ftz = b.take("ftz");
  Type type = b.type();
  bindOperands(b, Op::arity, type.bytes);
  if (std::is_same_v<Op, Rcp> && ftz && type.is(Type::Kind::Float, 8)) {
    b.instr.exec = approximateRcp64;
    return;
  }
  if (!type.is(Type::Kind::Float, 4))
    return b.refuse("only f32 has an approximate form here");
  b.instr.flags = ftz ? flagFtz : 0;
  if constexpr (Op::arity == 2)
    b.instr.exec = ftz ? nearest<Op, float, true> : nearest<Op, float, false>;
  else
    b.instr.exec = approximate<Approx>;
}

void decodeMin(InstrBuilder &b) { decodeFloatMinMax(b, false); }
void decodeMax(InstrBuilder &b) { decodeFloatMinMax(b, true); }

template <bool isNegate> void decodeSign(InstrBuilder &b) {
  if (b.take("ftz"))
    b.instr.flags = flagFtz;
  Type type = b.type();
  bindOperands(b, 1, type.bytes);
  if (type.bytes == 8) {
    b.instr.immediate = uint64_t(1) << 63;
    b.instr.exec = signOp<uint64_t, isNegate>;
  } else if (type.bytes == 4) {
    b.instr.immediate = type.packed ? 0x80008000u : 0x80000000u;
    if (type.packed)
      b.instr.flags = 0;
    b.instr.exec = signOp<uint32_t, isNegate>;
  } else {
    b.instr.immediate = 0x8000;
    b.instr.exec = signOp<uint16_t, isNegate>;
  }
}

void decodeCopysign(InstrBuilder &b) {
  Type type = b.type();
  bindOperands(b, 2, type.bytes);
  if (type.bytes < 4 || type.packed)
    return b.refuse("f32 or f64 is needed");
  b.instr.exec = type.bytes == 8 ? copysign<uint64_t> : copysign<uint32_t>;
}

void decodeTestp(InstrBuilder &b) {
  int property = b.takeOneOf(
      {"finite", "infinite", "number", "notanumber", "normal", "subnormal"});
  Type type = b.type();
  b.expectOperands(2, 2);
  b.predicateResult(b.operand(0));
  b.source(1, type.bytes);
  if (property < 0 || type.bytes < 4 || type.packed)
    return b.refuse("a property of f32 or f64 is needed");
  b.instr.flags = static_cast<uint8_t>(property);
  b.instr.exec = type.bytes == 8 ? testProperty<double> : testProperty<float>;
}

template <typename Op> void decodeApprox(InstrBuilder &b) {
  bool approx = b.take("approx");
  if (b.take("ftz"))
    b.instr.flags = flagFtz;
  Type type = b.type();
  bindOperands(b, 1, type.bytes);
  if (!approx)
    return b.refuse("only the .approx form exists");
  bool bfloat = type.kind == Type::Kind::BFloat;
  if (type.packed)
    b.instr.exec = bfloat ? approximateHalf<Op, true, uint32_t>
                          : approximateHalf<Op, false, uint32_t>;
  else if (type.bytes == 2)
    b.instr.exec = bfloat ? approximateHalf<Op, true, uint16_t>
                          : approximateHalf<Op, false, uint16_t>;
  else if (type.bytes == 4)
    b.instr.exec = approximate<Op>;
  else if (std::is_same_v<Op, ApproxRsqrt>)
    b.instr.exec = approximateRsqrt64;
}

} // namespace

std::span<const Opcode> sim::floatOpcodes() {
  constexpr auto floating = Opcode::Domain::Float;
  constexpr InstrClass c = InstrClass::Float;
  static const Opcode table[] = {
      {"add", c, decodeArithmetic<Add>, floating},
      {"sub", c, decodeArithmetic<Sub>, floating},
      {"mul", c, decodeArithmetic<Mul>, floating},
      {"mad", c, decodeArithmetic<Fma>, floating},
      {"fma", c, decodeArithmetic<Fma>, floating},
      {"div", c, decodeRounded<Div, ApproxRcp>, floating},
      {"rcp", c, decodeRounded<Rcp, ApproxRcp>, floating},
      {"sqrt", c, decodeRounded<Sqrt, ApproxSqrt>, floating},
      {"min", c, decodeMin, floating},
      {"max", c, decodeMax, floating},
      {"neg", c, decodeSign<true>, floating},
      {"abs", c, decodeSign<false>, floating},
      {"copysign", c, decodeCopysign, floating},
      {"testp", c, decodeTestp, floating},
      {"rsqrt", c, decodeApprox<ApproxRsqrt>, floating},
      {"ex2", c, decodeApprox<ApproxEx2>, floating},
      {"lg2", c, decodeApprox<ApproxLg2>, floating},
      {"sin", c, decodeApprox<ApproxSin>, floating},
      {"cos", c, decodeApprox<ApproxCos>, floating},
      {"tanh", c, decodeApprox<ApproxTanh>, floating},
  };
  return table;
}
