//===- FaultTest.cpp - Planted faults are found ---------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <filesystem>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::simtest;
using testing::HasSubstr;
namespace status = quern::cuda::status;

namespace {

class Fault : public testing::Test {
protected:
  /// Runs a snippet on buffers "in" (64 words, read-only) and "out" (64 words).
  cuda::DriverStatus run(const std::string &body, unsigned threads = 64,
                         const std::string &moduleText = "") {
    EXPECT_TRUE(session.load(ptxSnippet(body, moduleText)))
        << session.reportText();
    auto in = session.buffer("in", std::vector<uint32_t>(64, 5), true);
    auto out = session.buffer("out", std::vector<uint32_t>(64, 0));
    Session::Shape shape;
    shape.block[0] = threads;
    return session.launch("test", shape, in, out, 64u);
  }
  /// The one report of a launch, which must be a fault of `kind`.
  Diagnostic report(const std::string &kind) {
    std::vector<Diagnostic> all = session.reports();
    EXPECT_EQ(all.size(), 1u) << session.reportText();
    if (all.empty())
      return {};
    EXPECT_EQ(all[0].code, Errc::CheckFailed);
    EXPECT_THAT(all[0].message, HasSubstr("kernel test: " + kind + ": "));
    return all[0];
  }
  Session session;
};

const char *const sharedTile = ".shared .align 16 .b8 tile[256];\n";

TEST_F(Fault, CleanKernelHasNoReport) {
  EXPECT_EQ(run(R"(
    mov.u32 %r2, tile;
    shl.b32 %r3, %r0, 2;
    add.s32 %r4, %r2, %r3;
    st.shared.u32 [%r4], %r0;
    bar.sync 0;
    xor.b32 %r5, %r3, 252;
    add.s32 %r4, %r2, %r5;
    ld.shared.u32 %r6, [%r4];
    cvt.u64.u32 %rd2, %r3;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r6;)",
                64, sharedTile),
            status::Success)
      << session.reportText();
}

TEST_F(Fault, DroppedBarrierIsARace) {
  EXPECT_EQ(run(R"(
    mov.u32 %r2, tile;
    shl.b32 %r3, %r0, 2;
    add.s32 %r4, %r2, %r3;
    st.shared.u32 [%r4], %r0;
    xor.b32 %r5, %r3, 252;
    add.s32 %r4, %r2, %r5;
    st.shared.u32 [%r4], %r0;)",
                64, sharedTile),
            status::LaunchFailed);
  EXPECT_THAT(session.reportText(),
              HasSubstr("race: write at shared offset 128 by warp 1 is not "
                        "ordered after the write by warp 0"));
}

TEST_F(Fault, ReadThenUnorderedWriteIsARace) {
  EXPECT_EQ(run(R"(
    mov.u32 %r2, tile;
    shl.b32 %r3, %r0, 2;
    add.s32 %r4, %r2, %r3;
    st.shared.u32 [%r4], %r0;
    bar.sync 0;
    xor.b32 %r5, %r3, 252;
    add.s32 %r5, %r2, %r5;
    ld.shared.u32 %r6, [%r5];
    st.shared.u32 [%r4], %r6;)",
                64, sharedTile),
            status::LaunchFailed);
  EXPECT_THAT(session.reportText(), HasSubstr("after the read by warp"));
}

TEST_F(Fault, EveryReaderIsRemembered) {
  // Warps 1 and 2 read what warp 0 wrote; warp 3 overwrites it after a named
  // barrier with warp 2 alone. Only the order with warp 1 is missing.
  sim::SimOptions options;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    options.seed = seed;
    session.setOptions(options);
    run(R"(
    mov.u32 %r2, tile;
    shr.u32 %r3, %r0, 5;
    setp.ne.u32 %p0, %r0, 0;
    @%p0 bra FILLED;
    st.shared.u32 [%r2], %r0;
FILLED:
    bar.sync 0;
    setp.eq.u32 %p1, %r3, 0;
    @%p1 bra DONE;
    setp.eq.u32 %p2, %r3, 3;
    @%p2 bra LAST;
    ld.shared.u32 %r4, [%r2];
    setp.eq.u32 %p3, %r3, 1;
    @%p3 bra DONE;
    bar.arrive 1, 64;
    bra DONE;
LAST:
    bar.sync 1, 64;
    setp.ne.u32 %p4, %r0, 96;
    @%p4 bra DONE;
    st.shared.u32 [%r2], %r0;
DONE:)",
        128, sharedTile);
    // Whichever of the two comes first, nothing orders them.
    EXPECT_THAT(session.reportText(), HasSubstr("race")) << seed;
  }
}

