//===- Commands.h - What the quern tool can do ------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Each command is a struct of options, filled by Main.cpp from the command
// line, and a function that returns the exit code:
//
//     0  right
//     1  a mismatch, a failed check or a fault found by the simulator
//     2  wrong input: a bad argument, layer, file or machine
//
// and 130, as shells have it, for `quern verify` that was interrupted before it
// found anything wrong.
//
// Results go to standard output, in words or as JSON; messages to standard
// error.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_COMMANDS_H
#define QUERN_TOOLS_QUERN_COMMANDS_H

#include "runtime/core/Result.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace quern::tool {

enum ExitCode : int { Right = 0, Mismatch = 1, WrongInput = 2 };

/// What every command that compiles a layer takes.
struct LayerOptions {
  std::string file;
  std::string target = "cpu";
  std::string layer;
  std::string fuse = "all";
  std::string placement = "auto";
  std::string buckets = "auto";
  std::string numerics = "strict";
  std::string tuned;            ///< A record that quern tune wrote.
  std::vector<std::string> set; ///< "M=8"
  bool json = false;
  /// The options that were on the command line: "--target".
  std::vector<std::string> given;
  bool isGiven(const std::string &option) const {
    return std::find(given.begin(), given.end(), option) != given.end();
  }
};

struct RunOptions : LayerOptions {
  std::vector<std::string> inputs;  ///< "x=x.npy"
  std::vector<std::string> weights; ///< .safetensors files
  std::vector<std::string> bind;    ///< "w.codes=model.layers.0.weight"
  std::vector<std::string> outputs; ///< "y.npy" or "y=y.npy"
  bool check = false;
  uint64_t seed = 0;
  unsigned threads = 0;
  unsigned repeat = 1;
  /// Simulator: how many orders of warps and blocks, and the first's seed.
  unsigned schedules = 1;
  uint64_t scheduleSeed = 1;
};
int run(const RunOptions &options);

struct CompileCommandOptions : LayerOptions {
  std::string output;    ///< A module file.
  std::string emit;      ///< A stage to print instead.
  std::string dumpAfter; ///< A pass.
  bool withoutSource = false;
};
int compile(const CompileCommandOptions &options);

struct ExplainOptions : LayerOptions {
  std::string html; ///< A page to write instead of words.
};
int explain(const ExplainOptions &options);

struct BenchOptions : LayerOptions {
  unsigned threads = 0;
  unsigned samples = 15;
  bool cold = false; ///< Weights from memory, not from a cache.
  std::string plot;  ///< A page to write.
};
int bench(const BenchOptions &options);

struct TuneOptions : LayerOptions {
  unsigned threads = 0;
  unsigned pairs = 15;
  std::string output; ///< The record; empty for standard output.
};
int tune(const TuneOptions &options);

struct VerifyCommandOptions {
  std::string file, layer;
  std::vector<std::string> targets; ///< None: all that can be here.
  std::vector<std::string> placements = {"all"};
  std::vector<std::string> fuse = {"all", "none"};
  std::vector<unsigned> threads = {1, 2};
  unsigned cases = 20;
  std::optional<unsigned> onlyCase;
  uint64_t seed = 0;
  bool batchInvariant = false;
  bool json = false;
};
int verifyFile(const VerifyCommandOptions &options);

struct SimCommandOptions {
  std::string file, kernel;
  std::string grid = "1", block, cluster; ///< "X[,Y[,Z]]"
  bool cooperative = false;
  unsigned shared = 0;
  std::vector<std::string> arguments;
  std::string target;
  uint64_t seed = 1;
  unsigned schedules = 1;
  uint64_t watchdog = uint64_t(1) << 27;
  bool withoutChecks = false;
  bool json = false;
};
int simulate(const SimCommandOptions &options);

struct DoctorOptions {
  bool json = false;
};
int doctor(const DoctorOptions &options);

struct CacheOptions {
  std::string action;
  std::string folder;
  bool json = false;
};
int cache(const CacheOptions &options);

/// "1 kernel", "2 kernels".
std::string countOf(size_t number, const std::string &what);

/// Prints the diagnostic to standard error and gives the exit code its kind
/// asks for.
int report(const Diagnostic &diagnostic);

/// The text of a file, or a message with the reason it cannot be read.
Result<std::string> readTextFile(const std::string &path);

/// Whether a file of that name may be made, as far as can be known before the
/// work is done.
Result<void> checkWritable(const std::string &path);

/// The one name of the place that a path leads to; its folder exists. A link is
/// replaced by what is written, and so counts as itself.
std::string placeOf(const std::string &path);

/// `NAME=VALUE` into its halves; `what` names the option in the message.
Result<std::pair<std::string, std::string>>
splitAssignment(const std::string &text, const std::string &what);

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_COMMANDS_H
