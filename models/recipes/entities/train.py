"""The reading-comprehension head on frozen rows of the text trunk, and what its answers are worth."""

import numpy as np
import torch
from torch import nn

from sarcasm.rows import Posts, batches
from trunk import data as td
from trunk import model as tm
from trunk.batches import Words, edges_of_words, marks
from trunk.heads import span_loss

SEEDS = range(3)
EPOCHS, RATE, BATCH, DECAY = 2, 5e-4, 32, 0.02
BLIND = 0.15  # share of batches whose pictures nobody sees
LONGEST = 12  # words that an entity goes on for after its first


def train(posts: Posts, blind: Posts, words: Words, seed: int, start: dict | None = None, epochs: int = EPOCHS) -> tm.Reader:
    """`blind` are the same posts without pictures; `start` are weights to go on from."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = tm.Reader().train()
    if start:
        head.load_state_dict(start)
    optim = torch.optim.AdamW(head.parameters(), RATE, weight_decay=DECAY)
    steps = epochs * -(-len(posts.items) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, RATE, steps, pct_start=0.1)
    for _ in range(epochs):
        for group in batches(posts, BATCH, rng):
            tokens, word, real, items = (blind if rng.random() < BLIND else posts).batch(group)
            outputs = head(tokens, real, *words.collate([item.picture for item in items]))
            loss = span_loss(outputs, marks([(item, None) for item in items], word), word, 4)
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optim.step(), schedule.step(), optim.zero_grad()
    return head.eval()


def decode(exist, start, end, match, word, threshold: float = 0.5):
    """SPEC 4.2 of one sentence's probabilities: {(first word, past the last, type)}."""
    first, last = (each[0].numpy() for each in edges_of_words(word[None]))
    found = []
    for kind in range(len(td.TYPES)):
        if exist[kind] < threshold:
            continue
        ends = np.flatnonzero((end[kind] > 0.5) & last)
        for s in np.flatnonzero((start[kind] > 0.5) & first):
            after = ends[ends >= s]
            if len(after) and match[kind, s, after[0]] > 0.5 and word[after[0]] - word[s] <= LONGEST:
                score = float(exist[kind] * match[kind, s, after[0]])
                found.append((score, int(word[s]), int(word[after[0]]) + 1, td.TYPES[kind]))
    kept = []
    for score, a, b, name in sorted(found, reverse=True):
        if all(b <= c or a >= d for c, d, _ in kept):
            kept.append((a, b, name))
    return set(kept)


@torch.no_grad()
def answer(head: tm.Reader, posts: Posts, words: Words, threshold: float = 0.5) -> list[set]:
    found = [set()] * len(posts.items)
    for group in batches(posts, 64):
        tokens, word, real, items = posts.batch(group)
        shown = words.collate([item.picture for item in items])
        outputs = [each.sigmoid().numpy() for each in head(tokens, real, *shown)]
        for row, i in enumerate(group):
            found[i] = decode(*(each[row] for each in outputs), word[row], threshold)
    return found


def measure(found: list[set], items: list[td.Item]) -> dict:
    gold = [set(item.label) for item in items]
    score = lambda g, f: (sum(len(a & b) for a, b in zip(g, f)), sum(map(len, f)), sum(map(len, g)))
    per = {}
    for name in td.TYPES:
        only = lambda sets: [{e for e in each if e[2] == name} for each in sets]
        hit, said, there = score(only(gold), only(found))
        per[name] = 2 * hit / max(said + there, 1)
    hit, said, there = score(gold, found)
    return {"precision": hit / max(said, 1), "recall": hit / max(there, 1), "f1": 2 * hit / max(said + there, 1), **per}
