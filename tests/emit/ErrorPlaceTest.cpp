//===- ErrorPlaceTest.cpp - Where errors of emitted code point ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// An emitted unit with a mistake planted into it: what NVRTC's front end
// refuses, and what only ptxas does, must be reported at the layer's line, or
// at the template's when the mistake is there.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/CudaEmitter.h"
#include "dialects/tile/IR/Tile.h"
#include "kernels_templates/Embedded.h"
#include "runtime/device/cuda/Nvrtc.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"

#include <algorithm>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <regex>

using namespace quern;

namespace {

class ErrorPlace : public testing::Test {
protected:
  void SetUp() override {
    auto found = cuda::Nvrtc::get();
    if (!found)
      GTEST_SKIP() << found.error().render();
    nvrtc = *found;
    mlir::DialectRegistry registry;
    registry.insert<tile::TileDialect>();
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
    auto module = mlir::parseSourceFile<mlir::ModuleOp>(
        QUERN_SOURCE_DIR "/tests/emit/tile/linear_i8.mlir", &context);
    ASSERT_TRUE(module);
    auto emitted = emit::emitCuda(*module, *emit::CudaTarget::parse("sm_80"));
    ASSERT_TRUE(emitted) << emitted.error().render();
    unit = std::move(*emitted);
    for (const EmbeddedHeader &header : embeddedHeaders())
      headers.push_back({std::string(header.path), std::string(header.text)});
  }

  /// Compiles what must fail.
  Diagnostic compile() {
    auto output = nvrtc->compile(unit.source, unit.name, headers, "sm_80");
    return output ? fail(Errc::Internal, "it compiles") : output.error();
  }

  /// Puts a statement after the first `#line` inside a kernel and keeps what
  /// that line says.
  void plant(const std::string &statement) {
    std::smatch match;
    ASSERT_TRUE(std::regex_search(unit.source, match,
                                  std::regex("#line (\\d+) \"([^\"]*)\"\n")));
    line = static_cast<unsigned>(std::stoul(match[1]));
    file = match[2];
    unit.source.insert(static_cast<size_t>(match.position() + match.length()),
                       statement);
  }

  /// Replaces a word of a template and keeps its place.
  void damage(const std::string &path, const std::string &word,
              const std::string &by) {
    auto header = std::ranges::find(headers, path, &cuda::NvrtcHeader::name);
    ASSERT_NE(header, headers.end()) << path;
    size_t at = header->text.find(word);
    ASSERT_NE(at, std::string::npos) << word;
    file = path;
    line = 1 + static_cast<unsigned>(std::count(
                   header->text.begin(), header->text.begin() + at, '\n'));
    header->text.replace(at, word.size(), by);
  }

  void expectPlace(const Diagnostic &diagnostic, const std::string &part) {
    EXPECT_EQ(diagnostic.code, Errc::InvalidSource);
    // Below the working directory paths are shortened; a statement of several
    // lines is placed at its last.
    EXPECT_TRUE(file.ends_with(diagnostic.file)) << diagnostic.render();
    EXPECT_FALSE(diagnostic.file.empty());
    EXPECT_GE(diagnostic.line, line) << diagnostic.render();
    EXPECT_LE(diagnostic.line, line + lines - 1) << diagnostic.render();
    EXPECT_NE(diagnostic.message.find(part), std::string::npos)
        << diagnostic.render();
  }

  cuda::Nvrtc *nvrtc = nullptr;
  mlir::MLIRContext context;
  emit::CudaUnit unit;
  std::vector<cuda::NvrtcHeader> headers;
  std::string file;
  unsigned line = 0, lines = 1; ///< Where the mistake is.
};

TEST_F(ErrorPlace, FrontEndAtTheLayersLine) {
  plant("    nowhere_declared = 1;\n");
  expectPlace(compile(), "nowhere_declared");
}

TEST_F(ErrorPlace, AssemblerAtTheLayersLine) {
  plant("    asm volatile(\"add.s33 %%r0, %%r0, 1;\");\n");
  expectPlace(compile(), "s33");
}

TEST_F(ErrorPlace, FrontEndAtTheTemplatesLine) {
  damage("common/ptx.cuh", "\"r\"(dst)", "\"r\"(no_such_name)");
  expectPlace(compile(), "no_such_name");
}

TEST_F(ErrorPlace, AssemblerAtTheTemplatesLine) {
  damage("common/ptx.cuh", "ldmatrix.sync.aligned.m8n8.x4.shared",
         "ldmatrix.sync.aligned.m8n9.x4.shared");
  lines = 4;
  expectPlace(compile(), "m8n9");
}

} // namespace
