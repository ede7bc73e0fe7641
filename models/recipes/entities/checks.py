"""What the reader's answers hang on besides pictures: the types that there are, and how words are written.

The reader is the one that ships, in int8 on int8 rows; `again` are readers that go on from it.
"""

import json
from pathlib import Path

import numpy as np
import torch

from common import runtime
from emotion import text_data
from entities import bundle, ladder
from entities import train as et
from sarcasm import rows
from trunk import data as td
from trunk.batches import Words

RESAMPLED = 2000


def shown(posts: rows.Posts, words: Words, path: Path) -> list[tuple]:
    """(exist, start, end, match, word of each token) of every post, probabilities, by the file."""
    run, found = runtime.session(path), []
    for i, item in enumerate(posts.items):
        tokens, word, _, _ = posts.batch([i])
        pictures, seen = words.collate([item.picture])
        given = {"tokens": tokens[0].numpy(), "pictures": pictures[0][seen[0]].numpy()}
        outputs = run.run(["exist", "start", "end", "match"], given)
        found.append((*(1 / (1 + np.exp(-each)) for each in outputs), word[0]))
    return found


def asked(item: td.Item, exist: np.ndarray) -> np.ndarray:
    """The types that the post has, as somebody who knows would say."""
    return np.array([float(any(name == kind for _, _, name in item.label)) for kind in td.TYPES])


def counts(found: list[set], items: list[td.Item]) -> np.ndarray:
    """[posts, 3]: right, said, there."""
    gold = [set(item.label) for item in items]
    return np.array([[len(f & g), len(f), len(g)] for f, g in zip(found, gold)])


def f1(counted: np.ndarray) -> float:
    right, said, there = counted.sum(0)
    return float(2 * right / max(said + there, 1))


def row(found: list[set], base: list[set], items: list[td.Item]) -> dict:
    """F1, what it has more than `base`, and that difference's 95% interval over tweets."""
    mine, other, rng = counts(found, items), counts(base, items), np.random.default_rng(0)
    drawn = [rng.integers(len(items), size=len(items)) for _ in range(RESAMPLED)]
    gains = [f1(mine[at]) - f1(other[at]) for at in drawn]
    return {"f1": f1(mine), "gain": f1(mine) - f1(other), "ci95": np.percentile(gains, [2.5, 97.5]).tolist(), "n": len(items)}


def again(path: Path, posts: rows.Posts, words: Words, seed: int, reader: Path) -> et.tm.Reader:
    """The reader of the file `reader`, gone on with on `posts`, all beside their pictures' words. Trained
    now, if it is not in `path`."""
    if not path.exists():
        start = bundle.restored(reader).state_dict()
        torch.save(et.train(posts, posts, words, seed, start).state_dict(), path)
    head = et.tm.Reader()
    head.load_state_dict(torch.load(path))
    return head.eval()


def run(data: Path, work: Path, trunk: Path, reader: Path, seeds=et.SEEDS) -> dict:
    """Twitter2015 and 2017 valid: the shipped reader as it is, with the types given, and where every
    word is plain; then readers that went on learning on such rows."""
    root, tokenizer = td.unpack(data, work), text_data.tokenizer(work)
    valid = {year: td.twitter(data, root, year, "valid") for year in ladder.YEARS}
    train = td.entities(data, root)["twitter"]
    words = Words(text_data.minilm(work), tokenizer, [item for items in (train, *valid.values()) for item in items])
    rows_of = lambda items, name, shapes: rows.posts(items, work / f"{name}.npy", trunk, tokenizer, shapes)
    found: dict = {}
    plain = {}
    for year, items in valid.items():
        own = rows_of(items, f"twitter{year}-valid-own", True)
        plain[year] = rows_of(items, f"twitter{year}-valid-plain", False)
        said, flat = shown(own, words, reader), shown(plain[year], words, reader)
        base = [et.decode(*each) for each in said]
        given = [et.decode(asked(item, each[0]), *each[1:]) for item, each in zip(items, said)]
        of = found.setdefault(f"Twitter{year}", {})
        of["shipped reader"] = row(base, base, items)
        of["types given"] = row(given, base, items)
        of["every word plain"] = row([et.decode(*each) for each in flat], base, items)
        print(year, of, flush=True)
    seen = rows_of(train, "entities-train-plain-own", False)
    for seed in seeds:
        head = again(work / f"reader-plain-{seed}.pt", seen, words, seed, reader)
        for year, posts in plain.items():
            learnt = et.measure(et.answer(head, posts, words), posts.items)
            found[f"Twitter{year}"].setdefault("every word plain, learnt so", []).append(learnt["f1"])
        print(seed, {year: of["every word plain, learnt so"] for year, of in found.items()}, flush=True)
        (work / "entities-checks.json").write_text(json.dumps(found, indent=1))
    return found
