//===- QuantizationOps.td - Quantization in the quern dialect -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A part of QuernOps.td, which includes it: codes, scales and zero points, and
// the parts a quantization is made of.
//
//===----------------------------------------------------------------------===//

#ifndef QUANTIZATION_OPS
#define QUANTIZATION_OPS

def Quern_QuantizeOp : Quern_Op<"quantize", [AttrSizedOperandSegments]> {
  let summary = "Turns numbers into codes and scales";
  let description = [{
    Without `$scale` the quantization is *dynamic*: each block's scale comes
    from its absolute maximum. With it, *static*: the given scales are used.

    - quern_quantize_c1: input and codes have the same shape.
    - quern_quantize_c2: the input's element type is f16, bf16 or f32.
    With zero points a block's range, extended to hold 0, is what the scale and
    the zero point come from (docs/numerics.md).
    - quern_quantize_c3: `$scale`, when present, has the shape and type of the
      result's scales.
    - quern_quantize_c4: `$zero` is present exactly when `$scale` is and the
      result has zeros, and has their type.
    - quern_quantize_c5: a statistic other than absmax makes a dynamic scale,
      without zeros; the stride of a sample divides the blocks' extent along the
      last axis, unless that is the whole axis.
    - quern_quantize_c6: codes of four bits are not made.
  }];
  let arguments = (ins AnyRankedTensor:$input, Optional<AnyRankedTensor>:$scale,
                       Optional<AnyRankedTensor>:$zero, Quern_QuantizerAttr:$quantizer);
  let results = (outs Quern_QTensor:$result);
  let assemblyFormat = [{
    $input (`scale` $scale^ `:` type($scale))? (`zero` $zero^ `:` type($zero))? $quantizer
    attr-dict `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Quern_DequantizeOp : Quern_Op<"dequantize"> {
  let summary = "The real values of a quantized tensor, in f32";
  let description = [{
    `f32(code - zero) * f32(scale)`, one rounding; without zeros `f32(code) *
    f32(scale)`.
    - quern_dequantize_c1: the result is the operand's value type.
  }];
  let arguments = (ins Quern_QTensor:$input);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Quern_MakeQTensorOp : Quern_Op<"make_qtensor"> {
  let summary = "Joins codes, scales and zero points into one value";
  let description = [{
    - quern_make_qtensor_c1: codes, scales and zeros have the result's types.
    - quern_make_qtensor_c2: codes of four bits are not made.
  }];
  let arguments = (ins AnyRankedTensor:$codes, AnyRankedTensor:$scales,
                       Optional<AnyRankedTensor>:$zeros);
  let results = (outs Quern_QTensor:$result);
  let builders = [OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$codes,
                                 "::mlir::Value":$scales),
                            [{ build($_builder, $_state, result, codes, scales, ::mlir::Value()); }]>];
  let assemblyFormat = [{
    $codes `,` $scales (`zeros` $zeros^ `:` type($zeros))? attr-dict `:` type($codes) `,` type($scales) `->` type($result)
  }];
  let hasVerifier = 1;
  let hasFolder = 0;
}

def Quern_CodesOp : Quern_Op<"codes"> {
  let summary = "The codes of a quantized tensor";
  let description = [{
    - quern_codes_c1: the result is the operand's codes type; i8 or ui8 for codes
      of four bits.
  }];
  let arguments = (ins Quern_QTensor:$input);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Quern_ScalesOp : Quern_Op<"scales"> {
  let summary = "The scales of a quantized tensor";
  let description = "- quern_scales_c1: the result is the operand's scales type.";
  let arguments = (ins Quern_QTensor:$input);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Quern_ZerosOp : Quern_Op<"zeros"> {
  let summary = "The zero points of a quantized tensor";
  let description = [{
    - quern_zeros_c1: the operand has zeros, and the result is their type; i8 or
      ui8 for zeros of four bits.
  }];
  let arguments = (ins Quern_QTensor:$input);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Quern_EncodeOp : Quern_Op<"encode"> {
  let summary = "Codes of numbers under given scales";
  let description = [{
    The last part of a quantization, whose scales are already known. With
    `s = f32(scales[i0 / block[0], i1 / block[1], ...])` (an extent of 0 gives
    index 0) and `t = f32(x) / s`, correctly rounded:

        integer codes: clamp(t = NaN -> 0, else round(t); qmin, qmax)
        float codes:   clamp(t, qmin, qmax) rounded to the code type, NaN kept

    Rounding and range are the quantizer's; its divisor and floor play no part.
    With zeros, found as the scales are, `clamp(round(t) + zero, qmin, qmax)`,
    and NaN encodes to the zero point, clamped. `within` promises that |t| is
    below it wherever s is finite: the scales were made of these very numbers.

    - quern_encode_c1: input and result have the same shape; the input is f16,
      bf16 or f32, the result i8, ui8, f8E4M3FN or f8E5M2.
    - quern_encode_c2: `$scales` has the block's scale shape and is f32, f16
      or bf16.
    - quern_encode_c3: `$zeros` has that shape too and the result's element
      type, which is an integer.
  }];
  let arguments = (ins AnyRankedTensor:$input, AnyRankedTensor:$scales,
                       Optional<AnyRankedTensor>:$zeros,
                       Quern_QuantizerAttr:$quantizer, DenseI64ArrayAttr:$block,
                       OptionalAttr<F32Attr>:$within);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $input `,` $scales (`zeros` $zeros^ `:` type($zeros))? $quantizer `block` $block attr-dict
    `:` type($input) `,` type($scales) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Quern_ExpandScalesOp : Quern_Op<"expand_scales"> {
  let summary = "Repeats each element over its block";
  let description = [{
    `result[i0, i1, ...] = input[i0 / block[0], i1 / block[1], ...]`, where an
    extent of 0 gives index 0: scales that hold for 128 rows become one factor
    per row. A pure index map; any element type.

    - quern_expand_scales_c1: the operand has the scale shape of that block
      over the result's shape, and the result's element type.
  }];
  let arguments = (ins AnyRankedTensor:$input, DenseI64ArrayAttr:$block);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input `block` $block attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

#endif // QUANTIZATION_OPS
