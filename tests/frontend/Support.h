//===- Support.h - What the frontend's tests share --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_FRONTEND_SUPPORT_H
#define QUERN_TESTS_FRONTEND_SUPPORT_H

#include "compiler/frontend/Frontend.h"
#include "dialects/quern/IR/Quern.h"

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace quern::test {

/// The outcome of parsing one text.
struct Parsed {
  std::unique_ptr<mlir::MLIRContext> context =
      std::make_unique<mlir::MLIRContext>(
          mlir::MLIRContext::Threading::DISABLED);
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::vector<Diagnostic> diagnostics;

  /// All messages as a person would see them.
  std::string errors() const {
    std::string text;
    for (const Diagnostic &diagnostic : diagnostics)
      text += diagnostic.render();
    return text;
  }
  std::string ir(bool locations = false) const {
    if (!module)
      return errors();
    std::string text;
    llvm::raw_string_ostream stream(text);
    mlir::OpPrintingFlags flags;
    if (locations)
      flags.enableDebugInfo(/*enable=*/true, /*prettyForm=*/false);
    module.get()->print(stream, flags);
    return text;
  }
};

inline Parsed parse(llvm::StringRef text) {
  Parsed parsed;
  parsed.module =
      parseLayers(text, "test.qn", *parsed.context, parsed.diagnostics);
  return parsed;
}

inline std::string readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Block {
  std::string kind; ///< the word after the fence
  std::string text;
  unsigned line;
};

/// The fenced blocks of a page of docs/.
inline std::vector<Block> blocksOf(const std::string &page) {
  std::vector<Block> blocks;
  std::istringstream stream(
      readFile(std::string(QUERN_SOURCE_DIR "/docs/") + page));
  std::string line;
  bool inside = false;
  for (unsigned number = 1; std::getline(stream, line); ++number) {
    if (line.rfind("```", 0) == 0) {
      if (!inside)
        blocks.push_back({line.substr(3), "", number});
      inside = !inside;
    } else if (inside) {
      blocks.back().text += line + "\n";
    }
  }
  return blocks;
}

} // namespace quern::test

#endif // QUERN_TESTS_FRONTEND_SUPPORT_H
