//===- MakePtx.cpp - Writes or checks the committed PTX -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
//   conformance_ptx FOLDER [--check]
//
// Compiles FOLDER/kernels/*.cu for every architecture of KernelFiles.h into
// FOLDER/ptx, or, with --check, says which texts are not what NVRTC makes of
// the kernels. Exits with 77 where there is no NVRTC, and for --check also
// where it is another one than wrote the texts.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/Nvrtc.h"
#include "tests/conformance/KernelFiles.h"

#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iterator>

using namespace quern;

static std::string readFile(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The line of a PTX that names the compiler.
static std::string releaseOf(const std::string &ptx) {
  size_t at = ptx.find("// Compiler Build ID");
  return at == std::string::npos ? "" : ptx.substr(at, ptx.find('\n', at) - at);
}

int main(int argc, char **argv) {
  bool check = argc == 3 && std::string_view(argv[2]) == "--check";
  if (argc != 2 && !check) {
    fmt::print(stderr, "usage: conformance_ptx FOLDER [--check]\n");
    return 2;
  }
  std::string folder = argv[1];
  auto nvrtc = cuda::Nvrtc::get();
  if (!nvrtc) {
    fmt::print("skipped: {}\n", nvrtc.error().message);
    return 77;
  }
  int stale = 0;
  std::vector<cuda::NvrtcHeader> headers = {
      {"device.cuh", readFile(folder + "/kernels/device.cuh")}};
  for (const auto &file : conformance::kernelFiles()) {
    std::string source =
        readFile(fmt::format("{}/kernels/{}.cu", folder, file.name));
    for (const char *arch : file.archs) {
      cuda::NvrtcOptions options;
      options.lineInfo = false;
      auto made = (*nvrtc)->compile(source, fmt::format("{}.cu", file.name),
                                    headers, arch, options);
      if (!made) {
        fmt::print(stderr, "{}\n", made.error().render());
        return 1;
      }
      std::string path =
          fmt::format("{}/ptx/{}.{}.ptx", folder, file.name, arch);
      std::string old = readFile(path);
      if (old == made->ptx)
        continue;
      if (!check) {
        std::ofstream(path, std::ios::binary) << made->ptx;
        fmt::print("wrote {}\n", path);
        continue;
      }
      if (!old.empty() && releaseOf(old) != releaseOf(made->ptx)) {
        fmt::print("skipped: {} is by another compiler ({})\n", path,
                   releaseOf(old));
        return 77;
      }
      fmt::print("{} is stale\n", path);
      ++stale;
    }
  }
  return stale ? 1 : 0;
}
