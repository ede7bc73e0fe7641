"""Pictures with captions, the closed list of words, and rows of the shared image trunk."""

import csv
import io
import lzma
import re
import tarfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from common import runtime
from grounding import data as gd
from sentiment import lite
from trunk import data as td

SIDE, VIEWS = 176, 6


def vocabulary(data: Path) -> list[str]:
    """HFM's closed list: what its pictures' five words are, the most frequent first."""
    counts = Counter(word for words in td.attributes(data).values() for word in words)
    return sorted(counts, key=lambda word: (-counts[word], word))


class Pictures(NamedTuple):
    names: list[str]
    patches: np.ndarray  # f16 [pictures, views, 36, 320], of the shipped image trunk; the first view is the picture as it is
    words: np.ndarray  # u8 [pictures, 1000]: how many of its captions say the word


def sentences(data: Path, part: str) -> dict[str, set[str]]:
    """Captions of the pictures whose pixels are here."""
    found: dict[str, set[str]] = {}
    with lzma.open(data / "grounding/phrases.csv.xz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == part and row["packed"] == "1":
                found.setdefault(row["image"], set()).add(row["sentence"])
    return found


def patches(run, raw: bytes, views: int, rng) -> np.ndarray:
    """Of the picture, its mirror image, and cuts of either in other light."""
    image = Image.open(io.BytesIO(raw)).convert("RGB")
    shown = [gd.pixels(image, cut) for cut in gd.cuts(rng, views)]
    shown[2:] = [lite.lit(each, rng) for each in shown[2:]]
    return np.stack([run.run(["patches"], {"pixels": each[None]})[0].astype(np.float16) for each in shown])


def pictures(data: Path, work: Path, part: str, trunk: Path) -> Pictures:
    path = work / f"pictures-{part}.npz"
    if not path.exists():
        said, run, known = sentences(data, part), runtime.session(trunk), vocabulary(data)
        names, rows, words = [], [], []
        rng, views = np.random.default_rng(0), VIEWS if part == "train" else 1
        with tarfile.open(data / "grounding/images.tar") as archive:
            for member in archive:
                name = Path(member.name).name
                if member.isfile() and name in said:
                    names.append(name)
                    rows.append(patches(run, archive.extractfile(member).read(), views, rng))
                    words.append(counts(said[name], known))
        np.savez(path, names=names, patches=np.stack(rows), words=np.stack(words))
    held = np.load(path)
    return Pictures(held["names"].tolist(), held["patches"], held["words"])


def counts(said: set[str], known: list[str]) -> np.ndarray:
    at, found = {word: i for i, word in enumerate(known)}, np.zeros(len(known), np.uint8)
    for sentence in said:
        for word in set(re.findall(r"[a-z]+", sentence.lower())) & at.keys():
            found[at[word]] += 1
    return found
