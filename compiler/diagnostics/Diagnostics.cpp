//===- Diagnostics.cpp - MLIR's diagnostics as Quern's --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/diagnostics/Diagnostics.h"

#include "mlir/IR/Location.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace quern;

FileLineColLoc quern::findFileLocation(Location loc) {
  return TypeSwitch<Location, FileLineColLoc>(loc)
      .Case([](FileLineColLoc file) { return file; })
      .Case([](NameLoc name) { return findFileLocation(name.getChildLoc()); })
      .Case([](CallSiteLoc call) { return findFileLocation(call.getCallee()); })
      .Case([](FusedLoc fused) -> FileLineColLoc {
        for (Location part : fused.getLocations())
          if (FileLineColLoc file = findFileLocation(part))
            return file;
        return {};
      })
      .Default([](Location) { return FileLineColLoc(); });
}

std::string quern::getSourceLine(StringRef text, unsigned line) {
  if (line == 0)
    return {};
  for (unsigned i = 1; i < line; ++i) {
    size_t end = text.find('\n');
    if (end == StringRef::npos)
      return {};
    text = text.drop_front(end + 1);
  }
  return text.take_until([](char c) { return c == '\n' || c == '\r'; }).str();
}

/// Without "'quern.gather' op " and the rule's label, which speak of the IR to
/// people who wrote a layer.
static std::string withoutInternals(StringRef message) {
  if (size_t op = message.find("' op ");
      message.starts_with("'") && op != StringRef::npos)
    message = message.drop_front(op + 5);
  auto [label, rest] = message.split(": ");
  auto [words, number] = label.rsplit("_c");
  bool isLabel =
      !rest.empty() && !words.empty() && !number.empty() &&
      llvm::all_of(number, llvm::isDigit) &&
      llvm::all_of(words, [](char c) { return llvm::isAlnum(c) || c == '_'; });
  return (isLabel ? rest : message).str();
}

DiagnosticCollector::DiagnosticCollector(MLIRContext &context,
                                         StringRef sourceName,
                                         StringRef sourceText)
    : sourceName(sourceName), sourceText(sourceText),
      handler(&context, [this](mlir::Diagnostic &diagnostic) {
        if (diagnostic.getSeverity() != DiagnosticSeverity::Error)
          return success();
        quern::Diagnostic error =
            fail(Errc::InvalidSource, withoutInternals(diagnostic.str()));
        if (FileLineColLoc place = findFileLocation(diagnostic.getLocation())) {
          error.file = place.getFilename().str();
          error.line = place.getLine();
          error.column = place.getColumn();
          if (error.file == this->sourceName)
            error.sourceLine = getSourceLine(this->sourceText, error.line);
        }
        for (mlir::Diagnostic &note : diagnostic.getNotes())
          if (std::string text = note.str();
              !StringRef(text).starts_with("see current operation"))
            error.notes.push_back(std::move(text));
        errors.push_back(std::move(error));
        return success();
      }) {}

quern::Diagnostic DiagnosticCollector::takeError(StringRef stage) const {
  if (errors.empty())
    return fail(Errc::Internal, (stage + " failed without a message").str());
  return inOne(errors);
}
