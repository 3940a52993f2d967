//===- LoaderSearch.h - Where the loader would find a library ---*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// `dlopen` of a bare name tells where the library is, but loads it, which takes
// far longer than a lookup in the cache of modules may. This repeats the
// loader's search as far as it concerns a library that nobody links: the
// environment, glibc's cache of known libraries, the system's folders.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_CUDA_LOADERSEARCH_H
#define QUERN_DEVICE_CUDA_LOADERSEARCH_H

#include <string>

namespace quern {
inline namespace v0 {
namespace cuda {

/// The file that the name stands for; empty if there is none.
std::string findAsLoader(const std::string &name);

/// The same from the contents of /etc/ld.so.cache, of which nothing is trusted.
std::string findInLoaderCache(const std::string &bytes,
                              const std::string &name);

} // namespace cuda
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_CUDA_LOADERSEARCH_H
