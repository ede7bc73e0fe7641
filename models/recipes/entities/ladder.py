"""The paper's ablations on Twitter2015 and 2017 valid, over seeds, with controls."""

import json
from pathlib import Path
from typing import NamedTuple

import torch

from emotion import text_data
from entities import train as et
from sarcasm import rows
from trunk import data as td
from trunk.batches import Words

YEARS = ("2015", "2017")
SHIPPED_SEED = 0


class Views(NamedTuple):
    """The same posts beside their own picture's words, beside none, and beside another's."""

    own: rows.Posts
    blind: rows.Posts
    shuffled: rows.Posts


def views(items: list[td.Item], cache: str, work: Path, trunk: Path, tokenizer) -> Views:
    shown = {"own": items, "blind": rows.blind(items), "shuffled": rows.shuffled(items)}
    return Views(**{name: rows.posts(each, work / f"{cache}-{name}.npy", trunk, tokenizer) for name, each in shown.items()})


def parts(data: Path, work: Path, trunk: Path) -> tuple[Views, dict[str, Views], Words]:
    """(train, {year: valid}, picture words), rows of `trunk`, a text.onnx."""
    root, tokenizer = td.unpack(data, work), text_data.tokenizer(work)
    found = td.entities(data, root)
    train = found["twitter"]
    valid = {year: td.twitter(data, root, year, "valid") for year in YEARS}
    words = Words(text_data.minilm(work), tokenizer, [item for items in (train, *valid.values()) for item in items])
    made = {year: views(items, f"twitter{year}-valid", work, trunk, tokenizer) for year, items in valid.items()}
    return views(train, "entities-train", work, trunk, tokenizer), made, words


def judge(found: dict, name: str, head, valid: dict[str, Views], words: Words) -> None:
    """Figures of a head as it is, without its picture words, with another's, and without the
    question whether there is an entity of a type at all."""
    for year, views in valid.items():
        shown = {
            name: (views.own, 0.5),
            f"{name}, no picture words": (views.blind, 0.5),
            f"{name}, shuffled picture words": (views.shuffled, 0.5),
            f"{name}, existence not asked": (views.own, 0.0),
        }
        for row, (posts, threshold) in shown.items():
            figures = et.measure(et.answer(head, posts, words, threshold), posts.items)
            found.setdefault(f"Twitter{year}", {}).setdefault(row, []).append(figures)


def reader(work: Path, seed: int, joint: dict, train: Views | None = None, words=None, blind: bool = False) -> et.tm.Reader:
    """The head of the trunk's training, gone on with on rows of the trunk as it ships; `blind` ones
    are shown no picture words. Trained now, if it is not there."""
    path = work / f"reader-{'blind-' if blind else ''}{seed}.pt"
    if not path.exists():
        posts = train.blind if blind else train.own
        torch.save(et.train(posts, train.blind, words, seed, joint).state_dict(), path)
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
