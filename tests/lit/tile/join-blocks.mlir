// Quantizations join what makes their value (JoinBlocks.h).
// RUN: tile-opt %s -split-input-file -tile-join-blocks | FileCheck %s
// RUN: tile-opt %s -split-input-file -tile-join-blocks="held=1000" | FileCheck %s --check-prefix=SHORT

// The row between becomes a local; the bodies stay as they are.
// CHECK-LABEL: tile.program @local
// CHECK-NOT: tile.buffer "n"
// CHECK: tile.launch @[[K:quern_local_0_norm_quantize]](
// CHECK-NOT: tile.launch
// CHECK: tile.kernel @[[K]] {{.*}}numerics_class = 1 {{.*}}placement = 1 {{.*}}reason = "a norm; then, while a row is at hand: a quantization"
// CHECK-NEXT: %[[N:.*]] = tile.local : <()[s0] -> (s0, 512), f16>
// CHECK: tile.blocks #{{.*}} (%{{.*}}: index) {
// CHECK: tile.store %{{.*}} to %[[N]]
// CHECK: tile.blocks #{{.*}} (%{{.*}}: index, %{{.*}}: index) {
// CHECK: tile.reduce umax
// CHECK: tile.load %[[N]]

// A strip of 512 values of two bytes is too long for 1000 bytes.
// SHORT-LABEL: tile.program @local
// SHORT: tile.launch @quern_local_0_norm(
// SHORT: tile.launch @quern_local_1_quantize(
// SHORT: tile.kernel @quern_local_1_quantize {{.*}}reason = "a quantization; apart from what makes its value: what lies between them takes 1024 bytes for a row, and shared memory has 1000"

#rows = affine_map<()[s0] -> (s0)>
#all = affine_map<()[s0] -> (512)>
#at = affine_map<(d0, d1)[s0] -> (d0, d1)>
#groups = affine_map<()[s0] -> (s0, 4)>
#group = affine_map<()[s0] -> (128)>
#in = affine_map<(d0, d1, d2)[s0] -> (d0, d1 * 128 + d2)>
module {
  tile.program @local symbols [#tile.symbol<"M", 0, 100, 1>] numerics "strict" {
    %x = tile.buffer "x" "values" input : <()[s0] -> (s0, 512), f16>
    %s = tile.buffer "q" "scales" output : <()[s0] -> (s0, 4), f32>
    %q = tile.buffer "q" "codes" output : <()[s0] -> (s0, 512), i8>
    %n = tile.buffer "n" "values" temporary : <()[s0] -> (s0, 512), f16>
    tile.launch @quern_local_0_norm(%x, %n) : !tile.buffer<()[s0] -> (s0, 512), f16>, !tile.buffer<()[s0] -> (s0, 512), f16>
    tile.launch @quern_local_1_quantize(%n, %s, %q) : !tile.buffer<()[s0] -> (s0, 512), f16>, !tile.buffer<()[s0] -> (s0, 4), f32>, !tile.buffer<()[s0] -> (s0, 512), i8>
  }
  tile.kernel @quern_local_0_norm attributes {numerics_class = 1 : i32, reason = "a norm", symbols = [#tile.symbol<"M", 0, 100, 1>], writes = array<i1: false, true>} (%x: !tile.buffer<()[s0] -> (s0, 512), f16>, %n: !tile.buffer<()[s0] -> (s0, 512), f16>) {
    tile.blocks #rows (%m: index) {
      %sum = tile.reduce addf () box #all (%k: index) {
        %0 = tile.load %x at #at(%m, %k) : <()[s0] -> (s0, 512), f16> -> f16
        %1 = arith.extf %0 : f16 to f32
        %2 = arith.mulf %1, %1 : f32
        tile.yield %2 : f32
      } : f32
      tile.map () box #all (%k: index) {
        %0 = tile.load %x at #at(%m, %k) : <()[s0] -> (s0, 512), f16> -> f16
        %1 = arith.extf %0 : f16 to f32
        %2 = arith.divf %1, %sum : f32
        %3 = arith.truncf %2 : f32 to f16
        tile.store %3 to %n at #at(%m, %k) : f16, <()[s0] -> (s0, 512), f16>
        tile.yield
      }
    }
  }
  tile.kernel @quern_local_1_quantize attributes {numerics_class = 0 : i32, reason = "a quantization", symbols = [#tile.symbol<"M", 0, 100, 1>], writes = array<i1: false, true, true>} (%n: !tile.buffer<()[s0] -> (s0, 512), f16>, %s: !tile.buffer<()[s0] -> (s0, 4), f32>, %q: !tile.buffer<()[s0] -> (s0, 512), i8>) {
    tile.blocks #groups (%m: index, %g: index) {
      %bits = tile.reduce umax () box #group (%k: index) {
        %0 = tile.load %n at #in(%m, %g, %k) : <()[s0] -> (s0, 512), f16> -> f16
        %1 = arith.extf %0 : f16 to f32
        %2 = arith.bitcast %1 : f32 to i32
        tile.yield %2 : i32
      } : i32
      %scale = arith.bitcast %bits : i32 to f32
      tile.store %scale to %s at #at(%m, %g) : f32, <()[s0] -> (s0, 4), f32>
      tile.map () box #group (%k: index) {
        %0 = tile.load %n at #in(%m, %g, %k) : <()[s0] -> (s0, 512), f16> -> f16
        %1 = arith.extf %0 : f16 to f32
        %2 = arith.divf %1, %scale : f32
        %3 = arith.fptosi %2 : f32 to i32
        %4 = arith.trunci %3 : i32 to i8
        tile.store %4 to %q at #in(%m, %g, %k) : i8, <()[s0] -> (s0, 512), i8>
        tile.yield
      }
    }
  }
}

