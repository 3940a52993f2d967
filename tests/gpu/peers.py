"""Times what PyTorch and Triton offer for the products of a prepared set.

    python3 peers.py MANIFEST.json RESULTS.json [--budget S]

For every size that the set times:

  i8   torch._int_mm (cuBLASLt; int32 results, no scales), and an int8 product
       with scales and f16 results written in Triton
  fp8  torch._scaled_mm with one scale per row and column, and with scales per
       group of 128 and block of 128 x 128
  f16  torch.matmul in f16 and bf16 (cuBLAS)

cuBLASLt takes products of 8-bit operands in one layout alone, the left one
row-major and the right one column-major: the right one is made as [N, K] and
transposed, as ours are. torch._int_mm takes more than 16 rows; fewer are filled
up to 32, which its name then says.

What an installation lacks or refuses at a size is kept with the reason. Sizes
are timed in a child process, which is replaced when it hangs, crashes or has
lost the device, so that nothing else is lost with it; the results are written
after each.

Timed as our own layers are (Timing.h): operands rotate through more memory than
twice the L2 cache; a graph holds as many rounds of calls as take 2 ms; the
median of its replays counts, after 0.2 s of them.
"""

import argparse
import json
import math
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time

MOST_BUFFERS = 64
MOST_TOGETHER = 1024
GRAPH_SECONDS = 2e-3
WARM_UP_SECONDS = 0.2


