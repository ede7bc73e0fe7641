"""Learning curves of `demeanor adapt`: items a class against what is found of people it never met.

A shift is a bundle, a set that is new to it and the parts of that set: items of one part are judged
by a bundle that was adapted on SIZES items a class drawn from the others. Confusion matrices of the
parts are added up.
"""

import csv
import json
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from adapting import trunks
from common import audio
from emotion.bundle import with_interval

SIZES = [10, 20, 50, 100]
ALL = 10**6
SPEAKER_PARTS = 5
SEVEN = ["angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised"]
FACES = ["neutral", "happiness", "surprise", "sadness", "anger", "fear"]  # those with 100 faces in train and 50 in dev
FACES_ALL, FACES_TEST = 400, 100
DARK, TURNED = 0.25, 30  # light that is left; degrees to either side


@dataclass
class Shift:
    name: str
    task: str
    models: Path | None  # the bundle to start from; None: the built-in one
    classes: list[str]
    known: list[str]  # those that the shipped head knows
    rows: list[dict]  # id, audio or image, label, group, part; all in absolute paths


def speech_shifts(data, work) -> list[Shift]:
    def rows(corpus, labels):
        found = [c for c in audio.clips(data) if c.corpus == corpus and c.emotion in labels]
        speakers = sorted({c.speaker for c in found})
        parts = min(SPEAKER_PARTS, len(speakers))
        # where one speaker is left to learn from, what belongs together is what was said
        group = (lambda c: c.speaker) if parts > 2 else (lambda c: c.text)
        return [
            {"id": c.id, "audio": str(c.path), "label": c.emotion, "group": group(c), "part": speakers.index(c.speaker) % parts}
            for c in found
        ]

    def shift(name, corpus, labels):
        return Shift(name, "emotion", trunks.folder(work, corpus), labels, audio.CLASSES, rows(corpus, labels))

    return [
        shift("English, RAVDESS unheard", "ravdess", audio.CLASSES),
        shift("English, TESS unheard", "tess", audio.CLASSES),
        shift("German (EmoDB)", "emodb", audio.CLASSES),
        shift("seven classes (RAVDESS unheard)", "ravdess", SEVEN),
    ]


def face_shift(data, work) -> Shift:
    """Faces of FER+ at a quarter of their light, turned by up to TURNED degrees: part 0 is dev, part 1 train."""
    rng, rows = random.Random(0), []
    folder = Path(work) / "adapting" / "faces"
    for part, (table, most) in enumerate([("dev.csv", FACES_TEST), ("train.csv", FACES_ALL)]):
        cells = {name: [] for name in FACES}
        with open(Path(data) / "ferplus" / table, newline="") as lines:
            for row in csv.DictReader(lines):
                votes = {name: int(count) for name, count in row.items() if name not in ("id", "image")}
                best = max(votes, key=votes.get)
                if best in cells and 2 * votes[best] > sum(votes.values()):
                    cells[best].append(row)
        for label, found in cells.items():
            for row in rng.sample(found, min(most, len(found))):
                path = folder / f"{row['id']}.png"
                angle = rng.uniform(-TURNED, TURNED)
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    _worse(_face(data, work, row["image"]), angle).save(path)
                rows.append({"id": row["id"], "image": str(path), "label": label, "group": row["id"], "part": part})
    return Shift("faces, a quarter of the light, turned ±30°", "expression", None, FACES, FACES, rows)


def _face(data, work, name) -> Image.Image:
    unpacked = Path(work) / "adapting" / "ferplus"
    if not unpacked.exists():
        unpacked.mkdir(parents=True)
        shutil.unpack_archive(Path(data) / "ferplus" / "faces.tar", unpacked)
    return Image.open(unpacked / name).convert("L")


def _worse(face: Image.Image, angle: float) -> Image.Image:
    turned = face.rotate(angle, Image.Resampling.BILINEAR, fillcolor=int(np.asarray(face).mean()))
    return turned.point(lambda x: int(x * DARK))


