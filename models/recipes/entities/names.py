"""Whether a name's box comes from the picture: people's names out of tweets, asked of Flickr8k's val pictures.

Nobody in those pictures has a name, so a name is right if its box is a person's. The controls: the box
that the same name has in another picture, and pictures in which the captions tell of nobody.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from common import runtime
from grounding import data as gd
from grounding import train as gt
from trunk import data as td

NAMES, RESAMPLED, SURE = 10, 2000, 0.5
UNKNOWN = 100  # the piece of a word that is not said


class Seen(NamedTuple):
    """A val picture: the boxes of its people, [n, 4], whether anybody is told of, and its phrases with a box."""

    people: np.ndarray
    told: bool
    phrases: list[str]
    truth: np.ndarray


def seen(data: Path, names: list[str]) -> list[Seen]:
    rows: dict = {name: [] for name in names}
    for row in gd.phrases(data, "val"):
        rows[row["image"]].append(row)
    made = []
    for of in rows.values():
        boxed = [row for row in of if row["status"] == "box"]
        people = [gd.around(box) for row in boxed if "people" in row["types"] for box in row["boxes_224"].split(";")]
        people += [gd.around(row["boxes_224"]) for row in boxed if "people" in row["types"]]
        told = any(gd.OF_PEOPLE & set(row["types"].split("/")) for row in of)
        truth = np.array([gd.around(row["boxes_224"]) for row in boxed], np.float32).reshape(-1, 4)
        made.append(Seen(np.array(people, np.float32).reshape(-1, 4), told, [row["phrase"] for row in boxed], truth))
    return made


class Pointer:
    """boxes.onnx on cached maps."""

    def __init__(self, file: Path, maps: dict, tokenizer):
        self.run, self.maps, self.tokenizer = runtime.session(file), maps, tokenizer

    def find(self, picture: int, phrases: list[str], kind: int):
        """Boxes [n, 4] and the probability [n] that there is something; an empty phrase says its kind alone."""
        ids = np.zeros((len(phrases), gd.LONGEST), np.int64)
        for row, phrase in zip(ids, phrases):
            pieces = self.tokenizer.encode(phrase, add_special_tokens=False).ids[-gd.LONGEST :] or [UNKNOWN]
            row[: len(pieces)] = pieces
        fed = {name: each[picture, 0].astype(np.float32) for name, each in self.maps.items()}
        fed |= {"ids": ids, "kinds": np.full(len(phrases), kind)}
        logits, boxes = (torch.from_numpy(each) for each in self.run.run(["logits", "boxes"], fed))
        at = gt.meant(logits, boxes)
        return boxes[torch.arange(len(at)), at].numpy(), 1 - logits.softmax(1)[:, 0].numpy()


def share(per_picture: list[np.ndarray]) -> dict:
    """Mean of what is true, with its 95% interval over pictures."""
    sums = np.array([[each.sum(), len(each)] for each in per_picture], float)
    rng = np.random.default_rng(0)
    drawn = [sums[rng.integers(len(sums), size=len(sums))].sum(0) for _ in range(RESAMPLED)]
    ends = np.percentile([true / n for true, n in drawn], [2.5, 97.5])
    true, n = sums.sum(0)
    return {"share": true / n, "ci95": ends.tolist(), "n": int(n), "pictures": len(sums)}


def hits(boxes: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Whether each box is somebody's."""
    return gt.ious(boxes[:, None], people[None]).max(1) >= 0.5


def run(data: Path, work: Path, file: Path, maps: dict, names: list[str], tokenizer) -> dict:
    """`maps` of the val pictures `names`."""
    told, pool, rng = seen(data, names), gd.people(data, td.unpack(data, work), "valid"), np.random.default_rng(0)
    pointer, person, none = Pointer(file, maps, tokenizer), td.TYPES.index("PER"), len(td.TYPES)
    with_people = [at for at, each in enumerate(told) if len(each.people)]
    without = [at for at, each in enumerate(told) if not each.told]
    asked = {at: [pool[i] for i in rng.choice(len(pool), NAMES, replace=False)] for at in [*with_people, *without]}
    beside_of = lambda which: dict(zip(order := rng.permutation(which).tolist(), np.roll(order, 1).tolist()))
    other = beside_of(with_people)
    found: dict = {}
    for name, phrases in (("a name", lambda at: asked[at]), ("its type alone", lambda at: [""])):
        own = {at: pointer.find(at, phrases(at), person) for at in asked}
        beside = {at: pointer.find(other[at], phrases(at), person)[0] for at in with_people}
        found[name] = {
            "pointed, people there": share([own[at][1] >= SURE for at in with_people]),
            "pointed, nobody there": share([own[at][1] >= SURE for at in without]),
            "a person's box": share([hits(own[at][0], told[at].people) for at in with_people]),
            "the box found in another picture": share([hits(beside[at], told[at].people) for at in with_people]),
        }
    phrased = [at for at, each in enumerate(told) if each.phrases]
    shifted = beside_of(phrased)
    right = lambda at, of: gt.ious(pointer.find(of, told[at].phrases, none)[0], told[at].truth) >= 0.5
    found["a phrase"] = {
        "its box": share([right(at, at) for at in phrased]),
        "the box found in another picture": share([right(at, shifted[at]) for at in phrased]),
    }
    (work / "entities-names.json").write_text(json.dumps(found, indent=1))
    return found
