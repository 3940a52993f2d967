//===- Clock.cpp - What is ordered before what ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Clock.h"

#include <algorithm>

using namespace quern;
using namespace quern::sim;

void Times::join(const Times &other) {
  for (unsigned i = 0; i < agentsPerBlock; ++i)
    generic[i] = std::max(generic[i], other.generic[i]);
  for (unsigned i = 0; i < agentsPerBlock; ++i)
    async[i] = std::max(async[i], other.async[i]);
}

/// Whether `a` knows all that `b` does.
static bool covers(const Times &a, const Times &b) {
  uint32_t missing = 0;
  for (unsigned i = 0; i < agentsPerBlock; ++i)
    missing |= b.generic[i] > a.generic[i];
  for (unsigned i = 0; i < agentsPerBlock; ++i)
    missing |= b.async[i] > a.async[i];
  return !missing;
}

Clock::Foreign &Clock::mutableForeign() {
  if (!foreign)
    foreign = std::make_shared<Foreign>();
  else if (foreign.use_count() > 1)
    foreign = std::make_shared<Foreign>(*foreign);
  return *foreign;
}

const Times &Clock::timesOf(uint32_t block) const {
  if (block == home)
    return times;
  static const Times nothing;
  if (!foreign)
    return nothing;
  auto it = foreign->find(block);
  return it == foreign->end() ? nothing : *it->second;
}

void Clock::joinForeign(uint32_t block,
                        const std::shared_ptr<const Times> &other) {
  if (block == home)
    return times.join(*other);
  if (foreign) {
    auto it = foreign->find(block);
    if (it != foreign->end() &&
        (it->second == other || covers(*it->second, *other)))
      return;
  }
  std::shared_ptr<const Times> &mine = mutableForeign()[block];
  if (!mine || covers(*other, *mine)) {
    mine = other;
    return;
  }
  auto both = std::make_shared<Times>(*mine);
  both->join(*other);
  mine = std::move(both);
}

void Clock::join(const Clock &other) {
  if (&other == this)
    return;
  if (other.home == home) {
    times.join(other.times);
  } else {
    if (!covers(timesOf(other.home), other.times))
      joinForeign(other.home, std::make_shared<const Times>(other.times));
  }
  if (!other.foreign || other.foreign == foreign)
    return;
  if (!foreign && !other.foreign->count(home)) {
    foreign = other.foreign;
    return;
  }
  // Copies made by joinForeign must not touch what is being walked.
  std::shared_ptr<Foreign> theirs = other.foreign;
  for (const auto &[block, known] : *theirs)
    joinForeign(block, known);
}

void Clock::meet(const Clock &other) {
  auto limit = [](Times &mine, const Times &theirs) {
    for (unsigned i = 0; i < agentsPerBlock; ++i)
      mine.generic[i] = std::min(mine.generic[i], theirs.generic[i]);
    for (unsigned i = 0; i < agentsPerBlock; ++i)
      mine.async[i] = std::min(mine.async[i], theirs.async[i]);
  };
  limit(times, other.timesOf(home));
  if (!foreign || foreign == other.foreign)
    return;
  for (auto &[block, known] : mutableForeign()) {
    if (covers(other.timesOf(block), *known))
      continue;
    Times both = *known;
    limit(both, other.timesOf(block));
    known = std::make_shared<const Times>(both);
  }
}

void Clock::fenceProxy() {
  auto fence = [](Times &known) {
    for (unsigned i = 0; i < agentsPerBlock; ++i)
      known.async[i] = std::max(known.async[i], known.generic[i]);
  };
  fence(times);
  if (!foreign)
    return;
  for (auto &[block, known] : mutableForeign()) {
    Times fenced = *known;
    fence(fenced);
    if (!covers(*known, fenced))
      known = std::make_shared<const Times>(fenced);
  }
}

void Clock::learn(const Epoch &epoch, bool viaGenericProxy) {
  auto add = [&](Times &known) {
    uint32_t &generic = known.generic[epoch.agent];
    generic = std::max(generic, epoch.time);
    uint32_t &async = known.async[epoch.agent];
    if (!viaGenericProxy)
      async = std::max(async, epoch.time);
  };
  if (epoch.block == home)
    return add(times);
  Times known = timesOf(epoch.block);
  add(known);
  joinForeign(epoch.block, std::make_shared<const Times>(known));
}