def replay_time(torch, graph):
    """Seconds of one replay."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    graph.replay()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e-3


def capture(torch, call, sets, rounds):
    """A graph of so many rounds of calls; outputs of one round stay apart."""
    graph = torch.cuda.CUDAGraph()
    kept = None
    with torch.cuda.graph(graph):
        for _ in range(rounds):
            kept = [call(*operands) for operands in sets]
    return graph, kept


def median_time(torch, make, call, seconds):
    """Microseconds of `call(operands)` with operands from `make()`."""
    first = make()
    bytes_used = sum(t.numel() * t.element_size() for t in first)
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    count = min(max(2 * l2 // bytes_used + 2, 2), MOST_BUFFERS)
    sets = [first] + [make() for _ in range(count - 1)]
    for operands in sets:  # Libraries choose kernels in their first call.
        call(*operands)
    torch.cuda.synchronize()
    graph, kept = capture(torch, call, sets, 1)
    once = min(replay_time(torch, graph) for _ in range(3))
    rounds = min(max(math.ceil(GRAPH_SECONDS / once), 1), max(MOST_TOGETHER // count, 1))
    if rounds > 1:
        del graph, kept
        graph, kept = capture(torch, call, sets, rounds)
    started = time.monotonic()
    while time.monotonic() - started < WARM_UP_SECONDS:
        replay_time(torch, graph)
    times = []
    started = time.monotonic()
    while not times or (time.monotonic() - started < seconds and len(times) < 200):
        times.append(replay_time(torch, graph) * 1e6 / (count * rounds))
    return {"microseconds": statistics.median(times), "least": min(times),
            "samples": len(times), "buffers": count, "together": count * rounds}


def codes(torch, rows, columns):
    return torch.randint(-127, 128, (rows, columns), dtype=torch.int8, device="cuda")


def int_mm(torch, m, n, k):
    rows = max(m, 32) if m <= 16 else m
    name = "torch._int_mm" + (f", {rows} rows" if rows != m else "")
    return name, lambda: (codes(torch, rows, k), codes(torch, n, k).t()), torch._int_mm


def matmul(torch, name, m, n, k):
    dtype = {"f16": torch.float16, "bf16": torch.bfloat16}[name]

    def make():
        return (torch.randn(m, k, dtype=dtype, device="cuda"),
                torch.randn(n, k, dtype=dtype, device="cuda").t())
    return f"torch.matmul {name}", make, torch.matmul


def scaled_mm(torch, grouped, m, n, k):
    """fp8 with a scale per row and column, or per 1 x 128 and 128 x 128 block."""
    def scales(rows, columns):
        return torch.rand(rows, columns, device="cuda") + 0.5

    def make():
        a = torch.randn(m, k, device="cuda").to(torch.float8_e4m3fn)
        b = torch.randn(n, k, device="cuda").to(torch.float8_e4m3fn).t()
        if not grouped:
            return a, b, scales(m, 1), scales(1, n)
        groups = math.ceil(k / 128)
        # The groups' scales column by column; the blocks' as [K/128, N/128],
        # transposed like the operand itself.
        return a, b, scales(groups, m).t(), scales(math.ceil(n / 128), groups).t()

    def call(a, b, scale_a, scale_b):
        return torch._scaled_mm(a, b, scale_a=scale_a, scale_b=scale_b, out_dtype=torch.bfloat16)
    return "torch._scaled_mm" + (", blocks" if grouped else ", rows"), make, call


def scaled_mm_rows(torch, m, n, k):
    return scaled_mm(torch, False, m, n, k)


def scaled_mm_blocks(torch, m, n, k):
    return scaled_mm(torch, True, m, n, k)


def matmul_f16(torch, m, n, k):
    return matmul(torch, "f16", m, n, k)


def matmul_bf16(torch, m, n, k):
    return matmul(torch, "bf16", m, n, k)


def triton_int8(torch, m, n, k):
    import triton_product

    def make():
        return (codes(torch, m, k), codes(torch, n, k), torch.rand(m, device="cuda"),
                torch.rand(n, device="cuda"),
                torch.empty(m, n, dtype=torch.float16, device="cuda"))
    return "Triton int8", make, triton_product.product


PEERS = {
    "i8": [int_mm, triton_int8],
    "fp8": [scaled_mm_rows, scaled_mm_blocks],
    "f16": [matmul_f16, matmul_bf16],
}


def tell(message):
    print(json.dumps(message), flush=True)


def serve(peers, seconds):
    """In the child: times the peers, and tells of everything in lines of JSON."""
    try:
        import torch
    except ImportError as error:
        tell({"skipped": str(error)})
        return
    if not torch.cuda.is_available():
        tell({"skipped": "PyTorch sees no GPU"})
        return
    tell({"torch": torch.__version__})
    for peer in peers:
        kind, size = peer.split()
        for make_peer in PEERS[kind]:
            entry = {"peer": peer, "name": make_peer.__name__}
            try:
                entry["name"], make, call = make_peer(torch, *map(int, size.split("x")))
                entry.update(median_time(torch, make, call, seconds))
            except Exception as error:  # pylint: disable=broad-except
                # What a version refuses is a result too.
                entry["refused"] = str(error).splitlines()[0] if str(error) else repr(error)
            tell(entry)
            torch.cuda.synchronize()  # Fails, and ends this process, if the device is lost.
            torch.cuda.empty_cache()
        tell({"finished": peer})


class Child:
    """A child that times peers; its messages, each waited for so long."""

    def __init__(self, manifest, peers, seconds):
        self.errors = tempfile.TemporaryFile(mode="w+")
        command = [sys.executable, os.path.abspath(__file__), manifest, "-",
                   "--seconds", str(seconds), "--serve", *peers]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors)
        self.text = b""

    def message(self, seconds):
        """The next one; None at the end, or TimeoutError."""
        until = time.monotonic() + seconds
        while b"\n" not in self.text:
            ready, _, _ = select.select([self.process.stdout], [], [],
                                        max(until - time.monotonic(), 0))
            if not ready:
                raise TimeoutError
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                return None
            self.text += more
        line, self.text = self.text.split(b"\n", 1)
        return json.loads(line)

    def end(self):
        """Kills it if it runs; how it ended."""
        try:
            self.process.wait(timeout=5 if self.text == b"" else 0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines()
        self.errors.close()
        return f"exit code {self.process.returncode}" + (f": {said[-1][:200]}" if said else "")


def show(entry):
    what = (f"{entry['microseconds']:10.2f} us" if "microseconds" in entry
            else f"refused: {entry['refused'][:90]}")
    print(f"  {entry['name']:24} {entry['peer']:20} {what}", flush=True)


def supervise(arguments, peers, keep, results):
    """Times all peers in as many children as it takes."""
    begin = time.monotonic()
    while peers:
        child = Child(arguments.manifest, peers, arguments.seconds)
        try:
            while peers:
                left = arguments.budget - (time.monotonic() - begin)
                if left <= 0:
                    results["peers"] += [{"peer": peer, "name": "all", "refused": "the time was spent"}
                                         for peer in peers]
                    keep()
                    child.process.kill()
                    return
                message = child.message(min(left, arguments.patience))
                if message is None:
                    raise ChildProcessError
                if "skipped" in message:
                    print(f"peers: skipped: {message['skipped']}")
                    results["skipped"] = message["skipped"]
                    keep()
                    return
                if "finished" in message:
                    peers.remove(message["finished"])
                elif "peer" in message:
                    results["peers"].append(message)
                    show(message)
                else:
                    results.update(message)
                keep()
        except (TimeoutError, ChildProcessError) as error:
            hung = isinstance(error, TimeoutError)
            if hung:
                child.process.kill()
            how = child.end()
            entry = {"peer": peers.pop(0), "name": "the rest",
                     "refused": "killed: it took too long" if hung else how}
            results["peers"].append(entry)
            show(entry)
            keep()
        finally:
            if child.process.poll() is None:
                child.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest")
    parser.add_argument("results")
    parser.add_argument("--seconds", type=float, default=1.0, help="for one function at one size")
    parser.add_argument("--budget", type=float, default=120.0, help="seconds for all")
    parser.add_argument("--patience", type=float, default=60.0,
                        help="seconds after which one function at one size counts as hung")
    parser.add_argument("--serve", nargs="+", metavar="PEER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.seconds)
        return
    with open(arguments.manifest, encoding="utf-8") as file:
        timed = json.load(file).get("timed") or []
    results = {"peers": []}

    def keep():
        with open(arguments.results + ".new", "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
        os.replace(arguments.results + ".new", arguments.results)

    peers = list(dict.fromkeys(entry["peer"] for entry in timed if entry["peer"]))
    supervise(arguments, peers, keep, results)


if __name__ == "__main__":
    main()
