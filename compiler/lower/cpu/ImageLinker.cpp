//===- ImageLinker.cpp - An object as a relocation-free image -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Kernels are position-independent code in the small code model that calls
// nothing outside: what their relocations ask for follows from where the places
// of the image lie relative to each other and to 4-KiB pages, which can be
// computed once and for all (Relocations.h). Sections that occupy memory are
// laid out code first; unwind tables are left out, as nothing throws through a
// kernel.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/ObjectCode.h"
#include "compiler/lower/cpu/Relocations.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/BinaryFormat/ELF.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Support/MathExtras.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::cpugen;
namespace object = llvm::object;

static Diagnostic internal(std::string message) {
  return fail(Errc::Internal, "linking generated code: " + message);
}

static std::string text(llvm::Error error) {
  return llvm::toString(std::move(error));
}

static bool isUnwindTable(llvm::StringRef name) {
  return name.starts_with(".eh_frame");
}

Result<CodeDesc> quern::cpugen::linkImage(llvm::MemoryBufferRef buffer) {
  auto parsed = object::ObjectFile::createELFObjectFile(buffer);
  if (!parsed)
    return internal(text(parsed.takeError()));
  auto *elf = llvm::dyn_cast<object::ELF64LEObjectFile>(parsed->get());
  llvm::Triple::ArchType architecture =
      elf ? elf->getArch() : llvm::Triple::UnknownArch;
  if (architecture != llvm::Triple::x86_64 &&
      architecture != llvm::Triple::aarch64)
    return internal("the object is not ELF for x86-64 or AArch64");

  // Layout: code, then constants.
  CodeDesc code;
  code.kind = CodeKind::CpuImage;
  llvm::DenseMap<uint64_t, uint64_t> placed; // section index -> image offset
  for (bool executable : {true, false}) {
    for (object::ELFSectionRef section : elf->sections()) {
      uint64_t flags = section.getFlags();
      if (!(flags & llvm::ELF::SHF_ALLOC) || section.getSize() == 0 ||
          section.isText() != executable)
        continue;
      auto name = section.getName();
      if (!name)
        return internal(text(name.takeError()));
      if (isUnwindTable(*name) || section.getType() == llvm::ELF::SHT_NOTE)
        continue;
      if (flags & llvm::ELF::SHF_WRITE)
        return internal(fmt::format("section {} is writable", name->str()));
      uint64_t alignment = section.getAlignment().value();
      if (alignment > 4096)
        return internal(fmt::format("section {} wants alignment {}",
                                    name->str(), alignment));
      uint64_t offset = llvm::alignTo(code.bytes.size(), alignment);
      auto contents = section.getContents();
      if (!contents)
        return internal(text(contents.takeError()));
      code.bytes.resize(offset);
      const auto *data = reinterpret_cast<const std::byte *>(contents->data());
      code.bytes.insert(code.bytes.end(), data, data + contents->size());
      placed[section.getIndex()] = offset;
    }
  }

  auto offsetOf = [&](object::ELFSymbolRef symbol) -> Result<uint64_t> {
    auto name = symbol.getName();
    if (!name)
      return internal(text(name.takeError()));
    auto section = symbol.getSection();
    if (!section)
      return internal(text(section.takeError()));
    if (*section == elf->section_end())
      return internal(fmt::format(
          "'{}' is not defined in the code itself; generated kernels call no "
          "library",
          name->str()));
    auto it = placed.find((*section)->getIndex());
    if (it == placed.end())
      return internal(
          fmt::format("'{}' is in a section left out", name->str()));
    return it->second + symbol.getValue().get();
  };

  for (object::ELFSectionRef section : elf->sections()) {
    auto target = section.getRelocatedSection();
    if (!target)
      return internal(text(target.takeError()));
    if (*target == elf->section_end())
      continue;
    auto place = placed.find((*target)->getIndex());
    if (place == placed.end())
      continue;
    for (object::ELFRelocationRef relocation : section.relocations()) {
      auto symbol = relocation.getSymbol();
      if (symbol == elf->symbol_end())
        return internal("a relocation without a symbol");
      Result<uint64_t> address = offsetOf(object::ELFSymbolRef(*symbol));
      if (!address)
        return address.error();
      auto addend = relocation.getAddend();
      if (!addend)
        return internal(text(addend.takeError()));
      llvm::SmallString<32> name;
      relocation.getTypeName(name);
      Relocation within{relocation.getType(), name.str().str(),
                        place->second + relocation.getOffset(),
                        static_cast<int64_t>(*address) + *addend};
      if (Result<void> done = apply(within, architecture, code.bytes); !done)
        return done.error();
    }
  }

  for (object::ELFSymbolRef symbol : elf->symbols()) {
    auto flags = symbol.getFlags();
    if (!flags)
      return internal(text(flags.takeError()));
    if (*flags & object::SymbolRef::SF_FormatSpecific)
      continue;
    bool undefined = *flags & object::SymbolRef::SF_Undefined;
    if (!undefined && (symbol.getBinding() != llvm::ELF::STB_GLOBAL ||
                       symbol.getELFType() != llvm::ELF::STT_FUNC))
      continue;
    Result<uint64_t> address = offsetOf(symbol);
    if (!address)
      return address.error();
    auto name = symbol.getName();
    if (!name)
      return internal(text(name.takeError()));
    code.symbols.push_back({name->str(), *address});
  }
  return code;
}