TEST_F(Fault, UninitialisedSharedRead) {
  EXPECT_EQ(run("ld.shared.u32 %r2, [tile+128];", 32, sharedTile),
            status::LaunchFailed);
  EXPECT_THAT(report("uninitialised shared memory").message,
              HasSubstr("shared offset 128"));
}

TEST_F(Fault, GlobalOutOfBoundsNamesTheBuffer) {
  EXPECT_EQ(run(R"(
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3+4], %r0;)"),
            status::IllegalAddress);
  Diagnostic fault = report("out of bounds");
  EXPECT_THAT(fault.message, HasSubstr("offset 256 of out (256 bytes)"));
  EXPECT_THAT(fault.notes, testing::Contains(HasSubstr("thread (63, 0, 0)")));
}

TEST_F(Fault, NegativeOffsetIsOutOfBounds) {
  EXPECT_EQ(run("ld.global.u32 %r2, [%rd0+-4];"), status::IllegalAddress);
  EXPECT_THAT(report("out of bounds").message, HasSubstr("offset -4 of in"));
}

TEST_F(Fault, SharedOutOfBounds) {
  EXPECT_EQ(
      run("mov.u32 %r2, tile; st.shared.u32 [%r2+256], %r0;", 1, sharedTile),
      status::IllegalAddress);
  EXPECT_THAT(report("out of bounds").message, HasSubstr("has 256 bytes"));
}

TEST_F(Fault, LocalOutOfBounds) {
  EXPECT_EQ(run(".local .align 4 .b8 frame[16];\n"
                "mov.u64 %rd4, frame; ld.local.u32 %r2, [%rd4+16];"),
            status::IllegalAddress);
  report("out of bounds");
}

TEST_F(Fault, MisalignedAccess) {
  EXPECT_EQ(run("ld.global.v2.u32 {%r2,%r3}, [%rd0+4];"),
            status::MisalignedAddress);
  EXPECT_THAT(report("misaligned access").message, HasSubstr("multiple of 8"));
  EXPECT_EQ(run("st.shared.u32 [tile+2], %r0;", 1, sharedTile),
            status::MisalignedAddress);
  report("misaligned access");
}

TEST_F(Fault, WriteToReadOnlyBuffer) {
  EXPECT_EQ(run("st.global.u32 [%rd0], %r0;", 1), status::IllegalAddress);
  EXPECT_THAT(report("write to a read-only buffer").message,
              HasSubstr("in, which is read-only"));
}

TEST_F(Fault, ConstantVariablesCannotBeWritten) {
  EXPECT_EQ(run("mov.u64 %rd4, table; st.global.u32 [%rd4], %r0;", 1,
                ".const .align 4 .u32 table[2] = {1, 2};\n"),
            status::IllegalAddress);
  EXPECT_THAT(report("write to a read-only buffer").message,
              HasSubstr("table"));
}

TEST_F(Fault, UseOfFreedMemory) {
  ASSERT_TRUE(session.load(ptxSnippet("ld.global.u32 %r2, [%rd0];")));
  cuda::DevicePtr in = 0;
  ASSERT_EQ(session.driver.memAlloc(&in, 256), status::Success);
  ASSERT_EQ(session.driver.memFree(in), status::Success);
  EXPECT_EQ(session.driver.memFree(in), status::InvalidValue);
  EXPECT_EQ(session.launch("test", {}, in, in, 0u), status::IllegalAddress);
  report("use of freed memory");
}

TEST_F(Fault, UndefinedRegisters) {
  // As an address, a stored value or a branch; copying it is no fault.
  EXPECT_EQ(run("ld.global.u32 %r2, [%rd9];"), status::IllegalAddress);
  EXPECT_THAT(session.reportText(), HasSubstr("uninitialised register"));
  EXPECT_EQ(run("add.s32 %r4, %r9, 1; mov.u32 %r5, %r4;\n"
                "st.global.u32 [%rd1], %r5;",
                1),
            status::LaunchFailed);
  report("uninitialised register");
  EXPECT_EQ(run("@%p9 bra L; mov.u32 %r2, 1;\nL:\n"), status::LaunchFailed);
  report("uninitialised register");
  EXPECT_EQ(run("setp.eq.u32 %p1, %r0, %r0; selp.b32 %r3, %r0, %r9, %p1;\n"
                "st.global.u32 [%rd1], %r3; mov.u32 %r4, %r9;",
                1),
            status::Success)
      << session.reportText();
}

