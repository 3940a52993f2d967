// What is an argument, or is given twice, is copied; a quantized result is two
// buffers.
// RUN: quern-opt %s -quern-to-tile | FileCheck %s

!q = !quern.qtensor<tensor<4x8xi8>, #quern.scale<block = [1, 0], type = f32>>
// CHECK-LABEL: tile.program @same
// CHECK: %[[X:.*]] = tile.buffer "x" "values" input
// CHECK: %[[QC:.*]] = tile.buffer "q" "codes" input
// CHECK: %[[QS:.*]] = tile.buffer "q" "scales" input
// CHECK: %[[A:.*]] = tile.buffer "a" "values" output
// CHECK: %[[B:.*]] = tile.buffer "b" "values" output
// CHECK: %[[CC:.*]] = tile.buffer "c" "codes" output
// CHECK: %[[CS:.*]] = tile.buffer "c" "scales" output
// CHECK: %[[D:.*]] = tile.buffer "d" "values" output
// CHECK: tile.launch @quern_same_0_neg(%[[X]], %[[A]])
// CHECK: tile.launch @quern_same_1_copy(%[[A]], %[[B]])
// CHECK: tile.launch @quern_same_2_copy(%[[QC]], %[[CC]])
// CHECK: tile.launch @quern_same_3_copy(%[[QS]], %[[CS]])
// CHECK: tile.launch @quern_same_4_copy(%[[X]], %[[D]])
func.func @same(%x: tensor<4x8xf16> {quern.name = "x"}, %q: !q {quern.name = "q"})
    -> (tensor<4x8xf16> {quern.name = "a"}, tensor<4x8xf16> {quern.name = "b"}, !q {quern.name = "c"}, tensor<4x8xf16> {quern.name = "d"}) {
  %n = quern.neg %x : tensor<4x8xf16> -> tensor<4x8xf16>
  return %n, %n, %q, %x : tensor<4x8xf16>, tensor<4x8xf16>, !q, tensor<4x8xf16>
}

// A constant is a result like any other.
// CHECK-LABEL: tile.kernel @quern_number_0_constant
// CHECK: tile.blocks #{{.*}} () {
// CHECK: %[[C:.*]] = arith.constant 2.000000e+00 : f32
// CHECK: tile.store %[[C]]
func.func @number() -> tensor<f32> {
  %0 = quern.constant 2.0 : f32 : tensor<f32>
  return %0 : tensor<f32>
}

// What inout arguments hold afterwards is copied last; an argument that becomes
// another's value is set aside before.
// CHECK-LABEL: tile.program @state
// CHECK: %[[A:.*]] = tile.buffer "a" "values" input
// CHECK: %[[B:.*]] = tile.buffer "b" "values" input
// CHECK: %[[C:.*]] = tile.buffer "c" "values" output
// CHECK: %[[A2:.*]] = tile.buffer "a" "values" output
// CHECK: %[[ASIDE:.*]] = tile.buffer "a.next" "values" temporary
// CHECK: %[[B2:.*]] = tile.buffer "b" "values" output
// CHECK: tile.launch @quern_state_0_neg(%[[A]], %[[C]])
// CHECK: tile.launch @quern_state_1_copy(%[[B]], %[[ASIDE]])
// CHECK: tile.launch @quern_state_2_update(%[[ASIDE]], %[[A2]])
// CHECK: tile.launch @quern_state_3_update(%[[C]], %[[B2]])
func.func @state(%a: tensor<4xf32> {quern.name = "a", quern.inout}, %b: tensor<4xf32> {quern.name = "b", quern.inout})
    -> (tensor<4xf32> {quern.name = "c"}, tensor<4xf32> {quern.name = "a", quern.inout}, tensor<4xf32> {quern.name = "b", quern.inout}) {
  %n = quern.neg %a : tensor<4xf32> -> tensor<4xf32>
  return %n, %b, %n : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
}
