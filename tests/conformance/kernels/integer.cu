//===- integer.cu - Integer and bit instructions, one row each ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Row r of `out` is instruction r applied to each (a, b, c). The rows stand in
// the order of families/Integer.cpp.
//
//===----------------------------------------------------------------------===//

#define ROWS(name)                                                             \
  extern "C" __global__ void name(const unsigned *pa, const unsigned *pb,      \
                                  const unsigned *pc, unsigned *out, int n)
#define BEGIN                                                                  \
  int i = blockIdx.x * blockDim.x + threadIdx.x;                               \
  if (i >= n)                                                                  \
    return;                                                                    \
  unsigned a = pa[i], b = pb[i], c = pc[i], r;
#define ROW(row, text)                                                         \
  asm volatile(text : "=r"(r) : "r"(a), "r"(b), "r"(c));                       \
  out[(row) * n + i] = r;

ROWS(integer_sums){
    BEGIN ROW(0, "add.u32 %0, %1, %2;") ROW(1, "sub.s32 %0, %1, %2;") ROW(
        2, "add.sat.s32 %0, %1, %2;") ROW(3, "sub.sat.s32 %0, %1, %2;")
        ROW(4, "mul.lo.u32 %0, %1, %2;") ROW(5, "mul.hi.u32 %0, %1, %2;") ROW(
            6, "mul.hi.s32 %0, %1, %2;") ROW(7, "mad.lo.s32 %0, %1, %2, %3;")
            ROW(8,
                "mad.hi.u32 %0, %1, %2, %3;") ROW(9,
                                                  "mad.hi.s32 %0, %1, %2, %3;")
                ROW(10, "mad.hi.sat.s32 %0, %1, %2, %3;") ROW(
                    11,
                    "sad.s32 %0, %1, %2, %3;") ROW(12,
                                                   "sad.u32 %0, %1, %2, %3;")
                    ROW(13, "abs.s32 %0, %1;") ROW(14, "neg.s32 %0, %1;") ROW(
                        15, "min.u32 %0, %1, %2;") ROW(16,
                                                       "max.u32 %0, %1, %2;")
                        ROW(17, "min.s32 %0, %1, %2;")
                            ROW(18, "max.s32 %0, %1, %2;")
                                ROW(19, "{.reg .b32 d; and.b32 d, %2, 65535; "
                                        "add.u32 d, d, 1; "
                                        "div.u32 %0, %1, d;}")
                                    ROW(20, "{.reg .b32 d; and.b32 d, %2, "
                                            "65535; add.u32 d, d, 1; "
                                            "div.s32 %0, %1, d;}")
                                        ROW(21, "{.reg .b32 d; and.b32 d, %2, "
                                                "65535; add.u32 d, d, 1; "
                                                "rem.u32 %0, %1, d;}")
                                            ROW(22,
                                                "{.reg .b32 d; and.b32 d, %2, "
                                                "65535; add.u32 d, d, 1; "
                                                "rem.s32 %0, %1, d;}")}

ROWS(integer_bits){
    BEGIN ROW(0, "and.b32 %0, %1, %2;") ROW(1, "or.b32 %0, %1, %2;") ROW(
        2, "xor.b32 %0, %1, %2;") ROW(3,
                                      "not.b32 %0, %1;") ROW(4,
                                                             "cnot.b32 %0, %1;")
        ROW(5, "popc.b32 %0, %1;") ROW(6, "clz.b32 %0, %1;")
            ROW(7, "brev.b32 %0, %1;") ROW(8, "bfind.u32 %0, %1;") ROW(
                9, "bfind.s32 %0, %1;") ROW(10, "bfind.shiftamt.u32 %0, %1;")
                ROW(11, "lop3.b32 %0, %1, %2, %3, 0x96;")
                    ROW(12, "lop3.b32 %0, %1, %2, %3, 0xe8;")
                        ROW(13, "lop3.b32 %0, %1, %2, %3, 0x1b;") ROW(
                            14, "lop3.b32 %0, %1, %2, %3, 0x6a;")
                            ROW(15, "slct.u32.s32 %0, %1, %2, %3;") ROW(
                                16, "dp4a.u32.u32 %0, %1, %2, %3;")
                                ROW(17, "dp4a.s32.u32 %0, %1, %2, %3;") ROW(
                                    18, "dp4a.u32.s32 %0, %1, %2, %3;")
                                    ROW(19, "dp4a.s32.s32 %0, %1, %2, %3;") ROW(
                                        20, "dp2a.lo.s32.s32 %0, %1, %2, %3;")
                                        ROW(21,
                                            "dp2a.hi.u32.s32 %0, %1, %2, %3;")}

