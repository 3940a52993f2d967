//===- LongLayersTest.cpp - Layers of many statements ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A layer's length costs time and memory in proportion, and no stack: the
// compiler runs here on threads with 256 KiB of it.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Compiler.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <pthread.h>

using namespace quern;

namespace {

/// Runs on a thread with a small stack.
void onSmallStack(std::function<void()> what) {
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, 256 << 10), 0);
  pthread_t thread;
  ASSERT_EQ(pthread_create(
                &thread, &attributes,
                [](void *data) -> void * {
                  (*static_cast<std::function<void()> *>(data))();
                  return nullptr;
                },
                &what),
            0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

/// The text of a stage, which must be reached.
std::string textOf(const std::string &source, const std::string &target,
                   Stage stage, const std::string &fuse = "all") {
  std::string text;
  onSmallStack([&] {
    CompileRequest request;
    request.source = source;
    request.target = *Target::parse(target);
    request.settings = {"fuse=" + fuse};
    request.wanted = {stage};
    request.textsOnly = true;
    auto output = compileLayer(request);
    ASSERT_TRUE(output) << output.error().render();
    text = output->texts.front().text;
  });
  return text;
}

/// Statements `y1 = ...` of those before, numbers written `{0}`.
std::string chain(unsigned length, const std::string &statement,
                  const std::string &type = "f32[16, 16]",
                  const std::string &more = "") {
  std::string text =
      fmt::format("layer t(x: {}{}) -> {} {{\n  y0 = x\n", type, more, type);
  for (unsigned i = 1; i <= length; ++i) {
    std::string line = statement;
    for (size_t at; (at = line.find("PREV")) != std::string::npos;)
      line.replace(at, 4, fmt::format("y{}", i - 1));
    text += fmt::format("  y{} = {}\n", i, line);
  }
  return text + fmt::format("  return y{}\n}}\n", length);
}

size_t lines(const std::string &text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

/// Twice the statements make about twice the text.
void expectLinear(const std::function<std::string(unsigned)> &source,
                  unsigned length) {
  for (auto [target, stage] :
       {std::pair("cpu", Stage::Tile), {"cuda:sm_80", Stage::Cuda}}) {
    size_t once = lines(textOf(source(length), target, stage));
    size_t twice = lines(textOf(source(2 * length), target, stage));
    EXPECT_GT(once, 0u);
    EXPECT_LE(twice, 5 * once / 2 + 100) << target;
  }
}

} // namespace

TEST(LongLayers, GathersOfGathers) {
  expectLinear(
      [](unsigned n) {
        return chain(n, "gather(PREV, i) + gather(PREV, j)", "f32[16, 16]",
                     ", i: i32[16], j: i32[16]");
      },
      16);
}

TEST(LongLayers, ShapesOfShapes) {
  for (const char *statement :
       {"PREV + reshape(transpose(reshape(PREV, [4, 64]), [1, 0]), [16, 16])",
        "exp(reshape(transpose(reshape(PREV, [4, 8, 8]), [2, 0, 1]), [16, "
        "16]))",
        "reshape(transpose(reshape(PREV, [4, 8, 8]), [2, 0, 1]), [16, 16])",
        "PREV + PREV.T", "concat(PREV[0:7, :], PREV[7:, :], axis = 0)",
        "PREV[:, :] + 1"}) {
    SCOPED_TRACE(statement);
    expectLinear([&](unsigned n) { return chain(n, statement); }, 16);
  }
}

TEST(LongLayers, Reductions) {
  for (const char *statement : {"softmax(PREV)", "PREV - mean(PREV)",
                                "dequantize(quantize(PREV, i8 per token))"}) {
    SCOPED_TRACE(statement);
    expectLinear([&](unsigned n) { return chain(n, statement); }, 40);
  }
}

TEST(LongLayers, AHundredThousandStatements) {
  std::string text = chain(100000, "PREV * 1.01 + x");
  std::string tile = textOf(text, "cpu", Stage::Tile);
  size_t kernels = 0;
  for (size_t at = 0;
       (at = tile.find("tile.kernel @", at)) != std::string::npos; ++at)
    ++kernels;
  EXPECT_GE(kernels, 2u * 100000 / 256);
  EXPECT_LE(kernels, 2u * 100000 / 256 + 2);
}

TEST(LongLayers, UnfusedToo) {
  std::string text = chain(5000, "PREV * 1.01 + x");
  EXPECT_GT(lines(textOf(text, "cpu", Stage::Tile, "none")), 20000u);
}

TEST(LongLayers, CodeForBothTargets) {
  std::string text = chain(5000, "PREV * 1.01 + x");
  EXPECT_GT(lines(textOf(text, "cuda:sm_80", Stage::Cuda)), 5000u);
  EXPECT_GT(
      lines(textOf(chain(1500, "PREV * 1.01 + x"), "cpu:generic", Stage::Llvm)),
      1500u);
}
