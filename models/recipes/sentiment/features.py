"""What the frozen encoders say of every text and picture, computed once and kept on disk."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from emotion import text
from emotion import text_data as td
from sentiment import data as sd
from sentiment import lite
from sentiment.mvcn import Batch

MAX_TOKENS = 64
# From this block on the trunk is adapted; what enters it is cached (112 channels, 11 x 11).
MIDDLE = 11


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


def ids(tok, said: str) -> list[int]:
    cls, sep = tok.token_to_id("[CLS]"), tok.token_to_id("[SEP]")
    return [cls, *tok.encode(sd.without_links(said), add_special_tokens=False).ids[: MAX_TOKENS - 2], sep]


def texts(data: Path, work: Path, name: str, trunk: Path | None = None) -> Texts:
    """`hidden` of the shipped text trunk for "train", "dev" or "said"."""
    path = folder(work) / f"text_{name}.npz"
    if not path.exists():
        written = [p.text for p in items(data, work, name)]
        tok, run, rows = td.tokenizer(work), text.session(trunk), []
        for said in written:
            fed = {"ids": np.array(ids(tok, said))}
            fed["types"] = np.zeros_like(fed["ids"])
            rows.append(run.run(["hidden"], fed)[0].astype(np.float16))
        np.savez(path, rows=np.concatenate(rows), offsets=np.cumsum([0] + [len(r) for r in rows]))
    held = np.load(path)
    return Texts(held["rows"], held["offsets"])


def items(data: Path, work: Path, name: str):
    if name == "said":
        return sd.said(data, work)
    return sd.train_pairs(data, work) if name == "train" else sd.table(data, name)


def labels(data: Path, work: Path, name: str) -> np.ndarray:
    return np.array([item.label for item in items(data, work, name)])


# -- pictures ---------------------------------------------------------------------------


def middles(data: Path, work: Path, name: str, view: int) -> np.ndarray:
    """What enters block MIDDLE of Lite0: float16 [n, 112, 11, 11]."""
    path = folder(work) / f"middle_{name}_{view}.npy"
    if not path.exists():
        net = lite.Lite(0).eval()
        seen = lite.views([p.picture for p in items(data, work, name)], lite.SIDE, view)
        np.save(path, lite.in_batches(lambda pixels: net.until(pixels, MIDDLE), seen))
    return np.load(path, mmap_mode="r")


def patches(data: Path, work: Path, name: str, view: int, net: lite.Lite, tag: str) -> np.ndarray:
    """The trunk's patches: float16 [n, 36, 320]."""
    path = folder(work) / f"patches_{tag}_{name}_{view}.npy"
    if not path.exists():
        last = lambda middle: lite.rows(net(middle.float(), MIDDLE))
        np.save(path, lite.in_batches(last, middles(data, work, name, view)))
    return np.load(path)


def teacher_maps(data: Path, work: Path, name: str, side: int = 224) -> np.ndarray:
    """Lite2's pooled features: float16 [n, 1280]."""
    path = folder(work) / f"lite2_{name}.npy"
    if not path.exists():
        net = lite.Lite(2).eval()
        seen = lite.views([p.picture for p in items(data, work, name)], side, 0)
        np.save(path, lite.in_batches(lambda pixels: net.pooled(net(pixels)), seen, 8))
    return np.load(path)


# -- batches ----------------------------------------------------------------------------


class Seen(NamedTuple):
    """Texts, pictures (some views of each; None for texts alone) and labels, index for index."""

    texts: Texts
    patches: list[np.ndarray] | None
    labels: np.ndarray

    def batch(self, chosen, view: int = 0, kept=None, pictures=None) -> Batch:
        """`kept`: which patches are shown, all unless told; `pictures`: other items' pictures."""
        rows = [self.texts.of(i) for i in chosen]
        padded = torch.zeros(len(rows), max(map(len, rows)), rows[0].shape[1])
        mask = torch.zeros(padded.shape[:2], dtype=torch.bool)
        for i, row in enumerate(rows):
            padded[i, : len(row)], mask[i, : len(row)] = torch.from_numpy(row.astype(np.float32)), True
        if self.patches is None:
            return Batch(padded, mask, None)
        shown = self.patches[view][chosen if pictures is None else pictures]
        shown = shown if kept is None else shown[:, kept]
        return Batch(padded, mask, torch.from_numpy(shown.astype(np.float32)))

    def lengths(self) -> np.ndarray:
        return np.diff(self.texts.offsets)


def shuffled(seen: Seen, chosen: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Batches of about equally long texts, in random order."""
    order = np.argsort(seen.lengths()[chosen] + rng.uniform(0, 4, len(chosen)))
    groups = np.array_split(chosen[order], max(1, round(len(chosen) / size)))
    return [groups[i] for i in rng.permutation(len(groups))]


def joined(first: Texts, second: Texts) -> Texts:
    return Texts(np.concatenate([first.rows, second.rows]), np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]]))
