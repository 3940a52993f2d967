//===- Dot.cpp - The instructions that products are made of ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/measure/Dot.h"

#include "runtime/device/cpu/CpuFeatures.h"

#include <fmt/format.h>

#include <cstring>

using namespace quern;
using namespace quern::measure;

std::string Dot::name() const {
  const char *reg = bits == 512 ? "zmm" : bits == 256 ? "ymm" : "xmm";
  switch (kind) {
  case DotKind::Vpdpbusd:
    return fmt::format("vpdpbusd {}", reg);
  case DotKind::Vdpbf16ps:
    return fmt::format("vdpbf16ps {}", reg);
  case DotKind::Pmaddubsw:
    return fmt::format("pmaddubsw + paddw {}", reg);
  case DotKind::Pmaddwd:
    return fmt::format("pmaddwd + paddd {}", reg);
  case DotKind::Fma:
    return fmt::format("f32 fma {}", reg);
  case DotKind::MulAdd:
    return fmt::format("mulps + addps {}", reg);
  }
  return "?";
}

double Dot::operations() const {
  double lanes = bits / 32.0;
  switch (kind) {
  case DotKind::Vpdpbusd:
  case DotKind::Pmaddubsw:
    return 8 * lanes;
  case DotKind::Vdpbf16ps:
  case DotKind::Pmaddwd:
    return 4 * lanes;
  case DotKind::Fma:
  case DotKind::MulAdd:
    return 2 * lanes;
  }
  return 0;
}

std::optional<Dot> measure::dotOf(std::string_view schedule,
                                  std::string_view target) {
  if (cpu::architectureOf(target) != "x86-64")
    return std::nullopt;
  Dot dot;
  dot.bits = target.starts_with("cpu:avx512") ? 512
             : target.starts_with("cpu:avx")  ? 256
                                              : 128;
  // A word of the schedule, not a part of one.
  auto says = [&](std::string_view name) {
    auto isLetter = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    };
    for (size_t at = 0; (at = schedule.find(name, at)) != schedule.npos; ++at) {
      size_t end = at + name.size();
      if ((at == 0 || !isLetter(schedule[at - 1])) &&
          (end == schedule.size() || !isLetter(schedule[end])))
        return true;
    }
    return false;
  };
  if (says("vpdpbusd"))
    dot.kind = DotKind::Vpdpbusd;
  else if (says("vdpbf16ps"))
    dot.kind = DotKind::Vdpbf16ps;
  else if (says("pmaddubsw"))
    dot.kind = DotKind::Pmaddubsw;
  else if (says("pmaddwd"))
    dot.kind = DotKind::Pmaddwd;
  else if (says("fma"))
    dot.kind = DotKind::Fma;
  else if (says("mulps+addps"))
    dot.kind = DotKind::MulAdd;
  else
    return std::nullopt;
  return dot;
}

bool measure::canRun(const Dot &dot) {
#if defined(__x86_64__)
  auto has = [](std::string_view feature) { return cpu::hostHas(feature); };
  bool wide = dot.bits == 512   ? has("avx512f") && has("avx512bw")
              : dot.bits == 256 ? has("avx2")
                                : dot.bits == 128;
  switch (dot.kind) {
  case DotKind::Vpdpbusd:
    return wide && ((dot.bits == 512 && has("avx512vnni")) ||
                    (dot.bits == 256 && has("avxvnni")));
  case DotKind::Vdpbf16ps:
    return dot.bits == 512 && wide && has("avx512bf16");
  case DotKind::Pmaddubsw:
    return dot.bits == 256 && wide;
  case DotKind::Pmaddwd:
    return wide;
  case DotKind::Fma:
    return wide && dot.bits > 128 && (dot.bits == 512 || has("fma"));
  case DotKind::MulAdd:
    return dot.bits == 128;
  }
#endif
  return false;
}

#if defined(__x86_64__)

// Eight and twenty-four of something, numbered.
#define QUERN_EIGHT(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
#define QUERN_MORE(F)                                                          \
  F(8)                                                                         \
  F(9) F(10) F(11) F(12) F(13)
