//===- CpuImage.cpp - Machine code mapped for execution -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cpu/CpuImage.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

using namespace quern;
using namespace quern::cpu;

/// Maps the bytes through an anonymous file; MAP_FAILED with errno set.
static void *mapFile(std::span<const std::byte> code, size_t size,
                     const char *name) {
  int file = memfd_create(name, MFD_CLOEXEC);
  if (file < 0)
    return MAP_FAILED;
  void *base = MAP_FAILED;
  size_t done = 0;
  while (done < code.size()) {
    ssize_t n = write(file, code.data() + done, code.size() - done);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      break;
    done += static_cast<size_t>(n);
  }
  // The tail of the last page must exist in the file to be readable.
  if (done == code.size() && ftruncate(file, static_cast<off_t>(size)) == 0)
    base = mmap(nullptr, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
  int error = errno;
  close(file);
  errno = error;
  return base;
}

/// Writes the bytes to fresh memory, then makes it executable.
static void *mapMemory(std::span<const std::byte> code, size_t size) {
  void *base = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED)
    return base;
  std::memcpy(base, code.data(), code.size());
  if (mprotect(base, size, PROT_READ | PROT_EXEC) != 0) {
    int error = errno;
    munmap(base, size);
    errno = error;
    return MAP_FAILED;
  }
  return base;
}

Result<CpuImage> CpuImage::map(const CodeDesc &code, std::string_view name) {
  if (code.kind != CodeKind::CpuImage || code.bytes.empty())
    return fail(Errc::InvalidFile, "the code object is not a CPU image");
  for (const CodeSymbol &symbol : code.symbols)
    if (symbol.offset >= code.bytes.size())
      return fail(
          Errc::InvalidFile,
          fmt::format("entry point '{}' lies outside its image", symbol.name));
  size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  size_t size = (code.bytes.size() + page - 1) / page * page;
  // The kernel accepts names of up to 249 bytes.
  std::string label = fmt::format("quern-{}", name.substr(0, 200));
  void *base = mapFile(code.bytes, size, label.c_str());
  if (base == MAP_FAILED)
    base = mapMemory(code.bytes, size);
  if (base == MAP_FAILED)
    return fail(errno == ENOMEM ? Errc::OutOfMemory : Errc::Unsupported,
                fmt::format("cannot map {} bytes of code for execution: {}",
                            code.bytes.size(), std::strerror(errno)),
                {"the system may forbid code generated at run time (SELinux "
                 "execmem, systemd MemoryDenyWriteExecute)"});
  __builtin___clear_cache(static_cast<char *>(base),
                          static_cast<char *>(base) + size);
  CpuImage image;
  image.base = base;
  image.bytes = size;
  image.symbols = code.symbols;
  return image;
}

CpuImage::CpuImage(CpuImage &&other) noexcept
    : base(std::exchange(other.base, nullptr)),
      bytes(std::exchange(other.bytes, 0)), symbols(std::move(other.symbols)) {}

CpuImage &CpuImage::operator=(CpuImage &&other) noexcept {
  std::swap(base, other.base);
  std::swap(bytes, other.bytes);
  std::swap(symbols, other.symbols);
  return *this;
}

CpuImage::~CpuImage() {
  if (base)
    munmap(base, bytes);
}

KernelFn CpuImage::find(std::string_view symbol) const {
  for (const CodeSymbol &s : symbols)
    if (s.name == symbol)
      return reinterpret_cast<KernelFn>(static_cast<char *>(base) + s.offset);
  return nullptr;
}
