//===- Schedule.cpp - How a kernel will run on a GPU ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/Schedule.h"

#include <fmt/format.h>

#include <algorithm>

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
  uint32_t stage = (lhs * schedule.tileM + rhs * schedule.tileN) * rowBytes;
  uint32_t epilogue = problem.terms * schedule.tileM * (schedule.tileN + 8) * 4;
  return std::max(schedule.stages * stage, epilogue);
}

bool emit::promotesSums(const GemmProblem &problem, int64_t maxK,
                        const CudaTarget &target) {
  return problem.float8 && !problem.split && target.sumsF8Short() &&
         maxK > GemmSchedule::promoteEvery;
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
  unsigned sums = problem.terms * (problem.split ? 2 : 1);
  bool small = problem.maxM <= 32;
  schedule.tileN = sums > 1 || problem.maxN <= 64 ? 64 : 128;
  if (problem.maxM <= 16) {
    schedule.tileM = 16;
    schedule.warpsM = 1;
    schedule.warpsN = 4;
  } else if (problem.maxM <= 32) {
    schedule.tileM = 32;
    schedule.warpsM = schedule.tileN == 64 ? 2 : 1;
    // Partial sums and their factors want the registers of twice the warps.
    schedule.warpsN = schedule.tileN == 64 && !problem.split ? 2 : 4;
  } else if (problem.maxM <= 64 || sums > 2) {
    schedule.tileM = 64;
    schedule.warpsM = 2;
    schedule.warpsN = schedule.tileN == 64 && sums <= 3 ? 2 : 4;
  } else {
    schedule.tileM = 128;
    schedule.warpsM = schedule.tileN == 64 ? 4 : 2;
    schedule.warpsN = schedule.tileN == 64 ? 2 : 4;
  }

  // The bytes of K per tile: by preference, unless a split forbids it.
  unsigned rowBytes = small ? 128 : 64;
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
  for (schedule.stages = 4;; --schedule.stages) {
    schedule.sharedBytes = sharedBytes(problem, schedule);
    if (schedule.sharedBytes <= target.sharedBytesPerBlock()) {
      // Two such blocks have 255 registers for each thread.
      schedule.fewBlocks |=
          schedule.threads() <= 128 &&
          3 * schedule.sharedBytes > target.sharedBytesPerBlock();
      return schedule;
    }
    if (schedule.stages == 2)
      return fail(Errc::Unsupported,
                  fmt::format("a tile needs {} bytes of shared memory; {} has "
                              "{} per block",
                              schedule.sharedBytes, target.name(),
                              target.sharedBytesPerBlock()));
  }
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
