"""The text trunk of sarcasm and entities: MiniLM with its whole vocabulary, trained by all tasks at once.

Stages:
  teach     MPNet fine-tuned on all tasks, three times: soft labels by a teacher that never saw the text
  train     all heads and the trunk, one process, with checkpoints
  untaught  the same without the teacher: what it is worth
  measure   what those heads are worth on the valid parts, in bf16

A GPU is used if there is one; a processor takes days for `teach`.
"""

import os

from common.stages import Places
from trunk import batches as tb
from trunk import measure as tm
from trunk import teacher
from trunk import train as tt

DATA = "folder with text.tar.xz, picture_words/ and mvsa_single/"
PROCESSES = os.cpu_count() or 1


def teach(at: Places) -> None:
    for fold in range(tb.FOLDS):
        texts = tt.Texts(at.data, at.work)
        teacher.run(texts.items, texts.plan, texts.words, texts.tokenizer, at.work, fold, PROCESSES)


def train(at: Places) -> None:
    tt.train(at.data, at.work)


def untaught(at: Places) -> None:
    tt.train(at.data, at.work, taught=False)


def measure(at: Places) -> None:
    tm.run(at.data, at.work)


STAGES = {"teach": teach, "train": train, "untaught": untaught, "measure": measure}
