//===- ModuleReader.cpp - Bytes to a validated ModuleDesc -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Nothing in the file is believed: every count is held against the bytes that
// are left before anything is allocated for it, every enum against its last
// value, every section against its checksum. What the bytes say is then held
// against the rules of ModuleVerifier.h.
//
//===----------------------------------------------------------------------===//

#include "runtime/module/ModuleFormat.h"
#include "runtime/module/ModuleVerifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

using namespace quern;
using namespace quern::format;

namespace {

constexpr uint8_t lastValue(DType) { return static_cast<uint8_t>(DType::U4); }
constexpr uint8_t lastValue(BufferRole) {
  return static_cast<uint8_t>(BufferRole::State);
}
constexpr uint8_t lastValue(LaunchPhase) {
  return static_cast<uint8_t>(LaunchPhase::Run);
}
constexpr uint8_t lastValue(LaunchKind) {
  return static_cast<uint8_t>(LaunchKind::Cooperative);
}
constexpr uint8_t lastValue(NumericsClass) {
  return static_cast<uint8_t>(NumericsClass::Bounded);
}
constexpr uint8_t lastValue(Numerics) {
  return static_cast<uint8_t>(Numerics::Fast);
}
constexpr uint8_t lastValue(CodeKind) {
  return static_cast<uint8_t>(CodeKind::CudaSource);
}

/// Reads fields until the first fault, which it keeps; after that every read
/// yields zeros.
class Reader {
public:
  explicit Reader(std::span<const std::byte> bytes) : left(bytes) {}

  const std::string &fault() const { return what; }
  bool atEnd() const { return left.empty(); }

  template <typename T> void operator()(T &value) {
    if constexpr (std::is_integral_v<T>) {
      raw(&value, sizeof(value));
    } else if constexpr (std::is_enum_v<T>) {
      uint8_t byte = 0;
      raw(&byte, 1);
      if (byte > lastValue(T{}))
        return refuse(fmt::format("value {} of an enumeration whose last is {}",
                                  byte, lastValue(T{})));
      value = static_cast<T>(byte);
    } else if constexpr (std::is_same_v<T, SymExpr>) {
      expression(value);
    } else {
      fields(*this, value);
    }
  }
  void operator()(std::string &text) {
    uint32_t size = count(1);
    if (size > maxStringBytes)
      return refuse(fmt::format("a string of {} bytes", size));
    text.resize(size);
    raw(text.data(), size);
  }
  template <typename T> void operator()(std::vector<T> &list) {
    uint32_t size = count(1);
    for (uint32_t i = 0; i < size && what.empty(); ++i)
      (*this)(list.emplace_back());
  }

private:
  /// A count of elements of at least `bytes` each.
  uint32_t count(uint64_t bytes) {
    uint32_t n = 0;
    raw(&n, sizeof(n));
    if (n * bytes > left.size()) {
      refuse(fmt::format("a list of {} elements in {} bytes", n, left.size()));
      return 0;
    }
    return n;
  }
  void expression(SymExpr &expr) {
    uint32_t size = count(1);
    if (size > maxExprNodes)
      return refuse(fmt::format("a size expression of {} nodes", size));
    std::vector<SymExpr::Node> nodes(size);
    for (SymExpr::Node &node : nodes) {
      uint8_t op = 0;
      raw(&op, 1);
      node.op = static_cast<SymExpr::Op>(op);
      if (node.op == SymExpr::Op::Constant || node.op == SymExpr::Op::Symbol)
        raw(&node.value, sizeof(node.value));
    }
    Result<SymExpr> parsed = SymExpr::fromNodes(std::move(nodes));
    if (!parsed)
      return refuse(parsed.error().message);
    expr = std::move(*parsed);
  }
  void raw(void *to, size_t size) {
    if (!what.empty())
      return;
    if (size > left.size())
      return refuse("the section ends in the middle of a field");
    if (size)
      std::memcpy(to, left.data(), size);
    left = left.subspan(size);
  }
  void refuse(std::string reason) {
    if (what.empty())
      what = std::move(reason);
    left = {};
  }