// Compilers put words together of which they read a part, and do not care what
// the rest is. Register %r9 is never written.
TEST_F(Fault, UndefinedBytes) {
  const char *word = "prmt.b32 %r4, %r0, %r9, 0x5410;\n"; // Half of each.
  auto afterStoring = [&](const char *text) {
    return run(fmt::format("{}{}\nst.global.u32 [%rd1], %r5;", word, text), 1);
  };
  for (const char *fine : {
           "mov.b32 %r6, 3; mov.b32 %r7, %r4;\n"
           "dp2a.lo.u32.u32 %r5, %r6, %r7, %r6;",
           "and.b32 %r5, %r4, 65535;",
           "prmt.b32 %r5, %r4, %r9, 0x1010;",
           "mov.b32 {%h1, %h2}, %r4; mov.b32 %r5, {%h1, %h1};",
           "cvt.u16.u32 %h1, %r4; cvt.u32.u16 %r5, %h1;",
           "mov.b64 %rd4, {%r0, %r9}; mov.b64 {%r5, %r6}, %rd4;",
       })
    EXPECT_EQ(afterStoring(fine), status::Success) << fine << "\n"
                                                   << session.reportText();
  for (const char *fault : {
           "mov.b32 %r5, %r4;",
           "mov.b32 %r6, 3; dp2a.hi.u32.u32 %r5, %r6, %r4, %r6;",
           "and.b32 %r5, %r4, 0x1ffff;",
           "prmt.b32 %r5, %r0, %r4, 0x6510;",
           "prmt.b32 %r5, %r0, %r0, %r4;",
           "mov.b32 {%h1, %h2}, %r4; mov.b32 %r5, {%h1, %h2};",
           "shr.u32 %r5, %r4, 16;",
           // Nothing is left of what was defined.
           "add.s32 %r4, %r9, 1; and.b32 %r5, %r4, 65535;",
       }) {
    EXPECT_EQ(afterStoring(fault), status::LaunchFailed) << fault;
    report("uninitialised register");
  }
}

TEST_F(Fault, DivergentBarrier) {
  EXPECT_EQ(run("setp.lt.u32 %p1, %r0, 7;\n@%p1 bra L;\nbar.sync 0;\nL:\n"
                "bar.sync 0;\n"),
            status::LaunchFailed);
  EXPECT_THAT(report("divergent barrier").message,
              HasSubstr("25 of the warp's 32 threads"));
}

TEST_F(Fault, DifferentBarriersForDifferentWarps) {
  EXPECT_EQ(run("setp.lt.u32 %p1, %r0, 32;\n@%p1 bra L;\nbar.sync 0;\nbra M;\n"
                "L:\nbar.sync 0;\nM:\n"),
            status::LaunchFailed);
  EXPECT_THAT(report("divergent barrier").message,
              HasSubstr("different barriers"));
}

TEST_F(Fault, WarpsThatExitedAreNotWaitedFor) {
  EXPECT_EQ(run("setp.lt.u32 %p1, %r0, 32;\n@%p1 ret;\nbar.sync 0;"),
            status::Success)
      << session.reportText();
}

TEST_F(Fault, BarrierThatNeverCompletesIsADeadlock) {
  EXPECT_EQ(run("setp.lt.u32 %p1, %r0, 32;\n@%p1 bra L;\nbar.sync 1, 64;\n"
                "L:\nbar.sync 0;"),
            status::LaunchFailed);
  report("deadlock");
}

TEST_F(Fault, EndlessLoopIsStopped) {
  sim::SimOptions options;
  options.watchdog = 10000;
  session.setOptions(options);
  EXPECT_EQ(run("L:\nadd.s32 %r2, %r0, 1;\nbra L;"), status::LaunchFailed);
  EXPECT_THAT(report("deadlock").message, HasSubstr("10000"));
}

TEST_F(Fault, ShuffleWithoutAllMembers) {
  EXPECT_EQ(run("setp.lt.u32 %p1, %r0, 7;\n@%p1 bra L;\n"
                "shfl.sync.bfly.b32 %r2, %r0, 1, 31, -1;\nL:\n",
                32),
            status::LaunchFailed);
  report("divergent collective");
}

