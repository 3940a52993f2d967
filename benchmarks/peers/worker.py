"""A peer in a process and an environment of its own, on request.

    worker.py PEER

One JSON object per line on standard input, one per line as answer, as
quern_driver.cpp has it:

    {"op": "hello"}                      {"versions": {...}}
    {"op": "prepare", "row": ROW-ID, "folder": ..., "copies": 1}
                                         {"forms": [{"name", "note", "distance"}
                                                    or {"name", "refused"}]}
    {"op": "sample", "form": 0, "seconds": 0.02}
                                         {"seconds", "runs", "interrupted"}
    {"op": "data", "row": ROW-ID, "folder": ...}     {"operands": {...}}
    {"op": "check", "folder": ..., "result": FILE}   {"distance": ...}

A peer is a module peer_NAME.py with

    versions()                  a dictionary: its own, and of what it runs on
    forms(row)                  names of the ways it has to do the row, each
                                with a note that says in what they differ from
                                the row's scheme; none where it has no way
    prepare(row, form, operand, threads)
                                a function that does the work once and returns
                                the result, or something that holds it;
                                `operand(name)` reads one. Raises `Refused` with
                                the reason where it cannot.

The process is pinned to as many CPUs as there are threads before a peer is
imported, so that whatever threads it starts stay there.
"""

import importlib
import json
import os
import resource
import sys
import time
import traceback


class Refused(Exception):
    """A peer cannot do a row, and says why."""


class Worker:
    def __init__(self, name):
        self.name = name
        self.peer = importlib.import_module(f"peer_{name}") if name != "numpy" else None
        self.prepared = []
        self.threads = len(os.sched_getaffinity(0))

    def hello(self, request):
        if self.peer is None:
            import numpy

            return {"versions": {"numpy": numpy.__version__}}
        return {"versions": self.peer.versions()}

    def data(self, request):
        import data
        import rows

        return {"operands": data.write(rows.by_id([request["row"]])[0], request["folder"])}

    def check(self, request):
        import data
        import numpy

        return {"distance": data.distance(request["folder"], numpy.load(request["result"]))}

    def prepare(self, request):
        import data
        import rows

        row = rows.by_id([request["row"]])[0]
        folder, copies = request["folder"], request["copies"]
        self.prepared = []
        answers = []
        for form, note in self.peer.forms(row):
            try:
                runs = [
                    self.peer.prepare(row, form, lambda name: data.read(folder, name), self.threads)
                    for _ in range(copies)
                ]
                distance = data.distance(folder, runs[0]())
                for run in runs[1:]:
                    run()
            except Refused as refused:
                answers.append({"name": form, "refused": str(refused)})
                continue
            except Exception as error:  # What a peer raises is its own affair.
                traceback.print_exc()
                answers.append({"name": form, "refused": f"{type(error).__name__}: {error}"[:300]})
                continue
            answers.append({"name": form, "note": note, "distance": distance, "index": len(self.prepared)})
            self.prepared.append(runs)
        return {"forms": answers}

    def sample(self, request):
        runs = self.prepared[request["form"]]
        least, times = request["seconds"], []
        runs[-1]()  # Brings back what others took from caches.
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        start = end = time.perf_counter()
        while end - start < least or len(times) < 3:
            run = runs[len(times) % len(runs)]
            one = time.perf_counter()
            run()
            end = time.perf_counter()
            times.append(end - one)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        return {
            "seconds": sorted(times)[len(times) // 2],
            "runs": len(times),
            "interrupted": after != before,
        }

    def serve(self, answers):
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = getattr(self, request["op"])(request)
            except Exception as error:
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


def main():
    # What libraries print must not come between answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.modules["worker"] = sys.modules[__name__]
    try:
        worker = Worker(sys.argv[1])
    except Exception as error:
        answers.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
        answers.flush()
        return
    worker.serve(answers)


if __name__ == "__main__":
    main()
