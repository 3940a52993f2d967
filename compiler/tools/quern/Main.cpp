//===- Main.cpp - The quern tool's command line ---------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Compiler.h"
#include "compiler/tools/quern/Commands.h"
#include "compiler/tools/quern/Json.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <new>
#include <system_error>
#include <unistd.h>

using namespace quern;
using namespace quern::tool;

/// Messages to a closed standard error are lost, and nothing more.
static void complain(const std::string &text) {
  std::fputs(text.c_str(), stderr);
}

std::string quern::tool::countOf(size_t number, const std::string &what) {
  return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
}

/// Whether errors are printed as JSON too; set once, before any command runs.
static bool reportsJson = false;

static nlohmann::ordered_json toJson(const Diagnostic &diagnostic) {
  nlohmann::ordered_json json;
  json["message"] = diagnostic.message;
  if (!diagnostic.file.empty())
    json["file"] = diagnostic.file;
  if (diagnostic.line) {
    json["line"] = diagnostic.line;
    json["column"] = diagnostic.column;
  }
  json["notes"] = diagnostic.notes;
  return json;
}

int quern::tool::report(const Diagnostic &diagnostic) {
  complain(diagnostic.render());
  if (reportsJson) {
    nlohmann::ordered_json json;
    json["errors"].push_back(toJson(diagnostic));
    for (const Diagnostic &other : diagnostic.others)
      json["errors"].push_back(toJson(other));
    fmt::print("{}\n", toText(json));
  }
  return diagnostic.code == Errc::CheckFailed ? Mismatch : WrongInput;
}

Result<std::string> quern::tool::readTextFile(const std::string &path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    return fail(Errc::InvalidFile, fmt::format("{} is a folder", path));
  // Also bounds what an endless device or pipe gives.
  constexpr size_t largest = size_t(64) << 20;
  std::ifstream file(path, std::ios::binary);
  std::string text;
  std::array<char, 1 << 16> block;
  while (file && text.size() <= largest) {
    file.read(block.data(), block.size());
    text.append(block.data(), static_cast<size_t>(file.gcount()));
  }
  if (text.size() > largest)
    return fail(Errc::InvalidFile,
                fmt::format("{} is larger than 64 MiB, which no layer's text "
                            "is",
                            path));
  if (!file.eof() || file.bad())
    return fail(Errc::InvalidFile,
                fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  if (size_t at = text.find('\0'); at != std::string::npos)
    return fail(Errc::InvalidFile,
                fmt::format("{} is not text: byte {} is zero", path, at),
                {"a layer is a text file, usually named *.qn"});
  return text;
}

Result<void> quern::tool::checkWritable(const std::string &path) {
  std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code error;
  if (path.empty())
    return fail(Errc::InvalidArgument, "an empty name is no file to write");
  if (std::filesystem::is_directory(path, error))
    return fail(Errc::InvalidArgument,
                fmt::format("cannot write {}: it is a folder", path));
  if (!folder.empty() && !std::filesystem::is_directory(folder, error))
    return fail(Errc::InvalidArgument,
                fmt::format("cannot write {}: there is no folder {}", path,
                            folder.string()));
  // What exists and is no file (a device, a pipe) is written in place.
  bool inPlace = std::filesystem::exists(path, error) &&
                 !std::filesystem::is_regular_file(path, error);
  std::string written = inPlace ? path : folder.empty() ? "." : folder.string();
  if (::access(written.c_str(), inPlace ? W_OK : W_OK | X_OK) != 0)
    return fail(Errc::InvalidArgument,
                fmt::format("cannot write {}: {}", path, std::strerror(errno)));
  return {};
}

std::string quern::tool::placeOf(const std::string &path) {
  std::filesystem::path name(path);
  std::error_code error;
  std::filesystem::path folder = std::filesystem::canonical(
      name.has_parent_path() ? name.parent_path() : ".", error);
  return error ? path : (folder / name.filename()).string();
}

Result<std::pair<std::string, std::string>>
quern::tool::splitAssignment(const std::string &text, const std::string &what) {
  size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    return fail(Errc::InvalidArgument,
                fmt::format("{} takes NAME=VALUE, not \"{}\"", what, text));
  return std::pair(text.substr(0, equals), text.substr(equals + 1));
}

/// A check of the words themselves: the conversion to a number wraps negative
/// ones and clamps large ones.
static std::string isSeed(const std::string &text) {
  uint64_t seed;
  auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), seed);
  if (error == std::errc() && end == text.data() + text.size())
    return {};
  return fmt::format("{} is not a number from 0 to 2^64 - 1", text);
}

