//===- QuernDialect.td - The quern dialect, its attributes and types ------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DIALECT
#define QUERN_DIALECT

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def Quern_Dialect : Dialect {
  let name = "quern";
  let cppNamespace = "::quern::ir";
  let summary = "What a quantized layer means, independent of any target";
  let description = [{
    A layer is a `func.func` whose body is a list of quern ops on tensors.

    **Symbolic dimensions.** A dimension that is not a number is dynamic in the
    builtin tensor type, and the type's encoding says which expression it is:
    an affine map from the layer's symbols to the tensor's dimensions.
    `tensor<?x4096xf16, affine_map<()[s0] -> (s0, 4096)>>` is the text
    `f16[M, 4096]` where `M` is the layer's symbol 0. Every value has such a
    type, so shapes are checked by comparing types, and the size of any buffer
    is an expression over symbols. A tensor whose dimensions are all numbers
    has no encoding.

    **Attributes of a layer.** The function carries `quern.symbols` (an array
    of `#quern.symbol`, in index order) and `quern.numerics` ("strict" or
    "fast"). Arguments carry `quern.name` and, when constant between calls,
    the unit attribute `quern.weight`; results carry `quern.name`. An argument
    and the result that it holds after a call both carry `quern.inout`, one name
    and one type: state that a layer updates.

    **Element types.** i8 (signed codes), ui8 (unsigned codes), i4 and ui4 (such
    codes in memory), f8E4M3FN, f8E5M2, f16, bf16, f32, i32 (indices and raw accumulators), i1
    (comparisons). Arithmetic is done in f32 and rounded once to the type of
    the op's result.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let dependentDialects = ["::mlir::func::FuncDialect"];
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

class Quern_Attr<string name, string attrMnemonic, list<Trait> traits = []>
    : AttrDef<Quern_Dialect, name, traits> {
  let mnemonic = attrMnemonic;
}

def Quern_SymbolAttr : Quern_Attr<"Symbol", "symbol"> {
  let summary = "A symbolic dimension with its range and divisibility";
  let description = [{
    `#quern.symbol<"M", 1, 4096, 1>`: values from 1 to 4096, a multiple of 1.

    - quern_symbol_c1: it has a name.
    - quern_symbol_c2: 0 <= min <= max.
    - quern_symbol_c3: the multiple is at least 1.
  }];
  let parameters = (ins StringRefParameter<>:$name, "int64_t":$min,
                        "int64_t":$max, "int64_t":$multiple);
  let assemblyFormat = "`<` $name `,` $min `,` $max `,` $multiple `>`";
  let genVerifyDecl = 1;
}

def Quern_ScaleAttr : Quern_Attr<"Scale", "scale"> {
  let summary = "The granularity and type of a tensor's scales";
  let description = [{
    `#quern.scale<block = [1, 128], type = f32>`: one f32 scale per block of
    1 x 128 elements. Granularity is this value and nothing else; no pass asks
    which of its names somebody used:

        scale index[d] = element index[d] / block[d]
        scale shape[d] = ceil(element shape[d] / block[d])

        per tensor              [0, 0]      per token, per row   [1, 0]
        per channel (of [N, K]) [1, 0]      per group of g       [1, g]
        per block of a x b      [a, b]      per element          [1, 1]

    An extent of 0 is the whole axis whatever its length, so that one value
    serves a symbolic dimension; the last block along an axis may be short.

    - quern_scale_c1: scales are f32, f16 or bf16.
    - quern_scale_c2: an extent is at least 1, or 0.
  }];
  let parameters = (ins ArrayRefParameter<"int64_t">:$block, "::mlir::Type":$type);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

def Quern_RoundingHalfEven : I32EnumAttrCase<"HalfEven", 0, "half_even">;
def Quern_RoundingHalfAway : I32EnumAttrCase<"HalfAway", 1, "half_away">;
def Quern_RoundingTowardZero : I32EnumAttrCase<"TowardZero", 2, "toward_zero">;
def Quern_Rounding : I32EnumAttr<"Rounding", "rounding of a quantizer",
    [Quern_RoundingHalfEven, Quern_RoundingHalfAway, Quern_RoundingTowardZero]> {
  let cppNamespace = "::quern::ir";
  let genSpecializedAttr = 0;
}

def Quern_ScaleNearest : I32EnumAttrCase<"Nearest", 0, "nearest">;
def Quern_ScalePowerCeil : I32EnumAttrCase<"PowerCeil", 1, "power_ceil">;
def Quern_ScalePowerFloor : I32EnumAttrCase<"PowerFloor", 2, "power_floor">;
def Quern_ScalePowerEven : I32EnumAttrCase<"PowerEven", 3, "power_even">;
def Quern_ScaleRounding : I32EnumAttr<"ScaleRounding", "rounding of a scale",
    [Quern_ScaleNearest, Quern_ScalePowerCeil, Quern_ScalePowerFloor, Quern_ScalePowerEven]> {
  let cppNamespace = "::quern::ir";
}

def Quern_StatisticAbsMax : I32EnumAttrCase<"AbsMax", 0, "absmax">;
def Quern_StatisticPercentile : I32EnumAttrCase<"Percentile", 1, "percentile">;
def Quern_StatisticSampled : I32EnumAttrCase<"Sampled", 2, "sampled">;
def Quern_StatisticKind : I32EnumAttr<"StatisticKind", "what of a block a scale is made of",
    [Quern_StatisticAbsMax, Quern_StatisticPercentile, Quern_StatisticSampled]> {
  let cppNamespace = "::quern::ir";
}

def Quern_QuantizerAttr : Quern_Attr<"Quantizer", "quantizer"> {
  let summary = "The complete recipe that turns numbers into codes";
  let description = [{
    Mirrors `quern::Quantizer` (`runtime/core/Quantizer.h`), which defines the
    meaning of every field; numbers are f32. The code and scale types are those of the result.
    A `scale_rounding` of `nearest` and the statistic `absmax` are not printed;
    others are `statistic = percentile(99.9)` and `sampled(16)`.

    - quern_quantizer_c1: divisor and floor are positive finite numbers.
    - quern_quantizer_c2: a percentile is from 50 to 99.9999; the stride
      of a sample is an integer from 2 to 65536.
  }];
  let parameters = (ins APFloatParameter<"">:$divisor, APFloatParameter<"">:$qmin,
                        APFloatParameter<"">:$qmax, "::quern::ir::Rounding":$rounding,
                        APFloatParameter<"">:$floor, "::quern::ir::ScaleRounding":$scale_rounding,
                        "::quern::ir::StatisticKind":$statistic, APFloatParameter<"">:$statistic_parameter);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

def Quern_QTensor : TypeDef<Quern_Dialect, "QTensor"> {
  let mnemonic = "qtensor";
  let summary = "A quantized tensor: codes, scales and maybe zero points in one value";
  let description = [{
    `!quern.qtensor<tensor<?x4096xi8, ...>, #quern.scale<block = [1, 0], type = f32>>`
    is the text `i8[M, 4096] * f32[M, 1]`. Its value is
    `f32(code) * f32(scale)`, with the scale found by the block map.

    With `zeros = ui8` each block has a zero point beside its scale, of the
    codes' type, and the value is `f32(code - zero) * f32(scale)`, the
    difference exact: `(u8[M, K] - u8[M, 1]) * f32[M, 1]` in the text.

    Codes of i4 or ui4 are how a layer's operands lie in memory. No operation
    makes or computes with them: `quern.codes` and `quern.zeros` have the same
    numbers as i8 or ui8.

    - quern_qtensor_c1: codes are i8, ui8, i4, ui4, f8E4M3FN or f8E5M2.
    - quern_qtensor_c2: the block has one extent per dimension of the codes.
    - quern_qtensor_c3: zeros are of the codes' type, which is an integer.
  }];
  let parameters = (ins "::mlir::RankedTensorType":$codes, "::quern::ir::ScaleAttr":$scale,
                        OptionalParameter<"::mlir::Type">:$zeros);
  let builders = [TypeBuilder<(ins "::mlir::RankedTensorType":$codes,
                                   "::quern::ir::ScaleAttr":$scale),
                              "return $_get($_ctxt, codes, scale, ::mlir::Type());">];
  let assemblyFormat = "`<` $codes `,` $scale (`,` `zeros` `=` $zeros^)? `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// The tensor type of the scales, derived from the codes' shape.
    ::mlir::RankedTensorType getScalesType();
    /// The tensor type of the zero points; only with zeros.
    ::mlir::RankedTensorType getZerosType();
    bool hasZeros() { return bool(getZeros()); }
    /// The same as they are read: codes and zeros of four bits as of eight.
    ::mlir::RankedTensorType getReadCodesType();
    ::mlir::RankedTensorType getReadZerosType();
    /// The tensor of real values this stands for, of element type f32.
    ::mlir::RankedTensorType getValueType();
    int64_t getRank() { return getCodes().getRank(); }
  }];
}

#endif // QUERN_DIALECT
