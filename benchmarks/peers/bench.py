#!/usr/bin/env python3
"""Quern beside its peers on this CPU: ./dev bench cpu.

Every peer runs in a process and a Python environment of its own; Quern and the
machine's limits are a program's (quern_driver.cpp). Samples take turns: in each
round the machine's peak (or its rate of reading), Quern, and every form of
every peer, the order turning from round to round, so that all see the same
minutes. docs/bench.md tells how to read what is printed.

Needs nothing but Python's own library; peers that cannot be had are left out
aloud.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import report
import rows

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

PEERS = {
    "onnxruntime": "ONNX Runtime",
    "litert": "XNNPACK in LiteRT",
    "torch": "PyTorch",
    "ggml": "ggml",
}


def say(text):
    print(text, file=sys.stderr, flush=True)


class Gone(Exception):
    """A process that ended, or answered that it cannot."""


class Process:
    """A program that answers a line of JSON with a line of JSON."""

    def __init__(self, command, cpus, log):
        # Runtimes that start their threads early must know how many.
        counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment = dict(os.environ, **{name: str(len(cpus)) for name in counts})
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=HERE,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        )

    def ask(self, **request):
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except (BrokenPipeError, OSError):
            line = ""
        if not line:
            code = self.process.wait()
            raise Gone(f"it ended with code {code} at {request['op']}")
        answer = json.loads(line)
        if "error" in answer:
            raise Gone(answer["error"])
        return answer

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Bench:
    def __init__(self, options, folder, log):
        self.options, self.folder, self.log = options, folder, log
        self.versions, self.skipped = {}, {}
        self.processor, self.peaks = None, {}
        self.quern, self.workers = None, {}
        self.available = []

    # Processes -----------------------------------------------------------

    def with_venv(self, requirements, *command):
        return [
            str(ROOT / "scripts" / "with-venv"),
            str(HERE / "requirements" / requirements),
            *command,
        ]

    def find_peers(self):
        """Makes the environments; says which peers cannot be had."""
        for peer in self.options.peers:
            ready = subprocess.run(
                self.with_venv(f"{peer}.txt", "-c", "pass"), stderr=subprocess.PIPE, text=True
            )
            if ready.returncode:
                reason = ready.stderr.strip().splitlines()
                self.skip(peer, reason[-1] if reason else "its environment cannot be made")
            else:
                self.available.append(peer)

    def skip(self, peer, reason):
        say(f"bench cpu: without {PEERS[peer]}: {reason}")
        self.skipped[peer] = reason

    def start(self, threads):
        """Everything anew, on so many CPUs: the last ones there are."""
        self.stop()
        cpus = set(sorted(os.sched_getaffinity(0))[-threads:])
        self.quern = Process([self.options.driver], cpus, self.log)
        hello = self.quern.ask(op="hello")
        self.versions.update(hello["versions"])
        self.instructions = hello["instructions"]
        self.processor, self.l3 = hello["processor"], hello["l3"]
        everywhere = os.sched_getaffinity(0)
        self.data = Process(self.with_venv("numpy.txt", "worker.py", "numpy"), everywhere, self.log)
        self.data.ask(op="hello")
        for peer in list(self.available):
            worker = Process(self.with_venv(f"{peer}.txt", "worker.py", peer), cpus, self.log)
            try:
                self.versions.update(worker.ask(op="hello")["versions"])
                self.workers[peer] = worker
            except Gone as gone:
                worker.close()
                self.available.remove(peer)
                self.skip(peer, f"it cannot be started: {gone}")

    def stop(self):
        for process in [self.quern, *self.workers.values()]:
            if process:
                process.close()
        if self.quern:
            self.data.close()
        self.quern, self.workers = None, {}

    # A row ---------------------------------------------------------------

    def prepare(self, row, folder):
        """Contestants of a row, as it is going to be reported."""
        copies = row.copies(self.l3)
        operands = self.data.ask(op="data", row=row.id, folder=str(folder))["operands"]
        contestants = []
        own = {"who": "Quern", "form": "", "note": ""}
        try:
            result = str(folder / "quern.npy")
            answer = self.quern.ask(
                op="prepare",
                layer=row.layer,
                symbols={"M": row.M},
                operands=operands,
                threads=row.threads,
                copies=copies,
                output=result,
            )
            own["compile_ms"] = answer["compile_ms"]
            own["distance"] = self.data.ask(op="check", folder=str(folder), result=result)["distance"]
            own["ask"] = lambda seconds: self.quern.ask(op="sample", seconds=seconds)
        except Gone as gone:
            own["refused"] = str(gone)
        contestants.append(own)
        for peer, worker in list(self.workers.items()):
            try:
                forms = worker.ask(op="prepare", row=row.id, folder=str(folder), copies=copies)["forms"]
            except Gone as gone:
                contestants.append({"who": PEERS[peer], "form": "", "refused": str(gone)})
                self.lose(peer)
                continue
            for form in forms:
                one = {"who": PEERS[peer], "peer": peer, "form": form["name"], "note": form.get("note", "")}
                if "refused" in form:
                    one["refused"] = form["refused"]
                else:
                    one["distance"] = form["distance"]
                    one["ask"] = lambda seconds, worker=worker, index=form["index"]: worker.ask(
                        op="sample", form=index, seconds=seconds
                    )
                contestants.append(one)
        for one in contestants:
            # NaN is no distance either.
            if "distance" in one and not one["distance"] <= row.tolerance:
                one["refused"] = (
                    f"its result is {one['distance']:.2g} away from the reference, more than "
                    f"{row.tolerance}: not timed"
                )
                del one["ask"]
            one["samples"] = []
        return contestants

    def lose(self, peer):
        self.workers.pop(peer).close()
        self.available.remove(peer)
        self.skip(peer, "its process ended; see the log")

    def limit(self, row):
        """The machine's own figure for a round: operations or bytes a second."""
        if row.is_read:
            total = row.weight_bytes * row.copies(self.l3)
            level = "memory" if row.cold or total > 0.75 * self.l3 else "L3"
            # The best of three: a pass that others disturbed is no limit.
            rates = [self.quern.ask(op="read", level=level, threads=row.threads)["bytes"] for _ in range(3)]
            return {"name": f"reads from {level}", "value": max(rates), "counts": True}
        for name in row.instructions:
            if name in self.instructions:
                peak = self.quern.ask(op="peak", instruction=name, threads=row.threads)
                self.peaks[name] = peak
                return {"name": name, "value": peak["operations"], "counts": peak["counts"]}
        raise Gone(f"none of {', '.join(row.instructions)} can be measured here")

    def measure(self, row):
        result = {"row": row, "limits": [], "contestants": []}
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        try:
            result["contestants"] = contestants = self.prepare(row, folder)
            runs = [one for one in contestants if "ask" in one]
            for turn in range(self.options.samples if runs else 0):
                result["limits"].append(self.limit(row))
                first = turn % len(runs)
                for one in runs[first:] + runs[:first]:
                    time.sleep(0.01)  # Threads of the one before stop spinning.
                    if "refused" in one:
                        continue
                    try:
                        one["samples"].append(one["ask"](self.options.seconds))
                    except Gone as gone:
                        one["refused"] = f"in round {turn + 1}: {gone}"
                        if one["who"] == "Quern":
                            raise
                        if one["peer"] in self.workers:
                            self.lose(one["peer"])
        except Gone as gone:
            result["failed"] = str(gone)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        for one in result["contestants"]:
            one.pop("ask", None)
        return result

    def run(self):
        self.find_peers()
        results = []
        chosen = sorted(self.options.rows, key=lambda row: row.threads)
        threads = 0
        try:
            for number, row in enumerate(chosen):
                if row.threads != threads:
                    threads = row.threads
                    self.start(threads)
                say(f"bench cpu: {number + 1} of {len(chosen)}: {row.title}")
                results.append(self.measure(row))
                if not self.options.json:
                    print(report.text(results[-1]), flush=True)
        finally:
            self.stop()
        return results