// Shift amounts and positions: s = c mod 40, l = (c >> 8) mod 40.
ROWS(integer_shifts) {
  BEGIN
  unsigned l = (c >> 8) % 40;
  c %= 40;
  ROW(0, "shl.b32 %0, %1, %3;")
  ROW(1, "shr.u32 %0, %1, %3;")
  ROW(2, "shr.s32 %0, %1, %3;")
  ROW(3, "shf.l.wrap.b32 %0, %1, %2, %3;")
  ROW(4, "shf.l.clamp.b32 %0, %1, %2, %3;")
  ROW(5, "shf.r.wrap.b32 %0, %1, %2, %3;")
  ROW(6, "shf.r.clamp.b32 %0, %1, %2, %3;")
#define ROW4(row, text)                                                        \
  asm volatile(text : "=r"(r) : "r"(a), "r"(b), "r"(c), "r"(l));               \
  out[(row) * n + i] = r;
  ROW4(7, "bfe.u32 %0, %1, %3, %4;")
  ROW4(8, "bfe.s32 %0, %1, %3, %4;")
  ROW4(9, "bfi.b32 %0, %1, %2, %3, %4;")
  ROW4(10, "bmsk.clamp.b32 %0, %3, %4;")
  ROW4(11, "bmsk.wrap.b32 %0, %3, %4;")
}

ROWS(integer_permutes) {
  BEGIN
  ROW(0, "prmt.b32 %0, %1, %2, %3;")
  ROW(1, "prmt.b32.f4e %0, %1, %2, %3;")
  ROW(2, "prmt.b32.b4e %0, %1, %2, %3;")
  ROW(3, "prmt.b32.rc8 %0, %1, %2, %3;")
  ROW(4, "prmt.b32.ecl %0, %1, %2, %3;")
  ROW(5, "prmt.b32.ecr %0, %1, %2, %3;")
  ROW(6, "prmt.b32.rc16 %0, %1, %2, %3;")
}

// 64-bit: x = a:b (a low), y = b:c, s = c mod 80, l = (c >> 8) mod 80.
extern "C" __global__ void integer_wide(const unsigned *pa, const unsigned *pb,
                                        const unsigned *pc,
                                        unsigned long long *out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n)
    return;
  unsigned a = pa[i], b = pb[i], c = pc[i];
  unsigned s = c % 80, l = (c >> 8) % 80;
  unsigned long long x = (unsigned long long)b << 32 | a;
  unsigned long long y = (unsigned long long)c << 32 | b, r;
#define WIDE(row, text)                                                        \
  asm volatile(text                                                            \
               : "=l"(r)                                                       \
               : "l"(x), "l"(y), "r"(s), "r"(l), "r"(a), "r"(b));              \
  out[(row) * n + i] = r;
  WIDE(0, "add.u64 %0, %1, %2;")
  WIDE(1, "sub.s64 %0, %1, %2;")
  WIDE(2, "mul.lo.u64 %0, %1, %2;")
  WIDE(3, "mul.hi.u64 %0, %1, %2;")
  WIDE(4, "mul.hi.s64 %0, %1, %2;")
  WIDE(5, "mad.lo.s64 %0, %1, %2, %1;")
  WIDE(6, "min.u64 %0, %1, %2;")
  WIDE(7, "max.s64 %0, %1, %2;")
  WIDE(8, "shl.b64 %0, %1, %3;")
  WIDE(9, "shr.u64 %0, %1, %3;")
  WIDE(10, "shr.s64 %0, %1, %3;")
  WIDE(11, "brev.b64 %0, %1;")
  WIDE(12, "bfe.u64 %0, %1, %3, %4;")
  WIDE(13, "bfe.s64 %0, %1, %3, %4;")
  WIDE(14, "bfi.b64 %0, %1, %2, %3, %4;")
  WIDE(15, "mul.wide.u32 %0, %5, %6;")
  WIDE(16, "mul.wide.s32 %0, %5, %6;")
  WIDE(17, "mad.wide.s32 %0, %5, %6, %1;")
  WIDE(18, "{.reg .b32 t; popc.b64 t, %1; cvt.u64.u32 %0, t;}")
  WIDE(19, "{.reg .b32 t; clz.b64 t, %1; cvt.u64.u32 %0, t;}")
  WIDE(20, "{.reg .b32 t; bfind.u64 t, %1; cvt.u64.u32 %0, t;}")
  WIDE(21, "abs.s64 %0, %1;")
  WIDE(22, "neg.s64 %0, %1;")
  WIDE(23, "not.b64 %0, %1;")
  WIDE(24, "cvt.s64.s32 %0, %5;")
  WIDE(25, "{.reg .b32 lo, hi; mov.b64 {lo, hi}, %1; mov.b64 %0, {hi, lo};}")
}
