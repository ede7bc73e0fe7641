"""What the text trunk says of every post, in int8 as it ships, computed once and kept on disk."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from common import runtime
from trunk import data as td
from trunk import model as tm


class Posts(NamedTuple):
    """Rows of post i: rows[offsets[i] : offsets[i + 1]], [CLS] and [SEP] among them, read beside its
    picture's words."""

    items: list[td.Item]
    rows: np.ndarray  # f16 [tokens, 384]
    words: np.ndarray  # the word of each row, -1 of [CLS] and [SEP]
    offsets: np.ndarray

    def batch(self, which, width: int | None = None):
        """tokens [B, N, 384], word of each [B, N] (-1 beyond the end, too), and the items."""
        lengths = [self.offsets[i + 1] - self.offsets[i] for i in which]
        tokens = torch.zeros(len(which), width or max(lengths), tm.DIM)
        words = torch.full(tokens.shape[:2], -1)
        real = torch.zeros(tokens.shape[:2], dtype=torch.bool)
        for row, (i, n) in enumerate(zip(which, lengths)):
            span = slice(self.offsets[i], self.offsets[i + 1])
            tokens[row, :n] = torch.from_numpy(self.rows[span].astype(np.float32))
            words[row, :n] = torch.from_numpy(self.words[span])
            real[row, :n] = True
        return tokens, words, real, [self.items[i] for i in which]


def posts(items: list[td.Item], cache: Path, trunk: Path, tokenizer, shapes: bool = True) -> Posts:
    """Rows of `trunk` (text.onnx); cached in `cache`, which is made again when the trunk is newer.
    Without `shapes` every word is a plain one to it."""
    encoded = [td.encode(tokenizer, item.text, item.picture) for item in items]
    if not shapes:
        encoded = [each._replace(kinds=[k if k == td.BESIDE else td.PLAIN for k in each.kinds]) for each in encoded]
    if not (cache.exists() and cache.stat().st_mtime > trunk.stat().st_mtime):
        run, rows = runtime.session(trunk), []
        for each in encoded:
            fed = {"ids": np.array(each.ids), "types": np.array(each.kinds)}
            rows.append(run.run(["tokens"], fed)[0][: each.own].astype(np.float16))
        np.save(cache, np.concatenate(rows))
    return of(items, encoded, np.load(cache))


def of(items: list[td.Item], encoded: list[td.Encoded], rows: np.ndarray) -> Posts:
    """Posts from the rows of their own tokens, one after the other."""
    words = np.concatenate([each.words[: each.own] for each in encoded])
    return Posts(items, rows, words, np.cumsum([0] + [each.own for each in encoded]))


def blind(items: list[td.Item]) -> list[td.Item]:
    """Without their pictures."""
    return [item._replace(picture=()) for item in items]


def shuffled(items: list[td.Item], seed: int = 0) -> list[td.Item]:
    """Each with the picture of another: the control that shows whether pictures count."""
    order = np.random.default_rng(seed).permutation(len(items))
    return [item._replace(picture=items[other].picture) for item, other in zip(items, order)]


def batches(found: Posts, size: int, rng: np.random.Generator | None = None):
    """Indices, posts of about one length together; in their order without `rng`."""
    lengths = np.diff(found.offsets).astype(float)
    order = np.argsort(lengths + (0 if rng is None else rng.uniform(0, 6, len(lengths))), kind="stable")
    groups = [order[i : i + size] for i in range(0, len(order), size)]
    if rng is not None:
        rng.shuffle(groups)
    return groups


