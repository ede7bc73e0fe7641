"""What the tests in Rust compare with, written into tests/data.

Stages:
  pictures          the drawn faces that tests look at
  faces             what Python finds in them with the networks that ship
  fusion            the label-guided heads in plain numpy, float64
  mel               log-mel rows of a made signal
  queried_spans     a tiny reader of spans, and what ONNX Runtime and torch say of it
  resize            crops resampled by Pillow
  text_guided_unit  a tiny unit with its weights, and ONNX Runtime's outputs
  toy_boxes         a head for it that points at colours
  toy_entities      a bundle that knows a few names
  toy_recogniser    one that knows two sentences
  word_shapes       strings of our own and the shapes of their words, as the text trunk of entities reads them
                    (`--work`: where emotion was prepared)
  wordpiece         strings of our own and the teacher's tokenizer's ids (`--work`: where emotion was prepared)
  wordpiece_sweep   every Unicode character by the teacher's tokenizer
"""

import importlib

from common.stages import REPO

OUT = REPO / "tests" / "data"


def writer(module: str):
    """`write` of references/MODULE.py: each needs packages of its own, so it is imported when it runs."""
    return lambda at: importlib.import_module(f"references.{module}").write(at)


STAGES = {
    "pictures": writer("draw_face"),
    "faces": writer("faces"),
    "fusion": writer("fusion"),
    "mel": writer("mel"),
    "queried_spans": writer("queried_spans"),
    "resize": writer("resize"),
    "text_guided_unit": writer("text_guided_unit"),
    "toy_boxes": writer("toy_boxes"),
    "toy_entities": writer("toy_entities"),
    "toy_recogniser": writer("toy_recogniser"),
    "word_shapes": writer("word_shapes"),
    "wordpiece": writer("wordpiece"),
    "wordpiece_sweep": writer("wordpiece_sweep"),
}
