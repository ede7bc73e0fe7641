"""A second look before a box is a face: a logistic gate on the expression network's last cells.

`finds.py` collects what the detector takes for a face and what is one. `choose` cross-validates
by picture: the penalty by held-out log loss, the threshold as the highest that loses no more
than LOSS of the sure faces and DOUBTED of the doubtful ones, of which a sixth are none; beside it
what a higher `min_score` alone would do. `export` fits on everything of train and writes the gate
into expression.onnx, whose logits stay what they were.
`measure` looks at val and dev, which had no part in any of it.
"""

import json
import re
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from common.image_nets import session_of
from expression import bundle, refit
from expression.finds import SURE

SEEDS, FOLDS, LOSS, DOUBTED = (0, 1, 2), 5, 0.005, 0.16
PENALTIES = (0.02, 0.1)
PENALTY, THRESHOLD = 0.02, 0.07  # `choose` finds them
WEIGHT = {"none": 1.0, "away": 0.3, "people": 1.0, "perhaps": 0.5, "pasted": 1.0}
FACES = ("people", "perhaps", "pasted")


def cells(shipped: refit.Shipped, crops: np.ndarray) -> np.ndarray:
    """f32 [N, 2304]: the last layer's 3 x 3 cells as the file's bytes say them."""
    scale, zero = shipped.points[refit.CELLS]
    (codes,) = refit.codes(refit.probe(shipped, [refit.CELLS]), crops)
    return (codes.reshape(len(crops), -1).astype(np.float32) - zero) * scale


def folds(groups: np.ndarray, seed: int) -> np.ndarray:
    """A fold for each row; a picture lies in one."""
    names, at = np.unique(groups, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(names)) % FOLDS)[at]


def fitted(x: np.ndarray, kinds: np.ndarray, penalty: float) -> LogisticRegression:
    y = np.isin(kinds, FACES)
    weight = np.vectorize(WEIGHT.get)(kinds)
    for side in (False, True):
        weight[y == side] /= weight[y == side].mean()
    return LogisticRegression(C=penalty, max_iter=80, tol=1e-3).fit(x, y, weight)


def crossed(x: np.ndarray, kinds: np.ndarray, groups: np.ndarray, penalty: float) -> np.ndarray:
    """[seeds, N] logits of gates that saw nothing of a row's picture."""
    made = np.zeros((len(SEEDS), len(x)))
    for s, seed in enumerate(SEEDS):
        fold = folds(groups, seed)
        for k in range(FOLDS):
            others = fold != k
            made[s, fold == k] = fitted(x[others], kinds[others], penalty).decision_function(x[fold == k])
    return made


def sigmoid(z):
    return 1 / (1 + np.exp(-np.clip(z, -60, 60)))


class Finds:
    """What `finds.collect` stored, of one side: train, or val and dev."""

    def __init__(self, path: Path, train: bool):
        stored = np.load(path)
        kept = (stored["part"] == "train") == train
        kept &= stored["kind"] != "away" if not train else True
        self.crop, self.score, self.kind, self.group, self.view = (stored[k][kept] for k in ("crop", "score", "kind", "group", "view"))
        self.seen, self.train = stored["seen"], train

    def views(self, what: str) -> np.ndarray:
        """Numbers of the views that show nobody and were searched: `whole` or `cut-out`."""
        part = (self.seen[:, 1] == "train") == self.train
        return np.flatnonzero((self.seen[:, 2] == what) & part)

    def false(self, what: str, passed: np.ndarray) -> float:
        """Share of these views in which some find passes."""
        views = self.views(what)
        return len(np.intersect1d(self.view[passed & (self.kind == "none")], views)) / max(len(views), 1)

    def lost(self, kind: str, passed: np.ndarray) -> float:
        """Share of true finds above `min_score` that do not pass."""
        true = (self.kind == kind) & (self.score >= bundle.MIN_SCORE)
        return float(1 - passed[true].mean()) if true.any() else 0.0