#define QUERN_MOST(F)                                                          \
  F(14)                                                                        \
  F(15) F(16) F(17) F(18) F(19) F(20) F(21) F(22) F(23)

#define QUERN_LOW                                                              \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",      \
      "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define QUERN_HIGH                                                             \
  "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",      \
      "xmm30", "xmm31"

/// One loop: `CLEAR` once, then `BODY` until the count is 0.
#define QUERN_LOOP(CLEAR, BODY, END, ...)                                      \
  asm volatile(CLEAR ".p2align 6\n1:\n" BODY "dec %0\n jnz 1b\n" END           \
               : "+r"(count)                                                   \
               :                                                               \
               : "cc", __VA_ARGS__)

/// Twenty-four chains of one instruction on 512 bits, twice in a loop.
#define QUERN_ZERO_ZMM(i) "vpxord %%zmm" #i ", %%zmm" #i ", %%zmm" #i "\n"
#define QUERN_ALL_ZMM(F) QUERN_EIGHT(F) QUERN_MORE(F) QUERN_MOST(F)
#define QUERN_CLEAR_ZMM                                                        \
  QUERN_ALL_ZMM(QUERN_ZERO_ZMM) QUERN_ZERO_ZMM(30) QUERN_ZERO_ZMM(31)
#define QUERN_WIDE_LOOP(F)                                                     \
  QUERN_LOOP(QUERN_CLEAR_ZMM, QUERN_ALL_ZMM(F) QUERN_ALL_ZMM(F),               \
             "vzeroupper\n", QUERN_LOW, QUERN_HIGH)

#define QUERN_VPDPBUSD(i) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #i "\n"
#define QUERN_VDPBF16PS(i) "vdpbf16ps %%zmm30, %%zmm31, %%zmm" #i "\n"
#define QUERN_FMA_ZMM(i) "vfmadd231ps %%zmm30, %%zmm31, %%zmm" #i "\n"

#define QUERN_WIDE __attribute__((target("avx512f,avx512bw")))

QUERN_WIDE static void wideVpdpbusd(uint64_t count) {
  QUERN_WIDE_LOOP(QUERN_VPDPBUSD);
}
QUERN_WIDE static void wideVdpbf16ps(uint64_t count) {
  QUERN_WIDE_LOOP(QUERN_VDPBF16PS);
}
QUERN_WIDE static void wideFma(uint64_t count) {
  QUERN_WIDE_LOOP(QUERN_FMA_ZMM);
}

/// Fourteen chains on 256 bits, twice.
#define QUERN_FMA_YMM(i) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #i "\n"
__attribute__((target("avx2,fma"))) static void fma256(uint64_t count) {
  QUERN_LOOP("vzeroall\n",
             QUERN_EIGHT(QUERN_FMA_YMM) QUERN_MORE(QUERN_FMA_YMM)
                 QUERN_EIGHT(QUERN_FMA_YMM) QUERN_MORE(QUERN_FMA_YMM),
             "vzeroupper\n", QUERN_LOW);
}

#define QUERN_VPDPBUSD_YMM(i) "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm" #i "\n"
__attribute__((target("avx2"))) static void vpdpbusd256(uint64_t count) {
  QUERN_LOOP("vzeroall\n",
             QUERN_EIGHT(QUERN_VPDPBUSD_YMM) QUERN_MORE(QUERN_VPDPBUSD_YMM)
                 QUERN_EIGHT(QUERN_VPDPBUSD_YMM) QUERN_MORE(QUERN_VPDPBUSD_YMM),
             "vzeroupper\n", QUERN_LOW);
}

// Pairs: eight chains of the first, each result added to a chain of its own,
// twice. The second half of sixteen registers holds the products.
#define QUERN_PAIR_VEX(R, MUL, ADD, t, a)                                      \
  MUL " %%" R #t ", %%" R #t ", %%" R #t "\n" ADD " %%" R #t ", %%" R #a       \
      ", %%" R #a "\n"
#define QUERN_PAIR_SSE(MUL, ADD, t, a)                                         \
  MUL " %%xmm" #t ", %%xmm" #t "\n" ADD " %%xmm" #t ", %%xmm" #a "\n"
