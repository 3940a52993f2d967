//===- Passes.td - Passes on the quern dialect ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Each entry has one .cpp of its name, one test in tests/lit/quern and one in
// tests/lit/quern/*-errors.mlir where it can refuse. Their order stands in
// compiler/pipelines/QuernPipeline.cpp.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_PASSES
#define QUERN_PASSES

include "mlir/Pass/PassBase.td"

def InferScalePlacement : Pass<"quern-infer-scale-placement", "::mlir::func::FuncOp"> {
  let summary = "Says where each operand's scale of a product is applied, or why it cannot be";
  let description = [{
    A scale that does not vary along the contracted axis goes to the epilogue;
    one that varies every g elements splits the sum every g; one of a quantized
    operand beside a float one is applied before the product (prologue). A
    scale that varies with every element of the contracted axis between two
    quantized operands is refused (the verifier's quern_matmul_c6).

    - quern_placement_c1: a block longer than an exact i32 sum can be cut into
      equal parts of at least 16.

    ```
    %y = quern.matmul %a, %b transpose_rhs : ...
    ==>
    %y = quern.matmul %a, %b transpose_rhs
         {quern.lhs_placement = "epilogue: ...", quern.rhs_placement = "split(128): ..."} : ...
    ```
  }];
}

def HoistScales : Pass<"quern-hoist-scales", "::mlir::func::FuncOp"> {
  let summary = "Products of quantized tensors become products of codes with scales applied where they may be";
  let description = [{
    ```
    %y = quern.matmul %a, %b transpose_rhs                    // i8 per row, i8 per row
    ==>
    %ca, %sa, %cb, %sb = codes and scales of %a and %b
    %acc = quern.contract %ca, %cb {transpose_rhs}            // i32
    %f   = quern.cast %acc                                    // f32
    %t   = quern.mul %f, %sa                                  // [M, N] * [M, 1]
    %y   = quern.mul %t, (quern.transpose %sb [1, 0])         // [M, N] * [1, N]
    ```
    Scales that vary along the contracted axis become operands of a split
    contract, and only those: one that does not multiplies its result as above.
    A quantized operand beside a float one is dequantized and cast to the
    float's type. The casts and multiplies carry `quern.part = "product"`, by
    which unfused grouping keeps them with the product.

    - quern_hoist_c1: plain operands are floats.
  }];
  let dependentDialects = ["::quern::ir::QuernDialect"];
}

def ExpandQuantize : Pass<"quern-expand-quantize", "::mlir::func::FuncOp"> {
  let summary = "Quantization becomes reduce, scale and encode";
  let description = [{
    ```
    %q = quern.quantize %x #quantizer
    ==>
    %a = quern.reduce absmax %x block [1, 0]
    %d = quern.div %a, %divisor
    %m = quern.max %d, %floor                                 // NaN stays NaN
    %s = quern.cast %m                                        // to the scale type
    %c = quern.encode %x, %s #quantizer block [1, 0]
    %q = quern.make_qtensor %c, %s
    ```
    A static quantization becomes the encode alone. The ops carry
    `quern.part = "quantize"`. Blocks that span whole leading axes are reduced
    in two steps, rows first, so that rows run in parallel: a maximum is the
    same in any order.
  }];
  let dependentDialects = ["::quern::ir::QuernDialect"];
}

def FoldConstants : Pass<"quern-fold-constants", "::mlir::func::FuncOp"> {
  let summary = "Computes at compile time what is constant, and drops what nobody uses";
  let description = [{
    Element-wise ops on constants become constants, computed in f32 and rounded
    once as the op would (add, sub, mul, div, max, min, neg, abs, relu, sqrt,
    cast, compare, select; the strict polynomials are left to the targets, so
    that there is one definition of their bits). A constant scale becomes a
    constant. Casts that lose nothing disappear:
    `cast(cast(x : f16) : f32) : f16` is x. `codes(make_qtensor(c, s))` is c.

    ```
    %a = quern.constant 2.0 : f32
    %b = quern.mul %a, %a
    ==>
    %b = quern.constant 4.0 : f32
    ```
  }];
  let dependentDialects = ["::quern::ir::QuernDialect"];
}

def FormKernels : Pass<"quern-form-kernels", "::mlir::func::FuncOp"> {
  let summary = "Groups operations into kernels, each with its reason";
  let description = [{
    With `fuse=all`:
      - a contraction absorbs the element-wise ops that follow it over the same
        M x N, and the dequantization of its operands;
      - two contractions with the same left operand and equal shapes whose
        results meet in an element-wise op become one kernel with two terms;
      - reductions, softmax and norms over the same blocks of the same shape
        absorb the element-wise ops before them (single use) and after them,
        and the encoding that uses their scales;
      - what remains element-wise fuses with its single-use producers.
    Shape ops and constants are index maps: each kernel gets its own copy; so
    are codes, scales and dequantization, which cost less than a pass over
    memory. An op joins a kernel only if the kernel then waits for nobody who
    waits for it.

    - quern_form_kernels_c1: `fuse` is `all` or `none`.
    - quern_form_kernels_c2: no matmul, quantize or kernel is left or there yet.
    - quern_form_kernels_c3: every op is of the quern dialect.

    With `fuse=none` each op is a kernel, except that a product keeps the
    application of its own scales and a quantization its three parts.

    ```
    %h = quern.mul %s, %u
    ==>
    %h = quern.kernel "mul" because "..." { ... quern.yield %0 }
    ```
  }];
  let options = [
    Option<"fuse", "fuse", "std::string", "\"all\"", "`all` or `none`">,
  ];
  let dependentDialects = ["::quern::ir::QuernDialect"];
}

#endif // QUERN_PASSES
