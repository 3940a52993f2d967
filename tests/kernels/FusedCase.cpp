//===- FusedCase.cpp - Products with the quantizer behind them ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/kernels/FusedCase.h"

#include "compiler/emit/cuda/CudaCompiler.h"
#include "compiler/pipelines/Compiler.h"
#include "dialects/tile/Transforms/StageFusion.h"
#include "tests/kernels/StrictMath.h"

#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"

#include <fmt/format.h>

#include <cmath>
#include <random>

using namespace quern;
using namespace quern::test;

static Diagnostic internal(std::string message) {
  return fail(Errc::Internal, std::move(message));
}

static Result<std::string> tileText(const FuseRequest &request,
                                    const std::string &placement) {
  CompileRequest compile;
  compile.source = request.layer;
  compile.target = *Target::parse("cuda:" + request.arch);
  compile.wanted = {Stage::Tile};
  compile.settings = {"placement=" + placement, "buckets=one"};
  compile.textsOnly = true;
  auto compiled = compileLayer(compile);
  if (!compiled)
    return compiled.error();
  return compiled->texts.front().text;
}

/// The text of a unit, for people.
static void keepSource(FusedPair &pair) {
  for (const CodeDesc &code : pair.fused.code)
    if (code.kind == CodeKind::CudaSource)
      pair.source.assign(reinterpret_cast<const char *>(code.bytes.data()),
                         code.bytes.size());
}

Result<FusedPair> test::compileFused(const FuseRequest &request) {
  Result<std::string> text = tileText(request, "separate"); // Fused here.
  if (!text)
    return internal(text.error().render());
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<tile::TileDialect>();
  auto module = mlir::parseSourceString<mlir::ModuleOp>(*text, &context);
  if (!module)
    return internal("the tile IR does not parse");
  auto target = emit::CudaTarget::parse(request.arch);
  emit::CudaOptions options;
  options.lineInfo = true;
  FusedPair pair;
  if (!request.alone) {
    auto unfused = emit::compileForCuda(*module, *target, options);
    if (!unfused)
      return internal(unfused.error().render());
    pair.unfused = std::move(*unfused);
  }

  if (!request.wish.empty()) {
    Result<std::string> placed = tileText(request, request.wish);
    if (!placed)
      return placed.error();
    module = mlir::parseSourceString<mlir::ModuleOp>(*placed, &context);
    if (!module)
      return internal("the placed tile IR does not parse");
    auto fused = emit::compileForCuda(*module, *target, options);
    if (!fused)
      return internal(fused.error().render());
    pair.fused = std::move(*fused);
    keepSource(pair);
    return pair;
  }
  auto program = *module->getOps<tile::ProgramOp>().begin();
  std::vector<tile::LaunchOp> launches;
  for (auto launch : program.getBody().getOps<tile::LaunchOp>())
    if (!launches.empty() || tile::getKernel(launch).getContract())
      launches.push_back(launch);
  if (launches.size() <= request.count)
    return internal("fewer kernels than are to be fused:\n" + *text);
  tile::FuseOptions fuse;
  fuse.placement = *tile::symbolizePlacement(request.placement);
  fuse.keepInMemory = request.keepInMemory;
  tile::LaunchOp first = launches[0];
  for (unsigned i = 1; i <= request.count; ++i) {
    tile::LaunchOp fused;
    std::string why = tile::fuse(first, launches[i], fuse, fused);
    if (!why.empty())
      return internal(why);
    first = fused;
  }
  if (mlir::failed(mlir::verify(*module)))
    return internal("the fused module is invalid");
  auto fused = emit::compileForCuda(*module, *target, options);
  if (!fused)
    return fused.error();
  pair.fused = std::move(*fused);
  keepSource(pair);
  return pair;
}

static std::string keyOf(const BufferDesc &buffer) {
  return buffer.part == "values" ? buffer.name
                                 : buffer.name + "_" + buffer.part;
}

Buffers test::drawBuffers(const VariantDesc &variant,
                          const std::vector<int64_t> &symbols, uint32_t seed,
                          bool corners) {
  Buffers buffers;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> scale(0.001f, 0.02f);
  for (const BufferDesc &buffer : variant.buffers) {
    if (buffer.role != BufferRole::Input && buffer.role != BufferRole::Weight)
      continue;
    int64_t count = 1;
    for (const SymExpr &extent : buffer.shape)
      count *= *extent.evaluate(symbols);
    int64_t row =
        buffer.shape.empty() ? 1 : *buffer.shape.back().evaluate(symbols);
    bool isScale = buffer.part == "scales";
    std::vector<float> values(count);
    for (int64_t i = 0; i < count; ++i) {
      values[i] = isScale ? scale(random) : normal(random);
      if (!isScale && random() % 97 == 0)
        values[i] *= 30;
      if (corners && buffer.role == BufferRole::Input && !isScale &&
          i / std::max<int64_t>(row, 1) == 1)
        values[i] = 0;
      if (corners && buffer.role == BufferRole::Input && !isScale &&
          i == 2 * row + 3)
        values[i] = NAN;
    }
    std::vector<uint8_t> codes(count);
    std::vector<uint16_t> halves(count);
    for (int64_t i = 0; i < count; ++i) {
      codes[i] = static_cast<uint8_t>(random());
      if (buffer.dtype == DType::F8E4M3 || buffer.dtype == DType::F8E5M2)
        codes[i] = toF8(values[i], buffer.dtype == DType::F8E5M2);
      if (buffer.dtype == DType::F16 || buffer.dtype == DType::BF16)
        halves[i] = toHalf(values[i], buffer.dtype == DType::BF16);
    }
    std::string key = keyOf(buffer);
    switch (byteWidth(buffer.dtype)) {
    case 1:
      buffers.set(key, codes);
      break;
    case 2:
      buffers.set(key, halves);
      break;
    default:
      buffers.set(key, values);
    }
  }
  return buffers;
}

/// Whether two elements are both NaN, or have the same bits.
static bool sameElement(DType dtype, const std::byte *a, const std::byte *b) {
  size_t width = byteWidth(dtype);
  if (std::memcmp(a, b, width) == 0)
    return true;
  uint32_t x = 0, y = 0;
  std::memcpy(&x, a, width);
  std::memcpy(&y, b, width);
  auto isNaN = [&](uint32_t bits) {
    switch (dtype) {
    case DType::F32:
      return (bits & 0x7fffffff) > 0x7f800000;
    case DType::F16:
      return (bits & 0x7fff) > 0x7c00;
    case DType::BF16:
      return (bits & 0x7fff) > 0x7f80;
    default:
      return false;
    }
  };
  return isNaN(x) && isNaN(y);
}

std::string test::compareOutputs(const VariantDesc &variant, const Buffers &got,
                                 const Buffers &want) {
  for (const BufferDesc &buffer : variant.buffers) {
    if (buffer.role != BufferRole::Output)
      continue;
    const auto &a = got.contents.at(keyOf(buffer));
    const auto &b = want.contents.at(keyOf(buffer));
    if (a.size() != b.size())
      return fmt::format("{}: {} bytes instead of {}", keyOf(buffer), a.size(),
                         b.size());
    size_t width = byteWidth(buffer.dtype);
    for (size_t i = 0; i < a.size(); i += width)
      if (!sameElement(buffer.dtype, a.data() + i, b.data() + i))
        return fmt::format("{}: element {} differs", keyOf(buffer), i / width);
  }
  return {};
}
