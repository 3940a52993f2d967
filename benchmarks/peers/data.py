"""Operands of a row as .npy files, and the distance of results from them.

Drawn from a fixed seed: activations N(0, 1), codes over all their values,
scales within a factor of three. The reference is the product in f64 of what the
operands mean, with activations as they are: peers quantize them in different
ways, and each must come near it.
"""

import pathlib

import numpy as np


def bf16(values):
    """The nearest bf16 values, as f32."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    bits = bits + 0x7FFF + ((bits >> 16) & 1)
    return (bits & 0xFFFF0000).view(np.float32)


def scales(random, shape, dtype=np.float32):
    return ((random.random(shape, dtype=np.float32) + 0.5) / 1000).astype(dtype)


def write(row, folder):
    """Writes the operands, named as in the row's layer, and the reference."""
    random = np.random.default_rng(2026)
    folder = pathlib.Path(folder)
    M, N, K = row.M, row.N, row.K
    x = random.standard_normal((M, K), dtype=np.float32)
    operands = {}

    def int8(name, rows, columns):
        codes = random.integers(-127, 128, (rows, columns), dtype=np.int8)
        # So that results are about as large as activations.
        scale = scales(random, (rows, 1)) * np.float32((16 / columns) ** 0.5)
        operands[f"{name}.codes"], operands[f"{name}.scales"] = codes, scale
        return codes * scale.astype(np.float64)

    if row.kind == "int8":
        y = x.astype(np.float64) @ int8("w", N, K).T
    elif row.kind == "int4":
        codes = random.integers(-8, 8, (N, K), dtype=np.int8)
        scale = scales(random, (N, K // row.group), np.float16)
        operands["w.codes"], operands["w.scales"] = codes, scale
        y = x.astype(np.float64) @ (codes * np.repeat(scale.astype(np.float64), row.group, 1)).T
    elif row.kind == "bf16":
        x = bf16(x)
        operands["w"] = bf16(random.standard_normal((N, K), dtype=np.float32) / K**0.5)
        y = x.astype(np.float64) @ operands["w"].astype(np.float64).T
    elif row.kind == "mlp":
        gate = x.astype(np.float64) @ int8("gate", N, K).T
        up = x.astype(np.float64) @ int8("up", N, K).T
        y = (gate / (1 + np.exp(-gate)) * up) @ int8("down", K, N).T
    else:
        raise ValueError(f"no operands are known for rows of kind {row.kind}")
    operands["x"] = x
    files = {}
    for name, array in operands.items():
        files[name] = str(folder / f"{name}.npy")
        np.save(files[name], array)
    np.save(folder / "reference.npy", y)
    return files


def read(folder, name):
    return np.load(pathlib.Path(folder) / f"{name}.npy")


def distance(folder, result):
    """||result - reference|| / ||reference||, in the Frobenius norm."""
    reference = read(folder, "reference")
    result = np.asarray(result, np.float64).reshape(reference.shape)
    return float(np.linalg.norm(result - reference) / np.linalg.norm(reference))
