//===- TileOps.td - Operations of the tile dialect ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef TILE_OPS
#define TILE_OPS

include "dialects/tile/IR/TileDialect.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/IR/RegionKindInterface.td"

class Tile_Op<string mnemonic, list<Trait> traits = []> : Op<Tile_Dialect, mnemonic, traits>;

def Tile_ScheduleInterface : AttrInterface<"ScheduleInterface"> {
  let cppNamespace = "::quern::tile";
  let description = [{
    How a target will run a kernel. Each target owns an attribute of its own
    (`#cpu.schedule`, `#cuda.schedule`) and implements this on it.
  }];
  let methods = [
    InterfaceMethod<"One line for `quern explain`.", "std::string", "describe">,
  ];
}

//===----------------------------------------------------------------------===//
// Program
//===----------------------------------------------------------------------===//

def Tile_ProgramOp : Tile_Op<"program", [Symbol, IsolatedFromAbove, SingleBlock, NoTerminator, NoRegionArguments]> {
  let summary = "A layer as buffers and launches";
  let description = [{
    The region declares every buffer (`tile.buffer`, in signature order: inputs
    and weights as declared, then outputs, then temporaries) and lists the
    launches in order. Weights are read, packed buffers are made, once; all else
    is done in every run, or in those whose sizes lie in the launch's ranges: a
    program may hold one sequence of launches for few rows and another for many.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypedArrayAttrBase<Tile_SymbolAttr, "symbols">:$symbols,
                       StrAttr:$numerics);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name `symbols` $symbols `numerics` $numerics attr-dict-with-keyword $body";
}

def Tile_BufferOp : Tile_Op<"buffer"> {
  let summary = "Declares a buffer of the program";
  let description = [{
    `$name` is the operand's name in the layer; a quantized operand has several
    buffers, told apart by `$part` (`codes`, `scales`; `values` for a plain
    tensor). Temporaries live during one run; packed buffers are written by
    prepare launches and kept until weights are bound again. State is like a
    temporary and zero when a run begins: `tile.accumulate` gathers in it.
  }];
  let arguments = (ins StrAttr:$name, StrAttr:$part, Tile_BufferRole:$role);
  let results = (outs Tile_Buffer:$result);
  let assemblyFormat = "$name $part $role attr-dict `:` type($result)";
}

def Tile_LaunchOp : Tile_Op<"launch", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "Runs a kernel on buffers";
  let description = [{
    With `when` it happens in runs alone whose symbols lie in all of the ranges,
    and a kernel may rely on it: its symbols' ranges may be as narrow.

    - tile_launch_c1: operand types are the kernel's argument types.
    - tile_launch_c2: `when` names symbols of the program, each once, and ranges
      within theirs; a launch of the prepare phase has none.
    - tile_launch_c3: the ranges of the kernel's symbols hold all with which it
      is launched.
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<Tile_Buffer>:$buffers,
                       DefaultValuedAttr<Tile_LaunchPhase, "LaunchPhase::Run">:$phase,
                       OptionalAttr<TypedArrayAttrBase<Tile_RangeAttr, "ranges">>:$when);
  let builders = [
    OpBuilder<(ins "::llvm::StringRef":$kernel, "::mlir::ValueRange":$buffers,
                   "::quern::tile::LaunchPhase":$phase),
              [{ build($_builder, $_state, kernel, buffers, phase, ::mlir::ArrayAttr()); }]>,
  ];
  let hasVerifier = 1;
  let assemblyFormat = "$kernel `(` $buffers `)` (`phase` $phase^)? (`when` $when^)? attr-dict `:` type($buffers)";
}

//===----------------------------------------------------------------------===//
// Kernel
//===----------------------------------------------------------------------===//

def Tile_KernelOp : Tile_Op<"kernel", [Symbol, IsolatedFromAbove, SingleBlock, NoTerminator]> {
  let summary = "One kernel";
  let description = [{
    Block arguments are its buffers. `$writes` tells for each whether the
    kernel writes it. `$reason` says why these ops are together; `$class` is the
    weakest class of its ops.

    With several stages `$placement` says where the blocks of a stage are
    computed, seen from the product that makes their data (or, for `consumer`,
    that reads it). The result is that of running the stages one after the
    other, whatever the placement:

      register  within what one thread, or a few neighbours, hold of a tile
      tile      by whoever computed the tile they lie in
      cluster   by tiles that exchange partial reductions through their shared
                memory
      grid      by all tiles of a row panel at once: partial reductions meet in
                memory, each tile waits for them and finishes its own elements
      panel     once the last tile of a row panel is done
      consumer  by every tile of the product that reads them, before it

    Stages before a product are its `consumer` stages whatever `$placement`
    says, which then is that of the stages behind it.

    Without a product the placement is `tile`: stages happen strip by strip, a
    strip being a block of the stage whose blocks contain those of all others
    (StageStrips.h). A norm of rows and a quantization of their groups have a
    strip for each row. Targets refuse kernels that have no strips.

    - tile_kernel_c1: the body is `tile.local`s, then one or more stages, at
      most one of them a `tile.contract`.
    - tile_kernel_c2: `$writes` has one entry per argument; only those, and
      locals, are stored to.
    - tile_kernel_c3: `$placement` is given exactly with several stages, and is
      not `separate`.
    - tile_kernel_c4: a stage loads from a local only what an earlier stage, or
      itself, stores.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypedArrayAttrBase<Tile_SymbolAttr, "symbols">:$symbols,
                       DenseBoolArrayAttr:$writes, Tile_NumericsClass:$numerics_class,
                       StrAttr:$reason, OptionalAttr<AnyAttr>:$schedule,
                       OptionalAttr<Tile_Placement>:$placement);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Its contracts and blocks, in order.
    ::llvm::SmallVector<::mlir::Operation *> getStages();
    /// The stage that is a product, or null.
    ContractOp getContract();
  }];
}

