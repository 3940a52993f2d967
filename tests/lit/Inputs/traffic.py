"""traffic.py [--target T]... FILE SIZES PLACEMENTS: predicted against counted sectors.

Runs `quern explain --json` on simulated targets and compares, for every kernel
that ran, the 32-byte sectors the model predicts with those the simulator counted:
within 10 % for each kernel. A kernel of fewer than 200 sectors may be 20 off.

SIZES is a list as in M=16,M=512. PLACEMENTS is a list as in hq:grid,hq:panel, or
`legal:hq` for every placement of hq that the target has, or `auto`.
"""

import json
import subprocess
import sys

TOLERANCE = 0.10


def explain(file, target, size, placement):
    command = ["quern", "explain", file, "--target", target, "--json", "--placement", placement]
    for one in size.split("+"):
        command += ["--set", one]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{' '.join(command)}: {run.stderr}")
    return json.loads(run.stdout)


def compare(report, what):
    wrong = compared = 0
    for launch in report["launches"]:
        for predicted in launch.get("predicted", []):
            if "counted_sectors" not in predicted:
                continue
            moved = predicted["moved"]
            sectors = moved.get("sectors_read", 0) + moved.get("sectors_written", 0)
            counted = predicted["counted_sectors"]
            compared += 1
            off = abs(sectors - counted)
            verdict = "ok" if off <= max(TOLERANCE * counted, 20 if counted < 200 else 0) else "WRONG"
            wrong += verdict == "WRONG"
            print(f"{verdict}: {what}: {launch['kernel']}: {sectors} predicted, {counted} counted")
    if not compared:
        sys.exit(f"{what}: nothing was compared")
    return wrong


def legal(file, target, name, size):
    """The placements that a quantization has at this size."""
    values = dict(one.split("=") for one in size.split("+"))
    report = json.loads(
        subprocess.run(
            ["quern", "explain", file, "--target", target.replace("sim:", "cuda:"), "--json"],
            capture_output=True, text=True, check=True,
        ).stdout
    )
    for site in report["quantizations"]:
        ranges = site.get("when", [])
        if site["value"] == name and all(
            range["min"] <= int(values[range["symbol"]]) <= range["max"] for range in ranges
        ):
            return [f"{name}:{option['placement']}" for option in site["options"] if option["possible"]]
    sys.exit(f"{file} has no quantization {name}")


def main(arguments):
    targets = []
    while arguments and arguments[0] == "--target":
        targets.append(arguments[1])
        arguments = arguments[2:]
    file, sizes, placements = arguments
    wrong = 0
    for target in targets:
        for size in sizes.split(","):
            wanted = placements.split(",")
            if placements.startswith("legal:"):
                wanted = legal(file, target, placements.removeprefix("legal:"), size)
                if len(wanted) < 2:
                    sys.exit(f"{target} has {wanted} alone")
            for placement in wanted:
                report = explain(file, target, size, placement)
                wrong += compare(report, f"{file} on {target}, {size}, {placement}")
    if wrong:
        sys.exit(f"{wrong} predictions are off by more than {TOLERANCE:.0%}")


if __name__ == "__main__":
    main(sys.argv[1:])
