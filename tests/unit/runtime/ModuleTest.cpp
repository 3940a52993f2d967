//===- ModuleTest.cpp - Module files --------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "FakeModule.h"

#include "runtime/module/ModuleFormat.h"
#include "runtime/module/ModuleVerifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

using namespace quern;
using namespace quern::testing;
using ::testing::HasSubstr;

namespace {

ModuleDesc sample() {
  // The code need not run here.
  return makeFakeModule(std::vector<std::byte>(0x1900, std::byte{0xc3}));
}

/// The sample's bytes with small code, so that byte-wise tests stay short.
ModuleDesc smallSample() {
  ModuleDesc module = sample();
  CodeDesc &code = module.variants[0].code[0];
  code.bytes.resize(16);
  for (size_t i = 0; i < code.symbols.size(); ++i)
    code.symbols[i].offset = 4 * i;
  return module;
}

template <typename T> void put(std::vector<std::byte> &to, size_t at, T value) {
  std::memcpy(to.data() + at, &value, sizeof(value));
}
template <typename T> T get(const std::vector<std::byte> &from, size_t at) {
  T value;
  std::memcpy(&value, from.data() + at, sizeof(value));
  return value;
}

size_t entry(unsigned section) { return 16 + 32 * section; }

void resealSection(std::vector<std::byte> &file, unsigned section) {
  auto offset = get<uint64_t>(file, entry(section) + 8);
  auto size = get<uint64_t>(file, entry(section) + 16);
  put(file, entry(section) + 24,
      format::checksum(std::span(file).subspan(offset, size)));
}

/// Makes the table's checksum fit the section's bytes again, and the seal the
/// table.
void reseal(std::vector<std::byte> &file, unsigned section) {
  resealSection(file, section);
  unsigned seal = get<uint32_t>(file, 12) - 1;
  put(file, get<uint64_t>(file, entry(seal) + 8),
      format::checksum(std::span(file).first(entry(seal) + 24)));
  resealSection(file, seal);
}

TEST(Module, RoundTrip) {
  ModuleDesc module = sample();
  module.numerics = Numerics::Fast;
  VariantDesc second = module.variants[0];
  second.target = "cuda:sm_90a";
  second.requiredFeatures = {"avx512f", "avx512vnni"};
  second.buffers[0].alignment = 16;
  second.kernels[1].registers = 168;
  second.kernels[1].numericsClass = NumericsClass::Bounded;
  second.launches[1].grid[1] =
      SymExpr::ceilDiv(SymExpr::symbol(0), SymExpr::constant(128));
  second.launches[1].block = {128, 2, 1};
  second.launches[1].dynamicSharedBytes = SymExpr::constant(-1);
  second.code = {{CodeKind::Ptx, {std::byte{'x'}}, {}},
                 {CodeKind::CudaSource, {std::byte{'y'}, std::byte{0}}, {}}};
  module.variants.push_back(second);
  std::vector<std::byte> bytes = module.serialize();
  Result<ModuleDesc> parsed = ModuleDesc::parse(bytes);
  ASSERT_TRUE(parsed) << parsed.error().render();
  EXPECT_EQ(*parsed, module);
  EXPECT_EQ(parsed->serialize(), bytes);
}

TEST(Module, CodeIsPageAligned) {
  std::vector<std::byte> bytes = sample().serialize();
  EXPECT_EQ(get<uint64_t>(bytes, entry(2) + 8) % 4096, 0u);
}

TEST(Module, EveryTruncationIsRefused) {
  std::vector<std::byte> bytes = smallSample().serialize();
  for (size_t size = 0; size < bytes.size(); ++size) {
    Result<ModuleDesc> parsed = ModuleDesc::parse(std::span(bytes).first(size));
    ASSERT_FALSE(parsed) << "at " << size;
    ASSERT_EQ(parsed.error().code, Errc::InvalidFile);
  }
}

TEST(Module, TrailingBytesAreRefused) {
  std::vector<std::byte> bytes = smallSample().serialize();
  bytes.push_back(std::byte{0});
  Result<ModuleDesc> parsed = ModuleDesc::parse(bytes);
  ASSERT_FALSE(parsed);
  EXPECT_THAT(parsed.error().message, HasSubstr("1 bytes follow"));
}

TEST(Module, EveryChangedByteIsRefused) {
  ModuleDesc module = smallSample();
  module.source = "layer t(x: f32[M]) -> f32[M] { return x }\n";
  std::vector<std::byte> bytes = module.serialize();
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::byte kept = bytes[at];
    for (unsigned change = 1; change < 256; ++change) {
      bytes[at] = kept ^ std::byte(change);
      ASSERT_FALSE(ModuleDesc::parse(bytes))
          << "byte " << at << " changed by " << change;
    }
    bytes[at] = kept;
  }
  EXPECT_TRUE(ModuleDesc::parse(bytes));
}

