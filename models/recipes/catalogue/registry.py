"""The catalogue as the program knows it: `demeanor fusion --json` for shapes and weights,
src/fusion/functions.onnxtxt for the bodies. Nothing is listed a second time here."""

import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[3]
OPSET = 18
ELEMENTS = {
    "float": (np.float32, TensorProto.FLOAT),
    "float16": (np.float16, TensorProto.FLOAT16),
    "int8": (np.int8, TensorProto.INT8),
    "int64": (np.int64, TensorProto.INT64),
}


class Case(NamedTuple):
    """One function at some sizes, drawn: what a file and a run of it need."""

    name: str
    sizes: dict
    model: onnx.ModelProto
    inputs: dict


def operators(binary) -> list[dict]:
    """Every operator of the registry."""
    printed = subprocess.run([str(binary), "fusion", "--json"], check=True, capture_output=True, text=True)
    return json.loads(printed.stdout)["operators"]


def value(dim: str, sizes: dict) -> int:
    """`p+q`, `2*h`: a sum of products of letters and numbers."""
    total = 0
    for term in dim.split("+"):
        product = 1
        for factor in term.split("*"):
            product *= int(factor) if factor.isdigit() else sizes[factor]
        total += product
    return total


def shape(dims, sizes: dict) -> list[int]:
    return [value(dim, sizes) for dim in dims]


# -- bodies -------------------------------------------------------------------------

def bodies() -> dict[str, onnx.FunctionProto]:
    """Every function of the text file, read by ONNX's own parser."""
    text = (ROOT / "src/fusion/functions.onnxtxt").read_text(encoding="utf-8")
    header = f'<domain: "demeanor", opset_import: ["" : {OPSET}, "demeanor" : 1]>\n'
    blocks = [block for block in text.split("\n\n") if block.strip()]
    functions = [onnx.parser.parse_function(header + block) for block in blocks]
    return {function.name: function for function in functions}


def needed(all_bodies: dict, name: str) -> list[onnx.FunctionProto]:
    """A function and those that it calls."""
    found, queue = {}, [name]
    while queue:
        name = queue.pop()
        if name not in found:
            found[name] = all_bodies[name]
            queue += [node.op_type for node in all_bodies[name].node if node.domain == "demeanor"]
    return list(found.values())


# -- drawing ------------------------------------------------------------------------

def quantised(rows: np.ndarray):
    """[outputs, inputs] as bytes [inputs, outputs], and the scale of each output."""
    scale = np.abs(rows).max(axis=1) / 127.0
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    return np.rint(rows / scale[:, None]).astype(np.int8).T.copy(), scale


def weights(function: dict, sizes: dict, rng) -> list[tuple[str, np.ndarray]]:
    """Drawn weights in the function's order; a scale follows its bytes."""
    drawn, scale = [], None
    for weight in function["weights"]:
        dims, kind = shape(weight["shape"], sizes), weight["kind"]
        element = ELEMENTS[weight["element"]][0]
        if kind == "scale":
            array = scale
        elif kind in ("matrix", "rows"):
            turned = weight["element"] == "int8"
            rows = rng.standard_normal(dims[::-1] if turned else dims)
            if kind == "rows":
                rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
            else:
                rows /= np.sqrt(rows.shape[-1])
            array, scale = quantised(rows) if turned else (rows.astype(element), None)
        elif kind == "index":
            array = rng.integers(0, value(weight["below"], sizes), dims)
        elif kind == "sign":
            array = rng.choice([-1.0, 1.0], dims).astype(np.float32)
        else:
            array = rng.uniform(-0.5, 0.5, dims).astype(np.float32)
        drawn.append((weight["name"], np.ascontiguousarray(array, element)))
    return drawn


def inputs(operator: dict, sizes: dict, rng) -> dict[str, np.ndarray]:
    drawn = {}
    for port in operator["inputs"]:
        dims = shape(port["shape"], sizes)
        if port["name"] == "keep":
            array = (rng.random(dims) > 0.2).astype(np.float32)
            array[0, 0] = 1.0
        else:
            array = rng.standard_normal(dims).astype(np.float32)
        drawn[port["name"]] = array
    return drawn


# -- files --------------------------------------------------------------------------

def model(operator: dict, function: dict, sizes: dict, drawn, settings: dict, all_bodies: dict) -> onnx.ModelProto:
    """One call of the function, its weights, and the bodies that it needs."""
    named = [name for name, _ in drawn]
    attributes = {
        s["name"]: int(v) if s["whole"] else float(v)
        for s in operator["settings"]
        for v in [settings.get(s["name"], s["usual"])]
    }
    outputs = [port["name"] for port in operator["outputs"]]
    ins = [port["name"] for port in operator["inputs"]]
    call = helper.make_node(function["name"], ins + named, outputs, name=function["name"], domain="demeanor", **attributes)

    def info(port):
        dims = shape(port["shape"], sizes)
        # an output that the kernel leaves empty is full in the body
        return helper.make_tensor_value_info(port["name"], TensorProto.FLOAT, [None] * len(dims) if 0 in dims else dims)

    graph = helper.make_graph(
        [call],
        function["name"],
        [info(port) for port in operator["inputs"]],
        [info(port) for port in operator["outputs"]],
        [numpy_helper.from_array(array, name) for name, array in drawn],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("demeanor", 1)]
    made = helper.make_model(
        graph,
        opset_imports=opsets,
        functions=needed(all_bodies, function["name"]),
        producer_name="demeanor-recipes",
        ir_version=8,
    )
    onnx.checker.check_model(made)
    return made


def settings_at(operator: dict, sizes: dict) -> dict:
    """Settings that are sizes; what is left out has its usual value."""
    settings = {s["name"]: sizes[s["letter"]] for s in operator["settings"] if s["letter"]}
    if "b" in sizes and sizes["b"] < 100:
        settings["k"] = 5
    return settings


def cases(binary, sizes_of, seed: int, only: str = ""):
    """A case for every function and every sizes that `sizes_of(operator)` gives."""
    all_bodies = bodies()
    for operator in operators(binary):
        for function in operator["functions"]:
            if not re.search(only, function["name"]):
                continue
            for sizes in sizes_of(operator):
                rng = np.random.default_rng(seed)
                drawn = weights(function, sizes, rng)
                made = model(operator, function, sizes, drawn, settings_at(operator, sizes), all_bodies)
                yield Case(function["name"], sizes, made, inputs(operator, sizes, rng))
