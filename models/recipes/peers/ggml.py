"""Whisper tiny.en as the file that whisper.cpp reads, with its 8-bit blocks (q8_0), from the package that ours is made of.

    ggml.write(path)

Little endian: a magic number, eleven sizes, the mel filters, the tokens as bytes, then every array: rank, length of
its name, kind, its sizes from the last one on, the name, the values. A block of q8_0 is a half float, the
scale, and 32 bytes. What whisper.cpp's own quantiser leaves as floats is left here, too.
"""

import struct
from pathlib import Path

import numpy as np

from common import mel, whisper

MAGIC, QUANTISED = 0x67676D6C, 2007  # q8_0 (7), the second version of its blocks
F32, F16, Q8_0 = 0, 1, 8
BLOCK = 32
# n_vocab, n_audio_ctx, state, head, layer, n_text_ctx, state, head, layer, n_mels
SIZES = (51864, 1500, 384, 6, 4, 448, 384, 6, 4, 80)
TEXT_TOKENS = 50257
NORMS = {"gamma": "weight", "beta": "bias"}
# layer norm and products of an attention, as CTranslate2 joins them
SELF = ("attn", {"linear_0": ("query", "key", "value"), "linear_1": ("out",)})
CROSS = ("cross_attn", {"linear_0": ("query",), "linear_1": ("key", "value"), "linear_2": ("out",)})


def write(path: Path) -> None:
    with open(path, "wb") as out:
        out.write(struct.pack("<I11i", MAGIC, *SIZES, QUANTISED))
        filters = np.asarray(mel.filterbank(), "<f4")
        out.write(struct.pack("<2i", *filters.shape) + filters.tobytes())
        tokens = [to_bytes(token) for token in whisper.vocabulary()[:TEXT_TOKENS]]
        out.write(struct.pack("<i", len(tokens)) + b"".join(struct.pack("<I", len(t)) + t for t in tokens))
        for name, array in arrays().items():
            kind, values = stored(name, array)
            encoded = name.encode()
            shape = array.shape[::-1]
            out.write(struct.pack(f"<3i{len(shape)}i", len(shape), len(encoded), kind, *shape) + encoded + values)


def arrays() -> dict[str, np.ndarray]:
    """The arrays by the names of the published checkpoint."""
    blob, found = whisper.checkpoint("tiny.en"), {}
    for part, last in (("encoder", "ln_post"), ("decoder", "ln")):
        from_package = whisper.tensors(blob, f"{part}/")
        found |= {f"{part}.{name}": array for name, array in plain(from_package, last).items()}
        for layer in range(4):
            own = {n.removeprefix(f"layer_{layer}/"): a for n, a in from_package.items() if n.startswith(f"layer_{layer}/")}
            found |= {f"{part}.blocks.{layer}.{name}": array for name, array in block(own).items()}
    return found


def plain(from_package: dict, last: str) -> dict:
    """What belongs to no layer; `last` is the name of the norm behind them."""
    found = {"positional_embedding": from_package["position_encodings/encodings"]}
    found |= {f"{last}.{there}": from_package[f"layer_norm/{here}"] for here, there in NORMS.items()}
    if "embeddings/weight" in from_package:
        return found | {"token_embedding.weight": from_package["embeddings/weight"]}
    for conv in ("conv1", "conv2"):
        # a bias is a column there
        found |= {f"{conv}.weight": from_package[f"{conv}/weight"], f"{conv}.bias": from_package[f"{conv}/bias"][:, None]}
    return found


def block(own: dict) -> dict:
    """A layer: attention to itself, in the decoder to what was heard, and two products behind it."""
    found = {}
    for folder, (name, linears) in (("self_attention", SELF), ("attention", CROSS)):
        if f"{folder}/linear_0/weight" not in own:
            continue
        found |= {f"{name}_ln.{there}": own[f"{folder}/layer_norm/{here}"] for here, there in NORMS.items()}
        for linear, parts in linears.items():
            for end in ("weight", "bias"):
                for part, array in zip(parts, np.split(own[f"{folder}/{linear}/{end}"], len(parts))):
                    found[f"{name}.{part}.{end}"] = array
        del found[f"{name}.key.bias"]  # Whisper's keys have none
    found |= {f"mlp_ln.{there}": own[f"ffn/layer_norm/{here}"] for here, there in NORMS.items()}
    return found | {f"mlp.{2 * i}.{end}": own[f"ffn/linear_{i}/{end}"] for i in (0, 1) for end in ("weight", "bias")}


def stored(name: str, array: np.ndarray) -> tuple[int, bytes]:
    if name.startswith("encoder.conv") and name.endswith("weight"):
        return F16, array.astype("<f2").tobytes()
    if array.ndim == 1 or "positional" in name or name.endswith("bias"):
        return F32, array.astype("<f4").tobytes()
    return Q8_0, blocks(array)


def blocks(array: np.ndarray) -> bytes:
    values = array.reshape(-1, BLOCK).astype(np.float32)
    scale = np.abs(values).max(1, keepdims=True) / 127
    codes = np.rint(np.divide(values, scale, out=np.zeros_like(values), where=scale > 0)).astype(np.int8)
    joined = np.zeros(len(values), [("scale", "<f2"), ("codes", "i1", BLOCK)])
    joined["scale"], joined["codes"] = scale[:, 0], codes
    return joined.tobytes()


def to_bytes(token: str) -> bytes:
    """Of GPT-2's byte-level alphabet."""
    return bytes(ALPHABET[c] for c in token)


def alphabet() -> dict[str, int]:
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in shown]
    return {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(others)}


ALPHABET = alphabet()