  std::span<const std::byte> left;
  std::string what;
};

struct Entry {
  uint32_t kind = 0, flags = 0;
  uint64_t offset = 0, size = 0, sum = 0;
};

Diagnostic bad(std::string reason) {
  return fail(Errc::InvalidFile, "not a valid module: " + std::move(reason));
}

/// Holds header and table against the seal, which files before minor version 3
/// lack.
Result<void> checkSeal(std::span<const std::byte> bytes, uint16_t minor,
                       const std::vector<Entry> &table) {
  auto isSeal = [](const Entry &entry) {
    return entry.kind == static_cast<uint32_t>(SectionKind::Seal);
  };
  bool last = !table.empty() && isSeal(table.back());
  if (std::count_if(table.begin(), table.end(), isSeal) != (last ? 1 : 0))
    return bad("the seal is not its last section");
  if (!last && minor >= sealedMinor)
    return bad("its seal is missing");
  if (!last)
    return {};
  uint64_t seal;
  if (table.back().size != sizeof(seal))
    return bad(fmt::format("its seal has {} bytes", table.back().size));
  std::memcpy(&seal, bytes.data() + table.back().offset, sizeof(seal));
  uint64_t sealed =
      headerBytes + tableEntryBytes * table.size() - sizeof(Entry::sum);
  if (checksum(bytes.first(sealed)) != seal)
    return bad("header and section table do not match the seal");
  return {};
}

/// Reads and checks header and section table.
Result<std::vector<Entry>> readTable(std::span<const std::byte> bytes) {
  if (bytes.size() < headerBytes)
    return bad(fmt::format("{} bytes are shorter than the header of {}",
                           bytes.size(), headerBytes));
  if (std::memcmp(bytes.data(), magic, sizeof(magic)) != 0)
    return bad("it does not begin with QUERNMOD");
  uint16_t major, minor;
  uint32_t count;
  std::memcpy(&major, bytes.data() + 8, 2);
  std::memcpy(&minor, bytes.data() + 10, 2);
  std::memcpy(&count, bytes.data() + 12, 4);
  if (major != ModuleDesc::formatMajor)
    return fail(Errc::InvalidFile,
                fmt::format("this module has format {}.{}; this runtime reads "
                            "format {}",
                            major, minor, ModuleDesc::formatMajor),
                {"compile the layer again with a compiler of this version"});
  if (count > maxSections)
    return bad(fmt::format("{} sections; at most {} are accepted", count,
                           maxSections));
  uint64_t end = headerBytes + tableEntryBytes * count;
  if (end > bytes.size())
    return bad(fmt::format("truncated: {} sections need a table of {} bytes, "
                           "the file has {}",
                           count, end, bytes.size()));
  std::vector<Entry> table(count);
  for (uint32_t i = 0; i < count; ++i) {
    const std::byte *at = bytes.data() + headerBytes + tableEntryBytes * i;
    Entry &entry = table[i];
    std::memcpy(&entry.kind, at, 4);
    std::memcpy(&entry.flags, at + 4, 4);
    std::memcpy(&entry.offset, at + 8, 8);
    std::memcpy(&entry.size, at + 16, 8);
    std::memcpy(&entry.sum, at + 24, 8);
    // Ascending order makes "disjoint" a comparison of neighbours.
    if (entry.offset < end)
      return bad(fmt::format("section {} begins at {}, inside what ends at {}",
                             i, entry.offset, end));
    if (entry.offset % sectionAlignment)
      return bad(fmt::format("section {} is not aligned", i));
    if (entry.offset > bytes.size() || entry.size > bytes.size() - entry.offset)
      return bad(fmt::format("truncated: section {} needs bytes {} to {}, the "
                             "file has {}",
                             i, entry.offset, entry.offset + entry.size,
                             bytes.size()));
    if (std::any_of(bytes.begin() + end, bytes.begin() + entry.offset,
                    [](std::byte b) { return b != std::byte{0}; }))
      return bad(fmt::format("stray bytes before section {}", i));
    end = entry.offset + entry.size;
  }
  if (end != bytes.size())
    return bad(
        fmt::format("{} bytes follow the last section", bytes.size() - end));
  if (Result<void> sealed = checkSeal(bytes, minor, table); !sealed)
    return sealed.error();
  return table;
}

} // namespace

