// RUN: quern-opt %s -quern-infer-scale-placement -verify-diagnostics

!a = !quern.qtensor<tensor<4x400000xi8>, #quern.scale<block = [1, 200000], type = f32>>
!b = !quern.qtensor<tensor<8x400000xi8>, #quern.scale<block = [1, 0], type = f32>>
func.func @placement_c1(%x: !a, %w: !b) {
  // expected-error @+1 {{quern_placement_c1: scale blocks of 200000 and 0 along the contracted axis are longer than an exact i32 sum of 131071 products, and no multiple of 32768 to cut them by}}
  %0 = quern.matmul %x, %w transpose_rhs : !a, !b -> tensor<4x8xf32>
  return
}
