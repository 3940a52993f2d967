//===- ModuleFormat.h - The byte level of module files ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Constants of the module file and the one description of its records, shared
// by writer and reader. Each record is a list of fields in a fixed order:
//
//     integer     little-endian, of the width of its C++ type
//     enum        one byte
//     string      u32 length, bytes (UTF-8 by convention, not checked)
//     list        u32 count, elements
//     expression  u32 count, nodes: u8 operator, i64 value for leaves only
//
// Sections of a version-0 file, in this order: one `Layer`, one `Variant` per
// variant, then the `Code` sections the variants refer to by their position in
// the section table, then at most one `Source`, which is the layer's text and
// nothing else, then, where a launch is not plain, one `Launches`, where one is
// for some values of the symbols, one `Ranges`, where a variant may be run in
// strips, one `Strips`, and last the `Seal`. Every
// other section is consumed to its last byte; later minor versions add what
// they need in new sections, flagged as required only when an old reader would
// misunderstand the file without them.
//
// The seal is eight bytes: the checksum of everything from the file's first
// byte to its own entry's `offset` and `size`, that is of header and table
// without the seal's own checksum, which is that of these eight bytes. Readers
// of minor versions below 3 skip it as they skip any optional section.
//
// The checksums find accidents, not attacks: a module carries machine code
// and must come from a source as trusted as a shared library.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_MODULE_MODULEFORMAT_H
#define QUERN_MODULE_MODULEFORMAT_H

#include "runtime/module/Module.h"

namespace quern {
inline namespace v0 {
namespace format {

inline constexpr char magic[8] = {'Q', 'U', 'E', 'R', 'N', 'M', 'O', 'D'};
inline constexpr uint64_t headerBytes = 16;
inline constexpr uint64_t tableEntryBytes = 32;
inline constexpr uint64_t sectionAlignment = 16;
inline constexpr uint64_t codeAlignment = 4096;

/// Plausibility limits; far above anything the compiler makes.
inline constexpr uint32_t maxSections = 4096;
inline constexpr uint32_t maxExprNodes = 4096;
inline constexpr uint32_t maxStringBytes = 1u << 20;
inline constexpr uint32_t maxRank = 6;
inline constexpr uint32_t maxSymbols = 64;
inline constexpr uint32_t maxAlignment = 4096;
inline constexpr uint32_t maxCluster = 16;

enum class SectionKind : uint32_t {
  Layer = 1,
  Variant = 2,
  Code = 3,
  Source = 4,   ///< Optional; from minor version 2 on.
  Seal = 5,     ///< From minor version 3 on the last section of every file.
  Launches = 6, ///< Required where it is; from minor version 4 on.
  Ranges = 7,   ///< Required where it is; from minor version 6 on.
  Strips = 8,   ///< Optional; from minor version 7 on.
};
inline constexpr SectionKind lastSectionKind = SectionKind::Strips;

/// The first minor version whose files are sealed.
inline constexpr uint16_t sealedMinor = 3;

/// A reader that does not know this section must refuse the file.
inline constexpr uint32_t flagRequired = 1;

/// A code object as its variant's section describes it.
struct CodeReference {
  CodeKind kind = CodeKind::CpuImage;
  std::vector<CodeSymbol> symbols;
  uint32_t section = 0; ///< Position in the section table.
};

/// What the section `Launches` says of one launch that is not plain.
struct LaunchRecord {
  uint32_t variant = 0, launch = 0;
  LaunchKind kind = LaunchKind::Independent;
  uint32_t cluster = 1;
  SymExpr residentBlocks;
};

/// What the section `Ranges` says of one launch that is not for all sizes.
struct RangesRecord {
  uint32_t variant = 0, launch = 0;
  std::vector<RangeDesc> when;
};

/// What the section `Strips` says of one variant.
struct StripsRecord {
  uint32_t variant = 0, symbol = 0;
};

/// The section `Layer`: everything of a ModuleDesc but the variants
/// and the text.
template <typename Archive, typename Module>
void layerFields(Archive &a, Module &m) {
  a(m.layer), a(m.numerics), a(m.symbols), a(m.producers);
}

/// The section `Variant`, the code objects by reference.
template <typename Archive, typename Variant, typename References>
void variantFields(Archive &a, Variant &v, References &code) {
  a(v.target), a(v.requiredFeatures), a(v.buffers), a(v.kernels);
  a(v.launches), a(code);
}

template <typename Archive, typename Record>
void fields(Archive &a, Record &r)
  requires std::is_same_v<std::remove_const_t<Record>, SymbolDesc>
{
  a(r.name), a(r.min), a(r.max), a(r.multiple);
}

template <typename Archive, typename Record>
void fields(Archive &a, Record &r)
  requires std::is_same_v<std::remove_const_t<Record>, BufferDesc>
{
  a(r.name), a(r.part), a(r.dtype), a(r.role), a(r.shape), a(r.alignment);
}

template <typename Archive, typename Record>
void fields(Archive &a, Record &r)
  requires std::is_same_v<std::remove_const_t<Record>, KernelDesc>
{
  a(r.name), a(r.reason), a(r.schedule), a(r.numericsClass);
  a(r.registers), a(r.staticSharedBytes), a(r.spillBytes);
}

template <typename Archive, typename Record>
void fields(Archive &a, Record &r)
  requires std::is_same_v<std::remove_const_t<Record>, LaunchDesc>
{
  a(r.kernel), a(r.phase), a(r.buffers), a(r.items), a(r.grain);
  a(r.scratchBytes);
  for (auto &extent : r.grid)
    a(extent);
  for (auto &extent : r.block)
    a(extent);
  a(r.dynamicSharedBytes);
}

template <typename Archive, typename Record>
void fields(Archive &a, Record &r)
  requires std::is_same_v<std::remove_const_t<Record>, LaunchRecord>
{
  a(r.variant), a(r.launch), a(r.kind), a(r.cluster), a(r.residentBlocks);
}

template <typename Archive, typename Record>
void fields(Archive &a, Record &r)
  requires std::is_same_v<std::remove_const_t<Record>, RangeDesc>
{
  a(r.symbol), a(r.min), a(r.max);
}

template <typename Archive, typename Record>
void fields(Archive &a, Record &r)
  requires std::is_same_v<std::remove_const_t<Record>, RangesRecord>
{
  a(r.variant), a(r.launch), a(r.when);
}

template <typename Archive, typename Record>
void fields(Archive &a, Record &r)
  requires std::is_same_v<std::remove_const_t<Record>, StripsRecord>
{
  a(r.variant), a(r.symbol);
}

template <typename Archive, typename Record>
void fields(Archive &a, Record &r)
  requires std::is_same_v<std::remove_const_t<Record>, CodeSymbol>
{
  a(r.name), a(r.offset);
}

template <typename Archive, typename Record>
void fields(Archive &a, Record &r)
  requires std::is_same_v<std::remove_const_t<Record>, CodeReference>
{
  a(r.kind), a(r.symbols), a(r.section);
}

/// XXH3-64 of the bytes.
uint64_t checksum(std::span<const std::byte> bytes);

} // namespace format
} // namespace v0
} // namespace quern

#endif // QUERN_MODULE_MODULEFORMAT_H
