//===- PackedCases.cpp - Layers over codes of four bits -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Rows of odd and even length, on either side of a product, along the summed
// axis and across it, with scales and zero points of every granularity: what is
// read begins in either half of a byte.
//
//===----------------------------------------------------------------------===//

#include "tests/ops/OpCases.h"

using namespace quern::test;

static const std::vector<std::vector<int64_t>> rows = {{0}, {1}, {7}, {33}};

static const std::vector<std::vector<int64_t>> many = {{3}, {9}, {41}, {130}};

const std::vector<OpCase> &quern::test::packedCases() {
  static const std::vector<OpCase> cases = {
      {"dequantize",
       "layer t(q: {T}[M, 300] * f32[M, 300/128]) -> f32[M, 300] {\n"
       "  return dequantize(q)\n}",
       rows,
       {"i4", "u4"}},
      {"dequantize_odd",
       "layer t(q: {T}[B, M, 37] * f16[B, M, 37/5], i: i32[N]) -> f32[N, M, "
       "37] with B in 1..9 {\n  return gather(dequantize(q), i)\n}",
       {{1, 1, 1}, {3, 7, 5}, {9, 0, 2}},
       {"i4", "u4"}},
      {"dequantize_zeros",
       "layer t(q: ({T}[M, 301] - {T}[M, 301/64]) * bf16[M, 301/64]) -> "
       "f32[301, M] {\n  return dequantize(q).T\n}",
       rows,
       {"i4", "u4"}},
      {"dequantize_slices",
       "layer t(q: {T}[M, 2*K] per token) -> (f32[M, K], f32[M, K-1]) with K "
       "in "
       "1..100 {\n  y = dequantize(q)\n"
       "  return y[:, 0:K] * y[:, K:2*K], y[:, 1:K]\n}",
       {{0, 5}, {3, 100}, {7, 33}, {2, 1}},
       {"i4", "u4"}},
      {"linear",
       "layer t(x: {T}[M, 70], weight w: i4[45, 70] * f32[45, 1]) -> f32[M, "
       "45] {\n  return quantize(x, i8 per token) @ w.T\n}",
       rows},
      {"linear_odd",
       "layer t(x: f16[M, 131], weight w: {T}[45, 131] * f32[45, 1]) -> "
       "f16[M, 45] {\n  return quantize(x, i8 per token) @ w.T\n}",
       rows,
       {"i4", "u4"}},
      {"linear_groups",
       "layer t(x: {T}[M, 256], weight w: i4[40, 256] * f16[40, 256/32]) -> "
       "{T}[M, 40] {\n  return quantize(x, i8 per token) @ w.T\n}",
       rows},
      {"linear_groups_both",
       "layer t(x: f16[M, 512], weight w: {T}[40, 512] * bf16[40, 512/128]) -> "
       "f16[M, 40] {\n  return quantize(x, i8 per group(64)) @ w.T\n}",
       rows,
       {"i4", "u4"}},
      {"linear_odd_groups",
       "layer t(x: f16[M, 130], weight w: {T}[45, 130] * f32[45, 130/20]) -> "
       "f32[M, 45] {\n  return quantize(x, i8 per group(20)) @ w.T\n}",
       rows,
       {"i4", "u4"}},
      {"linear_groups_of_seven",
       "layer t(x: f16[M, 71], weight w: {T}[9, 71] * f32[9, 71/7]) -> "
       "f32[M, 9] {\n  return quantize(x, u8 per token) @ w.T\n}",
       rows,
       {"i4", "u4"}},
      {"linear_zeros",
       "layer t(x: f16[M, 70], weight w: ({T}[45, 70] - {T}[45, 1]) * f32[45, "
       "1]) -> f32[M, 45] {\n"
       "  return quantize(x, (u8 - u8) per token) @ w.T\n}",
       rows,
       {"i4", "u4"}},
      {"linear_zeros_groups",
       "layer t(x: {T}[M, 160], weight w: (u4[41, 160] - u4[41, 160/32]) * "
       "f16[41, 160/32]) -> {T}[M, 41] {\n"
       "  return quantize(x, i8 per token) @ w.T\n}",
       rows},
      {"linear_zeros_of_both",
       "layer t(x: f16[M, 165], weight w: ({T}[41, 165] - {T}[41, 165/33]) * "
       "f16[41, 165/33]) -> f32[M, 41] {\n"
       "  return quantize(x, (i8 - i8) per group(33)) @ w.T\n}",
       rows,
       {"i4", "u4"}},
      {"linear_untransposed",
       "layer t(x: f16[M, 64], weight w: {T}[64, 45] * f32[1, 45]) -> f32[M, "
       "45] {\n  return quantize(x, i8 per token) @ w\n}",
       rows,
       {"i4", "u4"}},
      {"linear_zeros_untransposed",
       "layer t(x: f16[M, 130], weight w: ({T}[130, 40] - {T}[130/20, 40/16]) "
       "* f32[130/20, 40/16]) -> f32[M, 40] {\n"
       "  return quantize(x, i8 per token) @ w\n}",
       rows,
       {"i4", "u4"}},
      // Several chunks of panels that many rows take apart.
      {"linear_chunks",
       "layer t(x: f16[M, 1301], weight w: {T}[70, 1301] * f32[70, 1]) -> "
       "f32[M, 70] {\n  return quantize(x, i8 per token) @ w.T\n}",
       many,
       {"i4", "u4"}},
      {"linear_chunks_of_groups",
       "layer t(x: f16[M, 2100], weight w: {T}[70, 2100] * f32[70, 2100/64]) "
       "-> f32[M, 70] {\n  return quantize(x, i8 per token) @ w.T\n}",
       many,
       {"i4", "u4"}},
      {"linear_chunks_of_odd_groups",
       "layer t(x: f16[M, 1100], weight w: {T}[33, 1100] * f16[33, 1100/20]) "
       "-> f32[M, 33] {\n  return quantize(x, (u8 - u8) per token) @ w.T\n}",
       many,
       {"i4", "u4"}},
      {"linear_chunks_of_long_groups",
       "layer t(x: f16[M, 1500], weight w: ({T}[33, 1500] - {T}[33, 1500/700]) "
       "* f16[33, 1500/700]) -> f32[M, 33] {\n"
       "  return quantize(x, i8 per token) @ w.T\n}",
       many,
       {"i4", "u4"}},
      {"gated_chunks",
       "layer t(x: f16[M, 700], weight a: {T}[48, 700] * f32[48, 700/32], "
       "weight b: {T}[48, 700] * f32[48, 700/32]) -> f16[M, 48] {\n"
       "  q = quantize(x, i8 per token)\n"
       "  return silu(q @ a.T) * (q @ b.T) as f16\n}",
       many,
       {"i4", "u4"}},
      // Left rows of one product lie otherwise than those of the other.
      {"groups_beside_rows",
       "layer t(x: (i8[M, 48] - i8) per tensor, y: i8[M, 48] per token, weight "
       "w: {T}[32, 48] per group(6), weight v: {T}[32, 48] per channel) -> "
       "(f32[M, 32], f32[M, 32]) {\n  return x @ w.T, y @ v.T\n}",
       {{3}, {8}, {17}},
       {"i4", "i8"}},
      {"groups_beside_groups",
       "layer t(x: (i8[M, 48] - i8) per tensor, weight w: {T}[32, 48] per "
       "group(3), weight v: {T}[32, 48] per group(8)) -> (f32[M, 32], f32[M, "
       "32]) {\n  return x @ w.T, x @ v.T\n}",
       {{3}, {8}, {17}},
       {"i4", "u4", "i8"}},
      {"untransposed_any_length",
       "layer t(x: f16[M, K], weight w: {T}[K, 5] * f32[1, 5]) -> f32[M, 5] "
       "with K in 0..300 {\n  return quantize(x, i8 per token) @ w\n}",
       {{3, 0}, {1, 1}, {7, 299}},
       {"i4", "i8"}},
      {"zeros_of_one_element",
       "layer t(x: f16[M, 1], weight w: ({T}[5, 1] - {T}[5, 1]) * f32[5, 1]) "
       "-> f32[M, 5] {\n  return quantize(x, (u8 - u8) per token) @ w.T\n}",
       {{0}, {1}, {33}},
       {"i4", "i8"}},
      {"long_groups_of_any_length",
       "layer t(x: f16[M, K], w: {T}[33, K] per group(4096), v: {T}[33, K] per "
       "group(5000)) -> (f32[M, 33], f32[M, 33]) with K in 1..6000 {\n"
       "  q = quantize(x, i8 per token)\n  return q @ w.T, q @ v.T\n}",
       {{1, 5}, {17, 70}, {9, 5999}},
       {"i4", "u4"}},
      {"linear_any_length",
       "layer t(x: f16[M, K], w: {T}[5, K] per group(32)) -> f32[M, 5] with K "
       "in 0..300 {\n  return quantize(x, i8 per token) @ w.T\n}",
       {{1, 33}, {2, 0}, {3, 1}, {7, 300}, {0, 64}},
       {"i4", "u4"}},
      {"both_packed",
       "layer t(a: u4[M, 77] per token, b: {T}[N, 77] per channel) -> f32[M, "
       "N] "
       "{\n  return a @ b.T\n}",
       {{1, 1}, {7, 33}, {0, 4}, {33, 130}},
       {"i4", "u4"}},
      {"left_packed",
       "layer t(a: ({T}[M, 90] - {T}[M, 90/30]) * f32[M, 90/30], weight w: "
       "i8[33, 90] * f32[33, 1], weight b: f32[33]) -> f16[M, 33] {\n"
       "  return gelu(a @ w.T + b) as f16\n}",
       rows,
       {"i4", "u4"}},
      {"batch",
       "layer t(x: f16[B, M, 70], weight w: u4[45, 70] per group(16) * f16, "
       "v: i4[B, 45, 9] * f32[B, 1, 9]) -> f32[B, M, 9] {\n"
       "  y = quantize(x, i8 per token) @ w.T\n"
       "  return quantize(y, i8 per token) @ v\n}",
       {{1, 1}, {3, 7}, {0, 4}},
       {""}},
      {"gated",
       "layer t(x: f16[M, 64], weight a: {T}[48, 64] * f32[48, 1], weight b: "
       "{T}[48, 64] * f32[48, 1]) -> f16[M, 48] {\n"
       "  q = quantize(x, i8 per token)\n"
       "  return silu(q @ a.T) * (q @ b.T) as f16\n}",
       rows,
       {"i4", "u4"}},
      {"weight_only",
       "layer t(x: bf16[M, 65], weight w: {T}[40, 65] * f32[40, 1]) -> f32[M, "
       "40] {\n  return x @ w.T\n}",
       rows,
       {"i4", "u4"}},
      {"weight_only_groups",
       "layer t(x: {T}[M, 96], weight w: (u4[40, 96] - u4[40, 96/32]) * "
       "f16[40, "
       "96/32]) -> {T}[M, 40] {\n  return x @ w.T\n}",
       rows,
       {"f16", "bf16"}},
  };
  return cases;
}