// -----

// A value that the layer returns is written as before. One stage of pieces
// holds whole groups.
// CHECK-LABEL: tile.program @returned
// CHECK: tile.buffer "n" "values" output
// CHECK: tile.launch @[[K:quern_returned_0_add_quantize]](
// CHECK: tile.kernel @[[K]] {{.*}}reason = "one operation: add; then, while a block of 1 x 256 is at hand: a quantization"
// CHECK-NOT: tile.local
// CHECK: tile.store %{{.*}} to %[[N:.*]] at
// CHECK: tile.load %[[N]]

// What only reads rows in another order has no strips; what writes an inout
// argument may write memory that others read; and what reduces nothing is no
// quantization.
// CHECK-LABEL: tile.program @apart
// CHECK: tile.launch @quern_apart_0_add(
// CHECK: tile.launch @quern_apart_1_turned(
// CHECK: tile.launch @quern_apart_2_update(
// CHECK: tile.launch @quern_apart_3_copy(
// CHECK: tile.kernel @quern_apart_1_turned {{.*}}reason = "turned; apart from what makes its value: blocks of 1 x 256 and of all x 1 do not contain each other"
// CHECK: tile.kernel @quern_apart_2_update {{.*}}reason = "update; apart from what makes its value: state is inout, and others may still read it"
// CHECK: tile.kernel @quern_apart_3_copy {{.*}}reason = "a copy", symbols

// SHORT-LABEL: tile.program @returned
// SHORT: tile.launch @quern_returned_0_add_quantize(

