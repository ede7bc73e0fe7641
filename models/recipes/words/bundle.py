"""words.onnx, words.txt and word-rows.onnx, and the manifest of the bundle `words`."""

from pathlib import Path

import numpy as np
import torch

from common import manifest, runtime
from common.onnx_graph import INT64, Graph
from emotion import text_data
from emotion.text import numpy_state
from trunk import model as tm
from words import data as wd
from words.train import Head

VERSION = "1.1.0"
LICENCE = "research only: Flickr30k captions and Flickr8k pictures shaped the weights"
TOP = 5
DATA = [
    ("Flickr30k Entities (captions)", "research and education"),
    ("Flickr8k (pictures)", "Flickr terms, research only"),
    ("ImageNet (initial weights)", "research and education"),
    ("HFM (the list of words)", "no licence stated: research"),
]
FILES = [("words.onnx", "int8"), ("words.txt", "none"), ("word-rows.onnx", "f32")]


def head(trained: Head, int8: bool) -> Graph:
    w, graph = numpy_state(trained), Graph("words", int8)
    patches = graph.input("patches", [36, 320])
    wide = graph.op("Relu", [graph.linear(patches, w["widen.weight"], w["widen.bias"], "widen")])
    mean = graph.op("ReduceMean", [wide], axes=[0], keepdims=1)
    logits = graph.linear(mean, w["name.weight"], w["name.bias"], "name")
    graph.output(graph.op("Reshape", [logits, graph.ints([-1])]), "logits", [len(w["name.bias"])])
    return graph


def rows(table: np.ndarray) -> Graph:
    graph = Graph("word rows")
    ids = graph.input("ids", ["N"], INT64)
    graph.output(graph.embedding(ids, table, "rows"), "rows", ["N", table.shape[1]])
    return graph


def write(trained: Head, known: list[str], work: Path, out: Path, int8: bool = True) -> None:
    out.mkdir(parents=True, exist_ok=True)
    head(trained, int8).save(out / "words.onnx")
    (out / "words.txt").write_text("\n".join(known) + "\n", encoding="utf-8")
    table = tm.word_rows(text_data.minilm(work) / "model.safetensors", text_data.tokenizer(work), known)
    rows(table.numpy()).save(out / "word-rows.onnx")


def logits(model: Path, pictures: wd.Pictures) -> np.ndarray:
    run = runtime.session(model)
    return np.stack([run.run(None, {"patches": p.astype(np.float32)})[0] for p in pictures.patches[:, 0]])


def write_manifest(out: Path, sentiment: Path, metrics=()) -> None:
    about = {
        "id": "words",
        "task": "words",
        "version": VERSION,
        "summary": "Five words for what an image shows, of a closed list",
        "licence": LICENCE,
        "on_request": True,
        "labels": [],
        "image": {"file": "image.onnx", "side": wd.SIDE},
        "seen": {"file": "words.onnx", "reads": "image.patches", "labels": "words.txt", "rows": "word-rows.onnx", "top": TOP},
        "head": [manifest.head("words", ["seen.scores"], kind="words")],
        "decision": {"unsure_below": 0.0, "smooth": False},
    }
    borrowed = [("image.onnx", "mvcn", "int8", manifest.digest(sentiment / "image.onnx"))]
    manifest.write(out, about, FILES, borrowed, metrics, DATA)
