//===- AccessHistory.cpp - Who touched which byte, and in what order ------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/AccessHistory.h"

#include <algorithm>
#include <unordered_map>

using namespace quern;
using namespace quern::sim;

AccessHistory::AccessHistory() : records(1), nodes(2), readers(1) {
  nodes[initialised].initialised = true;
}

uint32_t AccessHistory::recordOf(const Access &access) {
  uint32_t &last =
      recent[(access.epoch.agent + access.epoch.block * 64u) % recent.size()];
  const Record &known = records[last];
  if (last && known.instr == access.instr && known.epoch == access.epoch &&
      known.atomic == (access.kind == Kind::Atomic))
    return last;
  Record record;
  record.epoch = access.epoch;
  record.instr = access.instr;
  record.cluster = access.cluster;
  record.strong = access.strong;
  record.nonCoherent = access.nonCoherent;
  record.atomic = access.kind == Kind::Atomic;
  record.scope = access.scope;
  last = static_cast<uint32_t>(records.size());
  records.push_back(record);
  return last;
}

/// Whether scope `a` of an access by block `x` (in cluster `cx`) includes a
/// thread of block `y`.
static bool includes(Scope a, uint32_t x, uint32_t cx, uint32_t y,
                     uint32_t cy) {
  return a == Scope::Cta ? x == y : a == Scope::Cluster ? cx == cy : true;
}

bool AccessHistory::isOrdered(const Record &earlier, const Access &access,
                              bool earlierWrites) const {
  const Epoch &epoch = earlier.epoch;
  // An overwrite through the async proxy needs only order after reads of the
  // generic proxy; what those wrote must have passed a proxy fence.
  if (access.asyncProxy)
    return earlierWrites ? access.clock->knowsAsync(epoch)
                         : access.clock->knowsGeneric(epoch);
  // A warp knows what it did; asynchronous operations only share agents.
  bool own = epoch.block == access.epoch.block &&
             epoch.agent == access.epoch.agent && !epoch.isAsync();
  return own || access.clock->knowsGeneric(epoch);
}

std::optional<AccessHistory::Finding>
AccessHistory::check(const Node &node, const Access &access) const {
  bool reads = access.kind == Kind::Read || access.kind == Kind::Atomic;
  bool writes = access.kind != Kind::Read;
  const Record &writer = records[node.writer];
  auto found = [&](FaultKind kind, const Record &earlier, bool earlierWrites) {
    Finding finding;
    finding.kind = kind;
    finding.earlier = earlier;
    finding.earlierWrites = earlierWrites;
    return finding;
  };
  if (node.opaque && access.kind != Kind::MakeOpaque)
    return found(FaultKind::BarrierMisuse, writer, true);
  if (node.inFlight)
    return found(FaultKind::InFlightCopy, writer, true);
  auto races = [&](const Record &earlier,
                   bool earlierWrites) -> std::optional<FaultKind> {
    if (isOrdered(earlier, access, earlierWrites))
      return std::nullopt;
    bool morallyStrong =
        earlier.strong && access.strong &&
        includes(earlier.scope, earlier.epoch.block, earlier.cluster,
                 access.epoch.block, access.cluster) &&
        includes(access.scope, access.epoch.block, access.cluster,
                 earlier.epoch.block, earlier.cluster);
    if (morallyStrong)
      return std::nullopt;
    bool ordered =
        access.asyncProxy && access.clock->knowsGeneric(earlier.epoch);
    return ordered ? FaultKind::MissingProxyFence : FaultKind::Race;
  };
  if (node.writer) {
    if (std::optional<FaultKind> kind = races(writer, true))
      return found(*kind, writer, true);
    if (access.nonCoherent)
      return found(FaultKind::NonCoherentRead, writer, true);
  }
  if (reads && !node.initialised)
    return found(FaultKind::UninitializedShared, writer, true);
  if (writes)
    for (uint32_t at = node.readers; at; at = readers[at].next) {
      const Record &reader = records[readers[at].record];
      if (std::optional<FaultKind> kind = races(reader, false))
        return found(*kind, reader, false);
      if (reader.nonCoherent)
        return found(FaultKind::NonCoherentRead, reader, false);
    }
  return std::nullopt;
}

