"""Joins the results of tests/gpu/run into results.json and prints a table.

    python3 report.py RESULTS-FOLDER
"""

import json
import sys
from pathlib import Path


def load(folder, name):
    path = folder / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None


def tallies(results):
    """Lines on what passed and what did not."""
    for part in ("conformance", "modules"):
        result = results.get(part)
        if result is None or "passed" not in result:
            yield f"{part}: no result"
            continue
        line = f"{part}: {result['passed']} passed, {result['failed']} failed"
        if result.get("unsupported"):
            line += f", {result['unsupported']} unsupported"
        yield line
        for name, case in (result.get("cases") or result.get(part) or {}).items():
            if case["status"] not in ("passed", "not for this device"):
                yield f"  {case['status']} {name}: {case.get('message', '')[:120]}"


def models(results):
    """How the device adds, as far as the models tell."""
    cases = (results.get("conformance") or {}).get("cases", {})
    for name, case in cases.items():
        whole = [m["model"] for m in case.get("models", []) if m["equal"] == m["of"]]
        if whole:
            yield f"  {name}: {'; '.join(whole[:3])}"


def timings(results):
    timed = (results.get("timing") or {}).get("timed", [])
    others = (results.get("peers") or {}).get("peers", [])
    for entry in timed:
        if "microseconds" not in entry:
            if entry["status"] != "not for this device":
                yield f"  {entry['name']:24} M={entry['symbols'][0]:<6} {entry['status']}"
            continue
        micro = entry["microseconds"]
        line = (f"  {entry['name']:24} M={entry['symbols'][0]:<6} {micro:10.2f} us"
                f" {entry['operations'] / micro * 1e-6:8.1f} TOP/s")
        beside = [f"{p['name']} {p['microseconds']:.2f} us ({p['microseconds'] / micro:.2f}x)"
                  for p in others if p["peer"] == entry["peer"] and "microseconds" in p]
        yield line + ("   " + ", ".join(beside) if beside else "")


def left_out(results):
    """Peers that were not timed, each reason once."""
    peers = results.get("peers") or {}
    if "skipped" in peers:
        yield f"  all: {peers['skipped']}"
    reasons = {}
    for entry in peers.get("peers", []):
        if "refused" in entry:
            reasons.setdefault((entry["name"], entry["refused"][:120]), []).append(entry["peer"])
    for (name, reason), sizes in reasons.items():
        yield f"  {name} ({', '.join(sizes)}): {reason}"


def main():
    folder = Path(sys.argv[1])
    parts = ("conformance", "modules", "timing", "peers")
    results = {part: result for part in parts if (result := load(folder, part)) is not None}
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    device = next((r["device"] for r in results.values() if "device" in r), "no device")
    print(f"\n{device}")
    for line in tallies(results):
        print(line)
    found = list(models(results))
    if found:
        print("sums that a model reproduces bit for bit:")
        print("\n".join(found))
    rows = list(timings(results))
    if rows:
        print("times (median; others beside, and how many times ours they take):")
        print("\n".join(rows))
    missing = list(left_out(results))
    if missing:
        print("others that were not timed:")
        print("\n".join(missing))


if __name__ == "__main__":
    main()
