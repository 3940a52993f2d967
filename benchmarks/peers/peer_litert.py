"""XNNPACK, through the CPU delegate of LiteRT (TensorFlow Lite).

A model of one FULLY_CONNECTED operator with f32 activations and int8 weights
per channel: the delegate quantizes activations per token on the way (its qd8
kernels).
"""

import importlib.metadata

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter


def versions():
    return {"ai-edge-litert (XNNPACK)": importlib.metadata.version("ai-edge-litert")}


def forms(row):
    if row.kind == "int8":
        return [("FULLY_CONNECTED", "qd8 kernels: activations per token, with zero points")]
    return []


def model(row, codes, scales):
    def tensor(name, shape, dtype, buffer=0, quantization=None):
        made = schema.TensorT()
        made.name, made.shape, made.type = name, np.array(shape, np.int32), dtype
        made.buffer, made.quantization = buffer, quantization
        return made

    weights = schema.BufferT()
    weights.data = np.frombuffer(np.ascontiguousarray(codes).tobytes(), np.uint8)
    nothing = schema.BufferT()
    nothing.data = []
    quantization = schema.QuantizationParametersT()
    quantization.scale = scales.ravel()
    quantization.zeroPoint = np.zeros(row.N, np.int64)
    quantization.quantizedDimension = 0
    options = schema.FullyConnectedOptionsT()
    options.asymmetricQuantizeInputs = False
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 12
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 1, -1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = options
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("x", (row.M, row.K), schema.TensorType.FLOAT32),
        tensor("w", (row.N, row.K), schema.TensorType.INT8, 1, quantization),
        tensor("y", (row.M, row.N), schema.TensorType.FLOAT32),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [operator]
    whole = schema.ModelT()
    whole.version = 3
    whole.operatorCodes, whole.buffers, whole.subgraphs = [code], [nothing, weights], [graph]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def prepare(row, form, operand, threads):
    from worker import Refused

    interpreter = Interpreter(
        model_content=model(row, operand("w.codes"), operand("w.scales")), num_threads=threads
    )
    interpreter.allocate_tensors()
    if "DELEGATE" not in [op["op_name"] for op in interpreter._get_ops_details()]:
        raise Refused("XNNPACK did not take the operator")
    interpreter.set_tensor(0, operand("x"))
    result = interpreter.tensor(2)

    def run():
        interpreter.invoke()
        return result()

    return run
