//===- Progress.h - What a long command is at, on a terminal ----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One line on standard error, where that is a terminal, replaced by the next
// step and gone at the end. Elsewhere nothing is written.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_PROGRESS_H
#define QUERN_TOOLS_QUERN_PROGRESS_H

#include <chrono>
#include <string>

namespace quern::tool {

class Progress {
public:
  Progress();
  Progress(const Progress &) = delete;
  Progress &operator=(const Progress &) = delete;
  ~Progress() { clear(); }

  /// Says what is done next: "comparing with the reference".
  void show(const std::string &step);
  /// The same for a step of many, at most a few times a second: "running 3 of
  /// 100".
  void show(const std::string &step, size_t number, size_t of);
  /// Takes the line away, before anything else is written.
  void clear();

private:
  bool terminal;
  bool shown = false;
  std::chrono::steady_clock::time_point last;
};

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_PROGRESS_H
