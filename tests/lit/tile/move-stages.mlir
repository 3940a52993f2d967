// The three moves that put launches together (StageFusion.h).
// RUN: tile-opt %s -tile-move-stages="move=fuse placement=grid" | FileCheck %s --check-prefix=FUSE
// RUN: tile-opt %s -tile-move-stages="move=fuse placement=panel keep=true" | FileCheck %s --check-prefix=KEEP
// RUN: tile-opt %s -tile-move-stages="move=accumulate buffer=h" | FileCheck %s --check-prefix=ACCUMULATE
// RUN: tile-opt %s -tile-move-stages="move=absorb first=1 second=2 buffer=q" | FileCheck %s --check-prefix=ABSORB
// RUN: not tile-opt %s -tile-move-stages="move=fuse first=0 second=2" 2>&1 | FileCheck %s --check-prefix=PRODUCTS
// RUN: not tile-opt %s -tile-move-stages="move=accumulate first=1 second=2 buffer=q" 2>&1 | FileCheck %s --check-prefix=NOTHING
// RUN: not tile-opt %s -tile-move-stages="move=absorb first=0 second=1 buffer=h" 2>&1 | FileCheck %s --check-prefix=PRODUCT

// The value between the two becomes a local; the bodies stay as they are.
// FUSE-NOT: tile.buffer "h"
// FUSE: tile.launch @[[K:quern_mv_0_product_quantize]](
// FUSE-NOT: quern_mv_1_quantize
// FUSE: tile.kernel @[[K]] {{.*}}placement = 3 : i32
// FUSE: %[[H:.*]] = tile.local
// FUSE: tile.contract
// FUSE: tile.store %{{.*}} to %[[H]]
// FUSE: tile.blocks
// FUSE: tile.reduce umax
// FUSE: tile.load %[[H]]

// Or stays in memory.
// KEEP: tile.buffer "h" "values" temporary
// KEEP: tile.kernel @quern_mv_0_product_quantize {{.*}}placement = 4 : i32
// KEEP-NOT: tile.local

// The maximum is taken where h is stored, and read where it was taken.
// ACCUMULATE: %[[S:.*]] = tile.buffer "h" "absmax" state : <()[s0] -> (s0), i32>
// ACCUMULATE: tile.launch @quern_mv_0_product({{.*}}, %[[S]])
// ACCUMULATE: tile.launch @quern_mv_1_quantize({{.*}}, %[[S]])
// ACCUMULATE: tile.kernel @quern_mv_0_product
// ACCUMULATE: tile.accumulate umax %{{.*}} to %{{.*}} at
// ACCUMULATE: tile.store %{{.*}}: f16
// ACCUMULATE: tile.kernel @quern_mv_1_quantize
// ACCUMULATE-NOT: tile.reduce

// The codes are made where the product reads them; the scale stays.
// ABSORB-NOT: tile.buffer "q" "codes"
// ABSORB: tile.kernel @quern_mv_1_quantize
// ABSORB: tile.reduce umax
// ABSORB-NOT: tile.map
// ABSORB: tile.kernel @quern_mv_2_product
// ABSORB: } operand
// ABSORB: arith.divf %{{.*}} {tile.to_code}
// ABSORB: tile.yield %{{.*}} : i8

// PRODUCTS: cannot move: two products do not share a kernel
// NOTHING: cannot move: what reads the value is no list of reductions
// PRODUCT: cannot move: the codes are made by a product

