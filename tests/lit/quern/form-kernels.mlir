// RUN: quern-opt %s -quern-pipeline | FileCheck %s
// RUN: quern-opt %s -quern-pipeline=fuse=false | FileCheck %s --check-prefix=NONE

#x = affine_map<()[s0] -> (s0, 4096)>
#h = affine_map<()[s0] -> (s0, 11008)>
!xt = tensor<?x4096xf16, #x>
!xf = tensor<?x4096xf32, #x>
!xq = !quern.qtensor<tensor<?x4096xi8, #x>, #quern.scale<block = [1, 0], type = f32>>
!hf = tensor<?x11008xf32, #h>
!ht = tensor<?x11008xf16, #h>
!hq = !quern.qtensor<tensor<?x11008xi8, #h>, #quern.scale<block = [1, 0], type = f32>>
!w = !quern.qtensor<tensor<11008x4096xi8>, #quern.scale<block = [1, 0], type = f32>>
!wd = !quern.qtensor<tensor<4096x11008xi8>, #quern.scale<block = [1, 0], type = f32>>

// Two products of one left operand that meet are one kernel.
// CHECK-LABEL: func.func @swiglu
// CHECK: quern.kernel "quantize" because "one reduction: absmax; over the same blocks: scales, encode"
// CHECK: quern.reduce absmax
// CHECK: quern.encode
// CHECK: quern.kernel "gated_product" because "2 products of one left operand, which is loaded once; applied to each accumulator: scales, silu, mul, cast"
// CHECK: quern.contract
// CHECK: quern.contract
// CHECK: quern.silu
// CHECK: quern.kernel "quantize"
// CHECK: quern.kernel "product"
// CHECK: quern.contract
// CHECK-NOT: quern.kernel
// CHECK: return

// NONE-LABEL: func.func @swiglu
// NONE: quern.kernel "quantize"
// NONE: quern.kernel "product"
// NONE: quern.contract
// NONE: quern.mul
// NONE: quern.mul
// NONE: quern.yield
// NONE: quern.kernel "product"
// NONE: quern.kernel "silu" because "unfused"
// NONE: quern.kernel "mul"
// NONE: quern.kernel "cast"
// NONE: quern.kernel "quantize"
// NONE: quern.kernel "product"
// NONE: quern.kernel "cast"
// NONE-NOT: quern.kernel
// NONE: return
func.func @swiglu(%x: !xt, %wg: !w, %wu: !w, %wd: !wd) -> !xt {
  %xq = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.17549435E-38> : !xt -> !xq
  %g = quern.matmul %xq, %wg transpose_rhs : !xq, !w -> !hf
  %u = quern.matmul %xq, %wu transpose_rhs : !xq, !w -> !hf
  %s = quern.silu %g : !hf -> !hf
  %m = quern.mul %s, %u : !hf, !hf -> !hf
  %h = quern.cast %m : !hf -> !ht
  %hq = quern.quantize %h <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.17549435E-38> : !ht -> !hq
  %y = quern.matmul %hq, %wd transpose_rhs : !hq, !wd -> !xf
  %z = quern.cast %y : !xf -> !xt
  return %z : !xt
}

// A norm and the quantization of the same rows are one pass.
// CHECK-LABEL: func.func @norm
// CHECK: quern.kernel "rmsnorm_quantize"
// CHECK: quern.add
// CHECK: quern.rmsnorm
// CHECK: quern.reduce absmax
// CHECK: quern.encode
// CHECK-NOT: quern.kernel
// CHECK: return
func.func @norm(%x: !xt, %r: !xt, %w: tensor<4096xf16>) -> !xq {
  %a = quern.add %x, %r : !xt, !xt -> !xt
  %n = quern.rmsnorm %a, %w eps 1.0e-5 : !xt, tensor<4096xf16> -> !xt
  %q = quern.quantize %n <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.17549435E-38> : !xt -> !xq
  return %q : !xq
}

// A chain over another shape does not join; what waits for the reduction
// cannot join the product it reads.
// CHECK-LABEL: func.func @waits
// CHECK: quern.kernel "product"
// CHECK: quern.kernel "sum"
// CHECK: quern.reduce sum
// CHECK: quern.add
// CHECK-NOT: quern.kernel
// CHECK: return
func.func @waits(%x: tensor<4x64xf32>, %w: tensor<8x64xf32>) -> tensor<4x8xf32> {
  %p = quern.matmul %x, %w transpose_rhs : tensor<4x64xf32>, tensor<8x64xf32> -> tensor<4x8xf32>
  %r = quern.reduce sum %p block [1, 0] : tensor<4x8xf32> -> tensor<4x1xf32>
  %y = quern.add %p, %r : tensor<4x8xf32>, tensor<4x1xf32> -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// Products that read each other's result are not terms of one kernel.
// CHECK-LABEL: func.func @chained
// CHECK: quern.kernel "product"
// CHECK: quern.kernel "product"
// CHECK-NOT: quern.kernel
// CHECK: return
func.func @chained(%x: tensor<8x8xf32>, %w: tensor<8x8xf32>) -> tensor<8x8xf32> {
  %a = quern.matmul %x, %w transpose_rhs : tensor<8x8xf32>, tensor<8x8xf32> -> tensor<8x8xf32>
  %b = quern.matmul %x, %a transpose_rhs : tensor<8x8xf32>, tensor<8x8xf32> -> tensor<8x8xf32>
  %y = quern.add %a, %b : tensor<8x8xf32>, tensor<8x8xf32> -> tensor<8x8xf32>
  return %y : tensor<8x8xf32>
}

// A shape op that is a result is a kernel; one on the way is an index map.
// CHECK-LABEL: func.func @shapes
// CHECK: quern.kernel "elementwise"
// CHECK: quern.transpose
// CHECK: quern.neg
// CHECK: quern.exp
// CHECK: quern.kernel "reshape" because "a result of the layer"
// CHECK: return
func.func @shapes(%x: tensor<4x8xf32>) -> tensor<32xf32> {
  %t = quern.transpose %x [1, 0] : tensor<4x8xf32> -> tensor<8x4xf32>
  %n = quern.neg %t : tensor<8x4xf32> -> tensor<8x4xf32>
  %e = quern.exp %n : tensor<8x4xf32> -> tensor<8x4xf32>
  %r = quern.reshape %e : tensor<8x4xf32> -> tensor<32xf32>
  return %r : tensor<32xf32>
}
