//===- Nvrtc.h - CUDA C++ to PTX and cubin ----------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// NVIDIA's run-time compiler, opened on first use. It needs neither GPU nor
// driver, and Quern needs no CUDA toolkit to build. One compile yields the PTX
// and the cubin assembled from it, so that the simulator runs what the device
// runs.
//
// Where it is looked for, in this order: the file or folder named by the
// environment variable QUERN_NVRTC (nothing else is tried then); the loader's
// search path; /usr/local/cuda*/lib64; Python packages (nvidia-cuda-nvrtc) of
// the active virtual environment, the user and the system. NVRTC opens its
// builtins library by name: the one from the same folder is opened first, so
// that versions never mix.
//
// Thread-safe: compiles may run at once.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_CUDA_NVRTC_H
#define QUERN_DEVICE_CUDA_NVRTC_H

#include "runtime/core/Result.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quern {
inline namespace v0 {
namespace cuda {

/// A header given in memory; `name` is what #include says.
struct NvrtcHeader {
  std::string name;
  std::string text;
};

struct NvrtcOptions {
  /// IEEE arithmetic: no contraction, exact division and square root,
  /// subnormals kept. Without it NVRTC's own defaults hold.
  bool strict = true;
  bool lineInfo = true; ///< Source lines in PTX and cubin.
  /// Further options, in NVRTC's spelling: "-DTILE=64".
  std::vector<std::string> extra;
};

/// What ptxas says about one kernel.
struct KernelResources {
  std::string kernel;
  uint32_t registers = 0;
  uint32_t spillStoreBytes = 0;
  uint32_t spillLoadBytes = 0;
  uint32_t stackBytes = 0;
  uint32_t staticSharedBytes = 0;
};

struct NvrtcOutput {
  std::string ptx;
  std::vector<std::byte> cubin; ///< Empty for compute_XX.
  std::string log;              ///< Warnings and ptxas' figures.
  std::vector<KernelResources> kernels;
};

class Nvrtc {
public:
  /// The process's NVRTC; CompilerMissing with the places tried if there is
  /// none. The pointer lives for ever.
  static Result<Nvrtc *> get();

  /// Opens a particular library; for tests and diagnosis.
  static Result<Nvrtc> open(const std::string &path);

  /// `arch` is "sm_90a" (PTX and cubin) or "compute_90a" (PTX alone). `name`
  /// is what messages call the source. Errors are InvalidSource: those of the
  /// front end at the file and line that `#line` gave, those of ptxas (wrong
  /// inline PTX) at the source line the PTX came from.
  Result<NvrtcOutput> compile(const std::string &source,
                              const std::string &name,
                              const std::vector<NvrtcHeader> &headers,
                              const std::string &arch,
                              const NvrtcOptions &options = {}) const;

  /// Compute capabilities times ten, ascending: 75, 80, ...
  const std::vector<int> &supportedArchs() const { return archs; }
  /// Whether "sm_90a" can be compiled for.
  bool supports(std::string_view arch) const;

  int versionMajor() const { return major; }
  int versionMinor() const { return minor; }
  /// The library's file.
  const std::string &path() const { return file; }
  /// The builtins library opened with it; empty if none can be, and then
  /// nothing can be compiled.
  const std::string &builtinsPath() const { return builtins; }
  /// Why there is none.
  const std::string &builtinsFault() const { return noBuiltins; }
  /// "NVRTC 13.0 <ELF build id>": what a cache key needs.
  std::string identity() const;

private:
  Nvrtc() = default;

  struct Functions {
    int (*version)(int *, int *) = nullptr;
    int (*archCount)(int *) = nullptr;
    int (*archs)(int *) = nullptr;
    int (*create)(void **, const char *, const char *, int, const char *const *,
                  const char *const *) = nullptr;
    int (*destroy)(void **) = nullptr;
    int (*compile)(void *, int, const char *const *) = nullptr;
    int (*ptxSize)(void *, size_t *) = nullptr;
    int (*ptx)(void *, char *) = nullptr;
    int (*cubinSize)(void *, size_t *) = nullptr;
    int (*cubin)(void *, char *) = nullptr;
    int (*logSize)(void *, size_t *) = nullptr;
    int (*log)(void *, char *) = nullptr;
    const char *(*errorString)(int) = nullptr;
  };
  struct RawOutput;
  RawOutput run(const std::string &source, const std::string &name,
                const std::vector<NvrtcHeader> &headers,
                const std::vector<std::string> &options, bool wantCubin) const;

  Functions functions;
  int major = 0;
  int minor = 0;
  std::vector<int> archs;
  std::string file;
  std::string builtins, noBuiltins;
  void openBuiltins(const std::string &library);
  std::string buildId;
};

/// Parses what `-Xptxas -v` prints, one entry for each kernel.
std::vector<KernelResources> parsePtxasLog(std::string_view log);

/// The first error in a compile log, with its file and line; the line counts
/// in PTX when `inPtx` is set.
struct NvrtcError {
  bool found = false;
  bool inPtx = false;
  Diagnostic diagnostic;
};
NvrtcError parseNvrtcLog(std::string_view log);

/// The source place of a PTX line, by the `.loc` before it; empty file if
/// there is none.
struct SourcePlace {
  std::string file;
  unsigned line = 0;
};
SourcePlace placeOfPtxLine(std::string_view ptx, unsigned line);

} // namespace cuda
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_CUDA_NVRTC_H
