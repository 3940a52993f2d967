//===- NarrowConvert.h - cvt to and from fp6, fp4, ue8m0, tf32 --*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_NARROWCONVERT_H
#define QUERN_DEVICE_SIM_NARROWCONVERT_H

#include "runtime/device/sim/InstrBuilder.h"

namespace quern {
inline namespace v0 {
namespace sim {

/// The modifiers of a conversion, taken.
struct CvtModifiers {
  int rounding = -1; ///< rn, rz, rm, rp.
  bool awayTies = false;
  bool satfinite = false;
  bool relu = false;
};

/// False if neither type is one of this file's.
bool decodeNarrowConversion(InstrBuilder &builder, Type to, Type from,
                            const CvtModifiers &modifiers);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_NARROWCONVERT_H
