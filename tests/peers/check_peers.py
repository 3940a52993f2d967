"""Holds ./dev bench cpu to what it says, without a peer and without timing.

    check_peers.py ROOT program          arguments, rows, tables of made-up samples
    check_peers.py ROOT driver PROGRAM   the protocol of Quern's driver
    check_peers.py ROOT data             operands and references; needs NumPy

Exits with 77 (skipped) where what it needs is missing.
"""

import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import types

ROOT = pathlib.Path(sys.argv[1])
PEERS = ROOT / "benchmarks" / "peers"
sys.dont_write_bytecode = True
sys.path.insert(0, str(PEERS))


def hold(condition, what):
    if not condition:
        sys.exit(f"check_peers: {what}")


def bench(*arguments):
    return subprocess.run(
        [sys.executable, "-B", str(PEERS / "bench.py"), *arguments], capture_output=True, text=True
    )


def check_arguments():
    import rows

    listed = bench("--list")
    hold(listed.returncode == 0, listed.stderr)
    threads = len(os.sched_getaffinity(0))
    for row in rows.ROWS:
        hold((row.id in listed.stdout) == (row.threads <= threads), f"--list and {row.id}")
    dry = bench("--dry-run", "--rows", "mlp,int8-odd", "--peers", "ggml", "--samples", "7")
    hold(dry.returncode == 0 and "7 rounds beside ggml" in dry.stdout, dry.stdout + dry.stderr)
    hold(dry.stdout.index("int8-odd") < dry.stdout.index("mlp"), "rows in the order of the table")
    for wrong, message in (
        (["--rows", "nope"], "there is no row nope"),
        (["--peers", "nope"], "there is no peer nope"),
        (["--samples", "2"], "--samples is from 3"),
        (["--samples", "many"], "invalid int value"),
        (["--seconds", "nan"], "--seconds is from"),
        (["--plot", "missing/folder/x.svg"], "no such folder"),
    ):
        done = bench("--dry-run", *wrong)
        hold(done.returncode == 2 and message in done.stderr, f"{wrong}: {done.returncode} {done.stderr}")
    hold(bench("--rows", "int8-odd").returncode == 2, "no driver is wrong input")


def check_rows():
    import bench as program
    import rows

    hold(len({row.id for row in rows.ROWS}) == len(rows.ROWS), "ids are unique")
    for row in rows.ROWS:
        hold(f"[M, {row.K}]" in row.layer and "{" not in row.title, row.layer)
        hold(row.operations % (2 * row.M) == 0 and row.weight_bytes > 0, row.id)
        hold(not row.group or row.K % row.group == 0, f"{row.id}: whole groups")
        l3 = 32 << 20
        copies = row.copies(l3)
        hold(copies == 1 if not row.cold else copies * row.weight_bytes >= 4 * l3, f"{row.id}: {copies} copies")
    for peer in program.PEERS:
        hold((PEERS / f"peer_{peer}.py").exists(), f"no module of {peer}")
    for file in (PEERS / "requirements").glob("*.txt"):
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        hold(lines and all("==" in line for line in lines), f"{file.name}: versions are exact")


def made_up():
    """Results of one row: Quern, a slower peer, one that refuses."""
    import rows

    row = rows.by_id(["int8-4096"])[0]
    limit = {"name": "vpdpbusd zmm", "value": 1e12, "counts": True}
    sample = lambda factor, interrupted=False: {
        "seconds": factor * row.operations / 1e12,
        "runs": 3,
        "interrupted": interrupted,
    }
    return {
        "row": row,
        "limits": [dict(limit) for _ in range(7)],
        "contestants": [
            # Of the interrupted one nothing is taken.
            {"who": "Quern", "form": "", "note": "", "distance": 8e-3, "compile_ms": 20.0,
             "samples": [sample(1.25) for _ in range(6)] + [sample(5, True)]},
            {"who": "Peer", "form": "slow", "note": "as it is", "distance": 9e-3,
             "samples": [sample(2) for _ in range(7)]},
            {"who": "Other", "form": "x", "note": "", "refused": "it cannot", "samples": []},
        ],
    }


def check_report():
    import report

    result = made_up()
    own, peer = (report.figures(result, one) for one in result["contestants"][:2])
    hold(abs(own["share"] - 0.8) < 1e-9 and own["counted"] == 6, f"shares: {own}")
    hold(abs(peer["share"] - 0.5) < 1e-9 and peer["ahead"] == 6 and peer["pairs"] == 6, f"ahead: {peer}")
    hold(report.figures(result, result["contestants"][2]) is None, "a refusal has no figures")
    text = report.text(result)
    for part in ("80.0 %", "50.0 %", "Quern ahead in 6 of 6", "it cannot", "vpdpbusd zmm"):
        hold(part in text, f"{part} in\n{text}")
    program = types.SimpleNamespace(
        processor="a machine", versions={"peer": "1.0"}, skipped={"other": "no network"},
        options=types.SimpleNamespace(samples=7),
    )
    whole = json.loads(json.dumps(report.to_json([result], program)))
    hold(whole["rows"][0]["contestants"][0]["rate"] == own["rate"], "JSON")
    hold("no network" in report.footer(whole), "what was left out")
    table = report.markdown(whole)
    widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
    hold(len(widths) == 1, f"a ragged table:\n{table}")
    # A busy machine is said to have been.
    for sample in result["contestants"][1]["samples"]:
        sample["interrupted"] = True
    busy = "interrupted in 7 of 7 rounds: the machine was busy"
    hold(busy in report.text(result) and busy in report.markdown(report.to_json([result], program)), "busy")
    hold(busy not in text, "not busy")
    # Nothing at all.
    empty = dict(result, limits=[], contestants=[], failed="no driver")
    hold("no driver" in report.text(empty), "a row that failed")
    report.markdown(report.to_json([empty], program))


