//===- BuildId.cpp - Which build of the compiler this is ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The linker stamps each program and library with a hash of its contents (the
// GNU build id). That of the object this function is in changes whenever the
// generated code may, so nothing has to be remembered by hand.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Compiler.h"

#include "llvm/Config/llvm-config.h"

#include <fmt/format.h>

#include <cstring>
#include <elf.h>
#include <link.h>

using namespace quern;

namespace {
struct Search {
  uintptr_t address;
  std::string id;
};
} // namespace

/// Called for each loaded object; fills the id of the one holding the address.
static int visitObject(dl_phdr_info *info, size_t, void *data) {
  auto *search = static_cast<Search *>(data);
  bool ours = false;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr) &segment = info->dlpi_phdr[i];
    uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
    ours |= segment.p_type == PT_LOAD && search->address >= begin &&
            search->address < begin + segment.p_memsz;
  }
  if (!ours)
    return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr) &segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_NOTE)
      continue;
    auto *at =
        reinterpret_cast<const char *>(info->dlpi_addr + segment.p_vaddr);
    const char *end = at + segment.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof(note));
      const char *name = at + sizeof(note);
      const char *bytes = name + ((note.n_namesz + 3) & ~3u);
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
          std::memcmp(name, "GNU", 4) == 0)
        for (unsigned b = 0; b < note.n_descsz; ++b)
          search->id +=
              fmt::format("{:02x}", static_cast<unsigned char>(bytes[b]));
      at = bytes + ((note.n_descsz + 3) & ~3u);
    }
  }
  return 1;
}

std::string_view quern::compilerBuildId() {
  static const std::string id = [] {
    Search search{reinterpret_cast<uintptr_t>(&compilerBuildId), {}};
    dl_iterate_phdr(visitObject, &search);
    return fmt::format("quern {} LLVM {} {}", QUERN_VERSION,
                       LLVM_VERSION_STRING,
                       search.id.empty() ? "unstamped" : search.id);
  }();
  return id;
}
