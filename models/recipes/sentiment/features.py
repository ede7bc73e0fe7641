"""What the frozen encoders say of every text and picture, computed once and kept on disk."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from common import runtime
from common.stages import newer
from emotion.text_data import tokenizer
from sentiment import data as sd
from sentiment import lite
from sentiment.mvcn import Batch
from trunk import data as td

MAX_TOKENS = 64


# the plain picture, and another mirrored, cut and recoloured
VIEWS = range(2)


def folder(work: Path) -> Path:
    path = Path(work) / "mvsa"
    path.mkdir(parents=True, exist_ok=True)
    return path


# -- texts ------------------------------------------------------------------------------


class Texts(NamedTuple):
    """Rows of text i: rows[offsets[i] : offsets[i + 1]]."""

    rows: np.ndarray
    offsets: np.ndarray

    def of(self, i: int) -> np.ndarray:
        return self.rows[self.offsets[i] : self.offsets[i + 1]]

    def __len__(self) -> int:
        return len(self.offsets) - 1


def encode(tok, said: str) -> td.Encoded:
    """As the runtime does: links leave, and a word's shape is its pieces' type."""
    made = td.encode(tok, sd.without_links(said))
    cut = [part[: MAX_TOKENS - 1] + part[-1:] if len(part) > MAX_TOKENS else part for part in made[:3]]
    return td.Encoded(*cut, own=len(cut[0]))


def texts(data: Path, work: Path, name: str, trunk: Path) -> Texts:
    """`tokens` of the shipped text trunk for "train" or "dev"."""
    path = folder(work) / f"text_{name}.npz"
    if not newer(path, trunk):
        tok, run, rows = tokenizer(work), runtime.session(trunk), []
        for item in items(data, work, name):
            made = encode(tok, item.text)
            fed = {"ids": np.array(made.ids), "types": np.array(made.kinds)}
            rows.append(run.run(["tokens"], fed)[0].astype(np.float16))
        np.savez(path, rows=np.concatenate(rows), offsets=np.cumsum([0] + [len(r) for r in rows]))
    held = np.load(path)
    return Texts(held["rows"], held["offsets"])


def items(data: Path, work: Path, name: str) -> list[sd.Pair]:
    return sd.train_pairs(data, work) if name == "train" else sd.table(data, name)


def labels(data: Path, work: Path, name: str) -> np.ndarray:
    return np.array([item.label for item in items(data, work, name)])


# -- pictures ---------------------------------------------------------------------------


def patches(data: Path, work: Path, name: str, view: int, trunk: Path) -> np.ndarray:
    """`patches` of the shipped image trunk: float16 [n, 36, 320]."""
    path = folder(work) / f"patches_{name}_{view}.npy"
    if not newer(path, trunk):
        run = runtime.session(trunk)
        seen = lite.views([p.picture for p in items(data, work, name)], lite.SIDE, view)
        np.save(path, np.stack([run.run(["patches"], {"pixels": one[None]})[0].astype(np.float16) for one in seen]))
    return np.load(path)


# -- batches ----------------------------------------------------------------------------


class Seen(NamedTuple):
    """Texts, some views of each picture (the plain one first) and labels, index for index."""

    texts: Texts
    patches: list[np.ndarray]
    labels: np.ndarray

    def batch(self, chosen, view: int = 0, kept=None) -> Batch:
        """`kept`: which patches are shown, all unless told."""
        rows = [self.texts.of(i) for i in chosen]
        padded = torch.zeros(len(rows), max(map(len, rows)), rows[0].shape[1])
        mask = torch.zeros(padded.shape[:2], dtype=torch.bool)
        for i, row in enumerate(rows):
            padded[i, : len(row)], mask[i, : len(row)] = torch.from_numpy(row.astype(np.float32)), True
        shown = self.patches[view][chosen]
        shown = shown if kept is None else shown[:, kept]
        return Batch(padded, mask, torch.from_numpy(shown.astype(np.float32)))

    def lengths(self) -> np.ndarray:
        return np.diff(self.texts.offsets)

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """What the halves read: the words' row 0 and mean row [n, 768], the plain picture's mean row [n, 320]."""
        rows = (self.texts.of(i).astype(np.float32) for i in range(len(self.texts)))
        words = [np.concatenate([each[0], each.mean(0)]) for each in rows]
        return np.stack(words), self.patches[0].astype(np.float32).mean(1)

    def with_pictures_of(self, others: np.ndarray) -> "Seen":
        return self._replace(patches=[view[others] for view in self.patches])


def shuffled(seen: Seen, chosen: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Batches of about equally long texts, in random order."""
    order = np.argsort(seen.lengths()[chosen] + rng.uniform(0, 4, len(chosen)))
    groups = np.array_split(chosen[order], max(1, round(len(chosen) / size)))
    return [groups[i] for i in rng.permutation(len(groups))]


def joined(parts: list[Seen]) -> Seen:
    """One after the other."""
    lengths = np.concatenate([part.lengths() for part in parts])
    texts = Texts(np.concatenate([part.texts.rows for part in parts]), np.r_[0, lengths.cumsum()])
    views = [np.concatenate(view) for view in zip(*(part.patches for part in parts))]
    return Seen(texts, views, np.concatenate([part.labels for part in parts]))