def npy(path, kind, shape, data):
    """A .npy file, version 1."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data)


def check_driver(program):
    process = subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

    def ask(request):
        process.stdin.write((request if isinstance(request, str) else json.dumps(request)) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    hello = ask({"op": "hello"})
    hold("quern" in hello["versions"] and hello["cpus"] >= 1, f"hello: {hello}")
    # What is wrong is said, and the next request is read.
    for wrong in ("no JSON", "[]", {"op": "frob"}, {}, {"op": "sample", "seconds": 0.01}, {"op": "prepare"},
                  {"op": "prepare", "layer": "layer", "symbols": {}, "operands": {}, "threads": 1},
                  {"op": "peak", "instruction": "fdiv"}, {"op": "read", "level": "L9"}):
        answer = ask(wrong)
        hold("error" in answer, f"{wrong}: {answer}")
    import rows

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        M, N, K = 3, 5, 4
        row = rows.Row("t", "int8", M, N, K)
        x = [[1.0, -2.0, 0.5, 127.0]] * M
        npy(folder / "x.npy", "<f4", (M, K), b"".join(struct.pack("<4f", *line) for line in x))
        npy(folder / "c.npy", "|i1", (N, K), bytes([1, 0, 0, 2] * N))
        npy(folder / "s.npy", "<f4", (N, 1), struct.pack("<5f", 1, 2, 4, 8, 16))
        request = {
            "op": "prepare", "layer": row.layer, "symbols": {"M": M}, "threads": 1, "copies": 2,
            "operands": {"x": str(folder / "x.npy"), "w.codes": str(folder / "c.npy"), "w.scales": str(folder / "s.npy")},
            "output": str(folder / "y.npy"),
        }
        answer = ask(request)
        hold("error" not in answer and answer["target"].startswith("cpu:"), f"prepare: {answer}")
        # Scales of x are 1: 1 * 1 + 127 * 2 = 255, times the channel's scale.
        values = struct.unpack("<15f", (folder / "y.npy").read_bytes()[-60:])
        hold(values == tuple(255.0 * 2**n for _ in range(M) for n in range(N)), f"results: {values}")
        sample = ask({"op": "sample", "seconds": 0.001})
        hold(sample["seconds"] > 0 and sample["runs"] >= 3, f"sample: {sample}")
        del request["operands"]["x"]
        hold("no file for operand x" in ask(request)["error"], "a missing operand")
    for name in hello["instructions"]:
        peak = ask({"op": "peak", "instruction": name, "threads": 1})
        hold(peak["operations"] > 0 and "counts" in peak, f"{name}: {peak}")
    process.stdin.close()
    hold(process.wait(20) == 0, "it ends with its input")


def check_data():
    try:
        import numpy as np
    except ImportError:
        print("check_peers: skipped: no NumPy")
        sys.exit(77)
    import data
    import rows

    for row in (
        rows.Row("a", "int8", 3, 40, 64),
        rows.Row("b", "int4", 3, 40, 256, group=32),
        rows.Row("c", "bf16", 3, 40, 64),
        rows.Row("d", "mlp", 3, 40, 64),
    ):
        with tempfile.TemporaryDirectory() as folder:
            files = data.write(row, folder)
            for name in files:
                operand = name.split(".")[0]
                hold(f"{operand}:" in row.layer, f"{row.kind}: the layer has no operand {operand}")
            reference = data.read(folder, "reference")
            hold(reference.dtype == np.float64 and np.isfinite(reference).all(), f"{row.kind}: reference")
            hold(data.distance(folder, reference) == 0, f"{row.kind}: distance from itself")
            # What is wrong is far away: a row in the place of another, and none.
            hold(data.distance(folder, np.roll(reference, 1, 0)) > row.tolerance, f"{row.kind}: rolled")
            hold(not data.distance(folder, reference * np.nan) <= row.tolerance, f"{row.kind}: NaN")
    values = np.float32([1, 1 + 2**-8, 1 + 3 * 2**-8, -3.14159])
    hold(data.bf16(values).tolist() == [1, 1, 1 + 2**-6, -3.140625], "bf16 rounds half to even")


if sys.argv[2] == "program":
    check_arguments()
    check_rows()
    check_report()
elif sys.argv[2] == "driver":
    if len(sys.argv) < 4:
        print("check_peers: skipped: the driver is not built")
        sys.exit(77)
    check_driver(sys.argv[3])
else:
    check_data()
