"""ggml's CPU library by its C functions, out of whisper.cpp's Python package.

The package is built for any machine of the last ten years: AVX2, and none of
AVX-512. A build for the machine at hand is faster; `versions` says what this
one uses.
"""

import ctypes
import importlib.metadata

import numpy as np

Q4_0, Q8_0, F32 = 2, 8, 0


class Parameters(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


def load(prefix):
    for file in importlib.metadata.files("pywhispercpp"):
        if file.parent.name == "pywhispercpp.libs" and file.name.startswith(prefix):
            return ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
    raise ImportError(f"pywhispercpp holds no {prefix}")


load("libgomp")
base, cpu = load("libggml-base-"), load("libggml-cpu-")


def function(library, name, result, *arguments):
    found = getattr(library, name)
    found.restype, found.argtypes = result, arguments
    return found


P, I64 = ctypes.c_void_p, ctypes.c_int64
ggml_init = function(base, "ggml_init", P, Parameters)
ggml_new_tensor_2d = function(base, "ggml_new_tensor_2d", P, P, ctypes.c_int, I64, I64)
ggml_mul_mat = function(base, "ggml_mul_mat", P, P, P, P)
ggml_new_graph = function(base, "ggml_new_graph", P, P)
ggml_build_forward_expand = function(base, "ggml_build_forward_expand", None, P, P)
alloc = function(base, "ggml_backend_alloc_ctx_tensors_from_buft", P, P, P)
default_buffers = function(base, "ggml_backend_get_default_buffer_type", P, P)
tensor_set = function(base, "ggml_backend_tensor_set", None, P, P, ctypes.c_size_t, ctypes.c_size_t)
tensor_get = function(base, "ggml_backend_tensor_get", None, P, P, ctypes.c_size_t, ctypes.c_size_t)
compute = function(base, "ggml_backend_graph_compute", ctypes.c_int, P, P)
backend_init = function(cpu, "ggml_backend_cpu_init", P)
set_threads = function(cpu, "ggml_backend_cpu_set_n_threads", None, P, ctypes.c_int)
# A C++ function: buffers whose weights are put in the order of its kernels.
repack_buffers = function(cpu, "_Z35ggml_backend_cpu_repack_buffer_typev", P)


def versions():
    version = function(base, "ggml_version", ctypes.c_char_p)().decode()
    features = [
        name
        for name in ("avx2", "fma", "avx512", "avx512_vnni", "avx512_bf16")
        if getattr(cpu, f"ggml_cpu_has_{name}")()
    ]
    return {"ggml": f"{version}, built for {', '.join(features) or 'the baseline'}"}


def forms(row):
    if row.kind == "int8":
        return [("Q8_0", "f16 scales in groups of 32, of activations too")]
    if row.kind == "int4":
        return [("Q4_0 repacked", "f16 scales in groups of 32")]
    return []


def blocks(row, operand):
    """Weights in blocks of 32 with their scale."""
    codes, scales = operand("w.codes"), operand("w.scales")
    per_row = row.K // 32
    scales = np.repeat(scales, per_row // scales.shape[1], 1)
    codes = codes.reshape(row.N, per_row, 32)
    width = 32 if row.kind == "int8" else 16
    made = np.empty((row.N, per_row), dtype=[("d", "<f2"), ("q", "u1", width)])
    made["d"] = scales
    if row.kind == "int8":
        made["q"] = codes.view(np.uint8)
    else:
        unsigned = (codes + 8).astype(np.uint8)
        made["q"] = unsigned[..., :16] | unsigned[..., 16:] << 4
    return made


def prepare(row, form, operand, threads):
    from worker import Refused

    if row.K % 32:
        raise Refused(f"rows are whole blocks of 32, and {row.K} is no multiple of it")
    backend = backend_init()
    set_threads(backend, threads)
    weights = ggml_init(Parameters(1 << 20, None, True))
    w = ggml_new_tensor_2d(weights, Q8_0 if row.kind == "int8" else Q4_0, row.K, row.N)
    if not alloc(weights, repack_buffers() if row.kind == "int4" else default_buffers(backend)):
        raise Refused("no memory for the weights")
    data = blocks(row, operand)
    tensor_set(w, data.ctypes.data, 0, data.nbytes)
    context = ggml_init(Parameters(1 << 20, None, True))
    x = ggml_new_tensor_2d(context, F32, row.K, row.M)
    y = ggml_mul_mat(context, w, x)
    alloc(context, default_buffers(backend))
    values = np.ascontiguousarray(operand("x"))
    tensor_set(x, values.ctypes.data, 0, values.nbytes)
    graph = ggml_new_graph(ggml_init(Parameters(1 << 24, None, False)))
    ggml_build_forward_expand(graph, y)
    result = np.empty((row.M, row.N), np.float32)

    class Result:
        def __array__(self, dtype=None, copy=None):
            tensor_get(y, result.ctypes.data, 0, result.nbytes)
            return result if dtype is None else result.astype(dtype)

    def run():
        if compute(backend, graph):
            raise RuntimeError("ggml could not compute the graph")
        return Result()

    return run
