//===- Clock.h - What is ordered before what --------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Vector clocks (Mattern 1989; for the use in race detection see Flanagan &
// Freund, "FastTrack", 2009).
//
// Agents. In every block, agents 0..31 are its warps, acting through the
// generic proxy, and agents 32..63 are its asynchronous operations: each takes
// the next of these 32 in turn. Bulk and tensor copies and wgmma act through
// the async proxy, the others (cp.async, st.async, red.async) through the
// generic one.
// Lanes of one warp count as one agent: the simulator runs a warp in lockstep
// and does not look for a missing __syncwarp.
//
// Times. Agent a of block b at local time t has performed everything with
// epoch (b, a, t' <= t). A warp's time starts at 1 and advances whenever it
// releases or fences; its own Clock holds it. An asynchronous operation has
// times of its own. Times have 32 bits and do not run out before the watchdog
// does.
//
// Knowledge. A warp's Clock says, for every agent, up to which time its
// accesses are ordered before what the warp does next. `generic` is what the
// warp's own loads and stores may rely on. `async` is what asynchronous
// operations that it issues may rely on: writes through the generic proxy
// reach it only by fence.proxy.async, executed by anyone along the chain from
// the writer to the issuer (PTX ISA, "Memory Consistency Model", proxies:
// proxy-preserved base causality order). Both parts travel with every release
// and acquire.
//
// Synchronisation objects (barriers, mbarriers, words touched by atomics) hold
// a Clock too: a release joins the warp's Clock into the object's, an acquire
// the object's into the warp's.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_CLOCK_H
#define QUERN_DEVICE_SIM_CLOCK_H

#include <cstdint>
#include <map>
#include <memory>

namespace quern {
inline namespace v0 {
namespace sim {

inline constexpr unsigned warpAgents = 32;
inline constexpr unsigned agentsPerBlock = 64;

/// One access's place in time. `block` is the block's linear index in the grid.
struct Epoch {
  uint32_t block = 0;
  uint32_t time = 0; ///< 0: no access at all.
  uint8_t agent = 0;

  bool isAsync() const { return agent >= warpAgents; }
  bool operator==(const Epoch &) const = default;
};

/// Known times of one block's agents.
struct Times {
  alignas(64) uint32_t generic[agentsPerBlock] = {};
  /// What the async proxy may rely on.
  alignas(64) uint32_t async[agentsPerBlock] = {};

  void join(const Times &other);
};

class Clock {
public:
  explicit Clock(uint32_t home = 0) : home(home) {}

  /// The block whose agents are kept in `times`; others are in a shared map.
  uint32_t home;
  Times times;

  void join(const Clock &other);
  /// Everything known to the generic proxy becomes known to the async proxy.
  void fenceProxy();

  bool knowsGeneric(const Epoch &epoch) const {
    return epoch.time <= timesOf(epoch.block).generic[epoch.agent];
  }
  /// For an access through the async proxy.
  bool knowsAsync(const Epoch &epoch) const {
    return epoch.time <= timesOf(epoch.block).async[epoch.agent];
  }
  /// Forgets what `other` does not know.
  void meet(const Clock &other);
  /// Adds one epoch: of an access through the async proxy, or through the
  /// generic one, about which the async proxy learns nothing.
  void learn(const Epoch &epoch, bool viaGenericProxy = false);

private:
  using Foreign = std::map<uint32_t, std::shared_ptr<const Times>>;

  const Times &timesOf(uint32_t block) const;
  void joinForeign(uint32_t block, const std::shared_ptr<const Times> &other);
  Foreign &mutableForeign();

  /// Shared between copies until one of them changes.
  std::shared_ptr<Foreign> foreign;
};

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_CLOCK_H
