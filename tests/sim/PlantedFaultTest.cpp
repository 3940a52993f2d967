//===- PlantedFaultTest.cpp - Faults put into kernels, and found ----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Each fault is an edit of a golden PTX text: an instruction dropped, an
// operand changed. It must be found by a report that points into the kernel's
// source, or at least by wrong results, under the schedules tried; `always`
// says that every schedule finds it. The unedited kernels must be clean under
// all of them.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/HopperProblem.h"

#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::simtest;
using testing::HasSubstr;
namespace status = quern::cuda::status;

namespace {

constexpr uint64_t schedules = 20;

//===----------------------------------------------------------------------===//
// Edits
//===----------------------------------------------------------------------===//

using Edit = std::function<std::string(std::string)>;

size_t placeOf(const std::string &text, const std::string &what, size_t n) {
  size_t at = text.find(what);
  for (; n && at != std::string::npos; --n)
    at = text.find(what, at + 1);
  EXPECT_NE(at, std::string::npos) << "'" << what << "' is not in the PTX";
  return at == std::string::npos ? 0 : at;
}

/// The n-th instruction that contains `what` becomes a comment.
Edit drop(std::string what, size_t n = 0) {
  return [=](std::string text) {
    size_t at = placeOf(text, what, n);
    size_t begin = text.find_last_of(";{}\n", at) + 1;
    return text.insert(begin, "// ");
  };
}

/// The first instruction behind `anchor` that contains `what`.
Edit dropAfter(std::string anchor, std::string what, size_t n = 0) {
  return [=](std::string text) {
    size_t at = placeOf(text, anchor, n);
    at = text.find(what, at + anchor.size());
    EXPECT_NE(at, std::string::npos) << what;
    return text.insert(text.rfind('\n', at) + 1, "// ");
  };
}

Edit change(std::string from, std::string to, size_t n = 0) {
  return [=](std::string text) { return replaced(text, from, to, n); };
}

Edit changeAll(std::string from, std::string to) {
  return [=](std::string text) {
    placeOf(text, from, 0);
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos;
         at += to.size())
      text.replace(at, from.size(), to);
    return text;
  };
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

/// Runs a module once under a schedule. True if nothing was reported and the
/// results are right; `wrong` tells of results.
using Run = std::function<bool(Session &, uint64_t seed, bool &wrong)>;

bool runHopper(Session &session, uint64_t seed, bool &wrong) {
  // Ragged, and more steps than stages.
  static constexpr unsigned m = 136, n = 136, k = 528;
  HopperProblem problem(session, false, m, n, k);
  bool clean = problem.run(seed, 1 << 16);
  wrong = problem.wrong() != 0;
  return clean;
}

bool runGemm(Session &session, uint64_t seed, bool &wrong) {
  int m = 70, n = 88, k = 400;
  std::mt19937 random(3);
  std::vector<int8_t> a(size_t(m) * k), b(size_t(n) * k);
  for (int8_t &x : a)
    x = static_cast<int8_t>(random());
  for (int8_t &x : b)
    x = static_cast<int8_t>(random());
  auto pa = session.buffer("a", a, true), pb = session.buffer("b", b, true);
  auto pc = session.buffer("c", std::vector<int32_t>(size_t(m) * n));
  Session::Shape shape;
  shape.grid[0] = shape.grid[1] = 2;
  shape.block[0] = 128;
  shape.dynamicShared = 3 * 128 * 64;
  sim::SimOptions options;
  options.seed = seed;
  options.watchdog = 1 << 20;
  session.setOptions(options);
  bool clean =
      session.launch("gemm_s8", shape, pa, pb, pc, m, n, k) == status::Success;
  auto c = session.read<int32_t>(pc, size_t(m) * n);
  wrong = false;
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      int sum = 0;
      for (int x = 0; x < k; ++x)
        sum += a[size_t(i) * k + x] * b[size_t(j) * k + x];
      wrong |= c[size_t(i) * n + j] != sum;
    }
  return clean;
}

