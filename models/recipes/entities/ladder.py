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
    train = found["twitter"]
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


def reader(work: Path, seed: int, joint: dict, train=None, words=None, blind: bool = False) -> et.tm.Reader:
    """The head of the trunk's training, gone on with on rows of the trunk as it ships; `blind` ones
    are shown no picture words. Trained now, if it is not there."""
    path = work / f"reader-{'blind-' if blind else ''}{seed}.pt"
    if not path.exists():
        pictures = [()] * len(train.items) if blind else None
        torch.save(et.train(train, words, seed, pictures, joint).state_dict(), path)
    head = et.tm.Reader()
    head.load_state_dict(torch.load(path))
    return head.eval()


def run(data: Path, work: Path, trunk: Path, joint: dict, seeds=et.SEEDS) -> dict:
    """`joint` are the weights of the head that was trained with the trunk."""
    train, valid, words = parts(data, work, trunk)
    found: dict = {}
    for seed in seeds:
        for name, blind in (("mner-qg", False), ("trained without picture words", True)):
            judge(found, name, reader(work, seed, joint, train, words, blind), valid, words)
        print({year: {row: round(each[-1]["f1"], 4) for row, each in rows.items()} for year, rows in found.items()}, flush=True)
        (work / "entities-ladder.json").write_text(json.dumps(found, indent=1))
    return found
