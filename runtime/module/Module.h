//===- Module.h - Compiled layers as files ----------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A module is one compiled layer: its signature, the plan of launches, and the
// code for one or more targets, in one self-describing file. The compiler
// fills a `ModuleDesc` and serialises it; the runtime parses the bytes and
// runs them. JIT is "make a module and load it"; AOT is "make it today and
// load it where no compiler is".
//
// File layout, little-endian throughout:
//
//     magic "QUERNMOD", u16 major, u16 minor, u32 section count,
//     section table (u32 kind, u32 flags, u64 offset, u64 size, u64 XXH3-64),
//     sections, 16-byte aligned (code images 4096-byte aligned).
//
// The table is validated before any section is touched: in bounds, disjoint,
// checksummed. The last section, the seal, is a checksum of header and table:
// no byte of a file changes unnoticed. An unknown major version is refused, an
// unknown section is skipped unless flagged as required. Old files stay
// loadable: golden modules under tests/golden prove it.
//
// A plan is a list of buffers and a list of launches for each target variant.
// Shapes, grids, item counts and scratch sizes are expressions over the
// layer's symbols (SymExpr). Launches may be meant for some values of the
// symbols alone, so that one plan holds what is best for few rows and what is
// best for many, over the same weights.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_MODULE_MODULE_H
#define QUERN_MODULE_MODULE_H

