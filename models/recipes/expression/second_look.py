"""A second look before a box is a face: a logistic gate on the first blocks of the image trunk.

Those blocks are EfficientNet-Lite0's as the sentiment bundle ships them, in bytes; they see a find
of the detector and what is around it in colour. `finds.py` collects what the detector takes for a
face and what is one. `choose` cross-validates by picture: how many blocks and what penalty
by held-out log loss, the threshold as the lowest at which no more than FALSE of the pictures without
people show a face; beside it what a higher `min_score` alone would do.
`export` fits on everything of train and writes second-look.onnx. `measure` looks at val and dev,
which had no part in any of it.
"""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from scipy.stats import beta

from common import runtime
from common.image_nets import session_of
from common.onnx_graph import quantise_per_channel
from expression import bundle
from expression.finds import AROUND, AROUND_SIDE, SURE

SEEDS, FOLDS, FALSE = (0, 1, 2), 5, 0.015
# channels and cells a side of the maps to choose from, and which of that shape: blocks of stages 5, 6 and 7
MAPS = {"five": (112, 6, -1), "six, one block": (192, 3, 0), "six, two blocks": (192, 3, 2), "six": (192, 3, -1), "seven": (320, 3, -1)}
PENALTIES = (3e-3, 1e-2, 3e-2)
MAP, PENALTY, THRESHOLD = "six, one block", 1e-2, 0.28  # `choose` finds them
WEIGHT = {"none": 1.0, "away": 0.3, "people": 1.0, "perhaps": 0.5, "pasted": 1.0, "posts": 0.7}
FACES = ("people", "perhaps", "pasted", "posts")
SPREAD = 1.0  # least deviation of a cell, in steps of its byte
COPIES = 4  # the runtime's convolutions have more than four channels
OFF = 0.5  # what rounding may take from a logit


# -- the trunk's first blocks --------------------------------------------------------------------


def trunk(image: Path) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The image trunk for CONTEXT_SIDE pixels, without outputs; and the names of the maps' bytes."""
    model = onnx.load(image)
    for at in (1, 2):
        model.graph.input[0].type.tensor_type.shape.dim[at].dim_value = bundle.CONTEXT_SIDE
    del model.graph.value_info[:], model.graph.output[:]
    model = onnx.shape_inference.infer_shapes(model)
    dims = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}
    ends = [node.output[0] for node in model.graph.node if node.op_type in ("QLinearConv", "QuantizeLinear")]

    def end(channels: int, side: int, which: int) -> str:
        return [name for name in ends if dims[name] == [1, channels, side, side]][which]

    return model, {name: end(*shape) for name, shape in MAPS.items()}


def codes(image: Path, views: np.ndarray) -> dict[str, np.ndarray]:
    """u8 [N, copies, cells] of every map for views [N, copies, S, S, 3]."""
    model, names = trunk(image)
    for name in names.values():
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.UINT8, None))
    session = runtime.session(model)
    made = [session.run(list(names.values()), {"pixels": view[None]}) for view in views.reshape(-1, *views.shape[2:])]
    return {name: np.stack([row[i].ravel() for row in made]).reshape(*views.shape[:2], -1) for i, name in enumerate(names)}


def copies(finds: "Finds") -> np.ndarray:
    """u8 [N, 3, S, S, 3]: as the device cuts it; shifted and lit otherwise, mirrored; the same in grey."""
    made = np.empty((len(finds.context), 3, bundle.CONTEXT_SIDE, bundle.CONTEXT_SIDE, 3), np.uint8)
    for i, (context, around) in enumerate(zip(finds.context, finds.around)):
        rng, made[i, 0] = np.random.default_rng(i), context
        for copy in (1, 2):
            half = AROUND_SIDE * bundle.CONTEXT_SCALE * rng.uniform(0.85, 1.09) / AROUND / 2
            x, y = AROUND_SIDE / 2 + rng.uniform(-5, 5, 2)
            box = [min(max(end, 0), AROUND_SIDE) for end in (x - half, y - half, x + half, y + half)]
            view = Image.fromarray(around).resize((bundle.CONTEXT_SIDE,) * 2, Image.BILINEAR, box=box)
            view = np.asarray(view.convert("L").convert("RGB") if copy == 2 else view, np.float32)
            if copy == 1 or rng.random() < 0.5:
                view = view[:, ::-1]
            light = np.exp(rng.uniform(np.log(0.25), np.log(1.6)))
            made[i, copy] = np.clip(view * light + rng.normal(0, rng.uniform(0, 8), view.shape), 0, 255)
    return made


