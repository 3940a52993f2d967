//===- Progress.cpp - What a long command is at, on a terminal ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Progress.h"

#include <fmt/format.h>

#include <cstdio>
#include <unistd.h>

using namespace quern::tool;

Progress::Progress() : terminal(isatty(STDERR_FILENO)) {}

void Progress::show(const std::string &step) {
  if (!terminal)
    return;
  // Back to the line's beginning, erase it, write.
  std::fputs(fmt::format("\r\x1b[K{} ...", step).c_str(), stderr);
  std::fflush(stderr);
  shown = true;
  last = std::chrono::steady_clock::now();
}

void Progress::show(const std::string &step, size_t number, size_t of) {
  if (of == 1)
    return show(step);
  if (number == 1 ||
      std::chrono::steady_clock::now() - last > std::chrono::milliseconds(200))
    show(fmt::format("{} {} of {}", step, number, of));
}

void Progress::clear() {
  if (!shown)
    return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  shown = false;
}
