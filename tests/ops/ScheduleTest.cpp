//===- ScheduleTest.cpp - Every way to cut a product is the same ----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Layers of products with tails everywhere, compiled with every candidate of
// `quern tune` for each of their products: bits are those of the model's
// choice, whatever the class, as every sum runs over K in one order; and the
// model's are right by the reference.
//
//===----------------------------------------------------------------------===//

#include "tests/ops/LayerCheck.h"
#include "tests/ops/ScheduleCases.h"

#include <gmock/gmock.h>

#include <cstring>

using namespace quern;
using namespace quern::test;

namespace {

/// What a layer computes for some rows, all outputs behind one another.
std::vector<std::byte> run(const Layer &layer, const Oracle &oracle,
                           int64_t m) {
  auto operands = oracle.drawInputs(std::vector{m}, 5, {});
  EXPECT_TRUE(operands) << operands.error().render();
  std::vector<TensorView> views(operands->begin(), operands->end());
  verify::GuardedOutputs outputs;
  auto done = verify::runInto(layer, views, std::vector{m}, outputs);
  EXPECT_TRUE(done) << done.error().render();
  EXPECT_EQ(outputs.findDamage(), "");
  std::vector<std::byte> bytes;
  for (const TensorView &view : outputs.getViews()) {
    const auto *data = static_cast<const std::byte *>(view.data);
    bytes.insert(bytes.end(), data, data + *view.shape.bytes(view.dtype));
  }
  return bytes;
}

class Schedule
    : public testing::TestWithParam<std::tuple<const char *, size_t>> {};

std::string
nameOf(const testing::TestParamInfo<std::tuple<const char *, size_t>> &info) {
  std::string target = std::get<0>(info.param);
  std::replace_if(
      target.begin(), target.end(),
      [](unsigned char c) { return !std::isalnum(c); }, '_');
  return fmt::format("{}_{}", target,
                     scheduledLayers()[std::get<1>(info.param)].name);
}

} // namespace

