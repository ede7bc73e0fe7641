"""Writes a Lite trunk as ONNX: integers all the way, or f32 for the reference.

Input `pixels` u8 [1, S, S, 3], outputs f32 [cells, channels], row-major over a map: `patches` the last one (stride 32),
`middle` and `fine` the last ones of strides 16 and 8, which the grounding head reads as well. In
the integer file the bytes are the first convolution's codes as they are: their scale and
zero point say (byte - 127) / 128, so normalising costs nothing.
"""

from pathlib import Path

import numpy as np
import torch

from common.image_nets import RELU6, FloatNet, IntegerNet, Tails
from sentiment import lite

POINT = (1 / lite.SPREAD, int(lite.MEAN))
STRIDES = {"patches": 32, "middle": 16, "fine": 8}


def layers(net: lite.Lite) -> dict[str, lite.Conv]:
    """The trunk's convolutions by the names that `walk` calls them."""
    found = {"stem": net.stem}
    for i, block in enumerate(net.blocks):
        found |= {f"{name} {i}": getattr(block, name) for name in ("expand", "depthwise", "project") if getattr(block, name)}
    return found


@torch.no_grad()
def ranges(net: lite.Lite, pixels: np.ndarray) -> dict:
    """{"project i" or "sum i": (low, high)} of the values that no ReLU6 bounds, over images."""
    found: dict[str, list] = {}
    for one in np.array_split(pixels, max(1, len(pixels) // 16)):
        x = net.stem(lite.normalised(torch.from_numpy(one)))
        for i, block in enumerate(net.blocks):
            y = block.project(block.depthwise(block.expand(x) if block.expand else x))
            found.setdefault(f"project {i}", []).append(Tails.of(y))
            x = x + y if block.residual else y
            found.setdefault(f"sum {i}", []).append(Tails.of(x))
    return {name: (min(low for low, _ in seen), max(high for _, high in seen)) for name, seen in found.items()}


def walk(target, net: lite.Lite, side: int):
    """The network in terms of target.conv and target.add: the last map of each side, by its side."""
    convs, maps = layers(net), {}

    def conv(x, layer: str):
        nonlocal side
        of = convs[layer]
        before, after = of.pads(side)
        side = -(-side // of.stride[0])
        pads = (before, before, after, after)
        return target.conv(x, layer, of.stride[0], pads, of.groups, relu=RELU6 if of.relu else False)

    x = conv(target.pixels, "stem")
    for i, block in enumerate(net.blocks):
        y = conv(x, f"expand {i}") if block.expand else x
        y = conv(conv(y, f"depthwise {i}"), f"project {i}")
        x = target.add(x, y, f"sum {i}", relu=False) if block.residual else y
        maps[side] = x, block.project.out_channels
    return maps


def export(net: lite.Lite, found: dict, path: Path, int8: bool = True, side: int = lite.SIDE) -> int:
    """Writes image.onnx; returns its size in bytes."""
    weights = {name: (conv.weight.detach().numpy(), conv.bias.detach().numpy()) for name, conv in layers(net).items()}
    given = ("image", weights, side, 3, POINT)
    target = IntegerNet(*given, Tails(found), named=False) if int8 else FloatNet(*given, named=False)
    g, maps = target.g, walk(target, net, side)
    for name, stride in STRIDES.items():
        across = -(-side // stride)
        last, channels = maps[across]
        # [1, C, h, w] as [h w, C]
        rows = g.op("Transpose", [g.op("Reshape", [target.floats(last), g.ints([channels, -1])])], perm=[1, 0])
        g.output(rows, name, [across**2, channels])
    return g.save(path)
