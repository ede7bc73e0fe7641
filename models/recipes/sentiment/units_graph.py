"""Writes MVCN's heads as ONNX: units are model-local functions of the domain `demeanor`.

A runtime that knows `TextGuidedUnit` runs it in one step; any other runs the function's
body, which is plain ONNX. In the f32 reference the same body is written out node by node,
with f32 weights.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from common.onnx_graph import Graph, quantise_per_channel
from sentiment import mvcn
from sentiment.halves import Halves

DOMAIN = "demeanor"
NAMES = {"entmax": "TextGuidedUnit", "sparsemax": "TextGuidedUnitSparsemax", "softmax": "TextGuidedUnitSoftmax", None: "SelfUnit"}
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


class HeadGraph(Graph):
    opset = 18

    def const_op(self, array) -> str:
        """A constant as a Body would make it; one without axes stays so."""
        array = np.asarray(array)
        name = self.fresh("c")
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def call(self, domain, op_type, inputs, outputs, **attrs):
        made = super().call(domain, op_type, inputs, outputs, **attrs)
        self.nodes[-1].name = self.fresh(op_type)
        return made

    def heads(self, count: int) -> str:
        """The shape [rows, heads, width] of what is split among heads."""
        return self.ints([0, count, -1])


class Body:
    """Collects a function's nodes: constants are nodes there, `heads` is an attribute."""

    int8 = True

    def __init__(self):
        self.nodes, self.count = [], 0

    def op(self, op_type: str, inputs, outputs: int = 1, **attrs):
        names = [f"{op_type.lower()}_{self.count + i}" for i in range(outputs)]
        self.count += outputs
        self.nodes.append(helper.make_node(op_type, list(inputs), names, **attrs))
        return names[0] if outputs == 1 else names

    def const_op(self, array) -> str:
        return self.op("Constant", [], value=numpy_helper.from_array(np.asarray(array)))

    def heads(self, _count) -> str:
        value = self.op("Constant", [])
        self.nodes[-1].attribute.append(AttributeProto(name="value_int", ref_attr_name="heads", type=AttributeProto.INT))
        count = self.op("Unsqueeze", [value, self.const_op(np.array([0]))])
        return self.op("Concat", [self.const_op(np.array([0])), count, self.const_op(np.array([-1]))], axis=0)


# -- parts of a unit, written into a Body or a HeadGraph ------------------------------------


def linear(g, x: str, weights: list[str]) -> str:
    """x @ w (+ bias), integer where the weights are (int8 codes, scale of each column, bias)."""
    if not g.int8:
        weight, bias = weights
        return g.op("Add", [g.op("MatMul", [x, weight]), bias])
    codes, scale, bias = weights
    quantised, x_scale, x_zero = g.op("DynamicQuantizeLinear", [x], 3)
    sums = g.op("Cast", [g.op("MatMulInteger", [quantised, codes, x_zero])], to=FLOAT)
    return g.op("Add", [g.op("Mul", [sums, g.op("Mul", [x_scale, scale])]), bias])


def norm(g, x: str, weights: list[str]) -> str:
    return g.op("LayerNormalization", [x, *weights], axis=-1, epsilon=mvcn.LN_EPS)


def softmax(g, z: str) -> str:
    return g.op("Softmax", [z], axis=-1)


def number(g, value: float) -> str:
    return g.const_op(np.array([value], np.float32))


def ordered(g, z: str) -> tuple[str, str]:
    """(rows of z, largest first; 1, 2, ... as f32)"""
    width = g.op("Slice", [g.op("Shape", [z]), g.const_op(np.array([-1])), g.const_op(np.array([2**31 - 1]))])
    rows, _ = g.op("TopK", [z, width], 2, axis=-1, largest=1, sorted=1)
    one = g.const_op(np.array(1, np.int64))
    count = g.op("Squeeze", [width, g.const_op(np.array([0]))])
    places = g.op("Range", [one, g.op("Add", [count, one]), one])
    return rows, g.op("Cast", [places], to=FLOAT)


def at_support(g, tau: str, within: str) -> str:
    """tau[k*], where k* counts the places that are within the support."""
    last = g.const_op(np.array([-1]))
    count = g.op("ReduceSum", [g.op("Cast", [within], to=INT64), last], keepdims=1)
    return g.op("GatherElements", [tau, g.op("Add", [count, last])], axis=-1)


def running_mean(g, rows: str, places: str) -> str:
    return g.op("Div", [g.op("CumSum", [rows, g.const_op(np.array(-1))]), places])


def sparsemax(g, z: str) -> str:
    rows, places = ordered(g, z)
    tau = g.op("Sub", [running_mean(g, rows, places), g.op("Div", [number(g, 1.0), places])])
    return g.op("Relu", [g.op("Sub", [z, at_support(g, tau, g.op("Less", [tau, rows]))])])


