//===- Reports.cpp - Faults with their places -----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/AsyncProxy.h"
#include "runtime/device/sim/MemoryAccess.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;

std::string_view sim::name(InstrClass instrClass) {
  switch (instrClass) {
  case InstrClass::Integer:
    return "integer";
  case InstrClass::Float:
    return "float";
  case InstrClass::Convert:
    return "convert";
  case InstrClass::Move:
    return "move";
  case InstrClass::Control:
    return "control";
  case InstrClass::Memory:
    return "memory";
  case InstrClass::Atomic:
    return "atomic";
  case InstrClass::AsyncCopy:
    return "async copy";
  case InstrClass::Matrix:
    return "matrix";
  case InstrClass::Warp:
    return "warp";
  case InstrClass::Barrier:
    return "barrier";
  }
  return "?";
}

//===----------------------------------------------------------------------===//
// Reports
//===----------------------------------------------------------------------===//

static std::string fileOf(const Kernel &kernel, uint32_t number) {
  for (const auto &[index, name] : kernel.files)
    if (index == number)
      return name;
  return {};
}

std::string sim::placeOf(const Kernel &kernel, uint32_t instruction) {
  if (instruction >= kernel.code.size())
    return "?";
  const Instr &instr = kernel.code[instruction];
  std::string text = fmt::format("PTX line {}: {}", instr.line,
                                 kernel.spellings[instr.spelling]);
  if (!instr.location)
    return text;
  const ptx::Location &location = kernel.locations[instr.location];
  return fmt::format("{}:{}, {}", fileOf(kernel, location.file), location.line,
                     text);
}

std::string sim::blockName(const Launch &launch, uint32_t linear) {
  const uint32_t *grid = launch.grid;
  return fmt::format("({}, {}, {})", linear % grid[0],
                     linear / grid[0] % grid[1], linear / grid[0] / grid[1]);
}

bool Block::isKnown(const Instr *instr, FaultKind kind) {
  uint32_t at =
      instr ? static_cast<uint32_t>(instr - kernel->code.data()) : noInstr;
  if (!launch->faults.isKnown(at, kind))
    return false;
  ++faultCount;
  return true;
}

bool Block::fault(const Warp *warp, const Instr *instr, FaultKind kind,
                  int lane, const std::string &what,
                  const std::vector<std::string> &notes) {
  uint32_t at =
      instr ? static_cast<uint32_t>(instr - kernel->code.data()) : noInstr;
  ++faultCount;
  if (!launch->faults.isNew(at, kind))
    return false;
  Diagnostic report =
      fail(Errc::CheckFailed,
           fmt::format("kernel {}: {}: {}", kernel->name, name(kind), what));
  if (instr) {
    std::string spelling = fmt::format("PTX line {}: {}", instr->line,
                                       kernel->spellings[instr->spelling]);
    uint32_t place = instr->location;
    if (place) {
      const ptx::Location &location = kernel->locations[place];
      report.file = fileOf(*kernel, location.file);
      report.line = location.line;
      report.column = location.column;
    }
    if (report.file.empty()) {
      report.file = kernel->name + ".ptx";
      report.line = instr->line;
      report.column = 0;
    }
    report.notes.push_back(std::move(spelling));
    for (unsigned depth = 0; place && depth < 8; ++depth) {
      place = kernel->locations[place].inlinedAt;
      if (!place)
        break;
      const ptx::Location &outer = kernel->locations[place];
      report.notes.push_back(fmt::format(
          "inlined at {}:{}", fileOf(*kernel, outer.file), outer.line));
    }
  }
  std::string who =
      fmt::format("block ({}, {}, {})", index[0], index[1], index[2]);
  if (warp && lane >= 0) {
    uint32_t thread = warp->id * 32 + static_cast<uint32_t>(lane);
    const uint32_t *size = launch->block;
    who += fmt::format(", thread ({}, {}, {})", thread % size[0],
                       thread / size[0] % size[1], thread / size[0] / size[1]);
  } else if (warp) {
    who += fmt::format(", warp {}", warp->id);
  }
  if (launch->clusterBlocks() > 1)
    who += fmt::format(", rank {} of its cluster", rank);
  report.notes.push_back(std::move(who));
  report.notes.insert(report.notes.end(), notes.begin(), notes.end());
  launch->faults.add(std::move(report), at, kind);
  return true;
}

//===----------------------------------------------------------------------===//
// What the history found
//===----------------------------------------------------------------------===//

void sim::reportFinding(Warp &warp, const Instr &instr, int lane,
                        const AccessHistory::Finding &finding,
                        AccessHistory::Kind kind, const std::string &place) {
  Block &block = *warp.block;
  if (block.isKnown(&instr, finding.kind))
    return;
  const char *what = kind == AccessHistory::Kind::Read     ? "read"
                     : kind == AccessHistory::Kind::Atomic ? "atomic access"
                                                           : "write";
  const AccessHistory::Record &earlier = finding.earlier;
  bool known = earlier.epoch.time != 0;
  std::string other;
  if (known) {
    other = earlier.epoch.isAsync()
                ? std::string("an asynchronous operation")
                : fmt::format("warp {}", earlier.epoch.agent);
    if (earlier.epoch.block != block.linear)
      other += fmt::format(" of block {}",
                           blockName(*block.launch, earlier.epoch.block));
  }
  const char *earlierWhat = earlier.atomic          ? "atomic access"
                            : finding.earlierWrites ? "write"
                                                    : "read";
  std::string text;
  switch (finding.kind) {
  case FaultKind::UninitializedShared:
    text = fmt::format("{} at {}, which was never written", what, place);
    break;
  case FaultKind::InFlightCopy:
    text = fmt::format(
        "{} at {}, into which an asynchronous copy by {} has not been "
        "waited for",
        what, place, other);
    break;
  case FaultKind::BarrierMisuse:
    text = fmt::format("{} at {}, which belongs to a mbarrier object", what,
                       place);
    break;
  case FaultKind::MissingProxyFence:
    text = fmt::format("asynchronous {} at {} comes after the {} "
                       "by {} through the generic proxy, with no "
                       "fence.proxy.async between",
                       what, place, earlierWhat, other);
    break;
  case FaultKind::NonCoherentRead:
    text = finding.earlierWrites
               ? fmt::format(".nc read at {}, which {} wrote in this launch",
                             place, other)
               : fmt::format("{} at {}, which {} reads with .nc in this launch",
                             what, place, other);
    break;
  default:
    text = fmt::format("{} at {} by warp {} is not ordered after the {} by {}",
                       what, place, warp.id, earlierWhat, other);
    break;
  }
  std::vector<std::string> notes;
  if (known)
    notes.push_back(fmt::format("the {} by {}: {}", earlierWhat, other,
                                placeOf(*block.kernel, earlier.instr)));
  block.fault(&warp, &instr, finding.kind, lane, text, notes);
}

std::string sim::describeGlobal(Launch &launch, uint64_t address) {
  const Allocation *near = launch.memory->find(address);
  return near ? fmt::format("offset {} of {}", address - near->base, near->name)
              : fmt::format("address {:#x}", address);
}

std::string sim::describeHost(Warp &warp, const std::byte *pointer) {
  for (Block *block : warp.block->cluster->blocks)
    if (pointer >= block->shared &&
        pointer < block->shared + block->sharedBytes)
      return describe(warp,
                      {block, static_cast<uint32_t>(pointer - block->shared)});
  return describeGlobal(*warp.block->launch,
                        reinterpret_cast<uint64_t>(pointer));
}
