"""A smaller copy of an ONNX file: int8 weights, and the tables of the transition memory in narrow types.

Every table of at least 256 values is stored in a smaller type, and nodes restore its original type. A runtime folds
these nodes into constants when it loads the file and computes in float32, so scores are the same on every platform.
Products in int8 differ, since some processors saturate them.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MIN_VALUES = 256
PRODUCTS = {"MatMul", "Gemm", "Gather"}  # these read weights of the network; GatherND reads the memory


def quantize(source: Path, target: Path) -> None:
    """Write the ONNX file `source` with smaller weights to `target`.

    Weights of the network become int8, with one scale per row or per column, whichever rounds less. Tables of the
    transition memory become float16, or the smallest integer type that holds them.
    """
    model = onnx.load(source)
    graph = model.graph
    readers = defaultdict(set)
    for node in graph.node:
        for name in node.input:
            readers[name].add(node.op_type)
    tensors, nodes = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim != 2 or values.size < MIN_VALUES:
            tensors.append(tensor)
            continue
        packed, unpacking = _pack(tensor, values, is_weight=readers[tensor.name] <= PRODUCTS)
        tensors += packed
        nodes += unpacking
    nodes += graph.node
    for field, content in (("initializer", tensors), ("node", nodes)):
        graph.ClearField(field)
        getattr(graph, field).extend(content)
    model.metadata_props.add(key="quantized", value="int8 weights, computed in float32")
    onnx.save(model, target)


def _pack(tensor: TensorProto, values: NDArray, is_weight: bool) -> tuple[list[TensorProto], list[onnx.NodeProto]]:
    """Smaller tensors for a table, and the nodes that restore it from them under its name."""
    name = tensor.name
    packed = f"{name}_packed"
    if values.dtype != np.float32 or not is_weight:
        smaller: NDArray = values.astype(np.float16 if values.dtype == np.float32 else _smallest_type(values))
        restored = helper.make_node("Cast", [packed], [name], to=tensor.data_type)
        return [numpy_helper.from_array(smaller, packed)], [restored]
    by_axis = [round_to_int(values, axis) for axis in (0, 1)]
    integers, scales = min(by_axis, key=lambda pair: float(np.square(pair[0] * pair[1] - values).sum()))
    tensors = [numpy_helper.from_array(integers, packed), numpy_helper.from_array(scales, f"{name}_scales")]
    as_float = helper.make_node("Cast", [packed], [f"{name}_integers"], to=TensorProto.FLOAT)
    return tensors, [as_float, helper.make_node("Mul", [f"{name}_integers", f"{name}_scales"], [name])]


def round_to_int(values: NDArray, axis: int, dtype: type = np.int8) -> tuple[NDArray, NDArray[np.float32]]:
    """Integers and float32 scales along `axis`, whose product is nearest to `values`."""
    largest = np.iinfo(dtype).max
    smallest_scale = np.finfo(np.float32).tiny  # of zeros
    scales = np.maximum(np.abs(values).max(axis, keepdims=True) / largest, smallest_scale).astype(np.float32)
    return np.rint(values / scales).astype(dtype), scales


def _smallest_type(values: NDArray) -> np.dtype:
    """The smallest integer type that holds all values."""
    low, high = int(values.min()), int(values.max())
    return np.min_scalar_type(high if low >= 0 else min(low, ~high))
