//===- Compile.cpp - From a layer's text to a module ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A module is looked up by everything its code depends on: the text, the
// settings with the record of schedules, the exact target (for the machine at
// hand: its features), the module format, the compiler, and for CUDA the NVRTC
// it would use. Only a miss opens either library.
//
//===----------------------------------------------------------------------===//

#include "quern/quern.h"

#include "runtime/cache/ModuleCache.h"
#include "runtime/core/AllocationGuard.h"
#include "runtime/device/cpu/CpuFeatures.h"
#include "runtime/device/cuda/NvrtcLibrary.h"
#include "runtime/io/FileReader.h"
#include "runtime/jit/CompilerLibrary.h"
#include "runtime/jit/Drivers.h"
#include "runtime/jit/FileIdentity.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

using namespace quern;

/// What to ask of the compiler for this target on this machine.
static Result<CompilerLibrary::Request>
makeRequest(std::string_view source, const CompileOptions &options,
            std::string_view name) {
  Result<Target> target = Target::parse(options.target);
  if (!target)
    return target.error();
  CompilerLibrary::Request request;
  request.source = source;
  request.name = name;
  request.target = target->codeTarget();
  if (target->kind == Target::Kind::Cpu && target->arch.empty()) {
    if (Result<void> known = cpu::checkWithout(); !known)
      return known.error();
    request.features = fmt::format("{}", fmt::join(cpu::hostFeatures(), ","));
  }
  if (target->kind == Target::Kind::Cuda && target->arch.empty()) {
    Result<std::string> arch = detail::nativeArchitecture();
    if (!arch)
      return arch.error();
    request.target = "cuda:" + *arch;
  }
  // The order of settings means nothing.
  request.settings = options.settings;
  if (!options.tuned.empty())
    request.settings.push_back("tuned=" + options.tuned);
  std::sort(request.settings.begin(), request.settings.end());
  return request;
}

static CacheKey keyOf(const CompilerLibrary::Request &request,
                      uint64_t compiler) {
  std::string format = fmt::format("module {}.{}", ModuleDesc::formatMajor,
                                   ModuleDesc::formatMinor);
  std::vector<std::string_view> texts = {format, request.source, request.target,
                                         request.features};
  std::string nvrtc;
  if (request.target.starts_with("cuda")) {
    nvrtc =
        fmt::format("nvrtc {:016x}", detail::fileIdentity(cuda::nvrtcFile()));
    texts.push_back(nvrtc);
  }
  texts.insert(texts.end(), request.settings.begin(), request.settings.end());
  return CacheKey::make(texts, compiler);
}

Result<std::vector<std::byte>>
quern::compileModule(std::string_view source, const CompileOptions &options,
                     std::string_view name) {
  return guardAllocations([&]() -> Result<std::vector<std::byte>> {
    Result<CompilerLibrary::Request> request =
        makeRequest(source, options, name);
    if (!request)
      return request.error();
    Result<CompilerLibrary> compiler = CompilerLibrary::find(options.compiler);
    CacheKey key = keyOf(*request, compiler ? compiler->identity() : 0);
    ModuleCache cache(options.cacheFolder.empty() ? ModuleCache::defaultFolder()
                                                  : options.cacheFolder);
    if (options.useCache)
      if (auto found = cache.find(key))
        return std::move(*found);
    if (!compiler)
      return compiler.error();
    Result<std::vector<std::byte>> bytes = compiler->compile(*request);
    if (!bytes)
      return bytes;
    if (Result<ModuleDesc> parsed = ModuleDesc::parse(*bytes); !parsed)
      return fail(Errc::Internal,
                  fmt::format("the compiler {} made something that is {}",
                              compiler->path(), parsed.error().message));
    // Without a cache the layer still runs.
    if (options.useCache)
      (void)cache.publish(key, *bytes);
    return bytes;
  });
}

Result<Layer> quern::compile(std::string_view source,
                             const CompileOptions &options,
                             std::string_view name) {
  return guardAllocations([&]() -> Result<Layer> {
    Result<std::vector<std::byte>> bytes = compileModule(source, options, name);
    if (!bytes)
      return bytes.error();
    return load(*bytes, {options.target, options.executor});
  });
}

Result<Layer> quern::compileFile(const std::string &path,
                                 const CompileOptions &options) {
  return guardAllocations([&]() -> Result<Layer> {
    Result<std::vector<std::byte>> file = readFile(path);
    if (!file)
      return file.error();
    return compile({reinterpret_cast<const char *>(file->data()), file->size()},
                   options, path);
  });
}
