"""What is measured: the rows of the table, as data.

A row is one piece of work that Quern and the peers do from the same operands:
activations in, activations out, whatever is quantized on the way included. A
peer that has no form for a row's scheme says so; a row whose layer Quern does
not compile is reported as such. To add a row, add a `Row`; a new scheme is a
new `kind`, which data.py draws operands for and peers take up one by one.

Sizes are those of y[M, N] = x[M, K] @ w[N, K].T; the MLP's are hidden size K
and inner size N.
"""

import dataclasses

INT8 = """layer linear(x: f32[M, {K}], weight w: i8[{N}, {K}] * f32[{N}, 1]) -> f32[M, {N}] {{
  xq = quantize(x, i8 per token)
  return xq @ w.T
}}
"""

INT4 = """layer linear(x: f32[M, {K}], weight w: i4[{N}, {K}] * f16[{N}, {K}/{group}]) -> f32[M, {N}] {{
  xq = quantize(x, i8 per token)
  return xq @ w.T
}}
"""

BF16 = """layer linear(x: bf16[M, {K}], weight w: bf16[{N}, {K}]) -> f32[M, {N}] {{
  return x @ w.T
}}
"""

MLP = """layer mlp(x: f32[M, {K}],
          weight gate: i8[{N}, {K}] * f32[{N}, 1],
          weight up:   i8[{N}, {K}] * f32[{N}, 1],
          weight down: i8[{K}, {N}] * f32[{K}, 1]) -> f32[M, {K}] {{
  xq = quantize(x, i8 per token)
  h  = silu(xq @ gate.T) * (xq @ up.T)
  hq = quantize(h, i8 per token)
  return hq @ down.T
}}
"""


@dataclasses.dataclass(frozen=True)
class Row:
    id: str
    kind: str  # int8, int4, bf16 or mlp
    M: int
    N: int
    K: int
    threads: int = 1
    group: int = 0  # int4: elements of K that share a scale
    # Weights from memory: so many sets take turns that no cache holds them.
    cold: bool = False

    @property
    def title(self):
        scheme = {
            "int8": "int8 per-token dynamic x per-channel",
            "int4": f"int8 per-token dynamic x int4 in groups of {self.group}",
            "bf16": "bf16",
            "mlp": "SwiGLU MLP, int8 per-token dynamic x per-channel",
        }[self.kind]
        sizes = f"{self.M}, {self.N}, {self.K}"
        where = "; weights from memory" if self.cold else ""
        return f"{scheme}; {sizes}; {self.threads} thread{'s' * (self.threads > 1)}{where}"

    @property
    def layer(self):
        text = {"int8": INT8, "int4": INT4, "bf16": BF16, "mlp": MLP}[self.kind]
        return text.format(N=self.N, K=self.K, group=self.group)

    @property
    def operations(self):
        """Of products: a multiplication and an addition each."""
        return (3 if self.kind == "mlp" else 1) * 2 * self.M * self.N * self.K

    @property
    def weight_bytes(self):
        """As the scheme stores them, scales included."""
        elements = self.N * self.K
        return {
            "int8": elements + 4 * self.N,
            "int4": elements // 2 + 2 * elements // max(self.group, 1),
            "bf16": 2 * elements,
            "mlp": 3 * elements + 4 * (2 * self.N + self.K),
        }[self.kind]

    @property
    def instructions(self):
        """What its peak is one of: the first that the machine has."""
        if self.kind == "bf16":
            return ["vdpbf16ps zmm", "f32 fma zmm", "f32 fma ymm", "mulps + addps xmm"]
        if self.kind == "int4":
            return ["vpdpbusd zmm", "pmaddubsw + paddw ymm", "pmaddwd + paddd xmm"]
        return ["vpdpbusd zmm", "pmaddwd + paddd ymm", "pmaddwd + paddd xmm"]

    @property
    def is_read(self):
        """Judged by the bytes of weights per second, not by operations."""
        return self.M == 1

    def copies(self, l3):
        """Sets of weights that take turns."""
        if not self.cold:
            return 1
        return min(16, -(-4 * l3 // self.weight_bytes) + 1)

    # The largest distance from the product of the operands as they are (in the
    # Frobenius norm, relative) that is the quantization's and no mistake.
    @property
    def tolerance(self):
        return {"int8": 0.03, "int4": 0.03, "bf16": 0.01, "mlp": 0.08}[self.kind]


ROWS = [
    Row("int8-4096", "int8", 128, 4096, 4096),
    Row("int8-wide", "int8", 128, 11008, 4096),
    Row("int8-deep", "int8", 128, 4096, 11008),
    Row("int8-4096-t2", "int8", 128, 4096, 4096, threads=2),
    Row("int8-odd", "int8", 7, 333, 1000),
    Row("int4-g128", "int4", 128, 4096, 4096, group=128),
    Row("int4-g32", "int4", 128, 4096, 4096, group=32),
    Row("int4-g128-m1", "int4", 1, 4096, 4096, group=128),
    Row("int4-g128-m1-cold", "int4", 1, 11008, 4096, group=128, cold=True),
    Row("int8-m1-cold", "int8", 1, 11008, 4096, cold=True),
    Row("bf16-4096", "bf16", 128, 4096, 4096),
    Row("mlp", "mlp", 128, 11008, 4096),
]


def by_id(ids):
    """The rows of these ids, in the table's order; KeyError for others."""
    known = {row.id: row for row in ROWS}
    for wanted in ids:
        if wanted not in known:
            raise KeyError(wanted)
    return [row for row in ROWS if not ids or row.id in ids]
