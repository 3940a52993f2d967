//===- Machine.h - What this machine can do at most -------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Speeds of kernels mean something beside what the machine reaches in the same
// moments: clocks change with load and temperature, and other machines share
// caches and memory. So its limits are measured again and again, between runs
// of what is to be judged, on as many threads.
//
// The peak of a dot is measured in slices of about 0.2 ms, each between two
// chains of additions that give the clock; of some slices the best one counts.
// Processors start a whole number of instructions per cycle: the *issue limit*
// is the next whole number above what was measured (less 4 %, which the clock's
// own error is on a busy machine). A peak below 97 % of the limit is no peak:
// the threads were interrupted, or share a core, and shares of it say nothing.
//
// Reads are of memory of a thread's own, in order, in one stream and in four
// with prefetches; the better one counts. What is in which cache is decided by
// size: half of L2; a quarter of L3, shared out among the threads; eight times
// L3, 256 MiB at least and 1 GiB at most, for memory. Where the system tells no
// size of a cache, its rate is not measured.
//
// Rates are per second, sizes in bytes; both are of all threads together.
//
// Thread-safety: one call at a time.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_MEASURE_MACHINE_H
#define QUERN_MEASURE_MACHINE_H

#include "runtime/measure/Dot.h"
#include "runtime/measure/Team.h"

#include <array>

namespace quern {
inline namespace v0 {
namespace measure {

/// Of a peak that counts, as a share of the issue limit.
inline constexpr double leastShareOfIssueLimit = 0.97;

struct Peak {
  double operations = 0; ///< Per second.
  double clock = 0;      ///< Cycles per second of one thread.
  double perCycle = 0;   ///< Instructions that one thread starts.

  /// Instructions per cycle; at least 1.
  double issueLimit() const;
  double shareOfLimit() const { return perCycle / issueLimit(); }
  bool counts() const { return shareOfLimit() >= leastShareOfIssueLimit; }
};

enum class Level : uint8_t { L2, L3, Memory };

struct ReadRate {
  Level level = Level::Memory;
  uint64_t bytes = 0; ///< Read over and over, by all threads together.
  double rate = 0;    ///< Bytes per second.
};

/// Sizes of caches as the system tells them; 0 where it does not.
struct Caches {
  uint64_t l2 = 0, l3 = 0;
};
Caches cachesHere();

/// "AMD EPYC 9xx5"; empty where the system does not say.
std::string processorName();

/// How often threads of this process lost their CPU to others.
long interruptions();

class Machine {
public:
  static Result<std::unique_ptr<Machine>> create(unsigned threads);

  unsigned threads() const { return team->threads(); }

  /// The best of some slices. `dot` can run here.
  Peak peak(const Dot &dot, unsigned slices = 3);

  /// Levels whose rate can be measured, nearest first.
  const std::vector<ReadRate> &levels() const { return rates; }
  /// Measures a level once more and returns this pass's rate in bytes per
  /// second; the best one so far stands in `levels`. Allocates on first use.
  Result<double> read(size_t level);

  /// The level that holds so many bytes, touched by all threads together: the
  /// nearest one of which three quarters suffice. Where no rate is measured of
  /// it, null.
  const ReadRate *levelOf(double bytes) const;
  const ReadRate *memory() const;

private:
  Machine() = default;

  std::unique_ptr<Team> team;
  Caches caches;
  std::vector<ReadRate> rates;
  struct Free {
    void operator()(std::byte *p) const;
  };
  /// A thread's own, of the largest level that was asked for.
  std::vector<std::unique_ptr<std::byte, Free>> blocks;
  uint64_t blockBytes = 0;
};

/// "L2", "L3", "memory"
std::string_view name(Level level);

} // namespace measure
} // namespace v0
} // namespace quern

#endif // QUERN_MEASURE_MACHINE_H
