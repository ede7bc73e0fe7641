"""Networks on pictures, written twice from one walk: in f32, and in bytes all the way.

A network is a function `walk(net)` that calls `net.conv`, `net.add` and so on by the names of
its layers. `FloatNet` writes it as Conv, Relu, Add ...: the reference. `ranges` runs that
reference on calibration pictures; `IntegerNet` then writes the same walk as QLinearConv with
static scales. Both take the same bytes, `pixels` u8 [1, S, S, C], so nothing but the
arithmetic differs between them.

Only forms that the runtime fuses are used: ReLU is the saturation of the output (zero point
0), a sum is DequantizeLinear, Add, QuantizeLinear, and every DequantizeLinear has one reader.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from onnx_graph import FLOAT, Graph, quantise_per_channel

Weights = dict[str, tuple[np.ndarray, np.ndarray]]  # name -> (w [out, in / groups, k, k], bias [out])


class FloatNet:
    """The walk in f32."""

    def __init__(self, name: str, weights: Weights, side: int, channels: int, point: tuple[float, int]):
        self.g, self.weights = Graph(name, int8=False), weights
        pixels = self.g.input("pixels", [1, side, side, channels], TensorProto.UINT8)
        planes = self.g.op("Cast", [self.g.op("Transpose", [pixels], perm=[0, 3, 1, 2])], to=FLOAT)
        centred = self.g.op("Sub", [planes, self.g.f32(point[1])])
        self.pixels = self.g.mul(centred, self.g.f32(point[0]))
        self.made: dict[str, str] = {}  # layer -> value

    def conv(self, x, layer: str, stride=1, pads=(0, 0, 0, 0), groups=1, relu=False):
        w, bias = self.weights[layer]
        inputs = [x, self.g.f32(w, "w"), self.g.f32(bias, "b")]
        y = self.g.op("Conv", inputs, hint=layer, **conv_attributes(w, stride, pads, groups))
        return self._made(layer, y, relu)

    def add(self, a, b, layer: str, relu=True):
        return self._made(layer, self.g.add(a, b), relu)

    def max_pool(self, x):
        return self.g.op("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])

    def mean(self, x, layer: str):
        return self._made(layer, self.g.op("GlobalAveragePool", [x]), False)

    def floats(self, x) -> str:
        return x

    def _made(self, layer: str, value: str, relu: bool) -> str:
        self.made[layer] = self.g.op("Relu", [value]) if relu else value
        return self.made[layer]


def conv_attributes(w: np.ndarray, stride: int, pads, groups: int) -> dict:
    return dict(kernel_shape=list(w.shape[2:]), strides=[stride] * 2, pads=list(pads), group=groups)


def ranges(net: FloatNet, pictures) -> dict[str, np.ndarray]:
    """{layer: [2, channels]}: lowest and highest value of each channel over the pictures."""
    layers = list(net.made)
    session = with_outputs(net.g, [net.made[layer] for layer in layers])
    lows, highs = ({layer: [] for layer in layers} for _ in range(2))
    for picture in pictures:
        for layer, value in zip(layers, session.run(None, {"pixels": picture[None]})):
            lows[layer].append(value[0].min((1, 2)))
            highs[layer].append(value[0].max((1, 2)))
    return {layer: np.stack([np.min(lows[layer], 0), np.max(highs[layer], 0)]) for layer in layers}


def with_outputs(g: Graph, values: list[str]) -> onnxruntime.InferenceSession:
    """A session that gives these values of a graph that has no outputs yet."""
    probe = Graph(g.name)
    probe.nodes, probe.initializers, probe.inputs = list(g.nodes), g.initializers, g.inputs
    for i, value in enumerate(values):
        probe.output(value, f"value_{i}", None)
    return session_of(probe)


def session_of(model) -> onnxruntime.InferenceSession:
    """One thread, the operators exactly as written; `model` is a Graph without a file or a path."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if isinstance(model, Path):
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    graph = onnx.helper.make_graph(model.nodes, model.name, model.inputs, model.outputs, model.initializers)
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


def byte_point(limits: np.ndarray, relu: bool) -> tuple[float, int]:
    """Scale and zero point of bytes for values within `limits`; 0 is exact."""
    low, high = (0.0 if relu else min(float(limits[0].min()), 0.0)), max(float(limits[1].max()), 1e-3)
    scale = (high - low) / 255
    return scale, int(round(-low / scale))


class IntegerNet:
    """The walk in bytes; a value is (name, (scale, zero point))."""

    def __init__(self, name: str, weights: Weights, side: int, channels: int, point: tuple[float, int], limits, scales=None):
        self.g, self.weights, self.limits, self.scales = Graph(name), weights, limits, scales or {}
        pixels = self.g.input("pixels", [1, side, side, channels], TensorProto.UINT8)
        self.pixels = self.g.op("Transpose", [pixels], perm=[0, 3, 1, 2]), point

    def conv(self, x, layer: str, stride=1, pads=(0, 0, 0, 0), groups=1, relu=False):
        (w, bias), point = self.weights[layer], byte_point(self.limits[layer], relu)
        q, scale = quantise_per_channel(w, axis=0)
        if layer in self.scales:  # weights that lie on a grid of their own
            scale = self.scales[layer]
            q = np.rint(w / scale[:, None, None, None]).astype(np.int8)
        bias = np.rint(bias / (np.float64(x[1][0]) * scale)).astype(np.int32)
        weight = [self.g.const(q, "w"), self.g.f32(scale), self.g.const(np.zeros(len(q), np.int8), "zero")]
        inputs = [x[0], *self._names(x[1]), *weight, *self._names(point), self.g.const(bias, "b")]
        return self.g.op("QLinearConv", inputs, hint=layer, **conv_attributes(w, stride, pads, groups)), point

    def add(self, a, b, layer: str, relu=True):
        return self._quantise(self.g.add(self.floats(a), self.floats(b)), byte_point(self.limits[layer], relu))

    def max_pool(self, x):
        """The largest code stands for the largest value."""
        return self.g.op("MaxPool", [x[0]], kernel_shape=[2, 2], strides=[2, 2]), x[1]

    def mean(self, x, layer: str):
        pooled = self.g.op("GlobalAveragePool", [self.floats(x)])
        return self._quantise(pooled, byte_point(self.limits[layer], False))

    def floats(self, x) -> str:
        return self.g.op("DequantizeLinear", [x[0], *self._names(x[1])])

    def _quantise(self, value: str, point) -> tuple:
        return self.g.op("QuantizeLinear", [value, *self._names(point)]), point

    def _names(self, point) -> list[str]:
        return [self._scalar(np.float32(point[0])), self._scalar(np.uint8(point[1]))]

    def _scalar(self, value) -> str:
        """A constant without axes, as QLinearConv wants its scales."""
        array = np.array(value)
        key = ("scalar", array.dtype.str, array.tobytes())
        if key not in self.g._constants:
            self.g._constants[key] = self.g.fresh("s")
            self.g.initializers.append(numpy_helper.from_array(array, self.g._constants[key]))
        return self.g._constants[key]
