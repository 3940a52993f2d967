//===- Schedule.cpp - How a kernel will run on a GPU ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/Schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <optional>

using namespace quern;
using namespace quern::emit;

/// The widest copy that rows and bases of this alignment allow.
static unsigned copyBytes(int64_t alignment) {
  for (unsigned bytes : {16u, 8u, 4u})
    if (alignment % bytes == 0)
      return bytes;
  return 0;
}

/// Bytes of shared memory, as Gemm<Config>::sharedBytes computes them.
static uint32_t sharedBytes(const GemmProblem &problem,
                            const GemmSchedule &schedule) {
  uint32_t rowBytes = schedule.tileK * problem.elementBytes;
  uint32_t lhs = problem.sharedLhs ? 1 : problem.terms;
  uint32_t rhs = problem.sharedRhs ? 1 : problem.terms;
  uint32_t rhsRowBytes = problem.packedRhs ? schedule.tileK / 2 : rowBytes;
  uint32_t stage = rhs * schedule.tileN * rhsRowBytes, codes = 0;
  if (problem.valueBytes) {
    stage += schedule.tileM * schedule.tileK * problem.valueBytes;
    codes = 2 * schedule.tileM * rowBytes;
  } else {
    stage += lhs * schedule.tileM * rowBytes;
  }
  uint32_t epilogue = std::max(problem.terms, problem.held) * schedule.tileM *
                      (schedule.tileN + 8) * 4;
  return std::max(schedule.stages * stage + codes, epilogue);
}

bool emit::promotesSums(const GemmProblem &problem, int64_t maxK,
                        const CudaTarget &target) {
  return problem.float8 && !problem.split && target.sumsF8Short() &&
         maxK > GemmSchedule::promoteEvery;
}

/// How the warps share a tile.
static void shareOut(const GemmProblem &problem, unsigned sums,
                     GemmSchedule &schedule) {
  bool narrow = schedule.tileN == 64, wide = schedule.tileN == 256;
  switch (schedule.tileM) {
  case 16:
    schedule.warpsM = 1;
    schedule.warpsN = wide ? 8 : 4;
    break;
  case 32:
    schedule.warpsM = narrow ? 2 : 1;
    // Partial sums and their factors want the registers of twice the warps.
    schedule.warpsN = wide ? 8 : narrow && !problem.split ? 2 : 4;
    break;
  case 64:
    schedule.warpsM = 2;
    schedule.warpsN = narrow && sums <= 3 ? 2 : 4;
    break;
  default:
    schedule.warpsM = narrow ? 4 : 2;
    schedule.warpsN = narrow ? 2 : 4;
    break;
  }
}

/// Whether a tile of `size` out of `max` holds whole blocks of `block`.
static bool holds(int64_t size, int64_t block, int64_t max) {
  return size % block == 0 || size >= max;
}

static bool suits(const GemmProblem &problem, const GemmSchedule &schedule) {
  return holds(schedule.tileM, problem.blockRows, problem.maxM) &&
         holds(schedule.tileN, problem.blockColumns, problem.maxN) &&
         (problem.maxTilesN == 0 ||
          (problem.maxN + schedule.tileN - 1) / schedule.tileN <=
              problem.maxTilesN);
}

/// What a tile would have to be, for a message.
static std::string wishOf(const GemmProblem &problem) {
  auto wish = [](int64_t block, int64_t max, const char *of) {
    return block >= max ? fmt::format("all {} {}", max, of)
                        : fmt::format("a multiple of {} {}", block, of);
  };
  std::string text;
  if (problem.blockRows > 1)
    text += wish(problem.blockRows, problem.maxM, "rows");
  if (problem.blockColumns > 1)
    text += (text.empty() ? "" : " and ") +
            wish(problem.blockColumns, problem.maxN, "columns");
  if (problem.maxTilesN)
    text += fmt::format("{}the {} columns in at most {} tiles",
                        text.empty() ? "" : " and ", problem.maxN,
                        problem.maxTilesN);
  return text;
}

/// How far the widest tile is from that.
static std::string distanceOf(const GemmProblem &problem) {
  auto tiles = [&](int64_t width) {
    return (problem.maxN + width - 1) / width;
  };
  if (problem.maxTilesN && tiles(256) > problem.maxTilesN)
    return fmt::format(": a row is {} tiles of 128 columns, {} of 256, the "
                       "widest, and a cluster holds {}",
                       tiles(128), tiles(256), problem.maxTilesN);
  if (problem.blockColumns > 256)
    return fmt::format(": a row of {} is {} tiles of 128 columns, and the "
                       "widest tile has 256",
                       problem.maxN, tiles(128));
  return {};
}

