"""Picture words: a head on the shared image trunk that names what an image shows, of a closed list.

Stages:
  prepare   rows of the image trunk for every picture that has captions
  train     the head
  export    int8 and f32 files, the manifest
  measure   mean average precision and precision at five on val, int8 beside f32, into the card
"""

import json

import numpy as np
import torch

from common.stages import Places, fill
from words import bundle
from words import data as wd
from words import train as wt

DATA = "folder with grounding/ and picture_words/"


def pictures(at: Places, part: str) -> wd.Pictures:
    return wd.pictures(at.data, at.work, part, at.models / "sentiment/image.onnx")


def prepare(at: Places) -> None:
    for part in ("train", "val"):
        pictures(at, part)


def train(at: Places) -> None:
    if not (at.work / "words.pt").exists():
        torch.save(wt.train(pictures(at, "train")).state_dict(), at.work / "words.pt")


def export(at: Places) -> None:
    known = wd.vocabulary(at.data)
    head = wt.Head(len(known))
    head.load_state_dict(torch.load(at.work / "words.pt"))
    bundle.write(head, known, at.work, at.out)
    bundle.write(head, known, at.work, at.work / "words-f32", int8=False)
    bundle.write_manifest(at.out, at.models / "sentiment")


def measure(at: Places) -> None:
    val, known = pictures(at, "val"), (at.out / "words.txt").read_text().split()
    priors = np.tile((pictures(at, "train").words > 0).mean(0), (len(val.names), 1))
    found = {
        "int8": bundle.logits(at.out / "words.onnx", val),
        "f32": bundle.logits(at.work / "words-f32/words.onnx", val),
        "the most frequent words": priors,
    }
    rng, lines = np.random.default_rng(0), []
    for name, logits in found.items():
        whole = wt.measure(logits, val.words)
        drawn = [rng.integers(0, len(logits), len(logits)) for _ in range(1000)]
        low, high = np.percentile([wt.precision(logits[i], val.words[i]) for i in drawn], [2.5, 97.5])
        lines.append(f"| {name} | {whole['map']:.3f} | {whole['precision@5']:.3f} [{low:.3f}, {high:.3f}] |")
        if name == "int8":
            figure = {"name": "precision@5", "on": f"Flickr8k val, {len(known)} words; right is what one of five captions says"}
            metrics = [figure | {"value": whole["precision@5"], "ci95": [low, high], "n": whole["n"]}]
    bundle.write_manifest(at.out, at.models / "sentiment", metrics)
    words = {"version": bundle.VERSION, "words": str(len(known)), "judged": str(whole["words"]), "n": str(whole["n"]), "rows": "\n".join(lines)}
    words["data"] = "\n".join(f"| {name} | {licence} |" for name, licence in bundle.DATA)
    fill(at.models / "recipes/words/CARD.in.md", words, at.out / "CARD.md")
    (at.work / "words.json").write_text(json.dumps(lines, indent=1))


STAGES = {"prepare": prepare, "train": train, "export": export, "measure": measure}