TEST(Module, ResealedDamageNeverCrashes) {
  // With checksums made to fit, the reader's own checks stand alone.
  std::vector<std::byte> clean = smallSample().serialize();
  for (unsigned section : {0u, 1u}) {
    auto offset = get<uint64_t>(clean, entry(section) + 8);
    auto size = get<uint64_t>(clean, entry(section) + 16);
    for (uint64_t at = offset; at < offset + size; ++at)
      for (unsigned value : {0x00u, 0x01u, 0x7fu, 0x80u, 0xffu}) {
        std::vector<std::byte> bytes = clean;
        bytes[at] = std::byte(value);
        reseal(bytes, section);
        if (Result<ModuleDesc> parsed = ModuleDesc::parse(bytes)) {
          EXPECT_EQ(ModuleDesc::parse(parsed->serialize()).operator bool(),
                    true);
        }
      }
  }
}

TEST(Module, UnknownMajorIsRefused) {
  std::vector<std::byte> bytes = smallSample().serialize();
  put<uint16_t>(bytes, 8, 1);
  Result<ModuleDesc> parsed = ModuleDesc::parse(bytes);
  ASSERT_FALSE(parsed);
  EXPECT_THAT(parsed.error().message, HasSubstr("format 1."));
}

/// The sample with one more section before the seal.
std::vector<std::byte> withExtraSection(uint32_t kind, uint32_t flags) {
  std::vector<std::byte> old = smallSample().serialize();
  // The gaps before the sections leave no room for a fifth entry: move all.
  std::vector<std::byte> bytes(old.size() + 4096);
  std::memcpy(bytes.data(), old.data(), entry(3));
  for (unsigned i = 0; i < 3; ++i) {
    auto offset = get<uint64_t>(old, entry(i) + 8);
    std::memcpy(bytes.data() + offset + 4096, old.data() + offset,
                get<uint64_t>(old, entry(i) + 16));
    put<uint64_t>(bytes, entry(i) + 8, offset + 4096);
  }
  uint64_t at = get<uint64_t>(old, entry(3) + 8) + 4096;
  bytes.resize(at + 24, std::byte{0});
  put<uint64_t>(bytes, at, 0x1234);
  put<uint32_t>(bytes, 12, 5);
  auto describe = [&](unsigned number, uint32_t kind, uint32_t flags,
                      uint64_t offset) {
    put<uint32_t>(bytes, entry(number), kind);
    put<uint32_t>(bytes, entry(number) + 4, flags);
    put<uint64_t>(bytes, entry(number) + 8, offset);
    put<uint64_t>(bytes, entry(number) + 16, 8);
  };
  describe(3, kind, flags, at);
  describe(4, static_cast<uint32_t>(format::SectionKind::Seal), 0, at + 16);
  reseal(bytes, 3);
  return bytes;
}

TEST(Module, UnknownOptionalSectionIsSkipped) {
  Result<ModuleDesc> parsed = ModuleDesc::parse(withExtraSection(77, 0));
  ASSERT_TRUE(parsed) << parsed.error().render();
  EXPECT_EQ(*parsed, smallSample());
}

TEST(Module, UnknownRequiredSectionIsRefused) {
  Result<ModuleDesc> parsed = ModuleDesc::parse(withExtraSection(77, 1));
  ASSERT_FALSE(parsed);
  EXPECT_THAT(parsed.error().message, HasSubstr("section kind 77"));
}

