"""Times what PyTorch and Triton offer for the products of a prepared set.

    python3 peers.py MANIFEST.json RESULTS.json

For every size that the set times: torch._int_mm (cuBLASLt, int8),
torch._scaled_mm (fp8, one scale per row and per column), torch.matmul (f16 and
bf16), and an int8 product with scales in its epilogue written in Triton. What an
installation lacks, or refuses at a size, is left out with the reason.

Timed as our own layers are (Timing.h): operands rotate through more memory than
twice the L2 cache, and the median of many rounds is taken, each a replayed
graph of one call for every set of operands.
"""

import json
import statistics
import sys
import time

import torch

SECONDS_EACH = 1.5  # for one function at one size
MOST_BUFFERS = 64


def median_time(make, call):
    """Microseconds of `call(operands)` with operands from `make()`."""
    first = make()
    bytes_used = sum(t.numel() * t.element_size() for t in first)
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    count = min(max(2 * l2 // bytes_used + 2, 2), MOST_BUFFERS)
    sets = [first] + [make() for _ in range(count - 1)]
    for _ in range(2):
        for operands in sets:
            call(*operands)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [call(*operands) for operands in sets]
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    times = []
    started = time.monotonic()
    while time.monotonic() - started < SECONDS_EACH and len(times) < 200:
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e3 / count)
    del kept
    return statistics.median(times)


def int8_operands(m, n, k):
    return lambda: (torch.randint(-127, 128, (m, k), dtype=torch.int8, device="cuda"),
                    torch.randint(-127, 128, (n, k), dtype=torch.int8, device="cuda").t())


def half_operands(dtype, m, n, k):
    return lambda: (torch.randn(m, k, dtype=dtype, device="cuda"),
                    torch.randn(n, k, dtype=dtype, device="cuda").t())


def fp8_operands(m, n, k):
    def make():
        a = torch.randn(m, k, device="cuda").to(torch.float8_e4m3fn)
        b = torch.randn(n, k, device="cuda").to(torch.float8_e4m3fn).t()
        return a, b, torch.rand(m, 1, device="cuda"), torch.rand(1, n, device="cuda")
    return make


def triton_int8():
    """An int8 product with per-row and per-column scales, as a function."""
    import triton
    import triton.language as tl

    configs = [triton.Config({"BM": bm, "BN": bn, "BK": bk}, num_warps=warps, num_stages=stages)
               for bm, bn, bk, warps, stages in [(128, 256, 64, 8, 4), (128, 128, 128, 8, 3),
                                                 (128, 128, 64, 4, 4), (64, 128, 128, 4, 4),
                                                 (16, 128, 256, 4, 3), (16, 64, 256, 4, 4)]]

    @triton.autotune(configs=configs, key=["M", "N", "K"])
    @triton.jit
    def kernel(a, b, c, sa, sb, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
        rows = tl.program_id(0) * BM + tl.arange(0, BM)
        columns = tl.program_id(1) * BN + tl.arange(0, BN)
        depth = tl.arange(0, BK)
        a_at = a + (rows % M)[:, None] * K + depth[None, :]
        b_at = b + (columns % N)[None, :] * K + depth[:, None]
        sums = tl.zeros((BM, BN), dtype=tl.int32)
        for start in range(0, tl.cdiv(K, BK)):
            mask = depth < K - start * BK
            sums = tl.dot(tl.load(a_at, mask=mask[None, :], other=0),
                          tl.load(b_at, mask=mask[:, None], other=0), sums)
            a_at += BK
            b_at += BK
        scale = tl.load(sa + rows % M)[:, None] * tl.load(sb + columns % N)[None, :]
        result = (sums.to(tl.float32) * scale).to(tl.float16)
        inside = (rows < M)[:, None] & (columns < N)[None, :]
        tl.store(c + rows[:, None] * N + columns[None, :], result, mask=inside)

    def call(a, b, sa, sb, c):
        m, k = a.shape
        n = b.shape[0]
        kernel[lambda meta: (triton.cdiv(m, meta["BM"]), triton.cdiv(n, meta["BN"]))](
            a, b, c, sa, sb, m, n, k)
        return c

    return call


def triton_operands(m, n, k):
    return lambda: (torch.randint(-127, 128, (m, k), dtype=torch.int8, device="cuda"),
                    torch.randint(-127, 128, (n, k), dtype=torch.int8, device="cuda"),
                    torch.rand(m, device="cuda"), torch.rand(n, device="cuda"),
                    torch.empty(m, n, dtype=torch.float16, device="cuda"))


def peers_of(kind, m, n, k):
    """(name, operands, function) of what stands beside one product."""
    if kind == "i8":
        yield "torch._int_mm", int8_operands(m, n, k), torch._int_mm
        yield "Triton int8", triton_operands(m, n, k), triton_int8()
    elif kind == "fp8":
        yield ("torch._scaled_mm", fp8_operands(m, n, k),
               lambda a, b, sa, sb: torch._scaled_mm(a, b, scale_a=sa, scale_b=sb,
                                                     out_dtype=torch.bfloat16))
    elif kind == "f16":
        yield "torch.matmul f16", half_operands(torch.float16, m, n, k), torch.matmul
        yield "torch.matmul bf16", half_operands(torch.bfloat16, m, n, k), torch.matmul


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        timed = json.load(file).get("timed") or []
    results = {"torch": torch.__version__, "peers": []}
    for peer in sorted({entry["peer"] for entry in timed if entry["peer"]}):
        kind, size = peer.split()
        m, n, k = map(int, size.split("x"))
        for name, make, call in peers_of(kind, m, n, k):
            entry = {"peer": peer, "name": name}
            try:
                entry["microseconds"] = median_time(make, call)
                print(f"  {name:20} {size:18} {entry['microseconds']:10.2f} us")
            except Exception as error:  # pylint: disable=broad-except
                # What a version refuses is a result too.
                entry["refused"] = str(error).splitlines()[0] if str(error) else repr(error)
                print(f"  {name:20} {size:18} refused: {entry['refused'][:90]}")
            results["peers"].append(entry)
            sys.stdout.flush()
            # Written as it grows: the step may be stopped.
            with open(sys.argv[2], "w", encoding="utf-8") as file:
                json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
