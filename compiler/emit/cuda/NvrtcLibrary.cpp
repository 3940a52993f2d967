//===- NvrtcLibrary.cpp - CUDA C++ to PTX and cubin -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/NvrtcLibrary.h"

#include <dlfcn.h>
#include <fmt/format.h>

using namespace quern;
using namespace quern::emit;

/// The functions of nvrtc.h, declared here so that building needs no toolkit.
struct NvrtcLibrary::Functions {
  using Program = void *;
  int (*nvrtcVersion)(int *, int *);
  int (*nvrtcCreateProgram)(Program *, const char *, const char *, int,
                            const char *const *, const char *const *);
  int (*nvrtcDestroyProgram)(Program *);
  int (*nvrtcCompileProgram)(Program, int, const char *const *);
  int (*nvrtcGetPTXSize)(Program, size_t *);
  int (*nvrtcGetPTX)(Program, char *);
  int (*nvrtcGetCUBINSize)(Program, size_t *);
  int (*nvrtcGetCUBIN)(Program, char *);
  int (*nvrtcGetProgramLogSize)(Program, size_t *);
  int (*nvrtcGetProgramLog)(Program, char *);
  const char *(*nvrtcGetErrorString)(int);
};

static constexpr int compilationError = 6; // NVRTC_ERROR_COMPILATION

Result<const NvrtcLibrary *> NvrtcLibrary::get() {
  struct Loaded {
    NvrtcLibrary library;
    Functions functions{};
    std::string why;
    Loaded() {
      void *handle = nullptr;
      for (const char *name :
           {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so",
            "/usr/local/cuda/lib64/libnvrtc.so"}) {
        handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (handle)
          break;
        why += fmt::format("{}{}", why.empty() ? "" : "; ", dlerror());
      }
      if (!handle)
        return;
      why.clear();
      auto find = [&](auto &function, const char *name) {
        function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(
            dlsym(handle, name));
        if (!function)
          why = fmt::format("the library has no function {}", name);
      };
#define FIND(name) find(functions.name, #name)
      FIND(nvrtcVersion);
      FIND(nvrtcCreateProgram);
      FIND(nvrtcDestroyProgram);
      FIND(nvrtcCompileProgram);
      FIND(nvrtcGetPTXSize);
      FIND(nvrtcGetPTX);
      FIND(nvrtcGetCUBINSize);
      FIND(nvrtcGetCUBIN);
      FIND(nvrtcGetProgramLogSize);
      FIND(nvrtcGetProgramLog);
      FIND(nvrtcGetErrorString);
#undef FIND
      if (why.empty())
        library.functions = &functions;
    }
  };
  static const Loaded loaded;
  if (!loaded.library.functions)
    return fail(Errc::CompilerMissing,
                fmt::format("NVRTC cannot be used: {}", loaded.why),
                {"install NVRTC 12 or later (package cuda-nvrtc) where the "
                 "dynamic linker finds it, or use --target cpu"});
  return &loaded.library;
}

std::string NvrtcLibrary::version() const {
  int major = 0, minor = 0;
  functions->nvrtcVersion(&major, &minor);
  return fmt::format("NVRTC {}.{}", major, minor);
}

Result<NvrtcOutput> NvrtcLibrary::compile(
    const std::string &source, const std::string &name,
    std::span<const std::pair<std::string, std::string>> headers,
    std::span<const std::string> options) const {
  std::vector<const char *> paths, texts, flags;
  for (auto &[path, text] : headers) {
    paths.push_back(path.c_str());
    texts.push_back(text.c_str());
  }
  for (const std::string &option : options)
    flags.push_back(option.c_str());

  Functions::Program program = nullptr;
  auto failed = [&](const char *what, int code) {
    return fail(Errc::DeviceError, fmt::format("NVRTC: {} failed: {}", what,
                                        functions->nvrtcGetErrorString(code)));
  };
  if (int code = functions->nvrtcCreateProgram(
          &program, source.c_str(), name.c_str(),
          static_cast<int>(headers.size()), texts.data(), paths.data()))
    return failed("creating the program", code);
  NvrtcOutput output;
  int code = functions->nvrtcCompileProgram(
      program, static_cast<int>(flags.size()), flags.data());
  output.succeeded = code == 0;
  size_t size = 0;
  if (functions->nvrtcGetProgramLogSize(program, &size) == 0 && size > 1) {
    output.log.resize(size);
    functions->nvrtcGetProgramLog(program, output.log.data());
    output.log.resize(size - 1); // The terminating zero.
  }
  if (code == 0) {
    if (functions->nvrtcGetPTXSize(program, &size) == 0 && size > 1) {
      output.ptx.resize(size);
      functions->nvrtcGetPTX(program, output.ptx.data());
      output.ptx.resize(size - 1);
    }
    if (functions->nvrtcGetCUBINSize(program, &size) == 0 && size > 0) {
      output.cubin.resize(size);
      functions->nvrtcGetCUBIN(program,
                               reinterpret_cast<char *>(output.cubin.data()));
    }
  }
  functions->nvrtcDestroyProgram(&program);
  if (code != 0 && code != compilationError)
    return failed("compiling", code);
  return output;
}
