// RUN: quern-opt %s -quern-hoist-scales | FileCheck %s

!row = !quern.qtensor<tensor<4x256xi8>, #quern.scale<block = [1, 0], type = f32>>
!channel = !quern.qtensor<tensor<8x256xi8>, #quern.scale<block = [1, 0], type = f32>>
!group = !quern.qtensor<tensor<8x256xui8>, #quern.scale<block = [1, 128], type = f16>>

// CHECK-LABEL: func.func @epilogue
// CHECK-SAME: %[[X:.*]]: !quern.qtensor<tensor<4x256xi8>{{.*}}, %[[W:[a-z0-9]+]]:
func.func @epilogue(%x: !row, %w: !channel) -> tensor<4x8xf32> {
  // CHECK-DAG: %[[CX:.*]] = quern.codes %[[X]]
  // CHECK-DAG: %[[SX:.*]] = quern.scales %[[X]]
  // CHECK-DAG: %[[CW:.*]] = quern.codes %[[W]]
  // CHECK-DAG: %[[SW:.*]] = quern.scales %[[W]]
  // CHECK: %[[ACC:.*]] = quern.contract %[[CX]], %[[CW]] {transpose_rhs} : {{.*}} -> tensor<4x8xi32>
  // CHECK: %[[F:.*]] = quern.cast %[[ACC]]
  // CHECK: %[[L:.*]] = quern.mul %[[F]], %[[SX]] {{.*}} : tensor<4x8xf32>, tensor<4x1xf32>
  // CHECK: %[[T:.*]] = quern.transpose %[[SW]] [1, 0] : tensor<8x1xf32> -> tensor<1x8xf32>
  // CHECK: %[[R:.*]] = quern.mul %[[L]], %[[T]] {quern.part = "product"}
  // CHECK: return %[[R]]
  %0 = quern.matmul %x, %w transpose_rhs : !row, !channel -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// One factor for 3 rows at a time is repeated; one for all broadcasts.
!tile = !quern.qtensor<tensor<4x256xi8>, #quern.scale<block = [3, 0], type = f32>>
!all = !quern.qtensor<tensor<256x8xi8>, #quern.scale<block = [0, 0], type = bf16>>
// CHECK-LABEL: func.func @blocks
func.func @blocks(%x: !tile, %w: !all) -> tensor<4x8xf32> {
  // CHECK: quern.contract %{{.*}}, %{{.*}} : tensor<4x256xi8>, tensor<256x8xi8> -> tensor<4x8xi32>
  // CHECK: %[[E:.*]] = quern.expand_scales %{{.*}} block [3, 1] : tensor<2x1xf32> -> tensor<4x1xf32>
  // CHECK: quern.mul %{{.*}}, %[[E]]
  // CHECK: %[[S:.*]] = quern.cast %{{.*}} : tensor<1x1xbf16> -> tensor<1x1xf32>
  // CHECK: quern.mul %{{.*}}, %[[S]]
  %0 = quern.matmul %x, %w : !tile, !all -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// Of a split product only the scales that vary along K stay in the sum.
// CHECK-LABEL: func.func @split
// CHECK-SAME: %[[X:.*]]: !quern.qtensor<tensor<4x256xi8>{{.*}}, %[[W:[a-z0-9]+]]:
func.func @split(%x: !row, %w: !group) -> tensor<4x8xf32> {
  // CHECK-DAG: %[[SX:.*]] = quern.scales %[[X]]
  // CHECK-DAG: %[[SW:.*]] = quern.scales %[[W]]
  // CHECK: %[[ACC:.*]] = quern.contract %{{.*}}, %{{.*}} rhs_scales %[[SW]] : tensor<8x2xf16> {rhs_block = array<i64: 1, 128>, split = 128 : i64, transpose_rhs} : tensor<4x256xi8>, tensor<8x256xui8> -> tensor<4x8xf32>
  // CHECK-NEXT: %[[R:.*]] = quern.mul %[[ACC]], %[[SX]] {quern.part = "product"} : tensor<4x8xf32>, tensor<4x1xf32>
  // CHECK-NEXT: return %[[R]]
  %0 = quern.matmul %x, %w transpose_rhs : !row, !group -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

!rowgroup = !quern.qtensor<tensor<4x256xi8>, #quern.scale<block = [1, 128], type = f32>>
// CHECK-LABEL: func.func @split_left
// CHECK-SAME: %[[X:.*]]: !quern.qtensor<tensor<4x256xi8>{{.*}}, %[[W:[a-z0-9]+]]:
func.func @split_left(%x: !rowgroup, %w: !channel) -> tensor<4x8xf32> {
  // CHECK-DAG: %[[SX:.*]] = quern.scales %[[X]]
  // CHECK-DAG: %[[SW:.*]] = quern.scales %[[W]]
  // CHECK: %[[ACC:.*]] = quern.contract %{{.*}}, %{{.*}} lhs_scales %[[SX]] : tensor<4x2xf32> {lhs_block = array<i64: 1, 128>, split = 128 : i64, transpose_rhs} : {{.*}} -> tensor<4x8xf32>
  // CHECK-NEXT: %[[T:.*]] = quern.transpose %[[SW]] [1, 0]
  // CHECK-NEXT: %[[R:.*]] = quern.mul %[[ACC]], %[[T]] {quern.part = "product"}
  // CHECK-NEXT: return %[[R]]
  %0 = quern.matmul %x, %w transpose_rhs : !rowgroup, !channel -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// CHECK-LABEL: func.func @split_both
func.func @split_both(%x: !rowgroup, %w: !group) -> tensor<4x8xf32> {
  // CHECK: %[[R:.*]] = quern.contract %{{.*}}, %{{.*}} lhs_scales %{{.*}} : tensor<4x2xf32> rhs_scales %{{.*}} : tensor<8x2xf16> {lhs_block = array<i64: 1, 128>, rhs_block = array<i64: 1, 128>, split = 128 : i64, transpose_rhs}
  // CHECK-NEXT: return %[[R]]
  %0 = quern.matmul %x, %w transpose_rhs : !rowgroup, !group -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// The zero point of all of K is in the parts, and its scale is not.
!rowzero = !quern.qtensor<tensor<4x256xui8>, #quern.scale<block = [1, 0], type = f32>, zeros = ui8>
// CHECK-LABEL: func.func @split_row_zeros
func.func @split_row_zeros(%x: !rowzero, %w: !group) -> tensor<4x8xf32> {
  // CHECK: %[[ACC:.*]] = quern.contract %{{.*}}, %{{.*}} rhs_scales %{{.*}} : tensor<8x2xf16> lhs_zeros %{{.*}}, %{{.*}} : tensor<4x1xui8>, tensor<8x2xi32> {lhs_block = array<i64: 1, 0>, rhs_block = array<i64: 1, 128>, split = 128 : i64, transpose_rhs}
  // CHECK-NEXT: quern.mul %[[ACC]], %{{.*}} {quern.part = "product"} : tensor<4x8xf32>, tensor<4x1xf32>
  %0 = quern.matmul %x, %w transpose_rhs : !rowzero, !group -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// A quantized operand beside a float one is dequantized to its type.
// CHECK-LABEL: func.func @prologue
func.func @prologue(%x: tensor<4x256xf16>, %w: !group) -> tensor<4x8xf32> {
  // CHECK: %[[D:.*]] = quern.dequantize
  // CHECK: %[[H:.*]] = quern.cast %[[D]] {{.*}} -> tensor<8x256xf16>
  // CHECK: quern.contract %{{.*}}, %[[H]] {transpose_rhs} : {{.*}} -> tensor<4x8xf32>
  %0 = quern.matmul %x, %w transpose_rhs : tensor<4x256xf16>, !group -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// 8-bit float codes are multiplied as they are.
!f8 = !quern.qtensor<tensor<4x256xf8E4M3FN>, #quern.scale<block = [1, 0], type = f32>>
// CHECK-LABEL: func.func @float_codes
func.func @float_codes(%x: !f8) -> tensor<4x4xf32> {
  // CHECK: quern.contract %{{.*}}, %{{.*}} {transpose_rhs} : tensor<4x256xf8E4M3FN>, tensor<4x256xf8E4M3FN> -> tensor<4x4xf32>
  // CHECK-NOT: quern.cast
  // CHECK: quern.mul
  // CHECK: quern.mul
  %0 = quern.matmul %x, %x transpose_rhs : !f8, !f8 -> tensor<4x4xf32>
  return %0 : tensor<4x4xf32>
}

// The exact sum of u8 by i8 ends at 65,793 products.
!u = !quern.qtensor<tensor<4x65793xui8>, #quern.scale<block = [1, 0], type = f32>>
!i = !quern.qtensor<tensor<8x65793xi8>, #quern.scale<block = [1, 0], type = f32>>
// CHECK-LABEL: func.func @long
func.func @long(%x: !u, %w: !i) -> tensor<4x8xf32> {
  // CHECK: %[[ACC:.*]] = quern.contract %{{.*}}, %{{.*}} {split = 65792 : i64, transpose_rhs} : {{.*}} -> tensor<4x8xf32>
  // CHECK: quern.mul %[[ACC]]
  %0 = quern.matmul %x, %w transpose_rhs : !u, !i -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// Batches of the left operand share a right operand of rank 2.
#b = affine_map<()[s0, s1] -> (s0, s1, 64)>
!batch = !quern.qtensor<tensor<?x?x64xi8, #b>, #quern.scale<block = [0, 1, 0], type = f32>>
!shared = !quern.qtensor<tensor<8x64xi8>, #quern.scale<block = [1, 0], type = f32>>
#r = affine_map<()[s0, s1] -> (s0, s1, 8)>
// CHECK-LABEL: func.func @batch
func.func @batch(%x: !batch, %w: !shared) -> tensor<?x?x8xf32, #r> {
  // CHECK: quern.mul %{{.*}}, %{{.*}} : tensor<?x?x8xf32, #{{.*}}>, tensor<1x?x1xf32, #{{.*}}>
  // CHECK: quern.mul %{{.*}}, %{{.*}} : tensor<?x?x8xf32, #{{.*}}>, tensor<1x8xf32>
  %0 = quern.matmul %x, %w transpose_rhs : !batch, !shared -> tensor<?x?x8xf32, #r>
  return %0 : tensor<?x?x8xf32, #r>
}

// Zero points: the raw sum is corrected by sums of codes, in i32.
!zrow = !quern.qtensor<tensor<4x256xui8>, #quern.scale<block = [1, 0], type = f32>, zeros = ui8>
!zcol = !quern.qtensor<tensor<256x8xi8>, #quern.scale<block = [0, 1], type = f32>, zeros = i8>
// CHECK-LABEL: func.func @zeros
// CHECK-SAME: %[[X:.*]]: !quern.qtensor<{{.*}}, zeros = ui8>, %[[W:[a-z0-9]+]]:
func.func @zeros(%x: !zrow, %w: !zcol) -> tensor<4x8xf32> {
  // CHECK-DAG: %[[CX:.*]] = quern.codes %[[X]]
  // CHECK-DAG: %[[CW:.*]] = quern.codes %[[W]]
  // CHECK-DAG: %[[ZW:.*]] = quern.zeros %[[W]] {{.*}} -> tensor<1x8xi8>
  // CHECK-DAG: %[[ZX:.*]] = quern.zeros %[[X]] {{.*}} -> tensor<4x1xui8>
  // CHECK-DAG: %[[RS:.*]] = quern.sum_codes %[[CW]] zeros %[[ZW]] : tensor<1x8xi8> block [0, 1] {{.*}} -> tensor<1x8xi32>
  // CHECK-DAG: %[[LS:.*]] = quern.sum_codes %[[CX]] block [1, 0] {{.*}} -> tensor<4x1xi32>
  // CHECK: %[[ACC:.*]] = quern.contract %[[CX]], %[[CW]] : {{.*}} -> tensor<4x8xi32>
  // CHECK: %[[R:.*]] = quern.correct_zeros %[[ACC]] lhs_zeros %[[ZX]], %[[RS]] : {{.*}} rhs_zeros %[[ZW]], %[[LS]] : {{.*}} -> tensor<4x8xi32>
  // CHECK: quern.cast %[[R]]
  %0 = quern.matmul %x, %w : !zrow, !zcol -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// Where the sum is split, each part is corrected before it is scaled.
!zgroup = !quern.qtensor<tensor<8x256xui8>, #quern.scale<block = [1, 64], type = f16>, zeros = ui8>
// CHECK-LABEL: func.func @split_zeros
func.func @split_zeros(%x: !row, %w: !zgroup) -> tensor<4x8xf32> {
  // CHECK: %[[S:.*]] = quern.sum_codes %{{.*}} block [1, 64] {{.*}} : tensor<4x256xi8> -> tensor<4x4xi32>
  // CHECK: quern.contract {{.*}} rhs_zeros %{{.*}}, %[[S]] : tensor<8x4xui8>, tensor<4x4xi32>
  // CHECK-SAME: split = 64
  %0 = quern.matmul %x, %w transpose_rhs : !row, !zgroup -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// With zero points on both sides 33,025 products fit in 32 bits.
!zlong = !quern.qtensor<tensor<4x40000xui8>, #quern.scale<block = [1, 0], type = f32>, zeros = ui8>
// CHECK-LABEL: func.func @long_zeros
func.func @long_zeros(%x: !zlong) -> tensor<4x4xf32> {
  // CHECK: quern.contract {{.*}}lhs_zeros{{.*}}rhs_zeros{{.*}}split = 33024
  %0 = quern.matmul %x, %x transpose_rhs : !zlong, !zlong -> tensor<4x4xf32>
  return %0 : tensor<4x4xf32>
}
