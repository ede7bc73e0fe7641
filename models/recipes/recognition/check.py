"""How far integers are from floats: both bundles by ONNX Runtime, fed with the same."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import mel, runtime


@dataclass(frozen=True)
class Closeness:
    cross: list[float]
    logits: list[float]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


class Pair:
    """Encoder and decoder of a bundle, and the cache of an utterance."""

    def __init__(self, folder: Path):
        self.encoder, self.decoder = (runtime.session(folder / name) for name in ("encoder.onnx", "decoder.onnx"))
        self.names = [i.name for i in self.decoder.get_inputs()]

    def hear(self, wave: np.ndarray) -> list[np.ndarray]:
        self.cross = self.encoder.run(None, {"mel": mel.log_mel(wave)})
        width = self.cross[0].shape[1]
        self.past = [np.zeros((0, width), np.float32) for _ in self.cross]
        return self.cross

    def step(self, token: int) -> np.ndarray:
        ints = [np.array([token], np.int64), np.array([len(self.past[0])], np.int64)]
        logits, rows = self.decoder.run(None, dict(zip(self.names, [*ints, *self.cross, *self.past])))
        self.past = [np.concatenate([p, r]) for p, r in zip(self.past, np.split(rows, len(self.past), axis=1))]
        return logits[0]


def closeness(int8: Path, f32: Path, wave: np.ndarray, start: list[int], steps: int = 12) -> Closeness:
    ours, theirs = Pair(int8), Pair(f32)
    cross = [cosine(a, b) for a, b in zip(ours.hear(wave), theirs.hear(wave))]
    logits, prompt = [], list(start)
    for _ in range(steps):
        token = prompt.pop(0) if prompt else token
        a, b = ours.step(token), theirs.step(token)
        logits.append(cosine(a, b))
        token = int(np.argmax(b))
    return Closeness(cross, logits)
