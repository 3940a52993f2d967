//===- Team.cpp - Threads that do the same thing at once ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/measure/Team.h"

#include <fmt/format.h>

#include <algorithm>
#include <sched.h>
#include <system_error>

using namespace quern;
using namespace quern::measure;

unsigned measure::availableCpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

Result<std::unique_ptr<Team>> Team::create(unsigned threads) {
  std::unique_ptr<Team> team(new Team(std::max(threads, 1u)));
  try {
    for (unsigned i = 1; i < team->count; ++i)
      team->others.emplace_back([team = team.get(), i] { team->work(i); });
  } catch (const std::system_error &error) {
    return fail(Errc::OutOfMemory, fmt::format("cannot start {} threads: {}",
                                               threads, error.what()));
  }
  return team;
}

Team::~Team() {
  ends.store(true);
  round.fetch_add(1);
  round.notify_all();
  for (std::thread &thread : others)
    thread.join();
}

/// Runs the job once all threads are awake, so that none is ahead.
void Team::together(unsigned thread) {
  awake.fetch_add(1);
  while (awake.load() < count)
    std::this_thread::yield();
  (*job)(thread);
}

void Team::work(unsigned thread) {
  for (unsigned seen = 0;;) {
    round.wait(seen);
    seen = round.load();
    if (ends.load())
      return;
    together(thread);
    if (done.fetch_add(1) + 1 == count - 1)
      done.notify_one();
  }
}

void Team::run(FunctionRef<void(unsigned)> body) {
  job = &body;
  awake.store(0);
  done.store(0);
  round.fetch_add(1);
  round.notify_all();
  together(0);
  for (unsigned finished; (finished = done.load()) < count - 1;)
    done.wait(finished);
}
