//===- Wishes.h - Placements that were asked for ----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What a caller wants of placements, and what became of it. One quantization
// may be several sites: its scales and its codes, and each of them once for
// every bucket (Buckets.h). A wish for a name is granted where one of them can
// be there, a wish for all where one site can; whoever can is then put there.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_SELECT_WISHES_H
#define QUERN_COMPILER_SELECT_WISHES_H

#include "compiler/select/Placement.h"

#include <map>

namespace quern::select {

class Wishes {
public:
  /// `auto`, `PLACE`, `NAME:PLACE`; several by commas. InvalidArgument for
  /// anything else, and for two wishes of one quantization.
  static Result<Wishes> parse(llvm::StringRef text);

  /// The option of the report that was asked for, if it is possible. Notes what
  /// became of the wish, in the report too where it was refused.
  std::optional<size_t> choose(SiteReport &report);

  /// InvalidArgument for a wish that was granted nowhere, with the reasons.
  Result<void> verdict() const;

private:
  std::optional<tile::Placement> general;
  /// Nothing: as the compiler chooses.
  std::map<std::string, std::optional<tile::Placement>, std::less<>> byName;

  std::vector<std::string> met; ///< Names of sites, each once.
  bool anyGranted = false;
  std::vector<std::string> refusals;
  /// By name: why a wish for it was refused, or nothing once it was granted.
  std::map<std::string, std::string> named;
};

} // namespace quern::select

#endif // QUERN_COMPILER_SELECT_WISHES_H
