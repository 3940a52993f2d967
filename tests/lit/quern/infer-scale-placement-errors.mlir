// RUN: quern-opt %s -quern-infer-scale-placement -verify-diagnostics

// 131071 is a prime above the exact sum: it cannot be cut into equal parts.
!a = !quern.qtensor<tensor<4x262142xi8>, #quern.scale<block = [1, 131071], type = f32>>
!b = !quern.qtensor<tensor<8x262142xi8>, #quern.scale<block = [1, 0], type = f32>>
func.func @placement_c1(%x: !a, %w: !b) {
  // expected-error @+1 {{quern_placement_c1: a scale block of 131071 elements along the contracted axis is longer than an exact i32 sum of 130944 products}}
  %0 = quern.matmul %x, %w transpose_rhs : !a, !b -> tensor<4x8xf32>
  return
}
