// Stages that have no strips: the second quantizes every 16th row.
#map = affine_map<()[s0] -> (s0)>
#map1 = affine_map<()[s0] -> (512)>
#map2 = affine_map<(d0, d1)[s0] -> (d0, d1)>
#map3 = affine_map<()[s0] -> (s0 ceildiv 16, 4)>
#map4 = affine_map<()[s0] -> (128)>
#map5 = affine_map<(d0, d1, d2)[s0] -> (d0 * 16, d1 * 128 + d2)>
tile.program @rows symbols [#tile.symbol<"M", 0, 100, 1>] numerics "strict" {
  %0 = tile.buffer "x" "values" input : <()[s0] -> (s0, 512), f16>
  %1 = tile.buffer "q" "scales" output : <()[s0] -> (s0, 4), f32>
  %2 = tile.buffer "q" "codes" output : <()[s0] -> (s0, 512), i8>
  tile.launch @quern_rows_0_norm_quantize(%0, %1, %2) : !tile.buffer<()[s0] -> (s0, 512), f16>, !tile.buffer<()[s0] -> (s0, 4), f32>, !tile.buffer<()[s0] -> (s0, 512), i8>
}
tile.kernel @quern_rows_0_norm_quantize attributes {numerics_class = 1 : i32, placement = 1 : i32, reason = "a norm; then, while a row is at hand: a quantization", symbols = [#tile.symbol<"M", 0, 100, 1>], writes = array<i1: false, true, true>} (%arg0: !tile.buffer<()[s0] -> (s0, 512), f16>, %arg1: !tile.buffer<()[s0] -> (s0, 4), f32>, %arg2: !tile.buffer<()[s0] -> (s0, 512), i8>) {
  %0 = tile.local : <()[s0] -> (s0, 512), f16>
  tile.blocks #map (%arg3: index) {
    %1 = tile.reduce addf () box #map1 (%arg4: index) {
      %2 = tile.load %arg0 at #map2(%arg3, %arg4) : <()[s0] -> (s0, 512), f16> -> f16
      %3 = arith.extf %2 : f16 to f32
      %4 = arith.mulf %3, %3 : f32
      tile.yield %4 : f32
    } : f32
    tile.map () box #map1 (%arg4: index) {
      %2 = tile.load %arg0 at #map2(%arg3, %arg4) : <()[s0] -> (s0, 512), f16> -> f16
      %3 = arith.extf %2 : f16 to f32
      %4 = arith.divf %3, %1 : f32
      %5 = arith.truncf %4 : f32 to f16
      tile.store %5 to %0 at #map2(%arg3, %arg4) : f16, <()[s0] -> (s0, 512), f16>
      tile.yield
    }
  }
  tile.blocks #map3 (%arg3: index, %arg4: index) {
    %1 = tile.reduce umax () box #map4 (%arg5: index) {
      %3 = tile.load %0 at #map5(%arg3, %arg4, %arg5) : <()[s0] -> (s0, 512), f16> -> f16
      %4 = arith.extf %3 : f16 to f32
      %5 = arith.bitcast %4 : f32 to i32
      tile.yield %5 : i32
    } : i32
    %2 = arith.bitcast %1 : i32 to f32
    tile.store %2 to %arg1 at #map2(%arg3, %arg4) : f32, <()[s0] -> (s0, 4), f32>
    tile.map () box #map4 (%arg5: index) {
      %3 = tile.load %0 at #map5(%arg3, %arg4, %arg5) : <()[s0] -> (s0, 512), f16> -> f16
      %4 = arith.extf %3 : f16 to f32
      %5 = arith.divf %4, %2 : f32
      %6 = arith.fptosi %5 : f32 to i32
      %7 = arith.trunci %6 : i32 to i8
      tile.store %7 to %arg2 at #map5(%arg3, %arg4, %arg5) : i8, <()[s0] -> (s0, 512), i8>
      tile.yield
    }
  }
}

// CHECK: error: stages that are not computed together: it skips elements
