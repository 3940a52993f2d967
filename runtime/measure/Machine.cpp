//===- Machine.cpp - What this machine can do at most ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/measure/Machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sys/resource.h>

using namespace quern;
using namespace quern::measure;

using Clock = std::chrono::steady_clock;

static double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double Peak::issueLimit() const {
  return std::max(1.0, std::ceil(perCycle * 0.96));
}

std::string_view measure::name(Level level) {
  return level == Level::L2 ? "L2" : level == Level::L3 ? "L3" : "memory";
}

/// "32768K" in bytes; 0 for anything else.
static uint64_t sizeOf(const std::string &text) {
  char *end = nullptr;
  uint64_t size = std::strtoull(text.c_str(), &end, 10);
  return *end == 'K'    ? size << 10
         : *end == 'M'  ? size << 20
         : *end == '\0' ? size
                        : 0;
}

Caches measure::cachesHere() {
  // The kernel's own description: the C library sums up an L3 over all cores of
  // a package, of which this machine may see a few.
  Caches caches;
  for (int index = 0; index < 8; ++index) {
    std::string folder =
        fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/", index);
    std::string level, type, size;
    std::ifstream(folder + "level") >> level;
    std::ifstream(folder + "type") >> type;
    std::ifstream(folder + "size") >> size;
    if (type == "Instruction" || size.empty())
      continue;
    if (level == "2")
      caches.l2 = sizeOf(size);
    else if (level == "3")
      caches.l3 = sizeOf(size);
  }
  return caches;
}

long measure::interruptions() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nivcsw;
}

std::string measure::processorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name"))
      if (size_t at = line.find(": "); at != std::string::npos)
        return line.substr(at + 2);
  return {};
}

void Machine::Free::operator()(std::byte *p) const { std::free(p); }

Result<std::unique_ptr<Machine>> Machine::create(unsigned threads) {
  auto team = Team::create(threads);
  if (!team)
    return team.error();
  std::unique_ptr<Machine> machine(new Machine());
  machine->team = std::move(*team);
  machine->caches = cachesHere();
  const Caches &caches = machine->caches;
  uint64_t count = machine->threads();
  // Whole lines of four streams, for every thread.
  auto add = [&](Level level, uint64_t perThread) {
    machine->rates.push_back({level, perThread / 256 * 256 * count, 0});
  };
  if (caches.l2 >= 1024)
    add(Level::L2, caches.l2 / 2);
  if (uint64_t share = caches.l3 / 4 / count; share > 2 * caches.l2)
    add(Level::L3, share);
  uint64_t most = uint64_t(1) << 30;
  uint64_t large = std::min(std::max(8 * caches.l3, uint64_t(256) << 20), most);
  if (large >= 2 * caches.l3)
    add(Level::Memory, large / count);
  return machine;
}

Peak Machine::peak(const Dot &dot, unsigned slices) {
  struct alignas(64) Slice {
    double operations = 0, clock = 0, perCycle = 0;
  };
  std::vector<Slice> results(threads());
  Peak best;
  for (unsigned slice = 0; slice < slices; ++slice) {
    team->run([&](unsigned thread) {
      auto clock = [] {
        Clock::time_point start = Clock::now();
        uint64_t additions = chainedAdds(200'000);
        return double(additions) / secondsSince(start);
      };
      double before = clock();
      Clock::time_point start = Clock::now();
      uint64_t steps = dotSteps(dot, 1'500'000);
      double seconds = secondsSince(start);
      // The faster one: an interruption slows only one of them.
      double cycles = std::max(before, clock());
      results[thread] = {double(steps) * dot.operations() / seconds, cycles,
                         double(steps) * dot.instructions() / seconds / cycles};
    });
    Peak all;
    for (const Slice &result : results) {
      all.operations += result.operations;
      all.clock += result.clock / threads();
      all.perCycle += result.perCycle / threads();
    }
    if (all.operations > best.operations)
      best = all;
  }
  return best;
}

Result<double> Machine::read(size_t level) {
  ReadRate &wanted = rates[level];
  uint64_t bytes = wanted.bytes / threads();
  if (bytes > blockBytes) {
    blocks.clear();
    for (unsigned t = 0; t < threads(); ++t) {
      // Whole pages, and one more, into which prefetches go.
      uint64_t pages = bytes / 4096 + 2;
      auto *block =
          static_cast<std::byte *>(std::aligned_alloc(4096, pages * 4096));
      if (!block) {
        blockBytes = 0;
        return fail(Errc::OutOfMemory,
                    fmt::format("cannot allocate {} bytes to read", bytes));
      }
      blocks.emplace_back(block);
    }
    blockBytes = bytes;
    // Each its own, so that the pages lie near it.
    team->run([&](unsigned thread) {
      std::memset(blocks[thread].get(), 1, blockBytes + 4096);
    });
  }
  // About a millisecond for caches, and one pass over memory.
  uint64_t passes = wanted.level == Level::Memory
                        ? 1
                        : std::max<uint64_t>(1, (uint64_t(64) << 20) / bytes);
  double best = 0;
  for (unsigned streams : {1u, 4u}) {
    std::vector<double> seconds(threads());
    if (wanted.level != Level::Memory)
      team->run([&](unsigned thread) {
        readAll(blocks[thread].get(), bytes, streams);
      });
    team->run([&](unsigned thread) {
      Clock::time_point start = Clock::now();
      for (uint64_t pass = 0; pass < passes; ++pass)
        readAll(blocks[thread].get(), bytes, streams);
      seconds[thread] = secondsSince(start);
    });
    double rate = 0;
    for (double taken : seconds)
      rate += double(bytes) * double(passes) / taken;
    best = std::max(best, rate);
  }
  wanted.rate = std::max(wanted.rate, best);
  return best;
}

const ReadRate *Machine::levelOf(double bytes) const {
  Level level = bytes <= 0.75 * double(caches.l2) * threads() ? Level::L2
                : bytes <= 0.75 * double(caches.l3)           ? Level::L3
                                                              : Level::Memory;
  for (const ReadRate &rate : rates)
    if (rate.level == level)
      return &rate;
  return nullptr;
}

const ReadRate *Machine::memory() const {
  for (const ReadRate &rate : rates)
    if (rate.level == Level::Memory)
      return &rate;
  return nullptr;
}
