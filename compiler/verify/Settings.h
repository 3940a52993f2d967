//===- Settings.h - Everything a layer is verified on -----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Compiles a layer for every target, fusion setting and legal combination of
// placements of its dynamic quantizations, and loads it for every number of
// threads.
//
// Which placements a quantization has depends on the choices for those before
// it, so the combinations are found by walking that tree. Where there are more
// than `maxCombinations`, each placement of each quantization is taken once,
// the others being the compiler's choice, and a note says so.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_VERIFY_SETTINGS_H
#define QUERN_COMPILER_VERIFY_SETTINGS_H

#include "compiler/verify/LayerCheck.h"

#include <functional>

namespace quern::verify {

/// A layer compiled and loaded in one setting.
struct Subject {
  Setting setting;
  std::string code;   ///< What it is compiled to: "cpu:avx512-vnni".
  std::string places; ///< "xq:consumer,hq:panel"; empty where there are none.
  bool isChosen = false; ///< The placements are what the compiler chose.
  Layer layer;
  /// The sizes that launches are for, each once, where not all are for all.
  std::vector<std::vector<RangeDesc>> ranges;
};

struct SubjectOptions {
  std::string source, name, layer;
  /// Empty for all that can be on this machine.
  std::vector<std::string> targets;
  /// "all", or wishes as `placement=` takes them.
  std::vector<std::string> placements = {"all"};
  std::vector<std::string> fuse = {"all", "none"};
  std::vector<unsigned> threads = {1, 2};
  std::function<bool()> isStopped;
  std::function<void(const std::string &step)> show;
};

struct Subjects {
  static constexpr size_t maxCombinations = 24, maxCudaCombinations = 12;

  std::vector<Subject> list;
  /// Targets that cannot be here, and placements that cannot be there.
  std::vector<std::string> notes;
};

/// A target that was named and cannot be, a placement that cannot be on any
/// target, and one that fuses where `fuse` has "none" alone, are errors. What
/// is named twice is taken once.
Result<Subjects> makeSubjects(const SubjectOptions &options);

/// What is verified on where no target is named.
std::vector<std::string> defaultTargets();

} // namespace quern::verify

#endif // QUERN_COMPILER_VERIFY_SETTINGS_H