/// The options of every command that compiles a layer.
static void addLayerOptions(CLI::App &command, LayerOptions &options) {
  command.parse_complete_callback([&command, &options] {
    for (const CLI::Option *option : command.get_options())
      if (option->count())
        options.given.push_back(option->get_name());
  });
  command
      .add_option("FILE", options.file,
                  "the layer, a .qn file; or a module made of it")
      ->required();
  command
      .add_option("--target", options.target,
                  "cpu, cpu:generic, cuda:sm_90a, sim:sm_80, ...")
      ->capture_default_str();
  command.add_option("--layer", options.layer,
                     "which layer of a file with several");
  command
      .add_option("--fuse", options.fuse,
                  "all, or none: one kernel for each operation")
      ->check(CLI::IsMember({"all", "none"}))
      ->capture_default_str();
  command
      .add_option("--placement", options.placement,
                  "where dynamic quantizations are computed: auto, register, "
                  "tile, cluster, grid, panel, consumer, separate, or "
                  "NAME:PLACE for one of them; several by commas")
      ->capture_default_str();
  command
      .add_option("--buckets", options.buckets,
                  "GPUs: kernels of their own for few rows: auto, one for "
                  "none, or the most rows of each, as in 16,64")
      ->capture_default_str();
  command
      .add_option("--numerics", options.numerics,
                  "strict: the bits docs/numerics.md defines")
      ->capture_default_str();
  command.add_flag("--json", options.json, "print JSON");
}

static void addTunedOption(CLI::App &command, LayerOptions &options) {
  command.add_option("--tuned", options.tuned,
                     "CPUs: a record that quern tune wrote; see "
                     "docs/tuning.md");
}

static void addSymbolOption(CLI::App &command, LayerOptions &options) {
  command.add_option("--set", options.set, "the value of a symbol, as in M=8");
}

/// What the command line asks for.
using Chosen = std::function<int()>;

/// Results that do not reach their reader are no success.
static int finish(int code) {
  std::cout.flush(); // Where the library for arguments writes its help.
  if (std::fflush(stdout) == 0 && !std::ferror(stdout) && std::cout)
    return code;
  complain(fmt::format("error: cannot write to standard output: {}\n",
                       std::strerror(errno)));
  return WrongInput;
}

static std::string commandNames(const CLI::App &app) {
  std::string names;
  for (const CLI::App *command : app.get_subcommands(nullptr))
    names += (names.empty() ? "" : ", ") + command->get_name();
  return names;
}

static CLI::Option *addThreadsOption(CLI::App &command, unsigned &threads) {
  return command.add_option("--threads", threads, "CPU threads; 0 for all")
      ->check(CLI::Range(0u, 4096u));
}

static void addRun(CLI::App &app, RunOptions &options, Chosen &chosen) {
  CLI::App &command = *app.add_subcommand("run", "run a layer");
  addLayerOptions(command, options);
  addTunedOption(command, options);
  addSymbolOption(command, options);
  command.add_option("--input", options.inputs,
                     "an operand from a file, as in x=x.npy");
  command.add_option("--weights", options.weights,
                     "a .safetensors file; operands bind by name");
  command.add_option("--bind", options.bind,
                     "an operand's name in the weights file, as in "
                     "w_up.codes=model.layers.0.up.weight");
  command.add_option("--output", options.outputs,
                     "where to write an output: y.npy, or NAME=y.npy");
  command.add_flag("--check", options.check,
                   "compare with the reference interpreter");
  command.add_option("--seed", options.seed, "seed of the operands not given")
      ->check(isSeed)
      ->capture_default_str();
  addThreadsOption(command, options.threads);
  command
      .add_option("--repeat", options.repeat,
                  "run so many times and print the median")
      ->check(CLI::Range(1u, 1000000u));
  command
      .add_option("--schedules", options.schedules,
                  "on the simulator: run in so many orders of warps and "
                  "blocks")
      ->check(CLI::Range(1u, 100000u));
  command
      .add_option("--schedule-seed", options.scheduleSeed,
                  "on the simulator: the seed of the first order")
      ->check(isSeed);
  command.footer(
      "Examples:\n"
      "  quern run examples/hello/hello.qn --set M=8 --check\n"
      "  quern run layer.qn --input x=x.npy --weights model.safetensors "
      "--output y.npy\n"
      "  quern run layer.qnm --input x=x.npy --weights model.safetensors\n"
      "  quern run layer.qn --set M=5 --target sim:sm_80 --check --schedules "
      "5");
  command.callback(
      [&options, &chosen] { chosen = [&options] { return run(options); }; });
}

