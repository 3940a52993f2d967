//===- Frontend.cpp - From a layer's text to the quern dialect ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/Frontend.h"

#include "compiler/frontend/Lowering.h"
#include "compiler/frontend/Parser.h"
#include "compiler/frontend/Verify.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::frontend;

OwningOpRef<ModuleOp> quern::parseLayers(llvm::StringRef text,
                                         llvm::StringRef fileName,
                                         MLIRContext &context,
                                         std::vector<Diagnostic> &diagnostics) {
  context.loadDialect<func::FuncDialect, ir::QuernDialect>();
  Errors errors(fileName, text, diagnostics);
  std::vector<Layer> layers =
      Parser(tokenize(text, errors), errors).parseFile();
  OwningOpRef<ModuleOp> module =
      ModuleOp::create(FileLineColLoc::get(&context, fileName, 1, 1));
  llvm::StringMap<Place> names;
  for (const Layer &layer : layers) {
    if (errors.full())
      break;
    auto [first, isNew] = names.try_emplace(layer.name, layer.place);
    if (!layer.name.empty() && !isNew) {
      errors.add(
          layer.place, fmt::format("layer '{}' is defined twice", layer.name),
          {fmt::format("the first one is on line {}", first->second.line)});
      continue;
    }
    if (!layer.broken)
      Lowering(layer, *module, errors).run();
  }
  if (!errors.any() && verifyLayers(*module, errors))
    return module;
  errors.sortByPlace();
  return {};
}
