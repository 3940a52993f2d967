//===- Interpreter.cpp - Running blocks and warps -------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Machine.h"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

using namespace quern;
using namespace quern::sim;

std::string_view sim::name(InstrClass instrClass) {
  switch (instrClass) {
  case InstrClass::Integer:
    return "integer";
  case InstrClass::Float:
    return "float";
  case InstrClass::Convert:
    return "convert";
  case InstrClass::Move:
    return "move";
  case InstrClass::Control:
    return "control";
  case InstrClass::Memory:
    return "memory";
  case InstrClass::Atomic:
    return "atomic";
  case InstrClass::AsyncCopy:
    return "async copy";
  case InstrClass::Matrix:
    return "matrix";
  case InstrClass::Warp:
    return "warp";
  case InstrClass::Barrier:
    return "barrier";
  }
  return "?";
}

//===----------------------------------------------------------------------===//
// Reports
//===----------------------------------------------------------------------===//

bool Block::fault(const Warp *warp, const Instr *instr, FaultKind kind,
                  int lane, const std::string &what) {
  uint32_t at =
      instr ? static_cast<uint32_t>(instr - kernel->code.data()) : noInstr;
  if (!launch->faults.isNew(at, kind))
    return false;
  Diagnostic report =
      fail(Errc::CheckFailed,
           fmt::format("kernel {}: {}: {}", kernel->name, name(kind), what));
  if (instr) {
    std::string spelling = fmt::format("PTX line {}: {}", instr->line,
                                       kernel->spellings[instr->spelling]);
    uint32_t place = instr->location;
    auto fileOf = [&](uint32_t number) -> std::string {
      for (const auto &[index, name] : kernel->files)
        if (index == number)
          return name;
      return {};
    };
    if (place) {
      const ptx::Location &location = kernel->locations[place];
      report.file = fileOf(location.file);
      report.line = location.line;
      report.column = location.column;
    }
    if (report.file.empty()) {
      report.file = kernel->name + ".ptx";
      report.line = instr->line;
      report.column = 0;
    }
    report.notes.push_back(std::move(spelling));
    for (unsigned depth = 0; place && depth < 8; ++depth) {
      place = kernel->locations[place].inlinedAt;
      if (!place)
        break;
      const ptx::Location &outer = kernel->locations[place];
      report.notes.push_back(
          fmt::format("inlined at {}:{}", fileOf(outer.file), outer.line));
    }
  }
  std::string who =
      fmt::format("block ({}, {}, {})", index[0], index[1], index[2]);
  if (warp && lane >= 0) {
    uint32_t thread = warp->id * 32 + static_cast<uint32_t>(lane);
    const uint32_t *size = launch->block;
    who += fmt::format(", thread ({}, {}, {})", thread % size[0],
                       thread / size[0] % size[1], thread / size[0] / size[1]);
  } else if (warp) {
    who += fmt::format(", warp {}", warp->id);
  }
  report.notes.push_back(std::move(who));
  launch->faults.add(std::move(report));
  return true;
}

//===----------------------------------------------------------------------===//
// Warps
//===----------------------------------------------------------------------===//

void Warp::regroup() {
  uint32_t lowest = noInstr;
  forActiveLanes(alive,
                 [&](int lane) { lowest = std::min(lowest, lanePc[lane]); });
  mask = 0;
  joinPc = noInstr;
  forActiveLanes(alive, [&](int lane) {
    if (lanePc[lane] == lowest)
      mask |= 1u << lane;
    else
      joinPc = std::min(joinPc, lanePc[lane]);
  });
  pc = lowest;
}

