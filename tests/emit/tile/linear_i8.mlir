// W8A8 linear layer: per-token activation scales, per-channel weight scales.
!rowsK = !tile.buffer<()[s0] -> (s0, 512), i8>
!weight = !tile.buffer<()[s0] -> (384, 512), i8>
!rowScale = !tile.buffer<()[s0] -> (s0, 1), f32>
!columnScale = !tile.buffer<()[s0] -> (384, 1), f32>
!out = !tile.buffer<()[s0] -> (s0, 384), f16>
#mk = affine_map<(d0, d1)[s0] -> (d0, d1)>
#first = affine_map<(d0, d1)[s0] -> (d0, 0)>
#second = affine_map<(d0, d1)[s0] -> (d1, 0)>

tile.program @linear symbols [#tile.symbol<"M", 1, 4096, 1>] numerics "strict" {
  %x = tile.buffer "x" "codes" input : !rowsK
  %sx = tile.buffer "x" "scales" input : !rowScale
  %w = tile.buffer "w" "codes" weight : !weight
  %sw = tile.buffer "w" "scales" weight : !columnScale
  %y = tile.buffer "y" "values" output : !out
  tile.launch @linear_gemm(%x, %sx, %w, %sw, %y)
      : !rowsK, !rowScale,
        !weight, !columnScale,
        !out
}

tile.kernel @linear_gemm attributes {
    symbols = [#tile.symbol<"M", 1, 4096, 1>],
    writes = array<i1: false, false, false, false, true>,
    numerics_class = 0 : i32, reason = "a product and its scales"}
    (%x: !rowsK, %sx: !rowScale,
     %w: !weight, %sw: !columnScale,
     %y: !out) {
  tile.contract {extents = affine_map<()[s0] -> (s0, 384, 512)>,
                 num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>}
  epilogue (%m: index, %n: index, %acc: i32) {
    %a = arith.sitofp %acc : i32 to f32
    %s = tile.load %sx at #first(%m, %n) : !rowScale -> f32
    %t = arith.mulf %a, %s : f32
    %v = tile.load %sw at #second(%m, %n) : !columnScale -> f32
    %u = arith.mulf %t, %v : f32
    %h = arith.truncf %u : f32 to f16
    tile.store %h to %y at #mk(%m, %n) : f16, !out
    tile.yield
  }
  operand (%m: index, %k: index) {
    %c = tile.load %x at #mk(%m, %k) : !rowsK -> i8
    tile.yield %c : i8
  }
  operand (%n: index, %k: index) {
    %c = tile.load %w at #mk(%n, %k) : !weight -> i8
    tile.yield %c : i8
  }
}