def Tile_LocalOp : Tile_Op<"local"> {
  let summary = "A buffer that only stages of this kernel see";
  let description = [{
    What a stage leaves for the next. It has the shape of the whole value, but
    nobody ever needs all of it at once: a target keeps the part that belongs to
    the tile at hand, in registers, shared memory or scratch. Values are rounded
    to its element type as they would be in memory.
  }];
  let results = (outs Res<Tile_Buffer, "", [MemAlloc]>:$result);
  let assemblyFormat = "attr-dict `:` type($result)";
}

//===----------------------------------------------------------------------===//
// The contraction family
//===----------------------------------------------------------------------===//

def Tile_ContractOp : Tile_Op<"contract", [RecursiveMemoryEffects]> {
  let summary = "One or more products over the same left rows, with an epilogue per element";
  let description = [{
    `$extents` is `()[symbols] -> (batch..., M, N, K)`; `numBatch` of them are
    batch dimensions. Term t computes, for every batch index b, m and n,

        acc_t = sum over k of lhs_t(b..., m, k) * rhs_t(b..., n, k)

    The `operands` regions, first the lefts and then the rights, give an element:
    block arguments (b..., row, k), ending in `tile.yield` of one value of type
    i8, ui8, f8E4M3FN, f8E5M2, f16, bf16 or f32. A plain load of elements as they
    lie in memory is the common case (`getPlainLoad`). `terms` pairs them: [left index, right index, ...] flat.
    Integer elements accumulate in i32, float elements in f32 (class bounded).
    `$lhs_unsigned`/`$rhs_unsigned` say that 8-bit elements are unsigned.

    With `split = g` K is cut into blocks of g and the `rescale` region, with
    arguments (b..., m, n, kb), yields one f32 factor per term:
    `acc = fma(f32(part), factor, acc)`, kb ascending, from acc = +0;
    accumulators are then f32. For integers it may yield one i32 addend per
    term after the factors: `acc = fma(f32(part + addend), factor, acc)`, the
    sum modulo 2^32.

    `epilogue` has arguments (b..., m, n, acc_0, ..., acc_T-1) and stores
    whatever the kernel produces for that element. K = 0 gives accumulators 0.

    - tile_contract_c1: region argument counts and types are as above.
    - tile_contract_c2: `terms` indexes existing operand regions.
    - tile_contract_c3: left and right of a term yield the same kind (both
      8-bit integers, both 8-bit floats, or one other float type).
    - tile_contract_c4: `rescale` is present exactly with `split`.
  }];
  let arguments = (ins AffineMapAttr:$extents, I64Attr:$num_batch, I64Attr:$num_lhs,
                       DenseI64ArrayAttr:$terms, UnitAttr:$lhs_unsigned, UnitAttr:$rhs_unsigned,
                       OptionalAttr<I64Attr>:$split);
  let regions = (region SizedRegion<1>:$epilogue, AnyRegion:$rescale,
                        VariadicRegion<SizedRegion<1>>:$operand_regions);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    unsigned getNumTerms() { return getTerms().size() / 2; }
    unsigned getNumRhs() { return getOperandRegions().size() - getNumLhs(); }
    ::mlir::Region &getLhsRegion(unsigned i) { return getOperandRegions()[i]; }
    ::mlir::Region &getRhsRegion(unsigned i) { return getOperandRegions()[getNumLhs() + i]; }
    /// The type an operand region yields.
    ::mlir::Type getElementType(::mlir::Region &region);
    /// The single load an operand region consists of, or null; null too where
    /// it widens the elements.
    LoadOp getPlainLoad(::mlir::Region &region);
    /// i32 or f32.
    ::mlir::Type getAccumulatorType();
    /// `rescale` yields an i32 per term after the factors.
    bool hasAddends();
  }];
}

//===----------------------------------------------------------------------===//
// The block family
//===----------------------------------------------------------------------===//

