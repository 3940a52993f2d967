"""Draws what cpu_sweep_bench measured: plot_sweep.py OUT FILE..., lists of sweeps as JSON."""

import json
import sys

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.fonttype"] = "none"
import matplotlib.pyplot as plt

if len(sys.argv) < 3:
    sys.exit(__doc__)
sweeps = [sweep for name in sys.argv[2:] for sweep in json.load(open(name))]
figure, axes = plt.subplots(len(sweeps), 1, figsize=(9, 3.2 * len(sweeps)), squeeze=False)
for one, axis in zip(sweeps, axes[:, 0]):
    kinds = {
        "whole tiles": lambda rest: rest == 0,
        "one more": lambda rest: rest == 1,
        "others": lambda rest: rest > 1,
    }
    for label, belongs in kinds.items():
        points = [point for point in one["points"] if belongs(point["size"] % one["tile"])]
        axis.plot(
            [point["size"] for point in points],
            [100 * point["share"] for point in points],
            marker=".",
            linewidth=0 if label == "others" else 0.8,
            label=label,
        )
    axis.set_xscale("log", base=2)
    axis.set_ylim(0, 110)
    axis.set_xlabel(f"{one['axis']} (tile: {one['tile']})")
    axis.set_ylabel("% of the limit")
    fixed = ", ".join(f"{size} = {one[size.lower()]}" for size in "MNK" if size != one["axis"])
    threads = f"{one['threads']} thread" + ("s" if one["threads"] > 1 else "")
    axis.set_title(f"{one['layer']}, {fixed}, {threads}; limit: {one['peak']}, for few rows also reading", fontsize=9)
    axis.text(0.5, 0.02, f"{one['processor']}, medians of {one['turns']} turns", transform=axis.transAxes, fontsize=7)
    axis.grid(alpha=0.4)
    axis.legend(fontsize=8)
figure.tight_layout()
figure.savefig(sys.argv[1], metadata={"Date": None})
