"""int8 weights fitted to what the f32 network does on calibration pictures.

Rounding each weight by itself loses networks whose linear layers cancel large values, as
BlazeFace's do. `fit` goes through a walk once, layer by layer, all calibration pictures at a
time. Each layer sees what the rounded layers before it made, gets the weights that give the
f32 network's values from that (least squares, held near the old weights), and is then rounded
one input after another, each rounding error passed on to the inputs not yet rounded
(Frantar et al., "GPTQ", 2022; one output at a time, since outputs weigh pixels differently).
"""

import numpy as np
import torch
import torch.nn.functional as F

from common.image_nets import Weights, byte_point
from common.onnx_graph import quantise_per_channel

HOLD = 1e-3  # of the inputs' mean power: how strongly weights are held near the old ones
SAMPLES = 16_384  # pixels a layer is fitted on
SHRINKS = (1.0, 0.9, 0.8, 0.7)  # of the row's peak: ranges tried for its int8 weights


class TorchNet:
    """The walk in f32, remembering what every layer makes and, of convolutions, what ReLU gets."""

    def __init__(self, weights: Weights, point: tuple[float, int], pixels: np.ndarray):
        self.weights, self.raw, self.made = weights, {}, {}
        self.pixels = (torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() - point[1]) * point[0]

    def conv(self, x, layer, stride=1, pads=(0, 0, 0, 0), groups=1, relu=False):
        w, bias = (torch.from_numpy(np.ascontiguousarray(v, np.float32)) for v in self.weights[layer])
        raw = F.conv2d(bordered(x, pads), w, bias, stride, groups=groups)
        self._keep_raw(layer, raw)
        return self._made(layer, raw, relu)

    def add(self, a, b, layer, relu=True):
        return self._made(layer, a + b, relu)

    def max_pool(self, x):
        return F.max_pool2d(x, 2)

    def _keep_raw(self, layer, value):
        self.raw[layer] = value.half()

    def _made(self, layer, value, relu):
        value = F.relu(value) if relu else value
        if relu:  # what later layers are added to
            self.made[layer] = value
        return value


def bordered(x: torch.Tensor, pads) -> torch.Tensor:
    top, left, bottom, right = pads
    return F.pad(x, (left, right, top, bottom))


class BytesNet(TorchNet):
    """The walk with values rounded to bytes."""

    def __init__(self, weights: Weights, point, pixels: np.ndarray, limits: dict):
        super().__init__(weights, point, pixels)
        self.limits = limits

    def _keep_raw(self, layer, value):
        """Nobody asks."""

    def _made(self, layer, value, relu):
        scale, zero = byte_point(self.limits[layer], relu)
        return super()._made(layer, ((value / scale).round() + zero).clamp(0, 255).sub(zero).mul(scale), relu)


class FittedNet(BytesNet):
    """The walk in bytes; each convolution is fitted as it is met.

    `aim(layer, reference, self)` gives the values [N, C, H, W] to reach and how much each matters.
    """

    def __init__(self, reference: TorchNet, point, pixels, limits: dict, aim):
        super().__init__(dict(reference.weights), point, pixels, limits)
        self.reference, self.aim = reference, aim
        self.scales: dict[str, np.ndarray] = {}
        self.rng = np.random.default_rng(0)

    def conv(self, x, layer, stride=1, pads=(0, 0, 0, 0), groups=1, relu=False):
        at = self.rng.permutation(self.reference.raw[layer][:, 0].numel())[:SAMPLES]
        aim = self.aim(layer, self.reference, self)
        y, matters = (v.permute(0, 2, 3, 1).flatten(0, 2)[at].numpy() for v in aim)
        w, bias = self.weights[layer]
        if copies(w):
            self.scales[layer] = quantise_per_channel(w, axis=0)[1]
            return super().conv(x, layer, stride, pads, groups, relu)
        taps = patches(bordered(x, pads), w.shape[2], stride, at)
        fitted, biases, scales = np.empty_like(w), np.empty_like(bias), np.empty(len(w), np.float32)
        inputs = None if groups > 1 else Inputs(taps.reshape(len(at), -1))
        for row in range(len(w)):
            seen = inputs or Inputs(taps[:, row])
            found = seen.fit(y[:, row], w[row].ravel().astype(np.float64), matters[:, row])
            fitted[row], biases[row], scales[row] = found[0].reshape(w.shape[1:]), *found[1:]
        self.weights[layer], self.scales[layer] = (fitted, biases), scales
        return super().conv(x, layer, stride, pads, groups, relu)


def copies(w: np.ndarray) -> bool:
    """Whether every output is one input, scaled: nothing is lost by rounding."""
    return (np.count_nonzero(w.reshape(len(w), -1), axis=1) <= 1).all()


def patches(x: torch.Tensor, size: int, stride: int, at: np.ndarray) -> np.ndarray:
    """[len(at), channels, size * size]: the windows of the output pixels numbered `at`."""
    windows = x.unfold(2, size, stride).unfold(3, size, stride)
    n, _, high, wide = windows.shape[:4]
    picture, y, px = np.unravel_index(at, (n, high, wide))
    return windows[picture, :, y, px].flatten(2).numpy()


class Inputs:
    """What a layer reads, [samples, inputs]."""

    def __init__(self, x: np.ndarray):
        self.centre = x.mean(0)
        # a column of ones: one product gives sums of squares and sums
        self.x = np.concatenate([x - self.centre, np.ones((len(x), 1), np.float32)], 1)

    def fit(self, y: np.ndarray, w: np.ndarray, matters: np.ndarray) -> tuple[np.ndarray, float, float]:
        """(weights on an int8 grid, bias, step of the grid) of one output; weights that are all 0 stay so."""
        matters = (matters / matters.sum(dtype=np.float64)).astype(np.float32)
        cross = (self.x.T @ (matters * y)).astype(np.float64)
        if not w.any():
            return w, float(cross[-1]), 1.0
        squares = (self.x * matters[:, None]).T.astype(np.float32) @ self.x
        middle, level = squares[-1, :-1].astype(np.float64), cross[-1]
        power = squares[:-1, :-1].astype(np.float64) - np.outer(middle, middle)
        away = cross[:-1] - level * middle - power @ w
        power[np.diag_indices_from(power)] += HOLD * np.trace(power) / len(power) + 1e-9
        w = w + np.linalg.solve(power, away)
        spread = np.linalg.cholesky(np.linalg.inv(power)).T
        tried = [round_row(w, spread, shrink * np.abs(w).max() / 127) for shrink in SHRINKS]
        best, step = min(tried, key=lambda t: (t[0] - w) @ power @ (t[0] - w))
        return best, float(level - best @ (middle + self.centre)), step


def round_row(w: np.ndarray, spread: np.ndarray, step: float) -> tuple[np.ndarray, float]:
    w, q = w.copy(), np.empty_like(w)
    for j in range(len(w)):
        q[j] = np.clip(np.rint(w[j] / step), -127, 127) * step
        w[j + 1 :] -= (w[j] - q[j]) / spread[j, j] * spread[j, j + 1 :]
    return q, float(step)
