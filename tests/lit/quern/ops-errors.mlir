// One case for each law of the quern dialect, under its label.
// RUN: quern-opt %s -verify-diagnostics -split-input-file

// expected-error @+1 {{quern_symbol_c1: a symbol needs a name}}
func.func private @symbol_c1() attributes {quern.symbols = [#quern.symbol<"", 1, 2, 1>]}
// -----
// expected-error @+1 {{quern_symbol_c2: the range of M is 3..2}}
func.func private @symbol_c2() attributes {quern.symbols = [#quern.symbol<"M", 3, 2, 1>]}
// -----
// expected-error @+1 {{quern_symbol_c3: M must be a multiple of at least 1}}
func.func private @symbol_c3() attributes {quern.symbols = [#quern.symbol<"M", 1, 2, 0>]}
// -----
// expected-error @+1 {{quern_scale_c1: scales are f32, f16 or bf16, not 'i8'}}
func.func private @scale_c1() attributes {s = #quern.scale<block = [1, 0], type = i8>}
// -----
// expected-error @+1 {{quern_scale_c2: a block extent is at least 1}}
func.func private @scale_c2() attributes {s = #quern.scale<block = [1, -2], type = f32>}
// -----
// expected-error @+1 {{quern_qtensor_c1: codes are i8, ui8, i4, ui4, f8E4M3FN or f8E5M2, not 'i16'}}
func.func private @qtensor_c1(!quern.qtensor<tensor<4x8xi16>, #quern.scale<block = [1, 0], type = f32>>)
// -----
// expected-error @+1 {{quern_qtensor_c2: a block of 1 extents for codes of rank 2}}
func.func private @qtensor_c2(!quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [0], type = f32>>)
// -----
!q = !quern.qtensor<tensor<4x9xi8>, #quern.scale<block = [1, 0], type = f32>>
func.func @quantize_c1(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{quern_quantize_c1}}
  %0 = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0> : tensor<4x8xf32> -> !q
  return
}
// -----
!q = !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
func.func @quantize_c2(%x: tensor<4x8xi32>) {
  // expected-error @+1 {{quern_quantize_c2: the input is f16, bf16 or f32, not 'i32'}}
  %0 = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0> : tensor<4x8xi32> -> !q
  return
}
// -----
!q = !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
func.func @quantize_c3(%x: tensor<4x8xf32>, %s: tensor<1x1xf32>) {
  // expected-error @+1 {{quern_quantize_c3: the scale has type 'tensor<1x1xf32>', the granularity needs 'tensor<4x1xf32>'}}
  %0 = quern.quantize %x scale %s : tensor<1x1xf32> <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0> : tensor<4x8xf32> -> !q
  return
}
// -----
!q = !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
func.func @dequantize_c1(%q: !q) {
  // expected-error @+1 {{quern_dequantize_c1: the result must be 'tensor<4x8xf32>'}}
  %0 = quern.dequantize %q : !q -> tensor<4x8xf16>
  return
}
// -----
!q = !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
func.func @make_qtensor_c1(%c: tensor<4x8xi8>, %s: tensor<1x1xf32>) {
  // expected-error @+1 {{quern_make_qtensor_c1}}
  %0 = quern.make_qtensor %c, %s : tensor<4x8xi8>, tensor<1x1xf32> -> !q
  return
}
// -----
!q = !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
func.func @codes_c1(%q: !q) {
  // expected-error @+1 {{quern_codes_c1}}
  %0 = quern.codes %q : !q -> tensor<4x8xui8>
  return
}
// -----
!q = !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
func.func @scales_c1(%q: !q) {
  // expected-error @+1 {{quern_scales_c1}}
  %0 = quern.scales %q : !q -> tensor<4x8xf32>
  return
}
// -----
func.func @encode_c1(%x: tensor<4x8xf32>, %s: tensor<4x1xf32>) {
  // expected-error @+1 {{quern_encode_c1: codes are i8, ui8, f8E4M3FN or f8E5M2, not 'i32'}}
  %0 = quern.encode %x, %s <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0> block [1, 0] : tensor<4x8xf32>, tensor<4x1xf32> -> tensor<4x8xi32>
  return
}
// -----
func.func @encode_c2(%x: tensor<4x8xf32>, %s: tensor<4x1xf32>) {
  // expected-error @+1 {{quern_encode_c2}}
  %0 = quern.encode %x, %s <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0> block [1, 4] : tensor<4x8xf32>, tensor<4x1xf32> -> tensor<4x8xi8>
  return
}
// -----
func.func @expand_scales_c1(%s: tensor<4x1xf32>) {
  // expected-error @+1 {{quern_expand_scales_c1: 'tensor<4x1xf32>' does not hold one element per block of 'tensor<4x8xf32>'}}
  %0 = quern.expand_scales %s block [2, 0] : tensor<4x1xf32> -> tensor<4x8xf32>
  return
}
// -----
func.func @matmul_c1(%x: tensor<8xf32>, %w: tensor<4x8xf32>) {
  // expected-error @+1 {{quern_matmul_c1: ranks 1 and 2}}
  %0 = quern.matmul %x, %w transpose_rhs : tensor<8xf32>, tensor<4x8xf32> -> tensor<1x4xf32>
  return
}
// -----
func.func @matmul_c2(%x: tensor<2x8xf32>, %w: tensor<4x9xf32>) {
  // expected-error @+1 {{quern_matmul_c2: the left operand contracts 8 elements, the right one 9}}
  %0 = quern.matmul %x, %w transpose_rhs : tensor<2x8xf32>, tensor<4x9xf32> -> tensor<2x4xf32>
  return
}
// -----
func.func @matmul_c3(%x: tensor<3x2x8xf32>, %w: tensor<2x4x8xf32>) {
  // expected-error @+1 {{quern_matmul_c3: batch extents}}
  %0 = quern.matmul %x, %w transpose_rhs : tensor<3x2x8xf32>, tensor<2x4x8xf32> -> tensor<3x2x4xf32>
  return
}
// -----
func.func @matmul_c4(%x: tensor<2x8xf32>, %w: tensor<4x8xf32>) {
  // expected-error @+1 {{quern_matmul_c4: the result is f32, not 'f16'}}
  %0 = quern.matmul %x, %w transpose_rhs : tensor<2x8xf32>, tensor<4x8xf32> -> tensor<2x4xf16>
  return
}
// -----
!a = !quern.qtensor<tensor<2x8xi8>, #quern.scale<block = [1, 0], type = f32>>
!b = !quern.qtensor<tensor<4x8xf8E4M3FN>, #quern.scale<block = [1, 0], type = f32>>
func.func @matmul_c5(%x: !a, %w: !b) {
  // expected-error @+1 {{quern_matmul_c5: codes 'i8' and 'f8E4M3FN'; both must be integer or both float}}
  %0 = quern.matmul %x, %w transpose_rhs : !a, !b -> tensor<2x4xf32>
  return
}
// -----
!a = !quern.qtensor<tensor<2x8xi8>, #quern.scale<block = [1, 1], type = f32>>
!b = !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
func.func @matmul_c6(%x: !a, %w: !b) {
  // expected-error @+1 {{quern_matmul_c6: the scale of the left operand varies with every element of the contracted axis}}
  %0 = quern.matmul %x, %w transpose_rhs : !a, !b -> tensor<2x4xf32>
  return
}
// -----
!a = !quern.qtensor<tensor<2x64xi8>, #quern.scale<block = [1, 24], type = f32>>
!b = !quern.qtensor<tensor<4x64xi8>, #quern.scale<block = [1, 32], type = f32>>
func.func @matmul_c7(%x: !a, %w: !b) {
  // expected-error @+1 {{quern_matmul_c7: scale blocks of 24 and 32 along the contracted axis}}
  %0 = quern.matmul %x, %w transpose_rhs : !a, !b -> tensor<2x4xf32>
  return
}
// -----
func.func @matmul_c8(%x: tensor<2x8xf32>, %w: tensor<4x8xf16>) {
  // expected-error @+1 {{quern_matmul_c8: element types 'f32' and 'f16'}}
  %0 = quern.matmul %x, %w transpose_rhs : tensor<2x8xf32>, tensor<4x8xf16> -> tensor<2x4xf32>
  return
}
// -----
func.func @contract_c1(%x: tensor<2x8xi8>, %w: tensor<4x8xf16>) {
  // expected-error @+1 {{quern_contract_c1: element types 'i8' and 'f16'}}
  %0 = quern.contract %x, %w {transpose_rhs} : tensor<2x8xi8>, tensor<4x8xf16> -> tensor<2x4xf32>
  return
}
// -----
func.func @contract_c2(%x: tensor<2x8xi8>, %w: tensor<4x8xi8>) {
  // expected-error @+1 {{quern_contract_c2: the result must be 'i32'}}
  %0 = quern.contract %x, %w {transpose_rhs} : tensor<2x8xi8>, tensor<4x8xi8> -> tensor<2x4xf32>
  return
}
// -----
func.func @contract_c3(%x: tensor<2x8xi8>, %w: tensor<4x7xi8>) {
  // expected-error @+1 {{quern_contract_c3: quern_matmul_c2}}
  %0 = quern.contract %x, %w {transpose_rhs} : tensor<2x8xi8>, tensor<4x7xi8> -> tensor<2x4xi32>
  return
}
// -----
func.func @contract_c4(%x: tensor<2x8xi8>, %w: tensor<4x8xi8>) {
  // expected-error @+1 {{quern_contract_c4: split must be at least 1}}
  %0 = quern.contract %x, %w {transpose_rhs, split = 0 : i64} : tensor<2x8xi8>, tensor<4x8xi8> -> tensor<2x4xf32>
  return
}
// -----
func.func @contract_c4_split(%x: tensor<2x8xi8>, %w: tensor<4x8xi8>, %t: tensor<4x1xf32>) {
  // expected-error @+1 {{quern_contract_c4: scales come only with `split`}}
  %0 = quern.contract %x, %w rhs_scales %t : tensor<4x1xf32> {transpose_rhs, rhs_block = array<i64: 1, 0>} : tensor<2x8xi8>, tensor<4x8xi8> -> tensor<2x4xi32>
  return
}
// -----
func.func @contract_c4_map(%x: tensor<2x8xi8>, %w: tensor<4x8xi8>, %t: tensor<4x1xf32>) {
  // expected-error @+1 {{quern_contract_c4: a block map is given for each operand that has scales or zeros}}
  %0 = quern.contract %x, %w rhs_scales %t : tensor<4x1xf32> {transpose_rhs, split = 4 : i64, lhs_block = array<i64: 1, 0>} : tensor<2x8xi8>, tensor<4x8xi8> -> tensor<2x4xf32>
  return
}
// -----
func.func @contract_c4_right(%x: tensor<2x8xi8>, %w: tensor<4x8xi8>, %t: tensor<4x2xf32>) {
  // expected-error @+1 {{quern_contract_c4: scales have the shape of their block map}}
  %0 = quern.contract %x, %w rhs_scales %t : tensor<4x2xf32> {transpose_rhs, split = 4 : i64, rhs_block = array<i64: 1, 0>} : tensor<2x8xi8>, tensor<4x8xi8> -> tensor<2x4xf32>
  return
}
// -----
func.func @contract_c4_block(%x: tensor<2x8xi8>, %w: tensor<4x8xi8>, %s: tensor<2x2xf32>, %t: tensor<4x1xf32>) {
  // expected-error @+1 {{quern_contract_c4: scales have the shape of their block map}}
  %0 = quern.contract %x, %w lhs_scales %s : tensor<2x2xf32> rhs_scales %t : tensor<4x1xf32>
     {transpose_rhs, split = 3 : i64, lhs_block = array<i64: 1, 4>, rhs_block = array<i64: 1, 0>} : tensor<2x8xi8>, tensor<4x8xi8> -> tensor<2x4xf32>
  return
}
// -----
func.func @elementwise_c1(%x: tensor<2x8xf32>, %y: tensor<4xf32>) {
  // expected-error @+1 {{quern_elementwise_c1: operand 1 of type 'tensor<4xf32>' does not broadcast to 'tensor<2x8xf32>'}}
  %0 = quern.add %x, %y : tensor<2x8xf32>, tensor<4xf32> -> tensor<2x8xf32>
  return
}
// -----
func.func @elementwise_c2(%x: tensor<2x8xf32>, %y: tensor<8xf16>) {
  // expected-error @+1 {{quern_elementwise_c2: operand 1 has element type 'f16', the result 'f32'}}
  %0 = quern.add %x, %y : tensor<2x8xf32>, tensor<8xf16> -> tensor<2x8xf32>
  return
}
// -----
func.func @compare_c1(%x: tensor<2x8xf32>) {
  // expected-error @+1 {{quern_compare_c1: the result must be i1}}
  %0 = quern.compare lt %x, %x : tensor<2x8xf32>, tensor<2x8xf32> -> tensor<2x8xf32>
  return
}
// -----
func.func @select_c1(%x: tensor<2x8xf32>) {
  // expected-error @+1 {{quern_select_c1: the condition must be i1}}
  %0 = quern.select %x, %x, %x : tensor<2x8xf32>, tensor<2x8xf32>, tensor<2x8xf32> -> tensor<2x8xf32>
  return
}
// -----
func.func @constant_c1() {
  // expected-error @+1 {{quern_constant_c1: a value of type 'f32' for a result of type 'tensor<f16>'}}
  %0 = quern.constant 1.0 : f32 : tensor<f16>
  return
}
// -----
func.func @reduce_c1(%x: tensor<2x8xf32>) {
  // expected-error @+1 {{quern_reduce_c1: the result must be 'tensor<2x1xf32>'}}
  %0 = quern.reduce sum %x block [1, 0] : tensor<2x8xf32> -> tensor<2x2xf32>
  return
}
// -----
func.func @softmax_c1(%x: tensor<2x8xf32>) {
  // expected-error @+1 {{quern_softmax_c1}}
  %0 = quern.softmax %x : tensor<2x8xf32> -> tensor<8x2xf32>
  return
}
// -----
func.func @rmsnorm_c1(%x: tensor<2x8xf32>, %w: tensor<2xf32>) {
  // expected-error @+1 {{quern_rmsnorm_c1}}
  %0 = quern.rmsnorm %x, %w eps 1.0e-5 : tensor<2x8xf32>, tensor<2xf32> -> tensor<2x8xf32>
  return
}
// -----
func.func @layernorm_c1(%x: tensor<2x8xf32>, %w: tensor<8xf32>, %b: tensor<7xf32>) {
  // expected-error @+1 {{quern_layernorm_c1}}
  %0 = quern.layernorm %x, %w, %b eps 1.0e-5 : tensor<2x8xf32>, tensor<8xf32>, tensor<7xf32> -> tensor<2x8xf32>
  return
}
// -----
func.func @reshape_c1(%x: tensor<2x8xf32>) {
  // expected-error @+1 {{quern_reshape_c1}}
  %0 = quern.reshape %x : tensor<2x8xf32> -> tensor<3x5xf32>
  return
}
// -----
func.func @transpose_c1(%x: tensor<2x8xf32>) {
  // expected-error @+1 {{quern_transpose_c1}}
  %0 = quern.transpose %x [0, 0] : tensor<2x8xf32> -> tensor<2x2xf32>
  return
}
// -----
func.func @slice_c1(%x: tensor<2x8xf32>) {
  // expected-error @+1 {{quern_slice_c1}}
  %0 = quern.slice %x from affine_map<() -> (0, 0)> by [1, 0] : tensor<2x8xf32> -> tensor<2x8xf32>
  return
}
// -----
func.func @slice_c2(%x: tensor<2x8xf32>) {
  // expected-error @+1 {{quern_slice_c2: reads outside an axis of 8}}
  %0 = quern.slice %x from affine_map<() -> (0, 2)> by [1, 2] : tensor<2x8xf32> -> tensor<2x4xf32>
  return
}
// -----
func.func @concat_c1(%x: tensor<2x8xf32>) {
  // expected-error @+1 {{quern_concat_c1: the extents along axis 1 do not add up}}
  %0 = quern.concat %x, %x axis 1 : tensor<2x8xf32>, tensor<2x8xf32> -> tensor<2x15xf32>
  return
}
// -----
func.func @gather_c1(%t: tensor<9x8xf32>, %i: tensor<3xf32>) {
  // expected-error @+1 {{quern_gather_c1}}
  %0 = quern.gather %t, %i : tensor<9x8xf32>, tensor<3xf32> -> tensor<3x8xf32>
  return
}
// -----
// expected-error @+1 {{quern_qtensor_c3: zeros of 'i8' for codes of 'ui8'}}
func.func private @qtensor_c3(!quern.qtensor<tensor<4x8xui8>, #quern.scale<block = [1, 0], type = f32>, zeros = i8>)
// -----
!q = !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>, zeros = i8>
func.func @quantize_c4(%x: tensor<4x8xf32>, %s: tensor<4x1xf32>) {
  // expected-error @+1 {{quern_quantize_c4: a zero point is given exactly where}}
  %0 = quern.quantize %x scale %s : tensor<4x1xf32> <divisor = 255.0, range = -128.0, 127.0, rounding = half_even, floor = 1.0> : tensor<4x8xf32> -> !q
  return
}
// -----
!q = !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>, zeros = i8>
func.func @quantize_c4_type(%x: tensor<4x8xf32>, %s: tensor<4x1xf32>, %z: tensor<1x1xi8>) {
  // expected-error @+1 {{quern_quantize_c4: the zero point has type 'tensor<1x1xi8>', the granularity needs 'tensor<4x1xi8>'}}
  %0 = quern.quantize %x scale %s : tensor<4x1xf32> zero %z : tensor<1x1xi8> <divisor = 255.0, range = -128.0, 127.0, rounding = half_even, floor = 1.0> : tensor<4x8xf32> -> !q
  return
}
// -----
!q = !quern.qtensor<tensor<4x8xi4>, #quern.scale<block = [1, 0], type = f32>>
func.func @quantize_c6(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{quern_quantize_c6: codes of 'i4' are not made, only read}}
  %0 = quern.quantize %x <divisor = 7.0, range = -7.0, 7.0, rounding = half_even, floor = 1.0> : tensor<4x8xf32> -> !q
  return
}
// -----
!q = !quern.qtensor<tensor<4x8xui4>, #quern.scale<block = [1, 0], type = f32>>
func.func @make_qtensor_c2(%c: tensor<4x8xui4>, %s: tensor<4x1xf32>) {
  // expected-error @+1 {{quern_make_qtensor_c2: codes of 'ui4' are not made, only read}}
  %0 = quern.make_qtensor %c, %s : tensor<4x8xui4>, tensor<4x1xf32> -> !q
  return
}
// -----
!q = !quern.qtensor<tensor<4x8xui4>, #quern.scale<block = [1, 0], type = f32>, zeros = ui4>
func.func @read_as_bytes(%q: !q) {
  %0 = quern.codes %q : !q -> tensor<4x8xui8>
  %1 = quern.zeros %q : !q -> tensor<4x1xui8>
  // expected-error @+1 {{quern_codes_c1: the result must be 'tensor<4x8xui8>'}}
  %2 = quern.codes %q : !q -> tensor<4x8xui4>
  return
}
// -----
!q = !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>, zeros = i8>
func.func @make_qtensor_c1_zeros(%c: tensor<4x8xi8>, %s: tensor<4x1xf32>) {
  // expected-error @+1 {{quern_make_qtensor_c1: zeros are given exactly where}}
  %0 = quern.make_qtensor %c, %s : tensor<4x8xi8>, tensor<4x1xf32> -> !q
  return
}
// -----
!q = !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
func.func @zeros_c1(%q: !q) {
  // expected-error @+1 {{quern_zeros_c1: the operand has no zeros}}
  %0 = quern.zeros %q : !q -> tensor<4x1xi8>
  return
}
// -----
func.func @encode_c3(%x: tensor<4x8xf32>, %s: tensor<4x1xf32>, %z: tensor<4x1xi8>) {
  // expected-error @+1 {{quern_encode_c3: zeros have the scales' shape}}
  %0 = quern.encode %x, %s zeros %z : tensor<4x1xi8> <divisor = 255.0, range = 0.0, 255.0, rounding = half_even, floor = 1.0> block [1, 0] : tensor<4x8xf32>, tensor<4x1xf32> -> tensor<4x8xui8>
  return
}
// -----
func.func @sum_codes_c1(%c: tensor<4x8xf32>) {
  // expected-error @+1 {{quern_sum_codes_c1: codes are i8 or ui8}}
  %0 = quern.sum_codes %c block [1, 0] : tensor<4x8xf32> -> tensor<4x1xi32>
  return
}
// -----
func.func @sum_codes_c2(%c: tensor<4x8xi8>, %z: tensor<4x2xi8>) {
  // expected-error @+1 {{quern_sum_codes_c2: a block of 0 holds parts of several blocks of 4 with a zero each}}
  %0 = quern.sum_codes %c zeros %z : tensor<4x2xi8> block [1, 0] {zeros_block = array<i64: 1, 4>} : tensor<4x8xi8> -> tensor<4x1xi32>
  return
}
// -----
func.func @correct_zeros_c1(%a: tensor<4x6xi32>, %z: tensor<4x1xi8>, %s: tensor<1x6xf32>) {
  // expected-error @+1 {{quern_correct_zeros_c1: zeros, i8 or ui8, come with}}
  %0 = quern.correct_zeros %a lhs_zeros %z, %s : tensor<4x1xi8>, tensor<1x6xf32> : tensor<4x6xi32> -> tensor<4x6xi32>
  return
}
// -----
func.func @contract_c5(%x: tensor<2x8xi8>, %w: tensor<4x8xi8>, %z: tensor<2x1xi8>, %s: tensor<4x1xi32>) {
  // expected-error @+1 {{quern_contract_c5: zeros come with the other operand's sums, in split products}}
  %0 = quern.contract %x, %w lhs_zeros %z, %s : tensor<2x1xi8>, tensor<4x1xi32> {transpose_rhs, lhs_block = array<i64: 1, 0>} : tensor<2x8xi8>, tensor<4x8xi8> -> tensor<2x4xi32>
  return
}
// -----
func.func @contract_c5_shape(%x: tensor<2x8xi8>, %w: tensor<4x8xi8>, %z: tensor<2x1xi8>, %s: tensor<4x1xi32>) {
  // expected-error @+1 {{quern_contract_c5: zeros have the shape of their block map}}
  %0 = quern.contract %x, %w lhs_zeros %z, %s : tensor<2x1xi8>, tensor<4x1xi32> {transpose_rhs, split = 4 : i64, lhs_block = array<i64: 1, 0>} : tensor<2x8xi8>, tensor<4x8xi8> -> tensor<2x4xf32>
  return
}

// -----

func.func @quantizer_c1(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{quern_quantizer_c1: a divisor of}}
  %0 = quern.quantize %x <divisor = 0.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0> : tensor<4x8xf32> -> !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
  return
}

// -----

func.func @quantizer_scale_rounding(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{scale_rounding is nearest, power_ceil, power_floor or power_even}}
  %0 = quern.quantize %x <divisor = 1.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0, scale_rounding = up> : tensor<4x8xf32> -> !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
  return
}

// -----

func.func @power_of_two_c1(%x: tensor<4xf16>) {
  // expected-error @+1 {{quern_power_of_two_c1: operand and result are f32}}
  %0 = quern.power_of_two power_ceil %x most 2.0 : tensor<4xf16> -> tensor<4xf16>
  return
}

// -----

func.func @power_of_two_c2(%x: tensor<4xf32>) {
  // expected-error @+1 {{quern_power_of_two_c2: the rounding is power_ceil}}
  %0 = quern.power_of_two nearest %x most 2.0 : tensor<4xf32> -> tensor<4xf32>
  return
}

// -----

func.func @power_of_two_c3(%x: tensor<4xf32>) {
  // expected-error @+1 {{quern_power_of_two_c3: `most` is 3.000000e+00, not a normal power of two}}
  %0 = quern.power_of_two power_even %x most 3.0 : tensor<4xf32> -> tensor<4xf32>
  return
}

// -----

func.func @count_clipped_c1(%x: tensor<4x8xf32>, %s: tensor<4x1xf32>) {
  // expected-error @+1 {{quern_count_clipped_c1: 'tensor<4x1xf32>' are not the scales of 'tensor<4x8xf32>'}}
  %0 = quern.count_clipped %x, %s <divisor = 1.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0> scales [0, 0] block [0, 0] : tensor<4x8xf32>, tensor<4x1xf32> -> tensor<1x1xi32>
  return
}

// -----

func.func @count_clipped_c2(%x: tensor<4x8xf32>, %s: tensor<4x1xf32>, %n: tensor<4x1xi32>) {
  // expected-error @+1 {{quern_count_clipped_c2: counts are i32, with an element for each block}}
  %0 = quern.count_clipped %x, %s after %n : tensor<4x1xi32> <divisor = 1.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0> scales [1, 0] block [0, 0] : tensor<4x8xf32>, tensor<4x1xf32> -> tensor<1x1xi32>
  return
}

// -----

func.func @add_counts_c1(%x: tensor<4x8xi32>) {
  // expected-error @+1 {{quern_add_counts_c1: counts are i32, with an element for each block}}
  %0 = quern.add_counts %x block [1, 0] : tensor<4x8xi32> -> tensor<1x8xi32>
  return
}

// -----

func.func @quantizer_c2(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{quern_quantizer_c2: a percentile of 1.000000e+02; it is from 50 to 99.9999}}
  %0 = quern.quantize %x <divisor = 1.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0, statistic = percentile(100.0)> : tensor<4x8xf32> -> !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
  return
}

// -----

func.func @quantizer_c2_sample(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{quern_quantizer_c2: a sample with a stride of 2.500000e+00}}
  %0 = quern.quantize %x <divisor = 1.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0, statistic = sampled(2.5)> : tensor<4x8xf32> -> !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
  return
}

// -----

func.func @quantizer_statistic(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{statistic is percentile(99.9) or sampled(16)}}
  %0 = quern.quantize %x <divisor = 1.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0, statistic = median(2.5)> : tensor<4x8xf32> -> !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
  return
}

// -----

func.func @quantize_c5(%x: tensor<4x8xf32>, %s: tensor<4x1xf32>) {
  // expected-error @+1 {{quern_quantize_c5: a statistic beside a given scale}}
  %0 = quern.quantize %x scale %s : tensor<4x1xf32> <divisor = 1.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0, statistic = sampled(2.0)> : tensor<4x8xf32> -> !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
  return
}

// -----

func.func @quantize_c5_zeros(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{quern_quantize_c5: a statistic beside a given scale, or with zeros}}
  %0 = quern.quantize %x <divisor = 1.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0, statistic = percentile(99.0)> : tensor<4x8xf32> -> !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>, zeros = i8>
  return
}

// -----

func.func @quantize_c5_stride(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{quern_quantize_c5: a sample with a stride of 3 of blocks that have 4 along the last axis}}
  %0 = quern.quantize %x <divisor = 1.0, range = -127.0, 127.0, rounding = half_even, floor = 1.0, statistic = sampled(3.0)> : tensor<4x8xf32> -> !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 4], type = f32>>
  return
}

// -----

func.func @percentile_c1(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{quern_percentile_c1}}
  %0 = quern.percentile %x tail 1.000000e-01 block [1, 0] : tensor<4x8xf32> -> tensor<4x8xf32>
  return
}

// -----

func.func @percentile_c2(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{quern_percentile_c2: a tail of 6.000000e-01; it is above 0 and at most 0.5}}
  %0 = quern.percentile %x tail 6.000000e-01 block [1, 0] : tensor<4x8xf32> -> tensor<4x1xf32>
  return
}
