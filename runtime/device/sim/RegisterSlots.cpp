//===- RegisterSlots.cpp - Registers that share storage -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/RegisterSlots.h"

#include <algorithm>
#include <map>
#include <queue>

using namespace quern;
using namespace quern::sim;

namespace {

constexpr uint32_t nobody = ~uint32_t(0);

class BitSet {
public:
  explicit BitSet(size_t bits) : words((bits + 63) / 64) {}
  bool test(uint32_t i) const { return words[i / 64] >> i % 64 & 1; }
  void set(uint32_t i) { words[i / 64] |= uint64_t(1) << i % 64; }
  /// this |= other & ~without; true if anything was added.
  bool add(const BitSet &other, const BitSet *without) {
    uint64_t added = 0;
    for (size_t i = 0; i < words.size(); ++i) {
      uint64_t more = other.words[i] & ~(without ? without->words[i] : 0);
      added |= more & ~words[i];
      words[i] |= more;
    }
    return added;
  }
  template <typename F> void forEach(F f) const {
    for (size_t i = 0; i < words.size(); ++i)
      for (uint64_t rest = words[i]; rest; rest &= rest - 1)
        f(static_cast<uint32_t>(i * 64 + __builtin_ctzll(rest)));
  }

private:
  std::vector<uint64_t> words;
};

struct BasicBlock {
  uint32_t begin, end;
  BitSet reads, writes, liveIn, liveOut;
  std::vector<uint32_t> next;
};

struct Life {
  uint32_t first = nobody;
  uint32_t last = 0;
  void add(uint32_t at) {
    first = std::min(first, at);
    last = std::max(last, at);
  }
};

class Allocator {
public:
  Allocator(Kernel &kernel, const std::vector<RegisterPlace> &registers)
      : kernel(kernel), registers(registers),
        numbers(kernel.registerBytes / 64 + 1, nobody), lives(registers.size()),
        pinned(registers.size()) {
    for (uint32_t i = 0; i < registers.size(); ++i)
      numbers[registers[i].slot / 64] = i;
  }

  void run() {
    pin();
    findBlocks();
    findLives();
    place();
    rename();
  }

private:
  uint32_t numberOf(uint32_t slot) const {
    return slot % 64 == 0 && slot / 64 < numbers.size() ? numbers[slot / 64]
                                                        : nobody;
  }
  /// f(register, isWrite) for the instruction's registers.
  template <typename F> void forRegisters(const Instr &instr, F f) const {
    auto one = [&](uint32_t slot, bool isWrite) {
      if (uint32_t number = numberOf(slot); slot && number != nobody)
        f(number, isWrite);
    };
    one(instr.guard, false);
    const uint32_t *use = &kernel.slotPool[instr.usesBegin];
    for (unsigned i = 0; i < instr.sourceCount; ++i)
      one(use[i], false);
    for (unsigned i = 0; i < instr.resultCount; ++i)
      one(use[instr.sourceCount + i], true);
  }

  void pin() {
    for (const Constant &constant : kernel.constants)
      if (uint32_t number = numberOf(constant.slot); number != nobody)
        pinned[number] = true;
    for (const Instr &instr : kernel.code)
      if (instr.touchesPending)
        forRegisters(instr,
                     [&](uint32_t number, bool) { pinned[number] = true; });
  }

  void findBlocks() {
    size_t size = kernel.code.size();
    std::vector<bool> starts(size + 1);
    starts[0] = true;
    for (size_t i = 0; i < size; ++i) {
      const Instr &instr = kernel.code[i];
      if (instr.flow == Flow::Next)
        continue;
      starts[i + 1] = true;
      if (instr.flow == Flow::Branch)
        starts[std::min<size_t>(instr.target, size)] = true;
    }
    std::vector<uint32_t> blockAt(size + 1, nobody);
    for (uint32_t i = 0; i < size; ++i) {
      if (starts[i]) {
        BitSet none(registers.size());
        blocks.push_back({i, i, none, none, none, none, {}});
      }
      blocks.back().end = i + 1;
      blockAt[i] = static_cast<uint32_t>(blocks.size() - 1);
    }
    for (BasicBlock &block : blocks) {
      for (uint32_t i = block.begin; i < block.end; ++i) {
        const Instr &instr = kernel.code[i];
        forRegisters(instr, [&](uint32_t number, bool isWrite) {
          if (!isWrite && !block.writes.test(number))
            block.reads.set(number);
        });
        // A guarded write leaves the old value in other lanes.
        if (!instr.guard)
          forRegisters(instr, [&](uint32_t number, bool isWrite) {
            if (isWrite)
              block.writes.set(number);
          });
      }
      const Instr &last = kernel.code[block.end - 1];
      bool goesOn = last.flow == Flow::Next || last.guard;
      if (goesOn && block.end < size)
        block.next.push_back(blockAt[block.end]);
      if (last.flow == Flow::Branch && last.target < size)
        block.next.push_back(blockAt[last.target]);
    }
  }

