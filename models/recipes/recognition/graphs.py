"""Encoder and decoder of a Whisper, node by node, out of its arrays.

The encoder gives what the decoder's cross attention reads: keys and values of every layer, once an
utterance. The decoder takes one token and the keys and values of the tokens before it, which the
caller keeps: `rows` are those of this token, to be appended, as wide as all pasts together.
"""

import numpy as np

from common import mel
from common.onnx_graph import INT64, Graph, quantise_per_channel

HEAD = 64  # columns of a head, in every Whisper
EPS = 1e-5
Arrays = dict[str, np.ndarray]


def layers(arrays: Arrays) -> int:
    return sum(1 for name in arrays if name.endswith("ffn/layer_norm/gamma"))


def cached(count: int, what: str) -> list[str]:
    """Names of the keys and values of every layer: `cross` of the sound, `past` of the tokens."""
    return [f"{what}_{kind}_{i}" for i in range(count) for kind in ("key", "value")]


# -- parts ------------------------------------------------------------------------


def norm(g: Graph, x: str, arrays: Arrays, name: str) -> str:
    return g.layer_norm(x, arrays[f"{name}/gamma"], arrays[f"{name}/beta"], EPS)


def linear(g: Graph, x: str, arrays: Arrays, name: str) -> str:
    return g.linear(x, arrays[f"{name}/weight"], arrays[f"{name}/bias"])


def projected(g: Graph, x: str, arrays: Arrays, name: str, parts: str) -> list[str]:
    """Query, key or value by their letters, from weights that hold them one above the other.

    The query's share of 1/sqrt(width) goes into its weights; a key's bias adds the same to every
    score of a row, and so nothing to the softmax.
    """
    weights = np.split(arrays[f"{name}/weight"], len(parts))
    biases = np.split(arrays[f"{name}/bias"], len(parts))
    made = []
    for part, weight, bias in zip(parts, weights, biases):
        scale = HEAD**-0.5 if part == "q" else 1.0
        made.append(g.linear(x, weight * scale, None if part == "k" else bias * scale, part))
    return made