static std::vector<std::string> stageNames() {
  std::vector<std::string> names;
  for (const StageInfo &stage : stages())
    names.emplace_back(stage.name);
  return names;
}

static void addCompile(CLI::App &app, CompileCommandOptions &options,
                       Chosen &chosen) {
  CLI::App &command =
      *app.add_subcommand("compile", "compile a layer to a module, or print a "
                                     "stage on the way");
  addLayerOptions(command, options);
  addTunedOption(command, options);
  command
      .add_option("-o,--output", options.output,
                  "the file to write: the module (.qnm), or with --emit "
                  "that stage")
      ->check([](const std::string &path) {
        return std::string(path.empty() ? "an empty name is no file" : "");
      });
  command.add_flag("--no-source", options.withoutSource,
                   "leave the layer's text out of the module; "
                   "quern run --check needs it");
  command
      .add_option("--emit", options.emit,
                  "print a stage instead of making a module")
      ->check(CLI::IsMember(stageNames()));
  command.add_option("--dump-after", options.dumpAfter,
                     "print the IR after this pass");
  command.footer(
      "Examples:\n"
      "  quern compile layer.qn -o layer.qnm\n"
      "  quern compile layer.qn --target cuda:sm_90a --emit cuda\n"
      "  quern compile layer.qn --target cuda:sm_90a --emit cubin -o "
      "layer.cubin\n"
      "  quern compile layer.qn --dump-after quern-form-kernels");
  command.callback([&options, &chosen] {
    chosen = [&options] { return compile(options); };
  });
}

static void addExplain(CLI::App &app, ExplainOptions &options, Chosen &chosen) {
  CLI::App &command = *app.add_subcommand(
      "explain", "say what was fused, where each scale goes, and why");
  addLayerOptions(command, options);
  addTunedOption(command, options);
  addSymbolOption(command, options);
  command.add_option("--html", options.html,
                     "write a page for a browser instead of words; with "
                     "--json, both");
  command.footer(
      "What it says is for the sizes of --set; for others, for a spread over "
      "their\nranges. With a simulated target the kernels run, and are "
      "counted.\n"
      "Examples:\n"
      "  quern explain examples/swiglu_mlp.qn --set M=64\n"
      "  quern explain examples/swiglu_mlp.qn --target cuda:sm_90a --html "
      "report.html\n"
      "  quern explain examples/hello/hello.qn --target sim:sm_80 --set M=8");
  command.callback([&options, &chosen] {
    chosen = [&options] { return explain(options); };
  });
}

static void addBench(CLI::App &app, BenchOptions &options, Chosen &chosen) {
  CLI::App &command = *app.add_subcommand(
      "bench", "say how fast a layer is, beside what this CPU can do");
  addLayerOptions(command, options);
  addTunedOption(command, options);
  command.add_option("--set", options.set,
                     "the value of a symbol, as in M=8; several values of one "
                     "symbol make a table, as in M=1,8,128");
  addThreadsOption(command, options.threads)->capture_default_str();
  command
      .add_option("--samples", options.samples,
                  "runs and the machine's peak take turns so often")
      ->check(CLI::Range(3u, 1001u))
      ->capture_default_str();
  command.add_flag("--cold", options.cold,
                   "several sets of weights take turns, so that they come from "
                   "memory");
  command.add_option("--plot", options.plot,
                     "write a page with a plot over the symbol that has "
                     "several values");
  command.footer(
      "docs/bench.md tells how to read it. Run it while nothing else runs.\n"
      "Examples:\n"
      "  quern bench examples/swiglu_mlp.qn --set M=128 --threads 1\n"
      "  quern bench layer.qn --set M=1,8,32,128 --plot layer.html\n"
      "  quern bench layer.qn --set M=1 --cold --json");
  command.callback(
      [&options, &chosen] { chosen = [&options] { return bench(options); }; });
}

static void addTune(CLI::App &app, TuneOptions &options, Chosen &chosen) {
  CLI::App &command = *app.add_subcommand(
      "tune", "measure how a layer's products are best cut into pieces on this "
              "CPU, and write it down");
  addLayerOptions(command, options);
  command.get_option("FILE")->description("the layer, a .qn file");
  command.add_option("--set", options.set,
                     "the value of a symbol, as in M=8, or several of one, as "
                     "in M=1,128");
  addThreadsOption(command, options.threads)->capture_default_str();
  command
      .add_option("--pairs", options.pairs,
                  "a candidate and the model's choice take turns so often")
      ->check(CLI::Range(5u, 1001u))
      ->capture_default_str();
  command.add_option("-o,--output", options.output,
                     "the record to write; without, it is printed");
  command.footer(
      "docs/tuning.md tells how to read the record. Run it while nothing else "
      "runs.\n"
      "Examples:\n"
      "  quern tune layer.qn --set M=128 -o layer.tuned\n"
      "  quern compile layer.qn --tuned layer.tuned -o layer.qnm");
  command.callback(
      [&options, &chosen] { chosen = [&options] { return tune(options); }; });
}

