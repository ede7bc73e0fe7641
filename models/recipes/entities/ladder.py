"""The paper's ablations on Twitter2015 and 2017 valid, over seeds, with controls."""

import json
from pathlib import Path

import numpy as np
import torch

from emotion import text_data
from entities import train as et
from sarcasm import rows
from trunk import data as td
from trunk.train import Words

YEARS = ("2015", "2017")


def parts(data: Path, work: Path, trunk: Path):
    """(train, {year: valid}, picture words), rows of `trunk`, a text.onnx."""
    root, tokenizer = td.unpack(data, work), text_data.tokenizer(work)
    found = td.entities(data, root)
    train = found["twitter"] + found["gmner"] + found["wnut17"]
    valid = {year: td.twitter(data, root, year, "valid") for year in YEARS}
    words = Words(text_data.minilm(work), tokenizer, [item for items in (train, *valid.values()) for item in items])
    made = {year: rows.posts(items, work / f"twitter{year}-valid.npy", trunk, tokenizer) for year, items in valid.items()}
    return rows.posts(train, work / "entities-train.npy", trunk, tokenizer), made, words


def shuffled(posts: rows.Posts, seed: int = 0) -> list[tuple[str, ...]]:
    """Every post with the picture words of another."""
    order = np.random.default_rng(seed).permutation(len(posts.items))
    return [posts.items[i].picture for i in order]


def judge(found: dict, name: str, head, valid: dict, words: Words) -> None:
    """Figures of a head as it is, without its picture words, with another's, and without the
    question whether there is an entity of a type at all."""
    for year, posts in valid.items():
        shown = {
            name: {},
            f"{name}, no picture words": {"pictures": [()] * len(posts.items)},
            f"{name}, shuffled picture words": {"pictures": shuffled(posts)},
            f"{name}, existence not asked": {"threshold": 0.0},
        }
        for row, options in shown.items():
            figures = et.measure(et.answer(head, posts, words, **options), posts.items)
            found.setdefault(f"Twitter{year}", {}).setdefault(row, []).append(figures)


def run(data: Path, work: Path, trunk: Path, joint, seeds=et.SEEDS) -> dict:
    """`joint`, the head that was trained with the trunk, and heads trained on its frozen rows."""
    train, valid, words = parts(data, work, trunk)
    found: dict = {}
    judge(found, "mner-qg", joint, valid, words)
    print({year: round(each["mner-qg"][0]["f1"], 4) for year, each in found.items()}, flush=True)
    for seed in seeds:
        for name, pictures in (("head alone", None), ("head alone, trained without picture words", [()] * len(train.items))):
            path = work / f"reader-{name.replace(' ', '-').replace(',', '')}-{seed}.pt"
            if not path.exists():
                torch.save(et.train(train, words, seed, pictures).state_dict(), path)
            head = et.tm.Reader()
            head.load_state_dict(torch.load(path))
            judge(found, name, head.eval(), valid, words)
        (work / "entities-ladder.json").write_text(json.dumps(found, indent=1))
    return found
