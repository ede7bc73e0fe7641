"""A head of boxes for the toy bundle of entities, for tests: what it says can be worked out by hand.

Writes toy_entities/{image.onnx,boxes.onnx}. The image trunk gives the mean colour of each quarter of the picture. The head
points at the quarter that is reddest if a name has the kind 0 (PER) or none, greenest for 1, bluest for 2; for 3 it finds
nothing. Each piece that a name has beyond its first makes it surer.
"""

import numpy as np
from onnx import TensorProto

from common.onnx_graph import FLOAT, INT64, Graph
from common.stages import Places

SIDE, KINDS = 32, 5
QUARTERS = [[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]]


def image() -> Graph:
    """Bytes [1, 32, 32, 3] to quarters [4, 3], 0..1."""
    g = Graph("image", int8=False)
    pixels = g.op("Cast", [g.input("pixels", [1, SIDE, SIDE, 3], TensorProto.UINT8)], to=FLOAT)
    parts = g.op("Reshape", [pixels, g.ints([2, SIDE // 2, 2, SIDE // 2, 3])])
    means = g.op("ReduceMean", [parts], axes=[1, 3], keepdims=0)
    rows = g.mul(g.op("Reshape", [means, g.ints([4, 3])]), g.f32(1 / 255))
    g.output(rows, "quarters", ["p", 3])
    # as wide as the toy's words, which read it
    wide = g.op("Concat", [rows, g.f32(np.zeros((4, 5)))], axis=1)
    g.output(wide, "patches", ["p", 8])
    return g


def boxes() -> Graph:
    g = Graph("boxes", int8=False)
    ids, kinds = g.input("ids", ["Q", "L"], INT64), g.input("kinds", ["Q"], INT64)
    quarters = g.input("quarters", ["p", 3])
    # of each kind the channel
    wanted = np.zeros((KINDS, 3), np.float32)
    wanted[:3] = 20 * np.eye(3)
    wanted[4] = wanted[0]
    asked = g.op("Gather", [g.f32(wanted), kinds], axis=0)
    cells = g.op("MatMul", [asked, g.op("Transpose", [quarters], perm=[1, 0])])
    some = g.op("Cast", [g.op("Min", [ids, g.ints([1])])], to=FLOAT)
    pieces = g.op("ReduceSum", [some, g.ints([1])], keepdims=1)
    nothing = g.op("Sub", [g.f32([[12.0]]), pieces])
    g.output(g.op("Concat", [nothing, cells], axis=1), "logits", ["Q", 5])
    count = g.op("Unsqueeze", [g.op("Mul", [pieces, g.f32([[0.0]])]), g.ints([2])])
    g.output(g.add(count, g.f32(np.array([QUARTERS]))), "boxes", ["Q", 4, 4])
    return g


def write(at: Places) -> None:
    folder = at.out / "toy_entities"
    folder.mkdir(exist_ok=True)
    for name, graph in (("image", image()), ("boxes", boxes())):
        graph.save(folder / f"{name}.onnx")
