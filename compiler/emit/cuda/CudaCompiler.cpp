//===- CudaCompiler.cpp - A tile program as code for a GPU ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/CudaCompiler.h"

#include "compiler/emit/cuda/SourceText.h"
#include "kernels_templates/Embedded.h"
#include "runtime/device/cuda/Nvrtc.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <cstring>

using namespace quern;
using namespace quern::emit;

static std::vector<std::byte> bytesOf(const std::string &text) {
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

Result<CudaCompilation> emit::compileTimed(mlir::ModuleOp tileModule,
                                           const CudaTarget &target,
                                           const CudaOptions &options) {
  using Clock = std::chrono::steady_clock;
  auto milliseconds = [](Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
  };
  CudaCompilation result;
  auto start = Clock::now();
  Result<CudaUnit> unit = emitCuda(tileModule, target);
  if (!unit)
    return unit.error();
  auto emitted = Clock::now();
  result.emitMilliseconds = milliseconds(start, emitted);

  Result<cuda::Nvrtc *> nvrtc = cuda::Nvrtc::get();
  if (!nvrtc)
    return nvrtc.error();
  if (!(*nvrtc)->supports(target.name()))
    return fail(
        Errc::Unsupported,
        fmt::format("{} does not know {}", (*nvrtc)->identity(), target.name()),
        {fmt::format("it knows sm_{}",
                     fmt::join((*nvrtc)->supportedArchs(), ", sm_"))});
  std::vector<cuda::NvrtcHeader> headers;
  for (const EmbeddedHeader &header : embeddedHeaders())
    headers.push_back({std::string(header.path),
                       fmt::format("#line 1 \"{}{}\"\n{}", stableFolder,
                                   header.path, header.text)});
  cuda::NvrtcOptions flags;
  flags.strict = true;
  flags.lineInfo = options.lineInfo;
  auto compiling = Clock::now();
  Result<cuda::NvrtcOutput> output = (*nvrtc)->compile(
      unit->source, unit->name, headers, target.name(), flags);
  result.compileMilliseconds = milliseconds(compiling, Clock::now());
  if (!output) {
    Diagnostic diagnostic = output.error();
    diagnostic.file = unit->originalOf(diagnostic.file);
    if (diagnostic.code == Errc::InvalidSource) {
      diagnostic.code = Errc::Internal;
      diagnostic.message =
          "NVRTC refused the emitted code: " + diagnostic.message;
    }
    return diagnostic;
  }

  result.variant = std::move(unit->plan);
  for (const cuda::KernelResources &figures : output->kernels)
    for (KernelDesc &kernel : result.variant.kernels)
      if (kernel.name == figures.kernel) {
        kernel.registers = figures.registers;
        kernel.staticSharedBytes = figures.staticSharedBytes;
        kernel.spillBytes = figures.spillStoreBytes + figures.spillLoadBytes;
      }
  auto addCode = [&](CodeKind kind, std::vector<std::byte> bytes) {
    CodeDesc code;
    code.kind = kind;
    code.bytes = std::move(bytes);
    result.variant.code.push_back(std::move(code));
  };
  addCode(CodeKind::Cubin, std::move(output->cubin));
  addCode(CodeKind::Ptx, bytesOf(output->ptx));
  addCode(CodeKind::CudaSource, bytesOf(unit->readable));
  return result;
}

Result<VariantDesc> emit::compileForCuda(mlir::ModuleOp tileModule,
                                         const CudaTarget &target,
                                         const CudaOptions &options) {
  Result<CudaCompilation> result = compileTimed(tileModule, target, options);
  if (!result)
    return result.error();
  return std::move(result->variant);
}
