//===- Plugin.cpp - A library that uses the runtime -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include <quern/quern.h>

#include <cstdio>

/// Runs the golden module; 0 if its result is right.
extern "C" __attribute__((visibility("default"))) int
runGolden(const char *path) {
  quern::Result<quern::Layer> layer = quern::loadFile(path);
  if (!layer) {
    std::fputs(layer.error().render().c_str(), stderr);
    return 1;
  }
  std::vector<float> xs(4, 3.0f), ws = {1, 2, 3, 7};
  auto x = quern::Tensor::fromFloats(quern::DType::F32, {1, 4}, xs);
  auto w = quern::Tensor::fromFloats(quern::DType::F32, {4}, ws);
  auto y = layer->call({*x, *w});
  return y && (*y)[0].as<float>()[3] == 148.0f ? 0 : 1;
}

/// Compiles a layer through the compiler library and runs it; 0 if right.
extern "C" __attribute__((visibility("default"))) int compileAndRun() {
  quern::CompileOptions options;
  options.useCache = false;
  quern::Result<quern::Layer> layer = quern::compile(
      "layer t(x: f32[M, 4]) -> f32[M, 4] { return exp(x) + x }", options);
  if (!layer) {
    std::fputs(layer.error().render().c_str(), stderr);
    return 1;
  }
  std::vector<float> zeros(8, 0.0f);
  auto x = quern::Tensor::fromFloats(quern::DType::F32, {2, 4}, zeros);
  auto y = layer->call({*x});
  return y && (*y)[0].as<float>()[7] == 1.0f ? 0 : 1;
}
