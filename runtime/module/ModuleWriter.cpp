//===- ModuleWriter.cpp - ModuleDesc to bytes -----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/module/ModuleFormat.h"

#include <bit>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace quern;
using namespace quern::format;

static_assert(std::endian::native == std::endian::little,
              "integers are copied as they lie in memory");

uint64_t format::checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

namespace {

class Writer {
public:
  std::vector<std::byte> out;

  template <typename T> void operator()(const T &value) {
    if constexpr (std::is_integral_v<T> || std::is_enum_v<T>)
      raw(&value, sizeof(value));
    else if constexpr (std::is_same_v<T, SymExpr>)
      expression(value);
    else
      fields(*this, value);
  }
  void operator()(const std::string &text) {
    (*this)(static_cast<uint32_t>(text.size()));
    raw(text.data(), text.size());
  }
  template <typename T> void operator()(const std::vector<T> &list) {
    (*this)(static_cast<uint32_t>(list.size()));
    for (const T &element : list)
      (*this)(element);
  }

private:
  void expression(const SymExpr &expr) {
    (*this)(static_cast<uint32_t>(expr.nodes().size()));
    for (const SymExpr::Node &node : expr.nodes()) {
      (*this)(node.op);
      if (node.op == SymExpr::Op::Constant || node.op == SymExpr::Op::Symbol)
        (*this)(node.value);
    }
  }
  void raw(const void *data, size_t size) {
    const auto *bytes = static_cast<const std::byte *>(data);
    out.insert(out.end(), bytes, bytes + size);
  }
};

struct Section {
  SectionKind kind;
  std::span<const std::byte> bytes;
  uint64_t offset = 0;
};

} // namespace

std::vector<std::byte> ModuleDesc::serialize() const {
  // Code sections follow the layer and the variants in the table.
  uint32_t codeSection = 1 + static_cast<uint32_t>(variants.size());
  std::vector<std::vector<std::byte>> plans;
  std::vector<Section> sections;

  Writer layerWriter;
  layerFields(layerWriter, *this);
  sections.push_back({SectionKind::Layer, layerWriter.out});
  for (const VariantDesc &variant : variants) {
    std::vector<CodeReference> references;
    for (const CodeDesc &object : variant.code)
      references.push_back({object.kind, object.symbols, codeSection++});
    Writer writer;
    variantFields(writer, variant, references);
    plans.push_back(std::move(writer.out));
  }
  for (const std::vector<std::byte> &plan : plans)
    sections.push_back({SectionKind::Variant, plan});
  for (const VariantDesc &variant : variants)
    for (const CodeDesc &object : variant.code)
      sections.push_back({SectionKind::Code, object.bytes});
  if (!source.empty())
    sections.push_back(
        {SectionKind::Source, std::as_bytes(std::span<const char>(source))});

  std::vector<LaunchRecord> records;
  std::vector<RangesRecord> ranges;
  for (uint32_t v = 0; v < variants.size(); ++v)
    for (uint32_t i = 0; i < variants[v].launches.size(); ++i) {
      const LaunchDesc &launch = variants[v].launches[i];
      if (!launch.isPlain())
        records.push_back(
            {v, i, launch.kind, launch.cluster, launch.residentBlocks});
      if (!launch.when.empty())
        ranges.push_back({v, i, launch.when});
    }
  std::vector<StripsRecord> strips;
  for (uint32_t v = 0; v < variants.size(); ++v)
    if (variants[v].rowSymbol)
      strips.push_back({v, *variants[v].rowSymbol});
  Writer launchWriter, rangesWriter, stripsWriter;
  launchWriter(records);
  if (!records.empty())
    sections.push_back({SectionKind::Launches, launchWriter.out});
  rangesWriter(ranges);
  if (!ranges.empty())
    sections.push_back({SectionKind::Ranges, rangesWriter.out});
  stripsWriter(strips);
  if (!strips.empty())
    sections.push_back({SectionKind::Strips, stripsWriter.out});

  uint64_t seal = 0; // Known when the table is written.
  sections.push_back({SectionKind::Seal, std::as_bytes(std::span(&seal, 1))});

  uint64_t end = headerBytes + tableEntryBytes * sections.size();
  for (Section &section : sections) {
    uint64_t alignment =
        section.kind == SectionKind::Code ? codeAlignment : sectionAlignment;
    section.offset = (end + alignment - 1) / alignment * alignment;
    end = section.offset + section.bytes.size();
  }

  Writer file;
  for (char c : magic)
    file(static_cast<uint8_t>(c));
  file(formatMajor);
  file(formatMinor);
  file(static_cast<uint32_t>(sections.size()));
  for (const Section &section : sections) {
    file(static_cast<uint32_t>(section.kind));
    bool optional = section.kind == SectionKind::Source ||
                    section.kind == SectionKind::Strips ||
                    section.kind == SectionKind::Seal;
    file(optional ? 0 : flagRequired);
    file(section.offset), file(static_cast<uint64_t>(section.bytes.size()));
    if (section.kind == SectionKind::Seal)
      seal = checksum(file.out);
    file(checksum(section.bytes));
  }
  file.out.resize(end); // The gaps are zero.
  for (const Section &section : sections)
    if (!section.bytes.empty())
      std::memcpy(file.out.data() + section.offset, section.bytes.data(),
                  section.bytes.size());
  return std::move(file.out);
}
