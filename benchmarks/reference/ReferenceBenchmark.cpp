//===- ReferenceBenchmark.cpp - The speed of the interpreters -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A SwiGLU feed-forward block of real size (d = 4096, h = 11008) at M rows,
// and single products, in both modes. The counter MAC/s counts the products'
// multiplications only, while the time includes quantization and everything
// else the layer does.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Interpreter.h"
#include "compiler/reference/RandomInputs.h"
#include "dialects/quern/IR/Quern.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"

#include <benchmark/benchmark.h>

using namespace quern::reference;

static const char *const swiglu = R"(
!x = tensor<?x4096xf16, affine_map<()[s0] -> (s0, 4096)>>
!xq = !quern.qtensor<tensor<?x4096xi8, affine_map<()[s0] -> (s0, 4096)>>, #quern.scale<block = [1, 0], type = f32>>
!h = tensor<?x11008xf32, affine_map<()[s0] -> (s0, 11008)>>
!h16 = tensor<?x11008xf16, affine_map<()[s0] -> (s0, 11008)>>
!hq = !quern.qtensor<tensor<?x11008xi8, affine_map<()[s0] -> (s0, 11008)>>, #quern.scale<block = [1, 0], type = f32>>
!y = tensor<?x4096xf32, affine_map<()[s0] -> (s0, 4096)>>
!up = !quern.qtensor<tensor<11008x4096xi8>, #quern.scale<block = [1, 0], type = f32>>
!down = !quern.qtensor<tensor<4096x11008xi8>, #quern.scale<block = [1, 0], type = f32>>
func.func @layer(%x: !x, %wg: !up {quern.weight}, %wu: !up {quern.weight}, %wd: !down {quern.weight}) -> !x
    attributes {quern.symbols = [#quern.symbol<"M", 1, 4096, 1>]} {
  %xq = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.17549435E-38> : !x -> !xq
  %g = quern.matmul %xq, %wg transpose_rhs : !xq, !up -> !h
  %s = quern.silu %g : !h -> !h
  %u = quern.matmul %xq, %wu transpose_rhs : !xq, !up -> !h
  %p = quern.mul %s, %u : !h, !h -> !h
  %h = quern.cast %p : !h -> !h16
  %hq = quern.quantize %h <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.17549435E-38> : !h16 -> !hq
  %d = quern.matmul %hq, %wd transpose_rhs : !hq, !down -> !y
  %y = quern.cast %d : !y -> !x
  return %y : !x
})";

static const char *const groups = R"(
!x = !quern.qtensor<tensor<?x4096xi8, affine_map<()[s0] -> (s0, 4096)>>, #quern.scale<block = [1, 128], type = f32>>
!w = !quern.qtensor<tensor<4096x4096xi8>, #quern.scale<block = [128, 128], type = f32>>
!y = tensor<?x4096xf32, affine_map<()[s0] -> (s0, 4096)>>
func.func @layer(%x: !x, %w: !w {quern.weight}) -> !y attributes {quern.symbols = [#quern.symbol<"M", 1, 4096, 1>]} {
  %y = quern.matmul %x, %w transpose_rhs : !x, !w -> !y
  return %y : !y
})";

static const char *const halves = R"(
!x = tensor<?x4096xf16, affine_map<()[s0] -> (s0, 4096)>>
!w = tensor<4096x4096xf16>
!y = tensor<?x4096xf32, affine_map<()[s0] -> (s0, 4096)>>
func.func @layer(%x: !x, %w: !w {quern.weight}) -> !y attributes {quern.symbols = [#quern.symbol<"M", 1, 4096, 1>]} {
  %y = quern.matmul %x, %w transpose_rhs : !x, !w -> !y
  return %y : !y
})";

static void interpretLayer(benchmark::State &state, const char *text,
                           int64_t macsPerRow, Mode mode) {
  mlir::MLIRContext context;
  context.loadDialect<quern::ir::QuernDialect, mlir::func::FuncDialect>();
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  if (!module)
    return state.SkipWithError("the layer does not parse");
  auto layer = *module->getOps<mlir::func::FuncOp>().begin();
  int64_t m = state.range(0);
  auto inputs = randomInputs(layer, {m}, 1);
  if (!inputs)
    return state.SkipWithError(inputs.error().message.c_str());
  for (auto _ : state) {
    auto results = interpret(layer, *inputs, mode, {2});
    if (!results)
      return state.SkipWithError(results.error().message.c_str());
    benchmark::DoNotOptimize(results->front().bytes.data());
  }
  state.counters["MAC/s"] =
      benchmark::Counter(static_cast<double>(m * macsPerRow),
                         benchmark::Counter::kIsIterationInvariantRate);
}

BENCHMARK_CAPTURE(interpretLayer, swiglu_exact, swiglu, 3ll * 4096 * 11008,
                  Mode::Exact)
    ->Arg(1)
    ->Arg(64)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(interpretLayer, swiglu_real, swiglu, 3ll * 4096 * 11008,
                  Mode::Real)
    ->Arg(64)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(interpretLayer, groups_exact, groups, 4096ll * 4096,
                  Mode::Exact)
    ->Arg(64)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(interpretLayer, f16_exact, halves, 4096ll * 4096, Mode::Exact)
    ->Arg(64)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
