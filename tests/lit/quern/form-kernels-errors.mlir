// RUN: quern-opt %s -quern-form-kernels -verify-diagnostics -split-input-file

!q = !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
func.func @form_kernels_c2(%x: tensor<4x8xf32>) -> !q {
  // expected-error @+1 {{quern_form_kernels_c2: must be gone before kernels are formed}}
  %q = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0> : tensor<4x8xf32> -> !q
  return %q : !q
}
// -----
func.func @form_kernels_c3(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  // expected-error @+1 {{quern_form_kernels_c3: is not an op of a layer}}
  %y = arith.negf %x : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}
