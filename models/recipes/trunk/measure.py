"""What the heads of the joint training are worth as they are, before a bundle goes on with them."""

import json
from pathlib import Path

import numpy as np
import torch

from emotion import text_data
from entities import train as entities
from sarcasm import train as sarcasm
from sarcasm import rows as posts
from trunk import data as td
from trunk import export
from trunk import batches as tb


@torch.no_grad()
def rows(trunk, items: list[td.Item], tokenizer) -> posts.Posts:
    """Rows in bf16, as the training had them."""
    encoded = [td.encode(tokenizer, item.text, item.picture) for item in items]
    found = [None] * len(items)
    order = sorted(range(len(items)), key=lambda i: len(encoded[i].ids))
    for start in range(0, len(order), 64):
        group = order[start : start + 64]
        ids, kinds, real, _ = tb.collate([encoded[i] for i in group])
        with torch.autocast("cpu", torch.bfloat16):
            tokens = trunk(ids, kinds, real).float().numpy()
        for row, i in zip(tokens, group):
            found[i] = row[: encoded[i].own].astype(np.float16)
    return posts.of(items, encoded, np.concatenate(found))


def run(data: Path, work: Path) -> dict:
    root, tokenizer, folder = td.unpack(data, work), text_data.tokenizer(work), text_data.minilm(work)
    model, found = export.load(work), {}

    def add(name: str, figures: dict) -> None:
        found[name] = figures
        print(name, {key: round(value, 4) for key, value in figures.items()}, flush=True)

    mmsd2, hfm = td.mmsd2(data, root, "valid"), td.hfm(data, root, "valid2")
    learnt = td.apart(td.mmsd2(data, root, "train"), mmsd2)[::8]
    shown = {
        "MMSD2.0 valid": mmsd2,
        "MMSD2.0 valid, no picture words": posts.blind(mmsd2),
        "MMSD2.0 valid, shuffled picture words": posts.shuffled(mmsd2),
        "HFM valid": hfm,
        "MMSD2.0 train, every eighth": learnt,
    }
    for name, items in shown.items():
        task = items[0].task
        words = tb.Words(folder, tokenizer, items)
        made, labels = rows(model.trunk, items, tokenizer), np.array([item.label for item in items])
        add(name, sarcasm.measure(sarcasm.answer(model.fgm[task], made, words)[0], labels))
    for year in ("2015", "2017"):
        items = td.twitter(data, root, year, "valid")
        words = tb.Words(folder, tokenizer, items)
        add(f"Twitter{year} valid", entities.measure(entities.answer(model.reader, rows(model.trunk, items, tokenizer), words), items))
    (work / "trunk.json").write_text(json.dumps(found, indent=1))
    return found
