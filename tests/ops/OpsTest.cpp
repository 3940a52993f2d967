//===- OpsTest.cpp - Every operation on every target ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/Nvrtc.h"
#include "tests/ops/LayerCheck.h"
#include "tests/ops/OpCases.h"

using namespace quern;
using namespace quern::test;

namespace {
struct OpRun {
  const OpCase *row;
  std::string type, target, fuse;
};

std::string caseName(const testing::TestParamInfo<OpRun> &info) {
  std::string text =
      fmt::format("{}_{}_{}_{}", info.param.row->name, info.param.type,
                  info.param.target, info.param.fuse);
  for (char &c : text)
    if (!std::isalnum(static_cast<unsigned char>(c)))
      c = '_';
  return text;
}

std::vector<OpRun> allRuns(const std::vector<std::string> &targets,
                           const std::vector<OpCase> &cases = opCases()) {
  std::vector<OpRun> runs;
  for (const OpCase &row : cases)
    for (const char *type : row.types)
      for (const std::string &target : targets)
        for (const char *fuse : {"all", "none"})
          runs.push_back({&row, type, target, fuse});
  return runs;
}

class Ops : public testing::TestWithParam<OpRun> {
protected:
  static std::string textOf(const OpRun &run) {
    std::string text = run.row->text;
    for (size_t at; (at = text.find("{T}")) != std::string::npos;)
      text.replace(at, 3, run.type);
    return text;
  }
};
} // namespace

TEST_P(Ops, AgreesWithReference) {
  const OpRun &run = GetParam();
  auto target = Target::parse(run.target);
  ASSERT_TRUE(target) << target.error().render();
  bool cuda = target->kind != Target::Kind::Cpu;
  if (cuda)
    if (auto nvrtc = cuda::Nvrtc::get(); !nvrtc)
      GTEST_SKIP() << nvrtc.error().message;

  std::string text = textOf(run);
  LayerRun how{run.target, run.fuse};
  auto compiled = compileFor(how, text, "case.qn");
  if (cuda && *run.row->cudaRefusal) {
    ASSERT_FALSE(compiled);
    EXPECT_EQ(compiled.error().code, Errc::Unsupported);
    EXPECT_NE(compiled.error().message.find(run.row->cudaRefusal),
              std::string::npos)
        << compiled.error().render();
    EXPECT_EQ(compiled.error().file, "case.qn");
    return;
  }
  ASSERT_TRUE(compiled) << text << "\n" << compiled.error().render();

  auto layer = loadFor(how, *compiled);
  if (!layer && run.target == "cpu:avx-vnni" &&
      layer.error().code == Errc::Unsupported)
    GTEST_SKIP() << "this machine has no AVX-VNNI";
  ASSERT_TRUE(layer) << layer.error().render();
  auto oracle = Oracle::create(text, "case.qn");
  ASSERT_TRUE(oracle) << oracle.error().render();
  for (size_t i = 0; i < run.row->sizes.size(); ++i)
    for (Corner corner : {Corner::None, Corner::Scattered})
      expectAgreement(*layer, *oracle, run.row->sizes[i], 100 + i, corner);
}

INSTANTIATE_TEST_SUITE_P(Cpu, Ops,
                         testing::ValuesIn(allRuns({"cpu", "cpu:generic"})),
                         caseName);
INSTANTIATE_TEST_SUITE_P(
    Sim, Ops, testing::ValuesIn(allRuns({"sim:sm_80", "sim:sm_120a"})),
    caseName);
INSTANTIATE_TEST_SUITE_P(CpuPacked, Ops,
                         testing::ValuesIn(allRuns({"cpu", "cpu:avx-vnni",
                                                    "cpu:avx2", "cpu:generic"},
                                                   packedCases())),
                         caseName);
INSTANTIATE_TEST_SUITE_P(SimPacked, Ops,
                         testing::ValuesIn(allRuns({"sim:sm_80", "sim:sm_90a"},
                                                   packedCases())),
                         caseName);
