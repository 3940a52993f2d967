//===- Emulator.cpp - A process that runs AArch64 kernels -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/aarch64/Emulator.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace quern;
using namespace quern::test;

static constexpr uint64_t guardBytes = 64;
static constexpr std::byte guardByte{0xa5};

Result<Emulator *> Emulator::get() {
  static Result<std::unique_ptr<Emulator>> emulator = start("max");
  if (!emulator)
    return emulator.error();
  return emulator->get();
}

Result<std::unique_ptr<Emulator>>
Emulator::start(const std::string &processor) {
#ifdef QUERN_AARCH64_RUNNER
  std::unique_ptr<Emulator> emulator(new Emulator);
  if (Result<void> begun = emulator->begin(processor); !begun)
    return begun.error();
  return emulator;
#else
  (void)processor;
  return fail(Errc::Unsupported,
              "no qemu-aarch64 or no compiler for AArch64 was found when this "
              "was configured (Debian: qemu-user, g++-aarch64-linux-gnu)");
#endif
}

#ifdef QUERN_AARCH64_RUNNER
static Diagnostic systemError(std::string_view what) {
  return fail(Errc::Internal,
              fmt::format("the emulator: {}: {}", what, std::strerror(errno)));
}

Result<void> Emulator::begin(const std::string &processor) {
  // A process that ended is told by the write, not by a signal.
  std::signal(SIGPIPE, SIG_IGN);
  file = memfd_create("quern-aarch64", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, arenaBytes) != 0)
    return systemError("making the arena");
  void *base = mmap(nullptr, arenaBytes, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_NORESERVE, file, 0);
  if (base == MAP_FAILED)
    return systemError("mapping the arena");
  arena = static_cast<std::byte *>(base);

  int toProcess[2], fromProcess[2];
  if (pipe2(toProcess, O_CLOEXEC) != 0)
    return systemError("making a pipe");
  input = toProcess[1];
  if (pipe2(fromProcess, O_CLOEXEC) != 0)
    return systemError("making a pipe");
  output = fromProcess[0];
  // The process finds the arena at a number of its own.
  constexpr int arenaNumber = 3;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, toProcess[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, fromProcess[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, file, arenaNumber);
  std::string number = std::to_string(arenaNumber);
  std::vector<std::string> words = {QUERN_QEMU_AARCH64, "-cpu", processor,
                                    QUERN_AARCH64_RUNNER, number};
  std::vector<char *> argv;
  for (std::string &word : words)
    argv.push_back(word.data());
  argv.push_back(nullptr);
  int failed =
      posix_spawn(&process, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(toProcess[0]);
  close(fromProcess[1]);
  if (failed) {
    process = -1;
    errno = failed;
    return systemError(fmt::format("starting {}", QUERN_QEMU_AARCH64));
  }
  return {};
}
#endif

Emulator::~Emulator() {
  if (input >= 0)
    close(input);
  if (output >= 0)
    close(output);
  if (process > 0)
    waitpid(process, nullptr, 0);
  if (arena)
    munmap(arena, arenaBytes);
  if (file >= 0)
    close(file);
}

Result<std::string> Emulator::ask(const Request &request, const void *more,
                                  size_t bytes, int64_t *status) {
  std::lock_guard lock(mutex);
  Response response;
  std::string text;
  if (process > 0 && writeAll(input, &request, sizeof(request)) &&
      writeAll(input, more, bytes) &&
      readAll(output, &response, sizeof(response))) {
    text.resize(static_cast<size_t>(response.size));
    if (readAll(output, text.data(), text.size())) {
      *status = response.status;
      return text;
    }
  }
  std::string how = "has ended before";
  if (int ended = 0; process > 0 && waitpid(process, &ended, 0) == process)
    how = WIFSIGNALED(ended)
              ? fmt::format("was ended by signal {}", WTERMSIG(ended))
              : fmt::format("ended with {}", WEXITSTATUS(ended));
  process = -1;
  return fail(Errc::Internal, "the emulated process " + how);
}

Result<void> Emulator::check(std::string_view target,
                             std::span<const std::string> features) {
  std::string lines(target);
  for (const std::string &feature : features)
    lines += "\n" + feature;
  Request request{RequestKind::Check};
  request.size = static_cast<int64_t>(lines.size());
  int64_t status = 0;
  auto text = ask(request, lines.data(), lines.size(), &status);
  if (!text)
    return text.error();
  if (status != 0)
    return fail(Errc::Unsupported, *text);
  return {};
}

Result<int64_t> Emulator::map(std::span<const std::byte> code) {
  auto copy = allocate(code.size());
  if (!copy)
    return copy.error();
  std::memcpy(*copy, code.data(), code.size());
  Request request{RequestKind::Map};
  request.place = offsetOf(*copy);
  request.size = static_cast<int64_t>(code.size());
  int64_t status = 0;
  auto text = ask(request, nullptr, 0, &status);
  release(*copy);
  if (!text)
    return text.error();
  if (status >= 0)
    return fail(Errc::Internal, *text);
  return -status;
}

Result<void> Emulator::unmap(int64_t code) {
  Request request{RequestKind::Unmap, code};
  int64_t status = 0;
  auto text = ask(request, nullptr, 0, &status);
  if (!text)
    return text.error();
  return {};
}

Result<void> Emulator::launch(int64_t code, uint64_t kernel,
                              std::span<void *const> buffers,
                              std::span<const int64_t> symbols, int64_t begin,
                              int64_t end, void *scratch) {
  Request request{RequestKind::Launch, code};
  request.place = static_cast<int64_t>(kernel);
  request.size = static_cast<int64_t>(buffers.size());
  request.symbols = static_cast<int64_t>(symbols.size());
  request.begin = begin;
  request.end = end;
  request.scratch = scratch ? offsetOf(scratch) : 0;
  std::vector<int64_t> numbers;
  for (void *buffer : buffers)
    numbers.push_back(buffer ? offsetOf(buffer) : -1);
  numbers.insert(numbers.end(), symbols.begin(), symbols.end());
  int64_t status = 0;
  auto text =
      ask(request, numbers.data(), numbers.size() * sizeof(int64_t), &status);
  if (!text)
    return text.error();
  if (status != 0)
    return fail(Errc::Internal, *text);
  return {};
}

int64_t Emulator::offsetOf(const void *address) const {
  return static_cast<const std::byte *>(address) - arena;
}

Result<void *> Emulator::allocate(uint64_t bytes) {
  std::lock_guard lock(mutex);
  // The first gap that is wide enough.
  uint64_t at = 0, whole = (bytes + 63) / 64 * 64 + guardBytes;
  for (const auto &[offset, size] : used) {
    if (offset - at >= whole)
      break;
    at = offset + (size + 63) / 64 * 64 + guardBytes;
  }
  if (bytes > uint64_t(arenaBytes) || at > uint64_t(arenaBytes) - whole)
    return fail(Errc::OutOfMemory, "the emulator's arena is full");
  used[at] = bytes;
  std::memset(arena + at + bytes, int(guardByte), whole - bytes);
  return static_cast<void *>(arena + at);
}

void Emulator::release(void *address) {
  std::lock_guard lock(mutex);
  auto it = used.find(static_cast<uint64_t>(offsetOf(address)));
  if (it == used.end())
    return;
  auto [at, bytes] = *it;
  uint64_t whole = (bytes + 63) / 64 * 64 + guardBytes;
  for (uint64_t i = bytes; i < whole; ++i)
    if (arena[at + i] != guardByte && damaged.empty())
      damaged = fmt::format("a kernel wrote {} bytes behind a buffer of {}",
                            i - bytes + 1, bytes);
  used.erase(it);
}

std::string Emulator::damage() const {
  std::lock_guard lock(mutex);
  return damaged;
}
