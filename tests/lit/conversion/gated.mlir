// Two products with a common left operand become two terms.
// RUN: quern-opt %s -quern-to-tile -split-input-file | FileCheck %s
// RUN: quern-opt %s -quern-to-tile -split-input-file | tile-opt -split-input-file

// CHECK-LABEL: tile.kernel @quern_gated_0_gated_product
// CHECK-SAME: numerics_class = 2
// CHECK: tile.contract {{.*}}num_lhs = 1 : i64, terms = array<i64: 0, 0, 0, 1>} epilogue (%{{.*}}: index, %{{.*}}: index, %[[A:.*]]: f32, %[[B:.*]]: f32) {
// CHECK: %[[ONE:.*]] = arith.constant 1.000000e+00 : f32
// CHECK: %[[N:.*]] = arith.negf %[[A]]
// CHECK: %[[E:.*]] = math.exp %[[N]]
// CHECK: %[[D:.*]] = arith.addf %[[ONE]], %[[E]]
// CHECK: %[[S:.*]] = arith.divf %[[A]], %[[D]]
// The rounding of a declared type happens inside the kernel too.
// CHECK: %[[H:.*]] = arith.truncf %[[S]] : f32 to bf16
// CHECK: %[[R:.*]] = arith.extf %[[H]] : bf16 to f32
// CHECK: arith.mulf %[[R]],
// CHECK-COUNT-3: operand
func.func @gated(%x: tensor<8x64xbf16>, %g: tensor<16x64xbf16>, %u: tensor<16x64xbf16>) -> tensor<8x16xbf16> {
  %0 = quern.matmul %x, %g transpose_rhs : tensor<8x64xbf16>, tensor<16x64xbf16> -> tensor<8x16xf32>
  %1 = quern.matmul %x, %u transpose_rhs : tensor<8x64xbf16>, tensor<16x64xbf16> -> tensor<8x16xf32>
  %2 = quern.silu %0 : tensor<8x16xf32> -> tensor<8x16xf32>
  %3 = quern.cast %2 : tensor<8x16xf32> -> tensor<8x16xbf16>
  %4 = quern.cast %1 : tensor<8x16xf32> -> tensor<8x16xbf16>
  %5 = quern.mul %3, %4 : tensor<8x16xbf16>, tensor<8x16xbf16> -> tensor<8x16xbf16>
  return %5 : tensor<8x16xbf16>
}

// -----
// A dequantizing prologue computes in the operand region.
!w = !quern.qtensor<tensor<16x64xi8>, #quern.scale<block = [1, 32], type = f16>>
// CHECK-LABEL: tile.kernel @quern_weight_only_0_product
// CHECK: } operand (%[[N:.*]]: index, %[[K:.*]]: index) {
// CHECK: %[[C:.*]] = tile.load %{{.*}} at #{{.*}}(%[[N]], %[[K]]) : <() -> (16, 64), i8> -> i8
// CHECK: %[[F:.*]] = arith.sitofp %[[C]]
// CHECK: %[[S:.*]] = tile.load %{{.*}} at #{{.*}}(%[[N]], %[[K]]) : <() -> (16, 2), f16> -> f16
// CHECK: %[[G:.*]] = arith.extf %[[S]]
// CHECK: %[[V:.*]] = arith.mulf %[[F]], %[[G]]
// CHECK: %[[B:.*]] = arith.truncf %[[V]] : f32 to bf16
// CHECK: tile.yield %[[B]] : bf16
func.func @weight_only(%x: tensor<8x64xbf16>, %w: !w) -> tensor<8x16xf32> {
  %0 = quern.matmul %x, %w transpose_rhs : tensor<8x64xbf16>, !w -> tensor<8x16xf32>
  return %0 : tensor<8x16xf32>
}

// -----
// Batches, and a right operand as [K, N].
#a = affine_map<()[s0, s1] -> (s0, 2, s1, 64)>
#b = affine_map<()[s0, s1] -> (s0, 2, 64, s1)>
#c = affine_map<()[s0, s1] -> (s0, 2, s1, s1)>
// CHECK-DAG: #[[SWAP:.*]] = affine_map<(d0, d1, d2, d3)[s0, s1] -> (d0, d1, d3, d2)>
// CHECK-LABEL: tile.kernel @quern_batches_0_product
// CHECK: tile.contract {extents = #{{.*}}, num_batch = 2 : i64
// CHECK: operand
// CHECK: operand
// CHECK: tile.load %{{.*}} at #[[SWAP]]
func.func @batches(%x: tensor<?x2x?x64xf16, #a>, %w: tensor<?x2x64x?xf16, #b>) -> tensor<?x2x?x?xf32, #c>
    attributes {quern.symbols = [#quern.symbol<"B", 0, 64, 1>, #quern.symbol<"M", 0, 64, 1>]} {
  %0 = quern.matmul %x, %w : tensor<?x2x?x64xf16, #a>, tensor<?x2x64x?xf16, #b> -> tensor<?x2x?x?xf32, #c>
  return %0 : tensor<?x2x?x?xf32, #c>
}
