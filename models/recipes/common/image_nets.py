"""Networks on images, written twice from one walk: in f32, and in bytes all the way.

A network is a function `walk(net)` that calls `net.conv`, `net.add` and so on by the names of
its layers. `FloatNet` writes it as Conv, Relu, Add ...: the reference. `IntegerNet` writes the
same walk as QLinearConv with static scales. Both take the same bytes, `pixels` u8 [1, S, S, C],
so nothing but the arithmetic differs between them.

Which values a layer's bytes stand for is a policy of its own: `Extremes`, what each channel
reaches on calibration images, or `Tails`, what nearly all values stay within. Both have
`point(layer, relu)`.

Only forms that the runtime fuses are used: ReLU is the saturation of the output (zero point
0, and 255 steps up to 6 for ReLU6), a sum is DequantizeLinear, Add, QuantizeLinear, and every
DequantizeLinear has one reader.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from common import runtime
from common.onnx_graph import FLOAT, Graph, quantise_per_channel

Weights = dict[str, tuple[np.ndarray, np.ndarray]]  # name -> (w [out, in / groups, k, k], bias [out])
RELU6 = "up to 6"  # what a layer's `relu` may be beside False and True


# -- which values bytes stand for --------------------------------------------------------


def byte_point(limits, relu: bool) -> tuple[float, int]:
    """Scale and zero point of bytes for values within `limits`, (low, high) of any shape; 0 is exact."""
    low, high = (0.0 if relu else min(float(np.min(limits[0])), 0.0)), max(float(np.max(limits[1])), 1e-3)
    scale = (high - low) / 255
    return scale, int(round(-low / scale))


class Extremes:
    """Every value fits: `limits` {layer: [2, channels]}, lowest and highest of each channel."""

    def __init__(self, limits: dict[str, np.ndarray]):
        self.limits = limits

    def point(self, layer: str, relu) -> tuple[float, int]:
        return byte_point(self.limits[layer], bool(relu))


class Tails:
    """A few outliers saturate: `limits` {layer: (low, high)} of the layers that no ReLU6 bounds."""

    def __init__(self, limits: dict[str, tuple[float, float]]):
        self.limits = limits

    @staticmethod
    def of(values, share: float = 1e-5) -> tuple[float, float]:
        """(low, high) that leave out this share of a tensor's values at either end."""
        ordered = values.flatten().sort().values
        cut = int(len(ordered) * share)
        return float(ordered[cut]), float(ordered[-1 - cut])

    def point(self, layer: str, relu) -> tuple[float, int]:
        return (6 / 255, 0) if relu == RELU6 else byte_point(self.limits[layer], bool(relu))


# -- the two writers -----------------------------------------------------------------------


class Net:
    """What both share; `named` puts the layers' names into the file."""

    def __init__(self, graph: Graph, weights: Weights, side: int, channels: int, named: bool):
        self.g, self.weights, self.named = graph, weights, named
        pixels = graph.input("pixels", [1, side, side, channels], TensorProto.UINT8)
        self.planes = graph.op("Transpose", [pixels], perm=[0, 3, 1, 2])

    def _conv(self, op_type: str, inputs, layer: str, stride: int, pads, groups: int) -> str:
        size = list(self.weights[layer][0].shape[2:])
        attributes = dict(kernel_shape=size, strides=[stride] * 2, pads=list(pads), group=groups)
        return self.g.op(op_type, inputs, hint=layer if self.named else None, **attributes)


