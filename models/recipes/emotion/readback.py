"""The weights of an int8 text encoder as floats again, so that another training can start from what ships."""

from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper

LINEARS, NORMS = ("q", "k", "v", "o", "up", "down"), ("norm1", "norm2")


class Encoder(NamedTuple):
    words: torch.Tensor  # [V, width]; the other tables alike
    kinds: torch.Tensor
    places: torch.Tensor
    norm: dict  # weight, bias
    layers: list[dict]  # state of a text_model.Layer


def encoder(path, heads: int) -> Encoder:
    """Of a file that `common.onnx_graph` wrote by `trunk/export.py`: tables, then layers, in their order."""
    graph = onnx.load(path).graph
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    readers = {name: node for node in reversed(graph.node) for name in node.input}
    gathers = [node for node in graph.node if node.op_type == "Gather" and node.input[0] in known]
    norms = [node for node in graph.node if node.op_type == "LayerNormalization"]
    products = [node for node in graph.node if node.op_type == "MatMulInteger" and node.input[1] in known]

    def table(codes, scales):
        return torch.from_numpy(known[codes.input[0]] * known[scales.input[0]])

    def norm(node):
        return {end: torch.tensor(known[name]) for end, name in zip(("weight", "bias"), node.input[1:])}

    def linear(node):
        scaled = readers[readers[node.output[0]].output[0]]
        scale = next(known[name] for name in made[scaled.input[1]].input if name in known)
        bias = next(known[name] for name in readers[scaled.output[0]].input if name in known)
        weight = known[node.input[1]].astype(np.float32) * scale
        return {"weight": torch.from_numpy(weight.T.copy()), "bias": torch.tensor(bias)}

    def layer(at: int):
        parts = dict(zip(LINEARS, map(linear, products[at * len(LINEARS) :])))
        # the file's queries hold the scores' division
        width = len(parts["q"]["bias"]) // heads
        parts["q"] = {end: value * width**0.5 for end, value in parts["q"].items()}
        parts |= dict(zip(NORMS, map(norm, norms[1 + at * len(NORMS) :])))
        return {f"{name}.{end}": value for name, part in parts.items() for end, value in part.items()}

    tables = [table(*pair) for pair in zip(gathers[::2], gathers[1::2])]
    return Encoder(*tables, norm(norms[0]), [layer(i) for i in range(len(products) // len(LINEARS))])
