//===- Rows.h - Instructions applied row by row -----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Element-wise instructions: a kernel reads n triples (a, b, c) of 32-bit words
// and writes, for each of its instructions, a row of n results. The case has
// one function for each row.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_CONFORMANCE_ROWS_H
#define QUERN_TESTS_CONFORMANCE_ROWS_H

#include "tests/conformance/Bench.h"

namespace quern::conformance {

template <typename T> struct Row {
  using Value = std::function<T(uint32_t a, uint32_t b, uint32_t c)>;
  using Canonical = std::function<T(T)>;
  Row(const char *name, Value value, int number = -1,
      Canonical canonical = nullptr)
      : name(name), value(std::move(value)), number(number),
        canonical(std::move(canonical)) {}

  const char *name;
  Value value;
  /// The kernel's number of the row; -1: as it stands in the list.
  int number;
  /// Results that differ in bits but are the same by the ISA: both are passed
  /// through this before they are compared.
  Canonical canonical;
};

/// `words`, which instructions of the kind stumble over, are mixed into a, b
/// and c; the rest is random bits.
template <typename T>
Case rowsCase(std::string name, const char *file, const char *kernel,
              std::vector<Row<T>> rows, Words words) {
  return {
      std::move(name), file,
      [kernel, rows = std::move(rows), words = std::move(words)](Bench &bench) {
        constexpr int n = 1024;
        Random &random = bench.random();
        std::vector<uint32_t> a(n), b(n), c(n);
        for (auto *list : {&a, &b, &c})
          for (uint32_t &word : *list)
            word = random.below(2) ? random.bits()
                                   : words[random.below(words.size())];
        int last = 0;
        for (size_t r = 0; r < rows.size(); ++r)
          last = std::max(last, rows[r].number < 0 ? static_cast<int>(r)
                                                   : rows[r].number);
        Buffer da = bench.input(a, "a"), db = bench.input(b, "b"),
               dc = bench.input(c, "c");
        Buffer out = bench.output(sizeof(T) * (last + 1) * n, "out");
        bench.launch(kernel, {.grid = {n / 128}, .block = {128}}, da, db, dc,
                     out, n);
        std::vector<T> all = bench.template read<T>(out);
        for (size_t r = 0; r < rows.size(); ++r) {
          size_t number = rows[r].number < 0 ? r : rows[r].number;
          std::vector<T> expected(n), actual(n);
          for (int i = 0; i < n; ++i) {
            expected[i] = rows[r].value(a[i], b[i], c[i]);
            actual[i] = all[number * n + i];
            if (rows[r].canonical) {
              expected[i] = rows[r].canonical(expected[i]);
              actual[i] = rows[r].canonical(actual[i]);
            }
          }
          bench.expectBits(rows[r].name, expected, actual);
        }
      }};
}

} // namespace quern::conformance

#endif // QUERN_TESTS_CONFORMANCE_ROWS_H
