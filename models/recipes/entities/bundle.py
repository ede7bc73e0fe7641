"""The entities bundle (MNER-QG): the reader as ONNX, and the manifest."""

import math
import sys
import tomllib
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto

from common import manifest, runtime
from common.onnx_graph import Graph, quantise_per_channel
from trunk import model as tm
from trunk.data import MAX_TOKENS, TYPES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "catalogue"))
from registry import bodies, needed  # noqa: E402

VERSION = "1.3.0"
THRESHOLD = 0.5
TOP = 5  # as sarcasm has it: both read the words once
# precision and recall that the MNER-QG paper reports on Twitter2015's test part
PUBLISHED = {
    "MNER-QG, text only": (0.7635, 0.6946),
    "MNER-VG": (0.7703, 0.7108),
    "MNER-QG": (0.7743, 0.7215),
    "MNER-QG, oracle boxes": (0.7776, 0.7231),
}
DATA = [
    ("Twitter2015 and Twitter2017 train (text)", "research"),
    ("GMNER, BTC, WNUT17 train (text)", "research"),
    ("bundle g2sam (text trunk, unchanged) and the data on its card", "research only"),
    ("bundle mvcn (image trunk, unchanged) and the data on its card", "research only"),
]
# of the head that points at what names name (recipe `grounding`), where the folder holds it
BOXES = "boxes.onnx"
BOXES_DATA = [
    ("Flickr30k Entities (phrases and boxes)", "research and education"),
    ("Flickr8k (pictures)", "Flickr terms, research only"),
    ("MiniLM-L6-H384 (rows of words, frozen)", "MIT"),
]


class ReaderGraph(Graph):
    opset = 18


def weights(reader: tm.Reader) -> list[tuple[str, np.ndarray]]:
    """The function's weights in its order; what hangs on the queries alone is computed here."""
    array = lambda x: x.detach().numpy().astype(np.float32)
    w, b = lambda layer: array(layer.weight.double()), lambda layer: array(layer.bias)
    exact = lambda layer: layer.weight.detach().double().numpy()
    query, root = reader.query.detach().double().numpy(), math.sqrt(reader.query.shape[1])
    found: list[tuple[str, np.ndarray]] = []

    def product(name: str, matrix) -> None:
        """[in, out] as bytes with a scale a column."""
        codes, scale = quantise_per_channel(np.asarray(matrix, np.float32), axis=1)
        found.extend([(name, codes), (f"{name}_scale", scale)])

    def linear(name: str, layer) -> None:
        product(f"w_{name}", w(layer).T)
        found.append((f"b_{name}", b(layer)))

    def plain(name: str, values) -> None:
        found.append((name, np.asarray(values, np.float32)))

    def norm(prefix: str, layer) -> None:
        plain(f"{prefix}gamma", w(layer))
        plain(f"{prefix}beta", b(layer))

    linear("text", reader.text)
    linear("picture", reader.picture)
    # (h Wq)(r Wk)ᵀ = h (r Wk Wqᵀ)ᵀ: one map of the few rows instead of one of the words
    product("w_look", exact(reader.k).T @ exact(reader.q) / root)
    product("w_view", exact(reader.v).T)
    norm("", reader.mixed)
    plain("gain", 1 + array(reader.gain(reader.query)))
    plain("shift", array(reader.shift(reader.query)))
    plain("exist_key", query @ exact(reader.exist_key).T / root)
    plain("w_exist", w(reader.exist)[0])
    plain("b_exist", b(reader.exist))
    keys = np.concatenate([exact(reader.keys).T @ exact(to) / root for to in reader.ends], axis=1)
    product("w_key", keys)
    product("w_value", exact(reader.values).T)
    plain("query_key", query @ keys)
    plain("query_value", query @ exact(reader.values).T)
    for name, pair, norm_of, mark, pairs in zip(("start", "end"), ("first", "last"), reader.norms, reader.marks, reader.pair):
        norm(f"{name}_", norm_of)
        plain(f"w_{name}", w(mark)[0])
        plain(f"b_{name}", b(mark))
        linear(pair, pairs)
    plain("w_match", w(reader.match)[0])
    plain("b_match", b(reader.match))
    return found