def told(finds: Finds, passed: np.ndarray) -> dict:
    """Shares of views with a false face, and of true faces lost."""
    return {
        "whole": finds.false("whole", passed),
        "cut-out": finds.false("cut-out", passed),
        **{f"lost {kind}": finds.lost(kind, passed) for kind in ("people", "pasted", "perhaps")},
    }


def strictest(values: np.ndarray, finds: Finds) -> float:
    """The highest threshold on `values` that loses no more than LOSS of the sure faces and DOUBTED of `perhaps`."""
    above, least = finds.score >= bundle.MIN_SCORE, []
    for kinds, loss in ((("people", "pasted"), LOSS), (("perhaps",), DOUBTED)):
        least.append(np.quantile(values[above & np.isin(finds.kind, kinds)], loss, method="lower"))
    return float(min(least))


def log_loss(z: np.ndarray, y: np.ndarray) -> float:
    loss = np.logaddexp(0, np.where(y, -z, z))
    return float((loss[y].mean() + loss[~y].mean()) / 2)


def choose(work: Path, network: Path) -> None:
    """work/second_look.json"""
    finds, shipped = Finds(work / "finds.npz", True), refit.Shipped(network)
    x, found, y = cells(shipped, finds.crop), {}, np.isin(finds.kind, FACES)
    above = finds.score >= bundle.MIN_SCORE
    found["counts"] = {kind: [int((finds.kind == kind).sum()), int(((finds.kind == kind) & above).sum())] for kind in np.unique(finds.kind)}
    found["views"] = {what: len(finds.views(what)) for what in ("whole", "cut-out")}
    found["detector alone"] = told(finds, above)
    print(json.dumps(found, indent=1), flush=True)
    for penalty in PENALTIES:
        z = crossed(x, finds.kind, finds.group, penalty)
        row = {"log loss": float(np.mean([log_loss(each, y) for each in z]))}
        row["thresholds"] = [sigmoid(strictest(each, finds)) for each in z]
        each = [told(finds, above & (sigmoid(one) >= least)) for one, least in zip(z, row["thresholds"])]
        row |= {key: float(np.mean([one[key] for one in each])) for key in each[0]}
        found[f"{penalty}"] = row
        print(penalty, json.dumps(row), flush=True)
    least = strictest(finds.score, finds)
    found["min_score alone"] = {"at": least} | told(finds, finds.score >= least)
    print(found["min_score alone"])
    (work / "second_look.json").write_text(json.dumps(found, indent=1))


def export(work: Path, network: Path, out: Path) -> None:
    """The gate in out/expression.onnx; the logits are those of `network`, bit for bit."""
    finds, shipped = Finds(work / "finds.npz", True), refit.Shipped(network)
    x = cells(shipped, finds.crop)
    gate = fitted(x, finds.kind, PENALTY)
    reach = float(np.abs(gate.decision_function(x)).max()) / 2
    before = session_of(network)
    wanted = bundle.logits(before, finds.crop[::20])
    refit.write(shipped, (gate.coef_[0].reshape(-1, 3, 3), float(gate.intercept_[0])), reach, out)
    if not np.array_equal(wanted, bundle.logits(session_of(out / "expression.onnx"), finds.crop[::20])):
        raise SystemExit("the logits of expression.onnx have changed")
    temperature, metrics, _ = bundle.shipped(out)
    bundle.write_manifest(out, temperature, True, metrics, THRESHOLD)


# -- what it does, on pictures that had no part ------------------------------------------------


