"""peers.py with a PyTorch that is missing, refuses, hangs or crashes.

    python3 peers_test.py
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

# As much of PyTorch as peers.py asks for. What matmul does is told by TORCH.
TORCH = '''
import contextlib, os, signal, time, types
__version__ = "0.test"
int8 = float16 = bfloat16 = float8_e4m3fn = None
class Tensor:
    numel = lambda self: 10**7
    element_size = lambda self: 1
    t = lambda self: self
    to = lambda self, *_: self
    __add__ = lambda self, _: self
def randint(*_, **__): return Tensor()
randn = rand = empty = randint
def _int_mm(a, b): return a
def _scaled_mm(a, b, **_): raise RuntimeError("not in this version\\nand more")
def matmul(a, b):
    if os.environ["TORCH"] == "hangs": time.sleep(1000)
    if os.environ["TORCH"] == "crashes": os.kill(os.getpid(), signal.SIGKILL)
    return a
class Event:
    def __init__(self, **_): pass
    def record(self): self.at = time.monotonic()
    def synchronize(self): pass
    def elapsed_time(self, other): return (other.at - self.at) * 1e3
class Graph:
    def replay(self): time.sleep(1e-3)
cuda = types.SimpleNamespace(
    is_available=lambda: os.environ["TORCH"] != "blind", synchronize=lambda: None,
    empty_cache=lambda: None, Event=Event, CUDAGraph=Graph,
    graph=lambda _: contextlib.nullcontext(),
    get_device_properties=lambda _: types.SimpleNamespace(L2_cache_size=50 << 20))
'''

PEERS = ["f16 64x128x128", "i8 16x128x128", "fp8 64x128x128", "f16 32x128x128"]


class PeersTest(unittest.TestCase):
    def results(self, torch):
        """What peers.py writes where PyTorch is so."""
        with tempfile.TemporaryDirectory() as folder:
            if torch != "missing":
                Path(folder, "torch.py").write_text(TORCH, encoding="utf-8")
            else:
                Path(folder, "torch.py").write_text("raise ImportError('no torch')", encoding="utf-8")
            manifest, results = Path(folder, "manifest.json"), Path(folder, "results.json")
            manifest.write_text(json.dumps({"timed": [{"peer": peer} for peer in PEERS + [""]]}),
                                encoding="utf-8")
            program = Path(__file__).with_name("peers.py")
            subprocess.run([sys.executable, program, manifest, results, "--seconds", "0.01",
                            "--patience", "3"], check=True, stdout=subprocess.DEVNULL,
                           env=dict(os.environ, TORCH=torch, PYTHONPATH=folder))
            return json.loads(results.read_text(encoding="utf-8"))

    def test_without_pytorch_or_gpu_the_reason_is_kept(self):
        self.assertEqual(self.results("missing")["skipped"], "no torch")
        self.assertEqual(self.results("blind")["skipped"], "PyTorch sees no GPU")

    def test_what_is_refused_does_not_stop_the_rest(self):
        results = self.results("works")
        self.assertEqual(results["torch"], "0.test")
        entries = {(entry["peer"], entry["name"]): entry for entry in results["peers"]}
        self.assertEqual(len(entries), 2 * len(PEERS))
        timed = entries["i8 16x128x128", "torch._int_mm, 32 rows"]
        # 50 MiB of L2 twice over, and two sets more; a replay of 1 ms at least.
        self.assertEqual(timed["buffers"], 7)
        self.assertGreater(timed["microseconds"] * timed["together"], 900)
        self.assertEqual(entries["fp8 64x128x128", "torch._scaled_mm, rows"]["refused"],
                         "not in this version")

    def test_what_hangs_or_crashes_loses_only_itself(self):
        for torch, reason in (("hangs", "too long"), ("crashes", "exit code -9")):
            entries = self.results(torch)["peers"]
            self.assertEqual(list(dict.fromkeys(entry["peer"] for entry in entries)), PEERS)
            for entry in entries:
                if entry["peer"].startswith("f16"):
                    self.assertIn(reason, entry["refused"])
            self.assertTrue(any("microseconds" in entry for entry in entries))


if __name__ == "__main__":
    unittest.main()
