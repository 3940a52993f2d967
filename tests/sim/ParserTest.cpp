//===- ParserTest.cpp - PTX text, good and bad ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/PtxParser.h"
#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

using namespace quern;
using namespace quern::simtest;
using testing::HasSubstr;
namespace status = quern::cuda::status;

namespace {

TEST(PtxParser, ReadsModuleItems) {
  Result<sim::ptx::Module> module = sim::ptx::parse(R"(
.version 9.0
.target sm_90a, debug
.address_size 64
.file 1 "a.cu", 12, 34
.const .align 4 .b8 table[4] = {1, 2, 3, 0xff};
.global .align 8 .f32 weights[2][2] = {{0f3F800000, 0f40000000}, {1, 2}};
.extern .shared .align 16 .b8 dyn[];
.visible .entry k(.param .align 8 .b8 s[24], .param .u64 .ptr .global .align 16 p)
.maxntid 128, 1, 1
.minnctapersm 2
{
  .reg .pred %p<3>;
  .reg .b32 %r<4>, %single;
  .loc 1 3 5
  ld.param.u32 %r1, [s+4];
  { .reg .b32 t; add.s32 t, %r1, -0x10; }
$L__BB0_1:
  @!%p1 bra.uni $L__BB0_1;
  mov.b64 {%r1, _}, %rd1;
  ret;
}
.section .debug_str { .b8 65, 66 }
)");
  ASSERT_TRUE(module) << module.error().render();
  EXPECT_EQ(module->version, "9.0");
  EXPECT_EQ(module->target, "sm_90a");
  EXPECT_EQ(module->fileName(1), "a.cu");
  ASSERT_EQ(module->variables.size(), 3u);
  EXPECT_EQ(module->variables[0].initializer.size(), 4u);
  EXPECT_EQ(module->variables[1].elements, 4u);
  ASSERT_EQ(module->variables[1].initializer.size(), 4u);
  EXPECT_EQ(module->variables[1].initializer[1].value, 0x40000000u);
  EXPECT_TRUE(module->variables[2].isExtern);
  ASSERT_EQ(module->functions.size(), 1u);
  const sim::ptx::Function &function = module->functions[0];
  EXPECT_EQ(function.maxThreads, 128u);
  ASSERT_EQ(function.parameters.size(), 2u);
  EXPECT_EQ(function.parameters[0].align, 8u);
  EXPECT_EQ(function.parameters[0].elements, 24u);
  using Kind = sim::ptx::Statement::Kind;
  std::vector<Kind> kinds;
  for (const auto &statement : function.body)
    kinds.push_back(statement.kind);
  EXPECT_THAT(kinds,
              testing::ElementsAre(
                  Kind::Declaration, Kind::Declaration, Kind::Declaration,
                  Kind::Instruction, Kind::ScopeBegin, Kind::Declaration,
                  Kind::Instruction, Kind::ScopeEnd, Kind::Label,
                  Kind::Instruction, Kind::Instruction, Kind::Instruction));
  EXPECT_EQ(module->locations[function.body[3].location].line, 3u);
  EXPECT_EQ(static_cast<int64_t>(function.body[6].operands[2].value), -16);
  EXPECT_TRUE(function.body[9].guardNegated);
}

/// Loads the text and returns the error's message; the line goes to `line`.
std::string refusal(const std::string &ptx, unsigned &line) {
  Session session;
  if (session.load(ptx))
    return "accepted";
  std::vector<Diagnostic> reports = session.reports();
  if (reports.size() != 1)
    return "no report";
  line = reports[0].line;
  return reports[0].message;
}

TEST(PtxParser, NamesWhatItDoesNotKnow) {
  unsigned line = 0;
  EXPECT_THAT(refusal(ptxSnippet("frobnicate.u32 %r1, %r2;"), line),
              HasSubstr("does not know instruction 'frobnicate.u32'"));
  EXPECT_EQ(line, 19u);
  EXPECT_THAT(refusal(ptxSnippet("add.frob.u32 %r1, %r2, %r3;"), line),
              HasSubstr("modifier '.frob'"));
  EXPECT_THAT(refusal(ptxSnippet("add.u32 %r1, %r2, %r99;"), line),
              HasSubstr("'%r99' is not declared"));
  EXPECT_THAT(refusal(ptxSnippet("add.u32 %r1, %r2, %rd3;"), line),
              HasSubstr("%rd3"));
  EXPECT_THAT(refusal(ptxSnippet("add.u32 %r1, %r2;"), line),
              HasSubstr("2 operands"));
  EXPECT_THAT(refusal(ptxSnippet("bra NOWHERE;"), line),
              HasSubstr("'NOWHERE' does not exist"));
  EXPECT_THAT(refusal(ptxSnippet("ld.global.u32 %r1, [nothing];"), line),
              HasSubstr("'nothing' is not declared"));
  EXPECT_THAT(refusal(ptxSnippet("call (%r1), f, (%r2);"), line),
              HasSubstr("'f'"));
  EXPECT_THAT(refusal(ptxSnippet("L:\nL:\n"), line), HasSubstr("twice"));
}

TEST(PtxParser, RefusesWhatIsNotSimulated) {
  unsigned line = 0;
  for (const char *text :
       {"mbarrier.init.shared::global.b64 [%r1], 1;",
        "wgmma.fence.sync.aligned;", "barrier.cluster.arrive;",
        "cp.async.bulk.commit_group;", "tcgen05.wait::ld.sync.aligned;",
        "setmaxnreg.inc.sync.aligned.u32 232;", "mapa.u32 %r1, %r2, %r3;",
        "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
        "{%r1,%r2,%r3,%r4}, {%r1,%r2,%r3,%r4}, {%r1,%r2}, "
        "{%r1,%r2,%r3,%r4};"}) {
    std::string message = refusal(ptxSnippet(text), line);
    EXPECT_NE(message, "accepted") << text;
    EXPECT_EQ(line, 19u) << text;
  }
}

TEST(PtxParser, RefusesRecursion) {
  unsigned line = 0;
  std::string function = ".func f(.param .b32 x)\n{\n.param .b32 y;\n"
                         "call.uni f, (y);\nret;\n}\n";
  EXPECT_THAT(
      refusal(ptxSnippet(".param .b32 p;\ncall.uni f, (p);", function), line),
      HasSubstr("recursive"));
}

TEST(PtxParser, SyntaxErrorsHaveALine) {
  for (const char *text :
       {".version 8.0\n.target sm_80\n.entry k( {", "garbage",
        ".version 8.0\n.entry k()\n{\nadd.u32 %r1 %r2;\n}\n",
        ".version 8.0\n.entry k()\n{\nadd.u32 %r1, 0f12;\n}\n",
        ".version 8.0\n.entry k()\n{\n.reg .b32 %r<99999999999>;\n}\n",
        ".version 8.0\n.entry k()\n{\nmov.u32 %r1, 99999999999999999999;\n}\n",
        ".version 8.0\n.shared .b8 x[99999999999999];\n", ".address_size 32\n",
        ".entry k()\n{\n{{{{\n", ".global .b8 x[2] = {1,2,3};"}) {
    Result<sim::ptx::Module> module = sim::ptx::parse(text);
    ASSERT_FALSE(module) << text;
    EXPECT_EQ(module.error().code, Errc::InvalidSource);
    EXPECT_GT(module.error().line, 0u) << text;
  }
}

TEST(PtxParser, SizesAreBounded) {
  unsigned line = 0;
  EXPECT_NE(refusal(ptxSnippet(".reg .b64 %big<1000000>;"), line), "accepted");
  EXPECT_NE(refusal(ptxSnippet(".local .b8 big[100000000];"), line),
            "accepted");
  EXPECT_NE(refusal(ptxSnippet("", ".global .b8 big[4000000000];"), line),
            "accepted");
  EXPECT_NE(refusal(ptxSnippet("ld.shared.u32 %r1, [big];",
                               ".shared .b8 big[1000000];"),
                    line),
            "accepted");
}

/// Damages `text` at random: bytes changed, removed, doubled; lines swapped;
/// the end cut off.
std::string mutated(std::string text, std::mt19937 &random) {
  unsigned edits = 1 + random() % 2;
  for (unsigned i = 0; i < edits && !text.empty(); ++i) {
    size_t at = random() % text.size();
    switch (random() % 12) {
    case 0:
      text[at] = static_cast<char>(random());
      break;
    case 1:
      text.erase(at, 1 + random() % 20);
      break;
    case 2:
      text.insert(at, text.substr(random() % text.size(), random() % 60));
      break;
    case 3:
      text.resize(at);
      break;
    case 4:
      text[at] = ".,;{}[]()<>@!|%-0x"[random() % 18];
      break;
    case 5:
    case 6:
    case 7:
    case 8: {
      // A digit becomes another: registers, offsets and sizes change.
      size_t digit = text.find_first_of("0123456789", at);
      if (digit != std::string::npos)
        text[digit] = static_cast<char>('0' + random() % 10);
      break;
    }
    default: {
      size_t end = text.find('\n', at);
      if (end != std::string::npos)
        text.erase(at, end - at);
    }
    }
  }
  return text;
}

TEST(PtxParser, DamagedTextNeverCrashes) {
  std::string snippet = ptxSnippet(R"(
    .shared .align 16 .b8 tile[256];
    setp.lt.u32 %p1, %r0, 7;
    @%p1 bra L;
    cp.async.ca.shared.global [tile], [%rd0], 4;
    ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r2,%r3,%r4,%r5}, [tile];
    mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r2,%r3,%r4,%r5},
      {%r2,%r3,%r4,%r5}, {%r6,%r7}, {%r8,%r9,%r10,%r11};
    shfl.sync.bfly.b32 %r2|%p2, %r3, 1, 31, -1;
    atom.global.add.u32 %r2, [%rd1], 1;
    fma.rn.f32 %f1, %f2, 0f3F800000, %f3;
    bar.sync 0;
L:
    { .reg .b32 t; mov.u32 t, %tid.x; }
)",
                                   ".const .b32 table[2] = {1, 2};\n");
  std::string gemm = goldenPtx("gemm", "sm_80");
  {
    Session session;
    ASSERT_TRUE(session.load(snippet)) << session.reportText();
  }
  std::mt19937 random(20);
  unsigned accepted = 0;
  sim::SimOptions options;
  options.watchdog = 20000;
  for (unsigned i = 0; i < 600; ++i) {
    Session session;
    session.setOptions(options);
    if (!session.load(mutated(i % 8 ? snippet : gemm, random))) {
      ASSERT_FALSE(session.reports().empty());
      continue;
    }
    ++accepted;
    // What is still a program runs, rightly or not, without harm.
    if (i % 8 == 0)
      continue;
    auto in = session.buffer("in", std::vector<uint32_t>(64, 5));
    auto out = session.buffer("out", std::vector<uint32_t>(64, 0));
    session.tryLaunch("test", {}, in, out, 64u);
  }
  // Both outcomes occur, or the mutations are of no use.
  EXPECT_GT(accepted, 20u);
  EXPECT_LT(accepted, 580u);
}

TEST(PtxParser, TruncatedTextNeverCrashes) {
  std::string text = ptxSnippet("add.s32 %r2, %r1, %r0;\nbar.sync 0;",
                                ".const .b32 table[2] = {1, 2};\n");
  for (size_t length = 0; length < text.size(); ++length) {
    Session session;
    session.load(text.substr(0, length));
  }
}

} // namespace
