//===- TemplateTest.cpp - Every template on every architecture ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Compiles what templates.inc lists for five architectures: no spills, the
// instructions a product is meant to be made of, and in strict mode no float
// instruction that approximates or contracts.
//
//===----------------------------------------------------------------------===//

#include "kernels_templates/Embedded.h"
#include "runtime/device/cuda/Nvrtc.h"
#include "tests/kernels/ContractCase.h"
#include "tests/kernels/KernelHarness.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <sstream>

using namespace quern;
using namespace quern::test;

static const char *const allArchs[] = {"sm_80", "sm_89", "sm_90a", "sm_100a",
                                       "sm_120a"};

namespace {

struct TemplateRow {
  std::string family, name, header;
  unsigned firstArch;
  std::string elements;
};

} // namespace

static const TemplateRow templates[] = {
#define QUERN_CUDA_TEMPLATE(family, name, header, firstArch, elements)         \
  {#family, #name, header, firstArch, elements},
#include "kernels_templates/templates.inc"
};

/// The opcodes of a PTX text, with their modifiers.
static std::set<std::string> opcodes(const std::string &ptx) {
  static const std::regex form(
      R"(^\s*(?:\{\s*)?(?:@!?%\w+\s+)?([a-z][a-z0-9_]*(?:\.[A-Za-z0-9_:]+)*)\s+[^=]*;)");
  std::set<std::string> found;
  std::istringstream lines(ptx);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_search(line, match, form))
      found.insert(match[1]);
  }
  return found;
}

static std::string ptxOf(const VariantDesc &variant) {
  for (const CodeDesc &code : variant.code)
    if (code.kind == CodeKind::Ptx)
      return {reinterpret_cast<const char *>(code.bytes.data()),
              code.bytes.size()};
  return {};
}

static bool hasPrefix(const std::set<std::string> &opcodes,
                      const std::string &prefix) {
  auto at = opcodes.lower_bound(prefix);
  return at != opcodes.end() && at->starts_with(prefix);
}

/// Every f32 instruction is IEEE and rounded once.
static void expectStrict(const std::set<std::string> &opcodes) {
  static const std::set<std::string> allowed = {
      "add.rn.f32",  "sub.rn.f32", "mul.rn.f32",  "div.rn.f32",  "fma.rn.f32",
      "sqrt.rn.f32", "neg.f32",    "abs.f32",     "max.NaN.f32", "min.NaN.f32",
      "mov.f32",     "selp.f32",   "copysign.f32"};
  for (const std::string &opcode : opcodes) {
    EXPECT_EQ(opcode.find(".approx"), std::string::npos) << opcode;
    EXPECT_EQ(opcode.find(".ftz"), std::string::npos) << opcode;
    if (opcode.ends_with(".f32") && !opcode.starts_with("ld.") &&
        !opcode.starts_with("st.") && !opcode.starts_with("setp.") &&
        !opcode.starts_with("cvt.") && !opcode.starts_with("mma.")) {
      EXPECT_TRUE(allowed.contains(opcode)) << opcode;
    }
  }
}

/// "s8" as the tile dialect spells it.
static std::string tileType(const std::string &element) {
  return element == "s8"     ? "i8"
         : element == "u8"   ? "ui8"
         : element == "e4m3" ? "f8E4M3FN"
         : element == "e5m2" ? "f8E5M2"
         : element == "i4x2" ? "i4"
         : element == "u4x2" ? "ui4"
                             : element;
}

class Template : public testing::TestWithParam<const char *> {};

TEST_P(Template, ProductsCompileWithoutSpills) {
  QUERN_NEEDS_NVRTC();
  unsigned compiled = 0;
  for (const TemplateRow &row : templates) {
    if (row.family != "contract")
      continue;
    std::istringstream elements(row.elements);
    for (std::string pair; elements >> pair;) {
      size_t star = pair.find('*');
      std::string lhs = pair.substr(0, star), rhs = pair.substr(star + 1);
      for (int terms : {1, 2}) {
        ContractCase c;
        c.lhs = tileType(lhs), c.rhs = tileType(rhs);
        c.terms = terms, c.N = 256, c.K = 512;
        bool packed = rhs.ends_with("4x2");
        if (packed && c.isFloat()) {
          c.decodeRhs = true, c.codes = c.rhs, c.rhs = c.lhs;
          c.group = 128, c.zeros = true;
        }
        Result<VariantDesc> variant = compileTile(c.text(), GetParam());
        ASSERT_TRUE(variant) << pair << ": " << variant.error().render();
        const KernelDesc &kernel = variant->kernels[0];
        EXPECT_EQ(kernel.spillBytes, 0u) << pair << " terms " << terms;
        EXPECT_GT(kernel.registers, 0u);
        std::set<std::string> used = opcodes(ptxOf(*variant));
        EXPECT_TRUE(hasPrefix(used, "mma.sync.aligned")) << pair;
        EXPECT_TRUE(hasPrefix(used, "ldmatrix.sync.aligned")) << pair;
        EXPECT_TRUE(hasPrefix(used, "cp.async.cg.shared.global")) << pair;
        // Before sm_89 8-bit floats are multiplied as f16.
        bool decoded = lhs[0] == 'e' && GetParam() == std::string("sm_80");
        std::string right = !packed         ? rhs
                            : c.isFloat()   ? lhs
                            : rhs == "i4x2" ? "s8"
                                            : "u8";
        std::string wanted =
            decoded ? ".f16.f16." : fmt::format(".{}.{}.", lhs, right);
        // Nothing writes codes wider than they are.
        EXPECT_EQ(variant->kernels.size(), 1u) << pair;
        EXPECT_TRUE(std::any_of(used.begin(), used.end(),
                                [&](const std::string &opcode) {
                                  return opcode.starts_with("mma.") &&
                                         opcode.find(wanted) !=
                                             std::string::npos;
                                }))
            << wanted;
        expectStrict(used);
        ++compiled;
      }
    }
  }
  EXPECT_GE(compiled, 20u);
}

