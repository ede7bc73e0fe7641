"""Cross-validation over train and dev together, copies in one fold: every row that could ship.

Rows that learn from soft labels have them from late fusions that never saw the item, within the
folds that they are trained on. A row "of others' pictures" is trained and judged on pictures that
belong to other posts: what it gains over the words is not the picture's doing.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from common.stages import newer
from sentiment import data as sd
from sentiment import features, halves
from sentiment import mvcn_train as mt

SEEDS, UNIT_SEEDS = range(3), range(1)  # units take a hundred times as long
# One item in ten is neutral, and heads say so too seldom: added to that logit.
NEUTRAL_SHIFT = 0.2
DRAWS = 1000
HALVES = {"words": (True, False), "picture": (False, True), "late": (True, True)}
OTHERS = " of others' pictures"
ROWS = [*HALVES, "late" + OTHERS, "equal", "tgf", "mvcn", "mvcn" + OTHERS]


def shifted(logits: np.ndarray) -> np.ndarray:
    return logits + NEUTRAL_SHIFT * np.eye(len(sd.LABELS), dtype=np.float32)[sd.NEUTRAL]


class Fitted(NamedTuple):
    """What the items `chosen` teach before units are trained."""

    late: halves.Halves
    targets: mt.Targets  # of every item; worth something where it was chosen


def late_of(means, labels: np.ndarray, chosen: np.ndarray, row: str = "late") -> halves.Halves:
    words, picture = (part[chosen] if wanted else None for part, wanted in zip(means, HALVES[row]))
    return halves.fit(words, picture, labels[chosen])


def fitted(means, labels: np.ndarray, chosen: np.ndarray, folds: np.ndarray) -> Fitted:
    """The late fusion of the chosen, its soft labels for them (cross-fitted), and where their
    halves, which are told apart by a classifier of each, disagree."""
    found = {row: np.zeros((len(labels), 3), np.float32) for row in HALVES}
    for fold in np.unique(folds[chosen]):
        kept, asked = chosen[folds[chosen] != fold], chosen[folds[chosen] == fold]
        for row in HALVES:
            found[row][asked] = late_of(means, labels, kept, row).logits(*(part[asked] for part in means))
    disagree = found["words"].argmax(1) != found["picture"].argmax(1)
    targets = mt.Targets(torch.tensor(labels), torch.tensor(disagree), torch.tensor(found["late"]))
    return Fitted(late_of(means, labels, chosen), targets)


def answers(seen: features.Seen, folds: np.ndarray, rows: list[str], seed: int) -> dict[str, np.ndarray]:
    """Logits [n, 3] of each row; of every item by what never saw its fold."""
    means, labels = seen.means(), seen.labels
    found = {row: np.zeros((len(labels), 3), np.float32) for row in rows}
    for fold in np.unique(folds):
        chosen, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        asked = [part[held] for part in means]
        learnt = fitted(means, labels, chosen, folds) if set(rows) & set(mt.LADDER) else None
        for row in rows:
            if row in HALVES:
                found[row][held] = late_of(means, labels, chosen, row).logits(*asked)
            else:
                head = mt.fit(seen, chosen, learnt.targets, mt.LADDER[row], seed, learnt.late)
                found[row][held] = mt.answers(head, seen, held)
    return found


def seeds_of(row: str) -> range:
    return SEEDS if row.removesuffix(OTHERS) in HALVES else UNIT_SEEDS


def path_of(work: Path, row: str, seed: int) -> Path:
    folder = features.folder(work) / "chosen"
    folder.mkdir(exist_ok=True)
    return folder / f"{row.replace(' ', '-').replace(chr(39), '')}_{seed}.npy"


def answer(seen: features.Seen, pool: sd.Pool, work: Path, rows: list[str], seed: int) -> None:
    """Writes the logits of the rows that are not there yet, or were made of other rows of the trunk."""
    given = features.folder(work) / "text_train.npz"
    missing = [row for row in rows if not newer(path_of(work, row, seed), given)]
    others = seen.with_pictures_of(np.random.default_rng(seed).permutation(len(seen.labels)))
    for posts, mark in ((seen, ""), (others, OTHERS)):
        asked = {row: row.removesuffix(OTHERS) for row in missing if row.endswith(OTHERS) == bool(mark)}
        found = answers(posts, pool.folds(seed), list(asked.values()), seed) if asked else {}
        for row, name in asked.items():
            np.save(path_of(work, row, seed), found[name])


def run(seen: features.Seen, pool: sd.Pool, work: Path, rows=ROWS) -> list[str]:
    """A line a row: accuracy and weighted F1, their mean over seeds, and the gain over the words,
    with intervals over drawn groups of copies."""
    for seed in SEEDS:
        answer(seen, pool, work, [row for row in rows if seed in seeds_of(row)], seed)
    labels, lines, right = seen.labels, [], {}
    number = np.unique(pool.groups, return_inverse=True)[1]
    drawn = np.random.default_rng(0).multinomial(number.max() + 1, np.full(number.max() + 1, 1 / (number.max() + 1)), DRAWS)
    weights = drawn[:, number]  # how often each item was drawn
    between = lambda values: np.percentile(weights @ values / weights.sum(1), [2.5, 97.5])
    for row in rows:
        found = [shifted(np.load(path_of(work, row, seed))) for seed in seeds_of(row)]
        f1 = [mt.scores(each, labels)["weighted_f1"] for each in found]
        right[row] = np.mean([each.argmax(1) == labels for each in found], 0)
        low, high = between(right[row])
        gain = right[row] - right["words"]
        least, most = between(gain)
        lines.append(
            f"| {row} | {len(found)} | {right[row].mean():.4f} [{low:.3f}, {high:.3f}] | {np.mean(f1):.4f} "
            f"| {gain.mean():+.4f} [{least:+.3f}, {most:+.3f}] |"
        )
        print(lines[-1], flush=True)
    (features.folder(work) / "chosen.json").write_text(json.dumps(lines, indent=1))
    return lines
