//===- JoinBlocks.cpp - Quantizations join what makes their value ---------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "dialects/tile/Transforms/JoinBlocks.h"

#include "mlir/IR/BuiltinOps.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

#include <fmt/format.h>

#include <algorithm>

using namespace mlir;
using namespace quern;
using namespace quern::tile;

namespace {

class Joiner {
public:
  Joiner(ProgramOp program, const JoinLimits &limits)
      : program(program), limits(limits) {}

  void run();

private:
  /// The kernel of a launch, without searching the module for it.
  KernelOp kernelOf(LaunchOp launch) {
    return kernels.lookup(launch.getKernel());
  }
  void learn(LaunchOp launch, KernelOp kernel, unsigned number);
  bool isBlocks(LaunchOp launch);
  bool quantizes(LaunchOp launch);
  /// The last launch that writes what `second` reads, or null.
  LaunchOp makerOf(LaunchOp second);
  std::string refuse(LaunchOp first, LaunchOp second, std::string &strip);
  void note(LaunchOp launch, const std::string &why);

  ProgramOp program;
  const JoinLimits &limits;
  llvm::StringMap<KernelOp> kernels;
  llvm::DenseMap<Value, LaunchOp> writers;
  llvm::DenseMap<Operation *, unsigned> position;
  llvm::StringSet<> inputs;      ///< Names of arguments.
  llvm::DenseSet<Value> inParts; ///< Buffers that several launches write.
};

} // namespace

void Joiner::learn(LaunchOp launch, KernelOp kernel, unsigned number) {
  kernels[launch.getKernel()] = kernel;
  position[launch] = number;
  for (auto [i, buffer] : llvm::enumerate(launch.getBuffers()))
    if (kernel.getWrites()[i])
      writers[buffer] = launch;
}

bool Joiner::isBlocks(LaunchOp launch) {
  return launch.getPhase() == LaunchPhase::Run &&
         !kernelOf(launch).getContract();
}

/// Whether it reduces, and stores codes element by element.
bool Joiner::quantizes(LaunchOp launch) {
  bool reduces = false, encodes = false;
  for (Operation *stage : kernelOf(launch).getStages())
    for (Operation &op : cast<BlocksOp>(stage).getBody().front()) {
      reduces |= isa<ReduceOp>(op);
      if (auto map = dyn_cast<MapOp>(op))
        map.walk([&](StoreOp store) {
          Type type = store.getBuffer().getType().getElementType();
          encodes |= type.getIntOrFloatBitWidth() == 8;
        });
    }
  return reduces && encodes;
}

LaunchOp Joiner::makerOf(LaunchOp second) {
  LaunchOp last;
  KernelOp kernel = kernelOf(second);
  for (auto [i, buffer] : llvm::enumerate(second.getBuffers())) {
    LaunchOp writer = writers.lookup(buffer);
    bool reads = llvm::any_of(kernel.getBody().getArgument(i).getUsers(),
                              llvm::IsaPred<LoadOp>);
    if (!reads || !writer || writer == second || !isBlocks(writer))
      continue;
    if (!last || position.lookup(last) < position.lookup(writer))
      last = writer;
  }
  return last;
}

std::string Joiner::refuse(LaunchOp first, LaunchOp second,
                           std::string &strip) {
  SmallVector<StageView> stages;
  IRMapping buffers[2];
  const LaunchOp both[] = {first, second};
  for (unsigned i = 0; i < 2; ++i) {
    IRMapping &mapping = buffers[i];
    LaunchOp one = both[i];
    KernelOp kernel = kernelOf(one);
    for (auto [number, buffer] : llvm::enumerate(one.getBuffers())) {
      mapping.map(kernel.getBody().getArgument(number), buffer);
      auto declared = buffer.getDefiningOp<BufferOp>();
      if (inParts.contains(buffer))
        return fmt::format("several kernels make {}", declared.getName().str());
      if (kernel.getWrites()[number] &&
          declared.getRole() == BufferRole::Output &&
          inputs.contains(declared.getName()))
        return fmt::format("{} is inout, and others may still read it",
                           declared.getName().str());
    }
    for (Operation *stage : kernel.getStages())
      stages.push_back({cast<BlocksOp>(stage), &mapping});
  }
  if (stages.size() > mostStages)
    return fmt::format("a kernel has {} stages at most", mostStages);
  std::string why;
  std::optional<StageStrips> strips = getStrips(stages, why);
  if (!strips)
    return why;
  strip = strips->describe();
  int64_t bytes = 0;
  for (const StripValue &value : strips->values) {
    int64_t more = bytesPerStrip(value, program.getSymbols().getValue());
    bytes = more > INT64_MAX - bytes ? INT64_MAX : bytes + more;
  }
  if (bytes > limits.heldBytes)
    return fmt::format("what lies between them takes {} for a {}, and {} has "
                       "{}",
                       bytes == INT64_MAX ? std::string("any number of bytes")
                                          : fmt::format("{} bytes", bytes),
                       strip, limits.place, limits.heldBytes);
  return {};
}

/// Keeps why the kernel is one of its own where `explain` finds it.
void Joiner::note(LaunchOp launch, const std::string &why) {
  KernelOp kernel = kernelOf(launch);
  kernel.setReason(fmt::format("{}; apart from what makes its value: {}",
                               kernel.getReason().str(), why));
}

/// What a kernel does. One of a single operation has no reason to be that.
static std::string doingOf(KernelOp kernel) {
  StringRef reason = kernel.getReason();
  if (reason != "nothing beside it to join")
    return reason.str();
  return "one operation: " + roleOf(kernel.getSymName()).str();
}

void Joiner::run() {
  for (auto buffer : program.getBody().getOps<BufferOp>())
    if (buffer.getRole() == BufferRole::Input)
      inputs.insert(buffer.getName());
  auto launches = llvm::to_vector(program.getBody().getOps<LaunchOp>());
  auto module = program->getParentOfType<ModuleOp>();
  for (auto kernel : module.getOps<KernelOp>())
    kernels[kernel.getSymName()] = kernel;
  llvm::DenseSet<Value> written;
  for (LaunchOp launch : launches)
    for (auto [i, buffer] : llvm::enumerate(launch.getBuffers()))
      if (kernelOf(launch).getWrites()[i] && !written.insert(buffer).second)
        inParts.insert(buffer);
  for (auto [number, launch] : llvm::enumerate(launches)) {
    learn(launch, kernelOf(launch), number);
    if (!isBlocks(launch) || !quantizes(launch))
      continue;
    LaunchOp second = launch;
    while (LaunchOp first = makerOf(second)) {
      std::string strip, why = refuse(first, second, strip);
      std::string one = doingOf(kernelOf(first)),
                  two = doingOf(kernelOf(second));
      LaunchOp fused;
      if (why.empty())
        why = fuse(first, second, {Placement::Tile}, fused);
      if (!why.empty()) {
        note(second, why);
        break;
      }
      learn(fused, getKernel(fused), number);
      kernelOf(fused).setReason(
          fmt::format("{}; then, while a {} is at hand: {}", one, strip, two));
      second = fused;
    }
  }
}

void tile::joinQuantizations(ProgramOp program, const JoinLimits &limits) {
  Joiner(program, limits).run();
}
