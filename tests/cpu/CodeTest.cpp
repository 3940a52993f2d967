//===- CodeTest.cpp - Generated code as such ------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "CpuHarness.h"

#include "compiler/lower/cpu/Emitter.h"
#include "compiler/lower/cpu/ObjectCode.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

using namespace quern;
using namespace quern::test;
using cpugen::CpuLevel;
using cpugen::CpuTarget;
using testing::HasSubstr;

/// A program of one kernel over a buffer x of N f32, which may be written.
static std::string program(const std::string &body,
                           const std::string &launch = "@kernel (%x) : !X") {
  return fmt::format(R"mlir(
!X = !tile.buffer<()[s0] -> (s0), f32>
#symbols = [#tile.symbol<"N", 0, 100, 1>]
#id = affine_map<(d0) -> (d0)>
tile.program @layer symbols #symbols numerics "strict" {{
  %x = tile.buffer "x" "values" output : !X
  tile.launch {1}
}}
tile.kernel @kernel attributes {{symbols = #symbols, writes = array<i1: true>, numerics_class = 0 : i32, reason = "test"}} (%x: !X) {{
  tile.blocks affine_map<()[s0] -> (s0)> (%i: index) {{
    {0}
  }}
}}
)mlir",
                     body, launch);
}

static const char *const storeOne = R"mlir(
    %c = arith.constant 1.0 : f32
    tile.store %c to %x at #id (%i) : f32, !X)mlir";

static std::string product() {
  return R"mlir(
!A = !tile.buffer<()[s0] -> (s0, 1024), i8>
!W = !tile.buffer<()[s0] -> (512, 1024), i8>
!Y = !tile.buffer<()[s0] -> (s0, 512), i32>
#symbols = [#tile.symbol<"M", 0, 100, 1>]
#id = affine_map<(d0, d1) -> (d0, d1)>
tile.program @layer symbols #symbols numerics "strict" {
  %a = tile.buffer "a" "codes" input : !A
  %w = tile.buffer "w" "codes" weight : !W
  %y = tile.buffer "y" "values" output : !Y
  tile.launch @product (%a, %w, %y) : !A, !W, !Y
}
tile.kernel @product attributes {symbols = #symbols, writes = array<i1: false, false, true>, numerics_class = 0 : i32, reason = "test"} (%a: !A, %w: !W, %y: !Y) {
  tile.contract {extents = affine_map<()[s0] -> (s0, 512, 1024)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>}
  epilogue (%m: index, %n: index, %acc: i32) {
    tile.store %acc to %y at #id (%m, %n) : i32, !Y
    tile.yield
  }
  operand (%m: index, %k: index) {
    %0 = tile.load %a at #id (%m, %k) : !A -> i8
    tile.yield %0 : i8
  }
  operand (%n: index, %k: index) {
    %0 = tile.load %w at #id (%n, %k) : !W -> i8
    tile.yield %0 : i8
  }
}
)mlir";
}

/// The innermost loop of a function: from the last label before its first
/// `instruction` to the next jump.
static std::vector<std::string> innerLoop(const std::string &assembly,
                                          const std::string &function,
                                          const std::string &instruction) {
  std::istringstream lines(assembly.substr(assembly.find(function + ":")));
  std::vector<std::string> block;
  bool found = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(".Lfunc_end"))
      break;
    if (line.starts_with(".LBB"))
      block.clear();
    block.push_back(line);
    found |= line.find(instruction) != std::string::npos;
    if (found && line.find("\tj") != std::string::npos)
      return block;
  }
  return {};
}

