//===- AsyncReduction.cpp - Reductions of the copy engine -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/AsyncReduction.h"

#include "runtime/device/sim/Arithmetic.h"

#include <cstring>
#include <type_traits>

using namespace quern;
using namespace quern::sim;

namespace {

template <ReduceOp op, typename T> T combine(T old, T value) {
  switch (op) {
  case ReduceOp::Add:
    if constexpr (std::is_floating_point_v<T>)
      return canonical(old + value);
    else
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(old) +
                            static_cast<std::make_unsigned_t<T>>(value));
  case ReduceOp::Min:
    return value < old ? value : old;
  case ReduceOp::Max:
    return value > old ? value : old;
  case ReduceOp::Inc:
    return old >= value ? T(0) : static_cast<T>(old + 1);
  case ReduceOp::Dec:
    return old == 0 || old > value ? value : static_cast<T>(old - 1);
  default:
    if constexpr (std::is_integral_v<T>)
      return op == ReduceOp::And  ? old & value
             : op == ReduceOp::Or ? old | value
                                  : old ^ value;
    return old;
  }
}

template <ReduceOp op, typename T>
void reduce(std::byte *to, const std::byte *from, size_t bytes) {
  for (size_t at = 0; at + sizeof(T) <= bytes; at += sizeof(T)) {
    T old, value;
    std::memcpy(&old, to + at, sizeof(T));
    std::memcpy(&value, from + at, sizeof(T));
    old = combine<op, T>(old, value);
    std::memcpy(to + at, &old, sizeof(T));
  }
}

template <ReduceOp op, bool bfloat>
void reduceHalf(std::byte *to, const std::byte *from, size_t bytes) {
  const Format &format = bfloat ? formatBF16 : formatF16;
  for (size_t at = 0; at + 2 <= bytes; at += 2) {
    uint16_t old, value;
    std::memcpy(&old, to + at, 2);
    std::memcpy(&value, from + at, 2);
    double a = decode(old, format), b = decode(value, format);
    double result = op == ReduceOp::Add   ? addOdd(a, b)
                    : a != a              ? b // A NaN loses.
                    : b != b              ? a
                    : op == ReduceOp::Min ? std::fmin(a, b)
                                          : std::fmax(a, b);
    old = static_cast<uint16_t>(encode(result, format));
    std::memcpy(to + at, &old, 2);
  }
}

template <typename T> ReduceFn integer(ReduceOp op, bool isBits) {
  if (isBits && op < ReduceOp::And)
    return nullptr;
  switch (op) {
  case ReduceOp::Add:
    return reduce<ReduceOp::Add, T>;
  case ReduceOp::Min:
    return reduce<ReduceOp::Min, T>;
  case ReduceOp::Max:
    return reduce<ReduceOp::Max, T>;
  case ReduceOp::Inc:
    return std::is_same_v<T, uint32_t> ? reduce<ReduceOp::Inc, T> : nullptr;
  case ReduceOp::Dec:
    return std::is_same_v<T, uint32_t> ? reduce<ReduceOp::Dec, T> : nullptr;
  case ReduceOp::And:
    return reduce<ReduceOp::And, T>;
  case ReduceOp::Or:
    return reduce<ReduceOp::Or, T>;
  case ReduceOp::Xor:
    return reduce<ReduceOp::Xor, T>;
  }
  return nullptr;
}

template <bool bfloat> ReduceFn halves(ReduceOp op) {
  return op == ReduceOp::Add   ? reduceHalf<ReduceOp::Add, bfloat>
         : op == ReduceOp::Min ? reduceHalf<ReduceOp::Min, bfloat>
         : op == ReduceOp::Max ? reduceHalf<ReduceOp::Max, bfloat>
                               : nullptr;
}

} // namespace

ReduceFn sim::findReduce(ReduceOp op, Type type) {
  if (type.packed)
    return nullptr;
  if (type.isInteger()) {
    bool isBits = type.kind == Type::Kind::Bits;
    if (type.bytes == 4)
      return type.isSigned() ? integer<int32_t>(op, isBits)
                             : integer<uint32_t>(op, isBits);
    if (type.bytes == 8)
      return type.isSigned() ? integer<int64_t>(op, isBits)
                             : integer<uint64_t>(op, isBits);
    return nullptr;
  }
  if (type.is(Type::Kind::BFloat, 2))
    return halves<true>(op);
  if (type.is(Type::Kind::Float, 2))
    return halves<false>(op);
  if (op != ReduceOp::Add)
    return nullptr;
  if (type.is(Type::Kind::Float, 4))
    return reduce<ReduceOp::Add, float>;
  if (type.is(Type::Kind::Float, 8))
    return reduce<ReduceOp::Add, double>;
  return nullptr;
}

int sim::takeReduceOp(InstrBuilder &b) {
  return b.takeOneOf({"add", "min", "max", "inc", "dec", "and", "or", "xor"});
}
