//===- Runner.cpp - Runs kernels on AArch64 -------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The emulated side of Protocol.h: a program for AArch64 that maps code as the
// runtime does, with the runtime's own sources, and calls its kernels. Its one
// argument is the number of the arena's file.
//
//===----------------------------------------------------------------------===//

#include "tests/aarch64/Protocol.h"

#include "runtime/device/cpu/CpuFeatures.h"
#include "runtime/device/cpu/CpuImage.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

using namespace quern;
using namespace quern::test;

static void answer(int64_t status, const std::string &text = {}) {
  Response response{status, static_cast<int64_t>(text.size())};
  if (!writeAll(STDOUT_FILENO, &response, sizeof(response)) ||
      !writeAll(STDOUT_FILENO, text.data(), text.size()))
    std::exit(1);
}

namespace {
class Runner {
public:
  explicit Runner(char *arena) : arena(arena) {}

  bool serve() {
    Request request;
    if (!readAll(STDIN_FILENO, &request, sizeof(request)))
      return false;
    switch (request.kind) {
    case RequestKind::Check:
      return check(request);
    case RequestKind::Map:
      map(request);
      return true;
    case RequestKind::Unmap:
      images.erase(request.code);
      answer(0);
      return true;
    case RequestKind::Launch:
      return launch(request);
    }
    return false;
  }

private:
  bool check(const Request &request) {
    std::string text(static_cast<size_t>(request.size), '\0');
    if (!readAll(STDIN_FILENO, text.data(), text.size()))
      return false;
    std::vector<std::string> lines;
    for (size_t at = 0; at < text.size();) {
      size_t end = std::min(text.find('\n', at), text.size());
      lines.push_back(text.substr(at, end - at));
      at = end + 1;
    }
    std::string why =
        lines.empty() ? "no target"
                      : cpu::whyNotHere(lines[0], std::span(lines).subspan(1));
    answer(why.empty() ? 0 : 1, why);
    return true;
  }

  void map(const Request &request) {
    CodeDesc code;
    code.kind = CodeKind::CpuImage;
    const auto *bytes = reinterpret_cast<const std::byte *>(arena);
    code.bytes.assign(bytes + request.place,
                      bytes + request.place + request.size);
    Result<cpu::CpuImage> image = cpu::CpuImage::map(code, "test");
    if (!image)
      return answer(1, image.error().message);
    images.emplace(++last, std::move(*image));
    answer(-last);
  }

  bool launch(const Request &request) {
    std::vector<int64_t> places(static_cast<size_t>(request.size));
    std::vector<int64_t> symbols(static_cast<size_t>(request.symbols));
    if (!readAll(STDIN_FILENO, places.data(),
                 places.size() * sizeof(int64_t)) ||
        !readAll(STDIN_FILENO, symbols.data(),
                 symbols.size() * sizeof(int64_t)))
      return false;
    std::vector<void *> buffers;
    for (int64_t place : places)
      buffers.push_back(place < 0 ? nullptr : arena + place);
    auto image = images.find(request.code);
    if (image == images.end()) {
      answer(1, "no such code");
      return true;
    }
    const auto *base = static_cast<const char *>(image->second.address());
    cpu::KernelFn kernel = nullptr;
    const char *entry = base + request.place;
    std::memcpy(&kernel, &entry, sizeof(kernel));
    cpu::KernelArgs args{buffers.data(), symbols.data()};
    cpu::callKernel(kernel, args, request.begin, request.end,
                    arena + request.scratch);
    answer(0);
    return true;
  }

  char *arena;
  std::map<int64_t, cpu::CpuImage> images;
  int64_t last = 0;
};
} // namespace

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  rlimit none = {0, 0}; // A crash is told by its signal, and leaves no file.
  setrlimit(RLIMIT_CORE, &none);
  void *arena = mmap(nullptr, arenaBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                     std::atoi(argv[1]), 0);
  if (arena == MAP_FAILED)
    return 3;
  Runner runner(static_cast<char *>(arena));
  while (runner.serve()) {
  }
  return 0;
}
