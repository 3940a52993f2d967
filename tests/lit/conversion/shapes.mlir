// Shape ops are index maps of the loads they reach.
// RUN: quern-opt %s -quern-to-tile -split-input-file | FileCheck %s

// Heads of an attention: [B, S, H*D] -> [B, H, S, D], as one map.
#x = affine_map<()[s0, s1] -> (s0, s1, 512)>
#s = affine_map<()[s0, s1] -> (s0, s1, 8, 64)>
#t = affine_map<()[s0, s1] -> (s0, 8, s1, 64)>
// CHECK-DAG: #[[HEADS:.*]] = affine_map<(d0, d1, d2, d3)[s0, s1] -> (d0, d2, d1 * 64 + d3)>
// CHECK-LABEL: tile.kernel @quern_heads_0_elementwise
// CHECK: tile.load %{{.*}} at #[[HEADS]]
func.func @heads(%x: tensor<?x?x512xf16, #x>) -> tensor<?x8x?x64xf16, #t>
    attributes {quern.symbols = [#quern.symbol<"B", 0, 64, 1>, #quern.symbol<"S", 0, 64, 1>]} {
  %0 = quern.reshape %x : tensor<?x?x512xf16, #x> -> tensor<?x?x8x64xf16, #s>
  %1 = quern.transpose %0 [0, 2, 1, 3] : tensor<?x?x8x64xf16, #s> -> tensor<?x8x?x64xf16, #t>
  %2 = quern.neg %1 : tensor<?x8x?x64xf16, #t> -> tensor<?x8x?x64xf16, #t>
  %3 = quern.abs %2 : tensor<?x8x?x64xf16, #t> -> tensor<?x8x?x64xf16, #t>
  return %3 : tensor<?x8x?x64xf16, #t>
}

// -----
// Back again: division and remainder by 64.
#s = affine_map<()[s0] -> (s0, 8, 64)>
#x = affine_map<()[s0] -> (s0, 512)>
// CHECK-DAG: #[[JOIN:.*]] = affine_map<(d0, d1)[s0] -> (d0, d1 floordiv 64, d1 mod 64)>
// CHECK-LABEL: tile.kernel @quern_join_0_reshape
// CHECK: tile.load %{{.*}} at #[[JOIN]]
func.func @join(%x: tensor<?x8x64xf16, #s>) -> tensor<?x512xf16, #x>
    attributes {quern.symbols = [#quern.symbol<"M", 0, 64, 1>]} {
  %0 = quern.reshape %x : tensor<?x8x64xf16, #s> -> tensor<?x512xf16, #x>
  return %0 : tensor<?x512xf16, #x>
}

// -----
// CHECK-DAG: #[[SLICE:.*]] = affine_map<(d0, d1) -> (d0 + 1, d1 * 2 + 3)>
// CHECK-LABEL: tile.kernel @quern_slice_0_slice
// CHECK: tile.load %{{.*}} at #[[SLICE]]
func.func @slice(%x: tensor<4x64xf16>) -> tensor<3x30xf16> {
  %0 = quern.slice %x from affine_map<() -> (1, 3)> by [1, 2] : tensor<4x64xf16> -> tensor<3x30xf16>
  return %0 : tensor<3x30xf16>
}

// -----
// Every input is read at an index clamped into it; the position chooses.
// CHECK-LABEL: tile.kernel @quern_concat_0_concat
// CHECK: %[[P:.*]] = tile.index
// CHECK-COUNT-2: arith.maxsi
// CHECK: %[[B:.*]] = tile.load %{{.*}}5), f16>
// CHECK: %[[C:.*]] = arith.cmpi sge, %[[P]], %{{.*}} : index
// CHECK: arith.select %[[C]], %[[B]], %{{.*}} : f16
func.func @concat(%a: tensor<4x3xf16>, %b: tensor<4x5xf16>) -> tensor<4x8xf16> {
  %0 = quern.concat %a, %b axis 1 : tensor<4x3xf16>, tensor<4x5xf16> -> tensor<4x8xf16>
  return %0 : tensor<4x8xf16>
}

// -----
// An input that may be empty is never read: one kernel for each part.
#a = affine_map<()[s0] -> (s0, 3)>
#c = affine_map<()[s0] -> (s0 + 4, 3)>
// CHECK-DAG: #[[AFTER:.*]] = affine_map<(d0, d1)[s0] -> (d0 + s0, d1)>
// CHECK: tile.launch @quern_append_0_concat
// CHECK: tile.launch @quern_append_1_concat
// CHECK-LABEL: tile.kernel @quern_append_1_concat
// CHECK-NOT: arith.select
// CHECK: tile.store %{{.*}} to %{{.*}} at #[[AFTER]]
func.func @append(%a: tensor<?x3xf16, #a>, %b: tensor<4x3xf16>) -> tensor<?x3xf16, #c>
    attributes {quern.symbols = [#quern.symbol<"M", 0, 64, 1>]} {
  %0 = quern.concat %a, %b axis 0 : tensor<?x3xf16, #a>, tensor<4x3xf16> -> tensor<?x3xf16, #c>
  return %0 : tensor<?x3xf16, #c>
}

// -----
// A row outside of the table becomes the nearest one.
// CHECK-LABEL: tile.kernel @quern_embedding_0_gather
// CHECK: %[[I:.*]] = tile.load %{{.*}} -> i32
// CHECK: %[[X:.*]] = arith.index_cast %[[I]] : i32 to index
// CHECK: %[[L:.*]] = arith.maxsi %[[X]], %{{.*}} : index
// CHECK: %[[R:.*]] = arith.minsi %[[L]], %{{.*}} : index
// CHECK: tile.load %{{.*}} at #{{.*}}(%{{.*}}, %[[R]])
func.func @embedding(%t: tensor<1000x64xf16>, %i: tensor<5xi32>) -> tensor<5x64xf16> {
  %0 = quern.gather %t, %i : tensor<1000x64xf16>, tensor<5xi32> -> tensor<5x64xf16>
  return %0 : tensor<5x64xf16>
}