# -- the gate ------------------------------------------------------------------------------------


def folds(groups: np.ndarray, seed: int) -> np.ndarray:
    """A fold for each row; a picture lies in one."""
    names, at = np.unique(groups, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(names)) % FOLDS)[at]


def fitted(x: np.ndarray, kinds: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """(weights, bias) on codes [N, copies, cells]: logistic regression, either side weighing as much as the other."""
    y, weight = np.isin(kinds, FACES), np.vectorize(WEIGHT.get)(kinds)
    for side in (False, True):
        weight[y == side] /= weight[y == side].mean()
    mean, spread = x[:, 0].mean(0), np.maximum(x[:, 0].astype(np.float32).std(0), SPREAD)
    rows = torch.from_numpy(((x - mean) / spread).astype(np.float32)).flatten(0, 1)
    of_copies = lambda each: torch.from_numpy(each.astype(np.float32)).repeat_interleave(x.shape[1])  # noqa: E731
    wanted, weights = of_copies(y), of_copies(weight) / x.shape[1]
    w, b = torch.zeros(rows.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.LBFGS([w, b], max_iter=150, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        wrong = (F.binary_cross_entropy_with_logits(rows @ w + b, wanted, reduction="none") * weights).sum()
        total = penalty * wrong + w.square().sum() / 2
        total.backward()
        return total

    optimiser.step(loss)
    scaled = w.detach().numpy() / spread
    return scaled, float(b.detach()) - float(scaled @ mean)


def crossed(x: np.ndarray, kinds: np.ndarray, groups: np.ndarray, penalty: float) -> np.ndarray:
    """[seeds, N, copies] logits of gates that saw nothing of a row's picture."""
    made = np.zeros((len(SEEDS), *x.shape[:2]))
    for s, seed in enumerate(SEEDS):
        fold = folds(groups, seed)
        for k in range(FOLDS):
            w, b = fitted(x[fold != k], kinds[fold != k], penalty)
            made[s, fold == k] = x[fold == k] @ w + b
    return made


def sigmoid(z):
    return 1 / (1 + np.exp(-np.clip(z, -60, 60)))


# -- what it does --------------------------------------------------------------------------------


class Finds:
    """What `finds.collect` stored, of one side: train, or val and dev."""

    def __init__(self, path: Path, train: bool):
        stored = np.load(path)
        kept = (stored["part"] == "train") == train
        kept &= stored["kind"] != "away" if not train else True
        names = ("context", "around", "score", "kind", "group", "view")
        self.context, self.around, self.score, self.kind, self.group, self.view = (stored[k][kept] for k in names)
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
        **{f"lost {kind}": finds.lost(kind, passed) for kind in FACES},
    }


def loosest(values: np.ndarray, finds: Finds) -> float:
    """The lowest threshold on `values` at which no more than FALSE of either kind of view has a false face."""
    candidates, least = (finds.kind == "none") & (finds.score >= bundle.MIN_SCORE), []
    for what in ("whole", "cut-out"):
        views = finds.views(what)
        of_views = [values[candidates & (finds.view == view)].max(initial=-np.inf) for view in np.intersect1d(finds.view[candidates], views)]
        allowed = int(FALSE * len(views))
        least.append(np.nextafter(np.sort(of_views)[::-1][allowed], np.inf))
    return float(max(least))


def log_loss(z: np.ndarray, y: np.ndarray) -> float:
    loss = np.logaddexp(0, np.where(y, -z, z))
    return float((loss[y].mean() + loss[~y].mean()) / 2)


def choose(work: Path, image: Path) -> None:
    """work/second_look.json"""
    finds = Finds(work / "finds.npz", True)
    maps, found, y = codes(image, copies(finds)), {}, np.isin(finds.kind, FACES)
    above = finds.score >= bundle.MIN_SCORE
    found["counts"] = {kind: [int((finds.kind == kind).sum()), int(((finds.kind == kind) & above).sum())] for kind in np.unique(finds.kind)}
    found["views"] = {what: len(finds.views(what)) for what in ("whole", "cut-out")}
    found["detector alone"] = told(finds, above)
    print(json.dumps(found, indent=1), flush=True)
    for name, x in maps.items():
        for penalty in PENALTIES:
            z = crossed(x, finds.kind, finds.group, penalty)
            row = {"log loss": float(np.mean([log_loss(each[:, 0], y) for each in z]))}
            least = [loosest(each[:, 0], finds) for each in z]
            row["thresholds"] = [float(sigmoid(one)) for one in least]
            for copy, kind in enumerate(("", "lit otherwise, ", "grey, ")):
                each = [told(finds, above & (one[:, copy] >= limit)) for one, limit in zip(z, least)]
                row |= {kind + key: float(np.mean([one[key] for one in each])) for key in each[0]}
            found[f"{name} {penalty}"] = row
            print(name, penalty, json.dumps({k: np.round(v, 3).tolist() for k, v in row.items()}), flush=True)
    least = loosest(finds.score, finds)
    found["min_score alone"] = {"at": least} | told(finds, finds.score >= least)
    print(found["min_score alone"])
    (work / "second_look.json").write_text(json.dumps(found, indent=1))


def written(image: Path, gate: tuple[np.ndarray, float], reach: float, out: Path) -> None:
    """second-look.onnx: pixels u8 [1, S, S, 3] to two logits, (a face, anything else); `reach` is the largest that must fit."""
    model, names = trunk(image)
    (weights, bias), end, (channels, side, _) = gate, names[MAP], MAPS[MAP]
    known = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    scale, zero = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and end in n.input).input[1:]
    # the gate is one convolution over all cells; the two logits are there COPIES times over
    twice = np.array([1, -1] * COPIES) / 2
    rows = (weights / known[scale]).reshape(channels, side, side)
    rounded, steps = quantise_per_channel(np.multiply.outer(twice, rows).astype(np.float32), 0)
    constants = {
        "gate_weights": rounded,
        "gate_steps": steps.astype(np.float32).reshape(-1),
        "gate_zeros": np.zeros(len(twice), np.int8),
        "gate_scale": np.array(reach / 127, np.float32),
        "gate_zero": np.array(128, np.uint8),
        "gate_bias": np.round(twice * (bias + known[zero] * weights.sum()) / known[scale] / steps.reshape(-1)).astype(np.int32),
        "gate_copies": np.array([COPIES, 2], np.int64),
    }
    inputs = [end, scale, zero, "gate_weights", "gate_steps", "gate_zeros", "gate_scale", "gate_zero", "gate_bias"]
    nodes = [
        helper.make_node("QLinearConv", inputs, ["gate_codes"], kernel_shape=[side, side], pads=[0] * 4, strides=[1, 1], group=1),
        helper.make_node("DequantizeLinear", ["gate_codes", "gate_scale", "gate_zero"], ["gate_values"]),
        helper.make_node("Reshape", ["gate_values", "gate_copies"], ["gate_rows"]),
        helper.make_node("ReduceMean", ["gate_rows"], ["logits"], axes=[0], keepdims=0),
    ]
    for node in nodes:
        node.name = node.output[0]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, [2]))
    del model.graph.value_info[:]
    model.graph.name = "second look"
    only_needed(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, out)


