"""The expression bundle, one command per stage: python models/recipes/faces_run.py STAGE --data DIR --work DIR

Stages, in order (`all` runs every one; each skips what is already there):
  prepare   faces and votes of FER+ in one file
  train     the expression student
  export    quantise and write both networks, int8 and fp32, and their manifests
  measure   accuracy, framing, agreement and recall, into DIR/faces.json
  card      the bundle's card and the manifest's figures, from what `measure` wrote
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import expression
import faces
import faces_bundle
from faces_boxes import letterbox
from picture_graph import session_of

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "expression"
FITTED, TUNED, SCENES = 96, 700, 500  # pictures the detector is fitted on, its last blocks trained on; measured on
PASTED = 60  # dev faces a background and size
CHAINED = 1500  # dev faces pasted, found and cropped
SIZES = (32, 48, 64, 96, 128, 200)


def scenes(data: Path) -> tuple[list, list]:
    """MVSA-Single train pictures: (for measuring, for rounding); no labels are read."""
    folder = data / "mvsa_single"
    rows = list(csv.DictReader(open(folder / "train.csv", newline="", encoding="utf-8")))
    order = np.random.default_rng(0).permutation(len(rows))[: SCENES + FITTED + TUNED]
    names = [folder / rows[i]["image"] for i in order]
    return names[:SCENES], names[SCENES:]


def opened(names: list[Path]) -> list:
    return [Image.open(name).convert("RGB") for name in names]


def calibration(data: Path, work: Path) -> np.ndarray:
    """u8 [N, S, S, 3]: scenes, every second one with one or two FER+ train faces of any size in it."""
    rng, made, rows = np.random.default_rng(1), [], np.load(work / "ferplus.npz")["train"]
    for i, scene in enumerate(opened(scenes(data)[1])):
        for _ in range((0, 1, 0, 2)[i % 4]):
            side = int(min(scene.size) * rng.uniform(0.2, 0.95))
            face = Image.fromarray(rows[rng.integers(len(rows))]).resize((side, side), Image.BILINEAR)
            scene.paste(face, tuple(int(rng.integers(0, length - side + 1)) for length in scene.size))
        made.append(letterbox(scene, faces.SIDE))
    return np.stack(made)


def reference(work: Path) -> Path:
    (work / "fp32").mkdir(exist_ok=True)
    return work / "fp32"


def prepare(data: Path, work: Path) -> None:
    expression.prepare(data, work)


def train(data: Path, work: Path) -> None:
    expression.train(work)


def export(data: Path, work: Path) -> None:
    OUT.mkdir(exist_ok=True)
    expression.export(work, OUT, True)
    expression.export(work, reference(work), False)
    faces.float_net().g.save(reference(work) / "face.onnx")
    pictures = calibration(data, work)
    faces.integer_net(pictures[:FITTED], pictures[FITTED:]).g.save(OUT / "face.onnx")
    temperature = faces_bundle.temperature(session_of(OUT / "expression.onnx"), np.load(work / "ferplus.npz"))
    (work / "faces_temperature.json").write_text(json.dumps(temperature))
    faces_bundle.write_manifest(OUT, temperature)
    faces_bundle.write_manifest(reference(work), temperature, int8=False)


def measure(data: Path, work: Path) -> None:
    stored, pictures = np.load(work / "ferplus.npz"), opened(scenes(data)[0])
    dev, votes = stored["dev"], stored["dev_votes"]
    shipped, floats = faces_bundle.sessions(OUT), faces_bundle.sessions(reference(work))
    found = {
        "temperature": json.loads((work / "faces_temperature.json").read_text()),
        "framing": faces_bundle.framing(shipped[0], stored["train"][:600]),
        "agreement": {s: faces_bundle.agreement(floats[0], shipped[0], pictures, s) for s in (0.5, 0.6)},
    }
    found["smallest"] = faces_bundle.smallest(shipped[0], pictures)
    some = np.random.default_rng(7).permutation(len(dev))[:CHAINED]
    chained, seen = faces_bundle.end_to_end(*shipped, dev[some])
    found["seen"] = float(seen.mean())
    for rule, strict in (("half", True), ("top", False)):
        for name, (_, classifier) in {"int8": shipped, "fp32": floats}.items():
            found[f"direct_{name}_{rule}"] = faces_bundle.accuracy(faces_bundle.logits(classifier, dev), votes, strict)
        same = faces_bundle.logits(shipped[1], dev[some][seen])
        found[f"same_{rule}"] = faces_bundle.accuracy(same, votes[some][seen], strict)
        found[f"chained_{rule}"] = faces_bundle.accuracy(chained[seen], votes[some][seen], strict)
    found["confusion"] = faces_bundle.confusion(faces_bundle.logits(shipped[1], dev), votes).tolist()
    empty = faces_bundle.without_faces(floats[0], pictures)
    rows = dev[np.random.default_rng(6).permutation(len(dev))[:PASTED]]
    for name, (detector, _) in {"int8": shipped, "fp32": floats}.items():
        found[f"recall_{name}"] = {
            kind: {side: faces_bundle.recall(detector, rows, kind, side, empty) for side in SIZES}
            for kind in ("grey", "noise", "scene")
        }
    (work / "faces.json").write_text(json.dumps(found, indent=1))


def card(data: Path, work: Path) -> None:
    faces_bundle.write_card(json.loads((work / "faces.json").read_text()), OUT)


STAGES = {"prepare": prepare, "train": train, "export": export, "measure": measure, "card": card}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=[*STAGES, "all"])
    parser.add_argument("--data", type=Path, required=True, help="folder with ferplus/ and mvsa_single/")
    parser.add_argument("--work", type=Path, required=True, help="folder for caches and checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    for name, stage in STAGES.items():
        if arguments.stage in (name, "all"):
            print(f"== {name}", flush=True)
            stage(arguments.data, arguments.work)


if __name__ == "__main__":
    main()
