// 8-bit floats are refused with their place and what to do.
!x = !tile.buffer<()[s0] -> (s0, 8), f8E4M3FN>
!y = !tile.buffer<()[s0] -> (s0, 8), f32>
#at = affine_map<(d0, d1)[s0] -> (d0, d1)>

tile.program @decode symbols [#tile.symbol<"M", 1, 4096, 1>] numerics "strict" {
  %x = tile.buffer "x" "codes" input : !x
  %y = tile.buffer "y" "values" output : !y
  tile.launch @rows(%x, %y) : !x, !y
}

tile.kernel @rows attributes {
    symbols = [#tile.symbol<"M", 1, 4096, 1>], writes = array<i1: false, true>,
    numerics_class = 0 : i32, reason = "decode"} (%x: !x, %y: !y) {
  tile.blocks affine_map<()[s0] -> (s0)> (%m: index) {
    tile.map (%m) box affine_map<(d0)[s0] -> (8)> (%k: index) {
      %v = tile.load %x at #at(%m, %k) : !x -> f8E4M3FN
      %f = arith.extf %v : f8E4M3FN to f32
      tile.store %f to %y at #at(%m, %k) : f32, !y
      tile.yield
    }
  }
}

// CHECK: tile/refuse_f8.mlir:{{[0-9]+}}:1: error: 'x_codes' holds f8E4M3FN, and 8-bit floats are not available on CUDA yet
// CHECK: use --target cpu
