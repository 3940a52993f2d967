//===- FloatMinMax.h - min and max on floats --------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_FLOATMINMAX_H
#define QUERN_DEVICE_SIM_FLOATMINMAX_H

#include "runtime/device/sim/InstrBuilder.h"

namespace quern {
inline namespace v0 {
namespace sim {

void decodeFloatMinMax(InstrBuilder &builder, bool isMax);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_FLOATMINMAX_H