#map = affine_map<()[s0] -> (s0, 32, 64)>
#map1 = affine_map<(d0)[s0] -> (d0, 0)>
#map2 = affine_map<(d0, d1)[s0] -> (d0, d1)>
#map3 = affine_map<()[s0] -> (s0)>
#map4 = affine_map<()[s0] -> (32)>
#map5 = affine_map<()[s0] -> (s0, 16, 32)>
module {
  tile.program @mv symbols [#tile.symbol<"M", 0, 2147483647, 1>] numerics "strict" {
    %0 = tile.buffer "x" "codes" input : <()[s0] -> (s0, 64), i8>
    %1 = tile.buffer "x" "scales" input : <()[s0] -> (s0, 1), f32>
    %2 = tile.buffer "w" "codes" weight : <()[s0] -> (32, 64), i8>
    %3 = tile.buffer "w" "scales" weight : <()[s0] -> (32, 1), f32>
    %4 = tile.buffer "v" "codes" weight : <()[s0] -> (16, 32), i8>
    %5 = tile.buffer "v" "scales" weight : <()[s0] -> (16, 1), f32>
    %6 = tile.buffer "result" "values" output : <()[s0] -> (s0, 16), f32>
    %7 = tile.buffer "h" "values" temporary : <()[s0] -> (s0, 32), f16>
    %8 = tile.buffer "q" "scales" temporary : <()[s0] -> (s0, 1), f32>
    %9 = tile.buffer "q" "codes" temporary : <()[s0] -> (s0, 32), i8>
    tile.launch @quern_mv_0_product(%0, %2, %1, %3, %7) : !tile.buffer<()[s0] -> (s0, 64), i8>, !tile.buffer<()[s0] -> (32, 64), i8>, !tile.buffer<()[s0] -> (s0, 1), f32>, !tile.buffer<()[s0] -> (32, 1), f32>, !tile.buffer<()[s0] -> (s0, 32), f16>
    tile.launch @quern_mv_1_quantize(%7, %8, %9) : !tile.buffer<()[s0] -> (s0, 32), f16>, !tile.buffer<()[s0] -> (s0, 1), f32>, !tile.buffer<()[s0] -> (s0, 32), i8>
    tile.launch @quern_mv_2_product(%9, %4, %8, %5, %6) : !tile.buffer<()[s0] -> (s0, 32), i8>, !tile.buffer<()[s0] -> (16, 32), i8>, !tile.buffer<()[s0] -> (s0, 1), f32>, !tile.buffer<()[s0] -> (16, 1), f32>, !tile.buffer<()[s0] -> (s0, 16), f32>
  }
  tile.kernel @quern_mv_0_product attributes {numerics_class = 0 : i32, reason = "one product; applied to each accumulator: scales, cast", symbols = [#tile.symbol<"M", 0, 2147483647, 1>], writes = array<i1: false, false, false, false, true>} (%arg0: !tile.buffer<()[s0] -> (s0, 64), i8>, %arg1: !tile.buffer<()[s0] -> (32, 64), i8>, %arg2: !tile.buffer<()[s0] -> (s0, 1), f32>, %arg3: !tile.buffer<()[s0] -> (32, 1), f32>, %arg4: !tile.buffer<()[s0] -> (s0, 32), f16>) {
    tile.contract {extents = #map, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>} epilogue (%arg5: index, %arg6: index, %arg7: i32) {
      %0 = arith.sitofp %arg7 : i32 to f32
      %1 = tile.load %arg2 at #map1(%arg5) : <()[s0] -> (s0, 1), f32> -> f32
      %2 = arith.mulf %0, %1 : f32
      %3 = tile.load %arg3 at #map1(%arg6) : <()[s0] -> (32, 1), f32> -> f32
      %4 = arith.mulf %2, %3 : f32
      %5 = arith.truncf %4 : f32 to f16
      tile.store %5 to %arg4 at #map2(%arg5, %arg6) : f16, <()[s0] -> (s0, 32), f16>
      tile.yield
    } operand (%arg5: index, %arg6: index) {
      %0 = tile.load %arg0 at #map2(%arg5, %arg6) : <()[s0] -> (s0, 64), i8> -> i8
      tile.yield %0 : i8
    } operand (%arg5: index, %arg6: index) {
      %0 = tile.load %arg1 at #map2(%arg5, %arg6) : <()[s0] -> (32, 64), i8> -> i8
      tile.yield %0 : i8
    }
  }
  tile.kernel @quern_mv_1_quantize attributes {numerics_class = 0 : i32, reason = "one reduction: absmax; over the same blocks: scales, encode", symbols = [#tile.symbol<"M", 0, 2147483647, 1>], writes = array<i1: false, true, true>} (%arg0: !tile.buffer<()[s0] -> (s0, 32), f16>, %arg1: !tile.buffer<()[s0] -> (s0, 1), f32>, %arg2: !tile.buffer<()[s0] -> (s0, 32), i8>) {
    tile.blocks #map3 (%arg3: index) {
      %0 = tile.reduce umax () box #map4 (%arg4: index) {
        %4 = tile.load %arg0 at #map2(%arg3, %arg4) : <()[s0] -> (s0, 32), f16> -> f16
        %5 = arith.extf %4 : f16 to f32
        %6 = arith.bitcast %5 : f32 to i32
        %c2147483647_i32 = arith.constant 2147483647 : i32
        %7 = arith.andi %6, %c2147483647_i32 : i32
        tile.yield %7 : i32
      } : i32
      %1 = arith.bitcast %0 : i32 to f32
      %cst = arith.constant 1.270000e+02 : f32
      %2 = arith.divf %1, %cst : f32
      %cst_0 = arith.constant 1.17549435E-38 : f32
      %3 = arith.maximumf %2, %cst_0 : f32
      tile.store %3 to %arg1 at #map1(%arg3) : f32, <()[s0] -> (s0, 1), f32>
      tile.map () box #map4 (%arg4: index) {
        %4 = tile.load %arg0 at #map2(%arg3, %arg4) : <()[s0] -> (s0, 32), f16> -> f16
        %5 = arith.extf %4 : f16 to f32
        %6 = arith.divf %5, %3 {tile.to_code} : f32
        %cst_1 = arith.constant -1.270000e+02 : f32
        %cst_2 = arith.constant 1.270000e+02 : f32
        %7 = arith.cmpf uno, %6, %6 : f32
        %cst_3 = arith.constant 0.000000e+00 : f32
        %8 = arith.select %7, %cst_3, %6 : f32
        %9 = arith.maximumf %8, %cst_1 : f32
        %10 = arith.minimumf %9, %cst_2 : f32
        %11 = math.roundeven %10 : f32
        %12 = arith.fptosi %11 : f32 to i32
        %13 = arith.trunci %12 : i32 to i8
        tile.store %13 to %arg2 at #map2(%arg3, %arg4) : i8, <()[s0] -> (s0, 32), i8>
        tile.yield
      }
    }
  }
  tile.kernel @quern_mv_2_product attributes {numerics_class = 0 : i32, reason = "one product; applied to each accumulator: scales", symbols = [#tile.symbol<"M", 0, 2147483647, 1>], writes = array<i1: false, false, false, false, true>} (%arg0: !tile.buffer<()[s0] -> (s0, 32), i8>, %arg1: !tile.buffer<()[s0] -> (16, 32), i8>, %arg2: !tile.buffer<()[s0] -> (s0, 1), f32>, %arg3: !tile.buffer<()[s0] -> (16, 1), f32>, %arg4: !tile.buffer<()[s0] -> (s0, 16), f32>) {
    tile.contract {extents = #map5, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>} epilogue (%arg5: index, %arg6: index, %arg7: i32) {
      %0 = arith.sitofp %arg7 : i32 to f32
      %1 = tile.load %arg2 at #map1(%arg5) : <()[s0] -> (s0, 1), f32> -> f32
      %2 = arith.mulf %0, %1 : f32
      %3 = tile.load %arg3 at #map1(%arg6) : <()[s0] -> (16, 1), f32> -> f32
      %4 = arith.mulf %2, %3 : f32
      tile.store %4 to %arg4 at #map2(%arg5, %arg6) : f32, <()[s0] -> (s0, 16), f32>
      tile.yield
    } operand (%arg5: index, %arg6: index) {
      %0 = tile.load %arg0 at #map2(%arg5, %arg6) : <()[s0] -> (s0, 32), i8> -> i8
      tile.yield %0 : i8
    } operand (%arg5: index, %arg6: index) {
      %0 = tile.load %arg1 at #map2(%arg5, %arg6) : <()[s0] -> (16, 32), i8> -> i8
      tile.yield %0 : i8
    }
  }
}

