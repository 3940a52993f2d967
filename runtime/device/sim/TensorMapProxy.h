//===- TensorMapProxy.h - Tensor maps made on the device --------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Tensor copies read tensor maps through a proxy of their own (PTX ISA,
// "membar/fence", .proxykind .tensormap::generic). A map that a kernel writes
// reaches them only by
//
//   - a release: fence.proxy.tensormap::generic.release or
//     tensormap.cp_fenceproxy, executed after the write, and
//   - an acquire: fence.proxy.tensormap::generic.acquire of that map, executed
//     after the release and before the copy,
//
// each by anyone along the chain from the writer to the thread that issues the
// copy. Maps that nobody has written in this launch need neither.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_TENSORMAPPROXY_H
#define QUERN_DEVICE_SIM_TENSORMAPPROXY_H

#include "runtime/device/sim/Machine.h"

namespace quern {
inline namespace v0 {
namespace sim {

struct TensorMapProxy {
  struct Acquire {
    Epoch fence;
    uint64_t writes; ///< What had been written then: hashOfWrites().
  };
  Clock released;
  std::map<uint64_t, std::vector<Acquire>> acquired; ///< By the map's address.
};

/// What the warp knows is released to the proxy.
void releaseTensorMaps(Warp &warp);
/// The proxy acquires the map at `address` for the warp. Call it before the
/// warp's time advances.
void acquireTensorMap(Warp &warp, const Instr &instr, int lane,
                      uint64_t address);
/// Before a copy uses the map at `address` of global memory.
void checkTensorMapUse(Warp &warp, const Instr &instr, int lane,
                       uint64_t address);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_TENSORMAPPROXY_H