/// Sums per element: those of the products, and what partial sums go to.
static unsigned sumsOf(const GemmProblem &problem) {
  return problem.terms * (problem.split ? 2 : 1);
}

/// Sums a thread may have, in tiles other than the preferred.
static constexpr unsigned maxSums = 64;

/// The tile nearest to the preferred one that holds whole blocks.
static Result<void> chooseTile(const GemmProblem &problem,
                               GemmSchedule &schedule) {
  unsigned sums = sumsOf(problem);
  shareOut(problem, sums, schedule);
  if (suits(problem, schedule))
    return {};
  auto steps = [](unsigned a, unsigned b) {
    return std::abs(std::countr_zero(a) - std::countr_zero(b));
  };
  std::optional<GemmSchedule> best;
  int least = 0;
  bool anySuits = false;
  for (unsigned tileM : {128u, 64u, 32u, 16u})
    for (unsigned tileN : {256u, 128u, 64u}) {
      GemmSchedule tried = schedule;
      tried.tileM = tileM, tried.tileN = tileN;
      shareOut(problem, sums, tried);
      if (!suits(problem, tried))
        continue;
      anySuits = true;
      if (sums * tileM * tileN / tried.threads() > maxSums)
        continue;
      int distance =
          steps(tileM, schedule.tileM) + steps(tileN, schedule.tileN);
      if (!best || distance < least) {
        best = tried;
        least = distance;
      }
    }
  if (best) {
    schedule = *best;
    return {};
  }
  return fail(Errc::Unsupported,
              anySuits
                  ? fmt::format("a tile of {} has more sums ({} per element) "
                                "than the registers of a thread block hold",
                                wishOf(problem), sums)
                  : fmt::format("no tile has {}{}", wishOf(problem),
                                distanceOf(problem)),
              {"tiles have 16, 32, 64 or 128 rows and 64, 128 or 256 columns"});
}

