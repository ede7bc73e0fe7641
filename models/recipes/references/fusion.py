"""Reference for tests of src/fusion: the two label-guided heads in plain numpy, float64.

Inputs are not stored: both sides draw them from the same 32-bit linear congruential
generator, whose numbers are exact in f32. Only shapes, seeds and results are in the file.
"""

import json

import numpy as np

from common.stages import Places

CLASSES = 4


class Draw:
    """Numbers in [-0.5, 0.5), multiples of 2^-24, drawn one after the other."""

    def __init__(self, seed):
        self.state = seed

    def array(self, scale, *shape):
        values = []
        for _ in range(int(np.prod(shape))):
            self.state = (1664525 * self.state + 1013904223) % 2**32
            values.append((self.state >> 8) / 2**24 - 0.5)
        return (np.array(values) * scale).astype(np.float32).astype(np.float64).reshape(shape)


def row_softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def row_cosine(x, labels):
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(labels, axis=1)[None, :]
    return (x @ labels.T) / norms


def inputs(seed, d, n, m):
    """The order of drawing is part of the file's meaning."""
    draw = Draw(seed)
    return {
        "text": draw.array(2.0, n, d),
        "speech": draw.array(2.0, m, d),
        "w": draw.array(1.0, d, d),
        "label_text": draw.array(2.0, CLASSES, d),
        "label_speech": draw.array(2.0, CLASSES, d),
        "classifier": draw.array(1.0, CLASSES, 2 * d),
        "bias": draw.array(1.0, CLASSES),
    }


def head(x, attention):
    fused = np.concatenate([x["text"], attention @ x["speech"]], axis=1)
    logits = x["classifier"] @ fused.mean(axis=0) + x["bias"]
    return {"logits": rounded(logits), "attention": rounded(attention)}


def rounded(array):
    return [float(f"{value:.8g}") for value in np.ravel(array)]


def case(seed, d, n, m, temperature):
    x = inputs(seed, d, n, m)
    g_text = row_cosine(x["text"], x["label_text"])
    g_speech = row_cosine(x["speech"], x["label_speech"])
    a_r = row_softmax(x["text"] @ x["w"] @ x["speech"].T)
    a_l = row_softmax(g_text @ g_speech.T / temperature)
    return {
        "seed": seed, "d": d, "n": n, "m": m, "temperature": temperature,
        "g_text": rounded(g_text), "g_speech": rounded(g_speech),
        "cross": head(x, a_r), "label": head(x, a_l),
    }


def write(at: Places) -> None:
    shapes = [(8, 1, 1), (8, 1, 5), (8, 6, 1), (9, 3, 4), (31, 7, 10), (192, 11, 33), (193, 5, 17)]
    cases = [case(seed, d, n, m, 0.2) for seed, (d, n, m) in enumerate(shapes, 1)]
    cases.append(case(99, 16, 5, 9, 1.0))
    with open(at.out / "fusion_reference.json", "w", encoding="utf-8") as out:
        json.dump({"made_by": "models/recipes/references/fusion.py", "cases": cases}, out)
        out.write("\n")
