// Dynamic quantization of rows of 1000: a thread block per row.
!x = !tile.buffer<()[s0] -> (s0, 1000), f16>
!s = !tile.buffer<()[s0] -> (s0, 1), f32>
!c = !tile.buffer<()[s0] -> (s0, 1000), i8>
#at = affine_map<(d0, d1)[s0] -> (d0, d1)>

tile.program @quantize symbols [#tile.symbol<"M", 1, 4096, 1>] numerics "strict" {
  %x = tile.buffer "x" "values" input : !x
  %s = tile.buffer "y" "scales" output : !s
  %c = tile.buffer "y" "codes" output : !c
  tile.launch @rows(%x, %s, %c) : !x, !s, !c
}

tile.kernel @rows attributes {
    symbols = [#tile.symbol<"M", 1, 4096, 1>],
    writes = array<i1: false, true, true>,
    numerics_class = 0 : i32, reason = "a reduction and what uses it"}
    (%x: !x, %s: !s, %c: !c) {
  tile.blocks affine_map<()[s0] -> (s0)> (%m: index) {
    %amax = tile.reduce umax (%m) box affine_map<(d0)[s0] -> (1000)> (%k: index) {
      %v = tile.load %x at #at(%m, %k) : !x -> f16
      %f = arith.extf %v : f16 to f32
      %b = arith.bitcast %f : f32 to i32
      %mask = arith.constant 2147483647 : i32
      %a = arith.andi %b, %mask : i32
      tile.yield %a : i32
    } : i32
    %f = arith.bitcast %amax : i32 to f32
    %top = arith.constant 127.0 : f32
    %scale = arith.divf %f, %top : f32
    tile.store %scale to %s at affine_map<(d0)[s0] -> (d0, 0)> (%m) : f32, !s
    tile.map (%m) box affine_map<(d0)[s0] -> (1000)> (%k: index) {
      %v = tile.load %x at #at(%m, %k) : !x -> f16
      %e = arith.extf %v : f16 to f32
      %t = arith.divf %e, %scale : f32
      %r = math.roundeven %t : f32
      %code = arith.fptosi %r : f32 to i8
      tile.store %code to %c at #at(%m, %k) : i8, !c
      tile.yield
    }
  }
}

// CHECK: #include "rowwise/rowwise.cuh"
// CHECK: // rows: a reduction and what uses it
// CHECK-NEXT: // a thread block per point, 256 threads
// CHECK-NEXT: extern "C" __global__ void __launch_bounds__(256)
// CHECK-NEXT: quern_quantize_rows_{{[0-9a-f]+}}(
// CHECK-NEXT:     const f16 *__restrict__ x,
// CHECK-NEXT:     float *__restrict__ y_scales,
// CHECK-NEXT:     s8 *__restrict__ y_codes,
// CHECK-NEXT:     s64 M_) {
// CHECK: using Team = BlockTeam;
// CHECK-NEXT: const int point = (int)Team::index();
// CHECK: const int largest = reduceUMax<Team>(1000, [&](int k) {
// CHECK: const int bits = __float_as_int(toF32(x[point * 1000 + k])) & 2147483647;
// CHECK: return bits;
// CHECK: const float quotient = __int_as_float(largest) / 127.0f;
// CHECK: if (Team::rank() == 0) y_scales[point] = quotient;
// CHECK: forEach<Team>(1000, [&](int k2) {
// CHECK: const float quotient2 = toF32(x[point * 1000 + k2]) / quotient;
// CHECK: const float rounded = roundEven(quotient2);
// CHECK: y_codes[point * 1000 + k2] = (s8)(int)rounded;
