//===- TensorCopyOps.cpp - cp.async.bulk.tensor ---------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Copies of boxes of a tensor that a tensor map describes (TensorMap.h), in
// tile mode, 1 to 5 dimensions; im2col, gather and scatter modes are refused. A
// box in shared memory begins at a multiple of 128 bytes (PTX ISA, "Tensors").
// mbarriers receive the bytes of the whole box, filled ones included.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/AsyncReduction.h"
#include "runtime/device/sim/BulkCopyOps.h"
#include "runtime/device/sim/MemoryAccess.h"
#include "runtime/device/sim/TensorMap.h"
#include "runtime/device/sim/TensorMapProxy.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

namespace {

constexpr uint32_t boxAlignment = 128;

/// The map at a generic address: a kernel parameter, or global memory.
std::optional<TensorMap> mapAt(Warp &warp, const Instr &instr, int lane,
                               uint64_t address) {
  Block &block = *warp.block;
  Launch &launch = *block.launch;
  const std::byte *bytes = nullptr;
  uint64_t offset = address - paramWindow;
  if (address % 64) {
    block.fault(
        &warp, &instr, FaultKind::Misaligned, lane,
        fmt::format("the tensor map at {:#x} needs a multiple of 64", address));
    return std::nullopt;
  }
  if (offset < windowBytes) {
    if (offset > launch.parameters.size() ||
        tensorMapBytes > launch.parameters.size() - offset) {
      block.fault(&warp, &instr, FaultKind::OutOfBounds, lane,
                  "the tensor map lies beyond the kernel's parameters");
      return std::nullopt;
    }
    bytes = launch.parameters.data() + offset;
  } else {
    LaneAddresses addresses;
    addresses.value[lane] = address;
    std::byte *pointers[32];
    if (!resolveGlobal(warp, instr, addresses, 1u << lane, tensorMapBytes, 64,
                       Access::Read, pointers))
      return std::nullopt;
    checkTensorMapUse(warp, instr, lane, address);
    bytes = pointers[lane];
  }
  std::byte copy[tensorMapBytes];
  std::memcpy(copy, bytes, sizeof(copy));
  std::optional<TensorMap> map = decodeTensorMap(copy);
  if (!map)
    block.fault(&warp, &instr, FaultKind::InvalidOperation, lane,
                "what the operand points to is no tensor map made by "
                "cuTensorMapEncodeTiled");
  else if (map->rank != instr.bytes) {
    block.fault(&warp, &instr, FaultKind::InvalidOperation, lane,
                fmt::format("the tensor map has {} dimensions, the instruction "
                            "{}",
                            map->rank, instr.bytes));
    return std::nullopt;
  } else if (std::optional<Diagnostic> problem = checkTensorMap(*map)) {
    // Only tensormap.replace makes such maps.
    block.fault(&warp, &instr, FaultKind::InvalidOperation, lane,
                problem->message);
    return std::nullopt;
  }
  return map;
}

/// The type that a reduction computes in.
std::optional<Type> reducedType(TensorType type) {
  using K = Type::Kind;
  switch (type) {
  case TensorType::U32:
    return Type{K::Unsigned, 4};
  case TensorType::S32:
    return Type{K::Signed, 4};
  case TensorType::U64:
    return Type{K::Unsigned, 8};
  case TensorType::S64:
    return Type{K::Signed, 8};
  case TensorType::F16:
    return Type{K::Float, 2};
  case TensorType::BF16:
    return Type{K::BFloat, 2};
  case TensorType::F32:
  case TensorType::F32Ftz:
    return Type{K::Float, 4};
  case TensorType::F64:
    return Type{K::Float, 8};
  default:
    return std::nullopt;
  }
}

/// Shared: `map`, its rows at the coordinates, ready for any number of targets.
struct Box {
  TensorMap map;
  std::vector<TensorRow> rows;
};

void landBox(const Box &box, std::byte *shared, uint32_t offset) {
  uint32_t width = box.map.rowBytes();
  for (const TensorRow &row : box.rows) {
    if (row.inside)
      writeBox(box.map, shared, offset, row.boxOffset + row.before,
               reinterpret_cast<const std::byte *>(row.address), row.inside);
    fillBox(box.map, shared, offset, row.boxOffset, row.before);
    uint32_t behind = row.before + row.inside;
    fillBox(box.map, shared, offset, row.boxOffset + behind, width - behind);
  }
}

void loadBox(Warp &warp, const Instr &instr, int lane, uint64_t address,
             std::shared_ptr<const Box> box) {
  uint32_t bytes = box->map.boxBytes();
  Counters &counters = warp.block->launch->counters;
  Counters before = counters;
  bool first = true;
  for (const BulkTarget &target :
       bulkTargets(warp, instr, lane, address, bytes, boxAlignment)) {
    AsyncOp op = beginAsync(warp, instr, lane);
    for (const TensorRow &row : box->rows)
      if (row.inside && !op.readGlobal(row.address, row.inside, 0))
        return;
    // However many blocks receive it, the box is fetched once.
    if (!first) {
      counters.globalBytesRead = before.globalBytesRead;
      counters.globalSectors = before.globalSectors;
    }
    before = counters;
    first = false;
    std::byte *data = op.writeShared(target.data, bytes);
    if (!data)
      return;
    op.onLanding([box, data, offset = target.data.offset](AsyncOp &) {
      landBox(*box, data, offset);
    });
    op.signal(target.mbarrier, bytes);
    schedule(std::move(op));
  }
}

void storeBox(Warp &warp, const Instr &instr, int lane, uint64_t address,
              std::shared_ptr<const Box> box) {
  ReduceFn reduce = nullptr;
  if (instr.immediate) {
    auto op = static_cast<ReduceOp>(instr.immediate - 1);
    if (std::optional<Type> type = reducedType(box->map.type)) {
      reduce = findReduce(op, *type);
      if (!reduce && op >= ReduceOp::And && type->isInteger())
        reduce = findReduce(op, {Type::Kind::Bits, type->bytes});
    }
    if (!reduce) {
      warp.block->fault(&warp, &instr, FaultKind::InvalidOperation, lane,
                        "the reduction does not exist on the tensor's type");
      return;
    }
  }
  uint32_t bytes = box->map.boxBytes();
  SharedPlace source =
      locateShared(warp, instr, lane, address, bytes, boxAlignment);
  if (!source)
    return;
  AsyncOp op = beginAsync(warp, instr, lane);
  const std::byte *data = op.readShared(source, bytes);
  if (!data)
    return;
  for (const TensorRow &row : box->rows)
    if (row.inside && !(reduce ? op.reduceGlobal(row.address, row.inside, 0)
                               : op.writeGlobal(row.address, row.inside, 0)))
      return;
  op.onLanding([=, offset = source.offset](AsyncOp &) {
    std::vector<std::byte> plain(box->map.rowBytes());
    for (const TensorRow &row : box->rows) {
      if (!row.inside)
        continue;
      readBox(box->map, data, offset, row.boxOffset + row.before, plain.data(),
              row.inside);
      auto *to = reinterpret_cast<std::byte *>(row.address);
      if (reduce)
        reduce(to, plain.data(), row.inside);
      else
        std::memcpy(to, plain.data(), row.inside);
    }
  });
  op.joinBulkGroup();
  schedule(std::move(op));
}

/// `address`: in shared memory; `secondAddress`: the tensor map; vector: the
/// coordinates; `bytes`: how many; `immediate`: ReduceOp + 1, or 0.
void copyTensor(Warp &warp, const Instr &instr) {
  LaneAddresses shared = computeAddresses(warp, instr.address);
  LaneAddresses maps = computeAddresses(warp, instr.secondAddress);
  const uint32_t *slots = &warp.block->kernel->slotPool[instr.vectorBegin];
  forActiveLanes(warp.mask, [&](int lane) {
    std::optional<TensorMap> map = mapAt(warp, instr, lane, maps.value[lane]);
    if (!map || (instr.flags & bulkPrefetch))
      return;
    int32_t coordinates[maxTensorRank] = {};
    for (unsigned i = 0; i < instr.bytes; ++i)
      coordinates[i] = warp.lanes<int32_t>(slots[i])[lane];
    auto box = std::make_shared<Box>();
    box->map = *map;
    box->rows = rowsOf(*map, coordinates);
    if (instr.flags & bulkToShared)
      loadBox(warp, instr, lane, shared.value[lane], std::move(box));
    else
      storeBox(warp, instr, lane, shared.value[lane], std::move(box));
  });
}

/// [map, {c0, c1, ...}]
void bindTensor(InstrBuilder &b, size_t index, unsigned rank) {
  const ptx::Operand &whole = b.operand(index);
  if (whole.kind != ptx::Operand::Kind::Address || whole.elements.size() != 2)
    return b.refuse("[tensor map, {coordinates}] is expected");
  ptx::Operand base = whole;
  base.elements.resize(1);
  b.instr.secondAddress = b.address(base);
  const ptx::Operand &list = whole.elements[1];
  bool isVector = list.kind == ptx::Operand::Kind::Vector;
  if (isVector ? list.elements.size() != rank : rank != 1)
    return b.refuse(fmt::format("{} coordinates are expected", rank));
  for (unsigned i = 0; i < rank; ++i)
    b.addToVector(b.source(isVector ? list.elements[i] : list, 4));
}

} // namespace

