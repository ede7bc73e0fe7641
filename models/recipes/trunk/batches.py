"""Batches of one task each, of texts of about one length, made by several processes at once."""

import multiprocessing
import random
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

from emotion import text_data
from trunk import data as td
from trunk import model as tm

BATCH_TOKENS, JOB = 4000, 12000
FOLDS = 3


class Words:
    """Rows of picture words, made once."""

    def __init__(self, folder: Path, tokenizer, items):
        known = sorted({word for item in items for word in item.picture})
        self.at = {word: i for i, word in enumerate(known)}
        self.rows = tm.word_rows(folder / "model.safetensors", tokenizer, known or ["nothing"])

    def indices(self, pictures) -> torch.Tensor:
        """[B, W], -1 where a picture has no more words."""
        width = max(1, *(len(p) for p in pictures))
        return torch.tensor([[*(self.at[word] for word in p), *[-1] * (width - len(p))] for p in pictures])

    def of(self, indices):
        """Rows [B, W, 384], and which of them are there."""
        seen = indices >= 0
        return self.rows[indices.clamp(min=0)] * seen[..., None], seen

    def collate(self, pictures):
        return self.of(self.indices(pictures))


class Batch(NamedTuple):
    task: str
    which: torch.Tensor  # [B] of the items
    ids: torch.Tensor  # [B, N]; kinds and words too
    kinds: torch.Tensor
    words: torch.Tensor  # the word of each token; -1 of [CLS], [SEP] and what the text is read beside
    lengths: torch.Tensor  # [B], all of it
    own: torch.Tensor  # [B], without what the text is read beside
    pictures: torch.Tensor  # [B, W], rows of `Words`
    beside: torch.Tensor  # [B], whether there is anything to read beside
    labels: torch.Tensor  # [B] classes, or [M, 4] entities: row, type, first and last token

    def to(self, device) -> "Batch":
        return Batch(self.task, *(each.to(device, non_blocking=True) for each in self[1:]))

    def first(self, lengths) -> torch.Tensor:
        """[B, N] true of the first `lengths` tokens."""
        return torch.arange(self.ids.shape[1], device=self.ids.device)[None] < lengths[:, None]


def collate(encoded):
    width = max(len(e.ids) for e in encoded)
    pad = lambda rows, value: torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])
    ids, kinds, words = (pad([getattr(e, name) for e in encoded], value) for name, value in (("ids", 0), ("kinds", 0), ("words", -1)))
    real = torch.tensor([[i < len(e.ids) for i in range(width)] for e in encoded])
    return ids, kinds, real, words


def marks(group, words) -> torch.Tensor:
    """[M, 4]: row, type, first and last token of entities that lie within what was encoded."""
    found = []
    for i, (item, _) in enumerate(group):
        own = words[i].tolist()
        for first, past, name in item.label:
            if first in own and past - 1 in own:
                found.append((i, td.TYPES.index(name), own.index(first), len(own) - 1 - own[::-1].index(past - 1)))
    return torch.tensor(found, dtype=torch.long).reshape(-1, 4)


def batch(which: list[int], group, words: Words) -> Batch:
    """Of (item, encoded) pairs."""
    items, encoded = [item for item, _ in group], [each for _, each in group]
    ids, kinds, _, word = collate(encoded)
    labels = marks(group, word) if isinstance(items[0].label, tuple) else torch.tensor([item.label for item in items])
    return Batch(
        items[0].task, torch.tensor(which), ids, kinds, word,
        torch.tensor([len(e.ids) for e in encoded]), torch.tensor([e.own for e in encoded]),
        words.indices([item.picture for item in items]),
        torch.tensor([bool(item.picture or item.history) for item in items]), labels,
    )


def by_length(pairs, tokens: int, rng: random.Random):
    """(index, item, encoded) in groups of about one length, `tokens` at most with their padding."""
    made = []
    for start in range(0, len(pairs), 4096):
        group, longest = [], 0
        for pair in sorted(pairs[start : start + 4096], key=lambda p: len(p[2].ids) + rng.random()):
            longest = max(longest, len(pair[2].ids))
            if group and longest * (len(group) + 1) > tokens:
                made.append(group)
                group, longest = [], len(pair[2].ids)
            group.append(pair)
        made.append(group)
    return made


def encoded(items, which, tokenizer, rng: random.Random | None):
    """(index, item, encoded), disturbed if there is an `rng`."""
    for i in which:
        item = items[i] if rng is None else td.disturb(items[i], rng)
        yield i, item, td.encode(tokenizer, item.text, item.picture, item.history)


def jobs(plan, tokens: int, rng: random.Random, name: str):
    """What `make` takes: the draws of every (indices of one task's items, epochs), cut for several processes."""
    made = []
    for number, (which, epochs) in enumerate(plan):
        for drawn in draws(which, epochs, rng):
            made += [(drawn[at : at + JOB], tokens, f"{name} {number} {at} {rng.random()}") for at in range(0, len(drawn), JOB)]
    return made


# what processes inherit: items, words, tokenizer
shared: list = []


def _made(job) -> list[Batch]:
    which, tokens, seed = job
    items, words, tokenizer = shared
    rng = None if seed is None else random.Random(seed)
    pairs = list(encoded(items, which, tokenizer, rng))
    groups = by_length(pairs, tokens, rng or random.Random(0))
    return [batch([i for i, _, _ in group], [pair[1:] for pair in group], words) for group in groups if group]


def make(items, words: Words, tokenizer, jobs, processes: int) -> list[Batch]:
    """Batches of all jobs, each (indices of one task's items, tokens a batch, seed or None)."""
    shared[:] = [items, words, tokenizer]
    if processes < 2:
        return [each for job in jobs for each in _made(job)]
    with multiprocessing.get_context("fork").Pool(processes, torch.set_num_threads, (1,)) as pool:
        return [each for made in pool.imap(_packed, jobs) for each in _unpacked(made)]


def _packed(job):
    return [(each.task, *(x.numpy() for x in each[1:])) for each in _made(job)]


def _unpacked(made) -> list[Batch]:
    return [Batch(each[0], *map(torch.from_numpy, each[1:])) for each in made]


def draws(items_of_task: list[int], epochs: float, rng: random.Random) -> list[list[int]]:
    """An epoch's indices each, the last one a share."""
    found = []
    while epochs > 0:
        drawn = list(items_of_task)
        rng.shuffle(drawn)
        found.append(drawn[: int(len(drawn) * min(epochs, 1))])
        epochs -= 1
    return [each for each in found if each]


def of_check(item: td.Item) -> bool:
    return text_data.is_put_by(item.text)


def fold_of(item: td.Item) -> int:
    """The teacher's fold: copies of a text are in one."""
    return text_data.digest(item.text) // text_data.PUT_BY % FOLDS


def edges_of_words(words):
    """Tokens that begin a word, and those that end one."""
    before = F.pad(words, (1, 0), value=-1)[:, :-1]
    after = F.pad(words, (0, 1), value=-1)[:, 1:]
    return (words >= 0) & (words != before), (words >= 0) & (words != after)