namespace {

/// Lanes `leaving` of the running ones exit; the rest goes on behind the
/// instruction.
void exitLanes(Warp &warp, const Instr &instr, uint32_t leaving) {
  Block &block = *warp.block;
  for (const AsyncCopy &copy : warp.asyncCopies)
    if ((leaving >> copy.lane & 1) && copy.bytes) {
      block.fault(&warp, &instr, FaultKind::PendingCopyAtExit, copy.lane,
                  "the thread exits while an asynchronous copy it issued was "
                  "never waited for");
      break;
    }
  forActiveLanes(warp.mask & ~leaving,
                 [&](int lane) { warp.lanePc[lane] = warp.pc + 1; });
  warp.alive &= ~leaving;
  if (!warp.alive) {
    warp.done = true;
    // Exited threads count as arrived for barriers over the whole block.
    for (Barrier &barrier : block.barriers)
      if (barrier.expectedThreads)
        block.completeBarrier(barrier);
    return;
  }
  warp.regroup();
}

void branchLanes(Warp &warp, const Instr &instr, uint32_t taken) {
  if (taken == warp.mask) {
    warp.pc = instr.target;
  } else if (taken == 0) {
    ++warp.pc;
  } else {
    forActiveLanes(warp.mask, [&](int lane) {
      warp.lanePc[lane] = (taken >> lane & 1) ? instr.target : warp.pc + 1;
    });
    warp.regroup();
  }
}

/// Lanes of `mask` in which every source of the instruction is defined.
uint32_t definedLanes(Warp &warp, const Instr &instr) {
  const uint32_t *use = &warp.block->kernel->slotPool[instr.usesBegin];
  uint32_t lanes = ~uint32_t(0);
  if (instr.undefRule == UndefRule::Select) {
    // Sources of selp: first, second, predicate.
    uint32_t chosen = warp.predicate(use[2]);
    lanes = (warp.defined[use[0] >> 6] & chosen) |
            (warp.defined[use[1] >> 6] & ~chosen);
    return lanes & warp.defined[use[2] >> 6];
  }
  for (unsigned i = 0; i < instr.sourceCount; ++i)
    lanes &= warp.defined[use[i] >> 6];
  return lanes;
}

void reportUndefined(Warp &warp, const Instr &instr, uint32_t lanes,
                     const char *what) {
  warp.block->fault(
      &warp, &instr, FaultKind::UninitializedRegister, __builtin_ctz(lanes),
      fmt::format("{} was never written in {} of {} lanes", what,
                  __builtin_popcount(lanes), __builtin_popcount(warp.mask)));
}

/// A part of a split warp that spins would starve the lanes it waits for: after
/// this many turns the lanes behind get one too.
constexpr uint32_t turnsBeforeOthers = 64;

void letOthersRun(Warp &warp) {
  forActiveLanes(warp.mask, [&](int lane) { warp.lanePc[lane] = warp.pc; });
  uint32_t others = warp.alive & ~warp.mask;
  uint32_t lowest = noInstr;
  forActiveLanes(
      others, [&](int lane) { lowest = std::min(lowest, warp.lanePc[lane]); });
  warp.mask = 0;
  warp.joinPc = noInstr;
  warp.pc = lowest;
  forActiveLanes(warp.alive, [&](int lane) {
    if (warp.lanePc[lane] == lowest)
      warp.mask |= 1u << lane;
    else if (warp.lanePc[lane] > lowest)
      warp.joinPc = std::min(warp.joinPc, warp.lanePc[lane]);
  });
}

/// Whether lanes that are not running have yet to come to this place.
bool othersAreBehind(const Warp &warp) {
  bool behind = false;
  forActiveLanes(warp.alive & ~warp.mask,
                 [&](int lane) { behind |= warp.lanePc[lane] < warp.pc; });
  return behind;
}

/// Executes up to `quantum` instructions.
void runWarp(Warp &warp, uint32_t quantum) {
  Block &block = *warp.block;
  const Kernel &kernel = *block.kernel;
  const Instr *code = kernel.code.data();
  Counters &counters = block.launch->counters;
  bool checks = block.launch->options.checks;
  warp.yielded = false;
  for (uint32_t step = 0; step < quantum; ++step) {
    const Instr &instr = code[warp.pc];
    uint32_t active = warp.mask;
    // Collectives wait for lanes that were overtaken.
    if (instr.collective && active != warp.alive && othersAreBehind(warp)) {
      forActiveLanes(active, [&](int lane) { warp.lanePc[lane] = warp.pc; });
      warp.regroup();
      ++block.executed;
      continue;
    }
    ++counters.warpInstructions;
    ++counters.byClass[static_cast<size_t>(instr.instrClass)];
    counters.threadInstructions += __builtin_popcount(active);
    ++block.executed;
    if (instr.guard) {
      uint32_t guard = warp.predicate(instr.guard);
      if (checks) {
        uint32_t unknown = active & ~warp.defined[instr.guard >> 6];
        if (unknown)
          reportUndefined(warp, instr, unknown, "the guard predicate");
      }
      active &= instr.guardNegated ? ~guard : guard;
    }
    if (instr.flow == Flow::Branch) {
      branchLanes(warp, instr, active);
    } else if (instr.flow == Flow::Exit) {
      if (active)
        exitLanes(warp, instr, active);
      else
        ++warp.pc;
    } else {
      if (active) {
        uint32_t running = warp.mask;
        warp.mask = active;
        if (checks) {
          uint32_t defined = definedLanes(warp, instr);
          if (instr.undefRule == UndefRule::Require && (active & ~defined))
            reportUndefined(warp, instr, active & ~defined,
                            "a register read here");
          instr.exec(warp, instr);
          const uint32_t *result =
              &kernel.slotPool[instr.usesBegin + instr.sourceCount];
          for (unsigned i = 0; i < instr.resultCount; ++i) {
            uint32_t &known = warp.defined[result[i] >> 6];
            known = (known & ~active) | (defined & active);
          }
        } else {
          instr.exec(warp, instr);
        }
        warp.mask = running;
      }
      ++warp.pc;
    }
    if (warp.done || block.stopped)
      return;
    if (warp.pc >= warp.joinPc) {
      forActiveLanes(warp.mask, [&](int lane) { warp.lanePc[lane] = warp.pc; });
      warp.regroup();
    }
    if (warp.yielded)
      return;
  }
  if (warp.mask == warp.alive)
    warp.divergedTurns = 0;
  else if (++warp.divergedTurns % turnsBeforeOthers == 0)
    letOthersRun(warp);
}

//===----------------------------------------------------------------------===//
// Blocks
//===----------------------------------------------------------------------===//

/// Prepares `block` for a launch; register files and constants of an earlier
/// use are kept.
void resetBlock(Block &block, Launch &launch, uint64_t linear) {
  const Kernel &kernel = *launch.kernel;
  bool fresh = block.kernel != &kernel;
  block.launch = &launch;
  block.kernel = &kernel;
  block.index[0] = static_cast<uint32_t>(linear % launch.grid[0]);
  block.index[1] =
      static_cast<uint32_t>(linear / launch.grid[0] % launch.grid[1]);
  block.index[2] =
      static_cast<uint32_t>(linear / launch.grid[0] / launch.grid[1]);
  block.stopped = false;
  block.executed = 0;
  uint32_t threads = launch.block[0] * launch.block[1] * launch.block[2];
  uint32_t warps = (threads + 31) / 32;
  block.sharedBytes = kernel.dynamicSharedOffset + launch.dynamicSharedBytes;
  if (fresh) {
    block.sharedStorage.resize(block.sharedBytes + 1024);
    uint64_t begin = reinterpret_cast<uint64_t>(block.sharedStorage.data());
    block.shared = block.sharedStorage.data() + (1024 - begin % 1024) % 1024;
    block.lastAllocation.assign(kernel.code.size(), nullptr);
    block.warps.clear();
    block.warps.resize(warps);
  }
  std::fill_n(block.shared, block.sharedBytes, std::byte{0xCD});
  if (launch.options.checks)
    block.shadow.reset(block.sharedBytes, warps);
  for (Barrier &barrier : block.barriers)
    barrier = Barrier();
  for (uint32_t id = 0; id < warps; ++id) {
    Warp &warp = block.warps[id];
    if (fresh) {
      warp.registerStorage.resize(kernel.registerBytes + 64);
      uint64_t begin = reinterpret_cast<uint64_t>(warp.registerStorage.data());
      warp.registers = warp.registerStorage.data() + (64 - begin % 64) % 64;
      warp.defined.resize(kernel.registerBytes / 64 + 1);
      warp.local.resize(size_t(kernel.localBytes) * 32);
      for (const Constant &constant : kernel.constants) {
        if (constant.bytes == 1)
          warp.predicate(constant.slot) = constant.value ? ~0u : 0u;
        else
          for (int lane = 0; lane < 32; ++lane)
            std::memcpy(warp.registers + constant.slot + lane * constant.bytes,
                        &constant.value, constant.bytes);
      }
    }
    warp.block = &block;
    warp.id = id;
    uint32_t lanes = std::min(32u, threads - id * 32);
    warp.alive = lanes == 32 ? ~0u : (1u << lanes) - 1;
    warp.mask = warp.alive;
    warp.pc = 0;
    warp.joinPc = noInstr;
    warp.atBarrier = warp.yielded = warp.done = false;
    warp.divergedTurns = 0;
    std::fill_n(warp.asyncGroup, 32, 0);
    warp.asyncCopies.clear();
    if (launch.options.checks) {
      std::fill(warp.defined.begin(), warp.defined.end(), 0);
      warp.defined[0] = ~0u;
      for (const Constant &constant : kernel.constants)
        warp.defined[constant.slot >> 6] = ~0u;
    }
  }
  ++launch.counters.blocks;
}

void describeDeadlock(Block &block) {
  std::string waiting;
  for (const Warp &warp : block.warps)
    if (warp.atBarrier)
      waiting += fmt::format("{}{}", waiting.empty() ? "" : ", ", warp.id);
  for (const Barrier &barrier : block.barriers)
    if (barrier.waiting) {
      const Instr &instr = block.kernel->code[barrier.instruction];
      block.fault(nullptr, &instr, FaultKind::Deadlock, -1,
                  fmt::format("warps {} wait for a barrier that {} of {} "
                              "threads have reached, and no other warp can "
                              "run",
                              waiting, barrier.arrivedThreads,
                              barrier.expectedThreads));
      break;
    }
  block.stopped = true;
}

} // namespace

