"""A bundle of entities that knows a few names, for tests: what it says can be worked out by hand.

Writes toy_entities/{text.onnx,reader.onnx,words.onnx,word-rows.onnx,vocab.txt,words.txt}. A token's row holds its own logits: whether
it begins a name of each of four types, then whether it ends one. A word without a capital is none.
Every picture word adds one to whether a type is there at all.
"""

import numpy as np

from common.onnx_graph import FLOAT, INT64, Graph
from common.stages import Places

TYPES = 4
# piece: (types that it begins, types that it ends)
PIECES = {
    "[UNK]": ("", ""), "[CLS]": ("0", "0"), "[SEP]": ("0", "0"), "ke": ("0", ""), "##vin": ("0", ""), "durant": ("", "0"),
    "oracle": ("1", ""), "arena": ("", "1"), "in": ("", ""), "paris": ("1", "1"), "'": ("", ""), "s": ("", ""), ",": ("", ""),
    "nba": ("2", "2"), "@": ("0", ""), "kd": ("", "0"), "לונדון": ("", ""), "sox": ("3", "3"), "#": ("", ""),
}

WORDS = ["ball", "man", "sky"]


def table() -> np.ndarray:
    rows = np.full((len(PIECES), 2 * TYPES), -4.0, np.float32)
    for row, (starts, ends) in zip(rows, PIECES.values()):
        for kind in starts:
            row[int(kind)] = 2.0
        for kind in ends:
            row[TYPES + int(kind)] = 2.0
    # nobody is certain of a team: a picture has to help
    rows[list(PIECES).index("sox"), 3] = 0.5
    return rows


def text() -> Graph:
    g = Graph("text", int8=False)
    ids, types = g.input("ids", ["N"], INT64), g.input("types", ["N"], INT64)
    shapes = np.zeros((8, 2 * TYPES), np.float32)
    shapes[0] = -4.0
    rows = g.add(g.embedding(ids, table(), "words"), g.embedding(types, shapes, "shapes"))
    g.output(rows, "tokens", ["N", 2 * TYPES])
    return g


def reader() -> Graph:
    g = Graph("reader", int8=False)
    tokens, pictures = g.input("tokens", ["n", 2 * TYPES]), g.input("pictures", ["w", 2 * TYPES])
    columns = g.op("Transpose", [tokens], perm=[1, 0])
    start, end = (g.op("Slice", [columns, g.ints([at]), g.ints([at + TYPES]), g.ints([0])]) for at in (0, TYPES))
    height = g.op("Slice", [g.op("Shape", [pictures]), g.ints([0]), g.ints([1]), g.ints([0])])
    more = g.op("Cast", [height], to=FLOAT)
    exist = g.add(g.op("ReduceMax", [start], axes=[1], keepdims=0), g.op("Sub", [more, g.f32([1.0])]))
    joint = g.add(g.op("Unsqueeze", [start, g.ints([2])]), g.op("Unsqueeze", [end, g.ints([1])]))
    for value, name, shape in ((exist, "exist", [4]), (start, "start", [4, "n"]), (end, "end", [4, "n"]), (joint, "match", [4, "n", "n"])):
        g.output(value, name, shape)
    return g


def words() -> Graph:
    """A logit a word: columns of the mean patch."""
    g = Graph("words", int8=False)
    mean = g.mean_rows(g.input("patches", ["p", "d"]))
    g.output(g.op("Slice", [mean, g.ints([0]), g.ints([len(WORDS)]), g.ints([0])]), "logits", [len(WORDS)])
    return g


def word_rows() -> Graph:
    g = Graph("word-rows", int8=False)
    rows = g.embedding(g.input("ids", ["k"], INT64), np.eye(len(WORDS), 2 * TYPES, dtype=np.float32), "rows")
    g.output(rows, "rows", ["k", 2 * TYPES])
    return g


def write(at: Places) -> None:
    folder = at.out / "toy_entities"
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in PIECES), encoding="utf-8")
    (folder / "words.txt").write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")
    for name, graph in (("text", text()), ("reader", reader()), ("words", words()), ("word-rows", word_rows())):
        graph.save(folder / f"{name}.onnx")