def entmax(g, z: str) -> str:
    """1.5-entmax by sorting (mvcn.Entmax15)."""
    peak = g.op("ReduceMax", [z, g.const_op(np.array([-1]))], keepdims=1)
    z = g.op("Mul", [g.op("Sub", [z, peak]), number(g, 0.5)])
    rows, places = ordered(g, z)
    mean, square = running_mean(g, rows, places), running_mean(g, g.op("Mul", [rows, rows]), places)
    spread = g.op("Mul", [places, g.op("Sub", [square, g.op("Mul", [mean, mean])])])
    left = g.op("Relu", [g.op("Div", [g.op("Sub", [number(g, 1.0), spread]), places])])
    tau = g.op("Sub", [mean, g.op("Sqrt", [left])])
    p = g.op("Relu", [g.op("Sub", [z, at_support(g, tau, g.op("LessOrEqual", [tau, rows]))])])
    return g.op("Mul", [p, p])


PI = {"entmax": entmax, "sparsemax": sparsemax, "softmax": softmax}


def attention(g, parts: list[str], shape: str, pi) -> tuple[str, str]:
    """(mixed values [n, d], weights [h, n, m]) of query, key and value rows [n or m, d]; `shape` splits them among heads."""
    query, key, value = (g.op("Reshape", [part, shape]) for part in parts)
    width = g.op("Slice", [g.op("Shape", [query]), g.const_op(np.array([2])), g.const_op(np.array([3]))])
    root = g.op("Sqrt", [g.op("Cast", [width], to=FLOAT)])
    query = g.op("Div", [g.op("Transpose", [query], perm=[1, 0, 2]), root])
    weights = pi(g, g.op("MatMul", [query, g.op("Transpose", [key], perm=[1, 2, 0])]))
    mixed = g.op("MatMul", [weights, g.op("Transpose", [value], perm=[1, 0, 2])])
    joined = g.const_op(np.array([0, -1]))
    return g.op("Reshape", [g.op("Transpose", [mixed], perm=[1, 0, 2]), joined]), weights


def unit(g, x: str, patches: str | None, w: dict, heads: int, pi: str | None):
    """(y, attention or None); `w` gives value names of each part's weights."""
    shape = g.heads(heads)
    own = g.op("Split", [linear(g, x, w["self"])], 3, axis=1, num_outputs=3)
    mixed, _ = attention(g, own, shape, softmax)
    x, weights = norm(g, g.op("Add", [x, linear(g, mixed, w["self_out"])]), w["ln1"]), None
    if pi:
        key, value = g.op("Split", [linear(g, patches, w["key_value"])], 2, axis=1, num_outputs=2)
        mixed, each = attention(g, [linear(g, x, w["query"]), key, value], shape, PI[pi])
        x = norm(g, g.op("Add", [x, linear(g, mixed, w["guide_out"])]), w["ln2"])
        weights = g.op("ReduceMean", [each, g.const_op(np.array([0]))], keepdims=0)
    wide = g.op("Relu", [linear(g, x, w["up"])])
    return norm(g, g.op("Add", [x, linear(g, wide, w["down"])]), w["ln3"]), weights


# -- functions ------------------------------------------------------------------------------

LINEAR, NORM = ("w", "scale", "bias"), ("gamma", "beta")


def parts(pi: str | None) -> list[tuple[str, tuple]]:
    """A unit's weights in the order of the function's inputs."""
    guided = [("query", LINEAR), ("key_value", LINEAR), ("guide_out", LINEAR), ("ln2", NORM)] if pi else []
    return [("self", LINEAR), ("self_out", LINEAR), ("ln1", NORM), *guided, ("up", LINEAR), ("down", LINEAR), ("ln3", NORM)]


def function(pi: str | None):
    body, names = Body(), {part: [f"{part}_{end}" for end in ends] for part, ends in parts(pi)}
    y, weights = unit(body, "x", "patches" if pi else None, names, 0, pi)
    inputs, outputs = ["x", *(["patches"] if pi else []), *(n for part in names.values() for n in part)], ["y"]
    body.nodes.append(helper.make_node("Identity", [y], ["y"]))
    if pi:
        body.nodes.append(helper.make_node("Identity", [weights], ["attention"]))
        outputs.append("attention")
    opset = [helper.make_opsetid("", HeadGraph.opset)]
    return helper.make_function(DOMAIN, NAMES[pi], inputs, outputs, body.nodes, opset, attributes=["heads"])


def arrays(unit: mvcn.Unit) -> dict:
    """{part: (w[in, out], bias[out]) or (gamma, beta)} of a trained unit."""
    both = lambda layer: (layer.weight.detach().numpy().T, layer.bias.detach().numpy())
    own, guide = unit.own, unit.guide
    found = {"self": tuple(np.concatenate(p, -1) for p in zip(both(own.query), both(own.key_value))), "self_out": both(own.out)}
    if guide:
        found |= {"query": both(guide.query), "key_value": both(guide.key_value), "guide_out": both(guide.out)}
    found |= {"up": both(unit.up), "down": both(unit.down)}
    norms = {"ln1": unit.norm1, "ln2": unit.norm2, "ln3": unit.norm3}
    return found | {name: (layer.weight.detach().numpy(), layer.bias.detach().numpy()) for name, layer in norms.items()}


