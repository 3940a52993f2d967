"""tune.py FILE RECORD [--sizes N]: whether the JSON of `quern tune` is whole, its
verdicts follow from its figures, and the record says what they say."""

import argparse
import json
import re
import sys

parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("record")
parser.add_argument("--sizes", type=int, default=1)
options = parser.parse_args()
report = json.load(open(options.file))
record = open(options.record).read()


def hold(condition, what):
    if not condition:
        sys.exit(f"{options.file}: {what}")


hold(report["record"] == record, "the record is another one")
hold(len(report["sizes"]) == options.sizes, "sizes are missing")
majority = -(-4 * report["pairs"] // 5)
lines = [line for line in record.splitlines() if line.startswith("product ")]
hold(len(lines) == len(report["products"]), "a line for each product")


def fields(blocking):
    chunk, few_ahead = ("no" if blocking[size] is None else blocking[size] for size in ("chunk_steps", "few_ahead"))
    return (
        f"rows={blocking['rows']} few-rows={blocking['few_rows']} block-rows={blocking['block_rows']} "
        f"chunk-steps={chunk} ahead={blocking['ahead']} few-ahead={few_ahead}"
    )


for product, line in zip(report["products"], lines):
    name = product["product"]
    hold(re.sub(r" m=\d+\.\.\d+", "", line).startswith(f"product {name} : "), f"{line} is not about {name}")
    hold(f" m={min(product['rows'])}..{max(product['rows'])} " in line, f"{line}: other rows")
    hold(line.endswith(" : " + fields(product["chosen"])), f"{line}: not what was chosen")
    trials = product["trials"]
    # Sums that are scaled within K have no chunks but those that are widened.
    least = 2 if "split=no" not in name and "widened=no" in name else 3
    hold(len([trial for trial in trials if not trial["confirms"]]) >= least, f"{name}: hardly a candidate")
    for trial in trials:
        hold(trial["blocking"] != product["model"], f"{name}: the model's choice is no candidate")
        for field in trial["what"].split():
            hold(field in fields(trial["blocking"]).split(), f"{name}: {field}")
        if "refused" in trial:
            hold(not trial["better"] and not trial["sizes"], f"{name}: refused, and measured")
            continue
        hold(len(trial["sizes"]) == options.sizes, f"{name}: not measured at all sizes")
        for one in trial["sizes"]:
            hold(one["pairs"] == report["pairs"], f"{name}: pairs are missing")
            hold(one["wins"] + one["losses"] <= one["pairs"], f"{name}: more won and lost than there are")
            hold(one["times_as_fast"] > 0, f"{name}: no time")
        better = any(one["wins"] >= majority for one in trial["sizes"])
        worse = any(one["losses"] >= majority for one in trial["sizes"])
        hold(trial["better"] == (better and not worse), f"{name}: {trial['what']}: another verdict")
    # What is chosen was better, and better again.
    if product["is_model"]:
        hold(product["chosen"] == product["model"], f"{name}: chosen is not the model's")
    else:
        again = [trial for trial in trials if trial["confirms"] and trial["better"]]
        hold([trial["blocking"] for trial in again] == [product["chosen"]], f"{name}: chosen without proof")
        hold(any(trial["better"] and not trial["confirms"] for trial in trials), f"{name}: better only once")