TEST_F(Fault, MatrixInstructionInDivergentCode) {
  EXPECT_EQ(run("setp.lt.u32 %p1, %r0, 7;\n@%p1 bra L;\n"
                "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r2}, [tile];\nL:\n",
                32, sharedTile),
            status::LaunchFailed);
  report("divergent collective");
}

TEST_F(Fault, ExitWithPendingCopy) {
  EXPECT_EQ(run("mov.u32 %r2, tile;\n"
                "cp.async.ca.shared.global [%r2], [%rd0], 4;\n"
                "cp.async.commit_group;",
                1, sharedTile),
            status::LaunchFailed);
  report("exit with pending work");
}

TEST_F(Fault, ReadOfCopyInFlight) {
  EXPECT_EQ(run("mov.u32 %r2, tile;\n"
                "cp.async.ca.shared.global [%r2], [%rd0], 4;\n"
                "cp.async.commit_group;\ncp.async.wait_group 1;\n"
                "ld.shared.u32 %r3, [%r2];\ncp.async.wait_all;",
                1, sharedTile),
            status::LaunchFailed);
  report("asynchronous copy in flight");
}

TEST_F(Fault, CopyIsVisibleToOthersOnlyAfterABarrier) {
  EXPECT_EQ(run("mov.u32 %r2, tile;\nsetp.ge.u32 %p1, %r0, 32;\n"
                "@%p1 bra L;\nshl.b32 %r3, %r0, 2;\nadd.s32 %r3, %r3, %r2;\n"
                "cp.async.ca.shared.global [%r3], [%rd0], 4;\n"
                "cp.async.wait_all;\nbar.arrive 2, 64;\nbra M;\n"
                "L:\nbar.sync 2, 64;\nld.shared.u32 %r4, [%r2];\nM:\n",
                64, sharedTile),
            status::Success)
      << session.reportText();
}

TEST_F(Fault, ReportsPointAtTheSource) {
  std::string module = ".file 1 \"layer.qn\"\n.file 2 \"wrappers.cuh\"\n";
  EXPECT_EQ(run(".loc 1 40 3\nmov.u32 %r2, 1;\n"
                ".loc 2 7 9, function_name $L__info_string0, inlined_at 1 41 "
                "5\nst.global.u32 [%rd0], %r2;",
                1, module),
            status::IllegalAddress);
  Diagnostic fault = report("write to a read-only buffer");
  EXPECT_EQ(fault.file, "wrappers.cuh");
  EXPECT_EQ(fault.line, 7u);
  EXPECT_EQ(fault.column, 9u);
  EXPECT_THAT(fault.notes, testing::Contains(HasSubstr("st.global.u32")));
  EXPECT_THAT(fault.notes,
              testing::Contains(HasSubstr("inlined at layer.qn:41")));
}

TEST_F(Fault, TheWorkingDirectoryIsLeftOut) {
  std::string here = std::filesystem::current_path().string();
  EXPECT_EQ(run(".loc 1 3 1\nst.global.u32 [%rd0], %r0;", 1,
                ".file 1 \"" + here + "/layer.qn\"\n"),
            status::IllegalAddress);
  EXPECT_EQ(report("write to a read-only buffer").file, "layer.qn");
}

TEST_F(Fault, OvertakenLanesReachTheBarrierInTime) {
  // Thread 0 spins until thread 1 of its warp has passed: forward progress
  // within a warp, and no false report at the barrier that follows.
  EXPECT_EQ(run("setp.ne.u32 %p1, %r0, 0;\n@%p1 bra OTHERS;\n"
                "WAIT:\nld.volatile.global.u32 %r2, [%rd1];\n"
                "setp.eq.u32 %p2, %r2, 0;\n@%p2 bra WAIT;\nbra JOIN;\n"
                "OTHERS:\nmov.u32 %r3, 1;\nst.volatile.global.u32 [%rd1], "
                "%r3;\nJOIN:\nbar.sync 0;",
                32),
            status::Success)
      << session.reportText();
}

TEST_F(Fault, AFaultIsToldOnceAndCounted) {
  run("mov.u32 %r2, 0;\nL:\nst.global.u32 [%rd0], %r2;\n"
      "add.s32 %r2, %r2, 1;\nsetp.lt.u32 %p1, %r2, 50;\n@%p1 bra L;",
      1);
  report("write to a read-only buffer");
  EXPECT_EQ(session.device.lastFaultCount(), 50u);
}

