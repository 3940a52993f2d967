// W8A8 linear layer whose result is quantized per row, in one kernel.
!rowsK = !tile.buffer<()[s0] -> (s0, 512), i8>
!weight = !tile.buffer<()[s0] -> (384, 512), i8>
!rowScale = !tile.buffer<()[s0] -> (s0, 1), f32>
!columnScale = !tile.buffer<()[s0] -> (384, 1), f32>
!value = !tile.buffer<()[s0] -> (s0, 384), f16>
!scales = !tile.buffer<()[s0] -> (s0, 1), f32>
!codes = !tile.buffer<()[s0] -> (s0, 384), i8>
#mk = affine_map<(d0, d1)[s0] -> (d0, d1)>
#first = affine_map<(d0, d1)[s0] -> (d0, 0)>
#second = affine_map<(d0, d1)[s0] -> (d1, 0)>

tile.program @linear symbols [#tile.symbol<"M", 1, 4096, 1>] numerics "strict" {
  %x = tile.buffer "x" "codes" input : !rowsK
  %sx = tile.buffer "x" "scales" input : !rowScale
  %w = tile.buffer "w" "codes" weight : !weight
  %sw = tile.buffer "w" "scales" weight : !columnScale
  %s = tile.buffer "y" "scales" output : !scales
  %c = tile.buffer "y" "codes" output : !codes
  tile.launch @linear_gemm_quantize(%x, %sx, %w, %sw, %s, %c)
      : !rowsK, !rowScale, !weight, !columnScale, !scales, !codes
}

tile.kernel @linear_gemm_quantize attributes {
    symbols = [#tile.symbol<"M", 1, 4096, 1>],
    writes = array<i1: false, false, false, false, true, true>,
    numerics_class = 0 : i32, reason = "a product and its quantizer",
    placement = 1 : i32}
    (%x: !rowsK, %sx: !rowScale, %w: !weight, %sw: !columnScale,
     %s: !scales, %c: !codes) {
  %h = tile.local : !value
  tile.contract {extents = affine_map<()[s0] -> (s0, 384, 512)>,
                 num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>}
  epilogue (%m: index, %n: index, %acc: i32) {
    %a = arith.sitofp %acc : i32 to f32
    %0 = tile.load %sx at #first(%m, %n) : !rowScale -> f32
    %1 = arith.mulf %a, %0 : f32
    %2 = tile.load %sw at #second(%m, %n) : !columnScale -> f32
    %3 = arith.mulf %1, %2 : f32
    %4 = arith.truncf %3 : f32 to f16
    tile.store %4 to %h at #mk(%m, %n) : f16, !value
    tile.yield
  }
  operand (%m: index, %k: index) {
    %v = tile.load %x at #mk(%m, %k) : !rowsK -> i8
    tile.yield %v : i8
  }
  operand (%n: index, %k: index) {
    %v = tile.load %w at #mk(%n, %k) : !weight -> i8
    tile.yield %v : i8
  }
  tile.blocks affine_map<()[s0] -> (s0)> (%m: index) {
    %amax = tile.reduce umax (%m) box affine_map<(d0)[s0] -> (384)> (%k: index) {
      %0 = tile.load %h at affine_map<(d0, d1)[s0] -> (d0, d1)>(%m, %k) : !value -> f16
      %1 = arith.extf %0 : f16 to f32
      %2 = arith.bitcast %1 : f32 to i32
      %mask = arith.constant 2147483647 : i32
      %3 = arith.andi %2, %mask : i32
      tile.yield %3 : i32
    } : i32
    %f = arith.bitcast %amax : i32 to f32
    %div = arith.constant 127.0 : f32
    %scale = arith.divf %f, %div : f32
    tile.store %scale to %s at affine_map<(d0)[s0] -> (d0, 0)>(%m) : f32, !scales
    tile.map (%m) box affine_map<(d0)[s0] -> (384)> (%k: index) {
      %0 = tile.load %h at affine_map<(d0, d1)[s0] -> (d0, d1)>(%m, %k) : !value -> f16
      %1 = arith.extf %0 : f16 to f32
      %2 = arith.divf %1, %scale : f32
      %3 = math.roundeven %2 : f32
      %code = arith.fptosi %3 : f32 to i8
      tile.store %code to %c at affine_map<(d0, d1)[s0] -> (d0, d1)>(%m, %k) : i8, !codes
      tile.yield
    }
  }
}

// CHECK: tile: no tile has all 384 columns
