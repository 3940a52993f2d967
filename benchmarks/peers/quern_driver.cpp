//===- quern_driver.cpp - Quern and this machine, on request --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What benchmarks/peers/bench.py asks for Quern's runs and for the machine's
// limits. One JSON object per line on standard input, one per line as answer:
//
//     {"op": "hello"}
//         {"versions": {"quern": ...}, "instruction": {"int8": ..., ...}}
//     {"op": "prepare", "layer": TEXT, "symbols": {"M": 128}, "threads": 1,
//      "operands": {"x": "x.npy", ...}, "copies": 1, "output": "y.npy"}
//         {"target": ..., "form": ..., "compile_ms": ...}, the output written
//     {"op": "sample", "seconds": 0.02}
//         {"seconds": of a run, "runs": 5, "interrupted": false}
//     {"op": "peak", "instruction": "vpdpbusd zmm", "threads": 1}
//         {"operations": per second, "counts": true, "clock": ...}
//     {"op": "read", "level": "memory", "threads": 1}
//         {"bytes": per second}
//
// Whatever fails is answered by {"error": MESSAGE}, and the next request is
// read. Peers speak the same protocol (worker.py).
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Compiler.h"
#include "quern/io.h"
#include "quern/quern.h"
#include "runtime/measure/Machine.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <iostream>
#include <map>

using namespace quern;
using namespace quern::measure;

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

static double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

namespace {

/// Ends a request.
struct Failure {
  std::string message;
};

template <typename T> T orFail(Result<T> result) {
  if (!result)
    throw Failure{result.error().render()};
  if constexpr (!std::is_void_v<T>)
    return std::move(*result);
}

/// What can be measured of the machine, by the name of its instruction.
const Dot dots[] = {
    {DotKind::Vpdpbusd, 512},  {DotKind::Vdpbf16ps, 512},
    {DotKind::Fma, 512},       {DotKind::Fma, 256},
    {DotKind::Pmaddubsw, 256}, {DotKind::Pmaddwd, 256},
    {DotKind::Pmaddwd, 128},   {DotKind::MulAdd, 128},
};

/// A layer with its operands, ready to run.
class Prepared {
public:
  explicit Prepared(const Json &request);
  void run();
  Json answer;

private:
  std::optional<Layer> layer;
  std::vector<Tensor> owned;
  std::vector<TensorView> inputs, outputs;
  std::vector<Weights> weights;
  std::optional<Context> context;
  size_t turn = 0;
};

class Driver {
public:
  Json handle(const Json &request);

private:
  Machine &machine(unsigned threads);
  Json sample(double seconds);

  std::optional<Prepared> prepared;
  std::map<unsigned, std::unique_ptr<Machine>> machines;
};

} // namespace

Prepared::Prepared(const Json &request) {
  std::string text = request.at("layer");
  CompileRequest compile;
  compile.source = text;
  compile.name = "layer";
  compile.target = orFail(Target::parse("cpu"));
  Clock::time_point start = Clock::now();
  CompileOutput output = orFail(compileLayer(compile));
  answer["compile_ms"] = 1e3 * secondsSince(start);
  answer["target"] = output.module.variants.front().target;
  std::string form;
  for (const LaunchDesc &launch : output.module.variants.front().launches)
    if (launch.phase == LaunchPhase::Run)
      form += fmt::format(
          "{}{}", form.empty() ? "" : "; ",
          output.module.variants.front().kernels[launch.kernel].name);
  answer["form"] = form;
  LoadOptions options;
  options.executor = makeExecutor(request.at("threads").get<unsigned>());
  layer = orFail(load(output.module.serialize(), options));
  std::vector<SymbolRange> values;
  for (const auto &[name, value] : request.at("symbols").items())
    values.push_back({name, value.get<int64_t>(), value.get<int64_t>()});
  std::vector<TensorView> constant;
  owned.reserve(layer->operands().size());
  for (const Operand &operand : layer->operands()) {
    if (operand.role == Operand::Role::Output) {
      Shape shape = orFail(layer->shapeOf(operand.name, values));
      owned.push_back(orFail(Tensor::zeros(operand.dtype, shape)));
      outputs.emplace_back(owned.back());
    } else {
      const Json &files = request.at("operands");
      if (!files.contains(operand.name))
        throw Failure{fmt::format("no file for operand {}", operand.name)};
      Tensor read = orFail(readNpy(files.at(operand.name).get<std::string>()));
      // The format has neither bf16 nor 4-bit codes: such values arrive as f32
      // or as bytes.
      if (operand.dtype != read.dtype())
        read = orFail(
            Tensor::fromFloats(operand.dtype, read.shape(), read.toFloats()));
      owned.push_back(std::move(read));
      (operand.role == Operand::Role::Weight ? constant : inputs)
          .emplace_back(owned.back());
    }
  }
  for (TensorView &view : constant)
    view.name = {};
  unsigned copies = request.value("copies", 1u);
  for (unsigned i = 0; i < copies; ++i)
    weights.push_back(orFail(layer->bindWeights(
        constant, copies == 1 ? WeightMemory::Borrow : WeightMemory::Copy)));
  context.emplace(orFail(layer->makeContext(weights.front(), values)));
  run();
  if (request.contains("output")) {
    const TensorView &result = outputs.front();
    std::string path = request.at("output");
    if (result.dtype == DType::BF16) {
      std::vector<float> floats = owned.back().toFloats();
      orFail(
          writeNpy(path, TensorView(DType::F32, result.shape, floats.data())));
    } else {
      orFail(writeNpy(path, result));
    }
  }
}

