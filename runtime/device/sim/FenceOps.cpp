//===- FenceOps.cpp - fence and membar ------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Modelling choices:
//  - fence.{acquire,release}, .sync_restrict and fence.sc act like
//    fence.acq_rel at the same scope, which promises at least as much as the
//    former; the total order of fence.sc is that of execution.
//  - fence.proxy.async acts on all state spaces, also when it names one.
//  - fence.proxy.alias only gives a good moment for other warps to run.
//  - Fences of the tensormap proxy: TensorMapProxy.h.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/MemoryAccess.h"
#include "runtime/device/sim/MemoryOrder.h"
#include "runtime/device/sim/Opcodes.h"
#include "runtime/device/sim/TensorMap.h"
#include "runtime/device/sim/TensorMapProxy.h"

using namespace quern;
using namespace quern::sim;

namespace {

void letOthers(Warp &warp) {
  if (warp.block->launch->random() % 4 == 0)
    warp.yielded = true;
}

void fence(Warp &warp, const Instr &instr) {
  if (warp.block->launch->options.checks)
    fenceMemory(warp, instr.scope);
  letOthers(warp);
}

void fenceProxy(Warp &warp, const Instr &) {
  if (warp.block->launch->options.checks)
    fenceAsyncProxy(warp);
  letOthers(warp);
}

/// Mbarriers whose init is ordered before become visible to the async proxy.
void fenceMbarrierInit(Warp &warp, const Instr &) {
  if (warp.block->launch->options.checks)
    for (Block *block : warp.block->cluster->blocks)
      for (auto &[offset, mbarrier] : block->mbarriers)
        mbarrier.visibleToAsync |=
            warp.clock.knowsGeneric(mbarrier.initialised);
  letOthers(warp);
}

/// Release, or with an address acquire.
void fenceTensorMaps(Warp &warp, const Instr &instr) {
  if (instr.flags) {
    LaneAddresses addresses = computeAddresses(warp, instr.address);
    uint64_t last = 0;
    forActiveLanes(warp.mask, [&](int lane) {
      if (addresses.value[lane] != last)
        acquireTensorMap(warp, instr, lane, addresses.value[lane]);
      last = addresses.value[lane];
    });
  } else {
    releaseTensorMaps(warp);
  }
  fence(warp, instr);
}

void fenceNothing(Warp &warp, const Instr &) { letOthers(warp); }

void decodeFence(InstrBuilder &b) {
  int order = b.takeOneOf({"sc", "acq_rel", "acquire", "release"});
  bool restricted = b.takeOneOf({"sync_restrict::shared::cta",
                                 "sync_restrict::shared::cluster"}) >= 0;
  bool proxy = b.take("proxy"), init = b.take("mbarrier_init");
  int scope = b.takeOneOf({"cta", "cluster", "gpu", "gl", "sys"});
  constexpr Scope scopes[] = {Scope::Cta, Scope::Cluster, Scope::Gpu,
                              Scope::Gpu, Scope::Sys};
  if (scope >= 0)
    b.instr.scope = scopes[scope];
  if (proxy) {
    if (b.take("async")) {
      b.takeOneOf({"global", "shared::cta", "shared::cluster"});
      b.expectOperands(0, 0);
      if (restricted || order >= 0)
        return b.refuse("fence.proxy.async has no order");
      b.instr.exec = fenceProxy;
      return;
    }
    // Orders as well as it changes proxies.
    if (b.take("async::generic")) {
      b.expectOperands(0, 0);
      b.instr.exec = [](Warp &warp, const Instr &instr) {
        fence(warp, instr);
        fenceProxy(warp, instr);
      };
      return;
    }
    if (b.take("alias")) {
      b.expectOperands(0, 0);
      b.instr.exec = fenceNothing;
      return;
    }
    if (b.take("tensormap::generic")) {
      bool acquires = order == 2;
      if ((order != 2 && order != 3) || scope < 0)
        return b.refuse(".release.<scope>, or .acquire.<scope> of a tensor map "
                        "is expected");
      b.expectOperands(acquires ? 2 : 0, acquires ? 2 : 0);
      if (acquires) {
        b.instr.address = b.address(0);
        if (b.immediate(1) != tensorMapBytes)
          return b.refuse("tensor maps have 128 bytes");
      }
      b.instr.flags = acquires;
      b.instr.undefRule = UndefRule::Require;
      b.instr.exec = fenceTensorMaps;
      return;
    }
    return b.refuse("one of .async, .alias and .tensormap::generic is "
                    "expected");
  }
  b.expectOperands(0, 0);
  if (init) {
    if (order != 3 || scope != 1)
      return b.refuse("fence.mbarrier_init.release.cluster is expected");
    b.instr.exec = fenceMbarrierInit;
    return;
  }
  if (scope < 0)
    return b.refuse("the scope is missing");
  b.instr.exec = fence;
}

} // namespace

std::span<const Opcode> sim::fenceOpcodes() {
  constexpr InstrClass c = InstrClass::Atomic;
  static const Opcode table[] = {
      {"membar", c, decodeFence},
      {"fence", c, decodeFence},
  };
  return table;
}
