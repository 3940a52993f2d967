//===- DocsCudaTest.cpp - The documentation's layers on CUDA --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Compiler.h"
#include "runtime/device/cuda/Nvrtc.h"

#include <gtest/gtest.h>

#include <fstream>

using namespace quern;

/// The blocks of a page after "```qn".
static std::vector<std::string> layersOf(const std::string &page) {
  std::ifstream file(QUERN_SOURCE_DIR "/docs/" + page);
  std::vector<std::string> blocks;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("```")) {
      inside = line == "```qn";
      if (inside)
        blocks.emplace_back();
    } else if (inside) {
      blocks.back() += line + "\n";
    }
  }
  return blocks;
}

/// What docs/language.md shows compiles for a GPU, but for products of f32,
/// which it says do not.
TEST(DocsCuda, Language) {
  bool compiles = bool(cuda::Nvrtc::get());
  unsigned layers = 0;
  for (const std::string &block : layersOf("language.md")) {
    CompileRequest request;
    request.source = block;
    request.name = "language.md";
    request.target = *Target::parse("cuda:sm_90a");
    request.wanted = {compiles ? Stage::Ptx : Stage::Cuda};
    request.textsOnly = true;
    auto output = compileLayer(request);
    bool ofF32 = !output && output.error().message.starts_with("f32 products");
    EXPECT_TRUE(output || ofF32) << block << output.error().render();
    layers += bool(output);
  }
  EXPECT_GE(layers, 6u);
}