#define QUERN_PAIRS_VEX(R, MUL, ADD)                                           \
  QUERN_PAIR_VEX(R, MUL, ADD, 8, 0)                                            \
  QUERN_PAIR_VEX(R, MUL, ADD, 9, 1)                                            \
  QUERN_PAIR_VEX(R, MUL, ADD, 10, 2)                                           \
  QUERN_PAIR_VEX(R, MUL, ADD, 11, 3)                                           \
  QUERN_PAIR_VEX(R, MUL, ADD, 12, 4)                                           \
  QUERN_PAIR_VEX(R, MUL, ADD, 13, 5)                                           \
  QUERN_PAIR_VEX(R, MUL, ADD, 14, 6)                                           \
  QUERN_PAIR_VEX(R, MUL, ADD, 15, 7)
#define QUERN_PAIRS_SSE(MUL, ADD)                                              \
  QUERN_PAIR_SSE(MUL, ADD, 8, 0)                                               \
  QUERN_PAIR_SSE(MUL, ADD, 9, 1)                                               \
  QUERN_PAIR_SSE(MUL, ADD, 10, 2)                                              \
  QUERN_PAIR_SSE(MUL, ADD, 11, 3)                                              \
  QUERN_PAIR_SSE(MUL, ADD, 12, 4)                                              \
  QUERN_PAIR_SSE(MUL, ADD, 13, 5)                                              \
  QUERN_PAIR_SSE(MUL, ADD, 14, 6)                                              \
  QUERN_PAIR_SSE(MUL, ADD, 15, 7)
#define QUERN_ZERO_XMM(i) "pxor %%xmm" #i ", %%xmm" #i "\n"
#define QUERN_CLEAR_XMM                                                        \
  QUERN_EIGHT(QUERN_ZERO_XMM)                                                  \
  QUERN_MORE(QUERN_ZERO_XMM) QUERN_ZERO_XMM(14) QUERN_ZERO_XMM(15)

QUERN_WIDE static void widePmaddwd(uint64_t count) {
  QUERN_LOOP(QUERN_CLEAR_ZMM,
             QUERN_PAIRS_VEX("zmm", "vpmaddwd", "vpaddd")
                 QUERN_PAIRS_VEX("zmm", "vpmaddwd", "vpaddd"),
             "vzeroupper\n", QUERN_LOW, QUERN_HIGH);
}
__attribute__((target("avx2"))) static void pmaddwd256(uint64_t count) {
  QUERN_LOOP("vzeroall\n",
             QUERN_PAIRS_VEX("ymm", "vpmaddwd", "vpaddd")
                 QUERN_PAIRS_VEX("ymm", "vpmaddwd", "vpaddd"),
             "vzeroupper\n", QUERN_LOW);
}

__attribute__((target("avx2"))) static void pmaddubsw256(uint64_t count) {
  QUERN_LOOP("vzeroall\n",
             QUERN_PAIRS_VEX("ymm", "vpmaddubsw", "vpaddw")
                 QUERN_PAIRS_VEX("ymm", "vpmaddubsw", "vpaddw"),
             "vzeroupper\n", QUERN_LOW);
}
static void pmaddwd128(uint64_t count) {
  QUERN_LOOP(QUERN_CLEAR_XMM,
             QUERN_PAIRS_SSE("pmaddwd", "paddd")
                 QUERN_PAIRS_SSE("pmaddwd", "paddd"),
             "", QUERN_LOW);
}
static void mulAdd128(uint64_t count) {
  QUERN_LOOP(QUERN_CLEAR_XMM,
             QUERN_PAIRS_SSE("mulps", "addps")
                 QUERN_PAIRS_SSE("mulps", "addps"),
             "", QUERN_LOW);
}

