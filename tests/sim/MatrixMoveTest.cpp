//===- MatrixMoveTest.cpp - ldmatrix, stmatrix and movmatrix --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Every byte of shared memory is numbered by its place, so that each byte of a
// fragment tells where it came from. Expected places are those of the figures
// in the PTX ISA.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/PtxSnippet.h"
#include "tests/sim/SimHarness.h"

#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::simtest;
namespace status = quern::cuda::status;
using testing::HasSubstr;

namespace {

const char tile[] = ".shared .align 128 .b8 tile[1024];\n";

/// Rows lie 32 bytes apart, so that 32 of them fill the tile; a row's data is
/// its first 16 bytes.
constexpr unsigned pitch = 32;

struct Form {
  const char *opcode;
  const char *target;
  unsigned registers;
  /// The row and element that byte (or 16-bit element) `b` of register `r` of
  /// lane (g, t) holds.
  std::function<std::pair<unsigned, unsigned>(unsigned r, unsigned g,
                                              unsigned t, unsigned b)>
      place;
  unsigned bits = 8; ///< In memory.
};

std::pair<unsigned, unsigned> plainRows(unsigned r, unsigned g, unsigned t,
                                        unsigned b) {
  return {8 * r + g, 4 * t + b};
}
std::pair<unsigned, unsigned> transposedHalves(unsigned r, unsigned g,
                                               unsigned t, unsigned b) {
  return {8 * r + 2 * t + b / 2, 2 * g + b % 2};
}
std::pair<unsigned, unsigned> transposedBytes(unsigned r, unsigned g,
                                              unsigned t, unsigned b) {
  return {16 * (r / 2) + 4 * t + b, g + 8 * (r % 2)};
}
std::pair<unsigned, unsigned> storedBytes(unsigned r, unsigned g, unsigned t,
                                          unsigned b) {
  return {8 * r + 2 * t + b % 2, g + 8 * (b / 2)};
}

sim::SimTarget targetOf(const std::string &name) {
  for (auto target : {sim::SimTarget::Sm80, sim::SimTarget::Sm90a,
                      sim::SimTarget::Sm100a, sim::SimTarget::Sm120a})
    if (sim::name(target) == name)
      return target;
  return sim::SimTarget::Sm89;
}

std::string registerList(unsigned count) {
  std::string list = "{%r10";
  for (unsigned i = 1; i < count; ++i)
    list += ", %r" + std::to_string(10 + i);
  return list + "}";
}

/// The byte that a load should find.
unsigned expectedByte(const std::vector<uint8_t> &memory, unsigned row,
                      unsigned element, unsigned bits) {
  unsigned value = 0;
  for (unsigned i = 0; i < bits; ++i) {
    unsigned bit = element * bits + i;
    value |= (memory[row * pitch + bit / 8] >> bit % 8 & 1u) << i;
  }
  return value;
}

TEST(MatrixMove, LoadsFollowTheFigures) {
  const Form forms[] = {
      {"m8n8.x1.shared.b16", "sm_80", 1, plainRows},
      {"m8n8.x2.shared.b16", "sm_80", 2, plainRows},
      {"m8n8.x4.shared::cta.b16", "sm_80", 4, plainRows},
      {"m8n8.x1.trans.shared.b16", "sm_80", 1, transposedHalves},
      {"m8n8.x2.trans.shared.b16", "sm_90a", 2, transposedHalves},
      {"m8n8.x4.trans.shared.b16", "sm_90a", 4, transposedHalves},
      {"m16n16.x1.trans.shared.b8", "sm_100a", 2, transposedBytes},
      {"m16n16.x2.trans.shared.b8", "sm_120a", 4, transposedBytes},
      {"m16n16.x1.trans.shared.b8x16.b6x16_p32", "sm_100a", 2, transposedBytes,
       6},
      {"m16n16.x2.trans.shared.b8x16.b4x16_p64", "sm_120a", 4, transposedBytes,
       4},
      {"m8n16.x1.shared.b8x16.b4x16_p64", "sm_100a", 1, plainRows, 4},
      {"m8n16.x2.shared.b8x16.b6x16_p32", "sm_120a", 2, plainRows, 6},
      {"m8n16.x4.shared.b8x16.b6x16_p32", "sm_120a", 4, plainRows, 6},
  };
  for (const Form &form : forms) {
    SCOPED_TRACE(form.opcode);
    std::string body =
        "mov.u32 %r2, tile;\nshl.b32 %r3, %r0, 5;\nadd.s32 %r2, %r2, %r3;\n"
        "mul.wide.u32 %rd4, %r0, 32;\nadd.s64 %rd4, %rd0, %rd4;\n"
        "ld.global.v4.u32 {%r4,%r5,%r6,%r7}, [%rd4];\n"
        "st.shared.v4.u32 [%r2], {%r4,%r5,%r6,%r7};\nbar.warp.sync -1;\n"
        "ldmatrix.sync.aligned." +
        std::string(form.opcode) + " " + registerList(form.registers) +
        ", [%r2];\nmul.wide.u32 %rd5, %r0, 4;\nadd.s64 %rd5, %rd1, %rd5;\n";
    for (unsigned i = 0; i < form.registers; ++i)
      body += "st.global.u32 [%rd5+" + std::to_string(i * 128) + "], %r" +
              std::to_string(10 + i) + ";\n";
    Session session(targetOf(form.target));
    ASSERT_TRUE(session.load(ptxSnippet(body, tile, form.target)))
        << session.reportText();
    std::vector<uint8_t> memory(1024);
    for (unsigned i = 0; i < memory.size(); ++i)
      memory[i] = static_cast<uint8_t>(i * 37 + i / 256);
    auto in = session.buffer("in", memory, true);
    auto out = session.buffer("out", std::vector<uint8_t>(512));
    ASSERT_EQ(session.launch("test", {}, in, out, 0u), status::Success)
        << session.reportText();
    auto got = session.read<uint8_t>(out, 512);
    for (unsigned r = 0; r < form.registers; ++r)
      for (unsigned lane = 0; lane < 32; ++lane)
        for (unsigned b = 0; b < 4; ++b) {
          auto [row, element] = form.place(r, lane / 4, lane % 4, b);
          ASSERT_EQ(got[r * 128 + lane * 4 + b],
                    expectedByte(memory, row, element, form.bits))
              << r << " " << lane << " " << b;
        }
  }
}

TEST(MatrixMove, StoresFollowTheFigures) {
  const Form forms[] = {
      {"m8n8.x1.shared.b16", "sm_90a", 1, plainRows},
      {"m8n8.x2.trans.shared.b16", "sm_90a", 2, transposedHalves},
      {"m8n8.x4.trans.shared.b16", "sm_90a", 4, transposedHalves},
      {"m16n8.x1.trans.shared.b8", "sm_100a", 1, storedBytes},
      {"m16n8.x2.trans.shared.b8", "sm_120a", 2, storedBytes},
      {"m16n8.x4.trans.shared.b8", "sm_120a", 4, storedBytes},
  };
  for (const Form &form : forms) {
    SCOPED_TRACE(form.opcode);
    std::string body =
        "mov.u32 %r2, tile;\nshl.b32 %r3, %r0, 5;\nadd.s32 %r2, %r2, %r3;\n"
        "mov.u32 %r4, 0;\nst.shared.v4.u32 [%r2], {%r4,%r4,%r4,%r4};\n"
        "mul.wide.u32 %rd4, %r0, 4;\nadd.s64 %rd4, %rd0, %rd4;\n";
    for (unsigned i = 0; i < form.registers; ++i)
      body += "ld.global.u32 %r" + std::to_string(10 + i) + ", [%rd4+" +
              std::to_string(i * 128) + "];\n";
    body += "bar.warp.sync -1;\nstmatrix.sync.aligned." +
            std::string(form.opcode) + " [%r2], " +
            registerList(form.registers) +
            ";\nbar.warp.sync -1;\nld.shared.v4.u32 {%r4,%r5,%r6,%r7}, [%r2];\n"
            "mul.wide.u32 %rd5, %r0, 16;\nadd.s64 %rd5, %rd1, %rd5;\n"
            "st.global.v4.u32 [%rd5], {%r4,%r5,%r6,%r7};\n";
    Session session(targetOf(form.target));
    ASSERT_TRUE(session.load(ptxSnippet(body, tile, form.target)))
        << session.reportText();
    std::vector<uint8_t> fragments(512);
    for (unsigned i = 0; i < fragments.size(); ++i)
      fragments[i] = static_cast<uint8_t>(i * 41 + i / 256 + 1);
    auto in = session.buffer("in", fragments, true);
    auto out = session.buffer("out", std::vector<uint8_t>(512));
    ASSERT_EQ(session.launch("test", {}, in, out, 0u), status::Success)
        << session.reportText();
    auto got = session.read<uint8_t>(out, 512);
    std::vector<uint8_t> expected(512);
    for (unsigned r = 0; r < form.registers; ++r)
      for (unsigned lane = 0; lane < 32; ++lane)
        for (unsigned b = 0; b < 4; ++b) {
          auto [row, element] = form.place(r, lane / 4, lane % 4, b);
          expected[row * 16 + element] = fragments[r * 128 + lane * 4 + b];
        }
    EXPECT_EQ(got, expected);
  }
}

TEST(MatrixMove, Movmatrix) {
  std::string body = "mul.wide.u32 %rd4, %r0, 4;\nadd.s64 %rd5, %rd0, %rd4;\n"
                     "add.s64 %rd6, %rd1, %rd4;\nld.global.u32 %r4, [%rd5];\n"
                     "movmatrix.sync.aligned.m8n8.trans.b16 %r4, %r4;\n"
                     "st.global.u32 [%rd6], %r4;\n";
  Session session;
  ASSERT_TRUE(session.load(ptxSnippet(body))) << session.reportText();
  std::vector<uint16_t> matrix(64);
  for (unsigned i = 0; i < 64; ++i)
    matrix[i] = static_cast<uint16_t>(i);
  auto in = session.buffer("in", matrix, true);
  auto out = session.buffer("out", std::vector<uint16_t>(64));
  ASSERT_EQ(session.launch("test", {}, in, out, 0u), status::Success);
  auto got = session.read<uint16_t>(out, 64);
  for (unsigned i = 0; i < 64; ++i)
    EXPECT_EQ(got[i], i % 8 * 8 + i / 8);
}

TEST(MatrixMove, WhatTheTargetLacksIsRefused) {
  struct Case {
    const char *text, *target, *says;
  };
  for (const Case &c : std::initializer_list<Case>{
           {"stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r2], {%r3};", "sm_80",
            "sm_90"},
           {"ldmatrix.sync.aligned.m16n16.x1.trans.shared.b8 {%r3,%r4}, [%r2];",
            "sm_90a", "sm_100a"},
           {"ldmatrix.sync.aligned.m16n16.x1.shared.b8 {%r3,%r4}, [%r2];",
            "sm_100a", "does not exist"},
           {"ldmatrix.sync.aligned.m8n16.x1.shared.b8x16 {%r3}, [%r2];",
            "sm_100a", "b6x16_p32"}}) {
    Session session(targetOf(c.target));
    EXPECT_FALSE(session.load(ptxSnippet(c.text, "", c.target))) << c.text;
    EXPECT_THAT(session.reportText(), HasSubstr(c.says));
  }
}

} // namespace