class FloatNet(Net):
    """The walk in f32; a value is its name."""

    def __init__(self, name: str, weights: Weights, side: int, channels: int, point: tuple[float, int], named=True):
        super().__init__(Graph(name, int8=False), weights, side, channels, named)
        centred = self.g.op("Sub", [self.g.op("Cast", [self.planes], to=FLOAT), self.g.f32(point[1])])
        self.pixels = self.g.mul(centred, self.g.f32(point[0]))
        self.made: dict[str, str] = {}  # layer -> value

    def conv(self, x, layer: str, stride=1, pads=(0, 0, 0, 0), groups=1, relu=False):
        w, bias = self.weights[layer]
        inputs = [x, self.g.f32(w, "w"), self.g.f32(bias, "b")]
        return self._made(layer, self._conv("Conv", inputs, layer, stride, pads, groups), relu)

    def add(self, a, b, layer: str, relu=True):
        return self._made(layer, self.g.add(a, b), relu)

    def max_pool(self, x):
        return self.g.op("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])

    def mean(self, x, layer: str):
        return self._made(layer, self.g.op("GlobalAveragePool", [x]), False)

    def floats(self, x) -> str:
        return x

    def _made(self, layer: str, value: str, relu) -> str:
        if relu == RELU6:
            value = self.g.op("Clip", [value, *(self.g.scalar(np.float32(bound)) for bound in (0, 6))])
        self.made[layer] = self.g.op("Relu", [value]) if relu is True else value
        return self.made[layer]


class IntegerNet(Net):
    """The walk in bytes; a value is (name, (scale, zero point)).

    `scales` of layers whose weights lie on a grid of their own. Of the others, a channel that is
    all but constant has weights so small that its bias would not fit in its unit: the unit is
    then as small as the bias allows.
    """

    def __init__(self, name: str, weights: Weights, side: int, channels: int, point, ranges, scales=None, named=True):
        super().__init__(Graph(name), weights, side, channels, named)
        self.ranges, self.scales = ranges, scales or {}
        self.pixels = self.planes, point

    def conv(self, x, layer: str, stride=1, pads=(0, 0, 0, 0), groups=1, relu=False):
        (w, bias), point = self.weights[layer], self.ranges.point(layer, relu)
        x_scale, bias = np.float64(x[1][0]), np.asarray(bias, np.float64)
        scale = self.scales.get(layer)
        if scale is None:
            scale = np.maximum(quantise_per_channel(w, axis=0)[1], np.abs(bias) / (x_scale * 2.0**30)).astype(np.float32)
        q = np.clip(np.rint(w / scale[:, None, None, None]), -127, 127).astype(np.int8)
        bias = np.rint(bias / (x_scale * scale.astype(np.float64))).astype(np.int32)
        weight = [self.g.const(q, "w"), self.g.f32(scale), self.g.const(np.zeros(len(q), np.int8), "zero")]
        inputs = [x[0], *self._names(x[1]), *weight, *self._names(point), self.g.const(bias, "b")]
        return self._conv("QLinearConv", inputs, layer, stride, pads, groups), point

    def add(self, a, b, layer: str, relu=True):
        return self._quantise(self.g.add(self.floats(a), self.floats(b)), self.ranges.point(layer, relu))

    def max_pool(self, x):
        """The largest code stands for the largest value."""
        return self.g.op("MaxPool", [x[0]], kernel_shape=[2, 2], strides=[2, 2]), x[1]

    def mean(self, x, layer: str):
        pooled = self.g.op("GlobalAveragePool", [self.floats(x)])
        return self._quantise(pooled, self.ranges.point(layer, False))

    def floats(self, x) -> str:
        return self.g.op("DequantizeLinear", [x[0], *self._names(x[1])])

    def _quantise(self, value: str, point) -> tuple:
        return self.g.op("QuantizeLinear", [value, *self._names(point)]), point

    def _names(self, point) -> list[str]:
        return [self.g.scalar(np.float32(point[0])), self.g.scalar(np.uint8(point[1]))]


# -- the f32 form, run ---------------------------------------------------------------------


def extremes(net: FloatNet, images) -> dict[str, np.ndarray]:
    """{layer: [2, channels]}: lowest and highest value of each channel over the images."""
    layers = list(net.made)
    session = with_outputs(net.g, [net.made[layer] for layer in layers])
    lows, highs = ({layer: [] for layer in layers} for _ in range(2))
    for image in images:
        for layer, value in zip(layers, session.run(None, {"pixels": image[None]})):
            lows[layer].append(value[0].min((1, 2)))
            highs[layer].append(value[0].max((1, 2)))
    return {layer: np.stack([np.min(lows[layer], 0), np.max(highs[layer], 0)]) for layer in layers}


def with_outputs(g: Graph, values: list[str]):
    """A session that gives these values of a graph that has no outputs yet."""
    probe = Graph(g.name)
    probe.nodes, probe.initializers, probe.inputs = list(g.nodes), g.initializers, g.inputs
    for i, value in enumerate(values):
        probe.output(value, f"value_{i}", None)
    return session_of(probe)


def session_of(model: Graph | Path):
    """A session of a file, or of a Graph that has none."""
    if isinstance(model, Path):
        return runtime.session(model)
    graph = onnx.helper.make_graph(model.nodes, model.name, model.inputs, model.outputs, model.initializers)
    opsets = [onnx.helper.make_opsetid("", 17)]
    return runtime.session(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8))
