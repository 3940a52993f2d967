// RUN: quern-opt %s -quern-hoist-scales -verify-diagnostics

func.func @integers(%x: tensor<4x8xi32>) {
  // expected-error @+1 {{quern_hoist_c1: cannot multiply plain tensors of 'i32'; operands are quantized, or f16, bf16, f32 or 8-bit floats}}
  %0 = quern.matmul %x, %x transpose_rhs : tensor<4x8xi32>, tensor<4x8xi32> -> tensor<4x4xf32>
  return
}
