//===- Math.h - The strict transcendental functions -------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// exp, tanh and erf exactly as docs/numerics.md writes them: the same sequence
// of f32 operations as every target, hence the same bits. `fma` is the
// correctly rounded one; nothing else is contracted.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_REFERENCE_MATH_H
#define QUERN_REFERENCE_MATH_H

namespace quern::reference {

float strictExp(float x);
float strictTanh(float x);
float strictErf(float x);

/// max and min with NaN contagious and -0 below +0.
float strictMax(float x, float y);
float strictMin(float x, float y);
double strictMax(double x, double y);
double strictMin(double x, double y);

} // namespace quern::reference

#endif // QUERN_REFERENCE_MATH_H
