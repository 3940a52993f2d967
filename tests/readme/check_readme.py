"""Holds README.md to what it says.

    check_readme.py ROOT QUERN

Its layer and its program are the files they claim to be (which are built and
run by tests of their own), and every `quern` command it shows exits with 0.
Commands for the simulator are skipped where NVRTC is missing.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path


def main():
    root, quern = Path(sys.argv[1]), sys.argv[2]
    readme = (root / "README.md").read_text()
    failures = 0

    def block(language):
        return re.findall(rf"^```{language}\n(.*?)^```", readme, re.M | re.S)

    for language, path in (("qn", "examples/hello/hello.qn"), ("cpp", "examples/hello/hello.cpp")):
        if block(language) != [(root / path).read_text()]:
            print(f"README.md: the ```{language} block is not {path}")
            failures += 1

    commands = [line for text in block("sh") for line in text.splitlines() if line.startswith("quern ")]
    if len(commands) < 3:
        print(f"README.md: found {len(commands)} commands, expected at least 3")
        failures += 1
    for command in commands:
        done = subprocess.run([quern, *shlex.split(command)[1:]], cwd=root, text=True, capture_output=True)
        if done.returncode == 2 and "NVRTC was not found" in done.stderr:
            print(f"skipped, no NVRTC: {command}")
        elif done.returncode != 0:
            print(f"exit code {done.returncode}: {command}\n{done.stderr}")
            failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
