//===- Nvrtc.cpp - CUDA C++ to PTX and cubin ------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/Nvrtc.h"

#include "runtime/device/cuda/NvrtcLibrary.h"

#include <algorithm>
#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <link.h>

using namespace quern;
using namespace quern::cuda;

// nvrtcResult values we tell apart.
static constexpr int nvrtcSuccess = 0;
static constexpr int nvrtcInvalidOption = 5;
static constexpr int nvrtcBuiltinFailure = 7;

/// Opens the builtins by path or by name; it stays open as long as the process.
void Nvrtc::openBuiltins(const std::string &library) {
  if (library.empty())
    return;
  void *handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  link_map *map = nullptr;
  if (!handle) {
    const char *why = dlerror();
    noBuiltins = why ? why : library;
  } else if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0) {
    builtins = map->l_name;
  } else {
    builtins = library;
  }
}

Result<Nvrtc> Nvrtc::open(const std::string &path) {
  // From an explicit path the builtins come first; see the header.
  Nvrtc nvrtc;
  if (path.find('/') != std::string::npos)
    nvrtc.openBuiltins(nvrtcBuiltinsBeside(path));
  void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char *why = dlerror();
    return fail(Errc::CompilerMissing,
                fmt::format("NVRTC cannot be opened: {}", why ? why : path));
  }
  const char *missing = nullptr;
  auto load = [&](auto &function, const char *symbol) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(
        dlsym(library, symbol));
    if (!function && !missing)
      missing = symbol;
  };
  Functions &f = nvrtc.functions;
  load(f.version, "nvrtcVersion");
  load(f.archCount, "nvrtcGetNumSupportedArchs");
  load(f.archs, "nvrtcGetSupportedArchs");
  load(f.create, "nvrtcCreateProgram");
  load(f.destroy, "nvrtcDestroyProgram");
  load(f.compile, "nvrtcCompileProgram");
  load(f.ptxSize, "nvrtcGetPTXSize");
  load(f.ptx, "nvrtcGetPTX");
  load(f.cubinSize, "nvrtcGetCUBINSize");
  load(f.cubin, "nvrtcGetCUBIN");
  load(f.logSize, "nvrtcGetProgramLogSize");
  load(f.log, "nvrtcGetProgramLog");
  load(f.errorString, "nvrtcGetErrorString");
  if (missing)
    return fail(
        Errc::CompilerMissing,
        fmt::format("{} is no usable NVRTC: it lacks {}", path, missing),
        {"NVRTC 11.2 or later is needed"});
  int count = 0;
  if (f.version(&nvrtc.major, &nvrtc.minor) != nvrtcSuccess ||
      f.archCount(&count) != nvrtcSuccess || count < 0 || count > 1000)
    return fail(Errc::CompilerMissing,
                fmt::format("{} does not answer as NVRTC does", path));
  nvrtc.archs.resize(static_cast<size_t>(count));
  if (f.archs(nvrtc.archs.data()) != nvrtcSuccess)
    nvrtc.archs.clear();
  std::sort(nvrtc.archs.begin(), nvrtc.archs.end());
  nvrtc.file = path;
  Dl_info info;
  if (dladdr(reinterpret_cast<void *>(f.version), &info) && info.dli_fname)
    nvrtc.file = info.dli_fname;
  if (nvrtc.builtins.empty())
    nvrtc.openBuiltins(nvrtcBuiltinsBeside(nvrtc.file));
  if (nvrtc.builtins.empty()) // By the name that NVRTC itself will use.
    nvrtc.openBuiltins(
        fmt::format("libnvrtc-builtins.so.{}.{}", nvrtc.major, nvrtc.minor));
  nvrtc.buildId = elfBuildId(reinterpret_cast<void *>(f.version));
  return nvrtc;
}

static Result<Nvrtc> openAny() {
  std::vector<std::string> candidates = nvrtcCandidates();
  std::vector<std::string> tried;
  for (const std::string &candidate : candidates) {
    Result<Nvrtc> nvrtc = Nvrtc::open(candidate);
    if (nvrtc)
      return nvrtc;
    tried.push_back(nvrtc.error().message);
  }
  tried.push_back("install the CUDA toolkit or the Python package "
                  "nvidia-cuda-nvrtc, or set QUERN_NVRTC to the library");
  return fail(Errc::CompilerMissing,
              "CUDA code cannot be compiled: NVRTC was not found",
              std::move(tried));
}

Result<Nvrtc *> Nvrtc::get() {
  static Result<Nvrtc> opened = openAny();
  if (!opened)
    return opened.error();
  return &*opened;
}

bool Nvrtc::supports(std::string_view arch) const {
  size_t at = arch.find('_');
  if (at == std::string_view::npos)
    return false;
  int number = 0;
  std::string_view digits = arch.substr(at + 1);
  if (!digits.empty() && (digits.back() == 'a' || digits.back() == 'f'))
    digits.remove_suffix(1);
  if (digits.empty() || digits.size() > 4)
    return false;
  for (char c : digits) {
    if (c < '0' || c > '9')
      return false;
    number = number * 10 + (c - '0');
  }
  return std::find(archs.begin(), archs.end(), number) != archs.end();
}

std::string Nvrtc::identity() const {
  return fmt::format("NVRTC {}.{} {}", major, minor,
                     buildId.empty() ? "unknown build" : buildId);
}

