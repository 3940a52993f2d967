"""How lit runs the textual tests.

A test calls quern, quern-opt and tile-opt of this build, and FileCheck, not and
split-file of LLVM, by their plain names; `%layers` is the folder of example
layers, and `%wrong COMMAND` succeeds where the command exits with 2, for wrong
input (`%mismatch` with 1, `%interrupted` with 130). Features for REQUIRES: one
for each tool that is built (`quern`, `quern-opt`, `tile-opt`), and `nvrtc`
where the library loads.
"""

import ctypes
import os
import shutil
import sys

import lit.formats

config.name = "quern"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".qn", ".test"]
config.excludes = ["Inputs"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = config.quern_exec_root
inputs = os.path.join(config.test_source_root, "Inputs")
config.substitutions.append(("%wrong", f"{sys.executable} {inputs}/exits.py 2"))
config.substitutions.append(("%mismatch", f"{sys.executable} {inputs}/exits.py 1"))
config.substitutions.append(("%interrupted", f"{sys.executable} {inputs}/exits.py 130"))
config.substitutions.append(("%python", sys.executable))
config.substitutions.append(("%inputs", inputs))
config.substitutions.append(("%layers", os.path.join(config.test_source_root, "..", "..", "examples")))

# Our own tools come first: a test never runs an installed Quern by accident.
search_path = os.pathsep.join([config.quern_bin_dir, config.llvm_tools_dir, os.environ.get("PATH", "")])
config.environment["PATH"] = search_path
for tool in ("FileCheck", "not", "split-file"):
    if not shutil.which(tool, path=search_path):
        lit_config.fatal(f"{tool} is missing; it comes with LLVM's tools")
for tool in ("quern", "quern-opt", "tile-opt", "cpu_sweep_bench"):
    if os.path.exists(os.path.join(config.quern_bin_dir, tool)):
        config.available_features.add(tool)

# Variables that steer the tools pass through; the user's cache of compiled
# layers does not.
for variable in ("QUERN_NVRTC", "LD_LIBRARY_PATH", "ASAN_OPTIONS"):
    if variable in os.environ:
        config.environment[variable] = os.environ[variable]
config.environment["QUERN_CACHE"] = os.path.join(config.test_exec_root, "cache")

try:
    ctypes.CDLL(os.environ.get("QUERN_NVRTC") or "libnvrtc.so.13")
    config.available_features.add("nvrtc")
except OSError:
    lit_config.note("no NVRTC here: tests that need it are unsupported")

browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if browser:
    config.available_features.add("browser")
    config.environment["QUERN_BROWSER"] = browser
    config.environment["HOME"] = config.test_exec_root
else:
    lit_config.note("no Chromium here: tests that look at pages are unsupported")
