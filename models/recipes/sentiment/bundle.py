"""The sentiment bundle: ONNX files, manifest, and what ONNX Runtime says of them."""

import tomllib
from pathlib import Path

import numpy as np

from common import manifest
from emotion import text
from sentiment import data as sd
from sentiment import lite, lite_graph, units_graph
from sentiment.features import MAX_TOKENS, Texts

VERSION = "1.0.0"
UNSURE_BELOW = 0.4
# name -> (file, name in the ladder, trunks it reads, which temperature it has)
HEADS = {
    "text-only": ("text-head.onnx", "text", ["text.hidden"], "text"),
    "image-only": ("image-head.onnx", "image", ["image.patches"], "image"),
    "equal fusion": ("fusion-equal.onnx", "equal", ["text.hidden", "image.patches"], "fused"),
    "TGF": ("fusion-tgf.onnx", "tgf", ["text.hidden", "image.patches"], "fused"),
    "MVCN (full)": ("fusion.onnx", "mvcn", ["text.hidden", "image.patches"], "fused"),
}
ABLATIONS = ("equal fusion", "TGF")
FILES = ["image.onnx", "fusion.onnx", "fusion-tgf.onnx", "fusion-equal.onnx", "text-head.onnx", "image-head.onnx"]
BORROWED = ("text.onnx", "vocab.txt")  # of the emotion bundle
# accuracy and weighted F1 that the MVCN paper reports
PUBLISHED = {
    "BERT": (0.7111, 0.6970),
    "ResNet-50": (0.6467, 0.6155),
    "ViT": (0.6378, 0.6226),
    "MGNNS": (0.7377, 0.7270),
    "CLMLF": (0.7533, 0.7346),
    "MFS": (0.7217, 0.7205),
    "TGF": (0.7396, 0.7355),
    "TGF+SCC": (0.7515, 0.7403),
    "TGF+SCC+AC": (0.7563, 0.7422),
    "MVCN": (0.7606, 0.7455),
}
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


def heads(temperature: dict) -> list[dict]:
    found = []
    for name, (file, _, reads, which) in HEADS.items():
        found.append(manifest.head(name, reads, file, temperature[which], ablation=name in ABLATIONS or None))
    return found


def write_manifest(folder: Path, emotion: Path, temperature: dict, int8: bool = True, metrics=(), data=DATA) -> None:
    published = [[name, *map(manifest.fixed, figures)] for name, figures in PUBLISHED.items()]
    about = {
        "id": "mvcn",
        "task": "sentiment",
        "version": VERSION,
        "summary": "Sentiment of a picture with its words: text-guided fusion (MVCN), distilled students",
        "licence": "research only: MVSA and SemEval data shaped the weights",
        "labels": sd.LABELS,
        "text": {"file": "text.onnx", "vocab": "vocab.txt", "max_tokens": MAX_TOKENS, "history": 0, "strip_links": True},
        "image": {"file": "image.onnx", "side": lite.SIDE},
        "head": heads(temperature),
        "decision": {"unsure_below": UNSURE_BELOW, "smooth": False},
        "eval": {
            "figures": ["accuracy", "weighted_f1", "macro_f1"],
            "published": {"on": "MVSA-Single, the authors' test part, full-size models", "n": 450, "rows": published},
        },
    }
    files = [(name, "int8" if int8 else "f32") for name in FILES]
    listed = {f["name"]: f for f in tomllib.loads((emotion / "manifest.toml").read_text())["file"]}
    borrowed = [(name, "le-mer", listed[name]["precision"], listed[name]["sha256"]) for name in BORROWED]
    manifest.write(folder, about, files, borrowed, metrics, data)


def write_models(folder: Path, trunk: lite.Lite, ranges: dict, heads: dict, int8: bool) -> None:
    """The six ONNX files; `heads` by their names in the ladder."""
    folder.mkdir(parents=True, exist_ok=True)
    lite_graph.export(trunk, ranges, folder / "image.onnx", int8)
    for file, name, *_ in HEADS.values():
        units_graph.export(heads[name], folder / file, int8)


def measure(folder: Path, texts: Texts, pixels: np.ndarray) -> dict:
    """{head: logits [n, 3]} of the folder's files in ONNX Runtime, from bytes and text rows."""
    image = text.session(folder / "image.onnx")
    seen = [image.run(["patches"], {"pixels": one[None]})[0] for one in pixels]
    found = {}
    for name, (file, *_) in HEADS.items():
        head = text.session(folder / file)
        wanted = [i.name for i in head.get_inputs()]
        logits = []
        for i, patches in enumerate(seen):
            rows = {"tokens": texts.of(i).astype(np.float32), "patches": patches}
            logits.append(head.run(["logits"], {key: rows[key] for key in wanted})[0])
        found[name] = np.array(logits)
    return found
