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
from trunk import data as td

SIDE = 176


def vocabulary(data: Path) -> list[str]:
    """HFM's closed list: what its pictures' five words are, the most frequent first."""
    counts = Counter(word for words in td.attributes(data).values() for word in words)
    return sorted(counts, key=lambda word: (-counts[word], word))


class Pictures(NamedTuple):
    names: list[str]
    patches: np.ndarray  # f16 [pictures, 36, 320], of the shipped image trunk
    words: np.ndarray  # u8 [pictures, 1000]: how many of its captions say the word


def sentences(data: Path, part: str) -> dict[str, set[str]]:
    """Captions of the pictures whose pixels are here."""
    found: dict[str, set[str]] = {}
    with lzma.open(data / "grounding/phrases.csv.xz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == part and row["packed"] == "1":
                found.setdefault(row["image"], set()).add(row["sentence"])
    return found


def pixels(raw: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(raw)).convert("RGB")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def patches(run, raw: bytes) -> np.ndarray:
    return run.run(None, {"pixels": pixels(raw)[None]})[0].astype(np.float16)


def pictures(data: Path, work: Path, part: str, trunk: Path) -> Pictures:
    path = work / f"pictures-{part}.npz"
    if not path.exists():
        said, run, known = sentences(data, part), runtime.session(trunk), vocabulary(data)
        names, rows, words = [], [], []
        with tarfile.open(data / "grounding/images.tar") as archive:
            for member in archive:
                name = Path(member.name).name
                if member.isfile() and name in said:
                    names.append(name)
                    rows.append(patches(run, archive.extractfile(member).read()))
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
