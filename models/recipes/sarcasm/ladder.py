"""The paper's ladder on MMSD2.0: what each part is worth, over seeds, with controls."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from emotion import text_data
from sarcasm import rows
from sarcasm import train as st
from trunk import data as td
from trunk.batches import Words

SHIPPED_SEED = 0
# swept on valid: fewer neighbours lose up to a point, more gain nothing
K, TAU = 100, 0.1


class Parts(NamedTuple):
    """MMSD2.0, as the trunk that ships reads it."""

    train: rows.Posts
    train_blind: rows.Posts
    valid: rows.Posts
    valid_blind: rows.Posts
    valid_shuffled: rows.Posts
    words: Words


def parts(data: Path, work: Path, trunk: Path) -> Parts:
    """`trunk`: a text.onnx."""
    root, tokenizer = td.unpack(data, work), text_data.tokenizer(work)
    valid = td.mmsd2(data, root, "valid")
    train = td.apart(td.mmsd2(data, root, "train"), valid)
    shown = {
        "train": train, "train_blind": rows.blind(train),
        "valid": valid, "valid_blind": rows.blind(valid), "valid_shuffled": rows.shuffled(valid),
    }
    made = {name: rows.posts(items, work / f"mmsd2-{name}.npy", trunk, tokenizer) for name, items in shown.items()}
    return Parts(**made, words=Words(text_data.minilm(work), tokenizer, train + valid))


def labels(posts: rows.Posts) -> np.ndarray:
    return np.array([item.label for item in posts.items])


def head(work: Path, name: str, seed: int, of: Parts | None = None):
    """A trained head of the ladder; trained now, if it is not there."""
    path = work / f"sarcasm-{name.replace(' ', '-')}-{seed}.pt"
    if not path.exists():
        train = of.train_blind if name == "text-only" else of.train
        torch.save(st.train(name, train, of.words, seed).state_dict(), path)
    made = st.LADDER[name][0]()
    made.load_state_dict(torch.load(path))
    return made.eval()


def run(data: Path, work: Path, trunk: Path) -> dict:
    """Every row of the ladder on valid, a list of figures over seeds each; what k and τ do."""
    of = parts(data, work, trunk)
    y, y_train = labels(of.valid), labels(of.train)
    found: dict[str, list] = {}
    sweep: dict[str, list] = {}
    # by the heads' names in the manifest, from the seed that ships
    temperature: dict[str, float] = {}
    add = lambda row, p: found.setdefault(row, []).append(st.measure(p, y))
    for seed in st.SEEDS:
        for name in st.LADDER:
            made = head(work, name, seed, of)
            p, q = st.answer(made, of.valid_blind if name == "text-only" else of.valid, of.words)
            add(name, p)
            if seed == SHIPPED_SEED:
                temperature[name] = st.temperature(p, y)
            if not name.startswith("fgm"):
                continue
            bank = st.answer(made, of.train, of.words)[1]
            for k in st.K:
                for tau in st.TAU:
                    figures = st.measure(st.neighbours(bank, y_train, q, k, tau), y)
                    sweep.setdefault(f"{name}, k {k}, tau {tau}", []).append(figures["macro_f1"])
            few = st.prototypes(bank, y_train, st.PROTOTYPES)
            share = st.neighbours(bank, y_train, q, K, TAU)
            add(f"{name} + kNN", share)
            if seed == SHIPPED_SEED:
                temperature["g2sam" if name == "fgm+lgcl" else "fgm+knn"] = st.temperature(st.softened(share, K), y)
            add(f"{name} + kNN, {st.PROTOTYPES} prototypes", st.neighbours(bank[few], y_train[few], q, K, TAU))
            add(f"{name}, shuffled picture words", st.answer(made, of.valid_shuffled, of.words)[0])
            add(f"{name}, no picture words", st.answer(made, of.valid_blind, of.words)[0])
        print(f"seed {seed}: " + ", ".join(f"{row} {each[-1]['macro_f1']:.3f}" for row, each in found.items()), flush=True)
        (work / "ladder.json").write_text(json.dumps({"rows": found, "sweep": sweep, "temperature": temperature}, indent=1))
    return {"rows": found, "sweep": sweep, "temperature": temperature}
