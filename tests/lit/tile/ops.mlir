// Every operation survives printing and parsing by a tool that knows nothing
// of layers.
// RUN: tile-opt %s | tile-opt | FileCheck %s

!x = !tile.buffer<()[s0] -> (s0, 256), f16>
!c = !tile.buffer<()[s0] -> (s0, 256), i8>
!s = !tile.buffer<()[s0] -> (s0, 2), f32>
!w = !tile.buffer<()[s0] -> (8, 256), i8>
!y = !tile.buffer<()[s0] -> (s0, 8), f32>

// CHECK: tile.program @layer symbols [#tile.symbol<"M", 1, 64, 1>] numerics "strict" {
tile.program @layer symbols [#tile.symbol<"M", 1, 64, 1>] numerics "strict" {
  // CHECK: tile.buffer "x" "values" input : <()[s0] -> (s0, 256), f16>
  %x = tile.buffer "x" "values" input : !x
  // CHECK: tile.buffer "w" "codes" weight : <()[s0] -> (8, 256), i8>
  %w = tile.buffer "w" "codes" weight : !w
  // CHECK: tile.buffer "y" "values" output
  %y = tile.buffer "y" "values" output : !y
  // CHECK: tile.buffer "tmp0" "codes" temporary
  %c = tile.buffer "tmp0" "codes" temporary : !c
  %s = tile.buffer "tmp0" "scales" temporary : !s
  // CHECK: tile.buffer "w" "packed" packed
  %p = tile.buffer "w" "packed" packed : !w
  // CHECK: tile.launch @quantize(%{{.*}}, %{{.*}}, %{{.*}}) : !tile.buffer
  tile.launch @quantize(%x, %s, %c) : !x, !s, !c
  // CHECK: tile.launch @quantize(%{{.*}}) when [#tile.range<"M", 2, 8>] :
  tile.launch @quantize(%x, %s, %c) when [#tile.range<"M", 2, 8>] : !x, !s, !c
  // CHECK: tile.launch @pack(%{{.*}}, %{{.*}}) phase prepare :
  tile.launch @pack(%w, %p) phase prepare : !w, !w
}

// CHECK: tile.kernel @quantize attributes {
tile.kernel @quantize attributes {symbols = [#tile.symbol<"M", 1, 64, 1>], writes = array<i1: false, true, true>, numerics_class = 0 : i32, reason = "shown"} (%x: !x, %s: !s, %c: !c) {
  // CHECK: tile.blocks #{{.*}} (%[[I:.*]]: index, %[[J:.*]]: index) {
  tile.blocks affine_map<()[s0] -> (s0, 2)> (%i: index, %j: index) {
    // CHECK: %[[M:.*]] = tile.reduce maximumf (%[[J]]) box #{{.*}} clamp #{{.*}} (%[[E:.*]]: index) {
    %m = tile.reduce maximumf (%j) box affine_map<(d0)[s0] -> (128)> clamp affine_map<(d0)[s0] -> (256 - d0 * 128)> (%e: index) {
      // CHECK: tile.load %{{.*}} at #{{.*}}(%[[I]], %[[J]], %[[E]]) : <()[s0] -> (s0, 256), f16> -> f16
      %v = tile.load %x at affine_map<(d0, d1, d2)[s0] -> (d0, d1 * 128 + d2)> (%i, %j, %e) : !x -> f16
      %f = arith.extf %v : f16 to f32
      tile.yield %f : f32
    } : f32
    // CHECK: tile.store %[[M]] to %{{.*}} at #{{.*}}(%[[I]], %[[J]]) : f32, <()[s0] -> (s0, 2), f32>
    tile.store %m to %s at affine_map<(d0, d1)[s0] -> (d0, d1)> (%i, %j) : f32, !s
    // CHECK: tile.map () box #{{.*}} (%{{.*}}: index) {
    tile.map () box affine_map<()[s0] -> (128)> (%e: index) {
      %z = arith.constant 0 : i8
      // CHECK: tile.index #{{.*}}(%{{.*}}, %{{.*}})
      %k = tile.index affine_map<(d0, d1)[s0] -> (d0 * 128 + d1)> (%j, %e)
      tile.store %z to %c at affine_map<(d0, d1)[s0] -> (d0, d1)> (%i, %k) : i8, !c
      tile.yield
    }
  }
}

// CHECK: tile.kernel @product
tile.kernel @product attributes {symbols = [#tile.symbol<"M", 1, 64, 1>], writes = array<i1: false, false, false, true>, numerics_class = 0 : i32, reason = "shown"} (%c: !c, %w: !w, %s: !s, %y: !y) {
  // CHECK: tile.contract {extents = #{{.*}}, num_batch = 0 : i64, num_lhs = 1 : i64, split = 128 : i64, terms = array<i64: 0, 0>} epilogue (%{{.*}}: index, %{{.*}}: index, %{{.*}}: f32) {
  tile.contract {extents = affine_map<()[s0] -> (s0, 8, 256)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>, split = 128 : i64} epilogue (%m: index, %n: index, %acc: f32) {
    tile.store %acc to %y at affine_map<(d0, d1)[s0] -> (d0, d1)> (%m, %n) : f32, !y
    tile.yield
  // CHECK: } rescale (%{{.*}}: index, %{{.*}}: index, %{{.*}}: index) {
  } rescale (%m: index, %n: index, %k: index) {
    %0 = tile.load %s at affine_map<(d0, d1)[s0] -> (d0, d1)> (%m, %k) : !s -> f32
    tile.yield %0 : f32
  // CHECK: } operand (%{{.*}}: index, %{{.*}}: index) {
  } operand (%m: index, %k: index) {
    %0 = tile.load %c at affine_map<(d0, d1)[s0] -> (d0, d1)> (%m, %k) : !c -> i8
    tile.yield %0 : i8
  } operand (%n: index, %k: index) {
    %0 = tile.load %w at affine_map<(d0, d1)[s0] -> (d0, d1)> (%n, %k) : !w -> i8
    tile.yield %0 : i8
  }
}

!h = !tile.buffer<()[s0] -> (s0, 8), f16>
!amax = !tile.buffer<()[s0] -> (s0), i32>
// Two stages: a product, and the absolute maximum of its rows.
// CHECK: tile.kernel @stages attributes {{.*}}placement = 0 : i32
tile.kernel @stages attributes {symbols = [#tile.symbol<"M", 1, 64, 1>], writes = array<i1: false, false, true>, numerics_class = 0 : i32, reason = "shown", placement = 0 : i32} (%c: !c, %w: !w, %amax: !amax) {
  // CHECK: %[[H:.*]] = tile.local : <()[s0] -> (s0, 8), f16>
  %h = tile.local : !h
  tile.contract {extents = affine_map<()[s0] -> (s0, 8, 256)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>} epilogue (%m: index, %n: index, %acc: i32) {
    %0 = arith.sitofp %acc : i32 to f32
    %1 = arith.truncf %0 : f32 to f16
    // CHECK: tile.store %{{.*}} to %[[H]]
    tile.store %1 to %h at affine_map<(d0, d1)[s0] -> (d0, d1)> (%m, %n) : f16, !h
    tile.yield
  } operand (%m: index, %k: index) {
    %0 = tile.load %c at affine_map<(d0, d1)[s0] -> (d0, d1)> (%m, %k) : !c -> i8
    tile.yield %0 : i8
  } operand (%n: index, %k: index) {
    %0 = tile.load %w at affine_map<(d0, d1)[s0] -> (d0, d1)> (%n, %k) : !w -> i8
    tile.yield %0 : i8
  }
  // CHECK: tile.blocks
  tile.blocks affine_map<()[s0] -> (s0)> (%i: index) {
    tile.map (%i) box affine_map<(d0)[s0] -> (8)> (%j: index) {
      %0 = tile.load %h at affine_map<(d0, d1)[s0] -> (d0, d1)> (%i, %j) : !h -> f16
      %1 = arith.extf %0 : f16 to f32
      %2 = arith.bitcast %1 : f32 to i32
      // CHECK: tile.accumulate umax %{{.*}} to %{{.*}} at
      tile.accumulate umax %2 to %amax at affine_map<(d0)[s0] -> (d0)> (%i) : !amax
      tile.yield
    }
  }
}
