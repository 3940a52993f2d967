//===- CudaCompiler.cpp - A tile program as code for a GPU ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/CudaCompiler.h"

#include "compiler/emit/cuda/NvrtcLibrary.h"
#include "kernels_templates/Embedded.h"

#include <fmt/format.h>

#include <chrono>
#include <charconv>
#include <cstring>

using namespace quern;
using namespace quern::emit;

std::vector<std::string> emit::strictOptions(const CudaTarget &target,
                                             const CudaOptions &options) {
  std::vector<std::string> flags = {
      "--gpu-architecture=" + target.name(),
      "--std=c++17",
      // Every float operation is one IEEE operation, rounded to nearest.
      "--fmad=false",
      "--ftz=false",
      "--prec-div=true",
      "--prec-sqrt=true",
      "--ptxas-options=-v",
  };
  if (options.lineInfo)
    flags.push_back("--generate-line-info");
  return flags;
}

/// The number right before `what` in a line, or nothing.
static std::optional<uint32_t> numberBefore(std::string_view line,
                                            std::string_view what) {
  size_t end = line.find(what);
  if (end == std::string_view::npos || end == 0)
    return std::nullopt;
  size_t begin = end;
  while (begin > 0 && line[begin - 1] >= '0' && line[begin - 1] <= '9')
    --begin;
  uint32_t value = 0;
  auto [stop, error] =
      std::from_chars(line.data() + begin, line.data() + end, value);
  if (error != std::errc() || stop != line.data() + end)
    return std::nullopt;
  return value;
}

std::vector<KernelFigures> emit::readFigures(const std::string &log) {
  std::vector<KernelFigures> kernels;
  size_t at = 0;
  while (at < log.size()) {
    size_t end = std::min(log.find('\n', at), log.size());
    std::string_view line(log.data() + at, end - at);
    at = end + 1;
    constexpr std::string_view entry = "Compiling entry function '";
    if (size_t found = line.find(entry); found != std::string_view::npos) {
      std::string_view name = line.substr(found + entry.size());
      kernels.push_back({std::string(name.substr(0, name.find('\'')))});
      continue;
    }
    if (kernels.empty())
      continue;
    KernelFigures &kernel = kernels.back();
    if (auto value = numberBefore(line, " bytes spill stores"))
      kernel.spillBytes += *value;
    if (auto value = numberBefore(line, " bytes spill loads"))
      kernel.spillBytes += *value;
    if (auto value = numberBefore(line, " registers"))
      kernel.registers = *value;
    if (auto value = numberBefore(line, " bytes smem"))
      kernel.staticSharedBytes = *value;
  }
  return kernels;
}

/// The first error of a log as a diagnostic: `file(line): error: text`.
static Diagnostic diagnose(const std::string &log, const std::string &unit) {
  Diagnostic diagnostic;
  diagnostic.code = Errc::Internal;
  diagnostic.message = "NVRTC refused the emitted code";
  size_t error = log.find("error");
  if (error != std::string::npos) {
    size_t begin = log.rfind('\n', error);
    begin = begin == std::string::npos ? 0 : begin + 1;
    size_t end = std::min(log.find('\n', error), log.size());
    std::string_view line(log.data() + begin, end - begin);
    diagnostic.message += fmt::format(": {}", line.substr(error - begin));
    size_t open = line.find('('), close = line.find(')');
    if (open != std::string_view::npos && close != std::string_view::npos &&
        close < error - begin) {
      unsigned number = 0;
      auto [stop, code] = std::from_chars(line.data() + open + 1,
                                          line.data() + close, number);
      std::string file(line.substr(0, open));
      if (code == std::errc() && file != unit) {
        diagnostic.file = file;
        diagnostic.line = number;
      }
    }
  }
  diagnostic.notes.push_back("the whole log:\n" + log);
  return diagnostic;
}

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

  Result<const NvrtcLibrary *> nvrtc = NvrtcLibrary::get();
  if (!nvrtc)
    return nvrtc.error();
  std::vector<std::pair<std::string, std::string>> headers;
  for (const EmbeddedHeader &header : embeddedHeaders())
    headers.emplace_back(header.path, header.text);
  std::vector<std::string> flags = strictOptions(target, options);
  auto compiling = Clock::now();
  Result<NvrtcOutput> output =
      (*nvrtc)->compile(unit->source, unit->name, headers, flags);
  if (!output)
    return output.error();
  result.compileMilliseconds = milliseconds(compiling, Clock::now());
  if (!output->succeeded)
    return diagnose(output->log, unit->name);

  result.variant = std::move(unit->plan);
  for (const KernelFigures &figures : readFigures(output->log))
    for (KernelDesc &kernel : result.variant.kernels)
      if (kernel.name == figures.name) {
        kernel.registers = figures.registers;
        kernel.staticSharedBytes = figures.staticSharedBytes;
        kernel.spillBytes = figures.spillBytes;
      }
  auto addCode = [&](CodeKind kind, std::vector<std::byte> bytes) {
    CodeDesc code;
    code.kind = kind;
    code.bytes = std::move(bytes);
    result.variant.code.push_back(std::move(code));
  };
  addCode(CodeKind::Cubin, std::move(output->cubin));
  addCode(CodeKind::Ptx, bytesOf(output->ptx));
  addCode(CodeKind::CudaSource, bytesOf(unit->source));
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
