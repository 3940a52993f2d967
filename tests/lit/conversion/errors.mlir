// What cannot be converted says why, where it stands.
// RUN: quern-opt %s -convert-quern-to-tile -verify-diagnostics -split-input-file

func.func @convert_quern_c1(%x: tensor<4xf16>) -> tensor<4xf16> {
  // expected-error @+1 {{convert_quern_c1: stands outside of any kernel; run quern-form-kernels first}}
  %0 = quern.neg %x : tensor<4xf16> -> tensor<4xf16>
  return %0 : tensor<4xf16>
}
// -----
// Rows and columns of one tensor are not the same blocks.
func.func @convert_quern_c2(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = quern.kernel "wrong" because "made by hand" : tensor<4x8xf32> {
    %r = quern.reduce sum %x block [1, 0] : tensor<4x8xf32> -> tensor<4x1xf32>
    // expected-error @+1 {{convert_quern_c2: its blocks are not the blocks of the kernel it is in}}
    %c = quern.reduce sum %x block [0, 1] : tensor<4x8xf32> -> tensor<1x8xf32>
    %a = quern.add %r, %c : tensor<4x1xf32>, tensor<1x8xf32> -> tensor<4x8xf32>
    quern.yield %a : tensor<4x8xf32>
  }
  return %0 : tensor<4x8xf32>
}
// -----
func.func @convert_quern_c2_shape(%x: tensor<4x8xf32>) -> tensor<8x4xf32> {
  %0 = quern.kernel "wrong" because "made by hand" : tensor<8x4xf32> {
    %r = quern.softmax %x : tensor<4x8xf32> -> tensor<4x8xf32>
    // expected-error @+1 {{convert_quern_c2: a value of type 'tensor<8x4xf32>' is neither per element nor per block of 'tensor<4x8xf32>'}}
    %t = quern.transpose %r [1, 0] : tensor<4x8xf32> -> tensor<8x4xf32>
    quern.yield %t : tensor<8x4xf32>
  }
  return %0 : tensor<8x4xf32>
}
// -----
func.func @convert_quern_c2_products(%x: tensor<4x8xf32>, %y: tensor<3x8xf32>) -> tensor<4x4xf32> {
  %0 = quern.kernel "wrong" because "made by hand" : tensor<4x4xf32> {
    %a = quern.contract %x, %x {transpose_rhs} : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x4xf32>
    // expected-error @+1 {{convert_quern_c2: differs in extents, types or split from the other contraction of its kernel}}
    %b = quern.contract %x, %y {transpose_rhs} : tensor<4x8xf32>, tensor<3x8xf32> -> tensor<4x3xf32>
    quern.yield %a : tensor<4x4xf32>
  }
  return %0 : tensor<4x4xf32>
}
// -----
#v = affine_map<()[s0] -> (s0, 8)>
func.func @convert_quern_c4(%t: tensor<?x8xf32, #v>, %i: tensor<3xi32>) -> tensor<3x8xf32>
    attributes {quern.symbols = [#quern.symbol<"V", 0, 8, 1>]} {
  %0 = quern.kernel "gather" because "made by hand" : tensor<3x8xf32> {
    // expected-error @+1 {{convert_quern_c4: the table may have no rows; give the symbol of its first axis a minimum of 1}}
    %g = quern.gather %t, %i : tensor<?x8xf32, #v>, tensor<3xi32> -> tensor<3x8xf32>
    quern.yield %g : tensor<3x8xf32>
  }
  return %0 : tensor<3x8xf32>
}
// -----
#v = affine_map<()[s0] -> (s0, 8)>
#w = affine_map<()[s0] -> (s0 + 4, 8)>
func.func @convert_quern_c4_concat(%x: tensor<?x8xf32, #v>, %y: tensor<4x8xf32>) -> tensor<?x8xf32, #w>
    attributes {quern.symbols = [#quern.symbol<"V", 0, 8, 1>]} {
  %0 = quern.kernel "concat" because "made by hand" : tensor<?x8xf32, #w> {
    // expected-error @+1 {{convert_quern_c4: an input may be empty along the axis; give its symbol a minimum of 1}}
    %c = quern.concat %x, %y axis 0 : tensor<?x8xf32, #v>, tensor<4x8xf32> -> tensor<?x8xf32, #w>
    %n = quern.neg %c : tensor<?x8xf32, #w> -> tensor<?x8xf32, #w>
    quern.yield %n : tensor<?x8xf32, #w>
  }
  return %0 : tensor<?x8xf32, #w>
}
// -----
// expected-error @+1 {{convert_quern_c5: a tensor of rank 7; buffers have 6 dimensions at most}}
func.func @convert_quern_c5(%x: tensor<1x1x1x1x1x1x1xf32>) -> tensor<1x1x1x1x1x1x1xf32> {
  return %x : tensor<1x1x1x1x1x1x1xf32>
}
// -----
// expected-error @+1 {{convert_quern_c6: result 'b' of type 'tensor<4xf32>' is inout, and no inout argument has its name and type}}
func.func @convert_quern_c6(%a: tensor<4xf32> {quern.name = "a", quern.inout}) -> (tensor<4xf32> {quern.name = "b", quern.inout}) {
  return %a : tensor<4xf32>
}
