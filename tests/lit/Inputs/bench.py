"""bench.py FILE [--cases N] [--launches N] [--instruction TEXT] [--page FILE]:
whether the JSON of `quern bench` is whole and its figures agree with each
other."""

import argparse
import json
import math
import sys

parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("--cases", type=int)
parser.add_argument("--launches", type=int)
parser.add_argument("--instruction")
parser.add_argument("--page")
options = parser.parse_args()
report = json.load(open(options.file))


def hold(condition, what):
    if not condition:
        sys.exit(f"{options.file}: {what}")


def near(a, b, what):
    hold(math.isclose(a, b, rel_tol=1e-6), f"{what}: {a} and {b}")


def work(one, where):
    seconds = one["seconds"]
    hold(0 < seconds["low"] <= seconds["median"] <= seconds["high"], f"{where}: quartiles {seconds}")
    if one["operations"] is None:
        hold(one["bound_by"] is None, f"{where}: bound, and nothing is known of it")
        return
    hold(one["weight_bytes"] <= one["bytes"], f"{where}: more weights than bytes")
    peak, reads, bound = (one[f"share_of_{name}"] or 0 for name in ("peak", "reads", "bound"))
    hold((peak > 0) == (one["operations"] > 0), f"{where}: share of peak {peak}")
    if bound:
        hold(bound >= 0.999 * max(peak, reads), f"{where}: bound {bound} below {peak}, {reads}")
        hold(one["bound_by"] == ("reading" if reads > peak else "arithmetic"), f"{where}: {one['bound_by']}")


hold(report["target"].startswith("cpu:"), "no target")
hold(report["threads"] >= 1, "no threads")
peaks = report["machine"]["peaks"]
hold(peaks, "no peak")
for peak in peaks:
    hold(peak["issue_limit"] >= 1 and peak["issue_limit"] % 1 == 0, f"issue limit {peak['issue_limit']}")
    share = peak["instructions_per_cycle"] / peak["issue_limit"]
    # More than all only as far as the clock changed since it was measured.
    hold(0 < share < 1.1, f"{share} of the issue limit")
    hold(peak["counts"] == (share >= 0.97), "whether the peak counts")
    if options.instruction:
        hold(options.instruction in peak["instruction"], peak["instruction"])
for level in report["machine"]["reads"]:
    hold(level["bytes"] > 0 and level["bytes_per_second"] > 0, f"reads {level}")
hold(options.cases in (None, len(report["cases"])), f"{len(report['cases'])} cases")
for case in report["cases"]:
    where = str(case["symbols"])
    work(case, where)
    hold(case["operations"] > 0, f"{where}: no product")
    hold(options.launches in (None, len(case["launches"])), f"{where}: {len(case['launches'])} launches")
    for launch in case["launches"]:
        work(launch, launch["kernel"])
        hold((launch["instruction"] is not None) == ((launch["operations"] or 0) > 0), f"{where}: instruction")
    near(sum(launch["operations"] or 0 for launch in case["launches"]), case["operations"], "operations")
    hold(
        sum(launch["seconds"]["median"] for launch in case["launches"]) < 2 * case["seconds"]["high"],
        f"{where}: launches take longer than the run",
    )
    hold(case["samples"] == 3 and 1 <= case["samples_counted"] <= 3, f"{where}: samples")
    hold(case["runs_per_sample"] >= 1 and case["weight_sets"] == 1, f"{where}: runs")
if options.page:
    page = open(options.page).read()
    for text in ("share of what the machine can do", "of its bound", "of the peak", *(
        f"{name} = {value}" for case in report["cases"] for name, value in case["symbols"].items()
    )):
        hold(text in page, f"{options.page} lacks {text}")
