//===- OpCases.cpp - Every operation as a small layer ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/ops/OpCases.h"

using namespace quern::test;

/// Row counts that meet no block, one, and the edges of tiles.
static const std::vector<std::vector<int64_t>> rows = {{0}, {1}, {7}, {33}};

const std::vector<OpCase> &quern::test::opCases() {
  static const std::vector<OpCase> cases = {
      // Element-wise.
      {"add",
       "layer t(a: {T}[M, 37], b: {T}[37]) -> {T}[M, 37] {\n"
       "  return a + b\n}",
       rows},
      {"sub_mul",
       "layer t(a: {T}[M, 37], b: {T}[M, 1]) -> {T}[M, 37] {\n"
       "  return (a - b) * a\n}",
       rows},
      {"div",
       "layer t(a: {T}[M, 19], b: {T}[M, 19]) -> {T}[M, 19] {\n"
       "  return a / b\n}",
       rows},
      {"max_min",
       "layer t(a: {T}[M, 37], b: {T}[M, 37]) -> {T}[M, 37] {\n"
       "  return max(a, b) - min(a, b)\n}",
       rows},
      {"neg_abs",
       "layer t(a: {T}[M, 37]) -> {T}[M, 37] {\n"
       "  return -a + abs(a)\n}",
       rows},
      {"relu", "layer t(a: {T}[M, 37]) -> {T}[M, 37] {\n  return relu(a)\n}",
       rows},
      {"sqrt",
       "layer t(a: {T}[M, 37]) -> {T}[M, 37] {\n"
       "  return sqrt(abs(a))\n}",
       rows},
      {"exp", "layer t(a: {T}[M, 37]) -> {T}[M, 37] {\n  return exp(a)\n}",
       rows},
      {"tanh", "layer t(a: {T}[M, 37]) -> {T}[M, 37] {\n  return tanh(a)\n}",
       rows},
      {"erf", "layer t(a: {T}[M, 37]) -> {T}[M, 37] {\n  return erf(a)\n}",
       rows},
      {"sigmoid",
       "layer t(a: {T}[M, 37]) -> {T}[M, 37] {\n  return sigmoid(a)\n}", rows},
      {"silu", "layer t(a: {T}[M, 37]) -> {T}[M, 37] {\n  return silu(a)\n}",
       rows},
      {"gelu", "layer t(a: {T}[M, 37]) -> {T}[M, 37] {\n  return gelu(a)\n}",
       rows},
      {"gelu_tanh",
       "layer t(a: {T}[M, 37]) -> {T}[M, 37] {\n  return gelu(a, tanh)\n}",
       rows},
      {"cast",
       "layer t(a: {T}[M, 37]) -> f32[M, 37] {\n"
       "  return (a as f16) as f32\n}",
       rows},
      {"constant",
       "layer t(a: {T}[M, 37]) -> {T}[M, 37] {\n"
       "  return a * 0.5 + 2\n}",
       rows},
      {"compare_select",
       "layer t(a: {T}[M, 37], b: {T}[M, 37]) -> {T}[M, 37] {\n"
       "  return where(a < b, a, b * 2)\n}",
       rows},
      // Reductions and rows.
      {"sum",
       "layer t(a: {T}[M, 300]) -> {T}[M, 1] {\n"
       "  return sum(a, axis=-1)\n}",
       rows},
      {"mean_center",
       "layer t(a: {T}[M, 300]) -> {T}[M, 300] {\n"
       "  return a - mean(a, axis=-1)\n}",
       rows},
      {"amax",
       "layer t(a: {T}[M, 300]) -> {T}[M, 1] {\n"
       "  return amax(a, axis=-1)\n}",
       rows},
      {"absmax_columns",
       "layer t(a: {T}[M, 30]) -> f32[1, 30] {\n"
       "  return absmax(a, axis=0)\n}",
       {{1}, {7}, {33}}},
      {"softmax",
       "layer t(a: {T}[M, 300]) -> {T}[M, 300] {\n  return softmax(a)\n}",
       rows},
      {"rmsnorm",
       "layer t(a: {T}[M, 300], w: {T}[300]) -> {T}[M, 300] {\n"
       "  return rmsnorm(a, w, eps=1e-5)\n}",
       rows},
      {"layernorm",
       "layer t(a: {T}[M, 300], w: {T}[300], b: {T}[300]) -> {T}[M, 300] {\n"
       "  return layernorm(a, w, b, eps=1e-5)\n}",
       rows},
      // Shapes.
      {"reshape",
       "layer t(a: {T}[M, 24]) -> {T}[M, 4, 6] {\n"
       "  return reshape(a, [M, 4, 6]) + 1\n}",
       rows},
      {"transpose",
       "layer t(a: {T}[M, 24]) -> {T}[24, M] {\n"
       "  return transpose(a, [1, 0])\n}",
       rows},
      {"slice",
       "layer t(a: {T}[M, 24]) -> {T}[M, 5] {\n"
       "  return a[0:M, 3:13:2]\n}",
       rows},
      {"concat",
       "layer t(a: {T}[M, 24], b: {T}[M, 9]) -> {T}[M, 33] {\n"
       "  return concat(a, b, axis=1)\n}",
       rows},
      {"concat_symbols",
       "layer t(a: {T}[M, 5], b: {T}[N, 5]) -> {T}[M + N, 5] {\n"
       "  return concat(a, b, axis=0)\n}",
       {{0, 3}, {4, 0}, {7, 9}}},
      {"gather",
       "layer t(table: {T}[50, 24], i: i32[M]) -> {T}[M, 24] {\n"
       "  return gather(table, i)\n}",
       rows},
      // Quantization: any block, any length.
      {"quantize_token",
       "layer t(a: {T}[M, 300]) -> i8[M, 300] * f32[M, 1] {\n"
       "  return quantize(a, i8 per token)\n}",
       rows},
      {"quantize_u8",
       "layer t(a: {T}[M, 300]) -> u8[M, 300] * f32[M, 1] {\n"
       "  return quantize(relu(a), u8 per token)\n}",
       rows},
      {"quantize_tensor",
       "layer t(a: {T}[M, 300]) -> i8[M, 300] * f32[1, 1] {\n"
       "  return quantize(a, i8 per tensor)\n}",
       {{1}, {7}, {33}}},
      {"quantize_group",
       "layer t(a: {T}[M, 300]) -> i8[M, 300] * f32[M, 300/128] {\n"
       "  return quantize(a, i8 per group(128))\n}",
       rows},
      {"quantize_block",
       "layer t(a: {T}[M, 50]) -> i8[M, 50] * f32[M/4, 50/7] {\n"
       "  return quantize(a, i8 per block(4, 7))\n}",
       rows},
      // Rows of one element more than vectors hold, stored in an order in which
      // a store beyond the row would overwrite another.
      {"quantize_shared_rows",
       "layer t(a: {T}[4, 3, 33]) -> i8[4, 3, 33] * f32[1, 3, 1] {\n"
       "  return quantize(a, i8[4, 3, 33] * f32[1, 3, 1])\n}",
       {{}}},
      {"quantize_static",
       "layer t(a: {T}[M, 300], s: f32[1, 1]) -> i8[M, 300] * f32[1, 1] {\n"
       "  return quantize(a, i8 per tensor, scale = s)\n}",
       rows},
      {"quantize_away",
       "layer t(a: {T}[M, 300]) -> i8[M, 300] * f16[M, 1] {\n"
       "  return quantize(a, i8 per token * f16, rounding = half_away)\n}",
       rows},
      {"quantize_zeros",
       "layer t(a: {T}[M, 300]) -> (u8[M, 300] - u8[M, 1]) * f32[M, 1] {\n"
       "  return quantize(a, (u8 - u8) per token)\n}",
       rows},
      {"quantize_zeros_i8_groups",
       "layer t(a: {T}[M, 300]) -> (i8[M, 300] - i8[M, 300/128]) * f16[M, "
       "300/128] {\n"
       "  return quantize(a, (i8 - i8) per group(128) * f16)\n}",
       rows},
      {"quantize_zeros_tensor",
       "layer t(a: {T}[M, 50]) -> f32[M, 50] {\n"
       "  return dequantize(quantize(a, (u8 - u8) per tensor, rounding = "
       "half_away))\n}",
       {{1}, {7}, {33}}},
      {"quantize_zeros_static",
       "layer t(a: {T}[M, 300], s: f32[1, 1], z: u8[1, 1]) -> (u8[M, 300] - "
       "u8[1, 1]) * f32[1, 1] {\n"
       "  return quantize(a, (u8 - u8) per tensor, scale = s, zero = z)\n}",
       rows},
      // Ranges of codes that 0, or a zero point, is not in: of NaN, too.
      {"quantize_range_above_zero",
       "layer t(a: {T}[M, 300]) -> i8[M, 300] * f32[M, 1] {\n"
       "  return quantize(a, i8 per token, qmin = 5, qmax = 100)\n}",
       rows},
      {"quantize_zeros_range",
       "layer t(a: {T}[M, 300]) -> (u8[M, 300] - u8[M, 1]) * f32[M, 1] {\n"
       "  return quantize(a, (u8 - u8) per token, qmin = 5, qmax = 200)\n}",
       rows},
      {"quantize_zeros_beyond_range",
       "layer t(a: {T}[M, 300], s: f32[M, 1], z: i8[M, 1]) -> (i8[M, 300] - "
       "i8[M, 1]) * f32[M, 1] {\n"
       "  return quantize(a, (i8 - i8) per token, scale = s, zero = z, "
       "qmin = -10, qmax = 10)\n}",
       rows},
      {"quantize_f8_not_negative",
       "layer t(a: {T}[M, 300]) -> f8e4m3[M, 300] * f32[M, 1] {\n"
       "  return quantize(a, f8e4m3 per token, qmin = 0)\n}",
       rows},
      {"quantize_f8",
       "layer t(a: {T}[M, 300]) -> f8e4m3[M, 300] * f32[M, 1] {\n"
       "  return quantize(a, f8e4m3 per token)\n}",
       rows},
      // Scales that are powers of two; the extremes of the types among them.
      {"quantize_power_ceil",
       "layer t(a: {T}[M, 300]) -> f8e4m3[M, 300] * f32[M, 300/32] {\n"
       "  return quantize(a, f8e4m3 per group(32), scale_rounding = "
       "power_ceil)\n}",
       rows},
      {"quantize_power_floor",
       "layer t(a: {T}[M, 300]) -> f8e5m2[M, 300] * f16[M, 1] {\n"
       "  return quantize(a * 1000, f8e5m2 per token * f16, scale_rounding = "
       "power_floor, divisor = 3)\n}",
       rows},
      {"quantize_power_even",
       "layer t(a: {T}[M, 300]) -> (u8[M, 300] - u8[M/3, 1]) * bf16[M/3, 1] "
       "{\n"
       "  return quantize(a, (u8 - u8) per tokens(3) * bf16, scale_rounding = "
       "power_even)\n}",
       rows},
      // One scale for some tokens, of which the last block may have fewer.
      {"quantize_tokens",
       "layer t(a: {T}[M, K]) -> i8[M, K] * f32[M/4, 1] {\n"
       "  return quantize(a, i8 per tokens(4))\n}",
       {{1, 5}, {7, 64}, {33, 130}, {0, 3}}},
      // What outliers do not move, and what a sample says.
      {"quantize_percentile",
       "layer t(a: {T}[M, 300]) -> i8[M, 300] * f32[M, 1] {\n"
       "  return quantize(a, i8 per token, statistic = percentile(99))\n}",
       rows},
      {"quantize_percentile_groups",
       "layer t(a: {T}[M, K]) -> f8e4m3[M, K] * f16[M, K/50] {\n"
       "  return quantize(a, f8e4m3 per group(50) * f16, statistic = "
       "percentile(92.5), scale_rounding = power_ceil)\n}",
       {{1, 5}, {7, 64}, {33, 130}, {0, 3}}},
      {"quantize_percentile_tensor",
       "layer t(a: {T}[M, 33]) -> f32[M, 33] {\n"
       "  return dequantize(quantize(silu(a), i8 per tensor, statistic = "
       "percentile(50)))\n}",
       {{1}, {7}, {33}}},
      {"quantize_sampled",
       "layer t(a: {T}[M, 300]) -> i8[M, 300] * f32[M, 1] {\n"
       "  return quantize(a, i8 per token, statistic = sampled(7))\n}",
       rows},
      {"quantize_sampled_groups",
       "layer t(a: {T}[M, K]) -> u8[M, K] * bf16[M/3, K/64] {\n"
       "  return quantize(relu(a), u8 per block(3, 64) * bf16, statistic = "
       "sampled(16))\n}",
       {{1, 5}, {7, 64}, {33, 130}, {0, 3}}},
      {"quantize_sampled_tensor",
       "layer t(a: {T}[M, K]) -> i8[M, K] * f32[1, 1] {\n"
       "  return quantize(a, i8 per tensor, statistic = sampled(2))\n}",
       {{1, 5}, {7, 64}, {33, 130}}},
      // State: what is assigned, in any order, to one another.
      {"state",
       "layer t(a: {T}[M, 37], inout s: {T}[M, 37], inout n: i32[3, 5], inout "
       "m: i32[3, 5]) -> {T}[M, 37] {\n"
       "  old = n\n  n = m\n  m = old\n  y = s * 2\n  s = s + a\n"
       "  return y - s\n}",
       rows},
      {"quantize_predicted",
       "layer t(a: {T}[M, 300], inout s: f32[1, 1], inout n: i32[1, 1]) -> "
       "i8[M, 300] * f32[1, 1] {\n"
       "  return quantize(a, i8 per tensor, predicted = s, clipped = n)\n}",
       {{1}, {7}, {33}, {0}}},
      {"quantize_predicted_rows",
       "layer t(a: {T}[M, 300], inout s: f32[M/3, 3], inout n: i32[M/3, 3]) -> "
       "f8e4m3[M, 300] * f16[M/3, 3] {\n"
       "  return quantize(a * 100, f8e4m3 per block(3, 100) * f16, predicted = "
       "s, clipped = n, decay = 0.5, scale_rounding = power_even, divisor = "
       "200)\n}",
       rows},
      {"quantize_predicted_rounding",
       "layer t(a: {T}[M, 40], inout s: f32[1, 40], inout n: i32[1, 40]) -> "
       "u8[M, 40] * bf16[1, 40] {\n"
       "  return quantize(a, u8[M, 40] * bf16[1, 40], predicted = s, clipped = "
       "n, rounding = toward_zero, decay = 1)\n}",
       rows},
      {"quantize_f8_static",
       "layer t(a: {T}[M, 300], s: bf16[1, 1]) -> f8e5m2[M, 300] * bf16[1, "
       "1] {\n  return quantize(a, f8e5m2 per tensor * bf16, scale = s)\n}",
       rows},
      {"quantize_f8_block",
       "layer t(a: {T}[M, 50]) -> f8e5m2[M, 50] * f16[M/4, 50/7] {\n"
       "  return quantize(a, f8e5m2 per block(4, 7) * f16)\n}",
       rows},
      {"cast_f8",
       "layer t(a: f32[M, 37]) -> {T}[M, 37] {\n"
       "  return ((a as {T}) as f32) * 2 as {T}\n}",
       rows,
       {"f8e4m3", "f8e5m2", "bf16"}},
      {"shapes_f8",
       "layer t(a: {T}[M, 24], b: {T}[M, 9]) -> {T}[33, M] {\n"
       "  return transpose(concat(a, b, axis=1), [1, 0])\n}",
       rows,
       {"f8e4m3", "f8e5m2"}},
      {"dequantize_zeros",
       "layer t(q: ({T}[M, 300] - {T}[M, 300/128]) * f32[M, 300/128]) -> "
       "f32[M, "
       "300] {\n  return dequantize(q)\n}",
       rows,
       {"i8", "u8"}},
      {"dequantize",
       "layer t(q: {T}[M, 300] * f32[M, 300/128]) -> f32[M, 300] {\n"
       "  return dequantize(q)\n}",
       rows,
       {"i8", "u8", "f8e4m3", "f8e5m2"}},
      // Products.
      {"linear_i8",
       "layer t(x: {T}[M, 70], weight w: i8[45, 70] * f32[45, 1]) -> f32[M, "
       "45] {\n  return quantize(x, i8 per token) @ w.T\n}",
       rows},
      {"linear_i8_bias_gelu",
       "layer t(x: {T}[M, 64], weight w: i8[48, 64] * f32[48, 1], weight b: "
       "f32[48]) -> {T}[M, 48] {\n"
       "  return gelu(quantize(x, i8 per token) @ w.T + b)\n}",
       rows},
      {"linear_i8_per_tensor",
       "layer t(x: {T}[M, 64], s: f32[1, 1], weight w: i8[48, 64] * f32[1, "
       "1]) -> f32[M, 48] {\n"
       "  return quantize(x, i8 per tensor, scale = s) @ w.T\n}",
       rows},
      {"linear_i8_groups",
       "layer t(x: {T}[M, 256], weight w: i8[40, 256] * f32[40, 256/64]) -> "
       "f32[M, 40] {\n  return quantize(x, i8 per group(128)) @ w.T\n}",
       rows},
      {"linear_i8_blocks",
       "layer t(x: {T}[M, 256], weight w: i8[80, 256] * f32[80/32, 256/128]) "
       "-> f32[M, 80] {\n  return quantize(x, i8 per group(128)) @ w.T\n}",
       rows},
      {"linear_u8",
       "layer t(x: {T}[M, 70], weight w: i8[45, 70] * f32[45, 1]) -> f32[M, "
       "45] {\n  return quantize(relu(x), u8 per token) @ w.T\n}",
       rows},
      {"linear_u8_u8",
       "layer t(x: {T}[M, 96], weight w: u8[45, 96] * f32[45, 1]) -> f32[M, "
       "45] {\n  return quantize(relu(x), u8 per token) @ w.T\n}",
       rows},
      {"linear_i8_u8_groups",
       "layer t(x: {T}[M, 96], weight w: u8[45, 96] * f16[45, 96/32]) -> "
       "f32[M, 45] {\n  return quantize(x, i8 per token) @ w.T\n}",
       rows},
      // Groups of one operand alone: the other one's scale is behind the sum.
      {"linear_i8_groups_channel",
       "layer t(x: {T}[M, 160], weight w: i8[45, 160] * f16[45, 1], b: "
       "f32[45]) -> {T}[M, 45] {\n"
       "  return gelu(quantize(x, i8 per group(64)) @ w.T + b)\n}",
       rows},
      {"linear_zeros_groups_tensor",
       "layer t(x: f16[M, 160], weight w: (u8[45, 160] - u8[1, 1]) * f32[1, "
       "1]) -> f32[M, 45] {\n"
       "  return quantize(x, (u8 - u8) per group(32)) @ w.T\n}",
       rows,
       {""}},
      {"linear_tokens_groups",
       "layer t(x: f16[M, 160], weight w: i8[160, 45] * f16[160/32, 45]) -> "
       "f32[M, 45] {\n  return quantize(x, i8 per tokens(4)) @ w\n}",
       rows,
       {""}},
      {"linear_f8_token_groups",
       "layer t(x: f16[M, 160], weight w: f8e4m3[45, 160] * f16[45, 160/64]) "
       "-> f32[M, 45] {\n  return quantize(x, f8e5m2 per token) @ w.T\n}",
       rows,
       {""}},
      {"gated_token_groups",
       "layer t(x: f16[M, 128], weight a: i8[48, 128] * f16[48, 128/32], "
       "weight b: i8[48, 128] * f16[48, 128/32]) -> i8[M, 48] * f32[M, 1] {\n"
       "  q = quantize(x, i8 per token)\n"
       "  return quantize(silu(q @ a.T) * (q @ b.T), i8 per token)\n}",
       rows,
       {""}},
      // Groups no matrix instruction ends with.
      {"linear_i8_odd_groups",
       "layer t(x: {T}[M, 130], weight w: i8[45, 130] * f32[45, 130/20]) -> "
       "f32[M, 45] {\n  return quantize(x, i8 per group(20)) @ w.T\n}",
       rows},
      {"linear_zeros",
       "layer t(x: {T}[M, 70], weight w: (u8[45, 70] - u8[45, 1]) * f32[45, "
       "1]) "
       "-> f32[M, 45] {\n"
       "  return quantize(x, (u8 - u8) per token) @ w.T\n}",
       rows},
      {"linear_zeros_left",
       "layer t(x: {T}[M, 70], weight w: i8[45, 70] * f32[45, 1], b: f32[45]) "
       "-> {T}[M, 45] {\n"
       "  return gelu(quantize(x, (i8 - i8) per token) @ w.T + b)\n}",
       rows},
      {"linear_zeros_right",
       "layer t(x: {T}[M, 70], weight w: (i8[70, 45] - i8[1, 45]) * f32[1, "
       "45]) "
       "-> f32[M, 45] {\n"
       "  return quantize(x, i8 per token) @ w\n}",
       rows},
      {"linear_zeros_tensor",
       "layer t(x: {T}[M, 64], s: f32[1, 1], z: u8[1, 1], weight w: (i8[48, "
       "64] - i8[1, 1]) * f32[1, 1]) -> f32[M, 48] {\n"
       "  return quantize(x, (u8 - u8) per tensor, scale = s, zero = z) @ "
       "w.T\n}",
       rows},
      {"linear_zeros_groups",
       "layer t(x: {T}[M, 160], weight w: (u8[40, 160] - u8[40, 160/32]) * "
       "f16[40, 160/32]) -> f32[M, 40] {\n"
       "  return quantize(x, (u8 - u8) per group(64)) @ w.T\n}",
       rows},
      {"linear_zeros_blocks",
       "layer t(x: {T}[M, 130], weight w: (i8[130, 40] - i8[130/20, 40/16]) * "
       "f32[130/20, 40/16]) -> f32[M, 40] {\n"
       "  return quantize(x, i8 per token) @ w\n}",
       rows},
      {"linear_zeros_batch",
       "layer t(x: f16[B, M, 70], weight w: (u8[45, 70] - u8[45, 1]) * f32[45, "
       "1]) -> f32[B, M, 45] {\n"
       "  return quantize(x, (u8 - u8) per token) @ w.T\n}",
       {{1, 1}, {3, 7}, {0, 4}},
       {""}},
      {"linear_zeros_long",
       "layer t(x: f16[M, 33100], weight w: (u8[3, 33100] - u8[3, 1]) * f32[3, "
       "1]) -> f32[M, 3] {\n"
       "  return quantize(x, (u8 - u8) per token) @ w.T\n}",
       {{1}, {5}},
       {""}},
      {"gated_zeros",
       "layer t(x: f16[M, 64], weight a: (u8[48, 64] - u8[48, 1]) * f32[48, "
       "1], "
       "weight b: (u8[48, 64] - u8[48, 1]) * f32[48, 1]) -> f16[M, 48] {\n"
       "  q = quantize(x, (u8 - u8) per token)\n"
       "  return silu(q @ a.T) * (q @ b.T) as f16\n}",
       rows,
       {""}},
      {"weight_only_zeros",
       "layer t(x: bf16[M, 96], weight w: (u8[40, 96] - u8[40, 96/32]) * "
       "f16[40, 96/32]) -> f32[M, 40] {\n  return x @ w.T\n}",
       rows,
       {""}},
      {"linear_untransposed",
       "layer t(x: {T}[M, 64], weight w: i8[64, 48] * f32[1, 48]) -> f32[M, "
       "48] {\n  return quantize(x, i8 per token) @ w\n}",
       rows},
      // Beyond what an i32 sum holds.
      {"linear_long_k",
       "layer t(x: f16[M, 131200], weight w: i8[3, 131200] * f32[3, 1]) -> "
       "f32[M, 3] {\n  return quantize(x, i8 per token) @ w.T\n}",
       {{1}, {5}},
       {""}},
      {"linear_long_symbol",
       "layer t(x: f16[M, K], w: i8[3, K] * f32[3, 1]) -> f32[M, 3] {\n"
       "  return quantize(x, i8 per token) @ w.T\n}",
       {{1, 33}, {2, 0}, {2, 131200}},
       {""}},
      {"linear_long_u8",
       "layer t(x: f16[M, 66000], weight w: {T}[3, 66000] * f32[3, 1]) -> "
       "f32[M, 3] {\n  return quantize(relu(x), u8 per token) @ w.T\n}",
       {{1}, {5}},
       {"i8", "u8"}},
      {"gated",
       "layer t(x: f16[M, 64], weight a: i8[48, 64] * f32[48, 1], weight b: "
       "i8[48, 64] * f32[48, 1]) -> f16[M, 48] {\n"
       "  q = quantize(x, i8 per token)\n"
       "  return silu(q @ a.T) * (q @ b.T) as f16\n}",
       rows,
       {""}},
      {"matmul_float",
       "layer t(a: {T}[M, 64], b: {T}[40, 64]) -> f32[M, 40] {\n"
       "  return a @ b.T\n}",
       rows,
       {"f16", "bf16"}},
      {"matmul_f32",
       "layer t(a: f32[M, 64], b: f32[40, 64]) -> f32[M, 40] {\n"
       "  return a @ b.T\n}",
       rows,
       {""},
       "f32"},
      {"matmul_batch",
       "layer t(a: {T}[3, M, 64], b: {T}[3, N, 64]) -> f32[3, M, N] {\n"
       "  return a @ b.T\n}",
       {{1, 1}, {7, 33}, {0, 4}},
       {"f16", "bf16", "f8e4m3", "f8e5m2"}},
      // A weight shared by a batch of symbolic size is packed once.
      {"linear_i8_batch",
       "layer t(x: f16[B, M, 70], weight w: i8[45, 70] * f32[45, 1]) -> "
       "f32[B, M, 45] {\n  return quantize(x, i8 per token) @ w.T\n}",
       {{1, 1}, {3, 7}, {0, 4}},
       {""}},
      {"linear_i8_groups_batch",
       "layer t(x: f16[B, M, 96], weight w: i8[40, 96] * f32[40, 96/32]) -> "
       "f32[B, M, 40] {\n  return quantize(x, i8 per group(32)) @ w.T\n}",
       {{1, 1}, {3, 7}},
       {""}},
      {"matmul_i8_activations",
       "layer t(a: f16[M, 64], b: f16[N, 64]) -> f32[M, N] {\n"
       "  return quantize(a, i8 per token) @ quantize(b, i8 per token).T\n}",
       {{1, 1}, {7, 33}, {33, 130}},
       {""}},
      {"weight_only",
       "layer t(x: bf16[M, 64], weight w: {T}[40, 64] * f32[40, 1]) -> f32[M, "
       "40] {\n  return x @ w.T\n}",
       rows,
       {"i8", "u8", "f8e4m3"}},
      {"weight_only_groups",
       "layer t(x: f16[M, 96], weight w: {T}[40, 96] * f16[40, 96/32]) -> "
       "f16[M, 40] {\n  return x @ w.T\n}",
       rows,
       {"i8", "f8e5m2"}},
      {"linear_f8",
       "layer t(x: f16[M, 256], weight w: {T}[40, 256] * f32[40/16, "
       "256/128]) -> f32[M, 40] {\n"
       "  return quantize(x, f8e4m3 per group(128)) @ w.T\n}",
       rows,
       {"f8e4m3", "f8e5m2"}},
      {"linear_f8_token",
       "layer t(x: {T}[M, 300], weight w: f8e4m3[40, 300] * f32[40, 1]) -> "
       "{T}[M, 40] {\n  return quantize(x, f8e4m3 per token) @ w.T\n}",
       rows},
      {"linear_f8_tensor",
       "layer t(x: bf16[M, 300], s: f32[1, 1], weight w: {T}[40, 300] * f32[1, "
       "1]) -> bf16[M, 40] {\n"
       "  return quantize(x, {T} per tensor, scale = s) @ w.T\n}",
       rows,
       {"f8e4m3", "f8e5m2"}},
      {"linear_f8_odd_groups",
       "layer t(x: f16[M, 130], weight w: f8e4m3[40, 130] * f32[40, 130/20]) "
       "-> f32[M, 40] {\n"
       "  return quantize(x, f8e4m3 per group(20)) @ w.T\n}",
       rows,
       {""}},
      {"linear_f8_untransposed",
       "layer t(x: f16[M, 70], weight w: f8e4m3[70, 48] * f32[1, 48]) -> "
       "f32[M, 48] {\n  return quantize(x, f8e4m3 per token) @ w\n}",
       rows,
       {""}},
      {"linear_f8_requantized",
       "layer t(x: f16[M, 128], weight w: f8e4m3[64, 128] * f32[64, 1]) -> "
       "f8e4m3[M, 64] * f32[M, 1] {\n"
       "  return quantize(silu(quantize(x, f8e4m3 per token) @ w.T), f8e4m3 "
       "per token)\n}",
       rows,
       {""}},
      {"gated_f8",
       "layer t(x: bf16[M, 160], weight a: f8e4m3[48, 160] * f32[48/32, "
       "160/32], weight b: f8e4m3[48, 160] * f32[48/32, 160/32]) -> bf16[M, "
       "48] {\n"
       "  q = quantize(x, f8e4m3 per group(32))\n"
       "  return silu(q @ a.T) * (q @ b.T) as bf16\n}",
       rows,
       {""}},
      // Several results, and chains.
      {"several_results",
       "layer t(a: {T}[M, 64]) -> (y: {T}[M, 64], q: i8[M, 64] * f32[M, 1]) "
       "{\n  b = silu(a)\n  return b, quantize(b, i8 per token)\n}",
       rows},
      {"norm_quantize_linear",
       "layer t(x: {T}[M, 64], weight n: {T}[64], weight w: i8[48, 64] * "
       "f32[48, 1]) -> {T}[M, 48] {\n"
       "  return quantize(rmsnorm(x, n, eps=1e-6), i8 per token) @ w.T\n}",
       rows},
  };
  return cases;
}