# -- measuring ----------------------------------------------------------------------


def measure(at, shift: Shift, parts: list[int]) -> dict:
    """{size: figures}; size 0 is the bundle as it ships. Kept in a file, and read from there if it is there."""
    folder = at.work / "adapting" / "curves" / shift.name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "confusion.json"
    sums = json.loads(kept.read_text()) if kept.exists() else {}
    for size in [0, *SIZES, ALL]:
        if str(size) in sums:
            continue
        total = np.zeros((len(shift.classes),) * 2, int)
        for part in parts:
            tested = _table(folder / "tested.csv", [r for r in shift.rows if r["part"] == part])
            known = [r for r in shift.rows if r["part"] != part]
            bundle = shift.models
            if size:
                bundle = folder / "bundle"
                shutil.rmtree(bundle, ignore_errors=True)
                _adapt(at, shift, _table(folder / "known.csv", _drawn(known, size, part)), bundle)
            total += _confusion(at, shift, bundle, tested)
        sums[str(size)] = total.tolist()
        kept.write_text(json.dumps(sums))
    return {int(size): with_interval(confusion) for size, confusion in sums.items()}


def _drawn(rows, size: int, seed: int) -> list[dict]:
    """At most `size` of each class, spread over the groups."""
    rng, drawn = random.Random(seed), []
    for label in sorted({r["label"] for r in rows}):
        cells: dict[str, list] = {}
        for row in rng.sample(own := [r for r in rows if r["label"] == label], len(own)):
            cells.setdefault(row["group"], []).append(row)
        queue = [row for rank in range(max(map(len, cells.values()))) for cell in cells.values() for row in cell[rank : rank + 1]]
        drawn += queue[:size]
    return drawn


def _table(path: Path, rows) -> Path:
    with open(path, "w", newline="") as out:
        columns = [c for c in ("id", "audio", "image", "label", "group") if c in rows[0]]
        writer = csv.DictWriter(out, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _adapt(at, shift: Shift, table: Path, out: Path) -> None:
    command = [str(at.binary), "adapt", "--task", shift.task, "--data", str(table), "--out", str(out), "--force"]
    command += ["--classes", ",".join(shift.classes)] if shift.classes != shift.known else []
    command += ["--models", str(shift.models)] if shift.models else []
    subprocess.run(command, check=True, capture_output=True, text=True)


def _confusion(at, shift: Shift, bundle: Path | None, table: Path) -> np.ndarray:
    """Rows and columns in the order of the shift's classes; what the bundle does not know it never says."""
    command = [str(at.binary), "eval", "--task", shift.task, "--data", str(table), "--json", "--threads", "1"]
    command += ["--models", str(bundle)] if bundle else []
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    place = {label: shift.classes.index(label) for label in report["labels"] if label in shift.classes}
    confusion = np.zeros((len(shift.classes),) * 2, int)
    labels = report["labels"]
    for truth, row in zip(labels, report["confusion"]):
        for said, count in zip(labels, row):
            if truth in place and count:
                # an answer that is none of these classes is a wrong one
                confusion[place[truth], place.get(said, (place[truth] + 1) % len(place))] += count
    with open(table, newline="") as lines:
        for row in csv.DictReader(lines):
            if row["label"] not in labels:
                at_row = shift.classes.index(row["label"])
                confusion[at_row, (at_row + 1) % len(shift.classes)] += 1
    return confusion


def line(shift: Shift, figures: dict) -> str:
    """A line of the table: UA by items a class, and what of the gap is closed at 50."""
    gap = figures[ALL]["ua"][0] - figures[0]["ua"][0]
    closed = (figures[50]["ua"][0] - figures[0]["ua"][0]) / gap if gap > 0 else float("nan")
    cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*figures[size]["ua"]) for size in [0, *SIZES, ALL]]
    return f"| {shift.name} | {figures[0]['n']} | " + " | ".join(cells) + f" | {closed:.0%} |"
