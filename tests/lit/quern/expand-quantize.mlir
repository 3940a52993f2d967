// RUN: quern-opt %s -quern-expand-quantize | FileCheck %s

!q = !quern.qtensor<tensor<4x256xi8>, #quern.scale<block = [1, 128], type = f16>>

// CHECK-LABEL: func.func @dynamic
// CHECK-SAME: %[[X:.*]]: tensor<4x256xf16>
func.func @dynamic(%x: tensor<4x256xf16>) -> !q {
  // CHECK-DAG: %[[D:.*]] = quern.constant 1.270000e+02
  // CHECK-DAG: %[[FLOOR:.*]] = quern.constant 6.10351563E-5
  // CHECK-DAG: %[[A:.*]] = quern.reduce absmax %[[X]] block [1, 128] {quern.part = "quantize"} : tensor<4x256xf16> -> tensor<4x2xf32>
  // CHECK-DAG: %[[S0:.*]] = quern.div %[[A]], %[[D]]
  // CHECK: %[[S1:.*]] = quern.max %[[S0]], %[[FLOOR]]
  // CHECK: %[[S:.*]] = quern.cast %[[S1]] {{.*}} : tensor<4x2xf32> -> tensor<4x2xf16>
  // CHECK: %[[C:.*]] = quern.encode %[[X]], %[[S]] <{{.*}}> block [1, 128] {{{.*}}within = 127.496094 : f32}
  // CHECK: %[[Q:.*]] = quern.make_qtensor %[[C]], %[[S]]
  // CHECK: return %[[Q]]
  %q = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 6.103515625E-05> : tensor<4x256xf16> -> !q
  return %q : !q
}

// Nothing is promised of quotients that may overflow, or where a scale may be
// subnormal in its type.
// CHECK-LABEL: func.func @no_bounds
func.func @no_bounds(%x: tensor<4x256xf16>) -> (!q, !q) {
  // CHECK-NOT: within
  // CHECK: return
  %a = quern.quantize %x <divisor = 3.4e+38, range = -127.0, 127.0, rounding = half_even, floor = 6.103515625E-05> : tensor<4x256xf16> -> !q
  %b = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0E-06> : tensor<4x256xf16> -> !q
  return %a, %b : !q, !q
}

// The codes and scales of what was just made are at hand.
// CHECK-LABEL: func.func @static
// CHECK-SAME: %[[X:.*]]: tensor<4x256xf32>, %[[S:.*]]: tensor<4x2xf16>
func.func @static(%x: tensor<4x256xf32>, %s: tensor<4x2xf16>) -> (tensor<4x256xi8>, tensor<4x2xf16>) {
  // CHECK-NOT: quern.reduce
  // CHECK: %[[C:.*]] = quern.encode %[[X]], %[[S]]
  %q = quern.quantize %x scale %s : tensor<4x2xf16> <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 6.103515625E-05> : tensor<4x256xf32> -> !q
  %c = quern.codes %q : !q -> tensor<4x256xi8>
  %t = quern.scales %q : !q -> tensor<4x2xf16>
  // CHECK: return %[[C]], %[[S]]
  return %c, %t : tensor<4x256xi8>, tensor<4x2xf16>
}

// One scale for all: rows in parallel, then their maximum.
!t = !quern.qtensor<tensor<4x256xi8>, #quern.scale<block = [0, 0], type = f32>>
// CHECK-LABEL: func.func @two_steps
func.func @two_steps(%x: tensor<4x256xf32>) -> !t {
  // CHECK: %[[R:.*]] = quern.reduce absmax %{{.*}} block [1, 0] {{.*}} -> tensor<4x1xf32>
  // CHECK: quern.reduce absmax %[[R]] block [0, 1] {{.*}} -> tensor<1x1xf32>
  %q = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.17549435E-38> : tensor<4x256xf32> -> !t
  return %q : !t
}

// With zero points the range that holds 0 gives scale and zero point.
!z = !quern.qtensor<tensor<4x256xui8>, #quern.scale<block = [1, 0], type = f32>, zeros = ui8>
// CHECK-LABEL: func.func @zero_points
// CHECK-SAME: %[[X:.*]]: tensor<4x256xf32>
func.func @zero_points(%x: tensor<4x256xf32>) -> !z {
  // CHECK-DAG: %[[HIGH:.*]] = quern.reduce max %[[X]] block [1, 0]
  // CHECK-DAG: %[[UP:.*]] = quern.max %[[HIGH]], %{{.*}} :
  // CHECK-DAG: %[[LOW:.*]] = quern.reduce min %[[X]] block [1, 0]
  // CHECK-DAG: %[[NEG:.*]] = quern.neg %[[LOW]]
  // CHECK: %[[DOWN:.*]] = quern.max %[[NEG]], %{{.*}} :
  // CHECK: %[[RANGE:.*]] = quern.add %[[UP]], %[[DOWN]]
  // CHECK: %[[S0:.*]] = quern.div %[[RANGE]]
  // CHECK: %[[S:.*]] = quern.max %[[S0]]
  // CHECK: %[[STEPS:.*]] = quern.div %[[DOWN]], %[[S]]
  // CHECK: %[[P:.*]] = quern.add %[[STEPS]]
  // CHECK: %[[C:.*]] = quern.min %[[P]]
  // CHECK: %[[Z:.*]] = quern.cast %[[C]] {{.*}} : tensor<4x1xf32> -> tensor<4x1xui8>
  // CHECK: %[[Q:.*]] = quern.encode %[[X]], %[[S]] zeros %[[Z]]
  // CHECK: quern.make_qtensor %[[Q]], %[[S]] zeros %[[Z]]
  %q = quern.quantize %x <divisor = 255.0, range = 0.0, 255.0, rounding = half_even, floor = 1.17549435E-38> : tensor<4x256xf32> -> !z
  return %q : !z
}