TEST_P(Template, SmallTilesAndSplitsCompileWithoutSpills) {
  QUERN_NEEDS_NVRTC();
  for (int64_t maxM : {16, 32, 64, 4096})
    for (auto [split, terms] :
         {std::pair(0, 1), {0, 2}, {0, 4}, {32, 1}, {128, 1}, {128, 2}}) {
      ContractCase c;
      c.maxM = maxM, c.N = 256, c.K = 1024, c.split = split, c.terms = terms;
      Result<VariantDesc> variant = compileTile(c.text(), GetParam());
      ASSERT_TRUE(variant) << c << ": " << variant.error().render();
      EXPECT_EQ(variant->kernels[0].spillBytes, 0u)
          << c << ": " << variant->kernels[0].schedule << ", "
          << variant->kernels[0].registers << " registers";
    }
}

TEST_P(Template, SplitSumsOfEveryElementTypeCompileWithoutSpills) {
  QUERN_NEEDS_NVRTC();
  // i8 stands for sums with corrections, ui8 for sums without.
  for (const char *element : {"i8", "ui8", "f8E4M3FN", "f8E5M2", "f16", "bf16"})
    for (int64_t maxM : {16, 4096})
      for (int terms : {1, 2}) {
        ContractCase c;
        c.lhs = c.rhs = element;
        c.corrected = element == std::string("i8");
        c.maxM = maxM, c.N = 256, c.K = 1024, c.split = 128, c.terms = terms;
        Result<VariantDesc> variant = compileTile(c.text(), GetParam());
        ASSERT_TRUE(variant) << c << ": " << variant.error().render();
        EXPECT_EQ(variant->kernels[0].spillBytes, 0u)
            << c << ": " << variant->kernels[0].schedule << ", "
            << variant->kernels[0].registers << " registers";
        expectStrict(opcodes(ptxOf(*variant)));
      }
}

TEST_P(Template, PackedOperandsCompileWithoutSpills) {
  QUERN_NEEDS_NVRTC();
  for (const char *codes : {"i4", "ui4"})
    for (const char *lhs : {"i8", "f16", "bf16"})
      for (int64_t maxM : {16, 32, 64, 4096})
        for (int terms : {1, 2}) {
          ContractCase c;
          c.lhs = lhs, c.decodeRhs = c.isFloat(), c.maxM = maxM;
          c.N = 256, c.K = 1024, c.terms = terms;
          (c.decodeRhs ? c.group : c.split) = maxM == 64 ? 32 : 128;
          (c.decodeRhs ? c.codes : c.rhs) = codes;
          if (c.decodeRhs)
            c.rhs = lhs, c.zeros = terms == 1, c.narrowScales = maxM != 32;
          else
            c.corrected = codes[0] == 'u';
          Result<VariantDesc> variant = compileTile(c.text(), GetParam());
          ASSERT_TRUE(variant) << c << ": " << variant.error().render();
          EXPECT_EQ(variant->kernels[0].spillBytes, 0u)
              << c << ": " << variant->kernels[0].schedule << ", "
              << variant->kernels[0].registers << " registers";
          expectStrict(opcodes(ptxOf(*variant)));
        }
}

TEST_P(Template, AllHeadersCompileTogether) {
  QUERN_NEEDS_NVRTC();
  std::string index;
  std::vector<cuda::NvrtcHeader> headers;
  for (const EmbeddedHeader &header : embeddedHeaders()) {
    headers.push_back({std::string(header.path), std::string(header.text)});
    index += fmt::format("#include \"{}\"\n", header.path);
    EXPECT_EQ(header.text.find("#include <"), std::string_view::npos)
        << header.path << " includes a standard header";
  }
  // Each alone, then all: a header names everything it needs.
  for (const EmbeddedHeader &header : embeddedHeaders()) {
    auto alone = (*cuda::Nvrtc::get())
                     ->compile(fmt::format("#include \"{}\"\n", header.path),
                               "alone.cu", headers, GetParam());
    EXPECT_TRUE(alone) << alone.error().render();
  }
  auto all =
      (*cuda::Nvrtc::get())->compile(index, "index.cu", headers, GetParam());
  EXPECT_TRUE(all) << all.error().render();
}

INSTANTIATE_TEST_SUITE_P(Archs, Template, testing::ValuesIn(allArchs),
                         [](auto &info) { return std::string(info.param); });

TEST(Opcodes, AreReadFromPtx) {
  auto found = opcodes("  @%p1 bra $L1;\n\tadd.rn.f32 %f1, %f2, %f3;\n"
                       "{ .reg .pred p;\nex2.approx.ftz.f32 %f1, %f2;\n");
  EXPECT_TRUE(found.contains("add.rn.f32"));
  EXPECT_TRUE(found.contains("ex2.approx.ftz.f32"));
  EXPECT_TRUE(found.contains("bra"));
}