void Prepared::run() {
  if (weights.size() > 1) {
    turn = (turn + 1) % weights.size();
    orFail(context->setWeights(weights[turn]));
  }
  orFail(context->run(inputs, outputs));
}

Machine &Driver::machine(unsigned threads) {
  std::unique_ptr<Machine> &known = machines[threads];
  if (!known)
    known = orFail(Machine::create(threads));
  return *known;
}

Json Driver::sample(double seconds) {
  if (!prepared)
    throw Failure{"nothing is prepared"};
  prepared->run(); // Brings back what others took from caches.
  long before = interruptions();
  std::vector<double> times;
  Clock::time_point start = Clock::now();
  do {
    Clock::time_point one = Clock::now();
    prepared->run();
    times.push_back(secondsSince(one));
  } while (secondsSince(start) < seconds || times.size() < 3);
  std::sort(times.begin(), times.end());
  return {{"seconds", times[times.size() / 2]},
          {"runs", times.size()},
          {"interrupted", interruptions() != before}};
}

Json Driver::handle(const Json &request) {
  std::string op = request.at("op");
  if (op == "hello") {
    Json names = Json::array();
    for (const Dot &dot : dots)
      if (canRun(dot))
        names.push_back(dot.name());
    std::string_view build = compilerBuildId();
    if (build.starts_with("quern "))
      build.remove_prefix(6);
    return {{"versions", {{"quern", std::string(build)}}},
            {"instructions", names},
            {"processor", processorName()},
            {"l3", cachesHere().l3},
            {"cpus", availableCpus()}};
  }
  if (op == "prepare") {
    prepared.reset();
    prepared.emplace(request);
    return prepared->answer;
  }
  if (op == "sample")
    return sample(request.at("seconds"));
  unsigned threads = request.value("threads", 1u);
  if (op == "peak") {
    std::string wanted = request.at("instruction");
    for (const Dot &dot : dots)
      if (dot.name() == wanted && canRun(dot)) {
        Peak peak = machine(threads).peak(dot);
        return {{"operations", peak.operations},
                {"counts", peak.counts()},
                {"per_cycle", peak.perCycle},
                {"clock", peak.clock}};
      }
    throw Failure{fmt::format("{} cannot be measured here", wanted)};
  }
  if (op == "read") {
    std::string wanted = request.at("level");
    Machine &here = machine(threads);
    for (size_t i = 0; i < here.levels().size(); ++i)
      if (name(here.levels()[i].level) == wanted)
        return {{"bytes", orFail(here.read(i))}};
    throw Failure{fmt::format("reads from {} cannot be measured here", wanted)};
  }
  throw Failure{fmt::format("there is no request {}", op)};
}

int main() {
  Driver driver;
  for (std::string line; std::getline(std::cin, line);) {
    Json answer;
    try {
      answer = driver.handle(Json::parse(line));
    } catch (const Failure &failure) {
      answer = {{"error", failure.message}};
    } catch (const std::exception &error) {
      answer = {{"error", error.what()}};
    }
    fmt::print("{}\n",
               answer.dump(-1, ' ', false, Json::error_handler_t::replace));
    std::fflush(stdout);
  }
  return 0;
}