uint64_t measure::dotSteps(const Dot &dot, uint64_t steps) {
  auto run = [&](void (*loop)(uint64_t), uint64_t perRound) {
    uint64_t rounds = steps / perRound + 1;
    loop(rounds);
    return rounds * perRound;
  };
  switch (dot.kind) {
  case DotKind::Vpdpbusd:
    return dot.bits == 512 ? run(wideVpdpbusd, 48) : run(vpdpbusd256, 28);
  case DotKind::Vdpbf16ps:
    return run(wideVdpbf16ps, 48);
  case DotKind::Fma:
    return dot.bits == 512 ? run(wideFma, 48) : run(fma256, 28);
  case DotKind::Pmaddubsw:
    return run(pmaddubsw256, 16);
  case DotKind::Pmaddwd:
    return run(dot.bits == 512   ? widePmaddwd
               : dot.bits == 256 ? pmaddwd256
                                 : pmaddwd128,
               16);
  case DotKind::MulAdd:
    return run(mulAdd128, 16);
  }
  return 0;
}

uint64_t measure::chainedAdds(uint64_t additions) {
#define QUERN_ADD(i) "add %1, %%rax\n"
  uint64_t count = additions / 24 + 1, rounds = count;
  asm volatile(".p2align 6\n1:\n" QUERN_ALL_ZMM(QUERN_ADD) "dec %0\n jnz 1b\n"
               : "+r"(count)
               : "r"(rounds)
               : "cc", "rax");
  return rounds * 24;
}

// Reads of one line from each stream. The registers read into are of no use to
// anybody; the instructions stay, as the statement is volatile.
#define QUERN_STEP_STREAMS(READ)                                               \
  for (uint64_t at = 0; at < part; at += 64)                                   \
    for (unsigned s = 0; s < streams; ++s) {                                   \
      const std::byte *p = data + s * part + at;                               \
      asm volatile("prefetcht0 2048(%0)\n" READ : : "r"(p) : QUERN_LOW);       \
    }

/// Four lines of a stream of its own in each round.
#define QUERN_STEP_ONE(READ)                                                   \
  for (uint64_t at = 0; at < bytes; at += 256)                                 \
    asm volatile(READ("") READ("64+") READ("128+") READ("192+")                \
                 :                                                             \
                 : "r"(data + at)                                              \
                 : QUERN_LOW);

#define QUERN_READ_512(at) "vmovdqu64 " at "0(%0), %%zmm0\n"
#define QUERN_READ_256(at)                                                     \
  "vmovdqu " at "0(%0), %%ymm0\nvmovdqu " at "32(%0), %%ymm1\n"
#define QUERN_READ_128(at)                                                     \
  "movdqu " at "0(%0), %%xmm0\nmovdqu " at "16(%0), %%xmm1\n"                  \
  "movdqu " at "32(%0), %%xmm2\nmovdqu " at "48(%0), %%xmm3\n"

__attribute__((target("avx512f"))) static void
read512(const std::byte *data, uint64_t bytes, unsigned streams) {
  uint64_t part = bytes / streams;
  if (streams == 1)
    QUERN_STEP_ONE(QUERN_READ_512)
  else
    QUERN_STEP_STREAMS(QUERN_READ_512(""))
}
__attribute__((target("avx2"))) static void
read256(const std::byte *data, uint64_t bytes, unsigned streams) {
  uint64_t part = bytes / streams;
  if (streams == 1)
    QUERN_STEP_ONE(QUERN_READ_256)
  else
    QUERN_STEP_STREAMS(QUERN_READ_256(""))
}
static void read128(const std::byte *data, uint64_t bytes, unsigned streams) {
  uint64_t part = bytes / streams;
  if (streams == 1)
    QUERN_STEP_ONE(QUERN_READ_128)
  else
    QUERN_STEP_STREAMS(QUERN_READ_128(""))
}

void measure::readAll(const std::byte *data, uint64_t bytes, unsigned streams) {
  if (cpu::hostHas("avx512f"))
    read512(data, bytes, streams);
  else if (cpu::hostHas("avx2"))
    read256(data, bytes, streams);
  else
    read128(data, bytes, streams);
}

#else

uint64_t measure::dotSteps(const Dot &, uint64_t) { return 0; }
uint64_t measure::chainedAdds(uint64_t) { return 0; }
void measure::readAll(const std::byte *data, uint64_t bytes, unsigned) {
  uint64_t sum = 0;
  for (uint64_t at = 0; at < bytes; at += sizeof(sum)) {
    uint64_t word;
    std::memcpy(&word, data + at, sizeof(word));
    sum ^= word;
  }
  asm volatile("" : : "r"(sum));
}

#endif