uint32_t Block::aliveThreads() const {
  uint32_t threads = 0;
  for (const Warp &warp : warps)
    threads += warp.alive ? __builtin_popcount(warp.alive) : 0;
  return threads;
}

void Block::completeBarrier(Barrier &barrier) {
  uint32_t needed =
      barrier.wholeBlock ? aliveThreads() : barrier.expectedThreads;
  if (barrier.arrivedThreads < needed)
    return;
  ++launch->counters.barriers;
  if (launch->options.checks)
    forActiveLanes(barrier.waiting,
                   [&](int id) { shadow.acquire(id, barrier.clock); });
  forActiveLanes(barrier.waiting, [&](int id) {
    Warp &warp = warps[id];
    warp.atBarrier = false;
    // The reduction's result goes to the register of the instruction at which
    // the warp stands; pc already points behind it.
    const Instr &instr = kernel->code[warp.pc - 1];
    uint32_t slot = instr.slots[0];
    if (instr.instrClass != InstrClass::Barrier || !slot)
      return;
    uint32_t lanes = warp.mask;
    if (instr.flags == 0)
      forActiveLanes(lanes, [&](int lane) {
        warp.lanes<uint32_t>(slot)[lane] = barrier.count;
      });
    else
      warp.setPredicate(
          slot, (instr.flags == 1 ? barrier.all : barrier.any) ? ~0u : 0u);
  });
  barrier = Barrier();
}