AccessHistory::State
AccessHistory::transition(State from, const Access &access, uint32_t record,
                          std::optional<Finding> &finding) {
  uint32_t hash = from * 2654435761u ^ record * 40503u ^
                  static_cast<uint32_t>(access.kind) * 977u;
  Memo &known = memo[(hash >> 8) % memo.size()];
  if (known.from == from && known.record == record && known.kind == access.kind)
    return known.to;
  // A copy: `nodes` grows below.
  Node node = nodes[from];
  std::optional<Finding> problem;
  if (access.kind != Kind::EndWrite && access.kind != Kind::EndOpaque)
    problem = check(node, access);
  Node next = node;
  switch (access.kind) {
  case Kind::Read: {
    // Reads ordered before this one, and the agent's own, add nothing.
    unsigned count = 0;
    bool present = false;
    kept.clear();
    for (uint32_t at = node.readers; at; at = readers[at].next) {
      const Record &reader = records[readers[at].record];
      bool same = reader.epoch.block == access.epoch.block &&
                  reader.epoch.agent == access.epoch.agent &&
                  reader.strong == access.strong &&
                  reader.nonCoherent == access.nonCoherent;
      present |= same && reader.epoch.time == access.epoch.time;
      bool covered = same || (isOrdered(reader, access, true) &&
                              reader.nonCoherent <= access.nonCoherent &&
                              reader.strong >= access.strong);
      if (!covered && count + 1 < maxReaders) {
        kept.push_back(readers[at].record);
        ++count;
      }
    }
    if (present)
      break;
    uint32_t list = 0;
    auto prepend = [&](uint32_t which) {
      readers.push_back({which, list});
      list = static_cast<uint32_t>(readers.size() - 1);
    };
    for (auto it = kept.rbegin(); it != kept.rend(); ++it)
      prepend(*it);
    prepend(record);
    next.readers = list;
    break;
  }
  case Kind::Write:
  case Kind::Atomic:
  case Kind::EndWrite: {
    bool repeated =
        node.writer && !node.readers && node.initialised && !node.inFlight &&
        !node.opaque &&
        records[node.writer].epoch.block == access.epoch.block &&
        records[node.writer].epoch.agent == access.epoch.agent &&
        records[node.writer].epoch.time == access.epoch.time &&
        records[node.writer].strong == access.strong &&
        records[node.writer].atomic == (access.kind == Kind::Atomic);
    if (repeated)
      break;
    next = Node();
    next.writer = record;
    next.initialised = true;
    break;
  }
  case Kind::BeginWrite:
    next = Node();
    next.writer = record;
    next.inFlight = true;
    break;
  case Kind::MakeOpaque:
    next = Node();
    next.writer = record;
    next.initialised = true;
    next.opaque = true;
    break;
  case Kind::EndOpaque:
    next = Node();
    next.writer = record;
    break;
  }
  State to = from;
  if (!(next == node)) {
    to = static_cast<State>(nodes.size());
    nodes.push_back(next);
  }
  if (problem) {
    // Not remembered: every occurrence counts.
    if (!finding)
      finding = problem;
  } else {
    known = {from, record, access.kind, to};
  }
  return to;
}

AccessHistory::State
AccessHistory::transitionByte(State *cell, unsigned first, unsigned count,
                              const Access &access, uint32_t record,
                              std::optional<Finding> &finding) {
  if (!isSplit(*cell)) {
    uint32_t index;
    if (freeSplits.empty()) {
      index = static_cast<uint32_t>(splits.size());
      splits.emplace_back();
    } else {
      index = freeSplits.back();
      freeSplits.pop_back();
    }
    splits[index].fill(*cell);
    *cell = index | splitBit;
  }
  uint32_t index = *cell & ~splitBit;
  std::optional<Finding> here;
  for (unsigned i = first; i < first + count; ++i) {
    State to = transition(splits[index][i], access, record, here);
    splits[index][i] = to;
    if (here && !finding) {
      finding = here;
      finding->offset = i;
    }
  }
  const std::array<State, 4> &bytes = splits[index];
  if (bytes[0] == bytes[1] && bytes[0] == bytes[2] && bytes[0] == bytes[3]) {
    *cell = bytes[0];
    freeSplits.push_back(index);
  }
  return *cell;
}

