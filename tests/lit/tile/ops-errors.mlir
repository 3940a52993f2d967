// One case for each law of the tile dialect, under its label.
// RUN: tile-opt %s -verify-diagnostics -split-input-file

tile.program @buffer_dims symbols [] numerics "strict" {
  // expected-error @+1 {{a buffer's shape is a map of symbols only}}
  %0 = tile.buffer "x" "values" input : !tile.buffer<(d0) -> (d0), f32>
}
// -----
tile.program @buffer_rank symbols [] numerics "strict" {
  // expected-error @+1 {{buffers have rank 6 at most, not 7}}
  %0 = tile.buffer "x" "values" input : !tile.buffer<() -> (1, 1, 1, 1, 1, 1, 1), f32>
}
// -----
tile.program @buffer_type symbols [] numerics "strict" {
  // expected-error @+1 {{buffers hold i8, ui8, i4, ui4, i1, i32, f16, bf16, f32, f8E4M3FN or f8E5M2, not 'f64'}}
  %0 = tile.buffer "x" "values" input : !tile.buffer<() -> (1), f64>
}
// -----
tile.program @unknown_symbol symbols [#tile.symbol<"M", 1, 64, 1>] numerics "strict" {
  %0 = tile.buffer "x" "values" input : !tile.buffer<() -> (1), f32>
  // expected-error @+1 {{tile_launch_c2: the program has no symbol N, or it has a range already}}
  tile.launch @k(%0) when [#tile.range<"N", 1, 8>] : !tile.buffer<() -> (1), f32>
}
// -----
tile.program @symbol_twice symbols [#tile.symbol<"M", 1, 64, 1>] numerics "strict" {
  %0 = tile.buffer "x" "values" input : !tile.buffer<() -> (1), f32>
  // expected-error @+1 {{tile_launch_c2: the program has no symbol M, or it has a range already}}
  tile.launch @k(%0) when [#tile.range<"M", 1, 8>, #tile.range<"M", 1, 8>] : !tile.buffer<() -> (1), f32>
}
// -----
tile.program @range_too_wide symbols [#tile.symbol<"M", 1, 64, 1>] numerics "strict" {
  %0 = tile.buffer "x" "values" input : !tile.buffer<() -> (1), f32>
  // expected-error @+1 {{tile_launch_c2: 0..8 is no range of M within 1..64}}
  tile.launch @k(%0) when [#tile.range<"M", 0, 8>] : !tile.buffer<() -> (1), f32>
}
// -----
tile.program @prepare symbols [#tile.symbol<"M", 1, 64, 1>] numerics "strict" {
  %0 = tile.buffer "x" "values" input : !tile.buffer<() -> (1), f32>
  // expected-error @+1 {{tile_launch_c2: a prepare launch happens whatever the sizes}}
  tile.launch @k(%0) phase prepare when [#tile.range<"M", 1, 8>] : !tile.buffer<() -> (1), f32>
}
// -----
tile.program @narrow_kernel symbols [#tile.symbol<"M", 1, 64, 1>] numerics "strict" {
  %0 = tile.buffer "x" "values" input : !tile.buffer<() -> (1), f32>
  tile.launch @k(%0) when [#tile.range<"M", 1, 8>] : !tile.buffer<() -> (1), f32>
  // expected-error @+1 {{tile_launch_c3: M is 1..64, and @k is for 1..8}}
  tile.launch @k(%0) : !tile.buffer<() -> (1), f32>
}
tile.kernel @k attributes {symbols = [#tile.symbol<"M", 1, 8, 1>], writes = array<i1: false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (1), f32>) {
  tile.blocks affine_map<()[s0] -> (1)> (%i: index) {
    %0 = tile.load %x at affine_map<(d0)[s0] -> (d0)> (%i) : !tile.buffer<() -> (1), f32> -> f32
  }
}
// -----
// expected-error @+1 {{tile_kernel_c1: the body is tile.local ops, then one or more stages}}
tile.kernel @k attributes {symbols = [], writes = array<i1: false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>) {
  %0 = arith.constant 1.0 : f32
}
// -----
// expected-error @+1 {{tile_kernel_c2: 0 entries of `writes` for 1 buffers}}
tile.kernel @k attributes {symbols = [], writes = array<i1>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>) {
  tile.blocks affine_map<() -> ()> () {
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>) {
  tile.blocks affine_map<() -> (4, 8)> (%i: index, %j: index) {
    %0 = arith.constant 1.0 : f32
    // expected-error @+1 {{tile_kernel_c2: stores to a buffer the kernel does not write}}
    tile.store %0 to %x at affine_map<(d0, d1) -> (d0, d1)> (%i, %j) : f32, !tile.buffer<() -> (4, 8), f32>
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false, false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>, %w: !tile.buffer<() -> (4, 8), f32>) {
  // expected-error @+1 {{tile_contract_c1: extents give the batch dimensions, M, N and K}}
  tile.contract {extents = affine_map<() -> (4, 4)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>} epilogue (%m: index, %n: index, %a: f32) {
    tile.yield
  } operand (%m: index, %k: index) {
    %0 = tile.load %x at affine_map<(d0, d1) -> (d0, d1)> (%m, %k) : !tile.buffer<() -> (4, 8), f32> -> f32
    tile.yield %0 : f32
  } operand (%n: index, %k: index) {
    %0 = tile.load %w at affine_map<(d0, d1) -> (d0, d1)> (%n, %k) : !tile.buffer<() -> (4, 8), f32> -> f32
    tile.yield %0 : f32
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false, false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>, %w: !tile.buffer<() -> (4, 8), f32>) {
  // expected-error @+1 {{tile_contract_c1: an operand takes 2 arguments, not 3}}
  tile.contract {extents = affine_map<() -> (4, 4, 8)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>} epilogue (%m: index, %n: index, %a: f32) {
    tile.yield
  } operand (%b: index, %m: index, %k: index) {
    %0 = tile.load %x at affine_map<(d0, d1) -> (d0, d1)> (%m, %k) : !tile.buffer<() -> (4, 8), f32> -> f32
    tile.yield %0 : f32
  } operand (%n: index, %k: index) {
    %0 = tile.load %w at affine_map<(d0, d1) -> (d0, d1)> (%n, %k) : !tile.buffer<() -> (4, 8), f32> -> f32
    tile.yield %0 : f32
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false, false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>, %w: !tile.buffer<() -> (4, 8), f32>) {
  // expected-error @+1 {{tile_contract_c1: argument 2 of epilogue must be 'f32'}}
  tile.contract {extents = affine_map<() -> (4, 4, 8)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>} epilogue (%m: index, %n: index, %a: i32) {
    tile.yield
  } operand (%m: index, %k: index) {
    %0 = tile.load %x at affine_map<(d0, d1) -> (d0, d1)> (%m, %k) : !tile.buffer<() -> (4, 8), f32> -> f32
    tile.yield %0 : f32
  } operand (%n: index, %k: index) {
    %0 = tile.load %w at affine_map<(d0, d1) -> (d0, d1)> (%n, %k) : !tile.buffer<() -> (4, 8), f32> -> f32
    tile.yield %0 : f32
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false, false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>, %w: !tile.buffer<() -> (4, 8), f32>) {
  // expected-error @+1 {{tile_contract_c2: term 0 is out of range}}
  tile.contract {extents = affine_map<() -> (4, 4, 8)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 1>} epilogue (%m: index, %n: index, %a: f32) {
    tile.yield
  } operand (%m: index, %k: index) {
    %0 = tile.load %x at affine_map<(d0, d1) -> (d0, d1)> (%m, %k) : !tile.buffer<() -> (4, 8), f32> -> f32
    tile.yield %0 : f32
  } operand (%n: index, %k: index) {
    %0 = tile.load %w at affine_map<(d0, d1) -> (d0, d1)> (%n, %k) : !tile.buffer<() -> (4, 8), f32> -> f32
    tile.yield %0 : f32
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false, false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), i8>, %w: !tile.buffer<() -> (4, 8), f32>) {
  // expected-error @+1 {{tile_contract_c3: term 0 multiplies 'i8' with 'f32'}}
  tile.contract {extents = affine_map<() -> (4, 4, 8)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>} epilogue (%m: index, %n: index, %a: i32) {
    tile.yield
  } operand (%m: index, %k: index) {
    %0 = tile.load %x at affine_map<(d0, d1) -> (d0, d1)> (%m, %k) : !tile.buffer<() -> (4, 8), i8> -> i8
    tile.yield %0 : i8
  } operand (%n: index, %k: index) {
    %0 = tile.load %w at affine_map<(d0, d1) -> (d0, d1)> (%n, %k) : !tile.buffer<() -> (4, 8), f32> -> f32
    tile.yield %0 : f32
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false, false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>, %w: !tile.buffer<() -> (4, 8), f32>) {
  // expected-error @+1 {{tile_contract_c4: `rescale` is present exactly with `split`}}
  tile.contract {extents = affine_map<() -> (4, 4, 8)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>, split = 4 : i64} epilogue (%m: index, %n: index, %a: f32) {
    tile.yield
  } operand (%m: index, %k: index) {
    %0 = tile.load %x at affine_map<(d0, d1) -> (d0, d1)> (%m, %k) : !tile.buffer<() -> (4, 8), f32> -> f32
    tile.yield %0 : f32
  } operand (%n: index, %k: index) {
    %0 = tile.load %w at affine_map<(d0, d1) -> (d0, d1)> (%n, %k) : !tile.buffer<() -> (4, 8), f32> -> f32
    tile.yield %0 : f32
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>) {
  // expected-error @+1 {{tile_blocks_c1: one index argument per extent of the domain}}
  tile.blocks affine_map<() -> (4, 8)> (%i: index) {
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>) {
  tile.blocks affine_map<() -> (4)> (%i: index) {
    // expected-error @+1 {{tile_reduce_c1: umax gives i32}}
    %0 = tile.reduce umax () box affine_map<() -> (8)> (%e: index) {
      %1 = arith.constant 1.0 : f32
      tile.yield %1 : f32
    } : f32
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>) {
  tile.blocks affine_map<() -> (4)> (%i: index) {
    // expected-error @+1 {{tile_box_c1: the box map takes the given point}}
    tile.map (%i) box affine_map<() -> (8)> (%e: index) {
      tile.yield
    }
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>) {
  tile.blocks affine_map<() -> (4)> (%i: index) {
    // expected-error @+1 {{tile_box_c2: `clamp` has the shape of the box map}}
    tile.map () box affine_map<() -> (8)> clamp affine_map<() -> (8, 8)> (%e: index) {
      tile.yield
    }
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>) {
  tile.blocks affine_map<() -> (4)> (%i: index) {
    // expected-error @+1 {{tile_map_c1: the body must end in tile.yield of 0 value(s)}}
    tile.map () box affine_map<() -> (8)> (%e: index) {
      %1 = arith.constant 1.0 : f32
      tile.yield %1 : f32
    }
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>) {
  tile.blocks affine_map<() -> (4)> (%i: index) {
    // expected-error @+1 {{tile_load_c1: a map of 1 dimensions to 1 results, for 1 indices and a buffer of rank 2}}
    %0 = tile.load %x at affine_map<(d0) -> (d0)> (%i) : !tile.buffer<() -> (4, 8), f32> -> f32
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>) {
  tile.blocks affine_map<() -> (4)> (%i: index) {
    // expected-error @+1 {{tile_load_c2: the element is 'f32', not 'f16'}}
    %0 = tile.load %x at affine_map<(d0) -> (d0, 0)> (%i) : !tile.buffer<() -> (4, 8), f32> -> f16
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: true>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>) {
  tile.blocks affine_map<() -> (4)> (%i: index) {
    %0 = arith.constant 1.0 : f16
    // expected-error @+1 {{tile_store_c2: the element is 'f32', not 'f16'}}
    tile.store %0 to %x at affine_map<(d0) -> (d0, 0)> (%i) : f16, !tile.buffer<() -> (4, 8), f32>
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: true>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), f32>) {
  tile.blocks affine_map<() -> (4)> (%i: index) {
    %0 = arith.constant 1.0 : f32
    // expected-error @+1 {{tile_store_c1: a map of 1 dimensions to 1 results}}
    tile.store %0 to %x at affine_map<(d0) -> (d0)> (%i) : f32, !tile.buffer<() -> (4, 8), f32>
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: true>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), i4>) {
  tile.blocks affine_map<() -> (4)> (%i: index) {
    %0 = arith.constant 1 : i8
    // expected-error @+1 {{tile_store_c3: elements of 'i4' share their bytes and are only read}}
    tile.store %0 to %x at affine_map<(d0) -> (d0, 0)> (%i) : i8, !tile.buffer<() -> (4, 8), i4>
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), ui4>) {
  tile.blocks affine_map<() -> (4)> (%i: index) {
    // expected-error @+1 {{tile_load_c2: the element is 'i8', not 'ui4'}}
    %0 = tile.load %x at affine_map<(d0) -> (d0, 0)> (%i) : !tile.buffer<() -> (4, 8), ui4> -> ui4
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: false, false>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4, 8), i8>, %w: !tile.buffer<() -> (4, 8), i8>) {
  // expected-error @+1 {{tile_contract_c1: addends are i32, in products of integers}}
  tile.contract {extents = affine_map<() -> (4, 4, 8)>, num_batch = 0 : i64, num_lhs = 1 : i64, terms = array<i64: 0, 0>, split = 4 : i64} epilogue (%m: index, %n: index, %a: f32) {
    tile.yield
  } rescale (%m: index, %n: index, %kb: index) {
    %one = arith.constant 1.0 : f32
    tile.yield %one, %one : f32, f32
  } operand (%m: index, %k: index) {
    %0 = tile.load %x at affine_map<(d0, d1) -> (d0, d1)> (%m, %k) : !tile.buffer<() -> (4, 8), i8> -> i8
    tile.yield %0 : i8
  } operand (%n: index, %k: index) {
    %0 = tile.load %w at affine_map<(d0, d1) -> (d0, d1)> (%n, %k) : !tile.buffer<() -> (4, 8), i8> -> i8
    tile.yield %0 : i8
  }
}
// -----
// expected-error @+1 {{tile_kernel_c3: `placement` is given exactly with several stages}}
tile.kernel @k attributes {symbols = [], writes = array<i1: true>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4), f32>) {
  tile.blocks affine_map<() -> ()> () {
  }
  tile.blocks affine_map<() -> ()> () {
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: true>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4), f32>) {
  %h = tile.local : !tile.buffer<() -> (4), f32>
  tile.blocks affine_map<() -> (4)> (%i: index) {
    // expected-error @+1 {{tile_kernel_c4: loads from a local that no stage before has stored to}}
    %0 = tile.load %h at affine_map<(d0) -> (d0)> (%i) : !tile.buffer<() -> (4), f32> -> f32
    tile.store %0 to %x at affine_map<(d0) -> (d0)> (%i) : f32, !tile.buffer<() -> (4), f32>
  }
}
// -----
tile.kernel @k attributes {symbols = [], writes = array<i1: true>, numerics_class = 0 : i32, reason = "r"} (%x: !tile.buffer<() -> (4), i32>) {
  tile.blocks affine_map<() -> (4)> (%i: index) {
    %0 = arith.constant 1 : i32
    // expected-error @+1 {{tile_accumulate_c3: the kind is umax or addi, not addf}}
    tile.accumulate addf %0 to %x at affine_map<(d0) -> (d0)> (%i) : !tile.buffer<() -> (4), i32>
  }
}
