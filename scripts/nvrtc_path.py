"""Prints the path of the libnvrtc that PyPI's nvidia-cuda-nvrtc installed."""

import importlib.metadata
import pathlib
import sys

for file in importlib.metadata.files("nvidia-cuda-nvrtc"):
    if file.name.startswith("libnvrtc.so."):
        print(pathlib.Path(file.locate()).resolve())
        sys.exit(0)
sys.exit("nvrtc_path: the package holds no libnvrtc.so")
