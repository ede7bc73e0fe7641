"""The sentiment bundle: ONNX files, manifest, and what ONNX Runtime says of them."""

from pathlib import Path

import numpy as np

from common import manifest, runtime
from sentiment import data as sd
from sentiment import lite, units_graph
from sentiment.features import MAX_TOKENS, Texts
from sentiment.halves import Halves

VERSION = "2.1.0"
UNSURE_BELOW = 0.4
BOTH = ["text.tokens", "image.patches"]
# name -> (file, row of choose.py, what it reads, whose temperature it has)
HEADS = {
    "text-only": ("text-head.onnx", "words", ["text.tokens"], "words"),
    "image-only": ("image-head.onnx", "picture", ["image.patches"], "picture"),
    "late fusion": ("fusion-late.onnx", "late", BOTH, "late"),
    "equal fusion": ("fusion-equal.onnx", "equal", BOTH, "late"),
    "TGF": ("fusion-tgf.onnx", "tgf", BOTH, "late"),
    "MVCN (full)": ("fusion.onnx", "mvcn", BOTH, "late"),
}
SHIPPED = "late fusion"  # what answers where there are words and a picture; the others of BOTH are ablations
IMAGE = "image.onnx"
BORROWED = {"text.onnx": "int8", "vocab.txt": "none"}  # of the sarcasm bundle
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
    ("EfficientNet-Lite0 on ImageNet (pictures, as published)", "Apache-2.0"),
    ("bundle g2sam (text trunk, unchanged) and the data on its card", "research only"),
]


def heads(temperature: dict) -> list[dict]:
    found = []
    for name, (file, _, reads, which) in HEADS.items():
        ablation = (reads == BOTH and name != SHIPPED) or None
        found.append(manifest.head(name, reads, file, temperature[which], ablation=ablation))
    return found


def write_manifest(folder: Path, lender: Path, temperature: dict, int8: bool = True, metrics=(), data=DATA) -> None:
    """manifest.toml; `lender` is the folder of the bundle whose text trunk is read."""
    published = [[name, *map(manifest.fixed, figures)] for name, figures in PUBLISHED.items()]
    about = {
        "id": "mvcn",
        "task": "sentiment",
        "version": VERSION,
        "summary": "Sentiment of a picture with its words: what each says alone, added; MVCN's units as ablations",
        "licence": "research only: MVSA and SemEval data shaped the weights",
        "labels": sd.LABELS,
        "text": {"file": "text.onnx", "vocab": "vocab.txt", "max_tokens": MAX_TOKENS, "history": 0, "strip_links": True, "shapes": True},
        "image": {"file": IMAGE, "side": lite.SIDE},
        "head": heads(temperature),
        "decision": {"unsure_below": UNSURE_BELOW, "smooth": False},
        "eval": {
            "figures": ["accuracy", "weighted_f1", "macro_f1"],
            "published": {"on": "MVSA-Single, the authors' test part, full-size models", "n": 450, "rows": published},
        },
    }
    files = [(name, "int8" if int8 else "f32") for name in (IMAGE, *(file for file, *_ in HEADS.values()))]
    borrowed = [(name, "g2sam", precision, manifest.digest(lender / name)) for name, precision in BORROWED.items()]
    manifest.write(folder, about, files, borrowed, metrics, data)


def write_heads(folder: Path, heads: dict, int8: bool, spreads) -> None:
    """A file a head; `heads` by their rows; `spreads` of what the words' and the picture's half read."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, row, *_ in HEADS.values():
        write = units_graph.export_halves if isinstance(heads[row], Halves) else units_graph.export
        write(heads[row], folder / file, int8, spreads=spreads)


def check(folder: Path, heads: dict, texts: Texts, patches: np.ndarray, every: int = 20) -> float:
    """Largest difference of a logit between the maps' files and what they were written from, on every so many posts."""
    worst = 0.0
    for file, row, *_ in HEADS.values():
        if isinstance(heads[row], Halves):
            session = runtime.session(folder / file)
            wanted = {i.name for i in session.get_inputs()}
            for i in range(0, len(texts), every):
                fed = {"tokens": texts.of(i).astype(np.float32), "patches": patches[i].astype(np.float32)}
                words = np.concatenate([fed["tokens"][0], fed["tokens"].mean(0)])[None]
                said = session.run(["logits"], {name: fed[name] for name in wanted})[0]
                worst = max(worst, float(np.abs(said - heads[row].logits(words, fed["patches"].mean(0)[None])[0]).max()))
    return worst


def measure(folder: Path, texts: Texts, pixels: np.ndarray) -> dict:
    """{head: logits [n, 3]} of the folder's files in ONNX Runtime, from bytes and text rows."""
    image = runtime.session(folder / IMAGE)
    seen = [image.run(["patches"], {"pixels": one[None]})[0] for one in pixels]
    found = {}
    for name, (file, *_) in HEADS.items():
        head = runtime.session(folder / file)
        wanted = [i.name for i in head.get_inputs()]
        logits = []
        for i, patches in enumerate(seen):
            rows = {"tokens": texts.of(i).astype(np.float32), "patches": patches}
            logits.append(head.run(["logits"], {key: rows[key] for key in wanted})[0])
        found[name] = np.array(logits)
    return found
