//===- TileDialect.td - The tile dialect and its buffer type --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef TILE_DIALECT
#define TILE_DIALECT

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def Tile_Dialect : Dialect {
  let name = "tile";
  let cppNamespace = "::quern::tile";
  let summary = "What each kernel does, before anyone decides how";
  let description = [{
    A module at this stage holds one `tile.program` per layer (its buffers and
    the list of launches) and the `tile.kernel`s it launches. A kernel is a
    single-block region over *buffers*: plain memory of a symbolic shape,
    row-major and contiguous.

    **Indices and symbols.** Every affine map in a kernel or program may use
    the layer's symbols s0, s1, ... without passing them: symbol K is always
    the K-th symbol listed on the program or kernel. Map dimensions are the
    index operands given.

    **Element bodies.** Regions that compute one element hold `tile.load`,
    `tile.store` and scalar ops of upstream's `arith` and `math`, with exactly
    their IEEE meaning and order (strict numerics):
      - f32 arithmetic: arith.addf subf mulf divf negf maximumf minimumf,
        math.fma, math.absf, math.sqrt, math.roundeven, math.exp, math.tanh,
        math.erf (the three by Quern's own fixed polynomials, see
        docs/numerics.md);
      - conversions: arith.extf, truncf (half to even; to 8-bit floats:
        saturating, NaN to the format's NaN), sitofp, uitofp, fptosi, fptoui
        (only after clamping), extsi, extui, trunci, bitcast;
      - integers and comparisons: arith.addi subi muli andi ori xori shli shrui
        shrsi maxui maxsi minsi, cmpf, cmpi, select, constant, index_cast.
    Storage types are i8, ui8-as-i8 (sign is in the ops), i4 and ui4 (read as
    i8), i32, f16, bf16,
    f8E4M3FN, f8E5M2, f32; arithmetic is on f32, i32, i1 and index only.

    **Quotients that become codes.** An `arith.divf {tile.to_code}` is only ever
    clamped and rounded to a code of 8 bits or fewer: a quotient that is an ulp
    off does as well where that cannot change the code (docs/numerics.md). With
    `{tile.within = 127.5 : f32}` its magnitude is below that number wherever
    the divisor is a finite number: the divisor was made of the dividends.

    **Stages.** A kernel is a list of stages, each a `tile.contract` (a product
    with what is fused around it, at most one to a kernel) or a `tile.blocks`
    (independent blocks, each a sequence of reductions and maps). Stages happen
    one after the other; what one leaves for the next alone is kept in a
    `tile.local`. Two kernels become one by putting their stages together, so
    that fusing a reduction into the product that makes its data changes neither
    the product's body nor the reduction's. How the stages are tied in time and
    space is the kernel's `placement`. Nothing here knows the quern dialect.
  }];
  let discardableAttrs = (ins "::mlir::UnitAttr":$to_code, "::mlir::FloatAttr":$within);
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}

def Tile_Buffer : TypeDef<Tile_Dialect, "Buffer"> {
  let mnemonic = "buffer";
  let summary = "Row-major memory of a symbolic shape";
  let description = [{
    `!tile.buffer<()[s0] -> (s0, 4096), f16>`. Unsigned codes have
    element type ui8. Of i4 and ui4, two elements of a row share a byte
    (runtime/core/DType.h).
  }];
  let parameters = (ins "::mlir::AffineMap":$shape, "::mlir::Type":$elementType);
  let assemblyFormat = "`<` $shape `,` $elementType `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    unsigned getRank() { return getShape().getNumResults(); }
  }];
}

def Tile_SymbolAttr : AttrDef<Tile_Dialect, "Symbol"> {
  let mnemonic = "symbol";
  let summary = "A symbolic dimension with its range and divisibility";
  let parameters = (ins StringRefParameter<>:$name, "int64_t":$min,
                        "int64_t":$max, "int64_t":$multiple);
  let assemblyFormat = "`<` $name `,` $min `,` $max `,` $multiple `>`";
}

