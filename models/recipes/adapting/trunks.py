"""Speech encoders that never heard a corpus, each in a bundle of its own: what a new place is to the shipped one.

The shipped encoder heard RAVDESS, TESS and EmoDB, so none of them is new to it. These three are the
same student trained on two of them, without a teacher.
"""

from pathlib import Path

import numpy as np
import torch

from common import audio
from common import manifest
from emotion import speech

MANIFEST = """schema = 2
id = "without-{corpus}"
task = "emotion"
version = "1.0.0"
summary = "Emotion from a voice; its encoder never heard {corpus}: for measuring what adapting is worth"
licence = "research only"
labels = ["angry", "happy", "sad", "neutral"]

[speech]
file = "speech.onnx"
sample_rate = 16000
mels = 80
max_seconds = 8.0

[[head]]
name = "speech-only"
kind = "classes"
reads = ["speech.logits", "speech.frames"]
file = "speech-head.onnx"

[decision]
unsure_below = 0.4

[eval]
figures = ["accuracy", "ua", "macro_f1"]

[[file]]
name = "speech.onnx"
precision = "int8"
sha256 = "{speech}"

[[file]]
name = "speech-head.onnx"
precision = "f32"
sha256 = "{head}"
"""


def train(data, work) -> None:
    """One student a corpus left out."""
    speech.prepare(data, work)
    found = audio.clips(data)
    corpus = np.array([clip.corpus for clip in found])
    for name in audio.CORPORA:
        path = speech.checkpoint(work, name, taught=False)
        if not path.exists():
            torch.save(speech.fit(work, found, corpus != name).state_dict(), path)
