//===- DecodeText.cpp - Operands that are decoded on load -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Writes what packed_rows.cuh asks for where codes become f16 or bf16: the
// factors of a row and k, and the value of a code. Both have the bodies that an
// operand written out first would have, parted where the code comes in. With
// several right operands a function is one for all: it chooses by a number that
// is a constant wherever it is called.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/KernelText.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::emit;

Result<void> KernelWriter::declareDecoding(tile::ContractOp contract,
                                           const GemmProblem &problem,
                                           ArrayRef<Index> batch,
                                           const Index &N, const Index &K) {
  ArrayRef<int64_t> terms = contract.getTerms();
  unsigned count = problem.sharedRhs ? 1 : problem.terms;
  std::string r = names.make("r"), n = names.make("n"), k = names.make("k");
  std::string code = names.make("code"), factor = names.make("with");
  std::string factorsOf = names.make("factors"), valueOf = names.make("value");
  size_t factors = decoding->numFactors();
  // Operands one after the other, each in a block of its own.
  auto each = [&](auto write) -> Result<void> {
    for (unsigned t = 0; t < count; ++t) {
      if (count > 1) {
        out.add(t == 0 ? fmt::format("if ({} == 0) {{", r)
                : t + 1 == count
                    ? std::string("} else {")
                    : fmt::format("}} else if ({} == {}) {{", r, t));
        out.indent();
      }
      if (Result<void> done = write(terms[2 * t + 1]); !done)
        return done;
      if (count > 1)
        out.dedent();
    }
    if (count > 1)
      out.add("}");
    return {};
  };
  auto isDecoded = [](const DecodeFit::Operand &operand, Operation *op) {
    return op == operand.codes || op == operand.number ||
           llvm::is_contained(operand.ops, op);
  };

  out.add("// What the codes of a row are decoded with at k.");
  out.add(
      fmt::format("auto {} = [&](int {}, int {}, int {}, float (&{})[{}]) {{",
                  factorsOf, r, n, k, factor, factors));
  out.indent();
  Result<void> done = each([&](int64_t right) -> Result<void> {
    const DecodeFit::Operand &operand = decoding->operands[right];
    Block &block = contract.getRhsRegion(right).front();
    for (auto [arg, index] :
         llvm::zip(block.getArguments().take_front(batch.size()), batch))
      body.bindIndex(arg, index);
    body.bindIndex(block.getArgument(batch.size()), Index::variable(n, N.hi));
    body.bindIndex(block.getArgument(batch.size() + 1),
                   Index::variable(k, K.hi));
    Operation *rounded = block.getTerminator()->getOperand(0).getDefiningOp();
    for (Operation &op : block.without_terminator()) {
      if (&op == rounded || isDecoded(operand, &op))
        continue;
      if (Result<void> emitted = body.emit(&op); !emitted)
        return emitted;
    }
    for (auto [i, value] : llvm::enumerate(operand.factors))
      out.add(fmt::format("{}[{}] = {};", factor, i, body.scalar(value)),
              Place::of(value.getLoc()));
    return {};
  });
  if (!done)
    return done;
  out.dedent();
  out.add("};");

  if (decoding->halves) {
    decodes = fmt::format("Decoding{{{}, NoRescale()}}", factorsOf);
    return {};
  }
  out.add("// The value of a code.");
  out.add(
      fmt::format("auto {} = [&](int {}, float {}, const float (&{})[{}]) {{",
                  valueOf, r, code, factor, factors));
  out.indent();
  done = each([&](int64_t right) -> Result<void> {
    const DecodeFit::Operand &operand = decoding->operands[right];
    for (auto [i, value] : llvm::enumerate(operand.factors))
      body.bindScalar(value, fmt::format("{}[{}]", factor, i));
    body.bindScalar(operand.number->getResult(0), code);
    for (Operation *op : operand.ops)
      if (Result<void> emitted = body.emit(op); !emitted)
        return emitted;
    out.add(fmt::format("return {};", body.scalar(operand.value)),
            Place::of(operand.value.getLoc()));
    return {};
  });
  if (!done)
    return done;
  out.dedent();
  out.add("};");
  decodes = fmt::format("Decoding{{{}, {}}}", factorsOf, valueOf);
  return {};
}
