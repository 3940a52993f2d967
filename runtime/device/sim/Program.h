//===- Program.h - Decoded PTX ----------------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A kernel ready to run: a flat list of instructions, each with the function
// that executes it for a whole warp, and its operands as offsets into the
// warp's register file.
//
// A register of b bytes is an array of 32 lanes of b bytes; a predicate is one
// 32-bit mask. Every register starts at a multiple of 64 bytes; slot 0 is
// reserved and means "none". Immediates are registers filled once per warp.
//
// Device functions are inlined by the decoder, so there is no call.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_PROGRAM_H
#define QUERN_DEVICE_SIM_PROGRAM_H

#include "runtime/device/sim/DefinedRegisters.h"
#include "runtime/device/sim/PtxSyntax.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace quern {
inline namespace v0 {
namespace sim {

struct Warp;
struct Instr;
using ExecFn = void (*)(Warp &warp, const Instr &instr);

/// What the counters count by.
enum class InstrClass : uint8_t {
  Integer,
  Float,
  Convert,
  Move,
  Control,
  Memory,
  Atomic,
  AsyncCopy,
  Matrix,
  Warp,
  Barrier,
};
inline constexpr size_t instrClassCount = 11;
std::string_view name(InstrClass instrClass);

/// IndexedBranch: each lane goes to the entry of Kernel::branchTargets that its
/// index picks; they begin at Instr::target, Instr::immediate says how many.
enum class Flow : uint8_t { Next, Branch, IndexedBranch, Exit };

/// How undefined registers pass through an instruction. Compilers copy and
/// combine undefined values whose results are never used, so only uses that
/// matter are faults.
enum class UndefRule : uint8_t {
  Propagate, ///< Results are defined where all sources are.
  Select,    ///< selp: as the chosen source.
  Require,   ///< An undefined source is a fault.
  Own,       ///< The instruction says itself which results are defined.
};

/// `Shared` is the block's own shared memory (shared::cta), `SharedCluster`
/// that of any block of the cluster.
enum class AddressSpace : uint8_t {
  Global,
  Shared,
  Local,
  Param,
  Generic,
  SharedCluster,
};

/// Memory order and scope of an access (PTX ISA, "Memory Consistency Model").
/// volatile counts as relaxed at .sys scope.
enum class Order : uint8_t { Weak, Relaxed, Acquire, Release, AcqRel };
enum class Scope : uint8_t { Cta, Cluster, Gpu, Sys };

// A shared address has the offset in bits 0-23. In bits 24-31 stands 0 for the
// own block, else the rank of a block of the cluster plus one (what mapa
// gives); such addresses are good in SharedCluster and Generic accesses.
inline constexpr uint64_t sharedOffsetMask = 0xffffff;
inline constexpr unsigned sharedRankShift = 24;

// Generic addresses outside global memory. No host address looks like these.
inline constexpr uint64_t sharedWindow = uint64_t(0xA1) << 56;
inline constexpr uint64_t localWindow = uint64_t(0xA2) << 56;
inline constexpr uint64_t paramWindow = uint64_t(0xA3) << 56;
inline constexpr uint64_t windowBytes = uint64_t(1) << 32;

/// register + offset.
struct Address {
  uint32_t slot = 0; ///< 0: the offset alone.
  bool wide = false; ///< A 64-bit register.
  int64_t offset = 0;
};

struct Instr {
  ExecFn exec = nullptr;
  /// Where a source is not wholly defined: says what of the results is
  /// (DefinedRegisters.h). Null: `undefRule` holds.
  TraceFn traceBytes = nullptr;
  uint32_t guard = 0;
  bool guardNegated = false;
  /// Needs other lanes of the warp (Convergence.h): those that the register
  /// memberSlot names, or all if it is 0; perhaps at other places.
  bool collective = false;
  bool meetsAnywhere = false; ///< bar.warp.sync
  uint32_t memberSlot = 0;
  Flow flow = Flow::Next;
  InstrClass instrClass = InstrClass::Move;
  UndefRule undefRule = UndefRule::Propagate;
  /// Results first, then sources; the meaning is the instruction's own.
  std::array<uint32_t, 6> slots = {};
  Address address;
  Address secondAddress;
  uint64_t immediate = 0;
  uint32_t target = 0;
  AddressSpace space = AddressSpace::Global;
  Order order = Order::Weak;
  Scope scope = Scope::Cta;
  bool nonCoherent = false;    ///< ld.global.nc
  bool touchesPending = false; ///< May use accumulators of pending wgmma.
  bool copiesRegister = false; ///< A plain mov.
  /// An ordinary instruction whose result some wgmma uses.
  bool writesWgmmaOperand = false;
  uint8_t bytes = 0; ///< Of one memory element.
  uint8_t flags = 0; ///< The instruction's own.
  uint16_t vectorCount = 0;
  uint32_t vectorBegin = 0; ///< Into Kernel::slotPool: long operand lists.
  /// Registers read and written, in Kernel::slotPool.
  uint32_t usesBegin = 0;
  uint8_t sourceCount = 0;
  uint8_t resultCount = 0;
  uint32_t line = 0;
  uint32_t location = 0;
  uint32_t spelling = 0; ///< Into Kernel::spellings.
};

struct Constant {
  uint32_t slot = 0;
  uint8_t bytes = 0; ///< 1: a predicate.
  uint64_t value = 0;
};

struct Parameter {
  std::string name;
  uint32_t offset = 0;
  uint32_t bytes = 0;
};

struct Kernel {
  std::string name;
  std::vector<Parameter> parameters;
  uint32_t parameterBytes = 0;
  uint32_t staticSharedBytes = 0;
  /// Where dynamic shared memory begins: static size, aligned as declared.
  uint32_t dynamicSharedOffset = 0;
  uint32_t localBytes = 0; ///< Per thread.
  uint32_t maxThreads = 0; ///< From .maxntid/.reqntid; 0: no bound.
  bool exactThreads = false;
  /// .reqnctapercluster; all 0: none. .explicitcluster: a launch must name the
  /// dimensions. .maxclusterrank: 0 if absent.
  uint32_t requiredCluster[3] = {};
  bool explicitCluster = false;
  uint32_t maxClusterRank = 0;
  /// Blocks can talk through global memory: it has atomics or strong accesses
  /// that may be global. Its blocks are run by one host thread.
  bool communicates = false;
  uint32_t registerBytes = 64;
  /// 32-bit registers declared, an upper bound of what ptxas would use.
  uint32_t virtualRegisters = 0;
  std::vector<Instr> code;
  std::vector<uint32_t> slotPool;
  std::vector<uint32_t> branchTargets; ///< Of brx.idx: indices into `code`.
  std::vector<Constant> constants;
  std::vector<std::string> spellings;
  /// Module::locations with file names, for reports.
  std::vector<ptx::Location> locations;
  std::vector<std::pair<uint32_t, std::string>> files;
};

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_PROGRAM_H
