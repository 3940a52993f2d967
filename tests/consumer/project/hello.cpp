//===- hello.cpp - A host program -----------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Loads a module, runs it, prints an element, with nothing of Quern but its
// public headers.
//
//===----------------------------------------------------------------------===//

#include <quern/io.h>
#include <quern/quern.h>

#include <cstdio>

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  quern::Result<quern::Layer> layer = quern::loadFile(argv[1]);
  if (!layer) {
    std::fputs(layer.error().render().c_str(), stderr);
    return 1;
  }
  std::vector<float> xs(3 * 4, 3.0f), ws = {1, 2, 3, 7};
  auto x = quern::Tensor::fromFloats(quern::DType::F32, {3, 4}, xs);
  auto w = quern::Tensor::fromFloats(quern::DType::F32, {4}, ws);
  auto y = layer->call({*x, *w});
  if (!y) {
    std::fputs(y.error().render().c_str(), stderr);
    return 1;
  }
  // 3 * 7 * 7 + 2 * 2.5 = 152
  std::printf("%s: y[2][3] = %g\n", layer->name().c_str(),
              (*y)[0].as<float>()[2 * 4 + 3]);
}