def Tile_RangeAttr : AttrDef<Tile_Dialect, "Range"> {
  let mnemonic = "range";
  let summary = "Values of one symbol of a program, both ends included";
  let parameters = (ins StringRefParameter<>:$symbol, "int64_t":$min, "int64_t":$max);
  let assemblyFormat = "`<` $symbol `,` $min `,` $max `>`";
}

def Tile_ClassExact : I32EnumAttrCase<"Exact", 0, "exact">;
def Tile_ClassOrdered : I32EnumAttrCase<"Ordered", 1, "ordered">;
def Tile_ClassBounded : I32EnumAttrCase<"Bounded", 2, "bounded">;
def Tile_NumericsClass : I32EnumAttr<"NumericsClass",
    "how far results are determined: exact bits, bits by one written order, or within a bound",
    [Tile_ClassExact, Tile_ClassOrdered, Tile_ClassBounded]> {
  let cppNamespace = "::quern::tile";
}

def Tile_RoleInput : I32EnumAttrCase<"Input", 0, "input">;
def Tile_RoleWeight : I32EnumAttrCase<"Weight", 1, "weight">;
def Tile_RoleOutput : I32EnumAttrCase<"Output", 2, "output">;
def Tile_RoleTemporary : I32EnumAttrCase<"Temporary", 3, "temporary">;
def Tile_RolePacked : I32EnumAttrCase<"Packed", 4, "packed">;
def Tile_RoleState : I32EnumAttrCase<"State", 5, "state">;
def Tile_BufferRole : I32EnumAttr<"BufferRole", "what a program's buffer is for",
    [Tile_RoleInput, Tile_RoleWeight, Tile_RoleOutput, Tile_RoleTemporary, Tile_RolePacked, Tile_RoleState]> {
  let cppNamespace = "::quern::tile";
}

def Tile_ReduceUMax : I32EnumAttrCase<"UMax", 0, "umax">;
def Tile_ReduceMaximumF : I32EnumAttrCase<"MaximumF", 1, "maximumf">;
def Tile_ReduceAddF : I32EnumAttrCase<"AddF", 2, "addf">;
def Tile_ReduceAddI : I32EnumAttrCase<"AddI", 3, "addi">;
def Tile_ReduceKind : I32EnumAttr<"ReduceKind",
    "i32 unsigned maximum from 0; f32 maximum (NaN wins) from -inf; f32 ordered sum; i32 wrapping sum",
    [Tile_ReduceUMax, Tile_ReduceMaximumF, Tile_ReduceAddF, Tile_ReduceAddI]> {
  let cppNamespace = "::quern::tile";
}

def Tile_PlaceRegister : I32EnumAttrCase<"Register", 0, "register">;
def Tile_PlaceTile : I32EnumAttrCase<"Tile", 1, "tile">;
def Tile_PlaceCluster : I32EnumAttrCase<"Cluster", 2, "cluster">;
def Tile_PlaceGrid : I32EnumAttrCase<"Grid", 3, "grid">;
def Tile_PlacePanel : I32EnumAttrCase<"Panel", 4, "panel">;
def Tile_PlaceConsumer : I32EnumAttrCase<"Consumer", 5, "consumer">;
def Tile_PlaceSeparate : I32EnumAttrCase<"Separate", 6, "separate">;
def Tile_Placement : I32EnumAttr<"Placement",
    "where the blocks of a stage are computed, seen from the product beside it",
    [Tile_PlaceRegister, Tile_PlaceTile, Tile_PlaceCluster, Tile_PlaceGrid,
     Tile_PlacePanel, Tile_PlaceConsumer, Tile_PlaceSeparate]> {
  let cppNamespace = "::quern::tile";
}

def Tile_PhasePrepare : I32EnumAttrCase<"Prepare", 0, "prepare">;
def Tile_PhaseRun : I32EnumAttrCase<"Run", 1, "run">;
def Tile_LaunchPhase : I32EnumAttr<"LaunchPhase", "once when weights are bound, or in every run",
    [Tile_PhasePrepare, Tile_PhaseRun]> {
  let cppNamespace = "::quern::tile";
}

#endif // TILE_DIALECT
