"""The text trunk of sarcasm and entities: MiniLM with its whole vocabulary, trained by all tasks at once.

Stages:
  language  MiniLM goes on guessing masked words, in posts and talk
  teach     MPNet fine-tuned on all tasks, three times: soft labels by a teacher that never saw the text
  train     all heads and the trunk, one process, with checkpoints
  parts     the same without the language, and without the teacher: what each is worth
  measure   what those heads are worth on the valid parts, in bf16

A GPU is used if there is one; a processor takes days for `teach`.
"""

import os

from common.stages import Places
from trunk import batches as tb
from trunk import language, teacher
from trunk import measure as tm
from trunk import train as tt

DATA = "folder with text.tar.xz, picture_words/ and mvsa_single/"
PROCESSES = os.cpu_count() or 1


def read_on(at: Places) -> None:
    language.train(tt.Texts(at.data, at.work), at.work, processes=PROCESSES)


def teach(at: Places) -> None:
    for fold in range(tb.FOLDS):
        texts = tt.Texts(at.data, at.work)
        teacher.run(texts.items, texts.plan, texts.words, texts.tokenizer, at.work, fold, PROCESSES)


def train(at: Places) -> None:
    tt.train(at.data, at.work)


def parts(at: Places) -> None:
    for kind in tt.KINDS:
        tt.train(at.data, at.work, kind)


def measure(at: Places) -> None:
    tm.run(at.data, at.work)


STAGES = {"language": read_on, "teach": teach, "train": train, "parts": parts, "measure": measure}