#pieces = affine_map<()[s0] -> (s0, 2)>
#piece = affine_map<()[s0] -> (256)>
#in256 = affine_map<(d0, d1, d2)[s0] -> (d0, d1 * 256 + d2)>
#at = affine_map<(d0, d1)[s0] -> (d0, d1)>
#groups = affine_map<()[s0] -> (s0, 4)>
#group = affine_map<()[s0] -> (128)>
#in = affine_map<(d0, d1, d2)[s0] -> (d0, d1 * 128 + d2)>
module {
  tile.program @returned symbols [#tile.symbol<"M", 0, 100, 1>] numerics "strict" {
    %x = tile.buffer "x" "values" input : <()[s0] -> (s0, 512), f16>
    %n = tile.buffer "n" "values" output : <()[s0] -> (s0, 512), f16>
    %q = tile.buffer "q" "codes" output : <()[s0] -> (s0, 512), i8>
    tile.launch @quern_returned_0_add(%x, %n) : !tile.buffer<()[s0] -> (s0, 512), f16>, !tile.buffer<()[s0] -> (s0, 512), f16>
    tile.launch @quern_returned_1_quantize(%n, %q) : !tile.buffer<()[s0] -> (s0, 512), f16>, !tile.buffer<()[s0] -> (s0, 512), i8>
  }
  tile.kernel @quern_returned_0_add attributes {numerics_class = 0 : i32, reason = "nothing beside it to join", symbols = [#tile.symbol<"M", 0, 100, 1>], writes = array<i1: false, true>} (%x: !tile.buffer<()[s0] -> (s0, 512), f16>, %n: !tile.buffer<()[s0] -> (s0, 512), f16>) {
    tile.blocks #pieces (%m: index, %p: index) {
      tile.map () box #piece (%k: index) {
        %0 = tile.load %x at #in256(%m, %p, %k) : <()[s0] -> (s0, 512), f16> -> f16
        tile.store %0 to %n at #in256(%m, %p, %k) : f16, <()[s0] -> (s0, 512), f16>
        tile.yield
      }
    }
  }
  tile.kernel @quern_returned_1_quantize attributes {numerics_class = 0 : i32, reason = "a quantization", symbols = [#tile.symbol<"M", 0, 100, 1>], writes = array<i1: false, true>} (%n: !tile.buffer<()[s0] -> (s0, 512), f16>, %q: !tile.buffer<()[s0] -> (s0, 512), i8>) {
    tile.blocks #groups (%m: index, %g: index) {
      %bits = tile.reduce umax () box #group (%k: index) {
        %0 = tile.load %n at #in(%m, %g, %k) : <()[s0] -> (s0, 512), f16> -> f16
        %1 = arith.extf %0 : f16 to f32
        %2 = arith.bitcast %1 : f32 to i32
        tile.yield %2 : i32
      } : i32
      tile.map () box #group (%k: index) {
        %4 = arith.trunci %bits : i32 to i8
        tile.store %4 to %q at #in(%m, %g, %k) : i8, <()[s0] -> (s0, 512), i8>
        tile.yield
      }
    }
  }
}

// -----

