//===- NvrtcLibrary.h - Finding libnvrtc ------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The search for NVRTC described in Nvrtc.h, as a list of places, so that
// `doctor` can show it and the cache of modules knows which one would be used.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_CUDA_NVRTCLIBRARY_H
#define QUERN_DEVICE_CUDA_NVRTCLIBRARY_H

#include <string>
#include <vector>

namespace quern {
inline namespace v0 {
namespace cuda {

/// Files and bare names to try, best first. Names without a slash go through
/// the loader's search path.
std::vector<std::string> nvrtcCandidates();

/// The file of the first candidate that exists, found without opening any:
/// names without a slash are looked up where the loader would, in
/// LD_LIBRARY_PATH, its cache and its own folders. Empty if there is none. What
/// a cache key needs: the library that NVRTC is opened from, unless that one
/// is unusable.
std::string nvrtcFile();

/// The builtins library in the folder of `library`; empty if there is none.
std::string nvrtcBuiltinsBeside(const std::string &library);

/// The GNU build id of the loaded library that holds `address`, in hex; empty
/// if it has none.
std::string elfBuildId(const void *address);

} // namespace cuda
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_CUDA_NVRTCLIBRARY_H
