"""The manifest of the expression bundle, and what its networks do on pictures.

Figures are made with ONNX Runtime on the files that ship: this bundle's answer on a face is a
chain of bytes that `demeanor` repeats.
"""

import tomllib
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from common import manifest
from common.image_nets import session_of
from common.stages import fill
from expression import detector, student
from expression.boxes import detect, overlap, square

VERSION = "1.3.0"
CROP_SCALE, CROP_SHIFT = 1.16, -0.09  # `framing` finds them
MIN_SCORE, UNSURE_BELOW = 0.6, 0.4
SECOND_LOOK = "second-look.onnx"
FILES = ["face.onnx", "expression.onnx", SECOND_LOOK]
CONTEXT_SIDE, CONTEXT_SCALE = 96, 2.2  # what the second look sees of a box and what is around it
GATE = "is it a face"
DATA = [
    ("FER2013 faces (expression; pasted into pictures, face: rounding to int8)", "research: Kaggle challenge of ICML 2013"),
    ("FER+ votes (expression)", "MIT"),
    ("BlazeFace short range of mediapipe 0.10.14 (face, initial weights)", "Apache-2.0"),
    ("MVSA-Single train pictures without labels (face: rounding to int8; gate)", "research"),
    ("EfficientNet-Lite0, ImageNet (gate, weights)", "Apache-2.0"),
    ("Flickr30k Entities phrases and boxes, their Flickr8k pictures (gate)", "research only: Flickr terms"),
]


def write_manifest(folder: Path, temperature: float, int8: bool = True, metrics=(), gate: float | None = None) -> None:
    """manifest.toml of the files that lie in `folder`; `gate` is the threshold of the second look."""
    heads = [manifest.head("expression", ["face.crop"], "expression.onnx", temperature)]
    if gate is not None:
        labels = ["face", "other"]
        heads.append(manifest.head(GATE, ["face.context"], SECOND_LOOK, kind="gate", labels=labels, threshold=manifest.fixed(gate)))
    about = {
        "id": "ferplus",
        "task": "expression",
        "version": VERSION,
        "summary": "Face expression: BlazeFace finds faces, a small residual network names eight expressions (FER+)",
        "licence": "research only: FER2013 photographs shaped the weights",
        "labels": student.LABELS,
        "face": {
            "file": "face.onnx",
            "side": detector.SIDE,
            "min_score": MIN_SCORE,
            "crop_side": student.SIDE,
            "crop_scale": CROP_SCALE,
            "crop_shift": CROP_SHIFT,
            **({} if gate is None else {"context": {"side": CONTEXT_SIDE, "scale": CONTEXT_SCALE}}),
        },
        "head": heads,
        "decision": {"unsure_below": UNSURE_BELOW},
        "eval": {"figures": ["accuracy", "ua", "macro_f1"]},
    }
    files = [(name, "int8" if int8 else "f32") for name in FILES if name != SECOND_LOOK or gate is not None]
    manifest.write(folder, about, files, metrics=metrics, data=DATA)


def shipped(folder: Path) -> tuple[float, list[dict], float | None]:
    """(temperature, metrics, threshold of the gate) as the manifest in `folder` says."""
    known = tomllib.loads((folder / "manifest.toml").read_text())
    heads = {head["name"]: head for head in known["head"]}
    return heads["expression"]["temperature"], known.get("metric", []), heads.get(GATE, {}).get("threshold")


# -- expression ----------------------------------------------------------------------------


def logits(session, rows: np.ndarray) -> np.ndarray:
    """[N, 8] of u8 faces [N, 48, 48]."""
    return np.stack([session.run(["logits"], {"pixels": face[None, :, :, None]})[0] for face in rows])


def temperature(session, stored) -> float:
    """Fitted on the train faces that training did not see, against the taggers' shares."""
    _, held = student.split(stored)
    made, wanted = logits(session, stored["train"][held]), student.shares(stored["train_votes"])[0][held]
    loss = lambda t: -(wanted * log_softmax(made / np.exp(t), 1)).sum(1).mean()  # noqa: E731
    return float(np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x))


def accuracy(made: np.ndarray, votes: np.ndarray, strict: bool, draws: int = 1000) -> dict:
    """Accuracy of the top class with a bootstrap interval; rows that do not count are left out."""
    label, counts = student.truth(votes, strict)
    right = (made.argmax(1) == label)[counts]
    drawn = np.random.default_rng(0).binomial(len(right), right.mean(), draws) / len(right)
    low, high = np.percentile(drawn, [2.5, 97.5])
    skipped = int((~counts).sum())
    return {"value": float(right.mean()), "ci95": (float(low), float(high)), "n": len(right), "skipped": skipped}


