//===- CompilerLibrary.cpp - The shared library's one entry point ---------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// libquern_compiler.so is what the runtime opens on a cache miss. It exports
// `quern_compiler_v0` (runtime/jit/CompilerAbi.h) and nothing else.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Compiler.h"
#include "runtime/jit/CompilerAbi.h"

#include <cstddef>
#include <memory>
#include <vector>

using namespace quern;

namespace {
/// What a result points at.
struct Answer {
  std::vector<std::byte> module;
  Diagnostic diagnostic;
  std::vector<const char *> notes;
  std::vector<QuernDiagnostic> others;
  std::vector<std::vector<const char *>> otherNotes;
};
} // namespace

static std::vector<const char *>
pointersTo(const std::vector<std::string> &texts) {
  std::vector<const char *> pointers;
  for (const std::string &text : texts)
    pointers.push_back(text.c_str());
  return pointers;
}

static void addOthers(Answer &answer, QuernCompileResult &out) {
  // The caller may be older than the field.
  if (out.structBytes < offsetof(QuernCompileResult, otherCount) + 8)
    return;
  for (const Diagnostic &other : answer.diagnostic.others)
    answer.otherNotes.push_back(pointersTo(other.notes));
  for (size_t i = 0; i < answer.otherNotes.size(); ++i) {
    const Diagnostic &other = answer.diagnostic.others[i];
    answer.others.push_back(
        {static_cast<int32_t>(other.code), other.line, other.column,
         static_cast<uint32_t>(other.notes.size()), other.message.c_str(),
         other.file.c_str(), other.sourceLine.c_str(),
         answer.otherNotes[i].data()});
  }
  out.others = answer.others.data();
  out.otherCount = answer.others.size();
}

static void compile(const QuernCompileRequest *in, QuernCompileResult *out) {
  auto answer = std::make_unique<Answer>();
  CompileRequest request;
  request.source = std::string_view(in->source, in->sourceBytes);
  request.name = in->name;
  request.settings.assign(in->settings, in->settings + in->settingCount);
  Result<CompileOutput> output = [&]() -> Result<CompileOutput> {
    auto target = Target::parse(in->target);
    if (!target)
      return target.error();
    request.target = *target;
    return compileLayer(request);
  }();
  if (output) {
    answer->module = output->module.serialize();
    out->code = -1;
    out->module = answer->module.data();
    out->moduleBytes = answer->module.size();
  } else {
    answer->diagnostic = output.error();
    out->code = static_cast<int32_t>(answer->diagnostic.code);
  }
  const Diagnostic &diagnostic = answer->diagnostic;
  answer->notes = pointersTo(diagnostic.notes);
  out->message = diagnostic.message.c_str();
  out->file = diagnostic.file.c_str();
  out->sourceLine = diagnostic.sourceLine.c_str();
  out->line = diagnostic.line;
  out->column = diagnostic.column;
  out->notes = answer->notes.data();
  out->noteCount = static_cast<uint32_t>(answer->notes.size());
  addOthers(*answer, *out);
  out->owner = answer.release();
}

static void release(QuernCompileResult *result) {
  delete static_cast<Answer *>(result->owner);
  result->owner = nullptr;
}

extern "C" __attribute__((visibility("default"))) const QuernCompiler *
quern_compiler_v0() {
  static const QuernCompiler compiler = {
      sizeof(QuernCompiler), ModuleDesc::formatMajor, compilerBuildId().data(),
      compile, release};
  return &compiler;
}
