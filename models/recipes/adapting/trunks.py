"""Speech encoders that never heard a corpus, each in a bundle of its own: what a new place is to the shipped one.

The shipped encoder heard RAVDESS, TESS and EmoDB, so none of them is new to it. These three are the
same student trained on two of them, without a teacher.
"""

from pathlib import Path

import numpy as np
import torch

from common import audio, manifest
from emotion import speech


VIEWS = 2  # as published and disturbed once: enough for a trunk that is only compared with itself


def folder(work, corpus: str) -> Path:
    return Path(work) / "adapting" / f"without-{corpus}"


def train(data, work) -> None:
    """One student a corpus left out."""
    speech.prepare(data, work, VIEWS)
    found = audio.clips(data)
    corpus = np.array([clip.corpus for clip in found])
    for name in audio.CORPORA:
        path = speech.checkpoint(work, name, taught=False)
        if not path.exists():
            torch.save(speech.fit(work, found, corpus != name, count=VIEWS).state_dict(), path)


def export(data, work) -> None:
    """Each as an int8 bundle; the temperature is that of RAVDESS's folds, as nobody knows a new place's."""
    for name in audio.CORPORA:
        out = folder(work, name)
        if not (out / "manifest.toml").exists():
            speech.export(work, name, out, taught=False)
            _describe(out, name)


def _describe(out: Path, corpus: str) -> None:
    about = {
        "id": f"without-{corpus}",
        "task": "emotion",
        "version": "1.0.0",
        "summary": f"Emotion from a voice; the encoder never heard {corpus}",
        "licence": "research only",
        "labels": audio.CLASSES,
        "speech": {"file": "speech.onnx", "sample_rate": 16000, "mels": 80, "max_seconds": 8.0},
        "head": [manifest.head("speech-only", ["speech.logits"])],
        "decision": {"unsure_below": 0.4},
        "eval": {"figures": ["accuracy", "ua", "macro_f1"]},
    }
    manifest.write(out, about, [("speech.onnx", "int8")])