TEST_P(Schedule, ChangesNoBits) {
  const ScheduledLayer &tested = scheduledLayers()[std::get<1>(GetParam())];
  verify::Setting setting;
  setting.target = std::get<0>(GetParam());
  auto base = compileFor(setting, tested.text, "schedule.qn");
  ASSERT_TRUE(base) << base.error().render();
  // Other machines' code is compiled with some candidates, and not run.
  auto baseLayer = loadFor(setting, *base);
  if (!baseLayer) {
    ASSERT_EQ(baseLayer.error().code, Errc::Unsupported);
  }
  auto oracle = Oracle::create(tested.text, "schedule.qn");
  ASSERT_TRUE(oracle);
  std::vector<std::vector<std::byte>> expected;
  for (int64_t m : scheduledRows) {
    if (!baseLayer)
      break;
    SCOPED_TRACE(m);
    expectAgreement(*baseLayer, *oracle, {m}, 5);
    expected.push_back(run(*baseLayer, *oracle, m));
  }

  auto target = cpugen::CpuTarget::parse(setting.target);
  ASSERT_TRUE(target);
  const cpugen::Schedules plain = recordOf(*base);
  ASSERT_FALSE(plain.entries.empty());
  for (const cpugen::ScheduleEntry &entry : plain.entries) {
    auto candidates = cpugen::candidatesFor(*target, entry.product.sizes(),
                                            entry.blocking, scheduledRows);
    for (cpugen::Respect respect : tested.respects)
      EXPECT_TRUE(std::any_of(candidates.begin(), candidates.end(),
                              [&](const cpugen::Candidate &candidate) {
                                return candidate.respect == respect;
                              }))
          << name(respect) << " of " << entry.product.text();
  }
  std::vector<cpugen::Schedules> records = recordsOf(*base);
  ASSERT_GE(records.size(), 6u);
  for (cpugen::Schedules &record : extremesOf(*base))
    records.push_back(std::move(record));
  if (!baseLayer)
    records = {records.front(), records.back()};
  for (const cpugen::Schedules &record : records) {
    SCOPED_TRACE(record.print());
    setting.tuned = record.print();
    auto tuned = compileFor(setting, tested.text, "schedule.qn");
    ASSERT_TRUE(tuned) << tuned.error().render();
    EXPECT_THAT(tuned->unusedSchedules, testing::IsEmpty());
    for (const cpugen::ScheduledProduct &product : tuned->products)
      EXPECT_NE(product.line(), 0u) << product.unused;
    if (!baseLayer)
      continue;
    auto layer = loadFor(setting, *tuned);
    ASSERT_TRUE(layer) << layer.error().render();
    for (size_t i = 0; i < scheduledRows.size(); ++i) {
      SCOPED_TRACE(scheduledRows[i]);
      ASSERT_EQ(run(*layer, *oracle, scheduledRows[i]), expected[i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cpu, Schedule,
    testing::Combine(testing::Values("cpu:generic", "cpu:avx2", "cpu:avx-vnni",
                                     "cpu:avx512-vnni", "cpu:avx512-bf16"),
                     testing::Range(size_t(0), scheduledLayers().size())),
    nameOf);

//===----------------------------------------------------------------------===//
// What a record may ask for
//===----------------------------------------------------------------------===//

/// Also on levels that this machine does not run: only plans are looked at.
TEST(Schedules, KeepScratchBelowFourMebibytes) {
  constexpr int64_t most = int64_t(4) << 20;
  for (const char *name : {"cpu:generic", "cpu:avx2", "cpu:avx512-vnni"})
    for (auto [n, k] : {std::pair<int64_t, int64_t>{64, 4096}, {64, 28672}})
      for (const std::string &weight :
           {fmt::format("i8[{}, {}] * f32[{}, 1]", n, k, n),
            fmt::format("i4[{}, {}] per group(128)", n, k),
            fmt::format("i4[{}, {}] per group(32)", n, k)}) {
        std::string text = fmt::format(
            "layer t(x: f32[M, {1}], weight w: {2}) -> f32[M, {0}] {{\n"
            "  return quantize(x, i8 per token) @ w.T\n}}\n",
            n, k, weight);
        verify::Setting setting;
        setting.target = name;
        auto base = compileFor(setting, text, "schedule.qn");
        ASSERT_TRUE(base) << base.error().render();
        auto target = cpugen::CpuTarget::parse(name);
        cpugen::Schedules record = recordOf(*base);
        ASSERT_EQ(record.entries.size(), 1u);
        const cpugen::ProductKey product = record.entries[0].product;
        const cpugen::Blocking model = record.entries[0].blocking;
        std::vector<cpugen::Blocking> tried;
        for (const cpugen::Candidate &candidate : cpugen::candidatesFor(
                 *target, product.sizes(), model, scheduledRows))
          if (candidate.respect != cpugen::Respect::Few &&
              candidate.respect != cpugen::Respect::Ahead)
            tried.push_back(candidate.blocking);
        // The most rows and steps that a record is read with.
        cpugen::Blocking largest = model;
        while (largest.problem(*target, product.sizes()).empty())
          largest.blockRows += largest.rows;
        largest.blockRows -= largest.rows;
        if (product.widened)
          largest.chunkSteps = 1024;
        else if (!product.split)
          largest.chunkSteps = 16;
        ASSERT_EQ(largest.problem(*target, product.sizes()), "");
        tried.push_back(largest);
        for (const cpugen::Blocking &blocking : tried) {
          record.entries[0].blocking = blocking;
          setting.tuned = record.print();
          SCOPED_TRACE(setting.tuned);
          auto tuned = compileFor(setting, text, "schedule.qn");
          ASSERT_TRUE(tuned) << tuned.error().render();
          ASSERT_EQ(tuned->products.front().line(), 4u);
          int64_t scratch = 0;
          for (const LaunchDesc &launch :
               tuned->module.variants.front().launches)
            for (int64_t m : {1, 7, 128, 2048})
              scratch = std::max(scratch,
                                 *launch.scratchBytes.evaluate(std::vector{m}));
          EXPECT_GT(scratch, 0);
          EXPECT_LE(scratch, most);
        }
      }
}

namespace {
const char *const linear =
    "layer t(x: f32[M, 300], weight w: i8[75, 300] * f32[75, 1]) -> "
    "f32[M, 75] {\n  return quantize(x, i8 per token) @ w.T\n}";
} // namespace

TEST(Schedules, GiveTheSameModuleAgain) {
  verify::Setting setting;
  setting.target = "cpu:avx2";
  auto base = compileFor(setting, linear, "schedule.qn");
  ASSERT_TRUE(base) << base.error().render();
  cpugen::Schedules record = recordOf(*base);
  record.entries[0].blocking.rows = 6;
  record.entries[0].blocking.blockRows = 60;
  setting.tuned = record.print();
  auto once = compileFor(setting, linear, "schedule.qn");
  auto again = compileFor(setting, linear, "schedule.qn");
  ASSERT_TRUE(once && again);
  EXPECT_EQ(once->module.serialize(), again->module.serialize());
  EXPECT_NE(once->module.serialize(), base->module.serialize());
  std::string schedule;
  for (const KernelDesc &kernel : once->module.variants.front().kernels)
    if (kernel.name == once->products.front().kernel)
      schedule = kernel.schedule;
  EXPECT_THAT(schedule, testing::StartsWith("tile 6x16"));
  EXPECT_THAT(schedule, testing::HasSubstr("blocks of up to 60 rows"));
  EXPECT_THAT(schedule, testing::EndsWith("by line 4 of the record"));
}

TEST(Schedules, AreUsedWhereTheyFit) {
  verify::Setting setting;
  setting.target = "cpu:avx2";
  auto base = compileFor(setting, linear, "schedule.qn");
  ASSERT_TRUE(base);
  const cpugen::Schedules record = recordOf(*base);

  // Another level's: the module is as without, and that is said.
  cpugen::Schedules other = record;
  other.target = "cpu:generic";
  other.entries[0].blocking.columns = 8;
  setting.tuned = other.print();
  auto compiled = compileFor(setting, linear, "schedule.qn");
  ASSERT_TRUE(compiled) << compiled.error().render();
  EXPECT_EQ(compiled->module.serialize(), base->module.serialize());
  EXPECT_THAT(compiled->unusedSchedules,
              testing::ElementsAre("<tuned> is a record for cpu:generic, and "
                                   "is not used for cpu:avx2"));

  // Another product's.
  other = record;
  other.entries[0].product.k = 304;
  setting.tuned = other.print();
  compiled = compileFor(setting, linear, "schedule.qn");
  ASSERT_TRUE(compiled) << compiled.error().render();
  EXPECT_EQ(compiled->module.serialize(), base->module.serialize());
  EXPECT_THAT(compiled->unusedSchedules,
              testing::ElementsAre(testing::HasSubstr("<tuned>:4: not used")));

  // Two that one kernel would have to follow both.
  other = record;
  other.entries.push_back(record.entries[0]);
  other.entries[1].minRows = other.entries[1].maxRows = 1000;
  setting.tuned = other.print();
  compiled = compileFor(setting, linear, "schedule.qn");
  ASSERT_FALSE(compiled);
  EXPECT_THAT(compiled.error().message,
              testing::HasSubstr("lines 4 and 5 of the record"));

  // With a fixed number of rows the range decides.
  std::string fixed = linear;
  for (size_t at = 0; (at = fixed.find("[M,")) != std::string::npos;)
    fixed.replace(at, 3, "[1000,");
  compiled = compileFor(setting, fixed, "schedule.qn");
  ASSERT_TRUE(compiled) << compiled.error().render();
  EXPECT_EQ(compiled->products.front().line(), 5u);
  EXPECT_EQ(compiled->unusedSchedules.size(), 1u);

  // GPUs take none, and one layer takes one.
  setting.target = "sim:sm_80";
  compiled = compileFor(setting, linear, "schedule.qn");
  ASSERT_FALSE(compiled);
  EXPECT_THAT(compiled.error().message, testing::HasSubstr("sim:sm_80"));
}

/// Stages around a product want blocks of rows that a tile may not divide; the
/// model's choice is taken then.
TEST(Schedules, GiveWayToStages) {
  const char *text =
      "layer t(x: f32[M, 128], weight w: i8[256, 128] * f32[256, 1]) -> "
      "i8[M, 256] per block(128, 128) {\n"
      "  h = quantize(x, i8 per token) @ w.T\n"
      "  return quantize(h, i8 per block(128, 128))\n}";
  verify::Setting setting;
  setting.target = "cpu:avx2";
  setting.placement = "tile";
  auto base = compileFor(setting, text, "schedule.qn");
  ASSERT_TRUE(base) << base.error().render();
  cpugen::Schedules record = recordOf(*base);
  ASSERT_EQ(record.entries.size(), 1u);
  record.entries[0].blocking.rows = 5;
  record.entries[0].blocking.blockRows = 255;
  setting.tuned = record.print();
  auto tuned = compileFor(setting, text, "schedule.qn");
  ASSERT_TRUE(tuned) << tuned.error().render();
  ASSERT_EQ(tuned->unusedSchedules.size(), 1u);
  EXPECT_THAT(tuned->unusedSchedules[0], testing::HasSubstr("not used"));
  EXPECT_THAT(tuned->unusedSchedules[0], testing::HasSubstr("640 rows"));
  EXPECT_EQ(tuned->module.serialize(), base->module.serialize());
}
