//===- KernelFiles.h - Kernel files and their targets -----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The kernels are CUDA C++ with inline PTX, on top of kernels/device.cuh; their
// PTX is committed, so that the
// set runs where there is no NVRTC. NVRTC has two code generators, an older one
// up to sm_90a and a newer one from sm_100a on: a file is compiled by both
// where both know its instructions.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_CONFORMANCE_KERNELFILES_H
#define QUERN_TESTS_CONFORMANCE_KERNELFILES_H

#include <charconv>
#include <string>
#include <string_view>
#include <vector>

namespace quern::conformance {

struct KernelFile {
  const char *name;
  std::vector<const char *> archs;
};

inline const std::vector<KernelFile> &kernelFiles() {
  static const std::vector<KernelFile> files = {
      {"integer", {"sm_80", "sm_120a"}},
      {"float", {"sm_80", "sm_120a"}},
      {"half", {"sm_80", "sm_120a"}},
      {"half_90", {"sm_90", "sm_120a"}},
      {"convert", {"sm_80", "sm_120a"}},
      {"convert_fp8", {"sm_89", "sm_120a"}},
      {"convert_fp4", {"sm_100a", "sm_120a"}},
      {"warp", {"sm_80", "sm_120a"}},
      {"atomics", {"sm_80", "sm_120a"}},
      {"copies", {"sm_80", "sm_120a"}},
      {"barrier", {"sm_80", "sm_120a"}},
      {"control", {"sm_80", "sm_120a"}},
      {"cluster", {"sm_90", "sm_100a", "sm_120a"}},
      {"matrix_load", {"sm_80", "sm_120a"}},
      {"matrix_store", {"sm_90", "sm_120a"}},
      {"matrix_bytes", {"sm_100a", "sm_120a"}},
      {"bulk", {"sm_90", "sm_100a", "sm_120a"}},
      {"tensor_map", {"sm_90a", "sm_100a", "sm_120a"}},
      {"wgmma", {"sm_90a"}},
      {"mma", {"sm_80", "sm_120a"}},
      {"mma_fp8", {"sm_89", "sm_120a"}},
      {"mma_scaled", {"sm_120a"}},
  };
  return files;
}

/// Whether PTX for `arch` runs on that compute capability: code for "sm_90a" on
/// 9.0 alone, code for "sm_80" on 8.0 and later.
inline bool runsOn(std::string_view arch, int capability) {
  int number = 0;
  std::from_chars(arch.data() + 3, arch.data() + arch.size(), number);
  return arch.back() == 'a' ? number == capability : number <= capability;
}

/// The variant for a device: the one made for it, else the latest that runs;
/// null if there is none.
inline const char *variantFor(const KernelFile &file, int capability) {
  const char *best = nullptr;
  for (const char *arch : file.archs)
    if (runsOn(arch, capability))
      best = arch;
  return best;
}

} // namespace quern::conformance

#endif // QUERN_TESTS_CONFORMANCE_KERNELFILES_H