struct Nvrtc::RawOutput {
  int status = nvrtcSuccess;
  std::string log;
  std::string ptx;
  std::vector<std::byte> cubin;
};

Nvrtc::RawOutput Nvrtc::run(const std::string &source, const std::string &name,
                            const std::vector<NvrtcHeader> &headers,
                            const std::vector<std::string> &options,
                            bool wantCubin) const {
  RawOutput output;
  std::vector<const char *> texts, names, arguments;
  for (const NvrtcHeader &header : headers) {
    texts.push_back(header.text.c_str());
    names.push_back(header.name.c_str());
  }
  for (const std::string &option : options)
    arguments.push_back(option.c_str());
  void *program = nullptr;
  output.status = functions.create(&program, source.c_str(), name.c_str(),
                                   static_cast<int>(headers.size()),
                                   texts.data(), names.data());
  if (output.status != nvrtcSuccess)
    return output;
  output.status = functions.compile(program, static_cast<int>(arguments.size()),
                                    arguments.data());
  auto fetch = [&](auto sizeOf, auto read) {
    std::string text;
    size_t size = 0;
    if (sizeOf(program, &size) == nvrtcSuccess && size > 1) {
      text.resize(size);
      if (read(program, text.data()) != nvrtcSuccess)
        text.clear();
    }
    return text;
  };
  auto trim = [](std::string text) {
    while (!text.empty() && text.back() == '\0')
      text.pop_back();
    return text;
  };
  output.log = trim(fetch(functions.logSize, functions.log));
  if (output.status == nvrtcSuccess) {
    output.ptx = trim(fetch(functions.ptxSize, functions.ptx));
    if (wantCubin) {
      std::string bytes = fetch(functions.cubinSize, functions.cubin);
      const auto *first = reinterpret_cast<const std::byte *>(bytes.data());
      output.cubin.assign(first, first + bytes.size());
    }
  }
  functions.destroy(&program);
  return output;
}

Result<NvrtcOutput> Nvrtc::compile(const std::string &source,
                                   const std::string &name,
                                   const std::vector<NvrtcHeader> &headers,
                                   const std::string &arch,
                                   const NvrtcOptions &options) const {
  bool toCubin = arch.substr(0, 3) == "sm_";
  if (!supports(arch) || (!toCubin && arch.substr(0, 8) != "compute_"))
    return fail(
        Errc::Unsupported,
        fmt::format("NVRTC {}.{} cannot compile for '{}'", major, minor, arch),
        {fmt::format("it supports sm_{}", fmt::join(archs, ", sm_"))});
  std::vector<std::string> arguments = {"--gpu-architecture=" + arch,
                                        "--std=c++17", "-default-device"};
  if (options.lineInfo)
    arguments.push_back("-lineinfo");
  if (options.strict)
    arguments.insert(arguments.end(), {"--fmad=false", "--prec-div=true",
                                       "--prec-sqrt=true", "--ftz=false"});
  arguments.insert(arguments.end(), options.extra.begin(), options.extra.end());
  std::vector<std::string> withReport = arguments;
  if (toCubin)
    withReport.push_back("--ptxas-options=-v");

  RawOutput raw = run(source, name, headers, withReport, toCubin);
  if (raw.status == nvrtcSuccess) {
    NvrtcOutput output;
    output.kernels = parsePtxasLog(raw.log);
    output.ptx = std::move(raw.ptx);
    output.cubin = std::move(raw.cubin);
    output.log = std::move(raw.log);
    if (output.ptx.empty() || (toCubin && output.cubin.empty()))
      return fail(Errc::Internal,
                  fmt::format("NVRTC compiled {} but returned no code", name));
    return output;
  }

  NvrtcError error = parseNvrtcLog(raw.log);
  if (raw.status == nvrtcBuiltinFailure) {
    error.diagnostic =
        fail(Errc::Unsupported,
             fmt::format("{} cannot find its builtins library", identity()),
             {fmt::format("put libnvrtc-builtins of NVRTC {}.{} beside "
                          "libnvrtc, or let QUERN_NVRTC name an NVRTC that has "
                          "it beside it",
                          major, minor)});
  } else if (!error.found) {
    Errc code = raw.status == nvrtcInvalidOption ? Errc::InvalidArgument
                                                 : Errc::InvalidSource;
    error.diagnostic =
        fail(code, fmt::format("NVRTC: {}", functions.errorString(raw.status)));
  }
  Diagnostic diagnostic = std::move(error.diagnostic);
  if (error.inPtx) {
    // ptxas counts lines of PTX. Without ptxas the same PTX comes out whole,
    // and its .loc directives lead back to the source.
    unsigned ptxLine = diagnostic.line;
    std::vector<std::string> again = arguments;
    again[0] = "--gpu-architecture=compute_" + arch.substr(3);
    if (!options.lineInfo)
      again.push_back("-lineinfo");
    RawOutput virtualCode = run(source, name, headers, again, false);
    SourcePlace place = placeOfPtxLine(virtualCode.ptx, ptxLine);
    diagnostic.file = place.file.empty() ? name + ".ptx" : place.file;
    diagnostic.line = place.file.empty() ? ptxLine : place.line;
    diagnostic.notes.push_back(fmt::format("in line {} of the PTX", ptxLine));
  }
  if (diagnostic.file.empty())
    diagnostic.file = name;
  if (!raw.log.empty())
    diagnostic.notes.push_back("the compiler's log:\n" + raw.log);
  return diagnostic;
}