#include "runtime/core/DType.h"
#include "runtime/core/NumericsClass.h"
#include "runtime/core/Result.h"
#include "runtime/core/SymExpr.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace quern {
inline namespace v0 {

enum class Numerics : uint8_t { Strict = 0, Fast = 1 };

enum class BufferRole : uint8_t {
  Input = 0,
  Weight = 1, ///< Constant between calls; packed once by prepare launches.
  Output = 2,
  Temporary = 3, ///< Lives during one run, in the context's arena.
  Packed = 4,    ///< Written by prepare launches, kept until rebinding.
  State = 5,     ///< A temporary that is zero when a run begins.
};

enum class LaunchPhase : uint8_t { Prepare = 0, Run = 1 };

/// A symbolic dimension: min <= value <= max, and a multiple of `multiple`.
struct SymbolDesc {
  std::string name;
  int64_t min = 0;
  int64_t max = INT64_MAX;
  int64_t multiple = 1;
  bool operator==(const SymbolDesc &) const = default;
};

/// A buffer of the plan. Inputs, weights and outputs form the signature, in
/// declared order; a quantized operand contributes its codes, then its scales.
/// An input and an output of one name, part, type and shape are state that a
/// run updates: both may be one memory, which is read before it is written.
struct BufferDesc {
  std::string name; ///< The operand's name in the layer.
  std::string part; ///< "values", "codes" or "scales".
  DType dtype = DType::F32;
  BufferRole role = BufferRole::Input;
  std::vector<SymExpr> shape;
  uint32_t alignment = 64; ///< Bytes; temporaries and packed buffers get it.
  bool operator==(const BufferDesc &) const = default;
};

/// What the code generators know of a kernel beside its code.
struct KernelDesc {
  std::string name;     ///< The symbol in the code object.
  std::string reason;   ///< Why these operations are one kernel.
  std::string schedule; ///< One line: tile, stages, threads.
  NumericsClass numericsClass = NumericsClass::Exact;
  /// CUDA only; zero on the CPU.
  uint32_t registers = 0;
  uint32_t staticSharedBytes = 0;
  uint32_t spillBytes = 0;
  bool operator==(const KernelDesc &) const = default;
};

/// Values of one symbol: min <= value <= max.
struct RangeDesc {
  uint32_t symbol = 0;
  int64_t min = 0;
  int64_t max = INT64_MAX;
  bool operator==(const RangeDesc &) const = default;
};

/// Whether values of all symbols lie in all of the ranges.
inline bool lieWithin(std::span<const int64_t> symbols,
                      std::span<const RangeDesc> ranges) {
  for (const RangeDesc &range : ranges)
    if (symbols[range.symbol] < range.min || symbols[range.symbol] > range.max)
      return false;
  return true;
}

/// How the blocks of a CUDA launch depend on each other.
enum class LaunchKind : uint8_t {
  Independent = 0,
  /// Blocks take work from a queue until it is empty: of the grid, which is the
  /// work there is, no more blocks are launched than the device holds at once.
  Persistent = 1,
  /// The same, and blocks wait for each other: the launch is cooperative, and
  /// refused where fewer than `residentBlocks` are held at once.
  Cooperative = 2,
};

/// One launch. Kernels receive the buffers' addresses in the order of
/// `buffers`, then every symbol of the layer as an i64 (see
/// runtime/device/cpu/KernelAbi.h; CUDA kernels take them as parameters).
struct LaunchDesc {
  uint32_t kernel = 0;
  LaunchPhase phase = LaunchPhase::Run;
  std::vector<uint32_t> buffers;
  /// CPU: the kernel is called for ranges [begin, end) of this many items;
  /// `grain` items at least per call. Zero items is no call at all.
  SymExpr items;
  SymExpr grain = SymExpr::constant(1);
  SymExpr scratchBytes; ///< Per thread, 64-byte aligned.
  /// CUDA: a zero in the grid is no launch at all.
  std::array<SymExpr, 3> grid = {SymExpr::constant(1), SymExpr::constant(1),
                                 SymExpr::constant(1)};
  std::array<uint32_t, 3> block = {1, 1, 1};
  SymExpr dynamicSharedBytes;
  LaunchKind kind = LaunchKind::Independent;
  SymExpr residentBlocks; ///< Cooperative only.
  /// CUDA: blocks of a cluster along x, a divisor of the grid's.
  uint32_t cluster = 1;
  /// It happens in runs whose symbols lie in all of these; its expressions need
  /// no value for others, nor need the buffers that such launches alone use.
  /// Never of prepare launches.
  std::vector<RangeDesc> when;
  bool operator==(const LaunchDesc &) const = default;

  /// Whether anything but the grid decides how it is launched.
  bool isPlain() const {
    return kind == LaunchKind::Independent && cluster == 1;
  }
  /// Whether it happens with a value for every symbol of the layer.
  bool happens(std::span<const int64_t> symbols) const {
    return lieWithin(symbols, when);
  }
};

enum class CodeKind : uint8_t {
  CpuImage = 0, ///< Position-independent bytes, no relocations; see below.
  Cubin = 1,
  Ptx = 2,
  CudaSource = 3, ///< The emitted translation unit, for people.
};

/// An entry point inside a CpuImage.
struct CodeSymbol {
  std::string name;
  uint64_t offset = 0;
  bool operator==(const CodeSymbol &) const = default;
};

/// One code object. A CpuImage is mapped as a whole, read and execute, at any
/// page-aligned address: [0, textBytes) holds code, constants follow.
struct CodeDesc {
  CodeKind kind = CodeKind::CpuImage;
  std::vector<std::byte> bytes;
  std::vector<CodeSymbol> symbols; ///< CpuImage only.
  bool operator==(const CodeDesc &) const = default;
};

/// A plan with its code for one target.
struct VariantDesc {
  std::string target; ///< "cpu:avx512-vnni", "cpu:generic", "cuda:sm_90a", ...
  /// CPU features the code uses, in LLVM's spelling ("avx512vnni"); the loader
  /// refuses a module whose features the machine lacks.
  std::vector<std::string> requiredFeatures;
  std::vector<BufferDesc> buffers;
  std::vector<KernelDesc> kernels;
  std::vector<LaunchDesc> launches;
  std::vector<CodeDesc> code;
  /// CPU: the number of a symbol whose values may be run in strips. With its
  /// value r, and the addresses of operands that have it as their outermost
  /// extent moved by b rows, the launches of a run compute rows [b, b + r) of
  /// the outputs, bit for bit, and leave all else as it is. b is a multiple of
  /// `stripUnit`.
  std::optional<uint32_t> rowSymbol;
  static constexpr int64_t stripUnit = 64;
  bool operator==(const VariantDesc &) const = default;
};

struct ModuleDesc {
  static constexpr uint16_t formatMajor = 0;
  /// 1: the first; 2: the layer's text; 3: the seal; 4: buffers of state, and
  /// how blocks of a launch depend on each other; 5: operands that are updated;
  /// 6: launches for some values of the symbols; 7: symbols run in strips.
  static constexpr uint16_t formatMinor = 7;

  std::string layer; ///< The layer's name.
  Numerics numerics = Numerics::Strict;
  std::vector<SymbolDesc> symbols;
  std::vector<VariantDesc> variants;
  /// Who made it: "quern 0.1.0", "LLVM 22.1.8", "NVRTC 13.0 <build id>".
  std::vector<std::string> producers;
  /// The layer's text, for `quern run --check` and for people; the runtime
  /// never reads it. Empty where it was left out.
  std::string source;

  bool operator==(const ModuleDesc &) const = default;

  std::vector<std::byte> serialize() const;
  /// Validates everything the runtime relies on (indices in range, expressions
  /// well formed, sizes plausible) so that a damaged or hostile file yields
  /// InvalidFile, never a crash.
  static Result<ModuleDesc> parse(std::span<const std::byte> bytes);
};

} // namespace v0
} // namespace quern

#endif // QUERN_MODULE_MODULE_H