void Launch::run() {
  uint64_t blockCount = uint64_t(grid[0]) * grid[1] * grid[2];
  std::vector<uint64_t> order(blockCount);
  std::iota(order.begin(), order.end(), 0);
  random.seed(options.seed);
  std::shuffle(order.begin(), order.end(), random);

  uint64_t resident = cooperative ? blockCount : 1;
  std::vector<Block> blocks(resident);
  std::vector<Warp *> runnable;
  for (uint64_t next = 0; next < blockCount; next += resident) {
    for (uint64_t i = 0; i < resident; ++i)
      resetBlock(blocks[i], *this, order[next + i]);
    for (;;) {
      runnable.clear();
      for (Block &candidate : blocks) {
        if (candidate.stopped)
          continue;
        bool blockRuns = false, blockWaits = false;
        for (Warp &warp : candidate.warps) {
          if (warp.done)
            continue;
          if (warp.atBarrier) {
            blockWaits = true;
          } else {
            blockRuns = true;
            runnable.push_back(&warp);
          }
        }
        if (blockWaits && !blockRuns)
          describeDeadlock(candidate);
      }
      if (runnable.empty())
        break;
      // A few turns before looking at the whole block again.
      for (size_t turn = 0; turn < runnable.size(); ++turn) {
        Warp &warp = *runnable[random() % runnable.size()];
        if (warp.done || warp.atBarrier || warp.block->stopped)
          continue;
        uint32_t quantum =
            options.quantum > 1
                ? 1 + static_cast<uint32_t>(random() % options.quantum)
                : 1;
        runWarp(warp, quantum);
        Block &running = *warp.block;
        if (running.executed > options.watchdog && !running.stopped) {
          running.fault(
              &warp, &kernel->code[warp.done ? 0 : warp.pc],
              FaultKind::Deadlock, -1,
              fmt::format("the block has executed more than {} warp "
                          "instructions; it waits for something that never "
                          "happens or SimOptions::watchdog is too low",
                          options.watchdog));
          running.stopped = true;
        }
      }
    }
    // A fault no sense can be made of ends the launch.
    for (Block &finished : blocks)
      if (finished.stopped)
        return;
  }
}
