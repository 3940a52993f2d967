// 8-bit floats have types of their own; a conversion is a call.
!x = !tile.buffer<()[s0] -> (s0, 8), f8E4M3FN>
!y = !tile.buffer<()[s0] -> (s0, 8), f8E5M2>
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
      %n = arith.negf %f : f32
      %c = arith.truncf %n : f32 to f8E5M2
      tile.store %c to %y at #at(%m, %k) : f8E5M2, !y
      tile.yield
    }
  }
}

// CHECK: const e4m3 *__restrict__ x_codes
// CHECK: e5m2 *__restrict__ y
// CHECK: toF32(x_codes[
// CHECK: = toE5M2(
