"""The sentiment bundle (MVCN): a picture with its words; reads the sarcasm bundle's text trunk.

Stages:
  picture   image.onnx, which other bundles read too: EfficientNet-Lite0 as published, in bytes
  prepare   rows of both trunks for every text and picture
  choose    cross-validation over train and dev together: words, picture, late fusion, the ladder
  train     the heads with units on MVSA-Single's train part
  export    the bundle, int8 and fp32
  card      manifest and card, from what `demeanor eval` measures on dev
"""

import json
from pathlib import Path

import numpy as np
import torch

from common.stages import Places
from emotion import text
from sentiment import bundle, card, choose, features, lite, lite_graph, mvcn, units_graph
from sentiment import data as sd
from sentiment import mvcn_train as mt

DATA = "folder with mvsa_single/"
SEED = 0
CALIBRATION_PICTURES = 400
WORST = 0.25  # of a logit
ROWS = [row for _, row, *_ in bundle.HEADS.values()]


# -- the picture trunk --------------------------------------------------------------------


def trunk() -> lite.Lite:
    return lite.Lite().eval()


def ranges(data: Path, work: Path) -> dict:
    path = features.folder(work) / "ranges.json"
    if not path.exists():
        pairs = sd.train_pairs(data, work)
        shown = pairs[:: len(pairs) // CALIBRATION_PICTURES]
        pixels = lite.views([p.picture for p in shown], lite.SIDE, 0)
        path.write_text(json.dumps(lite_graph.ranges(trunk(), pixels)))
    return json.loads(path.read_text())


def picture(at: Places) -> None:
    at.out.mkdir(parents=True, exist_ok=True)
    lite_graph.export(trunk(), ranges(at.data, at.work), at.out / bundle.IMAGE)


# -- rows ---------------------------------------------------------------------------------


def seen(at: Places, name: str) -> features.Seen:
    """Rows of train or dev by the files that ship."""
    texts = features.texts(at.data, at.work, name, lender(at) / "text.onnx")
    views = [features.patches(at.data, at.work, name, view, at.out / bundle.IMAGE) for view in features.VIEWS]
    return features.Seen(texts, views, features.labels(at.data, at.work, name))


def prepare(at: Places) -> None:
    for name in ("train", "dev"):
        seen(at, name)


def lender(at: Places) -> Path:
    return at.models / "sarcasm"


# -- what could ship ------------------------------------------------------------------------


def cross_validate(at: Places) -> None:
    both = features.joined([seen(at, name) for name in ("train", "dev")])
    choose.run(both, sd.pool(at.data, at.work), at.work)


def temperatures(at: Places) -> dict:
    """{row: T} of the halves and their sum, fitted on answers to items of train that never were learnt."""
    pool, labels = sd.pool(at.data, at.work), features.labels(at.data, at.work, "train")
    found = {}
    for row in choose.HALVES:
        logits = [choose.shifted(np.load(choose.path_of(at.work, row, seed)))[: pool.train] for seed in choose.SEEDS]
        found[row] = text.fit_temperature(np.concatenate(logits), np.tile(labels, len(logits)))
    return found


# -- the ladder -------------------------------------------------------------------------


def head_path(work: Path, row: str) -> Path:
    return features.folder(work) / f"{row}.pt"


def train(at: Places) -> None:
    """Every row of the ladder that ships."""
    known = seen(at, "train")
    folds = sd.pool(at.data, at.work).folds(0)[: len(known.labels)]
    everyone, means = np.arange(len(known.labels)), known.means()
    learnt = choose.fitted(means, known.labels, everyone, folds)
    for row in (row for row in ROWS if row in mt.LADDER):
        head = mt.fit(known, everyone, learnt.targets, mt.LADDER[row], SEED, learnt.late)
        torch.save(head.state_dict(), head_path(at.work, row))


def load_head(work: Path, row: str) -> mvcn.Head:
    head = mvcn.Head(mt.LADDER[row].kind, mt.LADDER[row].pi)
    head.load_state_dict(torch.load(head_path(work, row)))
    return head.eval()


def shipped(at: Places) -> dict:
    """{row: halves or head}, with the neutral class made likelier."""
    known, found = seen(at, "train"), {}
    means, everyone = known.means(), np.arange(len(known.labels))
    for row in ROWS:
        if row in choose.HALVES:
            halves = choose.late_of(means, known.labels, everyone, row)
            found[row] = halves._replace(bias=choose.shifted(halves.bias))
        else:
            found[row] = load_head(at.work, row)
            found[row].words.bias.data = torch.from_numpy(choose.shifted(found[row].words.bias.data.numpy()))
    return found


# -- export -----------------------------------------------------------------------------


def export(at: Places) -> None:
    """The bundle at `out` and its f32 twin under the work folder."""
    temperature, heads = temperatures(at), shipped(at)
    spreads = [units_graph.Spread(rows.mean(0), rows.std(0) + 1e-6) for rows in seen(at, "train").means()]
    lite_graph_of_reference(at)
    for int8, folder in ((True, at.out), (False, reference(at))):
        bundle.write_heads(folder, heads, int8, spreads)
        bundle.write_manifest(folder, lender(at), temperature, int8)
    known = seen(at, "train")
    worst = bundle.check(at.out, heads, known.texts, known.patches[0])
    print(f"logits of the maps within {worst:.3f} of torch's", flush=True)
    if worst > WORST:
        raise SystemExit("that is more than bytes explain")


def lite_graph_of_reference(at: Places) -> None:
    reference(at).mkdir(parents=True, exist_ok=True)
    lite_graph.export(trunk(), {}, reference(at) / bundle.IMAGE, int8=False)


def reference(at: Places) -> Path:
    return at.work / "bundles/sentiment/fp32"


def write_card(at: Places) -> None:
    # without the fp32 twin: the runtime has no product of stacked f32 matrices, which its units are
    report = at.evaluate("sentiment", at.out, at.data / "mvsa_single/dev.csv")
    chosen = json.loads((features.folder(at.work) / "chosen.json").read_text())
    card.write(report, chosen, at.out, lender(at), temperatures(at))


STAGES = {
    "picture": picture,
    "prepare": prepare,
    "choose": cross_validate,
    "train": train,
    "export": export,
    "card": write_card,
}