def Tile_BlocksOp : Tile_Op<"blocks", [RecursiveMemoryEffects, SingleBlock, NoTerminator]> {
  let summary = "Independent blocks, each a sequence of reductions, scalars and maps";
  let description = [{
    Runs its region once for each point of `$domain` (`()[symbols] ->
    (extents...)`, possibly none: one point). Block arguments are the point.
    The body is a list of `tile.reduce`, `tile.map`, `tile.load`, `tile.store`
    and scalar ops; they happen in order, and a later op sees what an earlier
    one of the same point stored. Points may run in any order or at once.
    - tile_blocks_c1: one index argument per extent of the domain, which
      depends on symbols only.
  }];
  let arguments = (ins AffineMapAttr:$domain);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
}

def Tile_ReduceOp : Tile_Op<"reduce", [RecursiveMemoryEffects]> {
  let summary = "Reduces a box of elements to one scalar";
  let description = [{
    The box has extents `min(extents, clamp)` per dimension, both maps of the
    point's indices (`clamp` may be absent); the region is run for every index
    in row-major order and yields the element. `addf` sums in the one written
    order: element number i (row-major within the box) goes to partial i mod
    256, each summed ascending from +0, then partials p and p+128 are added,
    p and p+64, ... p and p+1. An empty box gives 0, -inf, +0, 0.
    - tile_reduce_c1: the result is i32 for umax and addi, f32 otherwise.
    - tile_box_c1: the box map takes the given point and has one result per
      body argument.
    - tile_box_c2: `clamp` has the shape of the box map.
  }];
  let arguments = (ins Tile_ReduceKind:$kind, Variadic<Index>:$point, AffineMapAttr:$extents,
                       OptionalAttr<AffineMapAttr>:$clamp);
  let results = (outs AnyTypeOf<[I32, F32]>:$result);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
}

def Tile_MapOp : Tile_Op<"map", [RecursiveMemoryEffects]> {
  let summary = "Runs a body for every element of a box";
  let description = [{
    The box is as in `tile.reduce`; the body loads, computes and stores, and
    ends in an empty `tile.yield`. Elements are independent.
    - tile_map_c1: the body yields nothing.
  }];
  let arguments = (ins Variadic<Index>:$point, AffineMapAttr:$extents,
                       OptionalAttr<AffineMapAttr>:$clamp);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Access
//===----------------------------------------------------------------------===//

def Tile_LoadOp : Tile_Op<"load", [MemoryEffects<[MemRead]>]> {
  let summary = "Reads one element";
  let description = [{
    The element at `map(indices)`; always within the buffer's shape. Where an
    index is data (a gather), it is an operand like any other. 8-bit codes
    load as i8 whatever their sign, and so do 4-bit ones, widened.
    - tile_load_c1: the map has one dimension per index and one result per
      dimension of the buffer.
    - tile_load_c2: the result is the buffer's element type (i8 for ui8, i4 and
      ui4).
  }];
  let arguments = (ins Tile_Buffer:$buffer, Variadic<Index>:$indices, AffineMapAttr:$map);
  let results = (outs AnyType:$result);
  let assemblyFormat = "$buffer `at` $map `(` $indices `)` attr-dict `:` type($buffer) `->` type($result)";
  let hasVerifier = 1;
}

def Tile_StoreOp : Tile_Op<"store", [MemoryEffects<[MemWrite]>]> {
  let summary = "Writes one element";
  let description = [{
    - tile_store_c1, tile_store_c2: as `tile.load`.
    - tile_store_c3: the buffer's elements have bytes of their own.
  }];
  let arguments = (ins AnyType:$value, Tile_Buffer:$buffer, Variadic<Index>:$indices, AffineMapAttr:$map);
  let assemblyFormat = "$value `to` $buffer `at` $map `(` $indices `)` attr-dict `:` type($value) `,` type($buffer)";
  let hasVerifier = 1;
}

def Tile_AccumulateOp : Tile_Op<"accumulate", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "Combines one element into a buffer";
  let description = [{
    `buffer[map(indices)] = kind(buffer[map(indices)], value)`, indivisibly. Any
    number of elements, from any stage and thread, may meet in one place, in any
    order: only kinds whose result does not depend on it are accepted. The
    buffer is state of the program, zero when a run begins, which is neutral
    for both.
    - tile_accumulate_c1: as tile_load_c1.
    - tile_accumulate_c2: i32 into a buffer of i32.
    - tile_accumulate_c3: umax or addi.
  }];
  let arguments = (ins Tile_ReduceKind:$kind, I32:$value, Tile_Buffer:$buffer, Variadic<Index>:$indices,
                       AffineMapAttr:$map);
  let assemblyFormat = "$kind $value `to` $buffer `at` $map `(` $indices `)` attr-dict `:` type($buffer)";
  let hasVerifier = 1;
}

def Tile_IndexOp : Tile_Op<"index", [Pure]> {
  let summary = "An affine expression of indices and symbols, as an index value";
  let description = "Used where an index takes part in arithmetic: `concat` chooses by it.";
  let arguments = (ins Variadic<Index>:$indices, AffineMapAttr:$map);
  let results = (outs Index:$result);
  let assemblyFormat = "$map `(` $indices `)` attr-dict";
}

def Tile_YieldOp : Tile_Op<"yield", [Terminator, Pure]> {
  let summary = "Ends an element body";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
}

#endif // TILE_OPS