/// Two launches, so that what the first leaves behind matters.
bool runSplitSum(Session &session, uint64_t seed, bool &wrong) {
  constexpr unsigned blocks = 5, n = 300;
  std::vector<int> in(blocks * n), sums(n);
  for (unsigned i = 0; i < in.size(); ++i) {
    in[i] = static_cast<int>(i * 17 % 1001);
    sums[i % n] += in[i];
  }
  auto pin = session.buffer("in", in, true);
  auto parts = session.buffer("parts", std::vector<int>(blocks * n));
  auto out = session.buffer("out", std::vector<int>(n));
  auto counter = session.buffer("counter", std::vector<unsigned>(1));
  Session::Shape shape;
  shape.grid[0] = blocks;
  shape.block[0] = 128;
  sim::SimOptions options;
  options.seed = seed;
  options.watchdog = 1 << 16;
  session.setOptions(options);
  bool clean = true;
  wrong = false;
  for (int launch = 0; launch < 2 && clean; ++launch) {
    session.driver.memsetD8Async(out, 0, n * 4, nullptr);
    int count = n;
    clean = session.launch("split_sum", shape, pin, parts, out, counter,
                           count) == status::Success;
    wrong |= session.read<int>(out, n) != sums;
  }
  return clean;
}

bool runGridRounds(Session &session, uint64_t seed, bool &wrong) {
  constexpr unsigned blocks = 4, rounds = 5, n = blocks * 128;
  std::vector<int> start(n);
  for (unsigned i = 0; i < n; ++i)
    start[i] = static_cast<int>(i * 3);
  auto a = session.buffer("a", start);
  auto b = session.buffer("b", std::vector<int>(n));
  auto arrived = session.buffer("arrived", std::vector<unsigned>(1));
  Session::Shape shape;
  shape.grid[0] = blocks;
  shape.block[0] = 128;
  shape.cooperative = true;
  sim::SimOptions options;
  options.seed = seed;
  options.watchdog = 1 << 16;
  session.setOptions(options);
  int count = rounds;
  bool clean = session.launch("grid_rounds", shape, a, b, arrived, count) ==
               status::Success;
  std::vector<int> got = session.read<int>(b, n);
  wrong = false;
  for (unsigned i = 0; i < n; ++i)
    wrong |= got[i] != start[(i + rounds * 128) % n] + int(rounds);
  return clean;
}

struct Kernel {
  const char *file, *arch, *entry;
  sim::SimTarget target;
  Run run;
};
const Kernel gemm = {"gemm", "sm_80", "gemm_s8", sim::SimTarget::Sm80, runGemm};
const Kernel hopper = {"hopper", "sm_90a", "hopper_s8", sim::SimTarget::Sm90a,
                       runHopper};
const Kernel splitSum = {"blocks", "sm_80", "split_sum", sim::SimTarget::Sm80,
                         runSplitSum};
const Kernel gridRounds = {"blocks", "sm_80", "grid_rounds",
                           sim::SimTarget::Sm80, runGridRounds};

//===----------------------------------------------------------------------===//
// Faults
//===----------------------------------------------------------------------===//

struct Fault {
  const char *name;
  const Kernel &kernel;
  Edit edit;
  /// In some report; empty: wrong results alone tell.
  const char *says;
  bool always = true;
};

const char wait[] = "mbarrier.try_wait";

