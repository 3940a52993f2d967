//===- PtxLiterals.cpp - Numbers and address spaces in PTX ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/PtxLiterals.h"

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
