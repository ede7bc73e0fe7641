"""The paper's ladder on MMSD2.0: what each part is worth, over seeds, with controls."""

import json
from pathlib import Path

import numpy as np
import torch

from emotion import text_data
from sarcasm import rows
from sarcasm import train as st
from trunk import data as td
from trunk.train import Words

SHIPPED_SEED = 0


def parts(data: Path, work: Path, trunk: Path):
    """(train, valid, picture words) of MMSD2.0, rows of `trunk`, a text.onnx."""
    root, tokenizer = td.unpack(data, work), text_data.tokenizer(work)
    valid = td.mmsd2(data, root, "valid")
    train = td.apart(td.mmsd2(data, root, "train"), valid)
    found = [rows.posts(items, work / f"mmsd2-{name}.npy", trunk, tokenizer) for name, items in (("train", train), ("valid", valid))]
    return *found, Words(text_data.minilm(work), tokenizer, train + valid)


def labels(posts: rows.Posts) -> np.ndarray:
    return np.array([item.label for item in posts.items])


def head(work: Path, name: str, seed: int, train=None, words=None):
    """A trained head of the ladder; trained now, if it is not there."""
    path = work / f"sarcasm-{name.replace(' ', '-')}-{seed}.pt"
    if not path.exists():
        torch.save(st.train(name, train, words, seed).state_dict(), path)
    made = st.LADDER[name][0]()
    made.load_state_dict(torch.load(path))
    return made.eval()


def run(data: Path, work: Path, trunk: Path) -> dict:
    """Every row of the ladder on valid, a list of figures over seeds each; what k and τ do."""
    train, valid, words = parts(data, work, trunk)
    y, y_train = labels(valid), labels(train)
    shuffled = [valid.items[i].picture for i in np.random.default_rng(0).permutation(len(y))]
    found: dict[str, list] = {}
    sweep: dict[str, list] = {}
    add = lambda row, p: found.setdefault(row, []).append(st.measure(p, y))
    for seed in st.SEEDS:
        for name in st.LADDER:
            made = head(work, name, seed, train, words)
            p, q = st.answer(made, valid, words)
            add(name, p)
            if not name.startswith("fgm"):
                continue
            bank = st.answer(made, train, words)[1]
            for k in st.K:
                for tau in st.TAU:
                    figures = st.measure(st.neighbours(bank, y_train, q, k, tau), y)
                    sweep.setdefault(f"{name}, k {k}, tau {tau}", []).append(figures["macro_f1"])
            p, q = st.answer(made, valid, words, shuffled)
            add(f"{name}, shuffled picture words", p)
            add(f"{name}, no picture words", st.answer(made, valid, words, [()] * len(y))[0])
        print(f"seed {seed}: " + ", ".join(f"{row} {each[-1]['macro_f1']:.3f}" for row, each in found.items()), flush=True)
        (work / "ladder.json").write_text(json.dumps({"rows": found, "sweep": sweep}, indent=1))
    return {"rows": found, "sweep": sweep}
