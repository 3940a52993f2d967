"""Checks the shape of the source tree.

    python3 check_tree.py [ROOT]

Prints one line for each violation, `path:line: rule: message`, and exits 1 if
there is any. The rules:

  include  A file includes only what its layer may know (see LAYERS).
  name     No file or folder is called util, helper or misc: a name says what
           is inside.
  length   A source file has at most 600 lines: one idea each.
  loose    No marks of unfinished work in what is committed.
  banner   C++, CUDA and TableGen files open with the banner, which names them;
           examples, which are written to be read in the docs, need none.
  path     No path of one developer's machine.

CMake targets enforce the same layering at link time; this script also sees
includes of headers that need no linking.
"""

import os
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

MAX_LINES = 600

# What each layer may include of ours; the longest matching prefix decides.
# A folder under compiler/ must be listed: a new one says what it may know.
# Only these rows matter to dialects: one tool for each dialect parses nothing
# else, and only conversion, which translates, knows both.
_COMPILER = ["compiler", "runtime", "quern"]
_QUERN = ["dialects/quern", "dialects/types"]
_TILE = ["dialects/tile", "dialects/types"]
LAYERS = {
    "runtime/core": ["runtime/core"],
    "runtime": ["runtime", "quern"],
    "runtime/include": ["runtime/core", "quern"],  # what is shipped
    "dialects/types": ["dialects/types", "runtime/core"],
    "dialects/quern": _QUERN + ["runtime/core"],
    "dialects/tile": _TILE + ["runtime/core"],
    "kernels_templates": ["kernels_templates"],
    "compiler/diagnostics": _COMPILER,
    "compiler/frontend": _COMPILER + _QUERN,
    "compiler/reference": _COMPILER + _QUERN,
    "compiler/conversion": _COMPILER + _QUERN + _TILE,
    "compiler/emit": _COMPILER + _TILE + ["kernels_templates"],
    "compiler/lower": _COMPILER + _TILE,
    "compiler/select": _COMPILER + _TILE,
    "compiler/pipelines": _COMPILER + _QUERN + _TILE,
    "compiler/verify": _COMPILER,
    "compiler/tools": _COMPILER + _QUERN + _TILE,
    "compiler/tools/tile-opt": _COMPILER + _TILE,
}
# Folders whose subfolders must each have a row.
CLOSED = ["compiler", "dialects"]
# The first part of every include path that is ours; `quern` is the public API
# under runtime/include.
OURS = {"runtime", "dialects", "compiler", "kernels_templates", "tests",
        "benchmarks", "examples", "quern"}

CODE = {".h", ".cpp", ".c", ".td", ".cuh", ".cu", ".inc"}
BANNERED = CODE - {".c"}
COUNTED = CODE | {".py", ".cmake", ".sh", ".mlir", ".qn"}
TEXT = COUNTED | {".md", ".txt", ".json", ".in", ".toml", ".yml", ".yaml", ""}

INCLUDE = re.compile(r'^\s*#?\s*include\s*([<"])([^>"]+)[>"]')
LOOSE = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w./*-])/(home|root|work|Users|mnt)/[\w.-]")
NAME_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
VAGUE = {"util", "utils", "utility", "utilities", "helper", "helpers", "misc"}
LICENSE_LINE = "// Part of Quern, under the Apache License v2.0. See LICENSE."


def is_under(path, folder):
    return path == folder or path.startswith(folder + "/")


def layer_of(path):
    """The longest row of LAYERS that `path` lies in, or None."""
    rows = [row for row in LAYERS if is_under(path, row)]
    return max(rows, key=len, default=None)


def resolve_include(root, path, quote, target):
    """The path of an include inside the tree, or None if it is not ours."""
    if quote == '"':
        beside = os.path.normpath(str(PurePosixPath(path).parent / target))
        if not beside.startswith("..") and (root / beside).is_file():
            return beside
    # Device headers are given to NVRTC under their names below this folder.
    device = "kernels_templates/cuda"
    if is_under(path, device) and (root / device / target).is_file():
        return f"{device}/{target}"
    first = target.split("/")[0]
    if first in OURS and ("/" in target):
        return target
    return None


def check_includes(root, path, lines):
    top = path.split("/")[0]
    layer = layer_of(path)
    if layer is None:
        if top in CLOSED and path.count("/") > 1:
            yield 1, "include", f"{'/'.join(path.split('/')[:2])} is no known layer; add its row to LAYERS in tests/lint/check_tree.py"
        return
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = resolve_include(root, path, *match.groups())
        if target is None:
            if layer == "kernels_templates" and is_under(path, "kernels_templates/cuda"):
                yield number, "include", f"device headers stand alone: {match.group(2)} is not one of kernels_templates"
            continue
        if target.startswith("runtime/include/"):
            target = target[len("runtime/include/"):]
        if not any(is_under(target, allowed) for allowed in LAYERS[layer]):
            yield number, "include", f"{layer} may not know {target}; it may include {', '.join(LAYERS[layer])}"


def check_name(path):
    for part in PurePosixPath(path).parts:
        words = {word.lower() for word in NAME_PART.findall(part)}
        vague = words & VAGUE
        if vague:
            yield 1, "name", f"'{part}' says nothing about what is inside ({', '.join(sorted(vague))})"


def check_banner(path, lines):
    name = PurePosixPath(path).name
    first = lines[0] if lines else ""
    if not first.startswith(f"//===- {name} ") or not first.endswith("//"):
        # The formatter breaks a long line in two, and no editor reads its mode then.
        yield 1, "banner", f"the first line is not '//===- {name} - ... ===//'"
    elif LICENSE_LINE not in [line.rstrip() for line in lines[:6]]:
        yield 2, "banner", f"'{LICENSE_LINE}' is missing under the first line"


def check_file(root, path):
    """Yields (line, rule, message) for one file, given relative to the root."""
    yield from check_name(path)
    suffix = PurePosixPath(path).suffix
    if suffix not in TEXT or not (root / path).is_file():
        return
    try:
        lines = (root / path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return  # a binary file
    if suffix in COUNTED and len(lines) > MAX_LINES:
        yield MAX_LINES + 1, "length", f"{len(lines)} lines; at most {MAX_LINES}, so split it by idea"
    if suffix in BANNERED and not is_under(path, "examples"):
        yield from check_banner(path, lines)
    if suffix in CODE:
        yield from check_includes(root, path, lines)
    for number, line in enumerate(lines, 1):
        if match := LOOSE.search(line):
            yield number, "loose", f"{match.group(0)}: finish it, or refuse the case with a clear error"
        if match := MACHINE_PATH.search(line):
            yield number, "path", f"{match.group(0)}...: a path of one machine"


def list_files(root):
    """Every file that is or could be committed, relative to the root."""
    if (root / ".git").exists():
        listed = subprocess.run(
            ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z",
             "--cached", "--others", "--exclude-standard"],
            capture_output=True, text=True, check=False)
        if listed.returncode == 0:
            return sorted(set(listed.stdout.split("\0")) - {""})
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if f not in {"build", ".cache", ".git", "__pycache__"}]
        found += [str(PurePosixPath(folder, f).relative_to(root)) for f in files]
    return sorted(found)


def check_tree(root):
    """All violations as (path, line, rule, message)."""
    root = Path(root).resolve()
    return [(path, *violation) for path in list_files(root) for violation in check_file(root, path)]


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else "."
    violations = check_tree(root)
    for path, line, rule, message in violations:
        print(f"{path}:{line}: {rule}: {message}")
    print(f"{len(violations)} violations" if violations else "the tree is in shape")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
