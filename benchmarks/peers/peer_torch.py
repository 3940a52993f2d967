"""PyTorch on the CPU: oneDNN, FBGEMM, and its own int8 product.

None of its forms quantizes per token in one call: the quantized linear layers
take one scale for all activations, and the product of int8 matrices is fed and
scaled by separate operations, as torchao does it.
"""

import warnings

import torch

warnings.filterwarnings("ignore")

PER_TENSOR = "one scale for all activations"


def versions():
    # "oneDNN", as the library's own name has been for years.
    lines = [line for line in torch.__config__.show().splitlines() if "DNN v" in line]
    return {"torch": torch.__version__, "oneDNN in it": lines[0].split(" v")[1].split(" ")[0] if lines else "?"}


def forms(row):
    if row.kind == "int8":
        return [
            ("oneDNN linear_dynamic", PER_TENSOR),
            ("FBGEMM linear_dynamic", PER_TENSOR),
            ("_int_mm", "abs, amax, round, clamp, product and scales as calls of their own"),
        ]
    if row.kind == "bf16":
        return [("linear", "result in bf16"), ("linear, packed", "oneDNN's own weight layout; result in bf16")]
    if row.kind == "mlp":
        return [
            ("oneDNN linear_dynamic", "three products, silu, multiplication; " + PER_TENSOR),
            ("FBGEMM linear_dynamic", "three products, silu, multiplication; " + PER_TENSOR),
        ]
    return []


def packed(name, operand, engine):
    torch.backends.quantized.engine = engine
    scales = torch.from_numpy(operand(f"{name}.scales")).ravel().double()
    weight = torch._make_per_channel_quantized_tensor(
        torch.from_numpy(operand(f"{name}.codes")), scales, torch.zeros(len(scales), dtype=torch.int64), 0
    )
    return torch.ops.quantized.linear_prepack(weight, None)


def prepare(row, form, operand, threads):
    torch.set_num_threads(threads)
    x = torch.from_numpy(operand("x"))
    if form == "_int_mm":
        weight = torch.from_numpy(operand("w.codes")).t().contiguous()
        scales = torch.from_numpy(operand("w.scales")).ravel()

        def work():
            scale = x.abs().amax(1, keepdim=True) / 127
            codes = torch.clamp(torch.round(x / scale), -127, 127).to(torch.int8)
            return torch._int_mm(codes, weight).float() * scale * scales

    elif row.kind == "bf16":
        x, weight = x.bfloat16(), torch.from_numpy(operand("w")).bfloat16()
        if form == "linear":

            def work():
                return torch.nn.functional.linear(x, weight)

        else:
            layout = torch.ops.mkldnn._reorder_linear_weight(weight, row.M)

            def work():
                return torch.ops.mkldnn._linear_pointwise(x, layout, None, "none", [], "")

    else:
        engine = "onednn" if form.startswith("oneDNN") else "fbgemm"
        linear = torch.ops.quantized.linear_dynamic
        if row.kind == "mlp":
            gate, up, down = (packed(name, operand, engine) for name in ("gate", "up", "down"))

            def work():
                h = torch.nn.functional.silu(linear(x, gate)) * linear(x, up)
                return linear(h, down)

        else:
            weight = packed("w", operand, engine)

            def work():
                return linear(x, weight)

    def run():
        with torch.inference_mode():
            return Result(work())

    return run


class Result:
    """What a run made; becomes an array only where one is wanted."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __array__(self, dtype=None, copy=None):
        array = self.tensor.float().numpy()
        return array if dtype is None else array.astype(dtype)
