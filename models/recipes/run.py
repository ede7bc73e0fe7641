"""One command per stage: python models/recipes/run.py STAGE --data DIR --work DIR

Stages, in order (`all` runs every one; each skips what is already there):
  prepare   unpack the sets, fix the vocabulary's rows, compute mels and frozen frames
  teacher   features of the teachers (MPNet, Whisper base) and their soft labels
  train     both students on the published labels; speech once a fold and once on everyone
  distil    both students with the teachers' soft labels
  export    quantise and write int8 and fp32 encoders of every fold and the final bundle
  fuse      train and write the fusion heads of every fold and the final bundle
  evaluate  `demeanor eval` of every fold and of MELD's dev part
  card      the shipped bundle's manifest and card, from what `evaluate` measured
"""

import argparse
import json
from pathlib import Path

import torch

import bundle
import card
import fusion
import speech
import text

REPO = Path(__file__).resolve().parents[2]
PATHS = {"shipped": REPO / "models" / "emotion", "binary": REPO / "target" / "release" / "demeanor"}
EVERYONE = [None, *bundle.FOLDS]


def prepare(data: Path, work: Path) -> None:
    text.prepare(data, work)
    speech.prepare(data, work)
    speech.fold_tables(data, work)


def teacher(data: Path, work: Path) -> None:
    text.teacher(data, work)
    speech.teacher(data, work)


def train(data: Path, work: Path) -> None:
    text.train(data, work)
    for fold in EVERYONE:
        speech.train(data, work, fold)


def distil(data: Path, work: Path) -> None:
    text.distil(data, work)
    for fold in EVERYONE:
        speech.distil(data, work, fold)
    speech.evaluate(data, work)


def folder(work: Path, fold, int8: bool) -> Path:
    """Where a bundle lies; the final int8 one is the one that ships."""
    if fold is None and int8:
        PATHS["shipped"].mkdir(parents=True, exist_ok=True)
        return PATHS["shipped"]
    name = "final" if fold is None else f"fold{fold}"
    path = work / "bundles" / name / ("int8" if int8 else "fp32")
    path.mkdir(parents=True, exist_ok=True)
    return path


def export(data: Path, work: Path) -> None:
    for fold in EVERYONE:
        for int8 in (True, False):
            text.export(work, folder(work, fold, int8), int8)
            speech.export(work, fold, folder(work, fold, int8), int8)


def fuse(data: Path, work: Path) -> None:
    for fold in EVERYONE:
        fusion.train(data, work, fold)
        for int8 in (True, False):
            fusion.export(work, fold, folder(work, fold, int8))
    fusion.evaluate(data, work)


def evaluate(data: Path, work: Path) -> None:
    binary, shipped = PATHS["binary"], PATHS["shipped"]
    if not binary.is_file():
        raise SystemExit(f"{binary} is missing; run `cargo build --release` first")
    temperature = card.temperatures(work)
    for fold in EVERYONE:
        for int8 in (True, False):
            bundle.write_manifest(folder(work, fold, int8), temperature, int8)
    (work / "metrics").mkdir(exist_ok=True)
    for name, arguments in card.measurements(work, shipped, folder).items():
        report = work / "metrics" / f"{name}.json"
        if not report.exists():
            report.write_text(json.dumps(bundle.evaluate(binary, *arguments)))


def write_card(data: Path, work: Path) -> None:
    card.write(work, PATHS["shipped"])


STAGES = {
    "prepare": prepare,
    "teacher": teacher,
    "train": train,
    "distil": distil,
    "export": export,
    "fuse": fuse,
    "evaluate": evaluate,
    "card": write_card,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=[*STAGES, "all"])
    parser.add_argument("--data", type=Path, required=True, help="folder with ravdess/, tess/, emodb/, text.tar.xz")
    parser.add_argument("--work", type=Path, required=True, help="folder for caches and checkpoints")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--binary", type=Path, default=PATHS["binary"], help="the demeanor that `evaluate` runs")
    parser.add_argument("--out", type=Path, default=PATHS["shipped"], help="folder of the bundle that ships")
    arguments = parser.parse_args()
    PATHS.update(binary=arguments.binary, shipped=arguments.out)
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    for name, stage in STAGES.items():
        if arguments.stage in (name, "all"):
            print(f"== {name}", flush=True)
            stage(arguments.data, arguments.work)


if __name__ == "__main__":
    main()
