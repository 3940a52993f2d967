//===- GoldenTest.cpp - Old modules keep loading and running --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "FakeModule.h"

#include "quern/quern.h"

#include <gtest/gtest.h>

#include <algorithm>

using namespace quern;
using namespace quern::testing;

namespace {

/// Every golden module, oldest first; the last has today's format.
const char *const files[] = {"v0.qnm",   "v0.3.qnm", "v0.4.qnm",
                             "v0.5.qnm", "v0.6.qnm", "v0.7.qnm"};

class Golden : public ::testing::TestWithParam<const char *> {
protected:
  std::string path() const {
    return std::string(QUERN_GOLDEN "/") + GetParam();
  }
};

TEST_P(Golden, LoadsAndRuns) {
#if !defined(__x86_64__)
  GTEST_SKIP() << "the golden module holds x86-64 code";
#endif
  Result<Layer> layer = loadFile(path(), {"cpu:generic", makeSerialExecutor()});
  ASSERT_TRUE(layer) << layer.error().render();
  EXPECT_EQ(layer->name(), "golden");
  Tensor w = *Tensor::zeros(DType::F32, {4});
  for (int i = 0; i < 4; ++i)
    w.as<float>()[i] = float(i) + 1;
  for (int64_t rows : {2, 3}) { // On both sides of a range's end.
    Tensor x = *Tensor::zeros(DType::F32, {rows, 4});
    for (int i = 0; i < 4 * rows; ++i)
      x.as<float>()[i] = float(i) - 2.5f;
    Result<std::vector<Tensor>> y = layer->call({x, w});
    ASSERT_TRUE(y) << y.error().render();
    for (int i = 0; i < 4 * rows; ++i)
      EXPECT_EQ((*y)[0].as<float>()[i],
                fakeExpected(x.as<float>()[i], w.as<float>()[i % 4], i / 4));
  }
}

TEST_P(Golden, ParsesToTheSame) {
  std::vector<std::byte> bytes = readBytes(path());
  Result<ModuleDesc> module = ModuleDesc::parse(bytes);
  ASSERT_TRUE(module) << module.error().render();
  std::string_view name = GetParam();
  GoldenRuns runs = name == "v0.6.qnm"   ? GoldenRuns::InRanges
                    : name == "v0.7.qnm" ? GoldenRuns::InStrips
                                         : GoldenRuns::Whole;
  EXPECT_EQ(*module, goldenModule(module->variants[0].code[0].bytes, runs));
  // While the format is the same, so are the bytes.
  if (GetParam() == std::end(files)[-1])
    EXPECT_EQ(module->serialize(), bytes);
}

INSTANTIATE_TEST_SUITE_P(All, Golden, ::testing::ValuesIn(files),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

} // namespace
