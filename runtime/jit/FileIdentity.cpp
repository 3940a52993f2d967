//===- FileIdentity.cpp - Which build of a library a file is --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/jit/FileIdentity.h"

#include "runtime/io/FileReader.h"
#include "runtime/module/ModuleFormat.h"

#include <cstring>
#include <elf.h>
#include <span>
#include <sys/stat.h>
#include <vector>

using namespace quern;

/// The build-id note of an ELF file; empty if it has none. Every offset is
/// checked: the path may name anything.
static std::vector<std::byte> findBuildId(const FileReader &file) {
  auto read = [&](uint64_t offset, std::span<std::byte> to) {
    return offset <= file.size() && to.size() <= file.size() - offset &&
           file.read(offset, to);
  };
  // No linker writes more notes than this.
  constexpr uint64_t largestNotes = 1 << 20;
  Elf64_Ehdr header;
  if (!read(0, std::as_writable_bytes(std::span(&header, 1))))
    return {};
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_phentsize != sizeof(Elf64_Phdr))
    return {};
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (!read(header.e_phoff + i * sizeof(segment),
              std::as_writable_bytes(std::span(&segment, 1))))
      return {};
    if (segment.p_type != PT_NOTE || segment.p_filesz > largestNotes)
      continue;
    std::vector<std::byte> bytes(segment.p_filesz);
    if (!read(segment.p_offset, bytes))
      continue;
    std::span<const std::byte> notes = bytes;
    while (notes.size() >= sizeof(Elf64_Nhdr)) {
      Elf64_Nhdr note;
      std::memcpy(&note, notes.data(), sizeof(note));
      uint64_t nameSize = (uint64_t{note.n_namesz} + 3) & ~uint64_t{3};
      uint64_t size = (uint64_t{note.n_descsz} + 3) & ~uint64_t{3};
      uint64_t total = sizeof(note) + nameSize + size;
      if (total > notes.size())
        break;
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
          std::memcmp(notes.data() + sizeof(note), "GNU", 4) == 0) {
        notes = notes.subspan(sizeof(note) + nameSize, note.n_descsz);
        return {notes.begin(), notes.end()};
      }
      notes = notes.subspan(total);
    }
  }
  return {};
}

uint64_t quern::detail::fileIdentity(const std::string &path) {
  Result<FileReader> file = FileReader::open(path);
  if (!file)
    return 0;
  uint64_t id = 0;
  if (std::vector<std::byte> note = findBuildId(*file); !note.empty()) {
    id = format::checksum(note);
  } else {
    struct stat info;
    if (stat(path.c_str(), &info) != 0)
      return 0;
    int64_t facts[] = {info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec,
                       static_cast<int64_t>(info.st_ino)};
    id = format::checksum(std::as_bytes(std::span(facts)));
  }
  return id ? id : 1;
}