def stored(g: HeadGraph, unit: mvcn.Unit, pi: str | None) -> dict:
    """The unit's weights as initializers of `g`, by part."""
    found, names = arrays(unit), {}
    for part, ends in parts(pi):
        first, bias = found[part]
        if ends is LINEAR and g.int8:
            codes, scale = quantise_per_channel(first, axis=1)
            names[part] = [g.const(codes, f"{part}_w"), g.f32(scale, f"{part}_scale"), g.f32(bias, f"{part}_bias")]
        else:
            names[part] = [g.f32(first, f"{part}_{ends[0]}"), g.f32(bias, f"{part}_{ends[-1]}")]
    return names


def write_unit(g: HeadGraph, x: str, patches: str | None, trained: mvcn.Unit, pi: str | None):
    """(y, attention or None): a call of the function, or its body in f32."""
    w, heads = stored(g, trained, pi), trained.own.heads
    if not g.int8:
        return unit(g, x, patches, w, heads, pi)
    if all(f.name != NAMES[pi] for f in g.functions):
        g.functions.append(function(pi))
    inputs = [x, *([patches] if pi else []), *(n for part in w.values() for n in part)]
    outputs = [g.fresh("y"), *([g.fresh("attention")] if pi else [])]
    g.call(DOMAIN, NAMES[pi], inputs, outputs, heads=heads)
    return outputs if pi else (outputs[0], None)


# -- heads ------------------------------------------------------------------------------------


def map_of(g: HeadGraph, x: str, layer, hint: str) -> str:
    bias = None if layer.bias is None else layer.bias.detach().numpy()
    return g.linear(x, layer.weight.detach().numpy(), bias, hint)


def mean_of(g: HeadGraph, rows: str) -> str:
    """[1, d]"""
    return g.op("ReduceMean", [rows, g.ints([0])], keepdims=1)


def said_of(g: HeadGraph, tokens: str) -> str:
    """Row 0 and the mean row, side by side: [1, 2 d]"""
    return g.op("Concat", [g.op("Gather", [tokens, g.ints([0])], axis=0), mean_of(g, tokens)], axis=1)


class Spread(NamedTuple):
    """Mean and deviation of each column of what a half reads, over the posts that it learnt from."""

    mean: np.ndarray
    deviation: np.ndarray


def added_maps(g: HeadGraph, maps, bias) -> str:
    """The sum of x @ weight.T over (x, weight, spread, name), and of the bias. The columns of x are brought to
    one size first: in bytes that share a scale, a column that is large and hardly changes would
    leave nothing of those that tell."""
    even = []
    for x, weight, spread, name in maps:
        if spread is not None:
            x = g.mul(g.op("Sub", [x, g.f32(spread.mean)]), g.f32(1 / spread.deviation))
            bias, weight = bias + weight @ spread.mean, weight * spread.deviation
        even.append((x, weight, name))
    # the first product takes all of the bias
    sums = [g.linear(x, weight, None if i else bias, name) for i, (x, weight, name) in enumerate(even)]
    return g.add(*sums) if len(sums) == 2 else sums[0]


def answer(g: HeadGraph, logits: str) -> None:
    g.output(g.op("Reshape", [logits, g.ints([-1])]), "logits", [mvcn.CLASSES])


def export(head: mvcn.Head, path: Path, int8: bool = True, pi: str = "entmax", patches: int = 36, spreads=(None, None)) -> int:
    """Writes a head of units; returns its size in bytes. `spreads`: of the words and of the picture."""
    g, pi = HeadGraph(head.kind, int8), pi if head.kind == "guided" else None
    tokens, seen = g.input("tokens", ["n", mvcn.TEXT]), g.input("patches", [patches, mvcn.PATCH])
    text, image = map_of(g, tokens, head.text, "text"), map_of(g, seen, head.image, "image")
    x, weights = text if pi else g.op("Concat", [text, image], axis=0), None
    for trained in head.units:
        x, weights = write_unit(g, x, image if pi else None, trained, pi)
    q = g.op("Gather", [x, g.ints([0])], axis=0) if pi else mean_of(g, x)
    array = lambda values: values.detach().numpy()
    both = [
        (said_of(g, tokens), array(head.words.weight), spreads[0], "words"),
        (mean_of(g, seen), array(head.picture.weight), spreads[1], "picture"),
    ]
    answer(g, g.add(map_of(g, q, head.classify, "classify"), added_maps(g, both, array(head.words.bias))))
    if weights:
        g.output(weights, "attention", ["n", patches])
    return g.save(path)


def export_halves(halves: Halves, path: Path, int8: bool = True, patches: int = 36, spreads=(None, None)) -> int:
    """Writes the halves that are there, added; returns the size in bytes. `spreads` as in `export`."""
    g, maps = HeadGraph("halves", int8), []
    if halves.text is not None:
        maps.append((said_of(g, g.input("tokens", ["n", mvcn.TEXT])), halves.text, spreads[0], "words"))
    if halves.image is not None:
        maps.append((mean_of(g, g.input("patches", [patches, mvcn.PATCH])), halves.image, spreads[1], "picture"))
    answer(g, added_maps(g, maps, halves.bias))
    return g.save(path)
