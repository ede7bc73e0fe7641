"""The sarcasm bundle: ONNX files, the memory bank, the manifest, and checks against torch."""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from catalogue.registry import bodies, needed
from common import manifest, runtime
from sentiment.units_graph import DOMAIN, HeadGraph
from trunk import data as td
from trunk import model as tm

VERSION = "1.2.0"
UNSURE_BELOW = 0.5
LABELS = ["not sarcastic", "sarcastic"]
TOP, SIDE, HEADS = 5, 176, 2
LICENCE = "research only: MMSD2.0 and HFM posts shaped the weights"
# accuracy and F1 of the sarcastic that the G2SAM paper reports on HFM's test part
PUBLISHED = {
    "BERT": (0.8385, 0.8022),
    "FGM": (0.8901, 0.8643),
    "FGM + kNN": (0.8986, 0.8735),
    "FGM + LGCL": (0.8933, 0.8692),
    "G2SAM": (0.9048, 0.8848),
}
DATA = [
    ("MMSD2.0 train (texts, picture words of HFM)", "no licence stated: research"),
    ("HFM train (texts, picture words)", "no licence stated: research"),
    ("bundle words (picture words, unchanged) and the data on its card", "research only"),
    ("MiniLM-L6-H384 (initial weights)", "MIT"),
    ("all-mpnet-base-v2 (teacher, fine-tuned)", "Apache-2.0"),
]

# weights of `GraphMatching` in the order of its inputs, by the names that torch has
LAYER = ("map.weight", "source", "target", "norm.weight", "norm.bias")
ORDER = [
    *("text.weight", "text.bias", "picture.weight", "picture.bias"),
    *(f"text_gat.{i}.{part}" for i in range(2) for part in LAYER),
    *(f"picture_gat.{i}.{part}" for i in range(2) for part in LAYER),
    *("q.weight", "k.weight", "v.weight", "weigh1.weight", "weigh1.bias", "weigh2.weight", "weigh2.bias"),
    *("read.weight", "read.bias"),
]
FLAT = ("source", "target", "weigh2.weight")  # [heads, width] and [1, d] as vectors


def words_of(g: HeadGraph) -> str:
    """The rows of the words: without [CLS] and [SEP]."""
    tokens = g.input("tokens", ["n", tm.DIM])
    return g.op("Slice", [tokens, g.ints([1]), g.ints([-1]), g.ints([0])])


def classify(g: HeadGraph, row: str, layer: torch.nn.Linear) -> None:
    """`logits` [2] of one row [1, d]."""
    w = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    g.output(g.op("Reshape", [g.linear(row, *w, "classify"), g.ints([-1])]), "logits", [2])


def export_fgm(fgm: tm.Fgm, path: Path) -> int:
    """tokens [n, 384] with [CLS] and [SEP], picture [w, 384] to logits [2], q [128], `weights`
    [w + n - 2] of the nodes and `attention` between them, picture words first."""
    g, state = HeadGraph("fgm", int8=False), fgm.state_dict()
    words, picture = words_of(g), g.input("picture", ["w", tm.DIM])
    weights = []
    for name in ORDER:
        array = state[name].numpy()
        weights.append(g.f32(array.reshape(-1) if name.endswith(FLAT) else array, name.replace(".", "_")))
    g.functions += needed(bodies(), "GraphMatching")
    q, nodes, attention = (g.fresh(name) for name in ("q", "nodes", "attention"))
    g.call(DOMAIN, "GraphMatching", [words, picture, *weights], [q, nodes, attention], heads=HEADS)
    classify(g, g.op("Reshape", [q, g.ints([1, tm.SCORE])]), fgm.classify)
    g.output(q, "q", [tm.SCORE])
    g.output(nodes, "weights", ["nodes"])
    g.output(attention, "attention", ["nodes", "nodes"])
    return g.save(path)


def export_text(layer: torch.nn.Linear, path: Path) -> int:
    """tokens [n, 384] to logits [2]: the mean of the words."""
    g = HeadGraph("text head", int8=False)
    classify(g, g.op("ReduceMean", [words_of(g), g.ints([0])], keepdims=1), layer)
    return g.save(path)


def write_bank(path: Path, made_by: list[Path], q: np.ndarray, labels, ids, k: int, tau: float, half=False) -> None:
    """Rows `q` [N, 128] at unit length, in int8 with a scale a row or in half floats, the class of each and its id;
    `made_by`: the files whose hashes a bundle must have for the rows to mean anything in it."""
    unit = q / np.linalg.norm(q, axis=1, keepdims=True).clip(1e-9)
    arrays = {"labels": np.asarray(labels, np.uint8), "ids": np.asarray(ids, np.uint64)}
    if half:
        arrays["rows"] = unit.astype(np.float16)
    else:
        arrays["scale"] = (np.abs(unit).max(1) / 127).clip(1e-9).astype(np.float32)
        arrays["rows"] = np.rint(unit / arrays["scale"][:, None]).astype(np.int8)
    about = {"k": str(k), "tau": str(tau)} | {f"sha256:{file.name}": manifest.digest(file) for file in made_by}
    save_file(arrays, path, about)


