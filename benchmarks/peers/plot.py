"""Draws what bench.py measured: plot.py FILE, the JSON on standard input."""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

whole = json.load(sys.stdin)
rows = [row for row in whole["rows"] if any("share" in one for one in row["contestants"])]
if not rows:
    sys.exit("plot: nothing was measured")
names = list(dict.fromkeys(one["who"] for row in rows for one in row["contestants"]))
figure, axes = plt.subplots(figsize=(10, 1.2 + 0.8 * len(rows)))
colours = plt.get_cmap("tab10")
for at, row in enumerate(rows):
    for place, who in enumerate(names):
        # The best of a peer's forms.
        forms = [one for one in row["contestants"] if one["who"] == who and "share" in one]
        if not forms:
            continue
        best = max(forms, key=lambda one: one["share"])
        median = best["seconds"]["median"]
        share = 100 * best["share"]
        axes.barh(
            at + (place - (len(names) - 1) / 2) * 0.8 / len(names),
            share,
            0.8 / len(names),
            color=colours(place),
            label=who,
            xerr=[
                [share - share * median / best["seconds"]["high"]],
                [share * median / best["seconds"]["low"] - share],
            ],
        )
axes.set_yticks(range(len(rows)), [row["title"].replace("; ", "\n", 1) for row in rows], fontsize=7)
axes.invert_yaxis()
axes.set_xlim(left=0)
axes.set_xlabel("share of the machine's limit, % (peak of the dot instruction; for one row of x, rate of reading)")
axes.set_title(f"{whole['processor']}, {whole['samples']} rounds; bars end at medians, lines are quartiles", fontsize=9)
axes.grid(axis="x", alpha=0.4)
handles = dict(zip(*reversed(axes.get_legend_handles_labels())))
axes.legend(handles.values(), handles.keys(), fontsize=8)
figure.tight_layout()
figure.savefig(sys.argv[1])
