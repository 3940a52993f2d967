//===- LoaderSearch.cpp - Where the loader would find a library -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/LoaderSearch.h"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string_view>
#include <unistd.h>

using namespace quern;

static bool isFile(const std::string &path) {
  return access(path.c_str(), R_OK) == 0;
}

std::string cuda::findInLoaderCache(const std::string &bytes,
                                    const std::string &name) {
  // glibc-ld.so.cache1.1: 48 bytes of header, then entries of 24 bytes with the
  // places of name and path from the header's start; numbers in the machine's
  // order. An old-format table may stand before it.
  constexpr std::string_view magic = "glibc-ld.so.cache1.1";
  size_t start = bytes.find(magic);
  if (start == std::string::npos || start % 8 != 0)
    return {};
  std::string_view cache = std::string_view(bytes).substr(start);
  auto number = [&](size_t at) {
    uint32_t value = 0;
    if (at + sizeof(value) <= cache.size())
      std::memcpy(&value, cache.data() + at, sizeof(value));
    return value;
  };
  auto text = [&](size_t at) {
    std::string_view rest = at < cache.size() ? cache.substr(at) : "";
    return rest.substr(0, rest.find('\0'));
  };
  size_t count = number(20);
  for (size_t i = 0; i < count && 48 + (i + 1) * 24 <= cache.size(); ++i) {
    size_t entry = 48 + i * 24;
    if (text(number(entry + 4)) == name)
      if (std::string path(text(number(entry + 8))); isFile(path))
        return path;
  }
  return {};
}

std::string cuda::findAsLoader(const std::string &name) {
  if (const char *paths = secure_getenv("LD_LIBRARY_PATH")) {
    std::istringstream list(paths);
    for (std::string folder; std::getline(list, folder, ':');)
      if (std::string path = folder + "/" + name;
          !folder.empty() && isFile(path))
        return path;
  }
  std::ifstream file("/etc/ld.so.cache", std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  if (std::string path = findInLoaderCache(bytes.str(), name); !path.empty())
    return path;
  for (const char *folder : {"/lib64/", "/usr/lib64/", "/lib/", "/usr/lib/"})
    if (std::string path = folder + name; isFile(path))
      return path;
  return {};
}
