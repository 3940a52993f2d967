// Every operation survives printing and parsing.
// RUN: quern-opt %s | quern-opt | FileCheck %s

#mk = affine_map<()[s0] -> (s0, 64)>
#m1 = affine_map<()[s0] -> (s0, 1)>
!x = tensor<?x64xf16, #mk>
!c = tensor<?x64xi8, #mk>
!s = tensor<?x1xf32, #m1>
!q = !quern.qtensor<tensor<?x64xi8, #mk>, #quern.scale<block = [1, 0], type = f32>>

// CHECK-LABEL: func.func @quantization
// CHECK-SAME: quern.symbols = [#quern.symbol<"M", 1, 4096, 1>]
func.func @quantization(%x: !x {quern.name = "x"}) -> tensor<?x64xf32, #mk>
    attributes {quern.symbols = [#quern.symbol<"M", 1, 4096, 1>], quern.numerics = "strict"} {
  // CHECK: quern.quantize %{{.*}} <divisor = 1.270000e+02, range = -1.270000e+02, 1.270000e+02, rounding = half_even, floor = 1.17549435E-38> : tensor<?x64xf16, #[[$MAP:[a-z0-9]+]]> -> <tensor<?x64xi8, #[[$MAP]]>, <block = [1, 0], type = f32>>
  %q = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.17549435E-38> : !x -> !q
  // CHECK: quern.codes
  %c = quern.codes %q : !q -> !c
  // CHECK: quern.scales
  %s = quern.scales %q : !q -> !s
  // CHECK: quern.make_qtensor
  %m = quern.make_qtensor %c, %s : !c, !s -> !q
  // CHECK: quern.quantize {{.*}}, floor = 1.000000e+00, scale_rounding = power_even> :
  %pe = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0, scale_rounding = power_even> : !x -> !q
  // CHECK: quern.quantize {{.*}}, floor = 1.000000e+00, statistic = percentile(9.950000e+01)> :
  %ps = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0, statistic = percentile(99.5)> : !x -> !q
  // CHECK: quern.quantize {{.*}}, scale_rounding = power_ceil, statistic = sampled(8.000000e+00)> :
  %ss = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0, scale_rounding = power_ceil, statistic = sampled(8.0)> : !x -> !q
  // CHECK: quern.quantize {{.*}}, floor = 1.000000e+00> :
  %pn = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0, scale_rounding = nearest> : !x -> !q
  // CHECK: quern.quantize %{{.*}} scale %{{.*}} : tensor<?x1xf32, #{{.*}}> <{{.*}}rounding = toward_zero{{.*}}>
  %t = quern.quantize %x scale %s : !s <divisor = 127.0, range = -127.0, 127.0, rounding = toward_zero, floor = 1.0> : !x -> !q
  // CHECK: quern.encode %{{.*}}, %{{.*}} <{{.*}}rounding = half_away{{.*}}> block [1, 0]
  %e = quern.encode %x, %s <divisor = 127.0, range = -127.0, 127.0, rounding = half_away, floor = 1.0> block [1, 0] : !x, !s -> !c
  // CHECK: quern.expand_scales %{{.*}} block [1, 0]
  %b = quern.expand_scales %s block [1, 0] : !s -> tensor<?x64xf32, #mk>
  // CHECK: quern.dequantize
  %d = quern.dequantize %m : !q -> tensor<?x64xf32, #mk>
  return %d : tensor<?x64xf32, #mk>
}

// CHECK-LABEL: func.func @products
func.func @products(%x: tensor<4x64xf16>, %w: tensor<8x64xf16>, %a: tensor<4x64xi8>,
                    %b: tensor<8x64xui8>, %sa: tensor<4x2xf32>, %sb: tensor<8x1xf32>) {
  // CHECK: quern.matmul %{{.*}}, %{{.*}} transpose_rhs :
  %0 = quern.matmul %x, %w transpose_rhs : tensor<4x64xf16>, tensor<8x64xf16> -> tensor<4x8xf32>
  // CHECK: quern.contract %{{.*}}, %{{.*}} {transpose_rhs} : tensor<4x64xi8>, tensor<8x64xui8> -> tensor<4x8xi32>
  %1 = quern.contract %a, %b {transpose_rhs} : tensor<4x64xi8>, tensor<8x64xui8> -> tensor<4x8xi32>
  // CHECK: quern.contract %{{.*}}, %{{.*}} lhs_scales %{{.*}} : tensor<4x2xf32> rhs_scales %{{.*}} : tensor<8x1xf32> {lhs_block = array<i64: 1, 32>, rhs_block = array<i64: 1, 0>, split = 32 : i64, transpose_rhs}
  %2 = quern.contract %a, %b lhs_scales %sa : tensor<4x2xf32> rhs_scales %sb : tensor<8x1xf32>
      {transpose_rhs, split = 32 : i64, lhs_block = array<i64: 1, 32>, rhs_block = array<i64: 1, 0>}
      : tensor<4x64xi8>, tensor<8x64xui8> -> tensor<4x8xf32>
  // CHECK: quern.contract %{{.*}}, %{{.*}} lhs_scales %{{.*}} : tensor<4x2xf32> {lhs_block = array<i64: 1, 32>, split = 32 : i64, transpose_rhs}
  %3 = quern.contract %a, %b lhs_scales %sa : tensor<4x2xf32> {transpose_rhs, split = 32 : i64, lhs_block = array<i64: 1, 32>}
      : tensor<4x64xi8>, tensor<8x64xui8> -> tensor<4x8xf32>
  // CHECK: quern.contract %{{.*}}, %{{.*}} rhs_scales %{{.*}} : tensor<8x1xf32> {rhs_block = array<i64: 1, 0>, split = 32 : i64, transpose_rhs}
  %4 = quern.contract %a, %b rhs_scales %sb : tensor<8x1xf32> {transpose_rhs, split = 32 : i64, rhs_block = array<i64: 1, 0>}
      : tensor<4x64xi8>, tensor<8x64xui8> -> tensor<4x8xf32>
  return
}

// CHECK-LABEL: func.func @elementwise
func.func @elementwise(%x: tensor<4x8xf32>, %y: tensor<8xf32>) {
  // CHECK: quern.add
  %0 = quern.add %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  // CHECK: quern.sub
  %1 = quern.sub %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  // CHECK: quern.mul
  %2 = quern.mul %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  // CHECK: quern.div
  %3 = quern.div %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  // CHECK: quern.max
  %4 = quern.max %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  // CHECK: quern.min
  %5 = quern.min %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  // CHECK: quern.neg
  %6 = quern.neg %x : tensor<4x8xf32> -> tensor<4x8xf32>
  // CHECK: quern.abs
  %7 = quern.abs %x : tensor<4x8xf32> -> tensor<4x8xf32>
  // CHECK: quern.relu
  %8 = quern.relu %x : tensor<4x8xf32> -> tensor<4x8xf32>
  // CHECK: quern.sqrt
  %9 = quern.sqrt %x : tensor<4x8xf32> -> tensor<4x8xf32>
  // CHECK: quern.exp
  %10 = quern.exp %x : tensor<4x8xf32> -> tensor<4x8xf32>
  // CHECK: quern.tanh
  %11 = quern.tanh %x : tensor<4x8xf32> -> tensor<4x8xf32>
  // CHECK: quern.erf
  %12 = quern.erf %x : tensor<4x8xf32> -> tensor<4x8xf32>
  // CHECK: quern.sigmoid
  %13 = quern.sigmoid %x : tensor<4x8xf32> -> tensor<4x8xf32>
  // CHECK: quern.silu
  %14 = quern.silu %x : tensor<4x8xf32> -> tensor<4x8xf32>
  // CHECK: quern.gelu_erf
  %15 = quern.gelu_erf %x : tensor<4x8xf32> -> tensor<4x8xf32>
  // CHECK: quern.gelu_tanh
  %16 = quern.gelu_tanh %x : tensor<4x8xf32> -> tensor<4x8xf32>
  // CHECK: quern.cast
  %17 = quern.cast %x : tensor<4x8xf32> -> tensor<4x8xbf16>
  // CHECK: quern.compare le
  %18 = quern.compare le %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xi1>
  // CHECK: quern.select
  %19 = quern.select %18, %x, %y : tensor<4x8xi1>, tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  // CHECK: quern.constant 1.500000e+00 : f32 : tensor<f32>
  %20 = quern.constant 1.5 : f32 : tensor<f32>
  return
}

// CHECK-LABEL: func.func @rows_and_shapes
func.func @rows_and_shapes(%x: tensor<4x8xf32>, %w: tensor<8xf32>, %i: tensor<3xi32>) {
  // CHECK: quern.reduce absmax %{{.*}} block [1, 0]
  %0 = quern.reduce absmax %x block [1, 0] : tensor<4x8xf32> -> tensor<4x1xf32>
  // CHECK: quern.softmax
  %1 = quern.softmax %x : tensor<4x8xf32> -> tensor<4x8xf32>
  // CHECK: quern.rmsnorm %{{.*}}, %{{.*}} eps 9.99999974E-6
  %2 = quern.rmsnorm %x, %w eps 1.0e-5 : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  // CHECK: quern.layernorm
  %3 = quern.layernorm %x, %w, %w eps 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  // CHECK: quern.reshape
  %4 = quern.reshape %x : tensor<4x8xf32> -> tensor<2x16xf32>
  // CHECK: quern.transpose %{{.*}} [1, 0]
  %5 = quern.transpose %x [1, 0] : tensor<4x8xf32> -> tensor<8x4xf32>
  // CHECK: quern.slice
  %6 = quern.slice %x from affine_map<() -> (1, 0)> by [1, 2] : tensor<4x8xf32> -> tensor<3x4xf32>
  // CHECK: quern.concat %{{.*}}, %{{.*}} axis 0
  %7 = quern.concat %x, %x axis 0 : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<8x8xf32>
  // CHECK: quern.gather
  %8 = quern.gather %x, %i : tensor<4x8xf32>, tensor<3xi32> -> tensor<3x8xf32>
  // CHECK: quern.kernel "neg" because "to show it" : tensor<4x8xf32> {
  %9 = quern.kernel "neg" because "to show it" : tensor<4x8xf32> {
    %n = quern.neg %x : tensor<4x8xf32> -> tensor<4x8xf32>
    // CHECK: quern.yield
    quern.yield %n : tensor<4x8xf32>
  }
  return
}

!z = !quern.qtensor<tensor<4x8xui8>, #quern.scale<block = [1, 4], type = f32>, zeros = ui8>
// CHECK-LABEL: func.func @zero_points
// CHECK-SAME: !quern.qtensor<tensor<4x8xui8>, <block = [1, 4], type = f32>, zeros = ui8>
func.func @zero_points(%q: !z, %x: tensor<4x8xf32>, %w: tensor<6x8xi8>, %t: tensor<6x2xi32>) {
  // CHECK: %[[C:.*]] = quern.codes
  %c = quern.codes %q : !z -> tensor<4x8xui8>
  // CHECK: %[[S:.*]] = quern.scales
  %s = quern.scales %q : !z -> tensor<4x2xf32>
  // CHECK: %[[Z:.*]] = quern.zeros %{{.*}} -> tensor<4x2xui8>
  %z = quern.zeros %q : !z -> tensor<4x2xui8>
  // CHECK: quern.make_qtensor %[[C]], %[[S]] zeros %[[Z]] : tensor<4x2xui8> :
  %r = quern.make_qtensor %c, %s zeros %z : tensor<4x2xui8> : tensor<4x8xui8>, tensor<4x2xf32> -> !z
  // CHECK: quern.quantize %{{.*}} scale %[[S]] : tensor<4x2xf32> zero %[[Z]] : tensor<4x2xui8> <
  %p = quern.quantize %x scale %s : tensor<4x2xf32> zero %z : tensor<4x2xui8> <divisor = 255.0, range = 0.0, 255.0, rounding = half_even, floor = 1.0> : tensor<4x8xf32> -> !z
  // CHECK: quern.encode %{{.*}}, %[[S]] zeros %[[Z]] : tensor<4x2xui8> <
  %e = quern.encode %x, %s zeros %z : tensor<4x2xui8> <divisor = 255.0, range = 0.0, 255.0, rounding = half_even, floor = 1.0> block [1, 4] : tensor<4x8xf32>, tensor<4x2xf32> -> tensor<4x8xui8>
  // CHECK: quern.sum_codes %[[C]] zeros %[[Z]] : tensor<4x2xui8> block [1, 2]
  %sums = quern.sum_codes %c zeros %z : tensor<4x2xui8> block [1, 2] {zeros_block = array<i64: 1, 4>} : tensor<4x8xui8> -> tensor<4x4xi32>
  // CHECK: quern.contract %{{.*}}, %{{.*}} lhs_zeros %[[Z]], %{{.*}} : tensor<4x2xui8>, tensor<6x2xi32>
  %y = quern.contract %c, %w lhs_zeros %z, %t : tensor<4x2xui8>, tensor<6x2xi32> {transpose_rhs, split = 4 : i64, lhs_block = array<i64: 1, 4>} : tensor<4x8xui8>, tensor<6x8xi8> -> tensor<4x6xf32>
  return
}
