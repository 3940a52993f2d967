//===- warp.cu - Instructions in which a warp's lanes take part -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

// out: per mode 32 values, then 32 predicates.
extern "C" __global__ void warp_shuffle(const unsigned *values,
                                        const unsigned *lanes, unsigned c,
                                        unsigned *out) {
  int l = threadIdx.x;
  unsigned a = values[l], b = lanes[l], d, p;
#define SHUFFLE(row, mode)                                                     \
  asm volatile("{.reg .pred q; shfl.sync." mode ".b32 %0|q, %2, %3, %4, "      \
               "0xffffffff; selp.u32 %1, 1, 0, q;}"                            \
               : "=r"(d), "=r"(p)                                              \
               : "r"(a), "r"(b), "r"(c));                                      \
  out[(row) * 64 + l] = d;                                                     \
  out[(row) * 64 + 32 + l] = p;
  SHUFFLE(0, "up")
  SHUFFLE(1, "down")
  SHUFFLE(2, "bfly")
  SHUFFLE(3, "idx")
}

// Each lane names its own mask; those without one keep 0xcdcdcdcd.
extern "C" __global__ void warp_votes(const unsigned *values,
                                      const unsigned *masks, unsigned *out) {
  int l = threadIdx.x;
  unsigned a = values[l], mask = masks[l], d;
  if (!mask)
    return;
#define VOTE(row, mode)                                                        \
  asm volatile("{.reg .pred p, q; and.b32 %0, %1, 1; setp.ne.u32 p, %0, 0; "   \
               "vote.sync." mode ".pred q, p, %2; selp.u32 %0, 1, 0, q;}"      \
               : "=&r"(d)                                                      \
               : "r"(a), "r"(mask));                                           \
  out[(row) * 32 + l] = d;
  VOTE(0, "all")
  VOTE(1, "any")
  VOTE(2, "uni")
  asm volatile("{.reg .pred p; and.b32 %0, %1, 1; setp.ne.u32 p, %0, 0; "
               "vote.sync.ballot.b32 %0, p, %2;}"
               : "=&r"(d)
               : "r"(a), "r"(mask));
  out[3 * 32 + l] = d;
  asm volatile("match.any.sync.b32 %0, %1, %2;"
               : "=r"(d)
               : "r"(a % 5), "r"(mask));
  out[4 * 32 + l] = d;
  unsigned p;
  asm volatile("{.reg .pred q; match.all.sync.b32 %0|q, %2, %3; "
               "selp.u32 %1, 1, 0, q;}"
               : "=r"(d), "=r"(p)
               : "r"(a), "r"(mask));
  out[5 * 32 + l] = d;
  out[6 * 32 + l] = p;
  unsigned long long x = (unsigned long long)(a % 3) << 32;
  asm volatile("match.any.sync.b64 %0, %1, %2;" : "=r"(d) : "l"(x), "r"(mask));
  out[7 * 32 + l] = d;
#define REDUX(row, op)                                                         \
  asm volatile("redux.sync." op " %0, %1, %2;" : "=r"(d) : "r"(a), "r"(mask)); \
  out[(row) * 32 + l] = d;
  REDUX(8, "add.u32")
  REDUX(9, "add.s32")
  REDUX(10, "min.u32")
  REDUX(11, "max.u32")
  REDUX(12, "min.s32")
  REDUX(13, "max.s32")
  REDUX(14, "and.b32")
  REDUX(15, "or.b32")
  REDUX(16, "xor.b32")
}
