//===- NvrtcLibrary.cpp - Finding libnvrtc --------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/NvrtcLibrary.h"

#include "runtime/device/cuda/LoaderSearch.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <glob.h>
#include <link.h>

using namespace quern;

namespace fs = std::filesystem;

static const char *const libraryNames[] = {"libnvrtc.so.13", "libnvrtc.so.12",
                                           "libnvrtc.so"};

/// Paths that match a shell pattern, the last in sort order first: newer
/// versions win.
static std::vector<std::string> expand(const std::string &pattern) {
  std::vector<std::string> paths;
  glob_t found;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0)
    for (size_t i = found.gl_pathc; i-- > 0;)
      paths.emplace_back(found.gl_pathv[i]);
  globfree(&found);
  return paths;
}

/// What says which code is loaded counts only in programs that have no more
/// rights than their user.
static std::string environment(const char *name) {
  const char *value = secure_getenv(name);
  return value ? value : "";
}

std::vector<std::string> cuda::nvrtcCandidates() {
  std::vector<std::string> candidates;
  auto addFolder = [&](const std::string &folder) {
    std::error_code ignored;
    for (const char *name : libraryNames) {
      std::string path = (fs::path(folder) / name).string();
      if (fs::exists(path, ignored) &&
          std::find(candidates.begin(), candidates.end(), path) ==
              candidates.end())
        candidates.push_back(path);
    }
  };
  if (std::string chosen = environment("QUERN_NVRTC"); !chosen.empty()) {
    std::error_code ignored;
    if (fs::is_directory(chosen, ignored))
      addFolder(chosen);
    // A missing file stays in the list, to be named in the error.
    if (candidates.empty())
      candidates.push_back(chosen);
    return candidates;
  }
  for (const char *name : libraryNames)
    candidates.emplace_back(name);
  if (std::string home = environment("CUDA_HOME"); !home.empty())
    addFolder(home + "/lib64");
  for (const std::string &folder : expand("/usr/local/cuda*/lib64"))
    addFolder(folder);

  std::vector<std::string> roots;
  for (const char *variable : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (std::string root = environment(variable); !root.empty()) {
      addFolder(root + "/lib");
      roots.push_back(root + "/lib");
    }
  if (std::string home = environment("HOME"); !home.empty())
    roots.push_back(home + "/.local/lib");
  roots.insert(roots.end(), {"/usr/local/lib", "/usr/lib"});
  for (const std::string &root : roots)
    for (const char *packages : {"site-packages", "dist-packages"})
      for (const char *inside : {"cuda_nvrtc", "cu13"})
        for (const std::string &folder : expand(fmt::format(
                 "{}/python3*/{}/nvidia/{}/lib", root, packages, inside)))
          addFolder(folder);
  return candidates;
}

std::string cuda::nvrtcFile() {
  std::error_code ignored;
  for (const std::string &candidate : nvrtcCandidates()) {
    std::string path = candidate.find('/') == std::string::npos
                           ? findAsLoader(candidate)
                           : candidate;
    if (!path.empty() && fs::exists(path, ignored))
      return path;
  }
  return {};
}

std::string cuda::nvrtcBuiltinsBeside(const std::string &library) {
  std::string folder = fs::path(library).parent_path().string();
  for (const std::string &path : expand(folder + "/libnvrtc-builtins.so*"))
    return path;
  return {};
}

namespace {

struct BuildIdSearch {
  uintptr_t address;
  std::string id;
};

int visitObject(dl_phdr_info *info, size_t, void *data) {
  auto &search = *static_cast<BuildIdSearch *>(data);
  bool holds = false;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto &header = info->dlpi_phdr[i];
    uintptr_t begin = info->dlpi_addr + header.p_vaddr;
    holds |= header.p_type == PT_LOAD && search.address >= begin &&
             search.address - begin < header.p_memsz;
  }
  if (!holds)
    return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto &header = info->dlpi_phdr[i];
    if (header.p_type != PT_NOTE)
      continue;
    const char *at =
        reinterpret_cast<const char *>(info->dlpi_addr + header.p_vaddr);
    const char *end = at + header.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof(note));
      const char *name = at + sizeof(note);
      const char *content = name + (note.n_namesz + 3) / 4 * 4;
      if (content + note.n_descsz > end)
        break;
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
          std::memcmp(name, "GNU", 4) == 0) {
        for (unsigned k = 0; k < note.n_descsz; ++k)
          search.id +=
              fmt::format("{:02x}", static_cast<unsigned char>(content[k]));
        return 1;
      }
      at = content + (note.n_descsz + 3) / 4 * 4;
    }
  }
  return 1;
}

} // namespace

std::string cuda::elfBuildId(const void *address) {
  BuildIdSearch search{reinterpret_cast<uintptr_t>(address), {}};
  dl_iterate_phdr(visitObject, &search);
  return search.id;
}
