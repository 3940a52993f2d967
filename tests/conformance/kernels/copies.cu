//===- copies.cu - Loads, stores and cp.async -----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "device.cuh"

// Thread t reads around byte 16 t and writes 24 words at out + 24 t.
extern "C" __global__ void copies_widths(const unsigned char *in,
                                         unsigned *out) {
  int t = threadIdx.x;
  const unsigned char *p = in + 16 * t;
  out += 24 * t;
  unsigned r, s, u, v;
  unsigned long long x, y;
#define LOAD(word, text)                                                       \
  asm volatile(text : "=r"(r) : "l"(p));                                       \
  out[word] = r;
  LOAD(0, "ld.global.u8 %0, [%1+1];")
  LOAD(1, "ld.global.s8 %0, [%1+3];")
  LOAD(2, "ld.global.u16 %0, [%1+2];")
  LOAD(3, "ld.global.s16 %0, [%1+6];")
  LOAD(4, "ld.global.b32 %0, [%1+12];")
  LOAD(5, "ld.global.nc.u8 %0, [%1+5];")
  asm volatile("ld.global.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(r), "=r"(s), "=r"(u), "=r"(v)
               : "l"(p));
  out[6] = v, out[7] = u, out[8] = s, out[9] = r;
  asm volatile("ld.global.nc.v2.u64 {%0,%1}, [%2];"
               : "=l"(x), "=l"(y)
               : "l"(p));
  asm volatile("st.global.v2.b64 [%0+48], {%1,%2};" ::"l"(out), "l"(y), "l"(x)
               : "memory");
  asm volatile("ld.global.v4.u8 {%0,%1,%2,%3}, [%4+8];"
               : "=r"(r), "=r"(s), "=r"(u), "=r"(v)
               : "l"(p));
  asm volatile("st.global.v4.b8 [%0+64], {%1,%2,%3,%4};" ::"l"(out), "r"(v),
               "r"(u), "r"(s), "r"(r)
               : "memory");
  asm volatile("ld.global.v2.s16 {%0,%1}, [%2+4];" : "=r"(r), "=r"(s) : "l"(p));
  asm volatile("st.global.v2.u32 [%0+72], {%1,%2};" ::"l"(out), "r"(r), "r"(s)
               : "memory");
  asm volatile("st.global.b16 [%0+80], %1;" ::"l"(out), "r"(s) : "memory");
  asm volatile("st.global.b8 [%0+83], %1;" ::"l"(out), "r"(s) : "memory");
}

// cp.async of every size; sizes[t] bytes come from `in`, the rest is zero. Each
// of the four sections is 128 x 16 bytes and begins as 0xcd.
extern "C" __global__ void copies_async(const unsigned char *in,
                                        const unsigned *sizes, unsigned *out) {
  __shared__ __align__(16) unsigned tile[4 * 512];
  int t = threadIdx.x;
  for (int u = 0; u < 16; ++u)
    tile[u * 128 + t] = 0xcdcdcdcd;
  __syncthreads();
  unsigned to = shared(tile) + 16 * t;
  const unsigned char *from = in + 16 * t;
  unsigned n = sizes[t];
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to),
               "l"(from), "r"(n < 4 ? n : 4)
               : "memory");
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to + 2048),
               "l"(from), "r"(n < 8 ? n : 8)
               : "memory");
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(to + 4096),
               "l"(from), "r"(n)
               : "memory");
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to + 6144),
               "l"(from)
               : "memory");
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();
  for (int u = 0; u < 16; ++u)
    out[u * 128 + t] = tile[u * 128 + t];
}

// Three groups; the first may be read when one is left, all when none is.
extern "C" __global__ void copies_groups(const unsigned *in, unsigned *out) {
  __shared__ __align__(16) unsigned tile[3][512];
  int t = threadIdx.x;
  for (int g = 0; g < 3; ++g) {
    unsigned to = shared(&tile[g][t * 4]);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to),
                 "l"(in + g * 512 + t * 4)
                 : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
  asm volatile("cp.async.wait_group 1;" ::: "memory");
  __syncthreads();
  for (int u = 0; u < 4; ++u)
    out[u * 128 + t] = tile[0][u * 128 + t] + tile[1][511 - u * 128 - t];
  asm volatile("cp.async.wait_group 0;" ::: "memory");
  __syncthreads();
  for (int u = 0; u < 4; ++u)
    out[512 + u * 128 + t] = tile[2][511 - u * 128 - t];
}

// The copies of every thread arrive on an mbarrier.
extern "C" __global__ void copies_arrive(const unsigned *in, unsigned *out) {
  __shared__ __align__(16) unsigned tile[512];
  __shared__ unsigned long long bar;
  int t = threadIdx.x;
  unsigned b = shared(&bar);
  if (t == 0)
    asm volatile("mbarrier.init.shared.b64 [%0], 128;" ::"r"(b) : "memory");
  __syncthreads();
  unsigned to = shared(&tile[t * 4]);
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(to),
               "l"(in + t * 4)
               : "memory");
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(b)
               : "memory");
  asm volatile("{.reg .pred p;\n\t"
               "WAIT%=: mbarrier.test_wait.parity.shared.b64 p, [%0], 0;\n\t"
               "@!p bra WAIT%=;}" ::"r"(b)
               : "memory");
  for (int u = 0; u < 4; ++u)
    out[u * 128 + t] = tile[511 - u * 128 - t];
}
