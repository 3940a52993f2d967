// RUN: quern-opt %s -quern-infer-scale-placement | FileCheck %s

!row = !quern.qtensor<tensor<4x256xi8>, #quern.scale<block = [1, 0], type = f32>>
!group = !quern.qtensor<tensor<8x256xi8>, #quern.scale<block = [1, 128], type = f32>>
!channel = !quern.qtensor<tensor<8x256xi8>, #quern.scale<block = [1, 256], type = f32>>

// CHECK-LABEL: func.func @epilogue
func.func @epilogue(%x: !row, %w: !channel) {
  // A block that covers the axis does not vary along it.
  // CHECK: quern.lhs_placement = "epilogue: the scale does not vary along the contracted axis"
  // CHECK-SAME: quern.rhs_placement = "epilogue: the scale does not vary along the contracted axis"
  %0 = quern.matmul %x, %w transpose_rhs : !row, !channel -> tensor<4x8xf32>
  return
}

// CHECK-LABEL: func.func @split
func.func @split(%x: !row, %w: !group) {
  // CHECK: quern.lhs_placement = "epilogue: the scale does not vary along the contracted axis"
  // CHECK-SAME: quern.rhs_placement = "split(128): the scale varies every 128 elements of the contracted axis"
  %0 = quern.matmul %x, %w transpose_rhs : !row, !group -> tensor<4x8xf32>
  return
}

// CHECK-LABEL: func.func @prologue
func.func @prologue(%x: tensor<4x256xf16>, %w: !group) {
  // CHECK: quern.rhs_placement = "prologue: the other operand is not quantized, so this one is dequantized as it is loaded"
  %0 = quern.matmul %x, %w transpose_rhs : tensor<4x256xf16>, !group -> tensor<4x8xf32>
  return
}

#k = affine_map<()[s0] -> (8, s0)>
!long = !quern.qtensor<tensor<8x?xi8, #k>, #quern.scale<block = [1, 0], type = f32>>

// K may be longer than an i32 sum is exact for.
// CHECK-LABEL: func.func @overflow
func.func @overflow(%x: !long) attributes {quern.symbols = [#quern.symbol<"K", 1, 200000, 1>]} {
  // CHECK: quern.lhs_placement = "epilogue: {{.*}} the sum is cut every 130944 products so that i32 cannot overflow"
  %0 = quern.matmul %x, %x transpose_rhs : !long, !long -> tensor<8x8xf32>
  return
}
