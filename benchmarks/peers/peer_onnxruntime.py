"""ONNX Runtime: its own x86 kernels (MLAS), models made with onnx.

The session's outputs are written into memory of ours (I/O binding), so that no
allocation is timed.
"""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
DYNAMIC = "DynamicQuantizeMatMul"
NBITS = "MatMulNBits"


def versions():
    return {"onnxruntime": onnxruntime.__version__}


def forms(row):
    if row.kind == "int8":
        return [(DYNAMIC, "activations u8 per tensor"), (NBITS + " 8", "groups of 128; accuracy level 4 (int8)")]
    if row.kind == "int4":
        return [(NBITS, "accuracy level 4 (int8)")]
    if row.kind == "mlp":
        return [(DYNAMIC, "three products; activations u8 per tensor")]
    return []


def session(nodes, constants, row, columns, threads):
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [row.M, row.K])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [row.M, columns])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)],
        ir_version=10,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Its threads sleep between runs: while others are timed they must not spin.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def linear(x, w, y, operand):
    """DynamicQuantizeMatMul of an int8 weight, and its constants."""
    codes = operand(f"{w}.codes")
    constants = {
        f"{w}_codes": codes.T,
        f"{w}_scales": operand(f"{w}.scales").ravel(),
        f"{w}_zeros": np.zeros(codes.shape[0], np.int8),
    }
    return helper.make_node(DYNAMIC, [x, *constants], [y], domain=MICROSOFT), constants


def nbits(row, bits, group, codes, scales):
    """Unsigned codes, 8 or 128 standing for 0, low halves of bytes first."""
    codes = (codes.astype(np.int16) + (1 << (bits - 1))).astype(np.uint8)
    if bits == 4:
        codes = codes[:, 0::2] | codes[:, 1::2] << 4
    constants = {
        "codes": codes.reshape(row.N, row.K // group, group * bits // 8),
        "scales": scales.astype(np.float32),
    }
    node = helper.make_node(
        NBITS,
        ["x", *constants],
        ["y"],
        domain=MICROSOFT,
        K=row.K,
        N=row.N,
        bits=bits,
        block_size=group,
        accuracy_level=4,
    )
    return node, constants


def prepare(row, form, operand, threads):
    columns = row.N
    if row.kind == "mlp":
        columns = row.K
        nodes, constants = [], {}
        for x, w, y in (("x", "gate", "g"), ("x", "up", "u"), ("h", "down", "y")):
            if w == "down":
                nodes += [
                    helper.make_node("Sigmoid", ["g"], ["s"]),
                    helper.make_node("Mul", ["g", "s"], ["gs"]),
                    helper.make_node("Mul", ["gs", "u"], ["h"]),
                ]
            node, more = linear(x, w, y, operand)
            nodes.append(node)
            constants.update(more)
    elif form == DYNAMIC:
        node, constants = linear("x", "w", "y", operand)
        nodes = [node]
    elif row.kind == "int8":
        if row.K % 128:
            from worker import Refused

            raise Refused(f"{NBITS} takes whole groups here, and {row.K} is no multiple of 128")
        scales = np.repeat(operand("w.scales"), row.K // 128, 1)
        node, constants = nbits(row, 8, 128, operand("w.codes"), scales)
        nodes = [node]
    else:
        node, constants = nbits(row, 4, row.group, operand("w.codes"), operand("w.scales"))
        nodes = [node]
    made = session(nodes, constants, row, columns, threads)
    x = np.ascontiguousarray(operand("x"))
    y = np.empty((row.M, columns), np.float32)
    binding = made.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)

    def run():
        made.run_with_iobinding(binding)
        return y

    run.keeps = x
    return run
