"""Writes a Lite trunk as ONNX: integers all the way, or f32 for the reference.

Input `pixels` u8 [1, S, S, 3], output `patches` f32 [P, C], row-major over the last map. In
the integer file the bytes are the first convolution's codes as they are: their scale and
zero point say (byte - 127) / 128, so normalising costs nothing.
"""

from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, numpy_helper

import pictures
from onnx_graph import Graph, quantise_per_channel

# A range leaves out this share of the values at either end.
TAIL = 1e-5


class PictureGraph(Graph):
    def scalar(self, value) -> str:
        """A constant without axes, which QLinearConv's scales must be."""
        array = np.array(value)
        key = ("scalar", array.dtype.str, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.fresh("s")
            self.initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def rows(self, last: str, channels: int) -> str:
        """[1, C, h, w] as [h w, C]"""
        return self.op("Transpose", [self.op("Reshape", [last, self.ints([channels, -1])])], perm=[1, 0])


def attributes(conv: pictures.Conv, side: int) -> dict:
    before, after = conv.pads(side)
    return {
        "kernel_shape": list(conv.kernel_size),
        "strides": list(conv.stride),
        "pads": [before, before, after, after],
        "group": conv.groups,
    }


# -- ranges -----------------------------------------------------------------------------


@torch.no_grad()
def ranges(net: pictures.Lite, pixels: np.ndarray) -> dict:
    """{"project i" or "sum i": (low, high)} of the values that no ReLU6 bounds, over pictures."""
    found: dict[str, list] = {}
    for one in np.array_split(pixels, max(1, len(pixels) // 16)):
        x = net.stem(pictures.normalised(torch.from_numpy(one)))
        for i, block in enumerate(net.blocks):
            y = block.project(block.depthwise(block.expand(x) if block.expand else x))
            found.setdefault(f"project {i}", []).append(limits(y))
            x = x + y if block.residual else y
            found.setdefault(f"sum {i}", []).append(limits(x))
    return {name: (min(low for low, _ in seen), max(high for _, high in seen)) for name, seen in found.items()}


def limits(values) -> tuple[float, float]:
    ordered = values.flatten().sort().values
    cut = int(len(ordered) * TAIL)
    return float(ordered[cut]), float(ordered[-1 - cut])


# -- integers -----------------------------------------------------------------------------


def codes(conv: pictures.Conv, x_scale: float):
    """(weight i8, scale f32 of each output channel, bias i32 in units of x_scale * scale).

    A channel that is all but constant has weights so small that its bias would not fit in
    its unit: the unit is then as small as the bias allows.
    """
    weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy().astype(np.float64)
    _, scale = quantise_per_channel(weight, axis=0)
    scale = np.maximum(scale, np.abs(bias) / (x_scale * 2.0**30)).astype(np.float32)
    q = np.clip(np.rint(weight / scale[:, None, None, None]), -127, 127).astype(np.int8)
    return q, scale, np.rint(bias / (x_scale * scale.astype(np.float64))).astype(np.int32)


class IntegerNet:
    """A value is (name, scale, zero point) of u8 codes."""

    RELU6 = (6 / 255, 0)

    def __init__(self, graph: PictureGraph):
        self.g = graph

    @staticmethod
    def point(low: float, high: float) -> tuple[float, int]:
        """Scale and zero point of codes for low..high; 0 is exact."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 255
        return scale, int(round(-low / scale))

    def names(self, point) -> list[str]:
        return [self.g.scalar(np.float32(point[0])), self.g.scalar(np.uint8(point[1]))]

    def input(self, pixels: str):
        return self.g.op("Transpose", [pixels], perm=[0, 3, 1, 2]), (1 / pictures.SPREAD, int(pictures.MEAN))

    def conv(self, x, conv: pictures.Conv, side: int, limits=None):
        """ReLU6 is the saturation of the output: zero point 0, 255 steps up to 6."""
        point = self.RELU6 if conv.relu else self.point(*limits)
        q, scale, bias = codes(conv, x[1][0])
        weight = [self.g.const(q, "w"), self.g.f32(scale), self.g.const(np.zeros(len(scale), np.int8), "zero")]
        inputs = [x[0], *self.names(x[1]), *weight, *self.names(point), self.g.const(bias, "b")]
        return self.g.op("QLinearConv", inputs, **attributes(conv, side)), point

    def float(self, x) -> str:
        return self.g.op("DequantizeLinear", [x[0], *self.names(x[1])])

    def add(self, a, b, limits):
        point = self.point(*limits)
        return self.g.op("QuantizeLinear", [self.g.add(self.float(a), self.float(b)), *self.names(point)]), point


class FloatNet:
    """The same walk in f32; a value is its name."""

    def __init__(self, graph: PictureGraph):
        self.g = graph

    def input(self, pixels: str) -> str:
        planes = self.g.op("Cast", [self.g.op("Transpose", [pixels], perm=[0, 3, 1, 2])], to=TensorProto.FLOAT)
        centred = self.g.op("Sub", [planes, self.g.scalar(np.float32(pictures.MEAN))])
        return self.g.op("Div", [centred, self.g.scalar(np.float32(pictures.SPREAD))])

    def conv(self, x, conv: pictures.Conv, side: int, limits=None) -> str:
        weight, bias = self.g.f32(conv.weight.detach().numpy(), "w"), self.g.f32(conv.bias.detach().numpy(), "b")
        y = self.g.op("Conv", [x, weight, bias], **attributes(conv, side))
        return self.g.op("Clip", [y, self.g.scalar(np.float32(0)), self.g.scalar(np.float32(6))]) if conv.relu else y

    def float(self, x: str) -> str:
        return x

    def add(self, a: str, b: str, limits=None) -> str:
        return self.g.add(a, b)


def walk(target, net: pictures.Lite, pixels: str, found: dict, side: int):
    """The network in terms of target.input, conv and add."""

    def conv(x, layer, limits=None):
        nonlocal side
        y = target.conv(x, layer, side, limits)
        side = -(-side // layer.stride[0])
        return y

    x = conv(target.input(pixels), net.stem)
    for i, block in enumerate(net.blocks):
        y = conv(x, block.expand) if block.expand else x
        y = conv(conv(y, block.depthwise), block.project, found[f"project {i}"])
        x = target.add(x, y, found[f"sum {i}"]) if block.residual else y
    return x


def export(net: pictures.Lite, found: dict, path: Path, int8: bool = True, side: int = pictures.SIDE) -> int:
    """Writes image.onnx; returns its size in bytes."""
    graph = PictureGraph("image", int8)
    target = IntegerNet(graph) if int8 else FloatNet(graph)
    pixels = graph.input("pixels", [1, side, side, 3], TensorProto.UINT8)
    last = target.float(walk(target, net, pixels, found, side))
    channels = net.blocks[-1].project.out_channels
    graph.output(graph.rows(last, channels), "patches", [(-(-side // 32)) ** 2, channels])
    return graph.save(path)
