"""Proves that check_tree catches each kind of violation, and nothing else."""

import tempfile
import unittest
from pathlib import Path

import check_tree


def banner(path):
    name = path.split("/")[-1]
    return (f"//===- {name} - A part of the test tree -----===//\n//\n"
            "// Part of Quern, under the Apache License v2.0. See LICENSE.\n")


class CheckTreeTest(unittest.TestCase):
    def rules(self, files):
        """(path, line, rule) of every violation in a tree of these files."""
        with tempfile.TemporaryDirectory() as folder:
            for path, text in files.items():
                file = Path(folder, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            return [found[:3] for found in check_tree.check_tree(folder)]

    def include(self, path, *targets):
        """The rules that a file including these breaks."""
        text = banner(path) + "".join(f'#include "{target}"\n' for target in targets)
        return self.rules({path: text})

    def test_clean_tree_passes(self):
        self.assertEqual([], self.rules({
            "runtime/core/A.h": banner("A.h") + "#include <vector>\n",
            "runtime/module/M.cpp": banner("M.cpp") + '#include "runtime/core/A.h"\n',
            "compiler/conversion/C.cpp": banner("C.cpp") +
            '#include "dialects/quern/IR/Quern.h"\n#include "dialects/tile/IR/Tile.h"\n',
            "kernels_templates/cuda/gemm/g.cuh": banner("g.cuh") + '#include "../common/c.cuh"\n',
            "kernels_templates/cuda/common/c.cuh": banner("c.cuh"),
            "README.md": "A relative build/home/x, and /usr/lib/llvm-22 are fine.\n",
        }))

    def test_layers(self):
        forbidden = [
            ("runtime/core/A.h", "runtime/module/Module.h"),
            ("runtime/module/A.cpp", "compiler/pipelines/Pipelines.h"),
            ("runtime/jit/A.cpp", "dialects/quern/IR/Quern.h"),
            ("runtime/include/quern/A.h", "runtime/module/Module.h"),
            ("dialects/quern/IR/A.h", "dialects/tile/IR/Tile.h"),
            ("dialects/tile/IR/A.h", "dialects/quern/IR/Quern.h"),
            ("dialects/tile/IR/A.td", "compiler/emit/cuda/Model.h"),
            ("compiler/frontend/A.cpp", "dialects/tile/IR/Tile.h"),
            ("compiler/reference/A.cpp", "dialects/tile/IR/Tile.h"),
            ("compiler/emit/cuda/A.cpp", "dialects/quern/IR/Quern.h"),
            ("compiler/lower/cpu/A.cpp", "dialects/quern/IR/Quern.h"),
            ("compiler/tools/tile-opt/A.cpp", "dialects/quern/IR/Quern.h"),
            ("kernels_templates/cuda/common/a.cuh", "runtime/core/DType.h"),
            ("kernels_templates/cuda/common/a.cuh", "cuda_fp16.h"),
        ]
        for path, target in forbidden:
            with self.subTest(path=path, target=target):
                self.assertEqual([(path, 4, "include")], self.include(path, target))
        allowed = [
            ("dialects/quern/IR/A.h", "runtime/core/DType.h"),
            ("compiler/emit/cuda/A.cpp", "dialects/tile/IR/Tile.h"),
            ("compiler/tools/quern-opt/A.cpp", "dialects/quern/IR/Quern.h"),
            ("runtime/jit/A.cpp", "quern/Layer.h"),
        ]
        for path, target in allowed:
            with self.subTest(path=path, target=target):
                self.assertEqual([], self.include(path, target))

    def test_tablegen_include_counts(self):
        path = "dialects/tile/IR/A.td"
        text = banner(path) + 'include "dialects/quern/IR/QuernOps.td"\n'
        self.assertEqual([(path, 4, "include")], self.rules({path: text}))

    def test_relative_include_is_resolved(self):
        files = {
            "runtime/core/A.h": banner("A.h") + '#include "../module/M.h"\n',
            "runtime/module/M.h": banner("M.h"),
        }
        self.assertEqual([("runtime/core/A.h", 4, "include")], self.rules(files))

    def test_unknown_layer(self):
        path = "compiler/backend/A.cpp"
        self.assertEqual([(path, 1, "include")], self.rules({path: banner(path)}))

    def test_vague_names(self):
        for path in ("runtime/core/StringUtils.md", "tests/helper/notes.md", "docs/my-misc-notes.md"):
            with self.subTest(path=path):
                self.assertEqual([(path, 1, "name")], self.rules({path: "x\n"}))
        self.assertEqual([], self.rules({"docs/utilization.md": "x\n"}))

    def test_length(self):
        path = "examples/long.py"
        self.assertEqual([], self.rules({path: "x\n" * 600}))
        self.assertEqual([(path, 601, "length")], self.rules({path: "x\n" * 601}))

    def test_loose_ends(self):
        for word in ("TO" + "DO", "FIX" + "ME"):
            self.assertEqual([("docs/a.md", 2, "loose")], self.rules({"docs/a.md": f"x\n{word}: y\n"}))

    def test_banner(self):
        path = "runtime/core/A.h"
        self.assertEqual([(path, 1, "banner")], self.rules({path: "int a;\n"}))
        self.assertEqual([], self.rules({"examples/a.cpp": "int a;\n"}))
        self.assertEqual([(path, 1, "banner")], self.rules({path: banner("B.h")}))
        self.assertEqual([(path, 2, "banner")], self.rules({path: banner(path).split("\n")[0] + "\n"}))
        first, rest = banner(path).split("\n", 1)
        broken = first.replace("===//", "*- C++\n//-*-===//")
        self.assertEqual([(path, 1, "banner")], self.rules({path: f"{broken}\n{rest}"}))

    def test_machine_path(self):
        for folder in ("home/me", "root", "work"):
            text = f"see /{folder}/file\n"
            self.assertEqual([("docs/a.md", 1, "path")], self.rules({"docs/a.md": text}))


if __name__ == "__main__":
    unittest.main()
