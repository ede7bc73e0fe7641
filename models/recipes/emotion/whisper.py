"""Whisper's encoder as plain torch."""

import torch
import torch.nn.functional as F
from torch import nn

from common.whisper import checkpoint, encoder_tensors


class Layer(nn.Module):
    """Pre-norm transformer layer; the key has no bias (it cancels in the softmax)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, keep=None):
        """x [B, T, width]; keep [B, T] is true on real frames (None: all are)."""
        b, t, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mask = None if keep is None else keep[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Encoder(nn.Module):
    """conv, conv/2, positions, layers: mel [T, 80] -> frames [ceil(T/2), width]."""

    def __init__(self, width: int, layers: int):
        super().__init__()
        self.conv1 = nn.Conv1d(80, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.positions = nn.Parameter(torch.zeros(400, width), requires_grad=False)
        self.layers = nn.ModuleList(Layer(width, width // 64) for _ in range(layers))

    def front(self, mel):
        """mel [B, T, 80] -> [B, ceil(T/2), width]"""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel.transpose(1, 2))))).transpose(1, 2)
        return x + self.positions[: x.shape[1]]

    def all_layers(self, mel):
        """The front's output and each layer's, for one mel [T, 80]."""
        outputs = [self.front(mel[None])]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        return [x[0] for x in outputs]


_LAYER_NAMES = {
    "norm1": ("self_attention/layer_norm", "gamma", "beta"),
    "qkv": ("self_attention/linear_0", "weight", "bias"),
    "out": ("self_attention/linear_1", "weight", "bias"),
    "norm2": ("ffn/layer_norm", "gamma", "beta"),
    "up": ("ffn/linear_0", "weight", "bias"),
    "down": ("ffn/linear_1", "weight", "bias"),
}


def encoder(name: str, layers: int | None = None) -> Encoder:
    """The first `layers` layers (all of them by default) with the published weights."""
    found = encoder_tensors(checkpoint(name))
    available = sum(1 for key in found if key.endswith("ffn/layer_norm/gamma"))
    model = Encoder(found["conv1/weight"].shape[0], available if layers is None else layers)
    state = {"positions": found["position_encodings/encodings"][:400]}
    for conv in ("conv1", "conv2"):
        state |= {f"{conv}.{part}": found[f"{conv}/{part}"] for part in ("weight", "bias")}
    for i in range(len(model.layers)):
        for ours, (theirs, weight, bias) in _LAYER_NAMES.items():
            state[f"layers.{i}.{ours}.weight"] = found[f"layer_{i}/{theirs}/{weight}"]
            state[f"layers.{i}.{ours}.bias"] = found[f"layer_{i}/{theirs}/{bias}"]
    model.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    return model.eval()
