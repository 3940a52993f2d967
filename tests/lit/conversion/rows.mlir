// Reductions, softmax and norms over blocks.
// RUN: quern-opt %s -quern-to-tile -split-input-file | FileCheck %s

// A short last block is clamped, unless the symbol's divisibility excludes it.
#n = affine_map<()[s0, s1] -> (s0, s1)>
#r = affine_map<()[s0, s1] -> (s0 ceildiv 16, s1 ceildiv 4)>
// CHECK-DAG: #[[BOX:.*]] = affine_map<(d0)[s0, s1] -> (16, 4)>
// CHECK-DAG: #[[CLAMP:.*]] = affine_map<(d0)[s0, s1] -> (d0 * -16 + s0, 4)>
// CHECK-LABEL: tile.kernel @quern_mean_0_mean
// CHECK-SAME: numerics_class = 1
// CHECK: tile.blocks #{{.*}} (%[[I:.*]]: index, %[[J:.*]]: index) {
// CHECK: %[[S:.*]] = tile.reduce addf (%[[I]]) box #[[BOX]] clamp #[[CLAMP]] (%{{.*}}: index, %{{.*}}: index) {
// CHECK: } : f32
// The count of a short block is its own.
// CHECK: %[[C:.*]] = arith.sitofp
// CHECK: arith.divf %[[S]], %[[C]]
func.func @mean(%x: tensor<?x?xf32, #n>) -> tensor<?x?xf32, #r>
    attributes {quern.symbols = [#quern.symbol<"M", 1, 64, 1>, #quern.symbol<"N", 4, 64, 4>]} {
  %0 = quern.reduce mean %x block [16, 4] : tensor<?x?xf32, #n> -> tensor<?x?xf32, #r>
  return %0 : tensor<?x?xf32, #r>
}

// -----
// CHECK-LABEL: tile.kernel @quern_attention_0_softmax
// CHECK: %[[M:.*]] = tile.reduce maximumf
// CHECK: %[[S:.*]] = tile.reduce addf
// CHECK: arith.subf %{{.*}}, %[[M]]
// CHECK: math.exp
// CHECK: tile.map
// CHECK: %[[E:.*]] = math.exp
// CHECK: %[[Y:.*]] = arith.divf %[[E]], %[[S]]
// CHECK: arith.truncf %[[Y]] : f32 to f16
func.func @attention(%x: tensor<2x8x40xf16>) -> tensor<2x8x40xf16> {
  %0 = quern.softmax %x : tensor<2x8x40xf16> -> tensor<2x8x40xf16>
  return %0 : tensor<2x8x40xf16>
}

// -----
// The sum of squares, the mean and the root leave the element loops.
// CHECK-LABEL: tile.kernel @quern_norm_0_layernorm
// CHECK: %[[SUM:.*]] = tile.reduce addf
// CHECK: %[[MEAN:.*]] = arith.divf %[[SUM]], %{{.*}}
// CHECK: %[[SQUARES:.*]] = tile.reduce addf
// CHECK: arith.subf %{{.*}}, %[[MEAN]]
// CHECK: %[[VAR:.*]] = arith.divf %[[SQUARES]], %{{.*}}
// CHECK: %[[EPS:.*]] = arith.addf %[[VAR]], %{{.*}}
// CHECK: %[[ROOT:.*]] = math.sqrt %[[EPS]]
// CHECK: %[[R:.*]] = arith.divf %{{.*}}, %[[ROOT]]
// CHECK: tile.map
// CHECK-NOT: math.sqrt
// CHECK: %[[D:.*]] = arith.subf %{{.*}}, %[[MEAN]]
// CHECK: %[[P:.*]] = arith.mulf %[[D]], %[[R]]
// CHECK: %[[W:.*]] = arith.mulf %[[P]], %{{.*}}
// CHECK: arith.addf %[[W]], %{{.*}}
func.func @norm(%x: tensor<8x40xf32>, %w: tensor<40xf32>, %b: tensor<40xf32>) -> tensor<8x40xf32> {
  %0 = quern.layernorm %x, %w, %b eps 1.0e-5 : tensor<8x40xf32>, tensor<40xf32>, tensor<40xf32> -> tensor<8x40xf32>
  return %0 : tensor<8x40xf32>
}

// -----
// One maximum for the whole tensor: a single point.
// CHECK-DAG: #[[POINT:.*]] = affine_map<() -> ()>
// CHECK-LABEL: tile.kernel @quern_whole_0_max
// CHECK: tile.blocks #[[POINT]] () {
// CHECK: tile.reduce maximumf () box #{{.*}} (%{{.*}}: index, %{{.*}}: index)
func.func @whole(%x: tensor<8x40xf32>) -> tensor<1x1xf32> {
  %0 = quern.reduce max %x block [0, 0] : tensor<8x40xf32> -> tensor<1x1xf32>
  return %0 : tensor<1x1xf32>
}

// -----
// Half away from zero, from half to even: no approximation of t + 0.5.
!q = !quern.qtensor<tensor<8x40xi8>, #quern.scale<block = [1, 0], type = f32>>
// CHECK-LABEL: tile.kernel @quern_away_0_encode
// CHECK: %[[R:.*]] = math.roundeven %[[T:.*]] : f32
// CHECK: %[[D:.*]] = arith.subf %[[T]], %[[R]] : f32
// CHECK: arith.cmpf oeq, %[[D]]
// CHECK: arith.cmpf ogt, %[[T]]
// CHECK: arith.cmpf oeq, %[[D]]
// CHECK: arith.cmpf olt, %[[T]]
func.func @away(%x: tensor<8x40xf32>, %s: tensor<8x1xf32>) -> !q {
  %0 = quern.quantize %x scale %s : tensor<8x1xf32> <divisor = 127.0, range = -127.0, 127.0, rounding = half_away, floor = 1.17549435E-38> : tensor<8x40xf32> -> !q
  return %0 : !q
}
