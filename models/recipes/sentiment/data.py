"""Data of the sentiment task: MVSA-Single's published split, and texts with a sentiment.

Only train and dev parts are read. Whatever train shares with dev (about 9% of MVSA's tweets
come more than once) leaves train, so that dev measures strangers.
"""

import csv
import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from emotion import text_data as td

LABELS = ["positive", "neutral", "negative"]
POSITIVE, NEUTRAL, NEGATIVE = range(3)
FOLDS = 5
# A link says nothing, and each tweet has its own: all that is cleaned away.
LINK = re.compile(r"https?://\S+|t\.co/\S+")


class Pair(NamedTuple):
    """A picture with its tweet."""

    id: str
    picture: Path
    text: str
    label: int


class Said(NamedTuple):
    """A text alone with its sentiment; SST-2 knows no neutral."""

    source: str
    text: str
    label: int


def without_links(text: str) -> str:
    return LINK.sub("", text)


def key(text: str) -> str:
    """What two copies of a tweet have in common."""
    return " ".join(without_links(text).lower().split())


def pixels_digest(path: Path) -> str:
    with Image.open(path) as picture:
        return hashlib.sha256(np.asarray(picture.convert("RGB")).tobytes()).hexdigest()


def table(data: Path, part: str) -> list[Pair]:
    root = Path(data) / "mvsa_single"
    with open(root / f"{part}.csv", encoding="utf-8") as file:
        return [Pair(r["id"], root / r["image"], r["text"], LABELS.index(r["label"])) for r in csv.DictReader(file)]


def copies(data: Path, work: Path) -> dict:
    """{"shared": ids of train that dev repeats, "group": {train id: first id of its copies}}"""
    path = work / "mvsa" / "copies.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(find_copies(table(data, "train"), table(data, "dev"))))
    return json.loads(path.read_text())


def find_copies(train: list[Pair], dev: list[Pair]) -> dict:
    """Two items are copies when text or pixels agree, or when a third is a copy of both."""
    held = {k for p in dev for k in (key(p.text), pixels_digest(p.picture))}
    shared, group, first = [], {}, {}

    def root(i):
        while group[i] != i:
            i = group[i]
        return i

    for pair in train:
        keys = (key(pair.text), pixels_digest(pair.picture))
        if held & set(keys):
            shared.append(pair.id)
            continue
        group[pair.id] = pair.id
        for k in keys:
            group[root(first.setdefault(k, pair.id))] = root(pair.id)
    return {"shared": shared, "group": {i: root(i) for i in group}}


def train_pairs(data: Path, work: Path) -> list[Pair]:
    shared = set(copies(data, work)["shared"])
    return [p for p in table(data, "train") if p.id not in shared]


def folds(data: Path, work: Path) -> np.ndarray:
    """Fold of each item of `train_pairs`; copies stay together."""
    group = copies(data, work)["group"]
    digest = lambda i: int(hashlib.sha256(group[i].encode()).hexdigest(), 16)
    return np.array([digest(p.id) % FOLDS for p in train_pairs(data, work)])


# -- texts alone ----------------------------------------------------------------------


def mvsa_multiple(root: Path) -> list[Said]:
    """MVSA-Multiple's train and dev parts; their pictures are not to be had."""
    folder = root / "clmlf_splits/dataset/data/MVSA-multiple/10-flod-1"
    rows = [r for part in ("train", "dev") for r in json.loads((folder / f"{part}.json").read_text(encoding="utf-8"))]
    return [Said("mvsa-multiple", r["text"], int(r["emotion_label"])) for r in rows]


def tweeteval(root: Path) -> list[Said]:
    """The validation part: the texts of the train part are not to be had."""
    folder = root / "tweeteval/datasets/sentiment"
    texts = (folder / "val_text.txt").read_text(encoding="utf-8").split("\n")
    labels = (folder / "val_labels.txt").read_text().split()
    of = {"0": NEGATIVE, "1": NEUTRAL, "2": POSITIVE}
    return [Said("tweeteval", t, of[label]) for t, label in zip(texts, labels)]


def sst2(root: Path) -> list[Said]:
    rows = [line.split("\t") for line in (root / "sst2/data/SST2/train.tsv").read_text(encoding="utf-8").splitlines()]
    return [Said("sst2", text, POSITIVE if label == "1" else NEGATIVE) for text, label in rows]


def meld(root: Path) -> list[Said]:
    with open(root / "meld_text/data/MELD/train_sent_emo.csv", encoding="utf-8") as file:
        return [Said("meld", td.clean(r["Utterance"]), LABELS.index(r["Sentiment"])) for r in csv.DictReader(file)]


def said(data: Path, work: Path) -> list[Said]:
    """All texts alone, each once, without those of MVSA-Single's dev part."""
    root = td.unpack(data, work)
    seen, kept = {key(p.text) for p in table(data, "dev")}, []
    for item in mvsa_multiple(root) + tweeteval(root) + sst2(root) + meld(root):
        k = key(item.text)
        if k and k not in seen:
            seen.add(k)
            kept.append(item)
    return kept


if __name__ == "__main__":
    import sys

    data, work = Path(sys.argv[1]), Path(sys.argv[2])
    pairs = train_pairs(data, work)
    print(len(pairs), Counter(p.label for p in pairs), np.bincount(folds(data, work)))
    print(Counter((s.source, s.label) for s in said(data, work)))