TEST(Module, CarriesTheText) {
  ModuleDesc module = smallSample();
  module.source = "layer t(x: f32[M]) -> f32[M] { return x }\n";
  std::vector<std::byte> bytes = module.serialize();
  EXPECT_EQ(get<uint32_t>(bytes, entry(3)), 4u);
  EXPECT_EQ(get<uint32_t>(bytes, entry(3) + 4), 0u) << "old readers skip it";
  Result<ModuleDesc> parsed = ModuleDesc::parse(bytes);
  ASSERT_TRUE(parsed) << parsed.error().render();
  EXPECT_EQ(*parsed, module);
  auto at = get<uint64_t>(bytes, entry(3) + 8);
  bytes[at] ^= std::byte{1};
  parsed = ModuleDesc::parse(bytes);
  ASSERT_FALSE(parsed);
  EXPECT_THAT(parsed.error().message, HasSubstr("checksum"));
}

TEST(Module, DescribesLaunchesThatAreNotPlain) {
  ModuleDesc module = smallSample();
  module.variants[0].launches.resize(
      std::max<size_t>(module.variants[0].launches.size(), 1));
  LaunchDesc &launch = module.variants[0].launches.back();
  launch.kind = LaunchKind::Cooperative;
  launch.residentBlocks = SymExpr::constant(86);
  std::vector<std::byte> bytes = module.serialize();
  EXPECT_EQ(get<uint32_t>(bytes, entry(3)), 6u);
  EXPECT_EQ(get<uint32_t>(bytes, entry(3) + 4), 1u) << "old readers refuse it";
  Result<ModuleDesc> parsed = ModuleDesc::parse(bytes);
  ASSERT_TRUE(parsed) << parsed.error().render();
  EXPECT_EQ(*parsed, module);

  launch.kind = LaunchKind::Independent;
  launch.residentBlocks = SymExpr();
  launch.cluster = 4;
  parsed = ModuleDesc::parse(module.serialize());
  ASSERT_TRUE(parsed) << parsed.error().render();
  EXPECT_EQ(*parsed, module);

  auto refusal = [&] {
    Result<ModuleDesc> parsed = ModuleDesc::parse(module.serialize());
    return parsed ? std::string() : parsed.error().message;
  };
  launch.cluster = 17;
  EXPECT_THAT(refusal(), HasSubstr("clusters of 17 blocks"));
  launch.cluster = 0;
  EXPECT_THAT(refusal(), HasSubstr("clusters of 0 blocks"));
  launch.cluster = 2;
  launch.kind = LaunchKind::Persistent;
  EXPECT_THAT(refusal(), HasSubstr("clusters and a queue"));
  launch.cluster = 1;
  launch.kind = static_cast<LaunchKind>(3);
  EXPECT_THAT(refusal(), HasSubstr("enumeration"));
  launch.kind = LaunchKind::Cooperative;
  launch.residentBlocks = SymExpr::symbol(40);
  EXPECT_THAT(refusal(), HasSubstr("symbol"));
}

/// What is said of a file whose section 3 was changed, with a right checksum.
std::string messageOf(std::vector<std::byte> &bytes) {
  reseal(bytes, 3);
  Result<ModuleDesc> parsed = ModuleDesc::parse(bytes);
  return parsed ? std::string() : parsed.error().message;
}

TEST(Module, LaunchesAreDescribedOnceAndExist) {
  ModuleDesc module = smallSample();
  module.variants[0].launches.back().kind = LaunchKind::Persistent;
  std::vector<std::byte> bytes = module.serialize();
  auto section = get<uint64_t>(bytes, entry(3) + 8);
  auto message = [&] { return messageOf(bytes); };
  EXPECT_EQ(message(), "");
  put<uint32_t>(bytes, section + 4, 7); // The variant.
  EXPECT_THAT(message(), HasSubstr("does not exist"));
  put<uint32_t>(bytes, section + 4, 0);
  put<uint32_t>(bytes, section + 8, 99); // The launch.
  EXPECT_THAT(message(), HasSubstr("does not exist"));
}