// Powers of two: exponents are compared, so that the divisor of power_floor is
// one itself; the largest one of the scales' type bounds them.
!e = !quern.qtensor<tensor<4x256xf8E4M3FN>, #quern.scale<block = [1, 32], type = f16>>
// CHECK-LABEL: func.func @powers
func.func @powers(%x: tensor<4x256xf32>) -> (!e, !e) {
  // CHECK: %[[A:.*]] = quern.reduce absmax
  // CHECK: %[[D:.*]] = quern.constant 2.560000e+02
  // CHECK: %[[S:.*]] = quern.div %[[A]], %[[D]]
  // CHECK: %[[F:.*]] = quern.max %[[S]]
  // CHECK: %[[P:.*]] = quern.power_of_two power_floor %[[F]] most 3.276800e+04 {quern.part = "quantize"}
  // CHECK: quern.cast %[[P]] {{.*}} -> tensor<4x8xf16>
  %q = quern.quantize %x <divisor = 448.0, range = -448.0, 448.0, rounding = half_even, floor = 6.103515625E-05, scale_rounding = power_floor> : tensor<4x256xf32> -> !e
  // CHECK: quern.constant 4.480000e+02
  // CHECK: quern.power_of_two power_ceil
  %r = quern.quantize %x <divisor = 448.0, range = -448.0, 448.0, rounding = half_even, floor = 6.103515625E-05, scale_rounding = power_ceil> : tensor<4x256xf32> -> !e
  return %q, %r : !e, !e
}

// Counts of a whole tensor: of rows in parallel, then their sum.
// CHECK-LABEL: func.func @counts
// CHECK-SAME: %[[X:.*]]: tensor<4x256xf32>, %[[S:.*]]: tensor<1x1xf32>, %[[N:.*]]: tensor<1x1xi32>
func.func @counts(%x: tensor<4x256xf32>, %s: tensor<1x1xf32>, %n: tensor<1x1xi32>) -> tensor<1x1xi32> {
  // CHECK: %[[R:.*]] = quern.count_clipped %[[X]], %[[S]] <{{.*}}> scales [0, 0] block [1, 0] : {{.*}} -> tensor<4x1xi32>
  // CHECK: %[[A:.*]] = quern.add_counts %[[R]] after %[[N]] : tensor<1x1xi32> block [0, 1]
  // CHECK: return %[[A]]
  %0 = quern.count_clipped %x, %s after %n : tensor<1x1xi32> <divisor = 1.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0> scales [0, 0] block [0, 0] : tensor<4x256xf32>, tensor<1x1xf32> -> tensor<1x1xi32>
  return %0 : tensor<1x1xi32>
}

// Other statistics take the absolute maximum's place.
!g = !quern.qtensor<tensor<4x256xi8>, #quern.scale<block = [1, 64], type = f32>>
// CHECK-LABEL: func.func @statistics
// CHECK-SAME: %[[X:.*]]: tensor<4x256xf32>
func.func @statistics(%x: tensor<4x256xf32>) -> (!g, !g) {
  // CHECK: %[[P:.*]] = quern.percentile %[[X]] tail 5.000000e-03 block [1, 64] {quern.part = "quantize"} : {{.*}} -> tensor<4x4xf32>
  // CHECK: quern.div %[[P]]
  %q = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.17549435E-38, statistic = percentile(99.5)> : tensor<4x256xf32> -> !g
  // CHECK: %[[S:.*]] = quern.slice %[[X]] from {{.*}} by [1, 16] : {{.*}} -> tensor<4x16xf32>
  // CHECK: %[[A:.*]] = quern.reduce absmax %[[S]] block [1, 4] {{.*}} -> tensor<4x4xf32>
  // CHECK: quern.div %[[A]]
  // CHECK: quern.encode %[[X]], {{.*}} block [1, 64]
  %r = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.17549435E-38, statistic = sampled(16.0)> : tensor<4x256xf32> -> !g
  return %q, %r : !g, !g
}