TEST(Code, RegisterTileStaysInRegisters) {
  // With SSE2, whose instructions overwrite an operand, two accumulators are
  // read from the stack and written there once for two steps.
  const std::tuple<CpuLevel, const char *, const char *, unsigned, unsigned>
      cases[] = {
          {CpuLevel::Avx512Vnni, "quern.tile.quads.corrected.rows.8x32",
           "vpdpbusd", 16, 0},
          {CpuLevel::AvxVnni, "quern.tile.quads.corrected.rows.4x16",
           "vpdpbusd", 8, 0},
          {CpuLevel::Avx2, "quern.tile.pairs.i8.rows.4x16", "vpmaddwd", 16, 0},
          {CpuLevel::Generic, "quern.tile.pairs.i8.rows.4x8", "pmaddwd", 16, 4},
      };
  for (auto [level, function, instruction, count, most] : cases) {
    SCOPED_TRACE(function);
    CompiledProgram compiled(product(), CpuTarget::forLevel(level),
                             /*dump=*/true);
    ASSERT_EQ(compiled.error, "");
    auto loop = innerLoop(compiled.dumps.assembly, function, instruction);
    unsigned found = 0, onStack = 0;
    for (const std::string &line : loop) {
      found += line.find(instruction) != std::string::npos;
      onStack += line.find("rsp") != std::string::npos ||
                 line.find("rbp)") != std::string::npos;
    }
    EXPECT_EQ(found, count);
    EXPECT_LE(onStack, most);
  }
}

TEST(Code, DumpsAndDescriptions) {
  CompiledProgram compiled(product(), CpuTarget::forLevel(CpuLevel::Avx512Vnni),
                           /*dump=*/true);
  ASSERT_EQ(compiled.error, "");
  EXPECT_EQ(compiled.variant.target, "cpu:avx512-vnni");
  EXPECT_THAT(compiled.variant.requiredFeatures,
              testing::Contains("avx512vnni"));
  EXPECT_THAT(compiled.dumps.tile, HasSubstr("schedule = "));
  EXPECT_THAT(compiled.dumps.llvm, HasSubstr("llvm.x86.avx512.vpdpbusd.512"));
  ASSERT_EQ(compiled.variant.kernels.size(), 2u);
  EXPECT_THAT(compiled.variant.kernels[1].schedule, HasSubstr("tile 8x32"));
  // The packed weight: 16 panels of 256 + 1 rows of 128 bytes.
  const BufferDesc &packed = compiled.variant.buffers.back();
  EXPECT_EQ(packed.role, BufferRole::Packed);
  int64_t bytes = 1;
  std::vector<int64_t> symbols = {7};
  for (const SymExpr &extent : packed.shape)
    bytes *= *extent.evaluate(symbols);
  EXPECT_EQ(bytes, 16 * 257 * 128);
  EXPECT_EQ(*compiled.variant.launches[1].items.evaluate(symbols), 16);
}

TEST(Code, GenericNeedsNoFeatures) {
  CompiledProgram compiled(product(), CpuTarget::forLevel(CpuLevel::Generic),
                           /*dump=*/true);
  ASSERT_EQ(compiled.error, "");
  EXPECT_TRUE(compiled.variant.requiredFeatures.empty());
  for (const char *foreign : {"ymm", "zmm", "vp", "pextrb"})
    EXPECT_EQ(compiled.dumps.assembly.find(foreign), std::string::npos)
        << foreign;
}

TEST(Code, NoFastMathAnywhere) {
  CompiledProgram compiled(product(), CpuTarget::forLevel(CpuLevel::Avx2),
                           /*dump=*/true);
  for (const char *flag : {" fast ", "reassoc", "contract ", "nnan", "nsz"})
    EXPECT_EQ(compiled.dumps.llvm.find(flag), std::string::npos) << flag;
}

TEST(Code, UndefinedSymbolsAreNamed) {
  CpuTarget target = CpuTarget::forLevel(CpuLevel::Generic);
  auto machine = cpugen::createTargetMachine(target);
  ASSERT_TRUE(machine);
  llvm::LLVMContext context;
  llvm::Module module("test", context);
  module.setTargetTriple(llvm::Triple(target.triple));
  module.setDataLayout((*machine)->createDataLayout());
  cpugen::Emitter e(module, target);
  auto *type = llvm::FunctionType::get(e.b.getVoidTy(), false);
  auto *outside = llvm::Function::Create(type, llvm::Function::ExternalLinkage,
                                         "missing_function", module);
  e.beginFunction("caller", type, true);
  e.b.CreateCall(outside);
  e.b.CreateRetVoid();
  auto object = cpugen::emitFile(module, **machine, false);
  ASSERT_TRUE(object);
  auto image = cpugen::linkImage(llvm::MemoryBufferRef(
      llvm::StringRef(object->data(), object->size()), "test"));
  ASSERT_FALSE(image);
  EXPECT_THAT(image.error().message, HasSubstr("missing_function"));
}

