"""Proves that compare.py accepts W8A8 arithmetic on this data and nothing worse.

    compare_test.py DATA

Evaluates ffn.qn in numpy, once as written and once with each of several faults
that a wrong kernel might have. Prints each verdict with its figures. Exit code
77 (ctest: skipped) where prepare.py could not fetch the network.
"""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import safetensors.numpy

import compare
from prepare import SKIPPED, gelu, quantize_per_channel


def product(x, weights, name, scale_axis):
    codes, scales = quantize_per_channel(x) if scale_axis == "token" else quantize_per_channel(x.reshape(1, -1))
    sums = codes.reshape(x.shape).astype(np.int32) @ weights[f"w_{name}.codes"].astype(np.int32).T
    return (sums.astype(np.float32) * scales) * weights[f"w_{name}.scales"].T + weights[f"b_{name}"]


def evaluate(x, weights, scale_axis="token"):
    return product(gelu(product(x, weights, "in", scale_axis)), weights, "out", scale_axis)


def verdict(data, output):
    """compare.py's exit code and what it printed."""
    with tempfile.NamedTemporaryFile(suffix=".npy") as file, contextlib.redirect_stdout(io.StringIO()) as printed:
        np.save(file, output)
        file.flush()
        sys.argv = ["compare.py", str(data), file.name]
        return compare.main(), printed.getvalue()


def main():
    data = Path(sys.argv[1])
    if not (data / "prepared").exists():
        print(f"compare_test: skipped: there is no data in {data}")
        return SKIPPED
    x, weights = np.load(data / "x.npy"), safetensors.numpy.load_file(data / "weights.safetensors")
    right = evaluate(x, weights)

    lost_channel = right.copy()
    lost_channel[:, 7] = 0
    shifted = np.roll(right, 1, axis=0)
    no_bias = right - weights["b_out"]
    truncated = evaluate(x, {**weights, "w_out.codes": weights["w_out.codes"] - (weights["w_out.codes"] & 1)})
    cases = [
        ("as written", right, 0),
        ("one scale for all tokens", evaluate(x, weights, "tensor"), 1),
        ("one channel lost", lost_channel, 1),
        ("tokens shifted by one", shifted, 1),
        ("no second bias", no_bias, 1),
        ("the weights' lowest bit lost", truncated, 1),
    ]
    failures = 0
    for name, output, expected in cases:
        code, printed = verdict(data, output)
        failures += code != expected
        print(f"{'ok' if code == expected else 'FAILED'}: {name} is {'refused' if code else 'accepted'}\n{printed}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
