//===- ControlFlowTest.cpp - Branches by index ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::simtest;
using testing::HasSubstr;
namespace status = quern::cuda::status;

namespace {

class ControlFlow : public testing::Test {
protected:
  /// Runs a snippet on "in" (64 words: 7 i mod 5) and "out" (64 words).
  cuda::DriverStatus run(const std::string &body, unsigned threads = 64) {
    EXPECT_TRUE(session.load(ptxSnippet(body))) << session.reportText();
    std::vector<uint32_t> words(64);
    for (uint32_t i = 0; i < 64; ++i)
      words[i] = 7 * i % 5;
    auto in = session.buffer("in", words, true);
    out = session.buffer("out", std::vector<uint32_t>(64, 0));
    Session::Shape shape;
    shape.block[0] = threads;
    return session.launch("test", shape, in, out, 64u);
  }
  Session session;
  cuda::DevicePtr out = 0;
};

// A switch as compilers write it: a bound check, then a jump through a list
// whose labels stand before and behind it. Case 3 falls through to case 0,
// case 4 is the default.
const char *const choice = R"(
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd3, %rd0, %rd2;
    add.s64 %rd4, %rd1, %rd2;
    ld.global.u32 %r2, [%rd3];
    mov.u32 %r3, 0;
    bra START;
TWO:
    add.u32 %r3, %r3, 300;
    bra DONE;
START:
    setp.gt.u32 %p1, %r2, 3;
    @%p1 bra OTHER;
list: .branchtargets
    ZERO,
    ONE,
    TWO, THREE;
    brx.idx %r2, list;
OTHER:
    mov.u32 %r3, 5000;
    bra DONE;
ONE:
    add.u32 %r3, %r3, 20;
    bra DONE;
THREE:
    add.u32 %r3, %r3, 4000;
ZERO:
    add.u32 %r3, %r3, 1;
DONE:
    shfl.sync.bfly.b32 %r4, %r3, 1, 31, -1;
    st.global.u32 [%rd4], %r4;)";

TEST_F(ControlFlow, BranchesByIndexAndJoins) {
  ASSERT_EQ(run(choice), status::Success) << session.reportText();
  constexpr uint32_t values[] = {1, 20, 300, 4001, 5000};
  auto got = session.read<uint32_t>(out, 64);
  for (uint32_t i = 0; i < 64; ++i)
    EXPECT_EQ(got[i], values[7 * (i ^ 1) % 5]) << i;
}

TEST_F(ControlFlow, GuardedBranchByIndex) {
  // Odd threads take it, the rest falls through.
  ASSERT_EQ(run(R"(
    mul.wide.u32 %rd2, %r0, 4;
    add.s64 %rd4, %rd1, %rd2;
    and.b32 %r2, %r0, 1;
    setp.eq.u32 %p1, %r2, 1;
    shr.u32 %r3, %r0, 5;
    mov.u32 %r4, 7;
list: .branchtargets A, B;
    @%p1 brx.idx.uni %r3, list;
    bra DONE;
A:  mov.u32 %r4, 8;
    bra DONE;
B:  mov.u32 %r4, 9;
DONE:
    st.global.u32 [%rd4], %r4;)"),
            status::Success)
      << session.reportText();
  auto got = session.read<uint32_t>(out, 64);
  for (uint32_t i = 0; i < 64; ++i)
    EXPECT_EQ(got[i], i % 2 == 0 ? 7u : 8 + i / 32) << i;
}

TEST_F(ControlFlow, IndexBeyondTheList) {
  std::string unchecked = choice;
  unchecked = replaced(unchecked, "@%p1 bra OTHER;", "");
  EXPECT_EQ(run(unchecked), status::LaunchFailed);
  EXPECT_THAT(session.reportText(), HasSubstr("invalid operation: index 4 of a "
                                              "branch with 4 targets"));
}

TEST_F(ControlFlow, IndexNeverWritten) {
  run("list: .branchtargets A, B;\nbrx.idx %r9, list;\nA:\nB:\n");
  EXPECT_THAT(session.reportText(),
              HasSubstr("uninitialised register: the index was never written"));
}

TEST_F(ControlFlow, RefusesWrongLists) {
  auto refusal = [&](const std::string &body) {
    EXPECT_FALSE(session.load(ptxSnippet(body))) << body;
    return session.reportText();
  };
  EXPECT_THAT(refusal("brx.idx %r0, list;\nlist: .branchtargets A;\nA:\n"),
              HasSubstr("no .branchtargets before this line declares 'list'"));
  EXPECT_THAT(refusal("list: .branchtargets A, NOWHERE;\n"
                      "brx.idx %r0, list;\nA:\n"),
              HasSubstr("label 'NOWHERE' does not exist"));
  EXPECT_THAT(refusal("list: .branchtargets A, 3;\nA:\n"),
              HasSubstr(".branchtargets: expected labels"));
  EXPECT_THAT(refusal("list: .branchtargets A;\nlist: .branchtargets A;\nA:\n"),
              HasSubstr("label 'list' is defined twice"));
  EXPECT_THAT(refusal("list: .branchtargets A;\nbrx.idx %rd0, list;\nA:\n"),
              HasSubstr("brx.idx"));
  EXPECT_THAT(refusal("list: .branchtargets A\nbrx.idx %r0, list;\nA:\n"),
              HasSubstr("expected ';'"));
  EXPECT_THAT(refusal("p: .callprototype (.param .b32 _) _ ();\n"),
              HasSubstr("indirect calls are not supported"));
}

} // namespace
