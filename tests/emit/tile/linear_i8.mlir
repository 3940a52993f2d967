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

// CHECK: // Layer linear for sm_80, written by Quern.
// CHECK-NEXT: #include "common/math.cuh"
// CHECK-NEXT: #include "gemm_mma/gemm_mma.cuh"
// CHECK-EMPTY:
// CHECK-NEXT: using namespace quern;
// CHECK: // gemm: a product and its scales
// CHECK-NEXT: // mma.sync, tile 128x128x64, 4 stages
// CHECK-NEXT: struct tile_gemm : GemmDefaults {};
// CHECK-NEXT: static_assert(Gemm<tile_gemm>::sharedBytes == 69632
// CHECK: extern "C" __global__ void __launch_bounds__(Gemm<tile_gemm>::threads)
// CHECK-NEXT: quern_linear_gemm_{{[0-9a-f]+}}(
// CHECK-NEXT:     const s8 *__restrict__ x_codes,
// CHECK-NEXT:     const float *__restrict__ x_scales,
// CHECK-NEXT:     const s8 *__restrict__ w_codes,
// CHECK-NEXT:     const float *__restrict__ w_scales,
// CHECK-NEXT:     f16 *__restrict__ y,
// CHECK-NEXT:     s64 M_) {
// CHECK-NEXT:   const int M = (int)M_;
// CHECK-NEXT:   const GemmTile tile = gemmTile<tile_gemm>(M, 384);
// CHECK-NEXT:   auto epilogue = [&](int m, int n, bool inside, const int (&acc)[1]) {
// CHECK-NEXT: #line [[#MUL:]] "/quern/linear_i8.mlir"
// CHECK-NEXT:     const float product = (float)acc[0] * x_scales[m];
// CHECK-NEXT: #line [[#MUL+2]] "/quern/linear_i8.mlir"
// CHECK-NEXT:     const float product2 = product * w_scales[n];
// CHECK-NEXT: #line [[#MUL+4]] "/quern/linear_i8.mlir"
// CHECK-NEXT:     if (inside) y[m * 384 + n] = toF16(product2);
// CHECK-NEXT: #line {{[0-9]+}} "/quern/quern_linear.cu"
// CHECK-NEXT:   };
// CHECK-NEXT:   gemm<tile_gemm>(tile, M, 384, 512, {{[{][{]}}x_codes, 512}}, {{[{][{]}}w_codes, 512}}, epilogue);
// CHECK-NEXT: }
