"""A recogniser that knows two sentences, for tests: what it says can be worked out by hand.

Writes toy_recogniser/{encoder.onnx,decoder.onnx,vocab.txt,manifest.toml}. Sound that is lower than
high says "hello there." and would begin again, though the end is likely too; sound that is higher
says "no" for ever; sound of all heights alike is no speech. The decoder counts the rows of its past:
with another number than its position no word is likely.
"""

import numpy as np

from common import manifest
from common.mel import BANDS
from common.onnx_graph import FLOAT, INT64, Graph
from common.stages import Places

TEXT = ["Ġhello", "Ġthere", ".", "Ġno", ","]
TOKENS = [*TEXT, "<end>", "<start>", "<plain>", "<nobody>"]
END, START, PLAIN, NOBODY = range(len(TEXT), len(TOKENS))
HALF = BANDS // 2


def encoder() -> Graph:
    """mel [T, 80] to the mean of the lower and of the upper bands [T, 2], as keys and as values."""
    g = Graph("encoder", int8=False)
    halves = np.zeros((BANDS, 2), np.float32)
    halves[:HALF, 0] = halves[HALF:, 1] = 1 / HALF
    rows = g.op("MatMul", [g.input("mel", ["T", BANDS]), g.f32(halves)])
    for name in ("cross_key_0", "cross_value_0"):
        g.output(rows, name, ["T", 2])
    return g


def follows() -> np.ndarray:
    """[token, next]: logits without the sound."""
    table = np.full((len(TOKENS), len(TOKENS)), -8.0, np.float32)
    for token, after in ((PLAIN, "Ġhello"), (0, "Ġthere"), (1, "."), (2, "Ġhello"), (3, "Ġno")):
        table[token, TEXT.index(after)] = 4.0
    table[PLAIN, TEXT.index("Ġno")] = 4.0
    table[TEXT.index("."), END] = 3.0
    table[START, NOBODY] = 8.0
    return table


def tone() -> tuple[np.ndarray, np.ndarray]:
    """[token, next]: what a unit of lower than high adds, and what a unit of either does."""
    lower, either = np.zeros((2, len(TOKENS), len(TOKENS)), np.float32)
    lower[PLAIN, [TEXT.index("Ġhello"), TEXT.index("Ġno")]] = 40.0, -40.0
    either[START, NOBODY] = -400.0
    return lower, either


def magnitude(g: Graph, x: str) -> str:
    return g.add(g.op("Relu", [x]), g.op("Relu", [g.mul(x, g.f32(-1.0))]))


def decoder() -> Graph:
    g = Graph("decoder", int8=False)
    ids, position = g.input("ids", [1], INT64), g.input("position", [1], INT64)
    _, values = (g.input(f"cross_{kind}_0", ["T", 2]) for kind in ("key", "value"))
    past_key, past_value = (g.input(f"past_{kind}_0", ["P", 2]) for kind in ("key", "value"))
    at = g.op("Reshape", [g.op("Cast", [position], to=FLOAT), g.ints([1, 1])])
    one = g.add(g.mul(at, g.f32(0.0)), g.f32(1.0))
    key = g.op("Concat", [one, at], axis=1)
    keys = g.op("Concat", [past_key, key], axis=0)
    zeros = g.op("Concat", [past_value, g.mul(key, g.f32(0.0))], axis=0)
    counted = g.op("ReduceSum", [g.add(keys, zeros), g.ints([0])], keepdims=1)
    rows = g.op("Slice", [counted, g.ints([0]), g.ints([1]), g.ints([1])])
    wrong = magnitude(g, g.op("Sub", [rows, g.add(at, g.f32(1.0))]))
    mean = g.op("ReduceMean", [values], axes=[0], keepdims=1)
    lower = g.op("MatMul", [mean, g.f32([[1.0], [-1.0]])])
    x = g.op("Gather", [g.f32(follows(), "follows"), ids], axis=0)
    for table, much in zip(tone(), (lower, magnitude(g, lower))):
        x = g.add(x, g.mul(much, g.op("Gather", [g.f32(table, "tone"), ids], axis=0)))
    text = np.zeros((1, len(TOKENS)), np.float32)
    text[0, : len(TEXT)] = -1000.0
    g.output(g.add(x, g.mul(wrong, g.f32(text))), "logits", [1, len(TOKENS)])
    g.output(g.op("Concat", [key, g.mul(key, g.f32(0.0))], axis=1), "rows", [1, 4])
    return g


def write(at: Places) -> None:
    folder = at.out / "toy_recogniser"
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in TOKENS), encoding="utf-8")
    for name, graph in (("encoder", encoder()), ("decoder", decoder())):
        graph.save(folder / f"{name}.onnx")
    transcript = {
        "encoder": "encoder.onnx", "decoder": "decoder.onnx", "vocab": "vocab.txt",
        "max_seconds": 10.0, "pad_seconds": 0.1, "start": [START, PLAIN], "end": END,
        "no_speech": NOBODY, "text_tokens": len(TEXT), "suppress": [TEXT.index(",")],
        "no_speech_above": 0.6, "stop_above": 0.12, "tokens_per_second": 6.0, "tokens_more": 4,
    }
    about = {
        "id": "toy-recogniser", "task": "recognition", "version": "1.0.0",
        "summary": "Knows two sentences", "licence": "MIT", "on_request": True, "labels": [],
        "transcript": transcript, "decision": {"unsure_below": 0.5, "smooth": False},
    }
    files = [("encoder.onnx", "f32"), ("decoder.onnx", "f32"), ("vocab.txt", "none")]
    manifest.write(folder, about, files)