TEST(Code, DamagedObjectsAreRefused) {
  auto image = cpugen::linkImage(llvm::MemoryBufferRef("not an object", "x"));
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code, Errc::Internal);
}

//===----------------------------------------------------------------------===//
// Refusals
//===----------------------------------------------------------------------===//

static std::string errorOf(const std::string &text) {
  return CompiledProgram(text, CpuTarget::forLevel(CpuLevel::Generic)).error;
}

TEST(Refusals, CompilesWhenNothingIsWrong) {
  EXPECT_EQ(errorOf(program(storeOne)), "");
}

TEST(Refusals, UnknownOperations) {
  EXPECT_THAT(errorOf(program(R"mlir(
    %v = tile.load %x at #id (%i) : !X -> f32
    %s = math.sin %v : f32
    tile.store %s to %x at #id (%i) : f32, !X)mlir")),
              HasSubstr("@kernel: the CPU target does not know 'math.sin'"));
  EXPECT_THAT(errorOf(program(R"mlir(
    %v = tile.load %x at #id (%i) : !X -> f32
    %d = arith.extf %v : f32 to f64
    %e = arith.addf %d, %d : f64
    %s = arith.truncf %e : f64 to f32
    tile.store %s to %x at #id (%i) : f32, !X)mlir")),
              HasSubstr("does not know 'arith."));
}

TEST(Refusals, Programs) {
  EXPECT_THAT(errorOf(""), HasSubstr("one tile.program"));
  EXPECT_THAT(errorOf(program(storeOne, "@other (%x) : !X")),
              HasSubstr("@other"));
  EXPECT_THAT(errorOf(program(storeOne, "@kernel (%x, %x) : !X, !X")),
              HasSubstr("tile_launch_c1"));
  std::string twice = program(storeOne);
  twice += R"mlir(
tile.program @second symbols #symbols numerics "strict" {
})mlir";
  EXPECT_THAT(errorOf(twice), HasSubstr("one tile.program"));
}

TEST(Refusals, SymbolsNobodyLists) {
  EXPECT_THAT(errorOf(program(R"mlir(
    %c = arith.constant 1.0 : f32
    tile.store %c to %x at affine_map<(d0)[s0, s1] -> (d0 + s1)> (%i) : f32, !X)mlir")),
              HasSubstr("symbol s1"));
}

TEST(Refusals, Targets) {
  EXPECT_FALSE(CpuTarget::parse("cpu:sse9"));
  EXPECT_FALSE(CpuTarget::parse("gpu"));
  EXPECT_THAT(CpuTarget::parse("cpu:sse9").error().message,
              HasSubstr("cpu:sse9"));
  for (CpuLevel level : cpugen::allCpuLevels) {
    CpuTarget target = CpuTarget::forLevel(level);
    ASSERT_TRUE(CpuTarget::parse(target.name()));
    EXPECT_EQ(CpuTarget::parse(target.name())->level, level);
  }
  // Instruction sets that nothing is made for, with what is instead.
  for (auto [name, instead] : {std::pair("cpu:amx", "cpu:avx512-bf16"),
                               std::pair("cpu:amx-bf16", "cpu:avx512-bf16"),
                               std::pair("cpu:avx10.2", "cpu:avx512-bf16"),
                               std::pair("cpu:aarch64-sve", "-dotprod"),
                               std::pair("cpu:aarch64-i8mm", "-dotprod")}) {
    auto refused = CpuTarget::parse(name);
    ASSERT_FALSE(refused) << name;
    EXPECT_EQ(refused.error().code, Errc::Unsupported);
    EXPECT_THAT(refused.error().message, HasSubstr(name));
    ASSERT_EQ(refused.error().notes.size(), 1u);
    EXPECT_THAT(refused.error().notes[0], HasSubstr(instead));
  }
  CpuTarget other = CpuTarget::forLevel(CpuLevel::Generic);
  other.triple = "riscv64-unknown-linux-gnu";
  EXPECT_THAT(CompiledProgram(program(storeOne), other).error,
              HasSubstr("riscv64"));
}