def only_needed(graph: onnx.GraphProto) -> None:
    """Takes out what no output reads."""
    needed, kept = {o.name for o in graph.output}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    constants = [t for t in graph.initializer if t.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)


def export(work: Path, image: Path, out: Path) -> None:
    """out/second-look.onnx and the manifest that has it."""
    finds = Finds(work / "finds.npz", True)
    x = codes(image, copies(finds))[MAP]
    gate = fitted(x, finds.kind, PENALTY)
    exact = x[:, 0] @ gate[0] + gate[1]
    written(image, gate, np.abs(exact).max() / 2, out / bundle.SECOND_LOOK)
    session, some = session_of(out / bundle.SECOND_LOOK), range(0, len(x), 10)
    said = np.array([logit(session, finds.context[i]) for i in some])
    off, other = np.abs(said - exact[some]).max(), ((sigmoid(said) < THRESHOLD) != (sigmoid(exact[some]) < THRESHOLD)).mean()
    print(f"in bytes: logits at most {off:.2f} off, {other:.4f} of the verdicts are others")
    if off > OFF:
        raise SystemExit("second-look.onnx says another thing than the gate it was written from")
    temperature, metrics, _ = bundle.shipped(out)
    bundle.write_manifest(out, temperature, True, metrics, THRESHOLD)


