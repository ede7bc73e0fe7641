"""The expression bundle (FER+): a face detector and a network that names what faces show.

Stages:
  prepare   faces and votes of FER+ in one file
  teach     four larger networks, each on three quarters of the faces
  compare   the student on three folds, judged on the fourth: how far rarity is made up for
  train     the expression student, by votes and teachers
  export    quantise and write both networks, int8 and fp32, and their manifests
  finds     what the detector takes for a face, where there is one and where there is none
  choose    the gate of the second look, cross-validated by picture
  gate      second-look.onnx: the gate upon the image trunk's first blocks, and the manifest
  false-faces  pictures without people that have a face, and faces that are lost, before and after the gate
  measure   accuracy, framing, agreement and recall, into faces.json of the work folder
  card      the bundle's card and the manifest's figures, from what `measure` wrote
"""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from common.image_nets import session_of
from common.stages import Places
from expression import bundle, detector, finds as found_faces, learning, second_look, student
from expression.boxes import letterbox

DATA = "folder with ferplus/, mvsa_single/ and grounding/"
THREADS = 1
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
        made.append(letterbox(scene, detector.SIDE))
    return np.stack(made)


def image(at: Places) -> Path:
    """The image trunk, as the sentiment bundle ships it."""
    return at.models / "sentiment" / "image.onnx"


def reference(work: Path) -> Path:
    (work / "fp32").mkdir(exist_ok=True)
    return work / "fp32"


def prepare(at: Places) -> None:
    student.prepare(at.data, at.work)


def teach(at: Places) -> None:
    learning.teach(at.work)


def compare(at: Places) -> None:
    learning.compare(at.work)


def train(at: Places) -> None:
    learning.train(at.work)


def export(at: Places) -> None:
    at.out.mkdir(exist_ok=True)
    student.export(at.work, at.out, True)
    student.export(at.work, reference(at.work), False)
    detector.float_net().g.save(reference(at.work) / "face.onnx")
    pictures = calibration(at.data, at.work)
    detector.integer_net(pictures[:FITTED], pictures[FITTED:]).g.save(at.out / "face.onnx")
    temperature = bundle.temperature(session_of(at.out / "expression.onnx"), np.load(at.work / "ferplus.npz"))
    (at.work / "faces_temperature.json").write_text(json.dumps(temperature))
    bundle.write_manifest(at.out, temperature)
    bundle.write_manifest(reference(at.work), temperature, int8=False)


def finds(at: Places) -> None:
    found_faces.collect(at.data, at.work, at.out / "face.onnx")


def choose(at: Places) -> None:
    second_look.choose(at.work, image(at))


def gate(at: Places) -> None:
    second_look.export(at.work, image(at), at.out)


def false_faces(at: Places) -> None:
    second_look.measure(at.work, at.out)
    second_look.card(at.work, at.out)


def measure(at: Places) -> None:
    stored, pictures = np.load(at.work / "ferplus.npz"), opened(scenes(at.data)[0])
    dev, votes = stored["dev"], stored["dev_votes"]
    shipped, floats = bundle.sessions(at.out), bundle.sessions(reference(at.work))
    found = {
        "temperature": json.loads((at.work / "faces_temperature.json").read_text()),
        "framing": bundle.framing(shipped[0], stored["train"][:600]),
        "agreement": {s: bundle.agreement(floats[0], shipped[0], pictures, s) for s in (0.5, 0.6)},
    }
    found["smallest"] = bundle.smallest(shipped[0], pictures)
    some = np.random.default_rng(7).permutation(len(dev))[:CHAINED]
    chained, seen = bundle.end_to_end(*shipped, dev[some])
    found["seen"] = float(seen.mean())
    for rule, strict in (("half", True), ("top", False)):
        for name, (_, classifier) in {"int8": shipped, "fp32": floats}.items():
            found[f"direct_{name}_{rule}"] = bundle.accuracy(bundle.logits(classifier, dev), votes, strict)
        same = bundle.logits(shipped[1], dev[some][seen])
        found[f"same_{rule}"] = bundle.accuracy(same, votes[some][seen], strict)
        found[f"chained_{rule}"] = bundle.accuracy(chained[seen], votes[some][seen], strict)
    found["confusion"] = bundle.confusion(bundle.logits(shipped[1], dev), votes).tolist()
    empty = bundle.without_faces(floats[0], pictures)
    rows = dev[np.random.default_rng(6).permutation(len(dev))[:PASTED]]
    for name, (network, _) in {"int8": shipped, "fp32": floats}.items():
        found[f"recall_{name}"] = {
            kind: {side: bundle.recall(network, rows, kind, side, empty) for side in SIZES}
            for kind in ("grey", "noise", "scene")
        }
    (at.work / "faces.json").write_text(json.dumps(found, indent=1))


def write_card(at: Places) -> None:
    bundle.write_card(json.loads((at.work / "faces.json").read_text()), at.out)
    second_look.card(at.work, at.out)


STAGES = {
    "prepare": prepare,
    "teach": teach,
    "compare": compare,
    "train": train,
    "export": export,
    "finds": finds,
    "choose": choose,
    "gate": gate,
    "false-faces": false_faces,
    "measure": measure,
    "card": write_card,
}