def arguments():
    parser = argparse.ArgumentParser(
        prog="./dev bench cpu", description="Quern beside its peers on this CPU, in the same minutes."
    )
    parser.add_argument("--list", action="store_true", help="list rows and peers, and end")
    parser.add_argument("--dry-run", action="store_true", help="say what would be measured, and end")
    parser.add_argument("--rows", default="", help="ids by commas; all without")
    parser.add_argument("--peers", default=",".join(PEERS), help="by commas, or none (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=15, help="rounds of each row (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=0.03, help="of one sample, at least (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--output", help="write JSON to this file too")
    parser.add_argument("--markdown", help="write the tables to this file as Markdown")
    parser.add_argument("--plot", help="draw shares of the machine's limit into this file (.svg, .png)")
    parser.add_argument("--driver", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not 3 <= options.samples <= 1000:
        parser.error(f"--samples is from 3 to 1000, not {options.samples}")
    if not 0.001 <= options.seconds <= 10:
        parser.error(f"--seconds is from 0.001 to 10, not {options.seconds}")
    options.peers = [peer for peer in options.peers.split(",") if peer and peer != "none"]
    for peer in options.peers:
        if peer not in PEERS:
            parser.error(f"there is no peer {peer}; the peers are {', '.join(PEERS)}")
    try:
        options.rows = rows.by_id([row for row in options.rows.split(",") if row])
    except KeyError as wanted:
        parser.error(f"there is no row {wanted.args[0]}; the rows are {', '.join(row.id for row in rows.ROWS)}")
    for name in ("output", "markdown", "plot"):
        path = getattr(options, name)
        if path and not (pathlib.Path(path).resolve().parent).is_dir():
            parser.error(f"cannot write {path}: there is no such folder")
    cpus = len(os.sched_getaffinity(0))
    left = [row for row in options.rows if row.threads > cpus]
    options.rows = [row for row in options.rows if row.threads <= cpus]
    if options.driver:
        options.driver = str(pathlib.Path(options.driver).resolve())
    for row in left:
        say(f"bench cpu: without {row.id}: this process may use {cpus} CPUs")
    return options


def main():
    options = arguments()
    if options.list or options.dry_run:
        for row in options.rows:
            print(f"{row.id:<18} {row.title}")
        if options.list:
            for peer, title in PEERS.items():
                print(f"{peer:<18} {title}; benchmarks/peers/requirements/{peer}.txt")
        else:
            print(f"{options.samples} rounds beside {', '.join(options.peers) or 'no peer'}")
        return 0
    if not options.driver or not os.access(options.driver, os.X_OK):
        say("bench cpu: no driver program; start this as ./dev bench cpu")
        return 2
    with tempfile.TemporaryDirectory(prefix="quern-bench-") as folder:
        log = ROOT / "build" / "bench-cpu.log"
        log.parent.mkdir(exist_ok=True)
        with open(log, "w") as messages:
            bench = Bench(options, folder, messages)
            try:
                results = bench.run()
            except Gone as gone:
                say(f"bench cpu: {gone}; messages are in {log}")
                return 1
    whole = report.to_json(results, bench)
    if options.json:
        print(json.dumps(whole, indent=2))
    else:
        print(report.footer(whole))
    if options.output:
        pathlib.Path(options.output).write_text(json.dumps(whole, indent=2) + "\n")
    if options.markdown:
        pathlib.Path(options.markdown).write_text(report.markdown(whole))
    if options.plot:
        drawn = subprocess.run(
            bench.with_venv("plot.txt", str(HERE / "plot.py"), str(pathlib.Path(options.plot).resolve())),
            input=json.dumps(whole),
            text=True,
        )
        if drawn.returncode:
            say("bench cpu: no plot; see above")
            return 1
    # A row that Quern was to do and could not is a failure; one that no layer
    # compiles for is reported, and none.
    return 1 if any("failed" in result for result in results) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # Whoever read it has enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