static void addVerify(CLI::App &app, VerifyCommandOptions &options,
                      Chosen &chosen) {
  CLI::App &command = *app.add_subcommand(
      "verify", "compare a layer with the reference at many sizes and values, "
                "wherever and however it can run");
  command.add_option("FILE", options.file, "the layer, a .qn file")->required();
  command.add_option("--layer", options.layer,
                     "which layer of a file with several");
  command
      .add_option("--targets", options.targets,
                  "as in cpu,cpu:generic,sim:sm_80; without, all that can be "
                  "on this machine")
      ->delimiter(',');
  command
      .add_option("--cases", options.cases, "how many sets of sizes and values")
      ->check(CLI::Range(0u, 1000000u))
      ->capture_default_str();
  command
      .add_option("--case", options.onlyCase,
                  "only this one, by its number from 0")
      ->check(CLI::Range(0u, 1000000u));
  command.add_option("--seed", options.seed, "what the cases are drawn from")
      ->check(isSeed)
      ->capture_default_str();
  command.add_option("--threads", options.threads, "numbers of CPU threads")
      ->delimiter(',')
      ->check(CLI::Range(1u, 4096u))
      ->capture_default_str();
  command
      .add_option("--placements", options.placements,
                  "all, or a placement as quern run --placement takes it; "
                  "several by giving the option again")
      ->take_all()
      ->capture_default_str();
  command.add_option("--fuse", options.fuse, "all, none, or both by a comma")
      ->delimiter(',')
      ->check(CLI::IsMember({"all", "none"}))
      ->capture_default_str();
  command.add_flag("--batch-invariant", options.batchInvariant,
                   "also test that a row's bits do not depend on its batch");
  command.add_flag("--json", options.json, "print JSON");
  command.footer(
      "An interrupt (Ctrl-C) ends it early, with what was done.\n"
      "Examples:\n"
      "  quern verify examples/hello/hello.qn\n"
      "  quern verify layer.qn --targets cpu,sim:sm_90a --cases 200 --seed 7\n"
      "  quern verify layer.qn --targets cpu --placements panel --placements "
      "xq:consumer,hq:grid\n"
      "  quern verify layer.qn --batch-invariant --cases 0");
  command.callback([&options, &chosen] {
    chosen = [&options] { return verifyFile(options); };
  });
}

static void addSim(CLI::App &app, SimCommandOptions &options, Chosen &chosen) {
  CLI::App &command = *app.add_subcommand(
      "sim", "run a kernel of a PTX file on the simulator, with its checks");
  command.add_option("FILE", options.file, "the PTX text")->required();
  command.add_option("--kernel", options.kernel,
                     "its kernel; without, the kernels are listed");
  command.add_option("--grid", options.grid, "blocks: X[,Y[,Z]]")
      ->capture_default_str();
  command.add_option("--block", options.block, "threads of a block: X[,Y[,Z]]");
  command.add_option("--cluster", options.cluster,
                     "blocks of a cluster: X[,Y[,Z]]");
  command.add_flag("--cooperative", options.cooperative,
                   "all blocks run at once and may wait for each other");
  command
      .add_option("--shared", options.shared, "bytes of dynamic shared memory")
      ->check(CLI::Range(0u, 1u << 20));
  command.add_option("--arg", options.arguments,
                     "one for each parameter, in order; see below");
  command.add_option("--target", options.target,
                     "sm_80, sm_89, sm_90a, sm_100a or sm_120a; without, "
                     "what the PTX is for");
  command
      .add_option("--seed", options.seed,
                  "of the schedule and of random buffers")
      ->check(isSeed)
      ->capture_default_str();
  command
      .add_option("--schedules", options.schedules,
                  "run so often, each in another order of warps and blocks")
      ->check(CLI::Range(1u, 100000u))
      ->capture_default_str();
  command
      .add_option("--watchdog", options.watchdog,
                  "warp instructions after which a block is taken to hang")
      ->check(CLI::Range(uint64_t(1), uint64_t(1) << 62))
      ->capture_default_str();
  command.add_flag("--no-checks", options.withoutChecks,
                   "skip races, initialisation and bank conflicts");
  command.add_flag("--json", options.json, "print JSON");
  command.footer(
      "Arguments: i32:5, u64:7, f32:1.5, ...; in:x.npy (read only), "
      "inout:x.npy[:y.npy],\nout:f32[64,64][:y.npy], zeros:i32[16][:y.npy], "
      "random:f16[64,64][:y.npy],\nbytes:file.bin (a struct). NAME= before one "
      "is what reports call the buffer.\n"
      "Exit codes: 0 clean, 1 a fault was found, 2 wrong input.\n"
      "Examples:\n"
      "  quern sim kernel.ptx\n"
      "  quern sim kernel.ptx --kernel saxpy --grid 4 --block 128 --arg "
      "i32:500 "
      "--arg f32:2 --arg in:x.npy --arg inout:y.npy:result.npy\n"
      "  quern sim gemm.ptx --kernel gemm --grid 2,2 --block 128 --shared "
      "65536 "
      "--schedules 20 --arg random:i8[128,64] --arg random:i8[128,64] "
      "--arg c=out:i32[128,128] --arg i32:128 --arg i32:128 --arg i32:64");
  command.callback([&options, &chosen] {
    chosen = [&options] { return simulate(options); };
  });
}