TEST_F(Fault, ChecksCanBeSwitchedOff) {
  sim::SimOptions options;
  options.checks = false;
  session.setOptions(options);
  EXPECT_EQ(run("ld.shared.u32 %r2, [tile];", 32, sharedTile), status::Success);
  // Bounds are always checked.
  EXPECT_EQ(run("ld.global.u32 %r2, [%rd0+256];"), status::IllegalAddress);
}

//===----------------------------------------------------------------------===//
// The pipelined GEMM, with its PTX edited
//===----------------------------------------------------------------------===//

class GemmFault : public testing::Test {
protected:
  /// The reports of a ragged problem under several schedules, and how often
  /// there was one.
  std::string run(const std::string &ptx, int seeds, int &found) {
    Session session;
    EXPECT_TRUE(session.load(ptx)) << session.reportText();
    int m = 70, n = 88, k = 400;
    auto a = session.buffer("a", std::vector<int8_t>(size_t(m) * k, 1), true);
    auto b = session.buffer("b", std::vector<int8_t>(size_t(n) * k, 1), true);
    auto c = session.buffer("c", std::vector<int32_t>(size_t(m) * n));
    Session::Shape shape;
    shape.grid[0] = shape.grid[1] = 2;
    shape.block[0] = 128;
    shape.dynamicShared = 3 * 128 * 64;
    std::string text;
    found = 0;
    for (int seed = 1; seed <= seeds; ++seed) {
      sim::SimOptions options;
      options.seed = static_cast<uint64_t>(seed);
      options.watchdog = 1 << 20;
      session.setOptions(options);
      if (session.launch("gemm_s8", shape, a, b, c, m, n, k) !=
          status::Success) {
        ++found;
        text += session.reportText();
      }
    }
    return text;
  }
  std::string ptx = goldenPtx("gemm", "sm_80");
  size_t begin = ptx.find(".entry gemm_s8");
  /// Edits the n-th occurrence inside the int8 kernel.
  std::string edited(const std::string &from, const std::string &to, size_t n) {
    return ptx.substr(0, begin) + replaced(ptx.substr(begin), from, to, n);
  }
};

TEST_F(GemmFault, UneditedIsClean) {
  int found = 0;
  EXPECT_EQ(run(ptx, 6, found), "");
}

TEST_F(GemmFault, EveryBarrierIsNeeded) {
  // In the order of the text: the loop's, and the epilogue's two.
  for (size_t n = 0; n < 3; ++n) {
    int found = 0;
    std::string text = run(edited("bar.sync", "// bar.sync", n), 6, found);
    EXPECT_EQ(found, 6) << "barrier " << n;
    EXPECT_THAT(text, HasSubstr("race")) << "barrier " << n;
    EXPECT_THAT(text, HasSubstr("gemm.cu:")) << "places are given";
  }
}

TEST_F(GemmFault, WaitingForTooFewGroups) {
  int found = 0;
  std::string text = run(
      edited("cp.async.wait_group 1;", "cp.async.wait_group 2;", 0), 6, found);
  EXPECT_EQ(found, 6);
  EXPECT_THAT(text, HasSubstr("asynchronous copy in flight"));
}

TEST_F(GemmFault, DroppedWait) {
  int found = 0;
  std::string text =
      run(edited("cp.async.wait_group 1;", "// none", 0), 6, found);
  EXPECT_EQ(found, 6);
  EXPECT_THAT(text, HasSubstr("asynchronous copy in flight"));
}

TEST_F(GemmFault, DroppedGuardOfAStore) {
  // The guarded branch around the last store falls through.
  size_t last = ptx.find(".entry", begin + 1);
  if (last == std::string::npos)
    last = ptx.size();
  size_t store = ptx.rfind("st.global", last);
  size_t guard = ptx.rfind("@%p", store);
  ASSERT_NE(guard, std::string::npos);
  std::string text = ptx;
  text.replace(guard, ptx.find(';', guard) - guard, "// unguarded");
  int found = 0;
  std::string reports = run(text, 2, found);
  EXPECT_EQ(found, 2);
  EXPECT_THAT(reports, HasSubstr("out of bounds"));
  EXPECT_THAT(reports, HasSubstr("of c ("));
}

} // namespace
