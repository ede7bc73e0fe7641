"""The sentiment bundle: ONNX files, manifest, and what ONNX Runtime says of them."""

import json
import tomllib
from pathlib import Path

import numpy as np

import manifest
import pictures
import pictures_graph
import sentiment_data as sd
import text
import units_graph
from sentiment_features import MAX_TOKENS, Texts

VERSION = "1.0.0"
UNSURE_BELOW = 0.4
# {role: (file, name in the ladder)}
HEADS = {
    "fusion": ("fusion.onnx", "mvcn"),
    "fusion-tgf": ("fusion-tgf.onnx", "tgf"),
    "fusion-equal": ("fusion-equal.onnx", "equal"),
    "text-head": ("text-head.onnx", "text"),
    "image-head": ("image-head.onnx", "image"),
}
FILES = [("image.onnx", "image"), *((file, role) for role, (file, _) in HEADS.items())]
DATA = [
    ("MVSA-Single train (pictures with text)", "research"),
    ("MVSA-Multiple train and dev (text with the pair's label)", "research"),
    ("TweetEval sentiment validation (text)", "research, terms of SemEval-2017 task 4"),
    ("SST-2 train (text)", "research"),
    ("MELD train (text)", "GPL-3.0"),
    ("EfficientNet-Lite0 on ImageNet (pictures, as published)", "Apache-2.0"),
    ("EfficientNet-Lite2 on ImageNet (teacher, pictures)", "Apache-2.0"),
    ("MPNet-base (teacher, text)", "Apache-2.0"),
    ("bundle le-mer (text encoder, unchanged) and the data on its card", "research only"),
]
SHARED = ("text", "vocab")


def shared_digests(emotion: Path) -> dict:
    """{role: sha256} of the emotion bundle's files that this bundle reads."""
    listed = tomllib.loads((emotion / "manifest.toml").read_text())["file"]
    return {f["role"]: f["sha256"] for f in listed if f["role"] in SHARED}


def write_manifest(folder: Path, emotion: Path, temperature: dict, int8: bool = True, metrics=(), data=DATA) -> None:
    head = [
        "schema = 1",
        'id = "mvcn"',
        'task = "sentiment"',
        f'version = "{VERSION}"',
        'summary = "Sentiment of a picture with its words: text-guided fusion (MVCN), distilled students"',
        'licence = "research only: MVSA and SemEval data shaped the weights"',
        f"labels = {json.dumps(sd.LABELS)}",
        "",
        "[picture]",
        f"side = {pictures.SIDE}",
        "",
        "[text]",
        f"max_tokens = {MAX_TOKENS}",
        "history = 0",
        "",
        "[decision]",
        f"unsure_below = {UNSURE_BELOW}",
        "",
        "[decision.temperature]",
        *(f"{head} = {temperature[head]:.4f}" for head in ("fused", "text", "image")),
    ]
    files = [(name, role, "int8" if int8 else "f32") for name, role in FILES]
    shared = [("le-mer", role, digest) for role, digest in shared_digests(emotion).items()]
    manifest.write(folder, head, files, shared, metrics, data)


def write_models(folder: Path, trunk: pictures.Lite, ranges: dict, heads: dict, int8: bool) -> None:
    """The six ONNX files; `heads` by their names in the ladder."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures_graph.export(trunk, ranges, folder / "image.onnx", int8)
    for file, name in HEADS.values():
        units_graph.export(heads[name], folder / file, int8)


def measure(folder: Path, texts: Texts, pixels: np.ndarray) -> dict:
    """{role: logits [n, 3]} of the folder's files in ONNX Runtime, from bytes and text rows."""
    image = text.session(folder / "image.onnx")
    seen = [image.run(["patches"], {"pixels": one[None]})[0] for one in pixels]
    found = {}
    for role, (file, _) in HEADS.items():
        head = text.session(folder / file)
        wanted = [i.name for i in head.get_inputs()]
        logits = []
        for i, patches in enumerate(seen):
            rows = {"tokens": texts.of(i).astype(np.float32), "patches": patches}
            logits.append(head.run(["logits"], {name: rows[name] for name in wanted})[0])
        found[role] = np.array(logits)
    return found