def logit(session, context: np.ndarray) -> float:
    face, other = session.run(["logits"], {"pixels": context[None]})[0]
    return float(face - other)


# -- what it does, on pictures that had no part ------------------------------------------------


def measure(work: Path, out: Path) -> dict:
    """Shares before and after the gate that ships, of val pictures and dev faces; into second_look.json."""
    finds, session = Finds(work / "finds.npz", False), session_of(out / bundle.SECOND_LOOK)
    _, _, threshold = bundle.shipped(out)
    above = finds.score >= bundle.MIN_SCORE
    passes = sigmoid(np.array([logit(session, context) for context in finds.context])) >= threshold
    views = {what: len(finds.views(what)) for what in ("whole", "cut-out")}
    true = {kind: int(((finds.kind == kind) & above).sum()) for kind in ("people", "pasted", "perhaps")}
    found = {"views": views, "true": true, "threshold": threshold, "before": told(finds, above), "after": told(finds, above & passes)}
    print(json.dumps(found, indent=1))
    kept = json.loads((work / "second_look.json").read_text())
    (work / "second_look.json").write_text(json.dumps(kept | {"measured": found}, indent=1))
    return found


def at_most(share: float, n: int) -> float:
    """The upper end of the 95% interval (Clopper and Pearson) of a share of `n` that is below 1."""
    hits = round(share * n)
    return float(beta.ppf(0.975, hits + 1, n - hits))


TITLE, BEFORE = "## A second look", "## Why no valence"


def section(found: dict) -> str:
    """The card's words about the gate."""
    chosen, measured = found[f"{MAP} {PENALTY}"], found["measured"]
    alone, held = found["detector alone"], found["min_score alone"]

    def cells(row: dict, kind: str = "") -> str:
        return " | ".join(f"{row[kind + key]:.3f}" for key in ("whole", "cut-out", "lost people", "lost pasted", "lost perhaps"))

    n, m, true, counts = found["views"], measured["views"], measured["true"], found["counts"]
    return f"""{TITLE}
What the detector takes for a face is looked at again, in colour and with what is around it ({bundle.CONTEXT_SIDE} x {bundle.CONTEXT_SIDE}
pixels of {bundle.CONTEXT_SCALE} times the box's longer side): the first blocks of EfficientNet-Lite0, as the sentiment bundle has them, and a
logistic layer; below {measured["threshold"]} it is no face: not judged, not followed, not counted in an emotion.
`models/recipes/run.py expression false-faces` prints this table. Pictures whose sentences name
no person (Flickr8k, mostly dogs), and animals and things cut out of the others, each with a find or not; of those lost by it,
finds of at least {SURE:g} on a person's upper half, FER+ faces pasted at 32 to 180 pixels, and finds below {SURE:g} on a
person's upper half, five of six of them faces by eye, many turned away, small or in the dark:

| | whole pictures with a face | cut-outs with a face | lost, people | lost, pasted | lost, doubtful |
|---|---|---|---|---|---|
| train, detector alone | {cells(alone)} |
| train, `min_score` raised to {held["at"]:.3f} instead | {cells(held)} |
| train, cross-validated by picture, 3 seeds | {cells(chosen)} |
| the same views in grey and in other light | {cells(chosen, "grey, ")} |
| val and dev, detector alone | {cells(measured["before"])} |
| val and dev, as it ships | {cells(measured["after"])} |

Train: {n["whole"]} views and {n["cut-out"]} cut-outs, {counts["people"][1]}, {counts["pasted"][1]} and {counts["perhaps"][1]} true faces (blocks, penalty and
threshold were chosen there); val and dev: {m["whole"]} and {m["cut-out"]}, {true["people"]}, {true["pasted"]} and {true["perhaps"]} (looked at by
one candidate): so few that shares of up to {at_most(measured["after"]["whole"], m["whole"]):.3f} and {at_most(measured["after"]["cut-out"], m["cut-out"]):.3f} would be no surprise (95%).
Nobody drew faces in these pictures: a statue or a doll on a cut-out counts as false, and a hand on a chest as true.
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
