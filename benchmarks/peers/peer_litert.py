"""XNNPACK, through the CPU delegate of LiteRT (TensorFlow Lite).

Models of FULLY_CONNECTED operators with f32 activations and int8 weights per
channel, or int4 ones in blocks with f16 scales: the delegate quantizes
activations per token on the way (its qd8 kernels). A model that it does not
take as a whole is refused: the rest would run on slower kernels.
"""

import importlib.metadata

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

Op, Type = schema.BuiltinOperator, schema.TensorType
NOTE = "qd8 kernels: activations per token, with zero points"


def versions():
    return {"ai-edge-litert (XNNPACK)": importlib.metadata.version("ai-edge-litert")}


def forms(row):
    if row.kind in ("int8", "int4"):
        return [("FULLY_CONNECTED", NOTE)]
    if row.kind == "mlp":
        return [("FULLY_CONNECTED", "three, LOGISTIC and two MUL; " + NOTE)]
    return []


class Model:
    """A graph under construction; tensors are numbers."""

    def __init__(self):
        self.tensors, self.operators, self.codes = [], [], []
        self.buffers = [self.buffer(None)]

    @staticmethod
    def buffer(array):
        made = schema.BufferT()
        made.data = [] if array is None else np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        return made

    def tensor(self, shape, kind=Type.FLOAT32, data=None, quantization=None):
        made = schema.TensorT()
        made.name = f"t{len(self.tensors)}"
        made.shape, made.type, made.quantization = np.array(shape, np.int32), kind, quantization
        made.buffer = 0
        if data is not None:
            made.buffer = len(self.buffers)
            self.buffers.append(self.buffer(data))
        self.tensors.append(made)
        return len(self.tensors) - 1

    def add(self, code, inputs, shape, kind=None, options=None, version=1):
        opcode = schema.OperatorCodeT()
        opcode.builtinCode = opcode.deprecatedBuiltinCode = code
        opcode.version = version
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.codes)
        self.codes.append(opcode)
        result = self.tensor(shape)
        operator.inputs, operator.outputs = inputs, [result]
        if options:
            operator.builtinOptionsType, operator.builtinOptions = kind, options
        self.operators.append(operator)
        return result

    def linear(self, x, rows, codes, scales):
        """x @ w.T; int8 codes per channel, or those of four bits in blocks."""
        N, K = codes.shape
        quantization = schema.QuantizationParametersT()
        if scales.shape[1] == 1:
            quantization.scale = scales.ravel()
            quantization.zeroPoint = np.zeros(N, np.int64)
            quantization.quantizedDimension = 0
            w = self.tensor((N, K), Type.INT8, codes, quantization)
        else:
            blocks = schema.BlockwiseQuantizationT()
            blocks.scales, blocks.zeroPoints = self.tensor(scales.shape, Type.FLOAT16, scales), -1
            blocks.blockSize = K // scales.shape[1]
            quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
            quantization.details = blocks
            bits = codes.astype(np.uint8) & 15
            w = self.tensor((N, K), Type.INT4, bits[:, 0::2] | bits[:, 1::2] << 4, quantization)
        options = schema.FullyConnectedOptionsT()
        options.asymmetricQuantizeInputs = False
        kind = schema.BuiltinOptions.FullyConnectedOptions
        return self.add(Op.FULLY_CONNECTED, [x, w, -1], (rows, N), kind, options, 13)

    def multiply(self, a, b, shape):
        kind = schema.BuiltinOptions.MulOptions
        return self.add(Op.MUL, [a, b], shape, kind, schema.MulOptionsT())

    def bytes(self, x, y):
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = [x], [y]
        whole = schema.ModelT()
        whole.version = 3
        whole.operatorCodes, whole.buffers, whole.subgraphs = self.codes, self.buffers, [graph]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(whole.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def prepare(row, form, operand, threads):
    from worker import Refused

    model = Model()
    x = model.tensor((row.M, row.K))

    def linear(value, name):
        return model.linear(value, row.M, operand(f"{name}.codes"), operand(f"{name}.scales"))

    if row.kind == "mlp":
        inner = (row.M, row.N)
        gate, up = linear(x, "gate"), linear(x, "up")
        silu = model.multiply(gate, model.add(Op.LOGISTIC, [gate], inner), inner)
        y = linear(model.multiply(silu, up, inner), "down")
    else:
        y = linear(x, "w")
    operators = len(model.operators)
    interpreter = Interpreter(model_content=model.bytes(x, y), num_threads=threads)
    interpreter.allocate_tensors()
    # The graph's own operators stay in the list, behind them what runs.
    names = [operator["op_name"] for operator in interpreter._get_ops_details()]
    if names[operators:] != ["DELEGATE"]:
        raise Refused("XNNPACK did not take the whole model")
    interpreter.set_tensor(x, operand("x"))
    result = interpreter.tensor(y)

    def run():
        interpreter.invoke()
        return result()

    return run
