"""Data of the sentiment task: MVSA-Single's published split.

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


class Pool(NamedTuple):
    """Train and dev together; copies share a group."""

    pairs: list[Pair]
    groups: list[str]
    train: int  # so many of them, the first, are train's

    def folds(self, seed: int) -> np.ndarray:
        """Fold of each pair; copies stay together."""
        digest = lambda group: int(hashlib.sha256(f"{seed} {group}".encode()).hexdigest(), 16)
        return np.array([digest(group) % FOLDS for group in self.groups])


def pool(data: Path, work: Path) -> Pool:
    group, train, dev = copies(data, work)["group"], train_pairs(data, work), table(data, "dev")
    among_dev = find_copies(dev, [])["group"]
    groups = [group[p.id] for p in train] + [f"dev {among_dev[p.id]}" for p in dev]
    return Pool(train + dev, groups, len(train))


if __name__ == "__main__":
    import sys

    found = pool(Path(sys.argv[1]), Path(sys.argv[2]))
    print(found.train, len(found.pairs), Counter(p.label for p in found.pairs), np.bincount(found.folds(0)))