def write_reader(reader: tm.Reader, path: Path) -> int:
    """reader.onnx: tokens [n, D], pictures [w, D] to exist, start, end, match; its size in bytes."""
    g, dim, types = ReaderGraph("reader"), reader.text.in_features, len(reader.query)
    function = bodies()["QueriedSpans"]
    g.functions = needed(bodies(), "QueriedSpans")
    made = weights(reader)
    if [name for name, _ in made] != list(function.input)[2:]:
        raise SystemExit("the weights are not in the order of the function's inputs")
    inputs = [g.input("tokens", ["n", dim]), g.input("pictures", ["w", dim])]
    inputs += [g.const(array, name) for name, array in made]
    names = ["exist", "start", "end", "match"]
    g.call("demeanor", "QueriedSpans", inputs, [g.fresh(name) for name in names])
    shapes = [[types], [types, "n"], [types, "n"], [types, "n", "n"]]
    for value, name, shape in zip(list(g.nodes[-1].output), names, shapes):
        g.output(value, name, shape, TensorProto.FLOAT)
    return g.save(path)


def answers(path: Path, tokens: np.ndarray, pictures: np.ndarray) -> list[np.ndarray]:
    """What ONNX Runtime makes of the function's body."""
    return runtime.session(path).run(["exist", "start", "end", "match"], {"tokens": tokens, "pictures": pictures})


def wanted(reader: tm.Reader, tokens: np.ndarray, pictures: np.ndarray) -> list[np.ndarray]:
    """What torch makes of the module."""
    words, rows = torch.from_numpy(tokens)[None], torch.from_numpy(pictures)[None]
    with torch.no_grad():
        made = reader.eval()(words, torch.ones(words.shape[:2], dtype=torch.bool), rows, torch.ones(rows.shape[:2], dtype=torch.bool))
    return [each[0].numpy() for each in made]


def check(reader: tm.Reader, path: Path, cases: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Largest difference of a probability between the file and the module."""
    sigmoid, worst = lambda x: 1 / (1 + np.exp(-x)), 0.0
    for tokens, pictures in cases:
        for found, right in zip(answers(path, tokens, pictures), wanted(reader, tokens, pictures), strict=True):
            worst = max(worst, float(np.abs(sigmoid(found) - sigmoid(right)).max()))
    return worst


def lent(bundle: Path, names: list[str]) -> list[tuple]:
    """(file, bundle's id, precision, hash) of files that are another bundle's."""
    about = tomllib.loads((bundle / "manifest.toml").read_text())
    listed = {f["name"]: f for f in about["file"]}
    return [(name, listed[name].get("bundle", about["id"]), listed[name]["precision"], listed[name]["sha256"]) for name in names]


def boxes() -> dict:
    """The head that points: its labels are the kinds that it knows, in the order of their numbers."""
    reads = [f"image.{name}" for name in ("patches", "middle", "fine")]
    return manifest.head("boxes", reads, BOXES, kind="boxes", labels=TYPES, threshold=THRESHOLD)


def write_manifest(folder: Path, models: Path, metrics=(), data=DATA, int8: bool = True) -> None:
    """The manifest; text trunk, picture words and image trunk are those of the bundles in `models`."""
    sarcasm = tomllib.loads((models / "sarcasm/manifest.toml").read_text())
    seen, image = sarcasm["seen"] | {"top": TOP}, sarcasm["image"]
    head = lambda name, reads: manifest.head(name, reads, "reader.onnx", 1.0) | {"kind": "spans", "threshold": THRESHOLD}
    published = [[name, *map(manifest.fixed, figures)] for name, figures in PUBLISHED.items()]
    heads = [head("text-only", ["text.tokens"]), head("mner-qg", ["beside.tokens", "seen.rows"])]
    files = [("reader.onnx", "int8" if int8 else "f32")]
    if (folder / BOXES).exists():
        heads.append(boxes())
        files.append((BOXES, "int8" if int8 else "f32"))
        data = [*data, *BOXES_DATA]
    about = {
        "id": "mner-qg",
        "task": "entities",
        "version": VERSION,
        "summary": "People, places, organisations and other names in words, beside what a picture shows (MNER-QG)",
        "licence": "research only: Twitter data shaped the weights",
        "labels": TYPES,
        "text": {"file": "text.onnx", "vocab": "vocab.txt", "max_tokens": MAX_TOKENS, "history": 0, "shapes": True},
        "image": image,
        "seen": seen,
        "head": heads,
        "decision": {"unsure_below": 0.0, "smooth": False},
        "eval": {"published": {"on": "Twitter2015, the test part, full-size models", "n": 3257, "rows": published}},
    }
    names = ["text.onnx", "vocab.txt", image["file"], seen["file"], seen["labels"], seen["rows"]]
    borrowed = lent(models / "sarcasm", list(dict.fromkeys(names)))
    manifest.write(folder, about, files, borrowed, metrics, data)
