"""explain_docs.py DOCUMENT LAYER: whether the document says what `explain --json` prints.

Its example must be part of the real output, and every key of the output must stand
in the document in `quotes`. Keys of counters are those of docs/simulator.md.
"""

import json
import re
import shlex
import subprocess
import sys


def run(*arguments):
    return json.loads(subprocess.run(["quern", *arguments], capture_output=True, text=True, check=True).stdout)


def differ(said, real, where):
    if isinstance(said, dict):
        for key, value in said.items():
            if key not in real:
                sys.exit(f"{where}: there is no {key}")
            differ(value, real[key], f"{where}.{key}")
    elif isinstance(said, list):
        if len(said) > len(real):
            sys.exit(f"{where}: {len(real)} entries, not {len(said)}")
        for number, (one, other) in enumerate(zip(said, real)):
            differ(one, other, f"{where}[{number}]")
    elif said != real:
        sys.exit(f"{where}: {real!r}, not {said!r}")


def keys(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            if key != "counters":
                yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


document, layer = sys.argv[1:]
text = open(document, encoding="utf-8").read()
found = re.search(r"<!-- The example is checked: quern (.*?) -->\n```json\n(.*?)```", text, re.S)
command = [layer if word.endswith(".qn") else word for word in shlex.split(found.group(1))]
real = run(*command)
differ(json.loads(found.group(2)), real, "the example")
quoted = set(re.findall(r"`([^`]+)`", text))
missing = {key for key in keys(real)} - quoted
if missing:
    sys.exit(f"{document} does not say what these are: {', '.join(sorted(missing))}")
