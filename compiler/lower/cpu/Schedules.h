//===- Schedules.h - Products whose sizes were measured ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Blocking.h chooses how a product is cut into pieces by arithmetic. A *record*
// names other sizes for some products: `quern tune` writes it, a person may
// edit it, a compilation reads it. Nothing is measured while compiling: the
// same text and the same record give the same module. No size changes a bit of
// what exact and ordered operations compute.
//
// A record is text (docs/tuning.md describes it for users):
//
//     quern-schedules 1
//     target cpu:avx2
//     caches l1=32768 l2=524288 l3=33554432
//     # 1.07 times as fast as the model's at M = 128
//     product kind=quads left=i8 right=i8 n=4096 k=4096 m=128..128 split=no
//         terms=1 widened=no : rows=6 few-rows=1 block-rows=126
//         chunk-steps=no ahead=8192 few-ahead=no              (all in one line)
//     end
//
// Before the colon stands what the product is, behind it how it is cut. All
// fields of both have to be there, in any order. A line that begins with # is
// for people. `end` tells a whole file from one that was cut off.
//
// *Which products.* Everything the choice follows from, and what else is known
// of a product when code is made for it: how steps hold elements (`kind`), the
// types that are read for either operand, K and N (`any` where a symbol decides
// them), and the rows that were measured. One kernel runs all numbers of rows:
// an entry is used for a product whose rows a symbol decides, whatever its
// `m`. A fixed number of rows has to lie in it.
//
// *Caches* are those of the machine that measured, and of nothing else: sizes
// of a record are taken as they are on any machine of its level.
//
// *Another level*: registers and vectors differ, so that sizes mean something
// else. A record of one is not used, and that is said. It is no error: which
// level "cpu" is depends on the machine, and the module is right without.
//
// What can never be right is refused when a record is read: a tile of more rows
// than there are registers for, a block that is no multiple of a tile, two
// entries for the same product and rows.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_SCHEDULES_H
#define QUERN_COMPILER_LOWER_CPU_SCHEDULES_H

#include "compiler/lower/cpu/Blocking.h"
#include "runtime/core/SymExpr.h"

#include <vector>

namespace quern::cpugen {

/// What a product is, as far as its sizes depend on it.
struct ProductKey {
  std::string kind = "quads"; ///< quads, pairs, bf16pairs or singles.
  /// Of what is read for an operand, by "+": "i8", "f32+f32".
  std::string left = "i8", right = "i8";
  std::optional<int64_t> n, k;
  std::optional<int64_t> split; ///< Scaled every so many elements of K.
  unsigned terms = 1;
  bool widened = false; ///< Panels are, by chunks (Contract.h).

  ProductSizes sizes() const;
  /// "kind=quads left=i8 ..."; all but the rows.
  std::string text() const;
  bool operator==(const ProductKey &) const = default;
};

/// How a product is cut, as a record has it: "rows=6 few-rows=1 ...".
std::string fieldsOf(const Blocking &blocking);

struct ScheduleEntry {
  ProductKey product;
  int64_t minRows = 0, maxRows = 0; ///< Measured; both included.
  Blocking blocking;
  unsigned line = 0; ///< In the text that it was read from.
  /// For people, above the entry; lines of their own. Not read back.
  std::vector<std::string> comments;
};

struct Schedules {
  static constexpr int version = 1;

  std::string target; ///< "cpu:avx2"
  CpuCaches caches;   ///< Of the machine that measured.
  std::vector<ScheduleEntry> entries;

  /// InvalidFile with the line and what is accepted there; `name` is what
  /// messages call the text.
  static Result<Schedules> parse(std::string_view text,
                                 const std::string &name);
  std::string print() const;

  /// The entries for a product with so many rows; without a number they are
  /// any.
  std::vector<const ScheduleEntry *>
  entriesFor(const ProductKey &product, std::optional<int64_t> rows) const;
};

/// A product of a compiled program, and how it was cut.
struct ScheduledProduct {
  std::string kernel;
  ProductKey product;
  SymExpr rows;
  Blocking model; ///< What Blocking::choose gives.
  Blocking blocking;
  unsigned entry = 0; ///< The line of the record that is about it, or 0.
  std::string unused; ///< Why it could not be taken all the same.

  /// The line that the sizes come from, or 0.
  unsigned line() const { return unused.empty() ? entry : 0; }
};

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_SCHEDULES_H