#pieces = affine_map<()[s0] -> (s0, 2)>
#piece = affine_map<()[s0] -> (256)>
#in256 = affine_map<(d0, d1, d2)[s0] -> (d0, d1 * 256 + d2)>
#rows = affine_map<()[s0] -> (512)>
#all = affine_map<()[s0] -> (s0)>
#turned = affine_map<(d0, d1)[s0] -> (d1, d0)>
#at = affine_map<(d0, d1)[s0] -> (d0, d1)>
#two = affine_map<()[s0] -> (512, 100)>
module {
  tile.program @apart symbols [#tile.symbol<"M", 0, 100, 1>] numerics "strict" {
    %x = tile.buffer "x" "values" input : <()[s0] -> (s0, 512), f16>
    %s = tile.buffer "state" "values" input : <()[s0] -> (s0, 512), i8>
    %q = tile.buffer "q" "codes" output : <()[s0] -> (512, s0), i8>
    %t = tile.buffer "state" "values" output : <()[s0] -> (s0, 512), i8>
    %c = tile.buffer "c" "values" output : <()[s0] -> (s0, 512), i8>
    %n = tile.buffer "n" "values" temporary : <()[s0] -> (s0, 512), f16>
    tile.launch @quern_apart_0_add(%x, %n) : !tile.buffer<()[s0] -> (s0, 512), f16>, !tile.buffer<()[s0] -> (s0, 512), f16>
    tile.launch @quern_apart_1_turned(%n, %q) : !tile.buffer<()[s0] -> (s0, 512), f16>, !tile.buffer<()[s0] -> (512, s0), i8>
    tile.launch @quern_apart_2_update(%n, %t) : !tile.buffer<()[s0] -> (s0, 512), f16>, !tile.buffer<()[s0] -> (s0, 512), i8>
    tile.launch @quern_apart_3_copy(%n, %c) : !tile.buffer<()[s0] -> (s0, 512), f16>, !tile.buffer<()[s0] -> (s0, 512), i8>
  }
  tile.kernel @quern_apart_0_add attributes {numerics_class = 0 : i32, reason = "nothing beside it to join", symbols = [#tile.symbol<"M", 0, 100, 1>], writes = array<i1: false, true>} (%x: !tile.buffer<()[s0] -> (s0, 512), f16>, %n: !tile.buffer<()[s0] -> (s0, 512), f16>) {
    tile.blocks #pieces (%m: index, %p: index) {
      tile.map () box #piece (%k: index) {
        %0 = tile.load %x at #in256(%m, %p, %k) : <()[s0] -> (s0, 512), f16> -> f16
        tile.store %0 to %n at #in256(%m, %p, %k) : f16, <()[s0] -> (s0, 512), f16>
        tile.yield
      }
    }
  }
  tile.kernel @quern_apart_1_turned attributes {numerics_class = 0 : i32, reason = "turned", symbols = [#tile.symbol<"M", 0, 100, 1>], writes = array<i1: false, true>} (%n: !tile.buffer<()[s0] -> (s0, 512), f16>, %q: !tile.buffer<()[s0] -> (512, s0), i8>) {
    tile.blocks #rows (%k: index) {
      %bits = tile.reduce umax () box #all (%m: index) {
        %0 = tile.load %n at #turned(%k, %m) : <()[s0] -> (s0, 512), f16> -> f16
        %1 = arith.extf %0 : f16 to f32
        %2 = arith.bitcast %1 : f32 to i32
        tile.yield %2 : i32
      } : i32
      tile.map () box #all (%m: index) {
        %4 = arith.trunci %bits : i32 to i8
        tile.store %4 to %q at #at(%k, %m) : i8, <()[s0] -> (512, s0), i8>
        tile.yield
      }
    }
  }
  tile.kernel @quern_apart_2_update attributes {numerics_class = 0 : i32, reason = "update", symbols = [#tile.symbol<"M", 0, 100, 1>], writes = array<i1: false, true>} (%n: !tile.buffer<()[s0] -> (s0, 512), f16>, %q: !tile.buffer<()[s0] -> (s0, 512), i8>) {
    tile.blocks #pieces (%m: index, %p: index) {
      %bits = tile.reduce umax () box #piece (%k: index) {
        %0 = tile.load %n at #in256(%m, %p, %k) : <()[s0] -> (s0, 512), f16> -> f16
        %1 = arith.extf %0 : f16 to f32
        %2 = arith.bitcast %1 : f32 to i32
        tile.yield %2 : i32
      } : i32
      tile.map () box #piece (%k: index) {
        %4 = arith.trunci %bits : i32 to i8
        tile.store %4 to %q at #in256(%m, %p, %k) : i8, <()[s0] -> (s0, 512), i8>
        tile.yield
      }
    }
  }
  tile.kernel @quern_apart_3_copy attributes {numerics_class = 0 : i32, reason = "a copy", symbols = [#tile.symbol<"M", 0, 100, 1>], writes = array<i1: false, true>} (%n: !tile.buffer<()[s0] -> (s0, 512), f16>, %q: !tile.buffer<()[s0] -> (s0, 512), i8>) {
    tile.blocks #pieces (%m: index, %p: index) {
      tile.map () box #piece (%k: index) {
        %0 = tile.load %n at #in256(%m, %p, %k) : <()[s0] -> (s0, 512), f16> -> f16
        %1 = arith.extf %0 : f16 to f32
        %3 = arith.fptosi %1 : f32 to i32
        %4 = arith.trunci %3 : i32 to i8
        tile.store %4 to %q at #in256(%m, %p, %k) : i8, <()[s0] -> (s0, 512), i8>
        tile.yield
      }
    }
  }
}