Result<ModuleDesc> ModuleDesc::parse(std::span<const std::byte> bytes) {
  Result<std::vector<Entry>> table = readTable(bytes);
  if (!table)
    return table.error();

  auto contents = [&](const Entry &e) {
    return bytes.subspan(e.offset, e.size);
  };
  ModuleDesc module;
  bool haveLayer = false, haveLaunches = false, haveRanges = false;
  bool haveStrips = false;
  std::vector<LaunchRecord> records;
  std::vector<RangesRecord> ranges;
  std::vector<StripsRecord> strips;
  std::vector<bool> used(table->size(), false);
  for (size_t i = 0; i < table->size(); ++i) {
    const Entry &entry = (*table)[i];
    if (checksum(contents(entry)) != entry.sum)
      return bad(fmt::format("section {} does not match its checksum", i));
    if (entry.kind < static_cast<uint32_t>(SectionKind::Layer) ||
        entry.kind > static_cast<uint32_t>(lastSectionKind)) {
      if (entry.flags & flagRequired)
        return fail(Errc::InvalidFile,
                    fmt::format("this module needs section kind {}, which this "
                                "runtime does not know",
                                entry.kind),
                    {"it was made by a newer compiler"});
      continue;
    }
    if (entry.kind == static_cast<uint32_t>(SectionKind::Code) ||
        entry.kind == static_cast<uint32_t>(SectionKind::Seal))
      continue;

    if (entry.kind == static_cast<uint32_t>(SectionKind::Source)) {
      if (!module.source.empty())
        return bad("two sections hold the layer's text");
      std::span<const std::byte> text = contents(entry);
      module.source.assign(reinterpret_cast<const char *>(text.data()),
                           text.size());
      continue;
    }
    Reader reader(contents(entry));
    if (entry.kind == static_cast<uint32_t>(SectionKind::Layer)) {
      if (haveLayer)
        return bad("two sections describe the layer");
      haveLayer = true;
      layerFields(reader, module);
    } else if (entry.kind == static_cast<uint32_t>(SectionKind::Launches)) {
      if (haveLaunches)
        return bad("two sections describe launches");
      haveLaunches = true;
      reader(records);
    } else if (entry.kind == static_cast<uint32_t>(SectionKind::Ranges)) {
      if (haveRanges)
        return bad("two sections say when launches happen");
      haveRanges = true;
      reader(ranges);
    } else if (entry.kind == static_cast<uint32_t>(SectionKind::Strips)) {
      if (haveStrips)
        return bad("two sections say what is run in strips");
      haveStrips = true;
      reader(strips);
    } else {
      VariantDesc &variant = module.variants.emplace_back();
      std::vector<CodeReference> references;
      variantFields(reader, variant, references);
      for (CodeReference &reference : references) {
        uint32_t section = reference.section;
        if (section >= table->size() ||
            (*table)[section].kind != static_cast<uint32_t>(SectionKind::Code))
          return bad(fmt::format("section {} refers to section {}, which is "
                                 "not code",
                                 i, section));
        // A section used twice would let a small file ask for much memory.
        if (used[section])
          return bad(fmt::format("code section {} is used twice", section));
        used[section] = true;
        std::span<const std::byte> code = contents((*table)[section]);
        variant.code.push_back({reference.kind,
                                {code.begin(), code.end()},
                                std::move(reference.symbols)});
      }
    }
    if (!reader.fault().empty())
      return bad(fmt::format("section {}: {}", i, reader.fault()));
    if (!reader.atEnd())
      return bad(fmt::format("section {} is longer than its contents", i));
  }
  if (!haveLayer)
    return bad("no section describes the layer");
  auto exists = [&](const auto &record) {
    return record.variant < module.variants.size() &&
           record.launch < module.variants[record.variant].launches.size();
  };
  for (LaunchRecord &record : records) {
    if (!exists(record))
      return bad(fmt::format("it describes launch {} of variant {}, which does "
                             "not exist",
                             record.launch, record.variant));
    LaunchDesc &launch =
        module.variants[record.variant].launches[record.launch];
    if (!launch.isPlain())
      return bad(fmt::format("it describes launch {} of variant {} twice",
                             record.launch, record.variant));
    launch.kind = record.kind;
    launch.cluster = record.cluster;
    launch.residentBlocks = std::move(record.residentBlocks);
    if (launch.isPlain())
      return bad(fmt::format("it has nothing to say of launch {} of variant {}",
                             record.launch, record.variant));
  }
  for (RangesRecord &record : ranges) {
    if (!exists(record) || record.when.empty())
      return bad(fmt::format("it says for what sizes launch {} of variant {} "
                             "is, which does not exist or is for all",
                             record.launch, record.variant));
    LaunchDesc &launch =
        module.variants[record.variant].launches[record.launch];
    if (!launch.when.empty())
      return bad(fmt::format("it says twice for what sizes launch {} of "
                             "variant {} is",
                             record.launch, record.variant));
    launch.when = std::move(record.when);
  }
  for (const StripsRecord &record : strips) {
    if (record.variant >= module.variants.size() ||
        module.variants[record.variant].rowSymbol)
      return bad(fmt::format("it says what variant {} runs in strips, which "
                             "does not exist or is said twice",
                             record.variant));
    module.variants[record.variant].rowSymbol = record.symbol;
  }
  for (size_t i = 0; i < table->size(); ++i)
    if ((*table)[i].kind == static_cast<uint32_t>(SectionKind::Code) &&
        !used[i])
      return bad(fmt::format("code section {} belongs to no variant", i));
  if (Result<void> verified = verifyModule(module); !verified)
    return verified.error();
  return module;
}
