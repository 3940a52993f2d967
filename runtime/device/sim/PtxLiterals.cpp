//===- PtxLiterals.cpp - Numbers and address spaces in PTX ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/PtxLiterals.h"

#include <bit>
#include <charconv>
#include <string>

using namespace quern;
using namespace quern::sim::ptx;

std::optional<Space> sim::ptx::parseSpace(std::string_view word) {
  if (word == "reg")
    return Space::Reg;
  if (word == "shared" || word == "shared::cta")
    return Space::Shared;
  if (word == "local")
    return Space::Local;
  if (word == "param")
    return Space::Param;
  if (word == "global")
    return Space::Global;
  if (word == "const")
    return Space::Const;
  return std::nullopt;
}

std::optional<uint64_t> sim::ptx::parseInteger(std::string_view word) {
  if (!word.empty() && (word.back() == 'U' || word.back() == 'u'))
    word.remove_suffix(1);
  unsigned base = 10;
  if (word.size() > 2 && word[0] == '0' && (word[1] == 'x' || word[1] == 'X')) {
    base = 16;
    word.remove_prefix(2);
  } else if (word.size() > 2 && word[0] == '0' &&
             (word[1] == 'b' || word[1] == 'B')) {
    base = 2;
    word.remove_prefix(2);
  } else if (word.size() > 1 && word[0] == '0') {
    base = 8;
    word.remove_prefix(1);
  }
  if (word.empty())
    return std::nullopt;
  uint64_t value = 0;
  for (char c : word) {
    unsigned digit = c >= '0' && c <= '9'   ? c - '0'
                     : c >= 'a' && c <= 'f' ? c - 'a' + 10
                     : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                            : 99;
    if (digit >= base || value > (~uint64_t(0) - digit) / base)
      return std::nullopt;
    value = value * base + digit;
  }
  return value;
}

bool sim::ptx::parseImmediate(std::string_view word, bool negative,
                              Operand &operand) {
  operand.kind = Operand::Kind::Immediate;
  bool hex = word.size() > 2 && word[0] == '0';
  bool isSingle = hex && (word[1] == 'f' || word[1] == 'F');
  bool isDouble = hex && (word[1] == 'd' || word[1] == 'D');
  if (isSingle || isDouble) {
    std::string digits = "0x" + std::string(word.substr(2));
    std::optional<uint64_t> bits = parseInteger(digits);
    if (!bits || digits.size() != (isDouble ? 18u : 10u))
      return false;
    operand.bits = isDouble ? Operand::Bits::Float64 : Operand::Bits::Float32;
    operand.value = *bits;
  } else if (word.find('.') != std::string_view::npos) {
    double value = 0;
    const char *end = word.data() + word.size();
    auto [stop, error] = std::from_chars(word.data(), end, value);
    if (error != std::errc() || stop != end)
      return false;
    operand.bits = Operand::Bits::Float64;
    operand.value = std::bit_cast<uint64_t>(value);
  } else {
    std::optional<uint64_t> value = parseInteger(word);
    if (!value)
      return false;
    operand.value = negative ? uint64_t(0) - *value : *value;
    return true;
  }
  if (negative)
    operand.value ^= uint64_t(1)
                     << (operand.bits == Operand::Bits::Float64 ? 63 : 31);
  return true;
}
