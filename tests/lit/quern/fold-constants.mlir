// RUN: quern-opt %s -quern-fold-constants | FileCheck %s

// CHECK-LABEL: func.func @arithmetic
func.func @arithmetic() -> (tensor<f32>, tensor<f16>, tensor<i1>, tensor<f32>) {
  %two = quern.constant 2.0 : f32 : tensor<f32>
  %three = quern.constant 3.0 : f32 : tensor<f32>
  // CHECK-DAG: %[[A:.*]] = quern.constant 0.666666686 : f32
  %a = quern.div %two, %three : tensor<f32>, tensor<f32> -> tensor<f32>
  // Rounded once, to the result's type.
  // CHECK-DAG: %[[B:.*]] = quern.constant 6.665040e-01 : f16
  %b = quern.cast %a : tensor<f32> -> tensor<f16>
  // CHECK-DAG: %[[C:.*]] = quern.constant true
  %c = quern.compare lt %two, %three : tensor<f32>, tensor<f32> -> tensor<i1>
  // CHECK-DAG: %[[D:.*]] = quern.constant 2.000000e+00 : f32
  %d = quern.select %c, %two, %three : tensor<i1>, tensor<f32>, tensor<f32> -> tensor<f32>
  // CHECK: return %[[A]], %[[B]], %[[C]], %[[D]]
  return %a, %b, %c, %d : tensor<f32>, tensor<f16>, tensor<i1>, tensor<f32>
}

// The strict polynomials have one definition, the targets'.
// CHECK-LABEL: func.func @polynomials
func.func @polynomials() -> tensor<f32> {
  %one = quern.constant 1.0 : f32 : tensor<f32>
  // CHECK: quern.exp
  %0 = quern.exp %one : tensor<f32> -> tensor<f32>
  return %0 : tensor<f32>
}

// CHECK-LABEL: func.func @casts
// CHECK-SAME: %[[X:.*]]: tensor<4xf16>, %[[Y:.*]]: tensor<4xf32>
func.func @casts(%x: tensor<4xf16>, %y: tensor<4xf32>) -> (tensor<4xf16>, tensor<4xf32>, tensor<4xbf16>) {
  %0 = quern.cast %x : tensor<4xf16> -> tensor<4xf32>
  %1 = quern.cast %0 : tensor<4xf32> -> tensor<4xf16>
  // This one loses bits and stays.
  // CHECK-DAG: %[[H:.*]] = quern.cast %[[Y]] : tensor<4xf32> -> tensor<4xf16>
  %2 = quern.cast %y : tensor<4xf32> -> tensor<4xf16>
  // CHECK-DAG: %[[F:.*]] = quern.cast %[[H]] : tensor<4xf16> -> tensor<4xf32>
  %3 = quern.cast %2 : tensor<4xf16> -> tensor<4xf32>
  // A widening in between is skipped.
  // CHECK-DAG: %[[B:.*]] = quern.cast %[[X]] : tensor<4xf16> -> tensor<4xbf16>
  %4 = quern.cast %0 : tensor<4xf32> -> tensor<4xbf16>
  // CHECK: return %[[X]], %[[F]], %[[B]]
  return %1, %3, %4 : tensor<4xf16>, tensor<4xf32>, tensor<4xbf16>
}

!q = !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
// CHECK-LABEL: func.func @parts
// CHECK-SAME: %[[C:.*]]: tensor<4x8xi8>, %[[S:.*]]: tensor<4x1xf32>
func.func @parts(%c: tensor<4x8xi8>, %s: tensor<4x1xf32>) -> (tensor<4x8xi8>, tensor<4x1xf32>) {
  %q = quern.make_qtensor %c, %s : tensor<4x8xi8>, tensor<4x1xf32> -> !q
  %0 = quern.codes %q : !q -> tensor<4x8xi8>
  %1 = quern.scales %q : !q -> tensor<4x1xf32>
  // CHECK-NEXT: return %[[C]], %[[S]]
  return %0, %1 : tensor<4x8xi8>, tensor<4x1xf32>
}

// CHECK-LABEL: func.func @dead
func.func @dead(%x: tensor<4xf32>) {
  // CHECK-NEXT: return
  %0 = quern.exp %x : tensor<4xf32> -> tensor<4xf32>
  %1 = quern.neg %0 : tensor<4xf32> -> tensor<4xf32>
  return
}

// NaN wins a maximum; -0 lies below +0; f8 saturates.
// CHECK-LABEL: func.func @corners
func.func @corners() -> (tensor<f32>, tensor<f32>, tensor<f8E4M3FN>) {
  %nan = quern.constant 0x7FC00000 : f32 : tensor<f32>
  %mz = quern.constant -0.0 : f32 : tensor<f32>
  %z = quern.constant 0.0 : f32 : tensor<f32>
  %big = quern.constant 1.0e9 : f32 : tensor<f32>
  // CHECK-DAG: %[[A:.*]] = quern.constant 0x7FC00000 : f32
  %a = quern.max %nan, %z : tensor<f32>, tensor<f32> -> tensor<f32>
  // CHECK-DAG: %[[B:.*]] = quern.constant -0.000000e+00 : f32
  %b = quern.min %z, %mz : tensor<f32>, tensor<f32> -> tensor<f32>
  // CHECK-DAG: %[[C:.*]] = quern.constant 4.480000e+02 : f8E4M3FN
  %c = quern.cast %big : tensor<f32> -> tensor<f8E4M3FN>
  // CHECK: return %[[A]], %[[B]], %[[C]]
  return %a, %b, %c : tensor<f32>, tensor<f32>, tensor<f8E4M3FN>
}
