"""The text trunk of sarcasm and entities: MiniLM with its whole vocabulary, trained by all tasks at once.

Stages:
  train     all heads and the trunk, one process, with checkpoints
  measure   what those heads are worth on the valid parts, in bf16
"""

from common.stages import Places
from trunk import measure as tm
from trunk import train as tt

DATA = "folder with text.tar.xz, picture_words/ and mvsa_single/"


def train(at: Places) -> None:
    tt.train(at.data, at.work)


def measure(at: Places) -> None:
    tm.run(at.data, at.work)


STAGES = {"train": train, "measure": measure}