TEST(Module, SaysForWhatSizesLaunchesAre) {
  ModuleDesc module = smallSample();
  LaunchDesc &launch = module.variants[0].launches.back();
  launch.when = {{0, 3, 9}};
  std::vector<std::byte> bytes = module.serialize();
  EXPECT_EQ(get<uint32_t>(bytes, entry(3)), 7u);
  EXPECT_EQ(get<uint32_t>(bytes, entry(3) + 4), 1u) << "old readers refuse it";
  Result<ModuleDesc> parsed = ModuleDesc::parse(bytes);
  ASSERT_TRUE(parsed) << parsed.error().render();
  EXPECT_EQ(*parsed, module);

  auto section = get<uint64_t>(bytes, entry(3) + 8);
  auto message = [&] { return messageOf(bytes); };
  put<uint32_t>(bytes, section + 4, 7); // The variant.
  EXPECT_THAT(message(), HasSubstr("does not exist"));
  put<uint32_t>(bytes, section + 4, 0);
  put<uint32_t>(bytes, section + 16, 9); // The symbol.
  EXPECT_THAT(message(), HasSubstr("depends on a symbol"));
}

TEST(Module, SaysWhatIsRunInStrips) {
  ModuleDesc module = smallSample();
  module.variants[0].rowSymbol = 0;
  std::vector<std::byte> bytes = module.serialize();
  EXPECT_EQ(get<uint32_t>(bytes, entry(3)), 8u);
  EXPECT_EQ(get<uint32_t>(bytes, entry(3) + 4), 0u) << "old readers skip it";
  Result<ModuleDesc> parsed = ModuleDesc::parse(bytes);
  ASSERT_TRUE(parsed) << parsed.error().render();
  EXPECT_EQ(*parsed, module);

  auto section = get<uint64_t>(bytes, entry(3) + 8);
  auto message = [&] { return messageOf(bytes); };
  put<uint32_t>(bytes, section + 4, 7); // The variant.
  EXPECT_THAT(message(), HasSubstr("does not exist"));
  put<uint32_t>(bytes, section + 4, 0);
  put<uint32_t>(bytes, section + 8, 9); // The symbol.
  EXPECT_THAT(message(), HasSubstr("symbol that does not exist"));
}

TEST(Module, IsSealed) {
  std::vector<std::byte> bytes = smallSample().serialize();
  EXPECT_EQ(get<uint16_t>(bytes, 10), ModuleDesc::formatMinor);
  EXPECT_EQ(get<uint32_t>(bytes, entry(3)), 5u);
  EXPECT_EQ(get<uint32_t>(bytes, entry(3) + 4), 0u) << "old readers skip it";
  // An unknown section is held against its checksum like any other.
  std::vector<std::byte> unknown = withExtraSection(77, 0);
  unknown[get<uint64_t>(unknown, entry(3) + 8)] ^= std::byte{1};
  Result<ModuleDesc> parsed = ModuleDesc::parse(unknown);
  ASSERT_FALSE(parsed);
  EXPECT_THAT(parsed.error().message, HasSubstr("section 3 does not match"));
  parsed = ModuleDesc::parse(withExtraSection(5, 0));
  ASSERT_FALSE(parsed);
  EXPECT_THAT(parsed.error().message, HasSubstr("seal is not its last"));
  // What needs a seal has one; a file that states an older format does not.
  put<uint32_t>(bytes, entry(3), 77);
  parsed = ModuleDesc::parse(bytes);
  ASSERT_FALSE(parsed);
  EXPECT_THAT(parsed.error().message, HasSubstr("seal is missing"));
}

TEST(Module, StrayCodeSectionIsRefused) {
  Result<ModuleDesc> parsed = ModuleDesc::parse(withExtraSection(3, 1));
  ASSERT_FALSE(parsed);
  EXPECT_THAT(parsed.error().message, HasSubstr("belongs to no variant"));
}

struct Rule {
  const char *name;
  std::function<void(ModuleDesc &)> breakIt;
  const char *message;
};

class ModuleRules : public ::testing::TestWithParam<Rule> {};

