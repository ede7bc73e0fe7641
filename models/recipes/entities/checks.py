"""What the reader's answers hang on besides pictures: the types that there are, and how words are written.

The reader is the one that ships, in int8 on int8 rows.
"""

import json
from pathlib import Path

import numpy as np

from common import runtime
from emotion import text_data
from entities import ladder
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


def run(data: Path, work: Path, trunk: Path, reader: Path) -> dict:
    """Twitter2015 and 2017 valid: the reader as it is, with the types given, and where every word is plain."""
    root, tokenizer = td.unpack(data, work), text_data.tokenizer(work)
    valid = {year: td.twitter(data, root, year, "valid") for year in ladder.YEARS}
    words = Words(text_data.minilm(work), tokenizer, [item for items in valid.values() for item in items])
    rows_of = lambda items, name, shapes: rows.posts(items, work / f"{name}.npy", trunk, tokenizer, shapes)
    found: dict = {}
    for year, items in valid.items():
        own = rows_of(items, f"twitter{year}-valid-own", True)
        plain = rows_of(items, f"twitter{year}-valid-plain", False)
        said, flat = shown(own, words, reader), shown(plain, words, reader)
        base = [et.decode(*each) for each in said]
        given = [et.decode(asked(item, each[0]), *each[1:]) for item, each in zip(items, said)]
        of = found.setdefault(f"Twitter{year}", {})
        of["shipped reader"] = row(base, base, items)
        of["types given"] = row(given, base, items)
        of["every word plain"] = row([et.decode(*each) for each in flat], base, items)
        print(year, of, flush=True)
    (work / "entities-checks.json").write_text(json.dumps(found, indent=1))
    return found