std::vector<Fault> faults() {
  return {
      // mma.sync
      {"LoopBarrierDropped", gemm, drop("bar.sync", 0), "race"},
      {"EpilogueBarrierDropped", gemm, drop("bar.sync", 1), "race"},
      {"SecondEpilogueBarrierDropped", gemm, drop("bar.sync", 2), "race"},
      {"OneGroupTooFewWaitedFor", gemm,
       change("cp.async.wait_group 1;", "cp.async.wait_group 2;"),
       "asynchronous copy in flight"},
      {"CopyWaitDropped", gemm, drop("cp.async.wait_group 1;"),
       "asynchronous copy in flight"},
      {"CommitDropped", gemm, drop("cp.async.commit_group", 2),
       "asynchronous copy in flight"},
      {"StoreGuardDropped", gemm,
       [](std::string text) {
         size_t store = text.rfind("st.global");
         size_t guard = text.rfind("@%p", store);
         return text.insert(guard, "// ");
       },
       "out of bounds"},
      {"SourceGuardDropped", gemm,
       [](std::string text) {
         // The size operands that make copies beyond the edge copy nothing.
         for (size_t at = 0;
              (at = text.find("cp.async.cg", at)) != std::string::npos; ++at) {
           size_t comma = text.find(", %r", text.find("], 16", at));
           text.erase(comma, text.find(';', comma) - comma);
         }
         return text;
       },
       ""},
      {"FragmentsSwapped", gemm,
       [](std::string text) {
         size_t open =
             text.find("{", text.find("},", placeOf(text, "mma.sync", 0)));
         size_t first = open + 1, comma = text.find(',', first);
         size_t end = text.find(',', comma + 1);
         std::string a = text.substr(first, comma - first),
                     b = text.substr(comma + 1, end - comma - 1);
         return text.replace(first, end - first, b + "," + a);
       },
       ""},
      {"SignLost", gemm, change("s32.s8.s8.s32", "s32.u8.s8.s32"), ""},
      // TMA and mbarriers
      {"ProducerDoesNotWait", hopper, dropAfter(wait, "@%p", 0), "race"},
      {"ConsumerDoesNotWait", hopper, dropAfter(wait, "@%p", 1),
       "asynchronous copy in flight", false},
      {"HalfTheBytesExpected", hopper, change(", 24576;", ", 12288;"), ""},
      {"MoreBytesExpected", hopper, change(", 24576;", ", 24592;"), "deadlock"},
      {"NoBytesExpected", hopper,
       change("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r",
              "mbarrier.arrive.shared::cta.b64 _, [%r"),
       ""},
      {"InitFenceDropped", hopper, drop("fence.mbarrier_init"),
       "missing proxy fence"},
      {"StoreProxyFenceDropped", hopper, drop("fence.proxy.async"),
       "missing proxy fence"},
      {"StoreBarrierDropped", hopper, drop("bar.sync"), "race"},
      {"StoreReadNotWaitedFor", hopper, drop("cp.async.bulk.wait_group.read"),
       "pending"},
      {"StoreCommitDropped", hopper, drop("cp.async.bulk.commit_group"),
       "pending"},
      {"WrongSwizzleOfA", hopper,
       // 64 bytes where the copies swizzled 128.
       changeAll("4611686293305294848", "0x8000004000000000"), ""},
      {"HalfOfAToTheWrongPlace", hopper, change(", %r187, 13;", ", %r187, 12;"),
       "race"},
      // wgmma
      {"AccumulatorsNotWaitedFor", hopper, drop("wgmma.wait_group", 1),
       "accumulator"},
      {"StageFreedTooEarly", hopper,
       change("wgmma.wait_group.sync.aligned 1;",
              "wgmma.wait_group.sync.aligned 2;"),
       "race"},
      {"WgmmaCommitDropped", hopper, drop("wgmma.commit_group"), "accumulator"},
      {"WgmmaFenceDropped", hopper, drop("wgmma.fence"), "wgmma.fence"},
      // clusters
      {"SlotNeverReleased", hopper, drop("mbarrier.arrive.release.cluster", 0),
       "deadlock"},
      {"PeerNotTold", hopper, drop("mbarrier.arrive.release.cluster", 1),
       "deadlock"},
      {"MulticastToOneBlock", hopper,
       change("mov.u16 \t%rs1, 3;", "mov.u16 \t%rs1, 1;"), "deadlock"},
      {"ClusterNotSynchronisedAtStart", hopper,
       drop("barrier.cluster.wait.acquire", 0), "barrier"},
      {"MaximaReadTooEarly", hopper, drop("barrier.cluster.wait.acquire", 1),
       "race"},
      {"BlockExitsTooEarly", hopper,
       [](std::string text) {
         return drop("barrier.cluster.wait.acquire",
                     2)(drop("barrier.cluster.arrive.release", 2)(text));
       },
       "exited", false},
      {"EmptyCountTooSmall", hopper,
       change("mov.u32 \t%r203, 4;", "mov.u32 \t%r203, 2;"), ""},
      {"RowGuardDropped", hopper, dropAfter("ld.shared::cluster", "@%p", 1),
       "out of bounds"},
      // blocks
      {"FenceBeforeCounterDropped", splitSum, drop("membar.gl", 0), "race"},
      {"FenceBehindCounterDropped", splitSum, drop("membar.gl", 1), "race"},
      {"BarrierBeforeCounterDropped", splitSum, drop("bar.sync", 0), "race"},
      {"BarrierBehindCounterDropped", splitSum, drop("bar.sync", 1), "race"},
      {"NonCoherentReadOfParts", splitSum,
       change("ld.global.u32", "ld.global.nc.u32", 1), "non-coherent"},
      {"CounterNotReset", splitSum, drop("st.global.u32", 3), ""},
      {"RelaxedArrival", gridRounds,
       change("atom.add.acq_rel.gpu", "atom.add.relaxed.gpu"), "race"},
      {"RelaxedWait", gridRounds, change("ld.acquire.gpu", "ld.relaxed.gpu"),
       "race"},
      {"ArrivalAtBlockScope", gridRounds,
       change("atom.add.acq_rel.gpu", "atom.add.acq_rel.cta"), "race"},
      {"GridWaitSkipped", gridRounds, dropAfter("ld.acquire.gpu", "@%p"),
       "race"},
  };
}

