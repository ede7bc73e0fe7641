"""The entities bundle (MNER-QG): names in words, beside what a picture shows; reads the shared text trunk.

Stages:
  ladder    the head gone on with on rows of the trunk as it ships, three seeds, and the ablations
  export    the reader as the bundle, and a check against ONNX Runtime
  checks    the reader that ships with the types given and without the shapes of words; whether a name's
            box comes from the picture (after `grounding export`)
  card      manifest and card, from what `demeanor eval` measures on both valid parts and, of boxes, on
            Flickr8k's val pictures (recipe `grounding`, which makes boxes.onnx, runs before)

`--work` is the folder where the trunk was trained (trunk-0.pt); `--models` holds the sarcasm
bundle, whose text trunk and picture words this one borrows.
"""

import csv
import json
import lzma

import numpy as np
import torch

from common.stages import Places, fill
from emotion import text_data
from entities import bundle, card, checks, ladder, names
from grounding import stages as pointing
from trunk import data as td
from trunk import model as tm

DATA = "folder with text.tar.xz, picture_words/ and grounding/"
WORST = 0.05


def joint(at: Places) -> dict:
    """Weights of the head that was trained with the trunk."""
    state = torch.load(at.work / "trunk-0.pt", map_location="cpu")
    return {name.removeprefix("reader."): x for name, x in state.items() if name.startswith("reader.")}


def run_ladder(at: Places) -> None:
    if not (at.work / "entities-ladder.json").exists():
        ladder.run(at.data, at.work, at.models / "sarcasm/text.onnx", joint(at))


def drawn(count: int = 24) -> list[tuple[np.ndarray, np.ndarray]]:
    """Token rows as a layer norm leaves them, and rows of length 1; some pictures have none."""
    rng = np.random.default_rng(0)
    cases = []
    for i in range(count):
        pictures = rng.standard_normal((i % 6, tm.DIM)).astype(np.float32)
        pictures /= np.maximum(np.linalg.norm(pictures, axis=1, keepdims=True), 1e-9)
        cases.append((rng.standard_normal((3 + 2 * i, tm.DIM)).astype(np.float32), pictures))
    return cases


def export(at: Places) -> None:
    at.out.mkdir(parents=True, exist_ok=True)
    trained, path = ladder.reader(at.work, ladder.SHIPPED_SEED, joint(at)), at.out / "reader.onnx"
    size = bundle.write_reader(trained, path)
    worst = bundle.check(trained, path, drawn())
    print(f"reader.onnx, {size / 1e3:.0f} kB: probabilities within {worst:.4f} of torch's", flush=True)
    if worst > WORST:
        raise SystemExit("that is more than bytes explain")
    bundle.write_manifest(at.out, at.models)


def run_checks(at: Places) -> None:
    found = checks.run(at.data, at.work, at.models / "sarcasm/text.onnx", at.out / "reader.onnx")
    print(card.checks(found))
    seen = pointing.pictures(at, "val")
    found = names.run(at.data, at.work, at.out / bundle.BOXES, seen.maps, seen.names, text_data.tokenizer(at.work))
    print(card.names(found), flush=True)


def write_card(at: Places) -> None:
    root, reports = td.unpack(at.data, at.work), {}
    with lzma.open(at.data / "picture_words/twitter_mner.csv.xz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for year in ladder.YEARS:
        captions = at.work / f"captions-{year}.csv"
        with captions.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["imgid", "caption_blip2"])
            table.writerows([r["imgid"], r["caption_blip2"]] for r in rows if r["set"] == f"twitter{year}")
        valid = root / f"mner_umt_text/data/twitter{year}/valid.txt"
        reports[f"Twitter{year}"] = at.evaluate("entities", at.out, valid, None, "--picture-words", str(captions))
    (at.work / "entities-eval.json").write_text(json.dumps(reports, indent=1))
    made = lambda name: json.loads((at.work / f"entities-{name}.json").read_text())
    found = made("ladder")
    metrics = []
    for name, report in reports.items():
        of = report["metrics"]
        metrics.append({"name": "f1", "on": f"{name} valid, words given", "value": of["f1"], "ci95": of["ci95"]["f1"], "n": of["n"]})
    boxes = pointing.report(at)
    for name in ("a50", "a75", "miou"):
        of = boxes["metrics"]
        metrics.append({"name": name, "on": "Flickr30k Entities, val pictures of Flickr8k", "value": of[name], "ci95": of["ci95"][name], "n": of["n"]})
    bundle.write_manifest(at.out, at.models, metrics)
    absence = boxes["absence"]
    kinds = [[name, *(f"{report['types'][kind]['f1']:.3f}" for kind in bundle.TYPES)] for name, report in reports.items()]
    words = {
        "version": bundle.VERSION,
        "dev": card.measured(reports),
        "types": " | ".join(bundle.TYPES) + " |\n" + "|---" * (1 + len(bundle.TYPES)) + "|",
        "perkind": "\n".join("| " + " | ".join(row) + " |" for row in kinds),
        "grounding": card.grounding(boxes),
        "pointed": f"{absence['pointed_at'] / absence['with_box']:.0%}",
        "left": f"{absence['left_alone'] / absence['without_box']:.0%}",
        "seeds": str(len(found["Twitter2015"]["mner-qg"])),
        "ladder": card.ladder(found),
        "checks": card.checks(made("checks")),
        "names": card.names(made("names")),
        "data": "\n".join(f"| {name} | {licence} |" for name, licence in [*bundle.DATA, *bundle.BOXES_DATA]),
    }
    fill(at.models / "recipes/entities/CARD.in.md", words, at.out / "CARD.md")


STAGES = {"ladder": run_ladder, "export": export, "checks": run_checks, "card": write_card}
