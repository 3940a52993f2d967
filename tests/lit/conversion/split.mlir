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
// A scale per token beside groups: the group's scale alone is the factor, and
// the token's multiplies the sum. Beside a scale per channel it is the reverse.
!t = !quern.qtensor<tensor<64x512xi8>, #quern.scale<block = [1, 0], type = f32>>
!g = !quern.qtensor<tensor<256x512xi8>, #quern.scale<block = [1, 128], type = f32>>
!xg = !quern.qtensor<tensor<64x512xi8>, #quern.scale<block = [1, 128], type = f32>>
!c = !quern.qtensor<tensor<256x512xi8>, #quern.scale<block = [1, 0], type = f32>>
// CHECK-LABEL: tile.kernel @quern_token_0_product
// CHECK: tile.contract {{.*}}split = 128 : i64{{.*}} epilogue (%[[M:.*]]: index, %{{.*}}: index, %[[ACC:.*]]: f32) {
// CHECK-NEXT: %[[A:.*]] = tile.load %{{.*}} at #{{.*}}(%[[M]]) : <() -> (64, 1), f32>
// CHECK-NEXT: %[[Y:.*]] = arith.mulf %[[ACC]], %[[A]] : f32
// CHECK-NEXT: tile.store %[[Y]]
// CHECK: } rescale (%{{.*}}: index, %[[N:.*]]: index, %[[KB:.*]]: index) {
// CHECK-NEXT: %[[B:.*]] = tile.load %{{.*}} at #{{.*}}(%[[N]], %[[KB]]) : <() -> (256, 4), f32>
// CHECK-NEXT: tile.yield %[[B]]
func.func @token(%x: !t, %w: !g) -> tensor<64x256xf32> {
  %y = quern.matmul %x, %w transpose_rhs : !t, !g -> tensor<64x256xf32>
  return %y : tensor<64x256xf32>
}

// CHECK-LABEL: tile.kernel @quern_channel_0_product
// CHECK: tile.contract {{.*}}split = 128 : i64{{.*}} epilogue (%{{.*}}: index, %[[N:.*]]: index, %[[ACC:.*]]: f32) {
// CHECK-NEXT: %[[B:.*]] = tile.load %{{.*}} at #{{.*}}(%[[N]]) : <() -> (256, 1), f32>
// CHECK-NEXT: %[[Y:.*]] = arith.mulf %[[ACC]], %[[B]] : f32
// CHECK-NEXT: tile.store %[[Y]]
// CHECK: } rescale (%[[M:.*]]: index, %{{.*}}: index, %[[KB:.*]]: index) {
// CHECK-NEXT: %[[A:.*]] = tile.load %{{.*}} at #{{.*}}(%[[M]], %[[KB]]) : <() -> (64, 4), f32>
// CHECK-NEXT: tile.yield %[[A]]
func.func @channel(%x: !xg, %w: !c) -> tensor<64x256xf32> {
  %y = quern.matmul %x, %w transpose_rhs : !xg, !c -> tensor<64x256xf32>
  return %y : tensor<64x256xf32>
}

// Two terms, each with its own group's scale; the token's is read once for both.
// CHECK-LABEL: tile.kernel @quern_gated_0_gated_product
// CHECK: tile.contract {{.*}}split = 128 : i64, terms = array<i64: 0, 0, 0, 1>} epilogue (%[[M:.*]]: index, %{{.*}}: index, %[[ACC0:.*]]: f32, %[[ACC1:.*]]: f32) {
// CHECK: %[[A:.*]] = tile.load %{{.*}} at #{{.*}}(%[[M]]) : <() -> (64, 1), f32>
// CHECK: arith.mulf %[[ACC0]], %[[A]] : f32
// CHECK: arith.mulf %[[ACC1]], %[[A]] : f32
// CHECK: } rescale
// CHECK-NEXT: %[[U:.*]] = tile.load
// CHECK-NEXT: %[[V:.*]] = tile.load
// CHECK-NEXT: tile.yield %[[U]], %[[V]]
func.func @gated(%x: !t, %v: !g, %w: !g) -> tensor<64x256xf32> {
  %a = quern.matmul %x, %v transpose_rhs : !t, !g -> tensor<64x256xf32>
  %b = quern.matmul %x, %w transpose_rhs : !t, !g -> tensor<64x256xf32>
  %y = quern.mul %a, %b : tensor<64x256xf32>, tensor<64x256xf32> -> tensor<64x256xf32>
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