/// The golden module with `edit` applied inside the kernel.
std::string edited(const Kernel &kernel, const Edit &edit) {
  std::string ptx = goldenPtx(kernel.file, kernel.arch);
  size_t begin = ptx.find(std::string(".entry ") + kernel.entry);
  if (begin == std::string::npos)
    return {};
  size_t end = ptx.find(".entry", begin + 1);
  end = end == std::string::npos ? ptx.size() : end;
  return ptx.substr(0, begin) + edit(ptx.substr(begin, end - begin)) +
         ptx.substr(end);
}

class PlantedFault : public testing::TestWithParam<Fault> {};

TEST_P(PlantedFault, IsFound) {
  const Fault &fault = GetParam();
  Session session(fault.kernel.target);
  ASSERT_TRUE(session.load(edited(fault.kernel, fault.edit)))
      << session.reportText();
  unsigned found = 0, reported = 0;
  std::string text;
  constexpr unsigned tried = 6;
  for (uint64_t seed = 1; seed <= tried; ++seed) {
    bool wrong = false;
    bool clean = fault.kernel.run(session, seed, wrong);
    if (!clean)
      text += session.reportText();
    found += !clean || wrong;
    reported += !clean;
  }
  RecordProperty("found", std::to_string(found));
  RecordProperty("reported", std::to_string(reported));
  if (fault.always)
    EXPECT_EQ(found, tried);
  else
    EXPECT_GT(found, 0u);
  if (*fault.says) {
    EXPECT_GT(reported, 0u);
    EXPECT_THAT(text, HasSubstr(fault.says));
    // The place in the kernel's source.
    EXPECT_THAT(text, HasSubstr(std::string(fault.kernel.file) + ".cu:"));
  }
  std::printf("found under %u of %u schedules, %u by reports\n", found, tried,
              reported);
}

INSTANTIATE_TEST_SUITE_P(Faults, PlantedFault, testing::ValuesIn(faults()),
                         [](const auto &info) { return info.param.name; });

TEST(PlantedFaults, UneditedKernelsAreCleanUnderAllSchedules) {
  for (const Kernel *kernel : {&gemm, &hopper, &splitSum, &gridRounds}) {
    Session session(kernel->target);
    ASSERT_TRUE(session.load(goldenPtx(kernel->file, kernel->arch)));
    for (uint64_t seed = 1; seed <= schedules; ++seed) {
      bool wrong = true;
      ASSERT_TRUE(kernel->run(session, seed, wrong))
          << kernel->entry << " seed " << seed << "\n"
          << session.reportText();
      ASSERT_FALSE(wrong) << kernel->entry << " seed " << seed;
    }
  }
}

TEST(PlantedFaults, MostAreToldWithTheirPlace) {
  unsigned told = 0, all = 0;
  for (const Fault &fault : faults()) {
    told += *fault.says != 0;
    ++all;
  }
  EXPECT_GE(all, 28u);
  EXPECT_GE(told, 22u);
}

TEST(PlantedFaults, GoldenTextsAreThoseOfTheSources) {
  if (!hasNvrtc())
    GTEST_SKIP() << "no NVRTC";
  for (const char *arch : {"sm_80", "sm_120a"}) {
    std::string why;
    std::string ptx = ptxOf("blocks", arch, why);
    ASSERT_FALSE(ptx.empty()) << why;
    EXPECT_EQ(ptx, goldenPtx("blocks", arch)) << arch;
  }
}

} // namespace
