// Scales that vary along the contracted axis rescale each block's sum.
// RUN: quern-opt %s -quern-to-tile -split-input-file | FileCheck %s
// RUN: quern-opt %s -quern-to-tile -split-input-file | tile-opt -split-input-file

// Activations of 1 x 128, weights of 128 x 128.
!x = !quern.qtensor<tensor<64x512xf8E4M3FN>, #quern.scale<block = [1, 128], type = f32>>
!w = !quern.qtensor<tensor<256x512xf8E4M3FN>, #quern.scale<block = [128, 128], type = f32>>
// CHECK-DAG: #[[ID:.*]] = affine_map<(d0, d1) -> (d0, d1)>
// CHECK-DAG: #[[BLOCK:.*]] = affine_map<(d0, d1) -> (d0 floordiv 128, d1)>
// CHECK-LABEL: tile.kernel @quern_fp8_0_product
// CHECK-SAME: numerics_class = 2
// CHECK: tile.contract {{.*}}split = 128 : i64{{.*}} epilogue (%{{.*}}: index, %{{.*}}: index, %[[ACC:.*]]: f32) {
// CHECK-NEXT: tile.store %[[ACC]]
// CHECK: } rescale (%[[M:.*]]: index, %[[N:.*]]: index, %[[KB:.*]]: index) {
// CHECK: %[[A:.*]] = tile.load %{{.*}} at #[[ID]](%[[M]], %[[KB]]) : <() -> (64, 4), f32>
// CHECK: %[[B:.*]] = tile.load %{{.*}} at #[[BLOCK]](%[[N]], %[[KB]]) : <() -> (2, 4), f32>
// CHECK: %[[F:.*]] = arith.mulf %[[A]], %[[B]] : f32
// CHECK: tile.yield %[[F]]
// CHECK: } operand
// CHECK: %[[C:.*]] = tile.load {{.*}} -> f8E4M3FN
// CHECK-NEXT: tile.yield %[[C]] : f8E4M3FN
func.func @fp8(%x: !x, %w: !w) -> tensor<64x256xf32> {
  %y = quern.matmul %x, %w transpose_rhs : !x, !w -> tensor<64x256xf32>
  return %y : tensor<64x256xf32>
}

// -----
// A group of 32 beside one of 64: the sum is cut every 32.
!a = !quern.qtensor<tensor<64x512xui8>, #quern.scale<block = [1, 32], type = f32>>
!b = !quern.qtensor<tensor<512x256xi8>, #quern.scale<block = [64, 1], type = f16>>
// CHECK-DAG: #[[HALF:.*]] = affine_map<(d0, d1) -> (d1 floordiv 2, d0)>
// CHECK-LABEL: tile.kernel @quern_mixed_0_product
// CHECK-SAME: numerics_class = 0
// CHECK: tile.contract {{.*}}lhs_unsigned{{.*}}split = 32
// CHECK: } rescale (%[[M:.*]]: index, %[[N:.*]]: index, %[[KB:.*]]: index) {
// CHECK: %[[S:.*]] = tile.load %{{.*}} at #{{.*}}(%[[N]], %[[KB]]) : <() -> (8, 256), f16>
// CHECK: arith.extf %[[S]] : f16 to f32
func.func @mixed(%x: !a, %w: !b) -> tensor<64x256xf32> {
  %y = quern.matmul %x, %w : !a, !b -> tensor<64x256xf32>
  return %y : tensor<64x256xf32>
}

// -----
// Too long for i32: cut, with factors of 1, and the scales afterwards.
!l = !quern.qtensor<tensor<4x200000xi8>, #quern.scale<block = [1, 0], type = f32>>
// CHECK-LABEL: tile.kernel @quern_long_0_product
// CHECK: tile.contract {{.*}}split = 130944 : i64{{.*}} epilogue
// CHECK: arith.mulf
// CHECK: arith.mulf
// CHECK: } rescale
// CHECK: %[[ONE:.*]] = arith.constant 1.000000e+00 : f32
// CHECK: tile.yield %[[ONE]]
func.func @long(%x: !l) -> tensor<4x4xf32> {
  %y = quern.matmul %x, %x transpose_rhs : !l, !l -> tensor<4x4xf32>
  return %y : tensor<4x4xf32>
}
