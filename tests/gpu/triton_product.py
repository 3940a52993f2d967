"""An int8 product with a scale per row and per column, in Triton."""

import triton
import triton.language as tl

CONFIGS = [triton.Config({"BM": bm, "BN": bn, "BK": bk}, num_warps=warps, num_stages=stages)
           for bm, bn, bk, warps, stages in [(128, 256, 64, 8, 4), (128, 128, 128, 8, 3),
                                             (64, 128, 128, 4, 4), (16, 128, 256, 4, 3),
                                             (16, 64, 256, 4, 4)]]


@triton.autotune(configs=CONFIGS, key=["M", "N", "K"])
@triton.jit
def kernel(a, b, c, sa, sb, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    depth = tl.arange(0, BK)
    # Rows beyond the end are read from the beginning and not stored.
    a_at = a + (rows % M)[:, None] * K + depth[None, :]
    b_at = b + (columns % N)[None, :] * K + depth[:, None]
    sums = tl.zeros((BM, BN), dtype=tl.int32)
    for start in range(0, tl.cdiv(K, BK)):
        mask = depth < K - start * BK
        sums = tl.dot(tl.load(a_at, mask=mask[None, :], other=0),
                      tl.load(b_at, mask=mask[:, None], other=0), sums, out_dtype=tl.int32)
        a_at += BK
        b_at += BK
    scale = tl.load(sa + rows % M)[:, None] * tl.load(sb + columns % N)[None, :]
    result = (sums.to(tl.float32) * scale).to(tl.float16)
    inside = (rows < M)[:, None] & (columns < N)[None, :]
    tl.store(c + rows[:, None] * N + columns[None, :], result, mask=inside)


def product(a, b, sa, sb, c):
    """c = (a @ b.T) * sa[:, None] * sb[None, :], b as [N, K]."""
    m, k = a.shape
    n = b.shape[0]
    kernel[lambda meta: (triton.cdiv(m, meta["BM"]), triton.cdiv(n, meta["BN"]))](
        a, b, c, sa, sb, m, n, k)
    return c
