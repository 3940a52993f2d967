//===- RelocationTest.cpp - References within images ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Expected words are what an assembler writes for the instructions named beside
// them.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Relocations.h"

#include "llvm/BinaryFormat/ELF.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <vector>

using namespace quern;
using namespace llvm::ELF;
using cpugen::Relocation;
using testing::HasSubstr;

namespace {
constexpr uint64_t imageBytes = 0x4000;

struct Outcome {
  uint64_t word = 0;
  std::string error;
};

/// A word of so many bytes at `place`, after the relocation.
Outcome applied(llvm::Triple::ArchType architecture, uint32_t type,
                uint64_t word, uint64_t place, int64_t target,
                unsigned bytes = 4) {
  std::vector<std::byte> image(imageBytes);
  std::memcpy(&image[place], &word, bytes);
  Result<void> done = cpugen::apply(Relocation{type, "NAME", place, target},
                                    architecture, image);
  Outcome outcome;
  if (!done)
    outcome.error = done.error().message;
  std::memcpy(&outcome.word, &image[place], bytes);
  // Nothing else was written.
  std::memset(&image[place], 0, bytes);
  EXPECT_EQ(image, std::vector<std::byte>(imageBytes));
  return outcome;
}

uint64_t onArm(uint32_t type, uint32_t word, uint64_t place, int64_t target) {
  Outcome outcome = applied(llvm::Triple::aarch64, type, word, place, target);
  EXPECT_EQ(outcome.error, "");
  return outcome.word;
}

std::string refusedOnArm(uint32_t type, uint64_t place, int64_t target) {
  Outcome outcome = applied(llvm::Triple::aarch64, type, 0, place, target);
  EXPECT_EQ(outcome.word, 0u);
  return outcome.error;
}
} // namespace

TEST(Relocations, Calls) {
  // bl .+0x100, bl .-0x100, b .+4
  EXPECT_EQ(onArm(R_AARCH64_CALL26, 0x94000000, 0x100, 0x200), 0x94000040);
  EXPECT_EQ(onArm(R_AARCH64_CALL26, 0x94000000, 0x100, 0), 0x97ffffc0);
  EXPECT_EQ(onArm(R_AARCH64_JUMP26, 0x14000000, 0x100, 0x104), 0x14000001);
  // What was in the field does not matter.
  EXPECT_EQ(onArm(R_AARCH64_CALL26, 0x97ffffff, 0x100, 0x200), 0x94000040);
  // b.ne .-8, tbnz w3, #5, .+16
  EXPECT_EQ(onArm(R_AARCH64_CONDBR19, 0x54000001, 0x20, 0x18), 0x54ffffc1);
  EXPECT_EQ(onArm(R_AARCH64_TSTBR14, 0x37280003, 0x20, 0x30), 0x37280083);
  EXPECT_THAT(refusedOnArm(R_AARCH64_CALL26, 0x100, 0x202),
              HasSubstr("no multiple of 4"));
  EXPECT_THAT(refusedOnArm(R_AARCH64_CALL26, 0x100, int64_t(1) << 28),
              HasSubstr("spans more"));
  EXPECT_THAT(refusedOnArm(R_AARCH64_TSTBR14, 0, 0x8000),
              HasSubstr("spans more"));
  EXPECT_EQ(onArm(R_AARCH64_TSTBR14, 0x37280003, 0, 0x7ffc), 0x372bffe3);
}

