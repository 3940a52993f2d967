//===- CompilerLibrary.cpp - Finding and opening the compiler -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/jit/CompilerLibrary.h"

#include "runtime/io/FileReader.h"
#include "runtime/jit/CompilerAbi.h"
#include "runtime/module/Module.h"
#include "runtime/module/ModuleFormat.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace quern;

static constexpr const char *libraryName = "libquern_compiler.so";

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

/// The identity of the library at that path; 0 if there is no such file.
static uint64_t identityOf(const std::string &path) {
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

static std::string folderOf(std::string path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

/// The folder of the library (or executable) this code is in.
static std::string ownFolder() {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void *>(&ownFolder), &info) &&
      info.dli_fname && std::strchr(info.dli_fname, '/'))
    return folderOf(info.dli_fname);
  return {};
}

static std::string executableFolder() {
  char buffer[4096];
  ssize_t n = readlink("/proc/self/exe", buffer, sizeof(buffer));
  return n > 0 ? folderOf(std::string(buffer, static_cast<size_t>(n))) : "";
}

static Diagnostic missing(std::string message, std::vector<std::string> notes) {
  notes.push_back("set QUERN_COMPILER to the path of libquern_compiler.so, or "
                  "load a module that was compiled before");
  return fail(Errc::CompilerMissing, std::move(message), std::move(notes));
}

Result<CompilerLibrary> CompilerLibrary::find(const std::string &path) {
  CompilerLibrary library;
  const char *fromEnvironment = secure_getenv("QUERN_COMPILER");
  std::string named = !path.empty()     ? path
                      : fromEnvironment ? std::string(fromEnvironment)
                                        : std::string();
  if (!named.empty()) {
    library.file = named;
    library.id = identityOf(named);
    if (library.id)
      return library;
    return missing(fmt::format("there is no compiler at {}", named), {});
  }

  std::vector<std::string> looked;
  std::string executable = executableFolder();
  for (const std::string &folder :
       {ownFolder(), executable,
        executable.empty() ? std::string() : executable + "/../lib"}) {
    if (folder.empty())
      continue;
    library.file = folder + "/" + libraryName;
    library.id = identityOf(library.file);
    if (library.id)
      return library;
    looked.push_back("looked for " + library.file);
  }
  // The loader knows where it would look; only opening tells.
  if (void *handle = dlopen(libraryName, RTLD_NOW | RTLD_LOCAL)) {
    link_map *map = nullptr;
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map->l_name) {
      library.file = map->l_name;
      library.id = identityOf(library.file);
      if (library.id)
        return library;
    }
  }
  looked.push_back(
      fmt::format("looked for {} in the loader's search path", libraryName));
  return missing("code must be generated and no compiler was found",
                 std::move(looked));
}

/// Opens the library and checks what it offers.
static Result<const QuernCompiler *> openCompiler(const std::string &path) {
  // A name without a slash would be searched for.
  std::string file = path.find('/') == std::string::npos ? "./" + path : path;
  void *handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    return missing(
        fmt::format("cannot open the compiler {}: {}", path, dlerror()), {});
  auto entry =
      reinterpret_cast<QuernCompilerEntry>(dlsym(handle, QUERN_COMPILER_ENTRY));
  if (!entry)
    return missing(fmt::format("{} is not a compiler for this runtime: it has "
                               "no {}",
                               path, QUERN_COMPILER_ENTRY),
                   {});
  const QuernCompiler *compiler = entry();
  if (!compiler || compiler->structBytes < sizeof(QuernCompiler) ||
      compiler->moduleFormatMajor != ModuleDesc::formatMajor)
    return missing(fmt::format("{} makes modules of another format than this "
                               "runtime reads",
                               path),
                   {});
  return compiler;
}

Result<std::string> CompilerLibrary::buildId() const {
  Result<const QuernCompiler *> compiler = openCompiler(file);
  if (!compiler)
    return compiler.error();
  return std::string((*compiler)->buildId);
}

Result<std::vector<std::byte>>
CompilerLibrary::compile(const Request &request) const {
  Result<const QuernCompiler *> compiler = openCompiler(file);
  if (!compiler)
    return compiler.error();

  std::vector<const char *> settings;
  for (const std::string &setting : request.settings)
    settings.push_back(setting.c_str());
  QuernCompileRequest asked = {};
  asked.structBytes = sizeof(asked);
  asked.source = request.source.data();
  asked.sourceBytes = request.source.size();
  asked.name = request.name.c_str();
  asked.target = request.target.c_str();
  asked.features = request.features.c_str();
  asked.settingCount = static_cast<uint32_t>(settings.size());
  asked.settings = settings.data();
  QuernCompileResult answer = {};
  answer.structBytes = sizeof(answer);
  (*compiler)->compile(&asked, &answer);

  Result<std::vector<std::byte>> result = std::vector<std::byte>();
  if (answer.code < 0) {
    auto *bytes = static_cast<const std::byte *>(answer.module);
    result = std::vector<std::byte>(bytes, bytes + answer.moduleBytes);
  } else {
    auto text = [](const char *t) { return std::string(t ? t : ""); };
    Diagnostic diagnostic =
        fail(answer.code <= static_cast<int32_t>(Errc::Internal)
                 ? static_cast<Errc>(answer.code)
                 : Errc::Internal,
             text(answer.message));
    diagnostic.file = text(answer.file);
    diagnostic.sourceLine = text(answer.sourceLine);
    diagnostic.line = answer.line;
    diagnostic.column = answer.column;
    for (uint32_t i = 0; i < answer.noteCount; ++i)
      diagnostic.notes.push_back(text(answer.notes[i]));
    result = std::move(diagnostic);
  }
  (*compiler)->release(&answer);
  return result;
}
