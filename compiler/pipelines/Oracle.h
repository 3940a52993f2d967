//===- Oracle.h - The reference's answer for a layer ------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Runs the interpreters of compiler/reference on a layer's text, without
// asking the caller to know MLIR: what `--check` compares with, and where
// inputs that were not given come from.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_PIPELINES_ORACLE_H
#define QUERN_COMPILER_PIPELINES_ORACLE_H

#include "compiler/reference/Corner.h"
#include "quern/tensor.h"
#include "runtime/module/Module.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

/// How one output compares with the reference.
struct OutputCheck {
  std::string name;
  NumericsClass numericsClass = NumericsClass::Exact;
  bool passed = false;
  /// What was required: "equal bits", "|error| <= 1.2e-3".
  std::string requirement;
  /// The worst element with both values, and how many are outside.
  std::string worst;
  /// The same in numbers: elements compared, those whose bits differ, those
  /// beyond what is allowed, and codes one step off (bounded layers only).
  int64_t elements = 0, different = 0, mismatches = 0, codesOff = 0;
  /// Bounded layers, over numbers that are no codes: the largest error, as a
  /// share of the largest number of its row, and the largest share of what is
  /// allowed.
  double error = 0, share = 0;
};

class Oracle {
public:
  /// Parses the text and picks the layer (`layerName` empty: the only one).
  static Result<Oracle> create(std::string_view source, std::string_view name,
                               std::string_view layerName = {});
  Oracle(Oracle &&) noexcept;
  Oracle &operator=(Oracle &&) noexcept;
  ~Oracle();

  /// Inputs and weights (quantized ones as codes, then scales) for the given
  /// symbol values, in declared order and named as the runtime names operands:
  /// normal numbers with a few outlier channels, and plausible codes and
  /// scales, with a corner written over them. Those whose name is in `given`
  /// are left out.
  Result<std::vector<Tensor>>
  drawInputs(std::span<const int64_t> symbols, uint64_t seed,
             std::span<const std::string> given,
             reference::Corner corner = reference::Corner::None) const;
  /// Whether the layer has operands that the corner is written over.
  bool applies(reference::Corner corner) const;

  /// Evaluates the layer on operands in declared order.
  Result<std::vector<Tensor>> evaluate(std::span<const TensorView> operands,
                                       unsigned threads) const;

  /// Compares outputs with the reference's by the classes of the layer's
  /// operations. `target` is where they were computed, such as "cuda:sm_89":
  /// its matrix units may sum 8-bit floats less exactly, and "cpu:avx512-bf16"
  /// may flush subnormal numbers (docs/numerics.md).
  Result<std::vector<OutputCheck>> check(std::span<const TensorView> operands,
                                         std::span<const TensorView> outputs,
                                         unsigned threads,
                                         std::string_view target = {}) const;

  /// What of the code that computed them `check` and `answer` depend on, as
  /// their `target`: the same for all targets that are compared alike.
  static std::string_view toleranceOf(std::string_view code);

  /// The reference's results for some operands and how far others may be from
  /// them: the work of `check` that does not depend on what is compared. It may
  /// outlive the oracle.
  class Answer {
  public:
    Answer(Answer &&) noexcept;
    Answer &operator=(Answer &&) noexcept;
    ~Answer();

  private:
    friend class Oracle;
    struct State;
    explicit Answer(std::unique_ptr<State> state);
    std::unique_ptr<State> state;
  };
  Result<Answer> answer(std::span<const TensorView> operands, unsigned threads,
                        std::string_view target = {}) const;
  Result<std::vector<OutputCheck>>
  check(const Answer &answer, std::span<const TensorView> outputs) const;

  /// The weakest class of the layer's operations.
  NumericsClass numericsClass() const;

  /// About how many multiply-adds an evaluation with these symbol values takes,
  /// other operations counted as so many that they take as long. Never 0.
  double work(std::span<const int64_t> symbols) const;

  /// A dynamic quantization whose scales depend on several indices of an axis
  /// whose extent depends on the symbol.
  struct SharedScale {
    unsigned line = 0, column = 0;
    std::string value; ///< What the text calls it; may be empty.
    int64_t block = 0; ///< Indices that share a scale; 0 for all.
  };
  std::vector<SharedScale> scalesSharedAlong(size_t symbol) const;

  /// What outputs for these operands are compared with, for a comparison made
  /// elsewhere: the reference's results, and how far each may be off.
  struct Bounds {
    Tensor expected;
    NumericsClass numericsClass = NumericsClass::Exact;
    /// Bounded only, for each row along the last axis: the largest difference;
    /// empty for integer and 8-bit types, of which a share may be one code off.
    std::vector<double> rows;
    double codeShare = 0;
    /// Further difference allowed, relative to the expected value.
    double extraRelative = 0;
  };
  Result<std::vector<Bounds>> bounds(std::span<const TensorView> operands,
                                     unsigned threads) const;

  /// Symbols of the layer, in index order.
  const std::vector<SymbolDesc> &symbols() const;
  /// Inputs and weights, and results, as the runtime names them.
  const std::vector<std::string> &operandNames() const;
  const std::vector<std::string> &resultNames() const;

private:
  struct State;
  explicit Oracle(std::unique_ptr<State> state);
  std::unique_ptr<State> state;
};

} // namespace quern

#endif // QUERN_COMPILER_PIPELINES_ORACLE_H
