/* Kernels with which the tests exercise the run path without a compiler. Each
 * has its own section, so that kernels.ld can give it a fixed place.
 * The signature is that of runtime/device/cpu/KernelAbi.h. */

typedef long long i64;
struct Args {
  void *const *buffers;
  const i64 *symbols;
};
#define KERNEL(name)                                                           \
  __attribute__((section(".kernel." #name), used)) void name(                  \
      const struct Args *args, i64 begin, i64 end, void *scratch)

/* Constants must travel with the code. */
static const float offsets[4] __attribute__((section(".rodata"), used)) = {
    0.5f, 1.5f, 2.5f, 3.5f};

/* packed[K - 1 - i] = w[i]; items: K = symbols[1]. */
KERNEL(pack) {
  const float *w = args->buffers[0];
  float *packed = args->buffers[1];
  for (i64 i = begin; i < end; ++i)
    packed[args->symbols[1] - 1 - i] = w[i];
}

/* y[m, k] = x[m, k] * packed[K - 1 - k]; items: rows. */
KERNEL(scale) {
  const float *x = args->buffers[0], *packed = args->buffers[1];
  float *y = args->buffers[2];
  i64 K = args->symbols[1];
  for (i64 m = begin; m < end; ++m)
    for (i64 k = 0; k < K; ++k)
      y[m * K + k] = x[m * K + k] * packed[K - 1 - k];
}

/* y[m, k] = x[m, K - 1 - k] + offsets[m & 3], through scratch; items: rows. */
KERNEL(reverse) {
  const float *x = args->buffers[0];
  float *y = args->buffers[1], *row = scratch;
  i64 K = args->symbols[1];
  for (i64 m = begin; m < end; ++m) {
    for (i64 k = 0; k < K; ++k)
      row[k] = x[m * K + k];
    for (i64 k = 0; k < K; ++k)
      y[m * K + k] = row[K - 1 - k] + offsets[m & 3];
  }
}