  void findLives() {
    for (BasicBlock &block : blocks)
      block.liveIn = block.reads;
    for (bool changed = true; changed;) {
      changed = false;
      for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
        bool grown = false;
        for (uint32_t next : block->next)
          grown |= block->liveOut.add(blocks[next].liveIn, nullptr);
        if (grown)
          changed |= block->liveIn.add(block->liveOut, &block->writes);
      }
    }
    for (const BasicBlock &block : blocks) {
      block.liveIn.forEach([&](uint32_t n) { lives[n].add(block.begin); });
      block.liveOut.forEach([&](uint32_t n) { lives[n].add(block.end - 1); });
      for (uint32_t i = block.begin; i < block.end; ++i)
        forRegisters(kernel.code[i],
                     [&](uint32_t number, bool) { lives[number].add(i); });
    }
  }

  void place() {
    places.assign(registers.size(), 0);
    uint32_t end = 64;
    auto fresh = [&](uint32_t size) {
      uint32_t slot = end;
      end += size;
      return slot;
    };
    std::vector<uint32_t> order;
    for (uint32_t i = 0; i < registers.size(); ++i) {
      if (pinned[i])
        places[i] = fresh(registers[i].size);
      else if (lives[i].first != nobody)
        order.push_back(i);
    }
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return lives[a].first < lives[b].first ||
             (lives[a].first == lives[b].first && a < b);
    });
    using Ending = std::pair<uint32_t, uint32_t>; // last, register
    std::priority_queue<Ending, std::vector<Ending>, std::greater<>> active;
    std::map<uint32_t, std::vector<uint32_t>> free; // by size
    for (uint32_t i : order) {
      // A register that ends here is still read by this instruction.
      while (!active.empty() && active.top().first < lives[i].first) {
        uint32_t ended = active.top().second;
        free[registers[ended].size].push_back(places[ended]);
        active.pop();
      }
      std::vector<uint32_t> &same = free[registers[i].size];
      if (same.empty()) {
        places[i] = fresh(registers[i].size);
      } else {
        places[i] = same.back();
        same.pop_back();
      }
      active.push({lives[i].last, i});
    }
    kernel.registerBytes = end;
  }

  void rename() {
    auto moved = [&](uint32_t slot) {
      uint32_t number = slot ? numberOf(slot) : nobody;
      return number == nobody ? slot : places[number];
    };
    for (Instr &instr : kernel.code) {
      instr.guard = moved(instr.guard);
      for (uint32_t &slot : instr.slots)
        slot = moved(slot);
      instr.address.slot = moved(instr.address.slot);
      instr.secondAddress.slot = moved(instr.secondAddress.slot);
    }
    for (uint32_t &slot : kernel.slotPool)
      slot = moved(slot);
    for (Constant &constant : kernel.constants)
      constant.slot = moved(constant.slot);
  }

  Kernel &kernel;
  const std::vector<RegisterPlace> &registers;
  std::vector<uint32_t> numbers; ///< Of the register that begins at slot / 64.
  std::vector<Life> lives;
  std::vector<bool> pinned;
  std::vector<BasicBlock> blocks;
  std::vector<uint32_t> places;
};

} // namespace

void sim::shareRegisterSlots(Kernel &kernel,
                             const std::vector<RegisterPlace> &registers) {
  Allocator(kernel, registers).run();
}