TEST_P(ModuleRules, IsChecked) {
  ModuleDesc module = sample();
  ASSERT_TRUE(verifyModule(module));
  GetParam().breakIt(module);
  Result<ModuleDesc> parsed = ModuleDesc::parse(module.serialize());
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code, Errc::InvalidFile);
  EXPECT_THAT(parsed.error().message, HasSubstr(GetParam().message));
}

VariantDesc &variant(ModuleDesc &m) { return m.variants[0]; }

INSTANTIATE_TEST_SUITE_P(
    All, ModuleRules,
    ::testing::Values(
        Rule{"LayerName", [](ModuleDesc &m) { m.layer.clear(); },
             "has no name"},
        Rule{"Symbols", [](ModuleDesc &m) { m.symbols.resize(65); },
             "65 symbols"},
        Rule{"SymbolName", [](ModuleDesc &m) { m.symbols[1].name = "M"; },
             "symbol name 'M'"},
        Rule{"SymbolRange", [](ModuleDesc &m) { m.symbols[0].min = 65; },
             "range 65..64"},
        Rule{"NegativeSymbol", [](ModuleDesc &m) { m.symbols[0].min = -1; },
             "range -1..64"},
        Rule{"SymbolMultiple", [](ModuleDesc &m) { m.symbols[0].multiple = 0; },
             "multiple 0"},
        Rule{"StripsOfKnownRows",
             [](ModuleDesc &m) {
               variant(m).rowSymbol = 0;
               m.symbols[0].min = 2;
             },
             "cannot be any number of rows"},
        Rule{"StripsOfColumns",
             [](ModuleDesc &m) {
               variant(m).rowSymbol = 1;
               m.symbols[1].multiple = 1;
             },
             "run in strips of K"},
        Rule{"StripsOfOutputs",
             [](ModuleDesc &m) {
               variant(m).rowSymbol = 0;
               variant(m).buffers[2].shape[0] = SymExpr::constant(3);
             },
             "no list of that many rows"},
        Rule{"StripsAndRanges",
             [](ModuleDesc &m) {
               variant(m).rowSymbol = 0;
               addRange(variant(m), 2);
             },
             "launches for some sizes alone"},
        Rule{"StripsOnACpu",
             [](ModuleDesc &m) {
               variant(m).rowSymbol = 0;
               variant(m).target = "cuda:sm_80";
             },
             "not for a CPU"},
        Rule{"Target", [](ModuleDesc &m) { variant(m).target.clear(); },
             "has no target"},
        Rule{"BufferName",
             [](ModuleDesc &m) { variant(m).buffers[0].name.clear(); },
             "buffer has no name"},
        Rule{"Rank",
             [](ModuleDesc &m) { variant(m).buffers[4].shape.resize(7); },
             "rank 7"},
        Rule{"Alignment",
             [](ModuleDesc &m) { variant(m).buffers[0].alignment = 48; },
             "alignment 48"},
        Rule{"ShapeSymbol",
             [](ModuleDesc &m) {
               variant(m).buffers[4].shape[0] = SymExpr::symbol(2);
             },
             "uses a symbol that does not exist"},
        Rule{"OperandNames",
             [](ModuleDesc &m) { variant(m).buffers[1].name = "x"; },
             "two operands are named 'x.values'"},
        Rule{"UpdateType",
             [](ModuleDesc &m) {
               variant(m).buffers[2].name = "x";
               variant(m).buffers[2].dtype = DType::I32;
             },
             "two operands are named 'x.values'"},
        Rule{"UpdateShape",
             [](ModuleDesc &m) {
               variant(m).buffers[2].name = "x";
               variant(m).buffers[2].shape.pop_back();
             },
             "two operands are named 'x.values'"},
        Rule{"UpdateTwice",
             [](ModuleDesc &m) {
               variant(m).buffers[2].name = "x";
               variant(m).buffers.push_back(variant(m).buffers[2]);
             },
             "two operands are named 'x.values'"},
        Rule{"Signature",
             [](ModuleDesc &m) {
               m.variants.push_back(variant(m));
               m.variants[1].buffers[0].dtype = DType::F16;
             },
             "signature differs"},
        Rule{"PackedShape",
             [](ModuleDesc &m) {
               variant(m).buffers[3].shape[0] = SymExpr::symbol(0);
             },
             "depends on more than the weights"},
        Rule{"LaunchKernel",
             [](ModuleDesc &m) { variant(m).launches[0].kernel = 3; },
             "kernel 3 of 3"},
        Rule{"LaunchBuffer",
             [](ModuleDesc &m) { variant(m).launches[1].buffers[0] = 7; },
             "buffer 7 of 7"},
        Rule{"PrepareBuffer",
             [](ModuleDesc &m) { variant(m).launches[0].buffers[0] = 0; },
             "'x', which exists in runs only"},
        Rule{"PrepareSize",
             [](ModuleDesc &m) {
               variant(m).launches[0].items = SymExpr::symbol(0);
             },
             "the weights do not fix"},
        Rule{"LaunchSize",
             [](ModuleDesc &m) {
               variant(m).launches[1].grid[2] = SymExpr::symbol(9);
             },
             "a symbol that does not exist"},
        Rule{"BlockExtent",
             [](ModuleDesc &m) { variant(m).launches[1].block[0] = 0; },
             "block extent of 0"},
        Rule{"BlockThreads",
             [](ModuleDesc &m) { variant(m).launches[1].block = {512, 4, 1}; },
             "2048 threads"},
        Rule{"UnpackedWeight",
             [](ModuleDesc &m) { variant(m).launches[0].buffers[1] = 1; },
             "no prepare launch writes"},
        Rule{"PrepareRange",
             [](ModuleDesc &m) { variant(m).launches[0].when = {{1, 4, 8}}; },
             "prepares weights for all"},
        Rule{"RangeSymbol",
             [](ModuleDesc &m) { variant(m).launches[1].when = {{2, 1, 8}}; },
             "a symbol that does not exist"},
        Rule{"RangeUpsideDown",
             [](ModuleDesc &m) { variant(m).launches[1].when = {{0, 9, 8}}; },
             "M from 9 to 8"},
        Rule{"RangeTooWide",
             [](ModuleDesc &m) { variant(m).launches[1].when = {{0, 9, 65}}; },
             "no range within 0..64"},
        Rule{"RangeTwice",
             [](ModuleDesc &m) {
               variant(m).launches[1].when = {{0, 1, 8}, {0, 4, 8}};
             },
             "two ranges for M"},
        Rule{"EmptyCode",
             [](ModuleDesc &m) { variant(m).code[0].bytes.clear(); },
             "code object is empty"},
        Rule{"CodeKind",
             [](ModuleDesc &m) {
               variant(m).code[0].kind = CodeKind::Ptx;
               variant(m).code[0].symbols.clear();
             },
             "another target's kind"},
        Rule{"EntryPoint",
             [](ModuleDesc &m) {
               variant(m).code[0].symbols[1].offset = 0x1900;
             },
             "lies outside its image"},
        Rule{"EntryNames",
             [](ModuleDesc &m) { variant(m).code[0].symbols[1].name = "pack"; },
             "two entry points are named 'pack'"},
        Rule{"KernelNames",
             [](ModuleDesc &m) { variant(m).kernels[1].name = "pack"; },
             "kernel name 'pack'"},
        Rule{"KernelEntry",
             [](ModuleDesc &m) { variant(m).kernels[1].name = "other"; },
             "'other' has no entry point"}),
    [](const auto &info) { return std::string(info.param.name); });

TEST(Module, HugeCountsAreRefusedWithoutAllocating) {
  std::vector<std::byte> bytes = smallSample().serialize();
  auto offset = get<uint64_t>(bytes, entry(0) + 8);
  put<uint32_t>(bytes, offset, 0xffffffffu); // The length of the layer's name.
  reseal(bytes, 0);
  Result<ModuleDesc> parsed = ModuleDesc::parse(bytes);
  ASSERT_FALSE(parsed);
  EXPECT_THAT(parsed.error().message, HasSubstr("4294967295 elements"));
}

} // namespace
