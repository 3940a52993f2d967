// RUN: quern-opt %s -quern-to-tile | FileCheck %s
// RUN: quern-opt %s -quern-to-tile | tile-opt

#x = affine_map<()[s0] -> (s0, 4096)>
#y = affine_map<()[s0] -> (s0, 1024)>
!x = tensor<?x4096xf16, #x>
!xq = !quern.qtensor<tensor<?x4096xi8, #x>, #quern.scale<block = [1, 0], type = f32>>
!w = !quern.qtensor<tensor<1024x4096xi8>, #quern.scale<block = [1, 0], type = f32>>
!f = tensor<?x1024xf32, #y>
!h = tensor<?x1024xf16, #y>

// A program declares its signature, then temporaries, and lists launches.
// CHECK-LABEL: tile.program @linear symbols [#tile.symbol<"M", 1, 4096, 8>] numerics "strict" {
// CHECK: %[[X:.*]] = tile.buffer "x" "values" input : <()[s0] -> (s0, 4096), f16>
// CHECK: %[[W:.*]] = tile.buffer "w" "codes" weight : <()[s0] -> (1024, 4096), i8>
// CHECK: %[[WS:.*]] = tile.buffer "w" "scales" weight : <()[s0] -> (1024, 1), f32>
// CHECK: %[[Y:.*]] = tile.buffer "y" "values" output : <()[s0] -> (s0, 1024), f16>
// CHECK: %[[S:.*]] = tile.buffer "tmp0" "scales" temporary : <()[s0] -> (s0, 1), f32>
// CHECK: %[[C:.*]] = tile.buffer "tmp1" "codes" temporary : <()[s0] -> (s0, 4096), i8>
// CHECK: tile.launch @quern_linear_0_quantize(%[[X]], %[[S]], %[[C]])
// CHECK: tile.launch @quern_linear_1_product(%[[C]], %[[W]], %[[S]], %[[WS]], %[[Y]])

// The quantization: reduce, scale, encode, all f32 and nothing reordered.
// CHECK-LABEL: tile.kernel @quern_linear_0_quantize
// CHECK: tile.blocks #{{.*}} (%[[ROW:.*]]: index) {
// CHECK: %[[MAX:.*]] = tile.reduce umax () box #{{.*}} (%[[K:.*]]: index) {
// CHECK: %[[V:.*]] = tile.load %arg0 at #{{.*}}(%[[ROW]], %[[K]])
// CHECK: %[[E:.*]] = arith.extf %[[V]] : f16 to f32
// CHECK: %[[B:.*]] = arith.bitcast %[[E]] : f32 to i32
// CHECK: arith.andi %[[B]]
// CHECK: } : i32
// CHECK: %[[A:.*]] = arith.bitcast %[[MAX]] : i32 to f32
// CHECK: %[[D:.*]] = arith.divf %[[A]], %{{.*}} : f32
// CHECK: %[[SCALE:.*]] = arith.maximumf %[[D]], %{{.*}} : f32
// CHECK: tile.store %[[SCALE]] to %arg1
// CHECK: tile.map
// CHECK: %[[T:.*]] = arith.divf %{{.*}}, %[[SCALE]] {tile.to_code, tile.within = 127.496094 : f32} : f32
// CHECK: arith.cmpf uno, %[[T]], %[[T]]
// CHECK: arith.maximumf
// CHECK: arith.minimumf
// CHECK: math.roundeven
// CHECK: arith.fptosi
// CHECK: arith.trunci
// CHECK: tile.store %{{.*}} to %arg2

// ((f32(acc) * s_a) * s_b), then the rounding the text asks for.
// CHECK-LABEL: tile.kernel @quern_linear_1_product
// CHECK-SAME: numerics_class = 0
// CHECK-SAME: writes = array<i1: false, false, false, false, true>
// CHECK: tile.contract {extents = #{{.*}}, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>} epilogue (%[[M:.*]]: index, %[[N:.*]]: index, %[[ACC:.*]]: i32) {
// CHECK: %[[F:.*]] = arith.sitofp %[[ACC]]
// CHECK: %[[SA:.*]] = tile.load %arg2 at #{{.*}}(%[[M]])
// CHECK: %[[P:.*]] = arith.mulf %[[F]], %[[SA]] : f32
// CHECK: %[[SB:.*]] = tile.load %arg3 at #{{.*}}(%[[N]])
// CHECK: %[[R:.*]] = arith.mulf %[[P]], %[[SB]] : f32
// CHECK: %[[H:.*]] = arith.truncf %[[R]] : f32 to f16
// CHECK: tile.store %[[H]] to %arg4
// CHECK: } operand (%[[M:.*]]: index, %[[K:.*]]: index) {
// CHECK: tile.load %arg0 at #{{.*}}(%[[M]], %[[K]])
// CHECK: } operand (%[[N:.*]]: index, %[[K:.*]]: index) {
// CHECK: tile.load %arg1 at #{{.*}}(%[[N]], %[[K]])
// CHECK-NOT: quern
func.func @linear(%x: !x {quern.name = "x"}, %w: !w {quern.name = "w", quern.weight}) -> (!h {quern.name = "y"})
    attributes {quern.symbols = [#quern.symbol<"M", 1, 4096, 8>], quern.numerics = "strict"} {
  %xq = quern.quantize %x <divisor = 127.0, range = -127.0, 127.0, rounding = half_even, floor = 1.17549435E-38> : !x -> !xq
  %y = quern.matmul %xq, %w transpose_rhs : !xq, !w -> !f
  %h = quern.cast %y : !f -> !h
  return %h : !h
}
