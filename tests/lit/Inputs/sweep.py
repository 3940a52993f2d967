"""Holds what cpu_sweep_bench writes to its word."""

import argparse
import json
import sys

parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("--axes", required=True)
parser.add_argument("--most", type=int, required=True)
parser.add_argument("--turns", type=int, required=True)
options = parser.parse_args()


def hold(condition, what):
    if not condition:
        sys.exit(f"{options.file}: {what}")


sweeps = json.load(open(options.file))
hold("".join(sweep["axis"] for sweep in sweeps) == options.axes, "other axes")
for sweep in sweeps:
    axis, tile, points = sweep["axis"], sweep["tile"], sweep["points"]
    hold(sweep["turns"] == options.turns and sweep["peak"] and "tile" in sweep["schedule"], f"{axis}: {sweep}")
    sizes = [point["size"] for point in points]
    hold(sizes == sorted(set(sizes)), f"{axis}: sizes are not in order")
    hold({1, tile, 2 * tile, 63, 64} <= set(sizes) and max(sizes) <= options.most, f"{axis}: sizes are {sizes}")
    for point in points:
        size = point["size"]
        hold(point["microseconds"] > 0 and 0 < point["of_peak"] <= point["share"], f"{axis} = {size}: {point}")
        judged = axis == "M" or size >= 3 * tile
        alike = [other for other in sizes if other % tile == size % tile]
        hold(("class" in point) == (judged and min(alike) < size < max(alike)), f"{axis} = {size}: the ratio within its class")
        whole = -(-size // tile) * tile
        hold(("whole" in point) == (judged and whole != size and whole in sizes), f"{axis} = {size}: the ratio to whole tiles")
        hold(all(point[ratio] > 0 for ratio in ("class", "whole") if ratio in point), f"{axis} = {size}: {point}")
