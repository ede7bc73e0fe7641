"""The manifest of the expression bundle, and what its two networks do on pictures.

Figures are made with ONNX Runtime on the files that ship: this bundle's answer on a face is a
chain of bytes that `demeanor` repeats.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

import expression
import faces
from picture_graph import session_of

VERSION = "1.0.0"
CROP_SCALE, CROP_SHIFT = 1.2, -0.075  # `framing` finds them
MIN_SCORE, UNSURE_BELOW = 0.6, 0.4
FILES = [("face.onnx", "face"), ("expression.onnx", "expression")]
DATA = [
    ("FER2013 faces (expression)", "research: Kaggle challenge of ICML 2013"),
    ("FER+ votes (expression)", "MIT"),
    ("BlazeFace short range of mediapipe 0.10.14 (face, initial weights)", "Apache-2.0"),
    ("MVSA-Single train pictures, no labels (face: rounding to int8)", "research"),
]


def write_manifest(folder: Path, temperature: float, int8: bool = True, metrics=()) -> None:
    """manifest.toml of the files that lie in `folder`."""
    lines = [
        "schema = 1",
        'id = "ferplus"',
        'task = "expression"',
        f'version = "{VERSION}"',
        'summary = "Face expression: BlazeFace finds faces, a small residual network names eight expressions (FER+)"',
        'licence = "research only: FER2013 photographs shaped the weights"',
        f"labels = {json.dumps(expression.LABELS)}",
        "",
        "[face]",
        f"detector_side = {faces.SIDE}",
        f"expression_side = {expression.SIDE}",
        f"crop_scale = {CROP_SCALE}",
        f"crop_shift = {CROP_SHIFT}",
        f"min_score = {MIN_SCORE}",
        "",
        "[decision]",
        f"unsure_below = {UNSURE_BELOW}",
        "",
        "[decision.temperature]",
        f"expression = {temperature:.4f}",
    ]
    for name, role in FILES:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        lines += ["", "[[file]]", f'name = "{name}"', f'role = "{role}"']
        lines += [f'precision = "{"int8" if int8 else "f32"}"', f'sha256 = "{digest}"']
    for metric in metrics:
        low, high = metric["ci95"]
        lines += ["", "[[metric]]", f'name = "{metric["name"]}"', f'on = "{metric["on"]}"']
        lines += [f"value = {metric['value']:.4f}", f"ci95 = [{low:.4f}, {high:.4f}]", f"n = {metric['n']}"]
    for name, licence in DATA:
        lines += ["", "[[data]]", f'name = "{name}"', f'licence = "{licence}"']
    (folder / "manifest.toml").write_text("\n".join(lines) + "\n")


# -- expression ----------------------------------------------------------------------------


def logits(session, rows: np.ndarray) -> np.ndarray:
    """[N, 8] of u8 faces [N, 48, 48]."""
    return np.stack([session.run(["logits"], {"pixels": face[None, :, :, None]})[0] for face in rows])


def temperature(session, stored) -> float:
    """Fitted on the train faces that training did not see, against the taggers' shares."""
    _, held = expression.split(stored)
    made, wanted = logits(session, stored["train"][held]), expression.shares(stored["train_votes"])[0][held]
    loss = lambda t: -(wanted * log_softmax(made / np.exp(t), 1)).sum(1).mean()  # noqa: E731
    return float(np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x))


def accuracy(made: np.ndarray, votes: np.ndarray, strict: bool, draws: int = 1000) -> dict:
    """Accuracy of the top class with a bootstrap interval; rows that do not count are left out."""
    label, counts = expression.truth(votes, strict)
    right = (made.argmax(1) == label)[counts]
    drawn = np.random.default_rng(0).binomial(len(right), right.mean(), draws) / len(right)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"value": right.mean(), "ci95": (low, high), "n": len(right), "skipped": int((~counts).sum())}


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
    rgb = faces.square(picture, centre, side, expression.SIDE).astype(np.uint16)
    return ((77 * rgb[..., 0] + 150 * rgb[..., 1] + 29 * rgb[..., 2] + 128) >> 8).astype(np.uint8)


def framing(session, rows: np.ndarray, seed: int = 3) -> tuple[float, float]:
    """(crop_scale, crop_shift) that lead from the detector's boxes back to FER's frames."""
    rng, scales, shifts = np.random.default_rng(seed), [], []
    for face in rows:
        picture, (_, top, side) = pasted(face, rng)
        for box in faces.detect(session, picture, faces.SIDE)[:1]:
            scales.append(np.log(side / max(box[2] - box[0], box[3] - box[1])))
            shifts.append((top + side / 2 - (box[1] + box[3]) / 2) / side)
    return float(np.exp(np.mean(scales))), float(np.mean(shifts))


def end_to_end(detector, classifier, rows: np.ndarray, seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """([N, 8] logits of faces pasted, found and cropped; which were found)."""
    rng, made, found = np.random.default_rng(seed), np.zeros((len(rows), 8), np.float32), np.zeros(len(rows), bool)
    for i, face in enumerate(rows):
        picture, (left, top, side) = pasted(face, rng)
        frame = np.array([left, top, left + side, top + side])
        boxes = faces.detect(detector, picture, faces.SIDE, MIN_SCORE)
        hits = [box for box in boxes if faces.overlap(frame, box[None, :4])[0] > 0.3]
        if hits:
            found[i] = True
            made[i] = logits(classifier, cropped(picture, hits[0])[None])[0]
    return made, found


def sessions(folder: Path) -> tuple:
    return session_of(folder / "face.onnx"), session_of(folder / "expression.onnx")
