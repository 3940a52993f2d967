//===- QuernOps.td - Operations of the quern dialect ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Constraints have labels (`quern_matmul_c3`): the description states the law,
// the verifier quotes the label, and a test of that name breaks
// it. Shape expressions compare as affine expressions after simplification.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_OPS
#define QUERN_OPS

include "dialects/quern/IR/QuernDialect.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"

class Quern_Op<string mnemonic, list<Trait> traits = []>
    : Op<Quern_Dialect, mnemonic, !listconcat([Pure], traits)>;

def Quern_FloatTensor : RankedTensorOf<[F16, BF16, F32, F8E4M3FN, F8E5M2]>;
def Quern_Value : AnyTypeOf<[AnyRankedTensor, Quern_QTensor]>;

include "dialects/quern/IR/QuantizationOps.td"

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

def Quern_MatmulOp : Quern_Op<"matmul"> {
  let summary = "A product of two tensors, either of which may be quantized";
  let description = [{
    `[..., M, K] x [..., K, N] -> [..., M, N]`; with `transpose_rhs` the right
    operand is `[..., N, K]`. Leading batch dimensions are equal, or the right
    operand has none (rank 2) and is shared by all batches. The result's
    element type is f32; a cast follows where the text says `as`.

    Meaning, with both operands quantized to integer codes: the exact integer
    sum of products of codes per block of K on which both scales are constant,
    then `acc = fma(f32(part), f, acc)` over those blocks in ascending order,
    where f is the product of the scales that vary along K, s_a first. The sum
    is then multiplied with those that do not, s_a first; where neither varies,
    that is `(f32(acc) * s_a) * s_b`. Which form holds is read off the types: a
    block extent of 0, or a constant K not longer than the block, does not vary
    (`getProductSplit`).

    With zero points the products are of the differences: `(a - za)(b - zb)`,
    summed exactly. A difference is at most 255 in magnitude, whatever the code
    type (15 for codes of four bits), and the limits below follow from that.

    An i32 sum is exact for up to 131,071 products of i8 codes (-128 is a legal
    code: 2^31 / 128^2), 65,793 of i8 with ui8 and 33,025 of ui8; 2,097,151 of
    i8 with i4. Where K may
    be longer than G = that limit rounded down to a multiple of 128 (130,944,
    65,792 and 33,024), it is summed in blocks of G: `acc = fma(f32(part), 1,
    acc)` ascending, and then `(acc * s_a) * s_b`; a block of scales longer
    than G is cut into its largest divisor not above G. K <= G gives the same
    bits either way.

    With float codes or float operands the class of the op is *bounded*: the
    products are summed in f32 in any order. A quantized operand beside a float
    one is dequantized to f32 and rounded to the float operand's type.

    - quern_matmul_c1: both operands have rank at least 2 and the left one's
      rank is not less than the right one's.
    - quern_matmul_c2: the contracted extents are equal.
    - quern_matmul_c3: batch extents are equal, or the right operand has rank 2.
    - quern_matmul_c4: the result is f32 of shape [..., M, N].
    - quern_matmul_c5: codes are both integer or both float.
    - quern_matmul_c6: a scale that varies per element of the contracted axis
      (block extent 1 where the axis is longer) is illegal: it can be neither
      applied after the product nor split off; fold it into the other operand
      or dequantize first.
    - quern_matmul_c7: where both scales vary along the contracted axis, the
      extent of one block is a multiple of the other's.
    - quern_matmul_c8: float operands have the same element type.
  }];
  let arguments = (ins Quern_Value:$lhs, Quern_Value:$rhs, UnitAttr:$transpose_rhs);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $lhs `,` $rhs (`transpose_rhs` $transpose_rhs^)? attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Quern_SumCodesOp : Quern_Op<"sum_codes"> {
  let summary = "Sums of codes over blocks, exact";
  let description = [{
    `result[i / block] = sum of (code[i] - zero[i / zeros_block])` in i32,
    modulo 2^32; without zeros the codes themselves.
    `block` is as in quern.reduce.

    - quern_sum_codes_c1: codes are i8 or ui8; the result is i32 of the block's
      scale shape.
    - quern_sum_codes_c2: `$zeros` has the codes' element type and the shape of
      `zeros_block`, whose extents are 0 or multiples of the block's.
  }];
  let arguments = (ins AnyRankedTensor:$input, Optional<AnyRankedTensor>:$zeros,
                       DenseI64ArrayAttr:$block, OptionalAttr<DenseI64ArrayAttr>:$zeros_block);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $input (`zeros` $zeros^ `:` type($zeros))? `block` $block attr-dict `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Quern_PercentileOp : Quern_Op<"percentile"> {
  let summary = "What all but a share of each block's elements are not above in magnitude";
  let description = [{
    An f32 for each block. With `b = min(bits(|x|), 0x7f800000)` and the key
    `b >> 19`, exponent and four bits of the mantissa, t is the largest key that
    more than `i32(f32(n) * tail)` of the block's n elements reach, 0 if none.
    The result is infinity for the key of infinity, else the smaller of the
    largest finite number and the f32 of bits `(t + 1) << 19`: what no element
    of that key reaches.

    - quern_percentile_c1: the input is f16, bf16 or f32; the result is f32 with
      an element for each block.
    - quern_percentile_c2: 0 < tail <= 0.5.
  }];
  let arguments = (ins AnyRankedTensor:$input, F32Attr:$tail, DenseI64ArrayAttr:$block);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $input `tail` $tail `block` $block attr-dict `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Quern_CountClippedOp : Quern_Op<"count_clipped"> {
  let summary = "Counts the elements that a range of codes does not hold";
  let description = [{
    `result[i / block] = before[i / block] +` the number of elements x of the
    block with `round(f32(x) / s) < qmin` or `> qmax`, modulo 2^32, where s is
    the scale that `quern.encode` would use and, for float codes, nothing is
    rounded. NaN counts as inside. Without `$before` it is 0.

    - quern_count_clipped_c1: the input is f16, bf16 or f32, and `$scales` has
      the scale shape of `scale_block` and is f32, f16 or bf16.
    - quern_count_clipped_c2: the result, and `$before`, is i32 with an element
      for each block.
  }];
  let arguments = (ins AnyRankedTensor:$input, AnyRankedTensor:$scales,
                       Optional<AnyRankedTensor>:$before, Quern_QuantizerAttr:$quantizer,
                       UnitAttr:$float_codes, DenseI64ArrayAttr:$scale_block,
                       DenseI64ArrayAttr:$block);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $input `,` $scales (`after` $before^ `:` type($before))? $quantizer (`float` $float_codes^)?
    `scales` $scale_block `block` $block attr-dict `:` type($input) `,` type($scales) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Quern_AddCountsOp : Quern_Op<"add_counts"> {
  let summary = "Sums of i32 over blocks, modulo 2^32";
  let description = [{
    `result[i / block] = before[i / block] + sum of input[i]`; without `$before`
    the sum alone. `block` is as in quern.reduce.

    - quern_add_counts_c1: all are i32, the result and `$before` with an element
      for each block.
  }];
  let arguments = (ins AnyRankedTensor:$input, Optional<AnyRankedTensor>:$before,
                       DenseI64ArrayAttr:$block);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $input (`after` $before^ `:` type($before))? `block` $block attr-dict `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Quern_ContractOp : Quern_Op<"contract", [AttrSizedOperandSegments]> {
  let summary = "A product of plain tensors, made from matmul by hoisting scales";
  let description = [{
    Codes or floats in, raw accumulators out: i32 for integer operands, f32 for
    float ones. The shapes are matmul's.

    With `split = g` the contracted axis is cut into blocks of g (the last may
    be short); `$lhs_scales` and `$rhs_scales` give the factor f of each block
    through their scale maps, the product of both or the one there is, and the
    result is f32: `acc = fma(f32(part), f, acc)`, ascending from +0; the scales
    of block j are those of its first element k = j g. Integer products whose
    sum could exceed 32 bits are split as well, without scales: f is 1.

    Zero points correct each part before it is scaled, modulo 2^32:
    `part - za * rhs_sums - zb * lhs_sums`, where `$rhs_sums` are those of
    `b - zb` and `$lhs_sums` those of `a` over each block of g. Without a split
    quern.correct_zeros does the same to the whole sum.

    - quern_contract_c1: element types are i8/ui8 both, or one float type.
    - quern_contract_c2: the result is i32 for an unsplit integer product, f32
      otherwise.
    - quern_contract_c3: shapes as quern_matmul_c1 to c4.
    - quern_contract_c4: scales come only with `split`; `lhs_block`/`rhs_block`
      are the block maps, over the operands' shapes, of operands that have
      scales or zeros; an extent along K is 0 or a multiple of `split`.
    - quern_contract_c5: the zeros of one operand come with the sums of the
      other, only with `split`; they share the block map of its scales.
  }];
  let arguments = (ins AnyRankedTensor:$lhs, AnyRankedTensor:$rhs,
                       Optional<AnyRankedTensor>:$lhs_scales,
                       Optional<AnyRankedTensor>:$rhs_scales,
                       Optional<AnyRankedTensor>:$lhs_zeros,
                       Optional<AnyRankedTensor>:$rhs_sums,
                       Optional<AnyRankedTensor>:$rhs_zeros,
                       Optional<AnyRankedTensor>:$lhs_sums,
                       UnitAttr:$transpose_rhs,
                       OptionalAttr<I64Attr>:$split,
                       OptionalAttr<DenseI64ArrayAttr>:$lhs_block,
                       OptionalAttr<DenseI64ArrayAttr>:$rhs_block);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $lhs `,` $rhs (`lhs_scales` $lhs_scales^ `:` type($lhs_scales))?
    (`rhs_scales` $rhs_scales^ `:` type($rhs_scales))?
    (`lhs_zeros` $lhs_zeros^ `,` $rhs_sums `:` type($lhs_zeros) `,` type($rhs_sums))?
    (`rhs_zeros` $rhs_zeros^ `,` $lhs_sums `:` type($rhs_zeros) `,` type($lhs_sums))?
    attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Element-wise operations
//===----------------------------------------------------------------------===//

def Quern_ElementwiseInterface : OpInterface<"ElementwiseInterface"> {
  let cppNamespace = "::quern::ir";
  let description = [{
    One result element depends on the operands' elements at the same index,
    where operands broadcast as in NumPy: shapes align at the right, and an
    extent of 1 or a missing dimension repeats.

    - quern_elementwise_c1: every operand broadcasts to the result's shape.
  }];
  let verify = "return ::quern::ir::verifyBroadcast($_op);";
}

def Quern_ArithmeticInterface : OpInterface<"ArithmeticInterface"> {
  let cppNamespace = "::quern::ir";
  let description = [{
    An element-wise op whose value is computed in f32 from numbers alone and
    rounded once to the result's element type. The language finds such an op by
    its mnemonic; kernels and the reference have one row for each.

    - quern_elementwise_c2: operands have the result's element type.
  }];
  let verify = "return ::quern::ir::verifySameElementType($_op);";
}

class Quern_ElementwiseOp<string mnemonic, list<Trait> traits = []>
    : Quern_Op<mnemonic, !listconcat([Quern_ElementwiseInterface], traits)>;

class Quern_UnaryOp<string mnemonic, string what>
    : Quern_ElementwiseOp<mnemonic, [Quern_ArithmeticInterface]> {
  let summary = what;
  let arguments = (ins AnyRankedTensor:$input);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}
class Quern_BinaryOp<string mnemonic, string what>
    : Quern_ElementwiseOp<mnemonic, [Quern_ArithmeticInterface]> {
  let summary = what;
  let arguments = (ins AnyRankedTensor:$lhs, AnyRankedTensor:$rhs);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)";
}

def Quern_AddOp : Quern_BinaryOp<"add", "x + y">;
def Quern_SubOp : Quern_BinaryOp<"sub", "x - y">;
def Quern_MulOp : Quern_BinaryOp<"mul", "x * y">;
def Quern_DivOp : Quern_BinaryOp<"div", "x / y, correctly rounded">;
def Quern_MaxOp : Quern_BinaryOp<"max", "the larger; NaN when either is NaN; +0 above -0">;
def Quern_MinOp : Quern_BinaryOp<"min", "the smaller; NaN when either is NaN; -0 below +0">;

def Quern_NegOp : Quern_UnaryOp<"neg", "-x (the sign bit flips)">;
def Quern_AbsOp : Quern_UnaryOp<"abs", "|x| (the sign bit clears)">;
def Quern_ReluOp : Quern_UnaryOp<"relu", "max(x, 0)">;
def Quern_SqrtOp : Quern_UnaryOp<"sqrt", "the correctly rounded square root">;
def Quern_ExpOp : Quern_UnaryOp<"exp", "e^x by the strict polynomial">;
def Quern_TanhOp : Quern_UnaryOp<"tanh", "tanh x by the strict polynomial">;
def Quern_ErfOp : Quern_UnaryOp<"erf", "erf x by the strict polynomial">;
def Quern_SigmoidOp : Quern_UnaryOp<"sigmoid", "1 / (1 + exp(-x))">;
def Quern_SiluOp : Quern_UnaryOp<"silu", "x / (1 + exp(-x))">;
def Quern_GeluErfOp : Quern_UnaryOp<"gelu_erf", "(0.5 * x) * (1 + erf(x * 0.70710678))">;
def Quern_GeluTanhOp : Quern_UnaryOp<"gelu_tanh",
    "(0.5 * x) * (1 + tanh(0.79788456 * (x + 0.044715 * x * x * x)))">;

def Quern_CastOp : Quern_ElementwiseOp<"cast"> {
  let summary = "rounds (half to even) or widens to the result's element type";
  let arguments = (ins AnyRankedTensor:$input);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}

def Quern_PowerOfTwoOp : Quern_ElementwiseOp<"power_of_two"> {
  let summary = "Rounds a positive number to a power of two";
  let description = [{
    For finite x of bits b, the f32 of bits `min((b + a) & 0x7f800000, bits of
    most)`, where `a` is 0x7fffff for `power_ceil`, 0 for `power_floor`, and
    0x3fffff plus bit 23 of b for `power_even` (half-way cases go to the even
    exponent field). Infinities and NaN are what they were. For normal positive
    x that is the power of two above, below or nearest.

    - quern_power_of_two_c1: operand and result are f32.
    - quern_power_of_two_c2: the rounding is not `nearest`.
    - quern_power_of_two_c3: `most` is a power of two.
  }];
  let arguments = (ins Quern_ScaleRounding:$rounding, AnyRankedTensor:$input, F32Attr:$most);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$rounding $input `most` $most attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Quern_CorrectZerosOp : Quern_ElementwiseOp<"correct_zeros", [AttrSizedOperandSegments]> {
  let summary = "Turns a sum of products of codes into one of their differences from zero points";
  let description = [{
    `acc - lhs_zeros * rhs_sums - rhs_zeros * lhs_sums` in i32, modulo 2^32.
    With `rhs_sums` the sums of `b - zb` and `lhs_sums` those of `a`, that is
    the sum of `(a - za)(b - zb)`.

    - quern_correct_zeros_c1: the accumulator, the sums and the result are i32,
      the zeros i8 or ui8; the zeros of one operand come with the sums of the
      other.
  }];
  let arguments = (ins AnyRankedTensor:$acc, Optional<AnyRankedTensor>:$lhs_zeros,
                       Optional<AnyRankedTensor>:$rhs_sums,
                       Optional<AnyRankedTensor>:$rhs_zeros,
                       Optional<AnyRankedTensor>:$lhs_sums);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $acc (`lhs_zeros` $lhs_zeros^ `,` $rhs_sums `:` type($lhs_zeros) `,` type($rhs_sums))?
    (`rhs_zeros` $rhs_zeros^ `,` $lhs_sums `:` type($rhs_zeros) `,` type($lhs_sums))?
    attr-dict `:` type($acc) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Quern_CmpLT : I32EnumAttrCase<"LT", 0, "lt">;
def Quern_CmpLE : I32EnumAttrCase<"LE", 1, "le">;
def Quern_CmpGT : I32EnumAttrCase<"GT", 2, "gt">;
def Quern_CmpGE : I32EnumAttrCase<"GE", 3, "ge">;
def Quern_CmpEQ : I32EnumAttrCase<"EQ", 4, "eq">;
def Quern_CmpNE : I32EnumAttrCase<"NE", 5, "ne">;
def Quern_ComparePredicate : I32EnumAttr<"ComparePredicate", "ordered comparison (ne is true for NaN)",
    [Quern_CmpLT, Quern_CmpLE, Quern_CmpGT, Quern_CmpGE, Quern_CmpEQ, Quern_CmpNE]> {
  let cppNamespace = "::quern::ir";
}

def Quern_CompareOp : Quern_ElementwiseOp<"compare"> {
  let summary = "Compares two tensors element by element";
  let description = [{
    - quern_compare_c1: the result's element type is i1.
    - quern_elementwise_c2: the operands have the same element type.
  }];
  let arguments = (ins Quern_ComparePredicate:$predicate, AnyRankedTensor:$lhs, AnyRankedTensor:$rhs);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$predicate $lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)";
  let hasVerifier = 1;
}

def Quern_SelectOp : Quern_ElementwiseOp<"select"> {
  let summary = "Takes from the first where the condition holds, else from the second";
  let description = [{
    - quern_select_c1: the condition's element type is i1.
    - quern_elementwise_c2: the others have the result's element type.
  }];
  let arguments = (ins AnyRankedTensor:$condition, AnyRankedTensor:$lhs, AnyRankedTensor:$rhs);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $condition `,` $lhs `,` $rhs attr-dict `:` type($condition) `,` type($lhs) `,` type($rhs) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Quern_ConstantOp : Quern_Op<"constant"> {
  let summary = "One number, as a tensor of rank 0";
  let description = [{
    The value is already rounded to the result's element type.
    - quern_constant_c1: the result has rank 0 and the value's type.
  }];
  let arguments = (ins TypedAttrInterface:$value);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$value attr-dict `:` type($result)";
  let hasVerifier = 1;
  let hasFolder = 0;
}

//===----------------------------------------------------------------------===//
// Reductions and row operations
//===----------------------------------------------------------------------===//

def Quern_ReduceSum : I32EnumAttrCase<"Sum", 0, "sum">;
def Quern_ReduceMean : I32EnumAttrCase<"Mean", 1, "mean">;
def Quern_ReduceMax : I32EnumAttrCase<"Max", 2, "max">;
def Quern_ReduceAbsMax : I32EnumAttrCase<"AbsMax", 3, "absmax">;
def Quern_ReduceMin : I32EnumAttrCase<"Min", 4, "min">;
def Quern_ReduceKind : I32EnumAttr<"ReduceKind", "what a reduction computes",
    [Quern_ReduceSum, Quern_ReduceMean, Quern_ReduceMax, Quern_ReduceAbsMax, Quern_ReduceMin]> {
  let cppNamespace = "::quern::ir";
}

def Quern_ReduceOp : Quern_Op<"reduce"> {
  let summary = "Reduces blocks of a tensor to one element each";
  let description = [{
    `block` works as in a scale: an extent per dimension, 0 for the whole
    axis. The result has the shape of the scales of such a block: reducing the
    last axis of [M, N] is `block = [1, 0]` and gives [M, 1].

    *sum* and *mean* are f32 sums in the one written order: the block's
    elements in row-major order are dealt to 256 partial sums by index mod 256,
    each summed in ascending order starting from +0; then the upper half of the
    partials is added to the lower, 128, 64, ... 1. *mean* divides by the
    block's element count. *max* and *min* propagate NaN; *absmax* is the unsigned
    maximum of the f32 bits without the sign.

    - quern_reduce_c1: the result has the block's scale shape and the operand's
      element type (absmax: f32).
  }];
  let arguments = (ins Quern_ReduceKind:$kind, AnyRankedTensor:$input, DenseI64ArrayAttr:$block);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$kind $input `block` $block attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Quern_SoftmaxOp : Quern_Op<"softmax"> {
  let summary = "exp(x - max) / sum(exp(x - max)) along the last axis";
  let description = [{
    Computed in f32 (max exact, sum in the order of reduce), one rounding to
    the result's element type. A row that is all -inf gives NaN.
    - quern_softmax_c1: operand and result have the same shape; rank >= 1.
  }];
  let arguments = (ins AnyRankedTensor:$input);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Quern_RmsNormOp : Quern_Op<"rmsnorm"> {
  let summary = "(x * (1 / sqrt(mean(x*x) + eps))) * weight along the last axis";
  let description = [{
    - quern_rmsnorm_c1: `weight` has the extent of the last axis.
  }];
  let arguments = (ins AnyRankedTensor:$input, AnyRankedTensor:$weight, F32Attr:$eps);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input `,` $weight `eps` $eps attr-dict `:` type($input) `,` type($weight) `->` type($result)";
  let hasVerifier = 1;
}

def Quern_LayerNormOp : Quern_Op<"layernorm"> {
  let summary = "((x - mean) * (1 / sqrt(mean((x - mean)^2) + eps))) * weight + bias along the last axis";
  let description = [{
    - quern_layernorm_c1: `weight` and `bias` have the extent of the last axis.
  }];
  let arguments = (ins AnyRankedTensor:$input, AnyRankedTensor:$weight, AnyRankedTensor:$bias, F32Attr:$eps);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $input `,` $weight `,` $bias `eps` $eps attr-dict `:` type($input) `,` type($weight) `,` type($bias) `->` type($result)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Shape operations
//===----------------------------------------------------------------------===//

def Quern_ReshapeOp : Quern_Op<"reshape"> {
  let summary = "The same elements in row-major order under another shape";
  let description = "- quern_reshape_c1: the element counts are equal as expressions.";
  let arguments = (ins AnyRankedTensor:$input);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Quern_TransposeOp : Quern_Op<"transpose"> {
  let summary = "Permutes dimensions: result dimension i is operand dimension permutation[i]";
  let description = "- quern_transpose_c1: `permutation` is one, and the result's shape follows.";
  let arguments = (ins AnyRankedTensor:$input, DenseI64ArrayAttr:$permutation);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input $permutation attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Quern_SliceOp : Quern_Op<"slice"> {
  let summary = "A part of a tensor: from offsets, as long as the result, by strides";
  let description = [{
    Offsets are affine expressions of the layer's symbols, one per dimension.
    - quern_slice_c1: one offset and one stride >= 1 per dimension.
    - quern_slice_c2: provably within bounds for every value of the symbols.
  }];
  let arguments = (ins AnyRankedTensor:$input, AffineMapAttr:$offsets, DenseI64ArrayAttr:$strides);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input `from` $offsets `by` $strides attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Quern_ConcatOp : Quern_Op<"concat"> {
  let summary = "Joins tensors along one axis";
  let description = "- quern_concat_c1: extents agree but along `axis`, where they add up.";
  let arguments = (ins Variadic<AnyRankedTensor>:$inputs, I64Attr:$axis);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$inputs `axis` $axis attr-dict `:` type($inputs) `->` type($result)";
  let hasVerifier = 1;
}

def Quern_GatherOp : Quern_Op<"gather"> {
  let summary = "Rows of a table by index (an embedding)";
  let description = [{
    `table[V, ...] , indices[...] : i32 -> [indices..., table[1:]...]`. An index
    outside [0, V) is clamped to the nearest row: no read leaves the table.
    - quern_gather_c1: indices are i32; the result's shape follows.
  }];
  let arguments = (ins AnyRankedTensor:$table, AnyRankedTensor:$indices);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$table `,` $indices attr-dict `:` type($table) `,` type($indices) `->` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Grouping
//===----------------------------------------------------------------------===//

def Quern_KernelOp : Op<Quern_Dialect, "kernel", [SingleBlockImplicitTerminator<"YieldOp">]> {
  let summary = "Operations that one kernel will do";
  let description = [{
    Made by `quern-form-kernels`. The region holds quern ops that use values
    from above and ends in `quern.yield` of the values others need.
    `$reason` says in words why these ops are together.
  }];
  let arguments = (ins StrAttr:$name, StrAttr:$reason);
  let results = (outs Variadic<AnyType>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$name `because` $reason attr-dict-with-keyword `:` type($results) $body";
}

def Quern_YieldOp : Op<Quern_Dialect, "yield", [Terminator, Pure, ReturnLike]> {
  let summary = "The values a kernel gives to others";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
  let builders = [OpBuilder<(ins), [{ build($_builder, $_state, ::mlir::ValueRange()); }]>];
}

#endif // QUERN_OPS