std::optional<AccessHistory::Finding>
AccessHistory::applySlowly(Cursor &cursor, State *cells, uint64_t offset,
                           uint64_t bytes) {
  const Access &access = cursor.access;
  uint32_t record = cursor.record;
  std::optional<Finding> result;
  auto partial = [&](uint64_t cell, unsigned first, unsigned count) {
    std::optional<Finding> finding;
    transitionByte(&cells[cell], first, count, access, record, finding);
    if (finding && !result) {
      result = finding;
      result->offset += cell * bytesPerCell;
    }
  };
  uint64_t at = offset, end = offset + bytes;
  if (at % 4) {
    unsigned count =
        static_cast<unsigned>(std::min<uint64_t>(4 - at % 4, end - at));
    partial(at / 4, at % 4, count);
    at += count;
  }
  State &from = cursor.from, &to = cursor.to;
  uint64_t lastCell = end / 4;
  for (uint64_t cell = at / 4; cell < lastCell; ++cell) {
    State state = cells[cell];
    if (state != from) {
      if (isSplit(state)) {
        partial(cell, 0, 4);
        continue;
      }
      std::optional<Finding> finding;
      to = transition(state, access, record, finding);
      from = state;
      if (finding && !result) {
        result = finding;
        result->offset = cell * bytesPerCell;
      }
    }
    cells[cell] = to;
  }
  if (end % 4 && end / 4 * 4 >= at)
    partial(end / 4, 0, end % 4);
  // Every range with a fault counts.
  if (result)
    from = ~State(0);
  return result;
}

const AccessHistory::Record *AccessHistory::writerOf(State state) const {
  const Node &node = nodes[state];
  return node.writer ? &records[node.writer] : nullptr;
}

void AccessHistory::collect(std::span<const std::span<State>> cells) {
  std::vector<Node> oldNodes = std::move(nodes);
  std::vector<Record> oldRecords = std::move(records);
  std::vector<ReadNode> oldReaders = std::move(readers);
  nodes.assign(oldNodes.begin(), oldNodes.begin() + 2);
  records.assign(1, Record());
  readers.assign(1, ReadNode());
  std::vector<State> stateMap(oldNodes.size(), 0);
  std::unordered_map<uint32_t, uint32_t> recordMap, readerMap;
  auto mapRecord = [&](uint32_t old) {
    if (!old)
      return uint32_t(0);
    auto [it, fresh] =
        recordMap.try_emplace(old, static_cast<uint32_t>(records.size()));
    if (fresh)
      records.push_back(oldRecords[old]);
    return it->second;
  };
  auto mapReaders = [&](uint32_t old) {
    // Lists share no tails that matter: copy each once.
    if (!old)
      return uint32_t(0);
    auto [it, fresh] = readerMap.try_emplace(old, 0);
    if (!fresh)
      return it->second;
    std::vector<uint32_t> list;
    for (uint32_t at = old; at; at = oldReaders[at].next)
      list.push_back(oldReaders[at].record);
    uint32_t head = 0;
    for (auto r = list.rbegin(); r != list.rend(); ++r) {
      readers.push_back({mapRecord(*r), head});
      head = static_cast<uint32_t>(readers.size() - 1);
    }
    readerMap[old] = head;
    return head;
  };
  auto mapState = [&](State old) {
    if (old <= initialised)
      return old;
    State &mapped = stateMap[old];
    if (!mapped) {
      Node node = oldNodes[old];
      node.writer = mapRecord(node.writer);
      node.readers = mapReaders(node.readers);
      mapped = static_cast<State>(nodes.size());
      nodes.push_back(node);
    }
    return mapped;
  };
  std::vector<std::array<State, 4>> oldSplits = std::move(splits);
  splits.clear();
  freeSplits.clear();
  for (std::span<State> range : cells)
    for (State &cell : range) {
      if (!isSplit(cell)) {
        cell = mapState(cell);
        continue;
      }
      std::array<State, 4> bytes = oldSplits[cell & ~splitBit];
      for (State &byte : bytes)
        byte = mapState(byte);
      cell = static_cast<State>(splits.size()) | splitBit;
      splits.push_back(bytes);
    }
  memo.fill(Memo());
  recent.fill(0);
  // What is in use may be large: look again when it has doubled.
  limit = std::max(leastLimit, nodes.size() * 2);
  recordLimit = std::max(leastLimit * 4, records.size() * 2);
  readerLimit = std::max(leastLimit * 8, readers.size() * 2);
}
