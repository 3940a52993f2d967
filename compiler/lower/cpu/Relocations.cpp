//===- Relocations.cpp - References within an image -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Relocations.h"

#include "llvm/BinaryFormat/ELF.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"

#include <fmt/format.h>

#include <optional>

using namespace quern;
using namespace quern::cpugen;
namespace endian = llvm::support::endian;

namespace {
/// What of which value goes where.
struct Field {
  enum Value { Distance, Pages, InPage };

  Value value;
  unsigned bytes; ///< Of the place.
  /// Of the value, and where they begin; all of the place where it is data.
  unsigned bits, at = 0;
  unsigned scale = 0; ///< Low bits that have to be zero and are not stored.
  bool isAdr = false; ///< The two lowest bits stand at 29.
};
} // namespace

static std::optional<Field> fieldOf(uint64_t type) {
  using namespace llvm::ELF;
  switch (type) {
  case R_AARCH64_PREL16:
    return Field{Field::Distance, 2, 16};
  case R_AARCH64_PREL32:
    return Field{Field::Distance, 4, 32};
  case R_AARCH64_PREL64:
    return Field{Field::Distance, 8, 64};
  case R_AARCH64_CALL26:
  case R_AARCH64_JUMP26:
    return Field{Field::Distance, 4, 26, 0, 2};
  case R_AARCH64_CONDBR19:
  case R_AARCH64_LD_PREL_LO19:
    return Field{Field::Distance, 4, 19, 5, 2};
  case R_AARCH64_TSTBR14:
    return Field{Field::Distance, 4, 14, 5, 2};
  case R_AARCH64_ADR_PREL_LO21:
    return Field{Field::Distance, 4, 21, 5, 0, true};
  case R_AARCH64_ADR_PREL_PG_HI21:
    return Field{Field::Pages, 4, 21, 5, 0, true};
  case R_AARCH64_ADD_ABS_LO12_NC:
  case R_AARCH64_LDST8_ABS_LO12_NC:
    return Field{Field::InPage, 4, 12, 10, 0};
  case R_AARCH64_LDST16_ABS_LO12_NC:
    return Field{Field::InPage, 4, 11, 10, 1};
  case R_AARCH64_LDST32_ABS_LO12_NC:
    return Field{Field::InPage, 4, 10, 10, 2};
  case R_AARCH64_LDST64_ABS_LO12_NC:
    return Field{Field::InPage, 4, 9, 10, 3};
  case R_AARCH64_LDST128_ABS_LO12_NC:
    return Field{Field::InPage, 4, 8, 10, 4};
  default:
    return std::nullopt;
  }
}

static std::optional<Field> fieldOnX86(uint64_t type) {
  switch (type) {
  case llvm::ELF::R_X86_64_PC32:
  case llvm::ELF::R_X86_64_PLT32:
    return Field{Field::Distance, 4, 32};
  case llvm::ELF::R_X86_64_PC64:
    return Field{Field::Distance, 8, 64};
  default:
    return std::nullopt;
  }
}

/// Puts the low `bits` of a value into an instruction.
static uint32_t encode(uint32_t instruction, uint64_t value,
                       const Field &field) {
  uint32_t mask = (uint32_t(1) << field.bits) - 1;
  auto number = static_cast<uint32_t>(value) & mask;
  if (field.isAdr) {
    uint32_t cleared = instruction & ~((uint32_t(3) << 29) | (mask >> 2 << 5));
    return cleared | (number & 3) << 29 | number >> 2 << 5;
  }
  return (instruction & ~(mask << field.at)) | number << field.at;
}

Result<void> quern::cpugen::apply(const Relocation &relocation,
                                  llvm::Triple::ArchType architecture,
                                  std::span<std::byte> image) {
  auto wrong = [&](std::string_view what) {
    return fail(Errc::Internal,
                fmt::format("linking generated code: relocation {} {}",
                            relocation.name, what));
  };
  std::optional<Field> field = architecture == llvm::Triple::x86_64
                                   ? fieldOnX86(relocation.type)
                                   : fieldOf(relocation.type);
  if (!field)
    return wrong("needs a loader");
  if (relocation.place > image.size() ||
      image.size() - relocation.place < field->bytes)
    return wrong("is for a place outside the image");
  auto place = static_cast<int64_t>(relocation.place);
  int64_t value = relocation.target;
  if (field->value == Field::Distance)
    value -= place;
  else if (field->value == Field::Pages)
    value = (value >> 12) - (place >> 12);
  else
    value &= 0xfff;
  if (value & ((int64_t(1) << field->scale) - 1))
    return wrong(fmt::format("refers to a place that is no multiple of {} "
                             "bytes",
                             1 << field->scale));
  value >>= field->scale;
  if (field->value != Field::InPage && !llvm::isIntN(field->bits, value))
    return wrong("spans more than it can hold");

  std::byte *at = image.data() + relocation.place;
  if (field->bits == 64)
    endian::write64le(at, static_cast<uint64_t>(value));
  else if (field->bits == 32)
    endian::write32le(at, static_cast<uint32_t>(value));
  else if (field->bytes == 2)
    endian::write16le(at, static_cast<uint16_t>(value));
  else
    endian::write32le(
        at, encode(endian::read32le(at), static_cast<uint64_t>(value), *field));
  return {};
}
