//===- FakeCompiler.cpp - A compiler library for tests --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Implements runtime/jit/CompilerAbi.h: for the text "fake" it gives the
// module of FakeModule.h, for "garbage" bytes that are no module, and for all
// else a diagnostic with every field filled. Each call appends a line with the
// request to the file named by QUERN_FAKE_LOG.
//
//===----------------------------------------------------------------------===//

#include "FakeModule.h"

#include "runtime/jit/CompilerAbi.h"

#include <cstdlib>
#include <string_view>

using namespace quern;

namespace {

struct Owner {
  std::vector<std::byte> bytes;
  const char *notes[2] = {"first note", "second note"};
  QuernDiagnostic others[1] = {};
};

void compile(const QuernCompileRequest *request, QuernCompileResult *result) {
  if (const char *log = std::getenv("QUERN_FAKE_LOG")) {
    std::ofstream out(log, std::ios::app);
    out << request->name << " " << request->target << " [" << request->features
        << "]";
    for (uint32_t i = 0; i < request->settingCount; ++i)
      out << " " << request->settings[i];
    out << "\n";
  }
  auto *owner = new Owner;
  result->owner = owner;
  std::string_view source(request->source, request->sourceBytes);
  if (source == "fake" || source == "garbage") {
    owner->bytes = source == "fake"
                       ? quern::testing::makeFakeModule(
                             quern::testing::readBytes(QUERN_TEST_IMAGE))
                             .serialize()
                       : std::vector<std::byte>(100);
    result->code = -1;
    result->module = owner->bytes.data();
    result->moduleBytes = owner->bytes.size();
    return;
  }
  result->code = static_cast<int32_t>(Errc::InvalidSource);
  result->message = "no such layer";
  result->file = request->name;
  result->sourceLine = "bad text";
  result->line = 3;
  result->column = 5;
  result->notes = owner->notes;
  result->noteCount = 2;
  owner->others[0] = {static_cast<int32_t>(Errc::InvalidSource),
                      4,
                      1,
                      1,
                      "and another",
                      request->name,
                      "",
                      owner->notes};
  result->others = owner->others;
  result->otherCount = 1;
}

void release(QuernCompileResult *result) {
  delete static_cast<Owner *>(result->owner);
  result->owner = nullptr;
}

} // namespace

extern "C" __attribute__((visibility("default"))) const QuernCompiler *
quern_compiler_v0() {
  static const QuernCompiler compiler = {
      sizeof(QuernCompiler), ModuleDesc::formatMajor, "fake compiler " FAKE_ID,
      compile, release};
  return &compiler;
}
