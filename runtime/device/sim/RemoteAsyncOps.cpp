//===- RemoteAsyncOps.cpp - st.async and red.async ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Registers into shared memory of a block of the cluster, stored or combined
// with what is there, and their bytes counted on an mbarrier of that block.
// Both act through the generic proxy: the PTX ISA names only bulk copies, wgmma
// and their like as operations of the async proxy. A reduction is a relaxed
// atomic at .cluster scope.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/AsyncReduction.h"
#include "runtime/device/sim/BulkCopyOps.h"
#include "runtime/device/sim/MemoryAccess.h"

#include <array>

using namespace quern;
using namespace quern::sim;

namespace {

/// `address`: destination; vector: the values; `immediate`: the ReduceFn, or 0.
template <typename T> void sendAsync(Warp &warp, const Instr &instr) {
  LaneAddresses to = computeAddresses(warp, instr.address);
  uint32_t count = instr.vectorCount;
  uint32_t bytes = count * static_cast<uint32_t>(sizeof(T));
  const uint32_t *slots = &warp.block->kernel->slotPool[instr.vectorBegin];
  auto reduce = reinterpret_cast<ReduceFn>(instr.immediate);
  forActiveLanes(warp.mask, [&](int lane) {
    for (const BulkTarget &target :
         bulkTargets(warp, instr, lane, to.value[lane], bytes, bytes)) {
      std::array<T, 4> values{};
      for (uint32_t i = 0; i < count; ++i)
        values[i] = warp.lanes<T>(slots[i])[lane];
      AsyncOp op = beginAsync(warp, instr, lane);
      op.viaGenericProxy = true;
      std::byte *place = reduce ? op.reduceShared(target.data, bytes)
                                : op.writeShared(target.data, bytes);
      if (!place)
        return;
      op.onLanding([=](AsyncOp &) {
        if (reduce)
          reduce(place, reinterpret_cast<const std::byte *>(values.data()),
                 bytes);
        else
          std::memcpy(place, values.data(), bytes);
      });
      op.signal(target.mbarrier, bytes);
      schedule(std::move(op));
    }
  });
}

/// Takes .shared::cluster.mbarrier::complete_tx::bytes. Without the space the
/// addresses are generic, which locateShared() understands as well.
bool takeCompletion(InstrBuilder &b) {
  bool shared = b.take("shared::cluster");
  b.instr.space = shared ? AddressSpace::SharedCluster : AddressSpace::Generic;
  if (b.firstOf({"global"}).size()) {
    b.refuse("asynchronous accesses of global memory are not supported");
    return false;
  }
  if (b.take("mbarrier::complete_tx::bytes"))
    return true;
  b.refuse(".mbarrier::complete_tx::bytes is missing");
  return false;
}

void bindOperands(InstrBuilder &b, unsigned count, Type type) {
  b.expectOperands(3, 3);
  if (b.failed())
    return;
  std::vector<const ptx::Operand *> data = b.elements(1);
  if (data.size() != count)
    return b.refuse("the number of elements is not that of the vector");
  b.instr.address = b.address(0);
  for (const ptx::Operand *element : data)
    b.addToVector(b.source(*element, type.bytes));
  bindMbarrier(b, 2);
  b.instr.undefRule = UndefRule::Require;
  b.instr.exec = type.bytes == 8 ? sendAsync<uint64_t> : sendAsync<uint32_t>;
}

} // namespace

void sim::decodeStoreAsync(InstrBuilder &b) {
  b.requireTarget(90, "st.async");
  b.take("weak");
  if (!takeCompletion(b))
    return;
  int vector = b.takeOneOf({"v2", "v4"});
  unsigned count = vector < 0 ? 1 : 2u << vector;
  Type type = b.type();
  if (type.bytes < 4 || type.packed || count * type.bytes > 16)
    return b.refuse("one, two or four elements of 4 or 8 bytes are expected, "
                    "at most 16 bytes in all");
  bindOperands(b, count, type);
}

void sim::decodeReduceAsync(InstrBuilder &b) {
  b.requireTarget(90, "red.async");
  if (!b.take("relaxed") || !b.take("cluster"))
    return b.refuse("red.async.relaxed.cluster is expected");
  if (!takeCompletion(b))
    return;
  int op = takeReduceOp(b);
  Type type = b.type();
  ReduceFn reduce =
      op < 0 ? nullptr : findReduce(static_cast<ReduceOp>(op), type);
  bool isAdd = op == static_cast<int>(ReduceOp::Add);
  bool isLogic = op >= static_cast<int>(ReduceOp::And);
  bool isCount = op == static_cast<int>(ReduceOp::Inc) ||
                 op == static_cast<int>(ReduceOp::Dec);
  if (!reduce || !type.isInteger() || (type.bytes == 8 && !isAdd) ||
      isLogic != (type.kind == Type::Kind::Bits) ||
      (isCount && type.kind != Type::Kind::Unsigned))
    return b.refuse("this reduction does not exist; there are .add of u32, "
                    "s32, u64 and s64, .min and .max of u32 and s32, .inc and "
                    ".dec of u32, .and, .or and .xor of b32");
  b.instr.immediate = reinterpret_cast<uint64_t>(reduce);
  bindOperands(b, 1, type);
}