def measure(work: Path, out: Path) -> dict:
    """Shares before and after the gate that ships, of val pictures and dev faces; into second_look.json."""
    finds, session = Finds(work / "finds.npz", False), session_of(out / "expression.onnx")
    _, _, threshold = bundle.shipped(out)
    above = finds.score >= bundle.MIN_SCORE
    gates = [session.run(["gate"], {"pixels": crop[None, :, :, None]})[0] for crop in finds.crop]
    passes = sigmoid(np.array([gate[0] - gate[1] for gate in gates])) >= threshold
    views = {what: len(finds.views(what)) for what in ("whole", "cut-out")}
    true = {kind: int(((finds.kind == kind) & above).sum()) for kind in ("people", "pasted", "perhaps")}
    found = {"views": views, "true": true, "threshold": threshold, "before": told(finds, above), "after": told(finds, above & passes)}
    print(json.dumps(found, indent=1))
    kept = json.loads((work / "second_look.json").read_text())
    (work / "second_look.json").write_text(json.dumps(kept | {"measured": found}, indent=1))
    return found


TITLE, BEFORE = "## A second look", "## Why no valence"


def section(found: dict) -> str:
    """The card's words about the gate."""
    chosen, measured = found[f"{PENALTY}"], found["measured"]
    alone, held = found["detector alone"], found["min_score alone"]

    def cells(row: dict) -> str:
        return " | ".join(f"{row[key]:.3f}" for key in ("whole", "cut-out", "lost people", "lost pasted"))

    n, m, true = found["views"], measured["views"], measured["true"]
    counts = found["counts"]
    return f"""{TITLE}
What the detector takes for a face is cropped, and the network that names expressions says from its last cells whether
it is one (`gate`, a logistic layer in bytes); below {measured["threshold"]} it is none: not judged, not followed,
not counted in an emotion. `models/recipes/run.py expression false-faces` prints this table. Pictures whose sentences name
no person (Flickr8k, mostly dogs), and animals and things cut out of the others, each with a find or not; finds of at least
{SURE:g} on a person's upper half, and FER+ faces pasted at 32 to 180 pixels, that are lost by it:

| | whole pictures with a face | cut-outs with a face | lost, people | lost, pasted |
|---|---|---|---|---|
| train, detector alone | {cells(alone)} |
| train, `min_score` raised to {held["at"]:.3f} instead | {cells(held)} |
| train, cross-validated by picture, 3 seeds | {cells(chosen)} |
| val and dev, detector alone | {cells(measured["before"])} |
| val and dev, as it ships | {cells(measured["after"])} |

Train: {n["whole"]} views and {n["cut-out"]} cut-outs, {counts["people"][1]} and {counts["pasted"][1]} true faces (penalty and
threshold were chosen there); val and dev: {m["whole"]} and {m["cut-out"]}, {true["people"]} and {true["pasted"]} (looked at once).
Of finds below {SURE:g} on a person's upper half, five of six of them faces by eye, many turned away, small or in the dark,
{chosen["lost perhaps"]:.3f} are lost in cross-validation and {measured["after"]["lost perhaps"]:.3f} of {true["perhaps"]} on val.
Nobody drew faces in these pictures: a statue or a doll on a cut-out counts as false, and a hand on a chest as true.
Most of what still passes are dogs seen from the front; few of them score above .85 at the detector.
"""


def put(card: str, text: str) -> str:
    """The card with this section in its place."""
    start, end = card.find(TITLE), card.index(BEFORE)
    return card[: start if start >= 0 else end] + text + "\n" + card[end:]


def card(work: Path, out: Path) -> None:
    """The section, the version and the sets in out/CARD.md; every other word stays."""
    path = out / "CARD.md"
    text = put(path.read_text(encoding="utf-8"), section(json.loads((work / "second_look.json").read_text())))
    text = re.sub(r"^# ferplus .*", f"# ferplus {bundle.VERSION}", text)
    sets = "\n".join(f"| {name} | {licence} |" for name, licence in bundle.DATA)
    text = re.sub(r"(\| set \| terms \|\n\|---\|---\|\n)(\|.*\n)+", lambda found: found[1] + sets + "\n", text)
    path.write_text(text, encoding="utf-8")
