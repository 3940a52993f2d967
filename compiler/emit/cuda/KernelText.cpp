//===- KernelText.cpp - What both families of kernels share ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/KernelText.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::emit;

Index emit::count(ArrayRef<Index> extents) {
  Index product = Index::constant(1);
  for (const Index &extent : extents)
    product = product * extent;
  return product;
}

KernelWriter::KernelWriter(tile::KernelOp kernel,
                           const KernelNames &kernelNames,
                           const CudaTarget &target)
    : kernel(kernel), name(kernelNames.symbol),
      shortName(kernelNames.shortName),
      config(identifier("tile_" + kernelNames.shortName)), target(target),
      symbols(kernel.getSymbols().getValue()), body(symbols, names, out) {
  // Declared outside of the kernel, where a parameter would hide it.
  config = names.make(config);
  for (unsigned i = 0; i < symbols.size(); ++i) {
    symbols.rename(i, names.make(symbols.name(i)));
    wideSymbols.push_back(names.make(symbols.name(i).str() + "_"));
  }
  for (BlockArgument arg : kernel.getBody().getArguments()) {
    unsigned i = arg.getArgNumber();
    this->bufferNames.push_back(names.make(kernelNames.buffers[i]));
    body.bindBuffer(arg, this->bufferNames[i], isWritten(arg));
  }
  out.indent();
}

bool KernelWriter::isWritten(BlockArgument arg) {
  return kernel.getWrites()[arg.getArgNumber()] ||
         llvm::any_of(arg.getUsers(), [](Operation *user) {
           return isa<tile::AccumulateOp>(user);
         });
}

void KernelWriter::finish(KernelText &result, const SourceText &declarations,
                          StringRef threads) {
  SourceText &text = result.text;
  result.accumulates =
      kernel.walk([](tile::AccumulateOp) { return WalkResult::interrupt(); })
          .wasInterrupted();
  std::string reason = kernel.getReason().str();
  for (char &c : reason)
    if (c == '\n' || c == '\\')
      c = ' ';
  text.add("");
  text.add(fmt::format("// {}: {}", shortName, reason));
  text.add(fmt::format("// {}", result.schedule));
  text.append(declarations);
  text.add(fmt::format("extern \"C\" __global__ void __launch_bounds__({})",
                       threads.str()));
  text.add(fmt::format("{}(", name));
  std::vector<std::string> parameters;
  for (BlockArgument arg : kernel.getBody().getArguments()) {
    unsigned i = arg.getArgNumber();
    Type element = cast<tile::BufferType>(arg.getType()).getElementType();
    result.unpacks |= getWideType(element) != element;
    parameters.push_back(fmt::format("{}{} *__restrict__ {}",
                                     isWritten(arg) ? "" : "const ",
                                     typeText(element), bufferNames[i]));
  }
  llvm::append_range(parameters, ownParameters);
  for (unsigned i = 0; i < symbols.size(); ++i)
    parameters.push_back(fmt::format("s64 {}", wideSymbols[i]));
  for (size_t i = 0; i < parameters.size(); ++i)
    text.add(fmt::format("    {}{}", parameters[i],
                         i + 1 < parameters.size() ? "," : ") {"));
  if (parameters.empty())
    text.add("    ) {");
  for (unsigned i : symbols.used())
    text.add(fmt::format("  const int {} = (int){};", symbols.name(i).str(),
                         wideSymbols[i]));
  text.append(out);
  text.add("}");
}

void KernelWriter::delinearise(const Index &linear, ArrayRef<Index> extents,
                               Block::BlockArgListType args,
                               ArrayRef<StringRef> defaults) {
  // Dimensions of one element have the index 0; the first of the others needs
  // no remainder.
  size_t first = 0;
  while (first < extents.size() && extents[first].isConstant() &&
         extents[first].hi <= 1)
    ++first;
  Index after = Index::constant(1);
  std::vector<std::string> lines;
  for (size_t i = extents.size(); i-- > 0;) {
    const Index &extent = extents[i];
    if (extent.isConstant() && extent.hi <= 1) {
      body.bindIndex(args[i], Index::constant(0));
      continue;
    }
    StringRef wanted = i < defaults.size() ? defaults[i] : StringRef("i");
    Index value =
        after.isConstant() && after.lo == 1 ? linear : divide(linear, after);
    if (i > first)
      value = modulo(value, extent);
    if (value.text == linear.text && !linear.isWide()) {
      body.bindIndex(args[i], linear); // The number is the coordinate.
    } else {
      std::string coordinate = names.make(wanted);
      lines.push_back(
          fmt::format("const int {} = (int)({});", coordinate, value.text));
      body.bindIndex(args[i], Index::variable(coordinate, extent.hi));
    }
    after = after * extent;
  }
  for (size_t i = lines.size(); i-- > 0;)
    out.add(lines[i]);
}

Result<KernelText> emit::emitKernel(tile::KernelOp kernel,
                                    const KernelNames &names,
                                    const CudaTarget &target) {
  for (BlockArgument arg : kernel.getBody().getArguments()) {
    Type element = cast<tile::BufferType>(arg.getType()).getElementType();
    if (!typeText(element).empty())
      continue;
    return refuse(kernel.getLoc(),
                  fmt::format("'{}' holds {}, which CUDA code has no type for",
                              names.buffers[arg.getArgNumber()],
                              languageName(element)),
                  {"use --target cpu"});
  }
  KernelWriter writer(kernel, names, target);
  SmallVector<Operation *> stages = kernel.getStages();
  if (auto contract = kernel.getContract())
    return writer.writeContract(contract);
  if (stages.size() > 1)
    return writer.writeStrips();
  return writer.writeBlocks(cast<tile::BlocksOp>(stages.front()));
}
