//===- tensor_map.cu - Tensor maps made on the device --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "device.cuh"

// Makes `map` one of 4-byte elements, `width` by `height` of them, `pitch`
// bytes from row to row, in boxes of 8 by 4, and loads the box at (x, y). 32
// threads; `scratch` is where the copy engine finds the map.
extern "C" __global__ void
tensor_map_replace(const __grid_constant__ TensorMap map, const unsigned *data,
                   unsigned width, unsigned height, unsigned long long pitch,
                   int x, int y, TensorMap *scratch, unsigned *out) {
  __shared__ __align__(128) unsigned tile[32];
  __shared__ __align__(128) TensorMap made;
  __shared__ unsigned long long bar;
  int t = threadIdx.x;
  unsigned m = shared(&made), b = shared(&bar);
  reinterpret_cast<unsigned *>(&made)[t] =
      reinterpret_cast<const unsigned *>(&map)[t];
  __syncwarp();
  if (t == 0) {
#define REPLACE(field, width, constraint, value)                               \
  asm volatile("tensormap.replace.tile." field ".shared::cta.b1024." width     \
               ", %1;" ::"r"(m),                                               \
               constraint(value)                                               \
               : "memory");
#define REPLACE_CONSTANT(field, value)                                         \
  asm volatile("tensormap.replace.tile." field                                 \
               ".shared::cta.b1024.b32 [%0], " value ";" ::"r"(m)              \
               : "memory");
    REPLACE("global_address", "b64 [%0]", "l", data)
    REPLACE("rank", "b32 [%0]", "r", 1)
    REPLACE("global_dim", "b32 [%0], 0", "r", width)
    REPLACE("global_dim", "b32 [%0], 1", "r", height)
    REPLACE("global_stride", "b64 [%0], 0", "l", pitch)
    REPLACE("box_dim", "b32 [%0], 0", "r", 8)
    REPLACE("box_dim", "b32 [%0], 1", "r", 4)
    REPLACE("element_stride", "b32 [%0], 0", "r", 1)
    REPLACE("element_stride", "b32 [%0], 1", "r", 1)
    REPLACE_CONSTANT("elemtype", "2")
    REPLACE_CONSTANT("interleave_layout", "0")
    REPLACE_CONSTANT("swizzle_mode", "0")
    REPLACE_CONSTANT("fill_mode", "0")
    init(b, 1);
    initSeen();
    expectBytes(b, 128);
  }
  __syncwarp();
  asm volatile("tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic"
               ".release.gpu.sync.aligned [%0], [%1], 128;" ::"l"(scratch),
               "r"(m)
               : "memory");
  asm volatile(
      "fence.proxy.tensormap::generic.acquire.gpu [%0], 128;" ::"l"(scratch)
      : "memory");
  if (t == 0)
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier"
        "::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(shared(tile)),
        "l"(scratch), "r"(x), "r"(y), "r"(b)
        : "memory");
  __syncwarp();
  wait(b, 0);
  out[t] = tile[t];
}
