"""The detector's last blocks, trained to do in bytes what they did in f32.

Few cells of stride 16 see a face, and errors grow from block to block, so fitting layer by
layer (rounded.py) is not enough there. These blocks are small: they are trained on what the
blocks before make of many pictures in bytes, with every rounding in place, to give the f32
network's scores and boxes. Gradients pass rounding as if it were not there (straight-through,
Bengio et al. 2013).
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim

from common.image_nets import Weights, byte_point
from expression import detector
from expression.rounded import bordered

STEPS, BATCH, RATE = 900, 32, 1e-3


class Rounded(torch.autograd.Function):
    """Nearest whole number; the gradient passes."""

    @staticmethod
    def forward(_ctx, x):
        return x.round()

    @staticmethod
    def backward(_ctx, gradient):
        return gradient


def as_int8(w: torch.Tensor) -> torch.Tensor:
    """Symmetric, one scale per output channel, as quantise_per_channel."""
    peak = w.detach().abs().amax((1, 2, 3), keepdim=True)
    scale = torch.where(peak > 0, peak / 127, torch.ones_like(peak))
    return Rounded.apply(w / scale) * scale


class TunedNet(nn.Module):
    """`detector.far` with its roundings, on dequantised codes."""

    def __init__(self, weights: Weights, limits: dict):
        super().__init__()
        names = [n for n in weights if n == "coarse" or (n != "fine" and n != "stem" and number(n) > detector.FINE)]
        self.w = nn.ParameterDict({n: nn.Parameter(torch.tensor(weights[n][0])) for n in names})
        self.bias = nn.ParameterDict({n: nn.Parameter(torch.tensor(weights[n][1])) for n in names})
        self.limits = limits

    def conv(self, x, layer, stride=1, pads=(0, 0, 0, 0), groups=1, relu=False):
        y = F.conv2d(bordered(x, pads), as_int8(self.w[layer]), self.bias[layer], stride, groups=groups)
        return self._rounded(layer, y, relu)

    def add(self, a, b, layer, relu=True):
        return self._rounded(layer, a + b, relu)

    def max_pool(self, x):
        return F.max_pool2d(x, 2)

    def _rounded(self, layer, value, relu):
        scale, zero = byte_point(self.limits[layer], relu)
        return Rounded.apply(value / scale).clamp(-zero, 255 - zero) * scale

    def weights(self) -> Weights:
        return {n: (w.detach().numpy().copy(), self.bias[n].detach().numpy().copy()) for n, w in self.w.items()}


def number(layer: str) -> int:
    return int(layer.lstrip("abcdefghijklmnopqrstuvwxyz"))


def numbers(head: torch.Tensor, steps) -> torch.Tensor:
    """[anchors, 5] in pixels and logits."""
    low, span = (torch.from_numpy(v) for v in steps)
    return head.unflatten(1, (-1, detector.NUMBERS)).permute(0, 1, 3, 4, 2).reshape(-1, detector.NUMBERS) * span + low


def loss(made: torch.Tensor, wanted: torch.Tensor, steps) -> torch.Tensor:
    """Scores everywhere, most where a face is suspected; boxes where one is."""
    made, wanted = numbers(made, steps), numbers(wanted.clamp(0, 1), steps)
    sure = torch.sigmoid(wanted[:, 4])
    heed = 0.03 + sure + 0.2 * (torch.maximum(wanted[:, 4], made[:, 4].detach()) > -3)
    scores = (heed * F.smooth_l1_loss(made[:, 4], wanted[:, 4], reduction="none")).sum() / heed.sum()
    heed = sure * (sure > 0.05)
    boxes = ((made[:, :4] - wanted[:, :4]).abs() / wanted[:, 2:3].clamp(min=8)).mean(1)
    return scores + 4 * (heed * boxes).sum() / (heed.sum() + 1)


def tune(weights: Weights, limits: dict, steps, codes: torch.Tensor, wanted: torch.Tensor) -> Weights:
    """Weights of the last blocks; `codes` [N, C, S/8, S/8] are values of the last fine sum, `wanted` the f32 head."""
    torch.manual_seed(0)
    net, order = TunedNet(weights, limits), np.random.default_rng(0)
    groups = [{"params": [p], "size": float(p.detach().square().mean().sqrt()) + 1e-3} for p in net.parameters()]
    optimiser = optim.Adam(groups, lr=0.0)
    for step in range(STEPS):
        done = step / STEPS
        for group in optimiser.param_groups:  # steps in proportion to the layer's weights
            group["lr"] = group["size"] * RATE * min(1.0, done / 0.05) * 0.5 * (1 + math.cos(math.pi * done))
        batch = torch.from_numpy(order.integers(0, len(codes), BATCH))
        error = loss(detector.far(net, codes[batch], weights), wanted[batch].float(), steps)
        optimiser.zero_grad()
        error.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        if step % 100 == 0:
            print(f"tune {step} {error.item():.3f}", flush=True)
    return net.weights()
