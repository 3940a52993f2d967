"""Holds README.md and docs/simulator.md to what they say.

    check_readme.py ROOT QUERN

The README's layer and program are the files they claim to be (which are built
and run by tests of their own), and every `quern` command it shows exits with 0.
In docs/simulator.md each command ends without wrong input, and the reports it
shows, up to the kind of fault, are among those of the command before them.
Commands that compile for CUDA are skipped where NVRTC is missing.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path


def run(quern, command, root):
    """The command's output and exit code; None where NVRTC is missing."""
    done = subprocess.run([quern, *shlex.split(command)[1:]], cwd=root, text=True, capture_output=True)
    if done.returncode == 2 and "NVRTC was not found" in done.stderr:
        print(f"skipped, no NVRTC: {command}")
        return None
    return done


def check_readme(root, quern):
    readme = (root / "README.md").read_text()

    def block(language):
        return re.findall(rf"^```{language}\n(.*?)^```", readme, re.M | re.S)

    for language, path in (("qn", "examples/hello/hello.qn"), ("cpp", "examples/hello/hello.cpp")):
        if block(language) != [(root / path).read_text()]:
            yield f"README.md: the ```{language} block is not {path}"
    commands = [line for text in block("sh") for line in text.splitlines() if line.startswith("quern ")]
    if len(commands) < 3:
        yield f"README.md: found {len(commands)} commands, expected at least 3"
    for command in commands:
        done = run(quern, command, root)
        if done and done.returncode != 0:
            yield f"exit code {done.returncode}: {command}\n{done.stderr}"


def check_simulator(root, quern):
    text = (root / "docs/simulator.md").read_text()
    kernel = root / "examples/simulator/reverse.cu"
    if kernel.read_text() not in text:
        yield f"docs/simulator.md does not show {kernel}"
    done, commands, reports = None, 0, 0
    for language, body in re.findall(r"^```(\w+)\n(.*?)^```", text, re.M | re.S):
        if language == "sh":
            for command in body.splitlines():
                commands += 1
                done = run(quern, command, root)
                if done and done.returncode == 2:
                    yield f"wrong input: {command}\n{done.stderr}"
        for line in body.splitlines() if language == "text" else []:
            shown = re.match(r"\S+: error: kernel \w+: [\w ]+:", line)
            reports += shown is not None
            if shown and done and shown.group(0) not in done.stdout:
                yield f"docs/simulator.md shows what is not reported: {shown.group(0)}"
    if commands < 4 or reports < 3:
        yield f"docs/simulator.md: {commands} commands and {reports} reports"


def main():
    root, quern = Path(sys.argv[1]), sys.argv[2]
    failures = [*check_readme(root, quern), *check_simulator(root, quern)]
    print("\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