TEST(Relocations, PagesAndPlacesInThem) {
  // adrp x0, two pages on, from the end of a page and from its begin.
  EXPECT_EQ(onArm(R_AARCH64_ADR_PREL_PG_HI21, 0x90000000, 0xffc, 0x2010),
            0xd0000000);
  EXPECT_EQ(onArm(R_AARCH64_ADR_PREL_PG_HI21, 0x90000000, 0, 0x2ff0),
            0xd0000000);
  // adrp x8, one page back.
  EXPECT_EQ(onArm(R_AARCH64_ADR_PREL_PG_HI21, 0x90000008, 0x1000, 0xfff),
            0xf0ffffe8);
  // add x0, x0, #0x10; ldr b0, h0, s0, d0, q0, [x0, #0xff0]
  EXPECT_EQ(onArm(R_AARCH64_ADD_ABS_LO12_NC, 0x91000000, 4, 0x2010),
            0x91004000);
  EXPECT_EQ(onArm(R_AARCH64_LDST8_ABS_LO12_NC, 0x3d400000, 4, 0x1ff0),
            0x3d7fc000);
  EXPECT_EQ(onArm(R_AARCH64_LDST16_ABS_LO12_NC, 0x7d400000, 4, 0x1ff0),
            0x7d5fe000);
  EXPECT_EQ(onArm(R_AARCH64_LDST32_ABS_LO12_NC, 0xbd400000, 4, 0x1ff0),
            0xbd4ff000);
  EXPECT_EQ(onArm(R_AARCH64_LDST64_ABS_LO12_NC, 0xfd400000, 4, 0x1ff0),
            0xfd47f800);
  EXPECT_EQ(onArm(R_AARCH64_LDST128_ABS_LO12_NC, 0x3dc00000, 4, 0x1ff0),
            0x3dc3fc00);
  EXPECT_THAT(refusedOnArm(R_AARCH64_LDST128_ABS_LO12_NC, 4, 0x1ff8),
              HasSubstr("no multiple of 16"));
}

TEST(Relocations, Distances) {
  // adr x0, .-5; ldr x1, .+8
  EXPECT_EQ(onArm(R_AARCH64_ADR_PREL_LO21, 0x10000000, 8, 3), 0x70ffffc0);
  EXPECT_EQ(onArm(R_AARCH64_LD_PREL_LO19, 0x58000001, 8, 16), 0x58000041);
  EXPECT_EQ(onArm(R_AARCH64_PREL32, 0, 0x10, 0), 0xfffffff0);
  EXPECT_EQ(
      applied(llvm::Triple::aarch64, R_AARCH64_PREL64, 0, 0x10, 0, 8).word,
      ~uint64_t(0xf));
  EXPECT_EQ(
      applied(llvm::Triple::aarch64, R_AARCH64_PREL16, 0, 0x10, 0, 2).word,
      0xfff0u);
  EXPECT_THAT(refusedOnArm(R_AARCH64_PREL32, 0, int64_t(1) << 31),
              HasSubstr("spans more"));
  EXPECT_EQ(applied(llvm::Triple::x86_64, R_X86_64_PC32, 0, 8, 4).word,
            0xfffffffcu);
  EXPECT_EQ(applied(llvm::Triple::x86_64, R_X86_64_PC64, 0, 8, 4, 8).word,
            ~uint64_t(3));
  EXPECT_THAT(
      applied(llvm::Triple::x86_64, R_X86_64_PLT32, 0, 0, int64_t(1) << 31)
          .error,
      HasSubstr("spans more"));
}

TEST(Relocations, OthersAreRefusedByName) {
  EXPECT_THAT(refusedOnArm(R_AARCH64_ABS64, 0, 0),
              HasSubstr("NAME needs a loader"));
  EXPECT_THAT(refusedOnArm(R_AARCH64_ADR_GOT_PAGE, 0, 0),
              HasSubstr("needs a loader"));
  EXPECT_THAT(applied(llvm::Triple::x86_64, R_X86_64_64, 0, 0, 0).error,
              HasSubstr("needs a loader"));
  std::vector<std::byte> image(6);
  for (uint64_t place : {uint64_t(3), uint64_t(6), ~uint64_t(0)}) {
    Result<void> done =
        cpugen::apply(Relocation{R_AARCH64_CALL26, "NAME", place, 0},
                      llvm::Triple::aarch64, image);
    ASSERT_FALSE(done);
    EXPECT_THAT(done.error().message, HasSubstr("outside the image"));
  }
}
