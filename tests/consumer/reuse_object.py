"""A compiler launcher that takes over objects which exist already.

    reuse_object.py THEIRS OURS [LAUNCHER] COMPILER ARGUMENT...

OURS is a build folder inside which the project of the build folder THEIRS is
built once more. Where THEIRS has made an object with the same command, but for
the two folders' names, from files that have not changed since, the object is
copied instead of made: it would be the same. Anything else is compiled.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys


def normalised(arguments, compiler):
    """From the compiler on, without what only asks for a list of headers."""
    arguments = arguments[arguments.index(compiler):]
    kept = []
    skip = False
    for argument in arguments:
        if skip or argument == "-MD":
            skip = False
        elif argument in ("-MT", "-MF"):
            skip = True
        else:
            kept.append(argument)
    return kept


def value_of(arguments, option):
    return arguments[arguments.index(option) + 1] if option in arguments else None


def is_fresh(finished, theirs):
    """Whether an object is younger than everything it was made from."""
    try:
        if os.path.exists(finished + ".d"):  # Where make builds.
            with open(finished + ".d", encoding="utf-8") as file:
                files = file.read().replace("\\\n", " ").split(":", 1)[1].split()
        else:
            name = os.path.relpath(finished, theirs)
            told = subprocess.run(["ninja", "-C", theirs, "-t", "deps", name], check=True,
                                  capture_output=True, text=True).stdout
            files = [line.strip() for line in told.splitlines() if line.startswith("    ")]
        made = os.path.getmtime(finished)
        return bool(files) and all(os.path.getmtime(os.path.join(theirs, file)) <= made
                                   for file in files)
    except (OSError, IndexError, subprocess.CalledProcessError):
        return False


def main():
    theirs, ours = sys.argv[1:3]
    command = sys.argv[3:]
    source, target = value_of(command, "-c"), value_of(command, "-o")
    if source and target:
        prefix = os.path.relpath(ours)
        compiler = next(word for word in command if "ccache" not in os.path.basename(word))
        wanted = [theirs.join(word.split(ours)) for word in normalised(command, compiler)]
        wanted = [os.path.relpath(word, prefix) if word == target else word for word in wanted]
        with open(os.path.join(theirs, "compile_commands.json"), encoding="utf-8") as file:
            made = [entry for entry in json.load(file) if entry["file"] == source]
        for entry in made:
            arguments = shlex.split(entry["command"])
            if compiler not in arguments or normalised(arguments, compiler) != wanted:
                continue
            finished = os.path.join(entry["directory"], value_of(arguments, "-o"))
            if is_fresh(finished, theirs):
                shutil.copyfile(finished, target)
                if headers := value_of(command, "-MF"):
                    with open(headers, "w", encoding="utf-8") as file:
                        file.write(f"{target}: {source}\n")
                return 0
    return subprocess.call(command)


if __name__ == "__main__":
    sys.exit(main())