Result<GemmSchedule> emit::scheduleGemm(const GemmProblem &problem,
                                        const CudaTarget &target) {
  if (problem.terms > 4)
    return fail(Errc::Unsupported,
                fmt::format("{} products in one kernel are more than the "
                            "registers of a GPU hold; at most 4 are accepted",
                            problem.terms));
  GemmSchedule schedule;
  if (problem.float8 && !target.multipliesF8())
    schedule.remark = fmt::format("8-bit floats decoded to f16: {} has no "
                                  "matrix instruction for them, sm_89 has",
                                  target.name());
  else if (problem.float8 && !target.sumsF8Short())
    schedule.remark = fmt::format("8-bit floats decoded to f16 by the "
                                  "assembler: on {} mma.sync has no other form",
                                  target.name());
  schedule.fewBlocks = (problem.split && problem.terms > 1) ||
                       (problem.float8 && !target.sumsF8Short());
  unsigned sums = sumsOf(problem);
  schedule.tileN = sums > 1 || problem.maxN <= 64 ? 64 : 128;
  schedule.tileM = problem.maxM <= 16               ? 16
                   : problem.maxM <= 32             ? 32
                   : problem.maxM <= 64 || sums > 2 ? 64
                                                    : 128;
  if (problem.valueBytes) {
    bool many = sums > 2 || (sums > 1 && problem.float8);
    schedule.tileM = std::min(schedule.tileM, 32u);
    schedule.tileN = many || problem.maxN <= 64        ? 64
                     : sums > 1 || problem.maxN <= 128 ? 128
                                                       : 256;
  }
  if (Result<void> done = chooseTile(problem, schedule); !done)
    return done.error();
  // With few accumulators the assembler goes for more blocks than shared
  // memory holds, and spills to reach them.
  schedule.fewBlocks |=
      schedule.tileM == 128 && sums == 1 && schedule.tileN == 64;
  bool small = schedule.tileM <= 32;

  // The bytes of K per tile: by preference, unless a split forbids it.
  bool decodesWide = problem.packedRhs && problem.elementBytes > 1;
  unsigned rowBytes = small || decodesWide ? 128 : 64;
  if (problem.split) {
    int64_t bytes = problem.split * problem.elementBytes;
    if (bytes % 32 != 0)
      return fail(
          Errc::Unsupported,
          fmt::format("scales that change every {} elements of K split the "
                      "product there, and a matrix instruction takes {} "
                      "elements at a time",
                      problem.split, 32 / problem.elementBytes),
          {fmt::format("on CUDA the block must be a multiple of {}; use "
                       "--target cpu for others",
                       32 / problem.elementBytes)});
    while (bytes % rowBytes != 0 && rowBytes % bytes != 0)
      rowBytes /= 2; // Ends at 32, which divides.
  }
  schedule.tileK = rowBytes / problem.elementBytes;
  schedule.lhsCopy = copyBytes(problem.lhsAlignment);
  schedule.rhsCopy = copyBytes(problem.rhsAlignment);

  // Fewer stages where shared memory is short; two keep copies and products
  // overlapping.
  schedule.stages = problem.valueBytes || (decodesWide && !small) ? 3 : 4;
  schedule.fewBlocks |= problem.valueBytes != 0 || decodesWide;
  for (;; --schedule.stages) {
    schedule.sharedBytes = sharedBytes(problem, schedule);
    if (schedule.sharedBytes + problem.stageBytes <=
        target.sharedBytesPerBlock()) {
      // Two such blocks have 255 registers for each thread.
      schedule.fewBlocks |=
          schedule.threads() <= 128 &&
          3 * schedule.sharedBytes > target.sharedBytesPerBlock();
      if (problem.held) {
        // With 128 registers a thread there is room for all sums.
        uint32_t bytes = schedule.sharedBytes + problem.stageBytes +
                         CudaTarget::reservedShared;
        unsigned byShared = target.sharedBytesPerMultiprocessor() / bytes;
        schedule.minBlocks = std::clamp(byShared, 1u, 512 / schedule.threads());
        if (schedule.fewBlocks || problem.split)
          schedule.minBlocks =
              std::min(schedule.minBlocks, 256 / schedule.threads());
      }
      return schedule;
    }
    if (schedule.stages == 2 && problem.valueBytes &&
        schedule.tileK * problem.elementBytes > 32) {
      // Values are wide: shorter rows.
      schedule.tileK /= 2;
      schedule.stages = 4;
      continue;
    }
    if (schedule.stages == 2)
      return fail(Errc::Unsupported,
                  fmt::format("a tile needs {} bytes of shared memory; {} has "
                              "{} per block",
                              schedule.sharedBytes + problem.stageBytes,
                              target.name(), target.sharedBytesPerBlock()));
  }
}

unsigned emit::residentBlocks(const GemmProblem &problem,
                              const GemmSchedule &schedule,
                              const CudaTarget &target) {
  unsigned byThreads = target.threadsPerMultiprocessor() / schedule.threads();
  // The assembler keeps registers low enough for minBlocks; of kernels without
  // stages it makes such of at most 128 registers, or 255 where few blocks do.
  unsigned byRegisters = schedule.minBlocks ? schedule.minBlocks
                                            : (schedule.fewBlocks ? 256 : 512) /
                                                  schedule.threads();
  unsigned byShared =
      target.sharedBytesPerMultiprocessor() /
      (schedule.sharedBytes + problem.stageBytes + CudaTarget::reservedShared);
  return std::min({byThreads, byRegisters, byShared}) *
         target.multiprocessors();
}

std::string GemmSchedule::describe() const {
  auto copy = [](unsigned bytes) {
    return bytes ? fmt::format("{}-byte copies", bytes)
                 : std::string("element loads");
  };
  return fmt::format("mma.sync, tile {}x{}x{}, {} stages, {}x{} warps, lhs by "
                     "{}, rhs by {}, {} KiB shared{}{}",
                     tileM, tileN, tileK, stages, warpsM, warpsN, copy(lhsCopy),
                     copy(rhsCopy), (sharedBytes + 1023) / 1024,
                     remark.empty() ? "" : "; ", remark);
}

BlocksSchedule emit::scheduleBlocks(const BlocksProblem &problem) {
  if (problem.isOneMap)
    return {BlocksKind::Elements};
  return {problem.maxBox <= 256 ? BlocksKind::Warp : BlocksKind::Block};
}

std::string BlocksSchedule::describe() const {
  switch (kind) {
  case BlocksKind::Elements:
    return "a thread per element, 256 threads";
  case BlocksKind::Warp:
    return "a warp per point, 8 warps";
  case BlocksKind::Block:
    break;
  }
  return "a thread block per point, 256 threads";
}
