//===- CompilerLibrary.cpp - Finding and opening the compiler -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/jit/CompilerLibrary.h"

#include "runtime/jit/CompilerAbi.h"
#include "runtime/jit/FileIdentity.h"
#include "runtime/module/Module.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

using namespace quern;
using quern::detail::fileIdentity;

static constexpr const char *libraryName = "libquern_compiler.so";

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
    library.id = fileIdentity(named);
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
    library.id = fileIdentity(library.file);
    if (library.id)
      return library;
    looked.push_back("looked for " + library.file);
  }
  // The loader knows where it would look; only opening tells.
  if (void *handle = dlopen(libraryName, RTLD_NOW | RTLD_LOCAL)) {
    link_map *map = nullptr;
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map->l_name) {
      library.file = map->l_name;
      library.id = fileIdentity(library.file);
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

static Errc errcOf(int32_t code) {
  bool known = code >= 0 && code <= static_cast<int32_t>(Errc::Internal);
  return known ? static_cast<Errc>(code) : Errc::Internal;
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
    Diagnostic diagnostic = fail(errcOf(answer.code), text(answer.message));
    diagnostic.file = text(answer.file);
    diagnostic.sourceLine = text(answer.sourceLine);
    diagnostic.line = answer.line;
    diagnostic.column = answer.column;
    for (uint32_t i = 0; i < answer.noteCount; ++i)
      diagnostic.notes.push_back(text(answer.notes[i]));
    for (uint64_t i = 0; i < answer.otherCount; ++i) {
      const QuernDiagnostic &other = answer.others[i];
      Diagnostic further = fail(errcOf(other.code), text(other.message));
      further.file = text(other.file);
      further.sourceLine = text(other.sourceLine);
      further.line = other.line;
      further.column = other.column;
      for (uint32_t n = 0; n < other.noteCount; ++n)
        further.notes.push_back(text(other.notes[n]));
      diagnostic.others.push_back(std::move(further));
    }
    result = std::move(diagnostic);
  }
  (*compiler)->release(&answer);
  return result;
}
