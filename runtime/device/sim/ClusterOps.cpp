//===- ClusterOps.cpp - mapa, getctarank, cluster registers ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// How shared addresses name blocks of the cluster: see sharedRankShift in
// Program.h. barrier.cluster is in BarrierOps.cpp.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/ClusterOps.h"

#include "runtime/device/sim/Machine.h"
#include "runtime/device/sim/Opcodes.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

namespace {

/// slots: result, address, rank.
template <typename T> void mapAddress(Warp &warp, const Instr &instr) {
  const T *address = warp.lanes<T>(instr.slots[1]);
  const uint32_t *rank = warp.lanes<uint32_t>(instr.slots[2]);
  size_t blocks = warp.block->cluster->blocks.size();
  forActiveLanes(warp.mask, [&](int lane) {
    if (rank[lane] < blocks)
      return;
    warp.block->fault(&warp, &instr, FaultKind::InvalidOperation, lane,
                      fmt::format("the cluster has {} blocks; there is no rank "
                                  "{}",
                                  blocks, rank[lane]));
  });
  writeLanes<T>(warp, instr.slots[0], [=](int lane) {
    T offset = address[lane] & ~(T(0xff) << sharedRankShift);
    return static_cast<T>(offset | T(rank[lane] + 1) << sharedRankShift);
  });
}

/// slots: result, address.
template <typename T> void rankOfAddress(Warp &warp, const Instr &instr) {
  const T *address = warp.lanes<T>(instr.slots[1]);
  uint32_t own = warp.block->rank;
  writeLanes<uint32_t>(warp, instr.slots[0], [=](int lane) {
    uint32_t rank =
        static_cast<uint32_t>(address[lane] >> sharedRankShift & 0xff);
    return rank ? rank - 1 : own;
  });
}

void decodeMapa(InstrBuilder &b) {
  b.requireTarget(90, "mapa");
  bool shared = b.take("shared::cluster");
  Type type = b.type();
  b.expectOperands(3, 3);
  if (!shared && type.bytes != 8)
    return b.refuse("generic addresses have 64 bits");
  b.result(0, type.bytes);
  b.source(1, type.bytes);
  b.source(2, 4);
  b.instr.undefRule = UndefRule::Require;
  b.instr.exec = type.bytes == 8   ? mapAddress<uint64_t>
                 : type.bytes == 4 ? mapAddress<uint32_t>
                                   : nullptr;
}

void decodeRank(InstrBuilder &b) {
  b.requireTarget(90, "getctarank");
  bool shared = b.take("shared::cluster");
  Type type = b.type();
  b.expectOperands(2, 2);
  b.result(0, 4);
  b.source(1, type.bytes);
  if (!shared && type.bytes != 8)
    return b.refuse("generic addresses have 64 bits");
  b.instr.exec = type.bytes == 8   ? rankOfAddress<uint64_t>
                 : type.bytes == 4 ? rankOfAddress<uint32_t>
                                   : nullptr;
}

template <unsigned axis> uint32_t clusterIndex(const Warp &warp) {
  return warp.block->cluster->index[axis];
}
template <unsigned axis> uint32_t clusterCount(const Warp &warp) {
  const Launch &launch = *warp.block->launch;
  return launch.grid[axis] / launch.clusterSize[axis];
}
template <unsigned axis> uint32_t indexInCluster(const Warp &warp) {
  return warp.block->index[axis] % warp.block->launch->clusterSize[axis];
}
template <unsigned axis> uint32_t sizeOfCluster(const Warp &warp) {
  return warp.block->launch->clusterSize[axis];
}
uint32_t rankInCluster(const Warp &warp) { return warp.block->rank; }
uint32_t blocksOfCluster(const Warp &warp) {
  return warp.block->launch->clusterBlocks();
}
void readIsExplicit(Warp &warp, const Instr &instr) {
  warp.setPredicate(instr.slots[0],
                    warp.block->launch->explicitCluster ? ~0u : 0u);
}

} // namespace

std::span<const std::pair<std::string_view, SpecialRegister>>
sim::clusterRegisters() {
  static const std::pair<std::string_view, SpecialRegister> table[] = {
      {"%clusterid.x", {readUniform<clusterIndex<0>>}},
      {"%clusterid.y", {readUniform<clusterIndex<1>>}},
      {"%clusterid.z", {readUniform<clusterIndex<2>>}},
      {"%nclusterid.x", {readUniform<clusterCount<0>>}},
      {"%nclusterid.y", {readUniform<clusterCount<1>>}},
      {"%nclusterid.z", {readUniform<clusterCount<2>>}},
      {"%cluster_ctaid.x", {readUniform<indexInCluster<0>>}},
      {"%cluster_ctaid.y", {readUniform<indexInCluster<1>>}},
      {"%cluster_ctaid.z", {readUniform<indexInCluster<2>>}},
      {"%cluster_nctaid.x", {readUniform<sizeOfCluster<0>>}},
      {"%cluster_nctaid.y", {readUniform<sizeOfCluster<1>>}},
      {"%cluster_nctaid.z", {readUniform<sizeOfCluster<2>>}},
      {"%cluster_ctarank", {readUniform<rankInCluster>}},
      {"%cluster_nctarank", {readUniform<blocksOfCluster>}},
      {"%is_explicit_cluster", {readIsExplicit, 1}},
  };
  return table;
}

std::span<const Opcode> sim::clusterOpcodes() {
  constexpr InstrClass c = InstrClass::Move;
  static const Opcode table[] = {
      {"mapa", c, decodeMapa},
      {"getctarank", c, decodeRank},
  };
  return table;
}
