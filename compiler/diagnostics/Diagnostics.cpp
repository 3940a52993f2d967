//===- Diagnostics.cpp - MLIR's diagnostics as Quern's --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/diagnostics/Diagnostics.h"

#include "mlir/IR/Location.h"
#include "mlir/IR/MLIRContext.h"
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

DiagnosticCollector::DiagnosticCollector(MLIRContext &context,
                                         StringRef sourceName,
                                         StringRef sourceText)
    : sourceName(sourceName), sourceText(sourceText),
      handler(&context, [this](mlir::Diagnostic &diagnostic) {
        if (diagnostic.getSeverity() != DiagnosticSeverity::Error)
          return success();
        quern::Diagnostic error = fail(Errc::InvalidSource, diagnostic.str());
        if (FileLineColLoc place = findFileLocation(diagnostic.getLocation())) {
          error.file = place.getFilename().str();
          error.line = place.getLine();
          error.column = place.getColumn();
          if (error.file == this->sourceName)
            error.sourceLine = getSourceLine(this->sourceText, error.line);
        }
        for (mlir::Diagnostic &note : diagnostic.getNotes())
          error.notes.push_back(note.str());
        errors.push_back(std::move(error));
        return success();
      }) {}

quern::Diagnostic DiagnosticCollector::takeError(StringRef stage) const {
  if (errors.empty())
    return fail(Errc::Internal, (stage + " failed without a message").str());
  quern::Diagnostic first = errors.front();
  for (const quern::Diagnostic &other : llvm::drop_begin(errors))
    first.notes.push_back(other.message);
  return first;
}