def attend(g: Graph, q: str, k: str, v: str, width: int) -> str:
    """Rows of every head, side by side again."""

    def split(value, perm):
        shaped = g.op("Reshape", [value, g.ints([0, width // HEAD, HEAD])])
        return g.op("Transpose", [shaped], perm=perm)

    scores = g.softmax(g.matmul(split(q, [1, 0, 2]), split(k, [1, 2, 0]), "scores"))
    mixed = g.op("Transpose", [g.matmul(scores, split(v, [1, 0, 2]), "context")], perm=[1, 0, 2])
    return g.op("Reshape", [mixed, g.ints([0, width])])


def feed_forward(g: Graph, x: str, arrays: Arrays, name: str) -> str:
    wide = g.gelu(linear(g, norm(g, x, arrays, f"{name}/layer_norm"), arrays, f"{name}/linear_0"))
    return g.add(x, linear(g, wide, arrays, f"{name}/linear_1"))


# -- encoder ----------------------------------------------------------------------


def front(g: Graph, x: str, arrays: Arrays) -> str:
    """conv, conv/2, positions: mel [T, 80] to frames [ceil(T/2), width]."""
    for name, stride in (("conv1", 1), ("conv2", 2)):
        x = g.op("Unsqueeze", [g.op("Transpose", [x], perm=[1, 0]), g.ints([0])])
        x = g.gelu(g.conv1d(x, arrays[f"{name}/weight"], arrays[f"{name}/bias"], stride=stride, pad=1))
        x = g.op("Transpose", [g.op("Squeeze", [x, g.ints([0])])], perm=[1, 0])
    rows = g.op("Shape", [x], start=0, end=1)
    table = arrays["position_encodings/encodings"]

    def head(values):
        return g.op("Slice", [values, g.ints([0]), rows, g.ints([0])])

    # sines all, so one scale serves them; what it rounds off is a second table of the reference
    left, scale = table, 1 / 127
    for _ in range(1 if g.int8 else 2):
        codes = np.rint(left / scale).astype(np.int8)
        held = g.op("Cast", [head(g.const(codes, "positions"))], to=1)
        x = g.add(x, g.mul(held, g.f32(scale)))
        left, scale = left - codes * np.float32(scale), scale / 254
    return x


def encoder(arrays: Arrays, decoder_arrays: Arrays, int8: bool = True, kind=Graph) -> Graph:
    g, width = kind("encoder", int8), arrays["conv1/weight"].shape[0]
    x = front(g, g.input("mel", ["T", mel.BANDS]), arrays)
    for i in range(layers(arrays)):
        name = f"layer_{i}/self_attention"
        q, k, v = projected(g, norm(g, x, arrays, f"{name}/layer_norm"), arrays, f"{name}/linear_0", "qkv")
        x = g.add(x, linear(g, attend(g, q, k, v, width), arrays, f"{name}/linear_1"))
        x = feed_forward(g, x, arrays, f"layer_{i}/ffn")
    x, count = norm(g, x, arrays, "layer_norm"), layers(decoder_arrays)
    made = []
    for i in range(count):
        made += projected(g, x, decoder_arrays, f"layer_{i}/attention/linear_1", "kv")
    for value, name in zip(made, cached(count, "cross")):
        g.output(value, name, ["N", width])
    return g


# -- decoder ----------------------------------------------------------------------


def column(g: Graph, ids: str, table: np.ndarray) -> tuple[str, str]:
    """Columns of the vocabulary [width, tokens] as rows, and its name: it is stored once, in the
    order in which the product reads it."""
    if not g.int8:
        held = g.f32(table.T, "vocabulary")
        return g.op("Transpose", [g.op("Gather", [held, ids], axis=1)], perm=[1, 0]), held
    codes, scale = quantise_per_channel(table.T, axis=1)
    held = g.const(codes, "vocabulary")
    columns = g.op("Cast", [g.op("Gather", [held, ids], axis=1)], to=1)
    scaled = g.mul(columns, g.op("Gather", [g.f32(scale), ids], axis=0))
    return g.op("Transpose", [scaled], perm=[1, 0]), held


def decoder(arrays: Arrays, int8: bool = True, kind=Graph) -> Graph:
    g, count = kind("decoder", int8), layers(arrays)
    table = arrays["embeddings/weight"]
    width = table.shape[1]
    ids, position = g.input("ids", [1], INT64), g.input("position", [1], INT64)
    cross = [g.input(name, ["N", width]) for name in cached(count, "cross")]
    past = [g.input(name, ["P", width]) for name in cached(count, "past")]
    words, _ = column(g, ids, table)
    x = g.add(words, g.embedding(position, arrays["position_encodings/encodings"], "positions"))
    made = []
    for i in range(count):
        name = f"layer_{i}/self_attention"
        q, k, v = projected(g, norm(g, x, arrays, f"{name}/layer_norm"), arrays, f"{name}/linear_0", "qkv")
        made += [k, v]
        keys, values = (g.op("Concat", [before, own], axis=0) for before, own in zip(past[2 * i : 2 * i + 2], (k, v)))
        x = g.add(x, linear(g, attend(g, q, keys, values, width), arrays, f"{name}/linear_1"))
        name = f"layer_{i}/attention"
        (q,) = projected(g, norm(g, x, arrays, f"{name}/layer_norm"), arrays, f"{name}/linear_0", "q")
        x = g.add(x, linear(g, attend(g, q, cross[2 * i], cross[2 * i + 1], width), arrays, f"{name}/linear_2"))
        x = feed_forward(g, x, arrays, f"layer_{i}/ffn")
    logits = g.linear(norm(g, x, arrays, "layer_norm"), table, None, "vocabulary")
    g.output(logits, "logits", [1, len(table)])
    g.output(g.op("Concat", made, axis=1), "rows", [1, 2 * count * width])
    return g
