// Reverses every 128 elements through shared memory, or so it seems.
extern "C" __global__ void reverse(const float *in, float *out, int n) {
  __shared__ float tile[128];
  int i = blockIdx.x * 128 + threadIdx.x;
  if (i < n)
    tile[threadIdx.x] = in[i];
  // Here __syncthreads() is missing.
  if (i < n)
    out[i] = tile[127 - threadIdx.x];
}
