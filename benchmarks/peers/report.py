"""What was measured, as text, Markdown and JSON.

Figures of a contestant are medians over the rounds; its share is the median of
what it reached in each round of the machine's own figure in that round. Rounds
in which a contestant's process was interrupted are left out of its figures
where at least five others remain. `ahead` counts the rounds in which Quern was the
faster one, of those (`pairs`) in which neither was interrupted, or of all where
that leaves fewer than five.
"""

import statistics


def quartiles(values):
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 4], ordered[3 * (len(ordered) - 1) // 4]


def figures(result, one):
    """A contestant's numbers; None where it was not timed."""
    row, samples = result["row"], one["samples"]
    if not samples or "refused" in one:
        return None
    clean = [i for i, sample in enumerate(samples) if not sample["interrupted"] and result["limits"][i]["counts"]]
    if len(clean) < 5:
        clean = list(range(len(samples)))
    work = row.weight_bytes if row.is_read else row.operations
    seconds = [samples[i]["seconds"] for i in clean]
    low, high = quartiles(seconds)
    shares = [work / samples[i]["seconds"] / result["limits"][i]["value"] for i in clean]
    quern = result["contestants"][0]["samples"]
    both = list(zip(quern, samples)) if one["who"] != "Quern" and "refused" not in result["contestants"][0] else []
    quiet = [(a, b) for a, b in both if not a["interrupted"] and not b["interrupted"]]
    both = quiet if len(quiet) >= 5 else both
    return {
        "seconds": {"median": statistics.median(seconds), "low": low, "high": high},
        "rate": work / statistics.median(seconds),
        "share": statistics.median(shares),
        "samples": len(samples),
        "counted": len(clean),
        "interrupted": sum(sample["interrupted"] for sample in samples),
        "ahead": sum(a["seconds"] < b["seconds"] for a, b in both) if both else None,
        "pairs": len(both),
    }


def trouble(measured):
    """Where interruptions are in the figures: the machine was busy."""
    if measured["interrupted"] and measured["counted"] == measured["samples"]:
        return f"interrupted in {measured['interrupted']} of {measured['samples']} rounds: the machine was busy"
    return ""


def rate_text(row, rate):
    return f"{rate / 1e9:.1f} GB/s" if row.is_read else f"{rate / 1e9:.0f} Gop/s"


def name(one):
    return one["who"] + (f", {one['form']}" if one["form"] else "")


def text(result):
    row = result["row"]
    lines = [f"\n{row.id}: {row.title}"]
    if "failed" in result:
        lines.append(f"  not measured: {result['failed']}")
    limits = [limit["value"] for limit in result["limits"]]
    if limits:
        kind = result["limits"][0]["name"]
        lost = sum(not limit["counts"] for limit in result["limits"])
        lines.append(
            f"  the machine: {rate_text(row, statistics.median(limits))} ({kind})"
            + (f"; {lost} of {len(limits)} rounds reached no peak that counts" if lost else "")
        )
    for one in result["contestants"]:
        measured = figures(result, one)
        if not measured:
            lines.append(f"  {name(one):<44} {one.get('refused', 'not measured').splitlines()[0]}")
            continue
        t = measured["seconds"]
        ahead = (
            f"  Quern ahead in {measured['ahead']} of {measured['pairs']}" if measured["ahead"] is not None else ""
        )
        lines.append(
            f"  {name(one):<44} {t['median'] * 1e3:9.3f} ms ({t['low'] * 1e3:.3f}..{t['high'] * 1e3:.3f})"
            f" {rate_text(row, measured['rate']):>13} {100 * measured['share']:6.1f} %"
            f"  off by {one['distance']:.1e}{ahead}"
        )
        for remark in filter(None, (one["note"], trouble(measured))):
            lines.append(f"    ({remark})")
    return "\n".join(lines)


def footer(whole):
    lines = ["", "Versions: " + "; ".join(f"{k} {v}" for k, v in whole["versions"].items())]
    for peer, reason in whole["skipped"].items():
        lines.append(f"Without {peer}: {reason}")
    return "\n".join(lines)


def to_json(results, bench):
    whole = {
        "processor": bench.processor,
        "versions": bench.versions,
        "skipped": bench.skipped,
        "samples": bench.options.samples,
        "rows": [],
    }
    for result in results:
        row = result["row"]
        limits = [limit["value"] for limit in result["limits"]]
        entry = {
            "id": row.id,
            "title": row.title,
            "kind": row.kind,
            "M": row.M,
            "N": row.N,
            "K": row.K,
            "threads": row.threads,
            "operations": row.operations,
            "weight_bytes": row.weight_bytes,
            "judged_by": "weight bytes" if row.is_read else "operations",
            "limit": {
                "name": result["limits"][0]["name"],
                "median": statistics.median(limits),
                "rounds_that_count": sum(limit["counts"] for limit in result["limits"]),
            }
            if limits
            else None,
            "failed": result.get("failed"),
            "contestants": [],
        }
        for one in result["contestants"]:
            measured = figures(result, one) or {}
            entry["contestants"].append(
                {key: one[key] for key in ("who", "form", "note", "distance", "refused", "compile_ms") if key in one}
                | measured
            )
        whole["rows"].append(entry)
    return whole


def markdown(whole):
    lines = [f"Processor: {whole['processor']}. Rounds of each row: {whole['samples']}.", ""]
    lines += [f"- {key} {value}" for key, value in whole["versions"].items()]
    lines += [f"- without {peer}: {reason}" for peer, reason in whole["skipped"].items()]
    for row in whole["rows"]:
        lines += ["", f"## {row['title']}", ""]
        unit = "GB/s" if row["judged_by"] == "weight bytes" else "Gop/s"
        if row["limit"]:
            lines += [f"The machine: {row['limit']['median'] / 1e9:.1f} {unit}, {row['limit']['name']}.", ""]
        if row["failed"]:
            lines += [f"Not measured: {row['failed']}", ""]
        lines += [f"| | median ms | quartiles | {unit} | share | off by | Quern ahead |", "|---|---|---|---|---|---|---|"]
        for one in row["contestants"]:
            remarks = [one.get("note"), trouble(one) if "seconds" in one else ""]
            title = name(one) + "".join(f" ({remark})" for remark in remarks if remark)
            if "seconds" not in one:
                lines.append(f"| {title} | {one.get('refused', 'not measured').splitlines()[0]} | | | | | |")
                continue
            t = one["seconds"]
            ahead = "" if one["ahead"] is None else f"{one['ahead']} of {one['pairs']}"
            lines.append(
                f"| {title} | {t['median'] * 1e3:.3f} | {t['low'] * 1e3:.3f}..{t['high'] * 1e3:.3f} "
                f"| {one['rate'] / 1e9:.1f} | {100 * one['share']:.1f} % | {one['distance']:.1e} | {ahead} |"
            )
    return "\n".join(lines) + "\n"