def confusion(made: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """[8, 8], rows: the class with more than half of the votes."""
    label, counts = student.truth(votes, True)
    table = np.zeros((8, 8), int)
    np.add.at(table, (label[counts], made.argmax(1)[counts]), 1)
    return table


# -- faces in pictures -----------------------------------------------------------------------


def pasted(face: np.ndarray, rng, low: int = 96, high: int = 160) -> tuple[Image.Image, tuple[int, int, int]]:
    """A 320 x 240 grey picture with the face somewhere in it; (picture, (left, top, side))."""
    side = int(rng.integers(low, high + 1))
    picture = Image.new("RGB", (320, 240), (int(rng.integers(30, 220)),) * 3)
    left, top = int(rng.integers(0, 321 - side)), int(rng.integers(0, 241 - side))
    picture.paste(Image.fromarray(face).resize((side, side), Image.BILINEAR), (left, top))
    return picture, (left, top, side)


def cropped(picture, box: np.ndarray) -> np.ndarray:
    """u8 [48, 48]: the face in `box` as the expression network wants it."""
    side = max(box[2] - box[0], box[3] - box[1]) * CROP_SCALE
    centre = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2 + CROP_SHIFT * side
    rgb = square(picture, centre, side, student.SIDE).astype(np.uint16)
    return ((77 * rgb[..., 0] + 150 * rgb[..., 1] + 29 * rgb[..., 2] + 128) >> 8).astype(np.uint8)


def framing(session, rows: np.ndarray, seed: int = 3) -> tuple[float, float]:
    """(crop_scale, crop_shift) that lead from the detector's boxes back to FER's frames."""
    rng, scales, shifts = np.random.default_rng(seed), [], []
    for face in rows:
        picture, (_, top, side) = pasted(face, rng)
        for box in detect(session, picture, detector.SIDE)[:1]:
            scales.append(np.log(side / max(box[2] - box[0], box[3] - box[1])))
            shifts.append((top + side / 2 - (box[1] + box[3]) / 2) / side)
    return float(np.exp(np.mean(scales))), float(np.mean(shifts))


def end_to_end(finder, classifier, rows: np.ndarray, seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """([N, 8] logits of faces pasted, found and cropped; which were found)."""
    rng, made, found = np.random.default_rng(seed), np.zeros((len(rows), 8), np.float32), np.zeros(len(rows), bool)
    for i, face in enumerate(rows):
        picture, (left, top, side) = pasted(face, rng)
        frame = np.array([left, top, left + side, top + side])
        boxes = detect(finder, picture, detector.SIDE, MIN_SCORE)
        hits = [box for box in boxes if overlap(frame, box[None, :4])[0] > 0.3]
        if hits:
            found[i] = True
            made[i] = logits(classifier, cropped(picture, hits[0])[None])[0]
    return made, found


# -- the detector, int8 beside f32 --------------------------------------------------------------


def agreement(reference, shipped, pictures, min_score: float = MIN_SCORE) -> dict:
    """How often two detectors find the same faces: overlap above 1/2, each face once."""
    counts, overlaps = {"f32": 0, "int8": 0, "both": 0, "pictures": len(pictures)}, []
    for picture in pictures:
        wanted, found = (detect(s, picture, detector.SIDE, min_score) for s in (reference, shipped))
        counts["f32"] += len(wanted)
        counts["int8"] += len(found)
        free = np.ones(len(found), bool)
        for box in wanted:
            shared = overlap(box[:4], found[:, :4]) * free if len(found) else np.zeros(1)
            if shared.max() > 0.5:
                free[shared.argmax()] = False
                counts["both"] += 1
                overlaps.append(shared.max())
    return counts | {"overlap": float(np.mean(overlaps))}


def smallest(session, pictures) -> float:
    """Width of narrow finds (2nd percentile) as a share of the picture's longer side."""
    found = [(detect(session, p, detector.SIDE, MIN_SCORE), max(p.size)) for p in pictures]
    widths = np.concatenate([(boxes[:, 2] - boxes[:, 0]) / length for boxes, length in found])
    return float(np.percentile(widths, 2))


def without_faces(session, pictures) -> list:
    """Pictures in which the detector suspects nothing."""
    return [picture for picture in pictures if not len(detect(session, picture, detector.SIDE, 0.3))]


def background(kind: str, rng, scenes) -> Image.Image:
    """320 x 240: one grey, noise, or a scene."""
    if kind == "grey":
        return Image.new("RGB", (320, 240), (int(rng.integers(40, 215)),) * 3)
    if kind == "noise":
        return Image.fromarray(rng.integers(0, 256, (240, 320, 3)).astype(np.uint8))
    return scenes[int(rng.integers(len(scenes)))].resize((320, 240), Image.BILINEAR)


def recall(session, rows: np.ndarray, kind: str, side: int, scenes, seed: int = 5) -> tuple[float, float]:
    """(share of pasted faces found, other finds per picture); `side` is the FER frame's, in 320 x 240."""
    rng, hits, others = np.random.default_rng(seed), 0, 0
    for face in rows:
        picture = background(kind, rng, scenes).copy()
        left, top = int(rng.integers(0, 321 - side)), int(rng.integers(0, 241 - side))
        picture.paste(Image.fromarray(face).resize((side, side), Image.BILINEAR), (left, top))
        boxes = detect(session, picture, detector.SIDE, MIN_SCORE)
        frame = np.array([left, top, left + side, top + side])
        right = [box for box in boxes if overlap(frame, box[None, :4])[0] > 0.3]
        hits += bool(right)
        others += len(boxes) - len(right)
    return hits / len(rows), others / len(rows)


def sessions(folder: Path) -> tuple:
    return session_of(folder / "face.onnx"), session_of(folder / "expression.onnx")


# -- the card ----------------------------------------------------------------------------------


def percent(row: dict) -> str:
    low, high = row["ci95"]
    return f"{row['value']:.3f} [{low:.3f}, {high:.3f}]"


def accuracies(found: dict) -> list[str]:
    lines = ["| faces | n | int8 | fp32 | n chained | int8, chained | int8, the same faces as they are |", "|---" * 7 + "|"]
    for rule, name in (("half", "more than half"), ("top", "most votes")):
        rows = [found[key] for key in (f"direct_int8_{rule}", f"direct_fp32_{rule}", f"chained_{rule}", f"same_{rule}")]
        counted = f"{rows[0]['n']} ({rows[0]['skipped']} skipped)"
        cells = [name, counted, *map(percent, rows[:2]), str(rows[2]["n"]), *map(percent, rows[2:])]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def confusions(found: dict) -> list[str]:
    lines = ["| | " + " | ".join(student.LABELS) + " | recall |", "|---" * 10 + "|"]
    for i, (name, row) in enumerate(zip(student.LABELS, found["confusion"])):
        lines.append(f"| {name} | " + " | ".join(map(str, row)) + f" | {row[i] / max(sum(row), 1):.2f} |")
    return lines


def agreements(found: dict) -> list[str]:
    lines = ["| min_score | faces f32 | faces int8 | both | mean overlap |", "|---" * 5 + "|"]
    for score, row in found["agreement"].items():
        lines.append(f"| {score} | {row['f32']} | {row['int8']} | {row['both']} | {row['overlap']:.3f} |")
    return lines


def recalls(found: dict) -> list[str]:
    sides = list(found["recall_int8"]["grey"])
    lines = ["| background, network | " + " | ".join(f"{s} px" for s in sides) + " |", "|---" * (1 + len(sides)) + "|"]
    for kind in ("grey", "noise", "scene"):
        for network in ("int8", "fp32"):
            cells = [found[f"recall_{network}"][kind][side] for side in sides]
            lines.append(f"| {kind}, {network} | " + " | ".join(f"{hit:.2f} ({other:.2f})" for hit, other in cells) + " |")
    return lines


def metrics(found: dict) -> list[dict]:
    names = {
        "direct_int8_half": "FER+ dev, faces with more than half of the votes on one class",
        "direct_int8_top": "FER+ dev, faces with one class of most votes",
        "chained_half": "FER+ dev, more than half; pasted at 96 to 160 px, cropped where found (97% are)",
    }
    return [found[key] | {"name": "accuracy", "on": where} for key, where in names.items()]


def write_card(found: dict, folder: Path) -> None:
    write_manifest(folder, found["temperature"], True, metrics(found), shipped(folder)[2])
    tables = {"accuracy": accuracies, "confusion": confusions, "agreement": agreements, "recall": recalls}
    words = {name: "\n".join(table(found)) for name, table in tables.items()}
    words |= {
        "version": VERSION,
        "seen": f"{found['seen']:.3f}",
        "temperature": f"{found['temperature']:.2f}",
        "side": str(detector.SIDE),
        "smallest": f"{found['smallest']:.0%}",
        "data": "\n".join(f"| {name} | {licence} |" for name, licence in DATA),
    }
    fill(Path(__file__).with_name("CARD.in.md"), words, folder / "CARD.md")