static void addDoctor(CLI::App &app, DoctorOptions &options, Chosen &chosen) {
  CLI::App &command = *app.add_subcommand(
      "doctor", "say what was found on this machine and what is missing");
  command.add_flag("--json", options.json, "print JSON");
  command.callback(
      [&options, &chosen] { chosen = [&options] { return doctor(options); }; });
}

static void addCache(CLI::App &app, CacheOptions &options, Chosen &chosen) {
  CLI::App &command =
      *app.add_subcommand("cache", "list, verify or clear compiled layers");
  command.add_option("ACTION", options.action, "what to do")
      ->required()
      ->check(CLI::IsMember({"list", "verify", "clear"}));
  command.add_option("--folder", options.folder,
                     "the cache folder, when not the default");
  command.add_flag("--json", options.json, "print JSON");
  command.footer(
      "The cache is what programs fill that compile layers while they run "
      "(docs/embedding.md).\n'quern run' and 'quern explain' always compile, "
      "and do not use it.");
  command.callback(
      [&options, &chosen] { chosen = [&options] { return cache(options); }; });
}

/// Says what is wrong with the command line.
static int refuse(const CLI::App &app, const CLI::ParseError &error, int argc,
                  char **argv) {
  bool known = !app.get_subcommands().empty();
  if (!known && argc > 1 && argv[1][0] != '-')
    complain(fmt::format(
        "error: there is no command {}\nnote: the commands are {}; see "
        "quern --help\n",
        argv[1], commandNames(app)));
  else
    complain(fmt::format(
        "error: {}\nnote: quern{} --help says what is accepted\n", error.what(),
        known ? " " + app.get_subcommands().front()->get_name() : ""));
  return WrongInput;
}

int main(int argc, char **argv) {
  CLI::App app("Compiles and runs quantized neural-network layers.", "quern");
  app.set_version_flag("--version", "quern " QUERN_VERSION);
  app.require_subcommand(1);
  app.footer("Exit codes: 0 right, 1 a mismatch or failed check, 2 wrong "
             "input.\n'quern COMMAND --help' has examples.");
  Chosen chosen;
  RunOptions runOptions;
  CompileCommandOptions compileOptions;
  ExplainOptions explainOptions;
  BenchOptions benchOptions;
  TuneOptions tuneOptions;
  VerifyCommandOptions verifyOptions;
  SimCommandOptions simOptions;
  DoctorOptions doctorOptions;
  CacheOptions cacheOptions;
  addRun(app, runOptions, chosen);
  addCompile(app, compileOptions, chosen);
  addExplain(app, explainOptions, chosen);
  addBench(app, benchOptions, chosen);
  addTune(app, tuneOptions, chosen);
  addVerify(app, verifyOptions, chosen);
  addSim(app, simOptions, chosen);
  addDoctor(app, doctorOptions, chosen);
  addCache(app, cacheOptions, chosen);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0) // --help, --version
      return finish(app.exit(error) == 0 ? Right : WrongInput);
    return refuse(app, error, argc, argv);
  }
  const CLI::Option *json =
      app.get_subcommands().front()->get_option_no_throw("--json");
  reportsJson = json && json->count() > 0;
  try {
    return finish(chosen());
  } catch (const std::bad_alloc &) {
    complain("error: out of memory\n");
  } catch (const std::system_error &error) {
    complain(fmt::format("error: {}\n", error.what()));
  }
  return WrongInput;
}
