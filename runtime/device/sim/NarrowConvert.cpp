//===- NarrowConvert.cpp - cvt to and from fp6, fp4, ue8m0, tf32 ----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Pairs: the first source is the upper element. e2m3 and e3m2 take a byte each,
// e2m1 four bits. They have no NaN: NaN becomes the largest number (PTX ISA,
// "cvt", .satfinite).
//
// ue8m0 is 2^(code - 127), code 255 is NaN. The sign of the source is ignored;
// .rz takes the power of two below a magnitude, .rp the one above; magnitudes
// below 2^-127 give code 0; with .satfinite, too large ones give code 254.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/NarrowConvert.h"

#include "runtime/device/sim/Arithmetic.h"
#include "runtime/device/sim/Machine.h"

using namespace quern;
using namespace quern::sim;
using K = Type::Kind;

namespace {

// Instr::flags: a Rounding in bits 0-1, and these. Instr::bytes: bits of an
// element; `immediate`: its Format.
constexpr uint8_t flagSat = 4;
constexpr uint8_t flagRelu = 8;

const Format &formatOf(const Instr &instr) {
  return *reinterpret_cast<const Format *>(instr.immediate);
}

void pack(Warp &warp, const Instr &instr) {
  const float *upper = warp.lanes<float>(instr.slots[1]);
  const float *lower = warp.lanes<float>(instr.slots[2]);
  const Format &format = formatOf(instr);
  bool relu = instr.flags & flagRelu;
  unsigned bits = instr.bytes;
  writeLanes<uint16_t>(warp, instr.slots[0], [&, relu, bits](int lane) {
    auto convert = [&](float value) {
      return encode(relu && value < 0 ? 0.0f : value, format, Rounding::Nearest,
                    /*saturate=*/true);
    };
    return static_cast<uint16_t>(convert(upper[lane]) << bits |
                                 convert(lower[lane]));
  });
}

void unpack(Warp &warp, const Instr &instr) {
  const uint16_t *source = warp.lanes<uint16_t>(instr.slots[1]);
  const Format &format = formatOf(instr);
  bool relu = instr.flags & flagRelu;
  unsigned bits = instr.bytes;
  writeLanes<uint32_t>(warp, instr.slots[0], [&, relu, bits](int lane) {
    uint32_t mask = (1u << (1 + format.exponentBits + format.mantissaBits)) - 1;
    auto convert = [&](uint32_t code) {
      double value = decode(code & mask, format);
      return encode(relu && value < 0 ? 0.0 : value, formatF16);
    };
    return convert(source[lane] >> bits) << 16 | convert(source[lane]);
  });
}

/// The code of a magnitude given as f32 bits.
uint32_t powerCode(uint32_t bits, bool up, bool saturate) {
  bits &= 0x7fffffff;
  if (bits > 0x7f800000)
    return 0xff;
  if (bits == 0x7f800000)
    return saturate ? 0xfe : 0xff;
  uint32_t exponent = bits >> 23;
  // The rest of a subnormal begins below 2^-127.
  bool more = exponent ? bits & 0x7fffff : bits > 0x400000;
  if (up && more)
    ++exponent;
  return exponent < 0xff ? exponent : saturate ? 0xfe : 0xff;
}

/// From two f32, or a pair of bf16 (`bytes` is 16 then).
void packPowers(Warp &warp, const Instr &instr) {
  const uint32_t *upper = warp.lanes<uint32_t>(instr.slots[1]);
  const uint32_t *lower =
      instr.bytes == 16 ? upper : warp.lanes<uint32_t>(instr.slots[2]);
  bool pairs = instr.bytes == 16;
  bool up = static_cast<Rounding>(instr.flags & 3) == Rounding::Up;
  bool saturate = instr.flags & flagSat;
  writeLanes<uint16_t>(warp, instr.slots[0], [=](int lane) {
    uint32_t high = pairs ? upper[lane] & 0xffff0000 : upper[lane];
    uint32_t low = pairs ? lower[lane] << 16 : lower[lane];
    return static_cast<uint16_t>(powerCode(high, up, saturate) << 8 |
                                 powerCode(low, up, saturate));
  });
}

void unpackPowers(Warp &warp, const Instr &instr) {
  const uint16_t *source = warp.lanes<uint16_t>(instr.slots[1]);
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    auto convert = [](uint32_t code) -> uint32_t {
      return code == 0xff ? 0x7fff : code ? code << 7 : 0x40;
    };
    return convert(source[lane] >> 8) << 16 | convert(source[lane] & 0xff);
  });
}