def bank_size(path: Path) -> int:
    return len(load_file(path)["labels"])


@torch.no_grad()
def check(fgm: tm.Fgm, alone: torch.nn.Linear, folder: Path, name: str = "fgm.onnx") -> float:
    """ONNX Runtime on the files against torch: the largest difference, which is refused from 1e-4."""
    rng, worst = np.random.default_rng(0), 0.0
    run, text = (runtime.session(folder / each, as_written=True) for each in (name, "text-head.onnx"))
    for n, w in ((1, 0), (1, 5), (3, 1), (4, 5), (12, 5), (40, 8), (94, 5)):
        tokens = rng.standard_normal((n + 2, tm.DIM)).astype(np.float32)
        picture = torch.nn.functional.normalize(torch.tensor(rng.standard_normal((w, tm.DIM)).astype(np.float32)), dim=-1)
        mask = torch.tensor([[False, *[True] * n, False]])
        # torch has a row for pictures without a word, and does not see it
        shown = picture if w else torch.zeros(1, tm.DIM)
        seen = torch.full((1, len(shown)), w > 0)
        logits, q = fgm(torch.tensor(tokens)[None], mask, shown[None], seen)
        found = run.run(["logits", "q"], {"tokens": tokens, "picture": picture.numpy()})
        mean = alone(torch.tensor(tokens[1:-1]).mean(0))
        pairs = [*zip(found, (logits[0], q[0])), (text.run(["logits"], {"tokens": tokens})[0], mean)]
        worst = max(worst, *(float(np.abs(ours - theirs.numpy()).max()) for ours, theirs in pairs))
    assert worst < 1e-4, worst
    return worst


def heads(folder: Path, temperature: dict) -> list[dict]:
    """The ladder; rows whose files are not there are left out."""
    both, of = ["beside.tokens", "seen.rows"], lambda name: temperature.get(name, 1.0)
    found = [manifest.head("text-only", ["text.tokens"], "text-head.onnx", of("text-only"))]

    def add(name: str, file: str, bank: str | None = None, **more):
        if all((folder / each).exists() for each in (file, bank) if each):
            kind, bank = ("neighbours", {"bank": bank}) if bank else ("classes", {})
            found.append(manifest.head(name, both, file, of(name), kind, **bank, **more))

    add("fgm", "fgm-plain.onnx", ablation=True)
    add("fgm+knn", "fgm-plain.onnx", "bank-plain.safetensors", ablation=True)
    add("fgm+lgcl", "fgm.onnx", ablation=True)
    add("g2sam", "fgm.onnx", "bank.safetensors")
    return found


def write_manifest(folder: Path, models: Path, temperature: dict, int8: bool = True, metrics=()) -> None:
    """manifest.toml of the files that lie in `folder`."""
    published = [[name, *map(manifest.fixed, figures)] for name, figures in PUBLISHED.items()]
    about = {
        "id": "g2sam",
        "task": "sarcasm",
        "version": VERSION,
        "summary": "Sarcasm of a post with its picture: graphs of words and picture words, and remembered posts (G2SAM)",
        "licence": LICENCE,
        "labels": LABELS,
        "text": {"file": "text.onnx", "vocab": "vocab.txt", "max_tokens": td.MAX_TOKENS, "history": 0, "shapes": True},
        "image": {"file": "image.onnx", "side": SIDE},
        "seen": {"file": "words.onnx", "reads": "image.patches", "labels": "words.txt", "rows": "word-rows.onnx", "top": TOP},
        "head": heads(folder, temperature),
        "decision": {"unsure_below": UNSURE_BELOW, "smooth": False},
        "eval": {
            "figures": ["accuracy", "precision", "recall", "f1", "macro_f1"],
            "published": {"on": "HFM, the test part, full-size models", "n": 2409, "rows": published},
        },
    }
    files = [("text.onnx", "int8" if int8 else "f32"), ("vocab.txt", "none"), ("text-head.onnx", "f32")]
    files += [(name, "f32") for name in ("fgm.onnx", "fgm-plain.onnx") if (folder / name).exists()]
    files += [(name, "none") for name in ("bank.safetensors", "bank-plain.safetensors") if (folder / name).exists()]
    words, image = models / "words", models / "sentiment/image.onnx"
    borrowed = [(name, "words", precision, manifest.digest(words / name)) for name, precision in
                (("words.onnx", "int8"), ("words.txt", "none"), ("word-rows.onnx", "f32"))]
    borrowed.append(("image.onnx", "mvcn", "int8", manifest.digest(image)))
    manifest.write(folder, about, files, borrowed, metrics, DATA)