void sim::decodeTensorCopy(InstrBuilder &b, bool reduces) {
  int rank = 1 + b.takeOneOf({"1d", "2d", "3d", "4d", "5d"});
  if (rank == 0)
    return b.refuse("the number of dimensions (.1d to .5d) is missing");
  for (std::string_view mode :
       {"im2col", "im2col::w", "im2col::w::128", "im2col_no_offs",
        "tile::gather4", "tile::scatter4"})
    if (b.take(mode))
      return b.refuse(fmt::format("mode .{} is not supported", mode));
  if (b.firstOf({"cta_group::1", "cta_group::2"}).size())
    return b.refuse("pairs of blocks (.cta_group) are not supported");
  b.take("tile");
  bool hint = b.take("L2::cache_hint");
  bool prefetch = b.take("prefetch");
  b.instr.bytes = static_cast<uint8_t>(rank);
  b.instr.undefRule = UndefRule::Require;
  b.instr.exec = copyTensor;
  if (prefetch) {
    if (!b.take("L2") || !b.take("global"))
      return b.refuse(".prefetch.tensor.<n>d.L2.global is expected");
    b.expectOperands(1 + hint, 1 + hint);
    bindTensor(b, 0, static_cast<unsigned>(rank));
    b.instr.flags = bulkPrefetch;
    return;
  }
  std::string_view to = b.firstOf({"shared::cluster", "shared::cta", "global"});
  b.take(to);
  std::string_view from = b.firstOf({"global", "shared::cta"});
  b.take(from);
  bool barrier = b.take("mbarrier::complete_tx::bytes");
  bool group = b.take("bulk_group");
  bool multicast = b.take("multicast::cluster");
  bool toShared = to.starts_with("shared");
  if (to.empty() || from.empty() || toShared != (from == "global") ||
      barrier != toShared || group == toShared || (reduces && toShared))
    return b.refuse("copies go .shared::cluster.global (with "
                    ".mbarrier::complete_tx::bytes) or .global.shared::cta "
                    "(with .bulk_group)");
  if (reduces) {
    int op = takeReduceOp(b);
    if (op < 0)
      return b.refuse("the reduction is missing");
    b.instr.immediate = static_cast<uint64_t>(op) + 1;
  }
  size_t count = 2 + toShared + multicast + hint;
  b.expectOperands(count, count);
  if (b.failed())
    return;
  b.instr.address = b.address(toShared ? 0 : 1);
  bindTensor(b, toShared ? 1 : 0, static_cast<unsigned>(rank));
  uint32_t mask = multicast ? b.source(3, 2) : 0;
  if (hint)
    b.source(count - 1, 8);
  b.instr.flags = static_cast<uint8_t>(
      (toShared ? bulkToShared : 0) | (multicast ? bulkMulticast : 0) |
      (to == "shared::cta" ? bulkOwnBlock : 0));
  if (toShared)
    bindMbarrier(b, 2);
  b.instr.slots[1] = mask;
}