/// f32 to tf32 by .rn or .rz; the 19 bits stand at the top.
void toTensorFloat(Warp &warp, const Instr &instr) {
  static constexpr Format format{8, 10, 0x3fbff, 0x3fc00, 0x3ffff};
  const float *source = warp.lanes<float>(instr.slots[1]);
  uint8_t flags = instr.flags;
  bool away = instr.bytes == 1;
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) -> uint32_t {
    float value = source[lane];
    if ((flags & flagRelu) && value < 0)
      value = 0;
    if (value != value)
      return 0x7fffffff;
    uint32_t bits = std::bit_cast<uint32_t>(value);
    uint32_t result;
    if (away && !std::isinf(value))
      result = (bits + 0x1000) & ~uint32_t(0x1fff);
    else
      result = encode(value, format, static_cast<Rounding>(flags & 3),
                      flags & flagSat)
               << 13;
    if ((flags & flagSat) && (result & 0x7fffffff) >= 0x7f800000)
      result = (result & 0x80000000) | 0x7f7fe000;
    return result;
  });
}

bool decodeTensorFloat(InstrBuilder &b, Type from, const CvtModifiers &m) {
  b.expectOperands(2, 2);
  b.result(0, 4);
  b.source(1, 4);
  if (!from.is(K::Float, 4) ||
      (!m.awayTies && m.rounding != 0 && m.rounding != 1))
    b.refuse("cvt.{rna,rn,rz}.tf32.f32 is expected");
  if (!m.awayTies)
    b.requireTarget(90, "cvt.{rn,rz}.tf32.f32");
  if (m.awayTies && m.relu)
    b.refuse(".relu needs .rn or .rz");
  b.instr.bytes = m.awayTies;
  b.instr.exec = toTensorFloat;
  return true;
}

void decodePowers(InstrBuilder &b, Type to, Type from, const CvtModifiers &m) {
  if (from.kind == K::UE8M0) {
    b.expectOperands(2, 2);
    b.result(0, 4);
    b.source(1, 2);
    if (!to.is(K::BFloat, 4, true) || m.rounding != 0)
      b.refuse("cvt.rn.bf16x2.ue8m0x2 is expected");
    b.instr.exec = unpackPowers;
    return;
  }
  bool pairs = from.is(K::BFloat, 4, true);
  size_t operands = pairs ? 2 : 3;
  b.expectOperands(operands, operands);
  b.result(0, 2);
  b.source(1, 4);
  if (!pairs)
    b.source(2, 4);
  if ((!pairs && !from.is(K::Float, 4)) || (m.rounding != 1 && m.rounding != 3))
    b.refuse("cvt.{rz,rp}.ue8m0x2 from .f32 or .bf16x2 is expected");
  b.instr.bytes = pairs ? 16 : 0;
  b.instr.exec = packPowers;
}

} // namespace

bool sim::decodeNarrowConversion(InstrBuilder &b, Type to, Type from,
                                 const CvtModifiers &m) {
  auto isNarrow = [](Type type) {
    return type.kind == K::E3M2 || type.kind == K::E2M3 ||
           type.kind == K::E2M1 || type.kind == K::UE8M0;
  };
  bool tensorFloat = to.kind == K::TFloat;
  if (!isNarrow(to) && !isNarrow(from) && !tensorFloat)
    return false;
  b.instr.flags = static_cast<uint8_t>((m.rounding > 0 ? m.rounding : 0) |
                                       (m.satfinite ? flagSat : 0) |
                                       (m.relu ? flagRelu : 0));
  if (tensorFloat)
    return decodeTensorFloat(b, from, m);
  b.requireTargets({"sm_100a", "sm_100f", "sm_101a", "sm_101f", "sm_103a",
                    "sm_103f", "sm_110a", "sm_110f", "sm_120a", "sm_120f",
                    "sm_121a", "sm_121f"},
                   "cvt of 6- and 4-bit floats and ue8m0");
  if (to.kind == K::UE8M0 || from.kind == K::UE8M0) {
    decodePowers(b, to, from, m);
    return true;
  }
  bool packing = isNarrow(to);
  Type narrow = packing ? to : from;
  static constexpr const Format *formats[] = {&formatE3M2, &formatE2M3,
                                              &formatE2M1};
  b.instr.immediate = reinterpret_cast<uint64_t>(
      formats[static_cast<int>(narrow.kind) - static_cast<int>(K::E3M2)]);
  b.instr.bytes = narrow.kind == K::E2M1 ? 4 : 8;
  // e2m1x2 registers are declared .b8, which take 16 bits here.
  if (packing) {
    b.expectOperands(3, 3);
    b.result(0, 2);
    b.source(1, 4);
    b.source(2, 4);
    if (!from.is(K::Float, 4) || m.rounding != 0 || !m.satfinite)
      b.refuse("cvt.rn.satfinite from .f32 is expected");
    b.instr.exec = pack;
  } else {
    b.expectOperands(2, 2);
    b.result(0, 4);
    b.source(1, 2);
    if (!to.is(K::Float, 4, true) || m.rounding != 0)
      b.refuse("cvt.rn.f16x2 is expected");
    b.instr.exec = unpack;
  }
  return true;
}
