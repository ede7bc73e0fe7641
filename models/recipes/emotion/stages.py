"""The emotion bundle (LE-MER): speech, words, and their label-guided fusion.

Stages:
  prepare   unpack the sets, fix the vocabulary's rows, compute mels and frozen frames
  heard     texts as a recogniser writes them (apt-get install espeak-ng; `run.py recognition export` first)
  teacher   features of Whisper base and its soft labels
  train     the text student, from the sarcasm bundle's trunk, then what sarcastic words do not mean; the speech
            student on the published labels
  distil    the speech student with the teacher's soft labels, once a fold and once on everyone
  export    quantise and write int8 and fp32 encoders of every fold and the final bundle
  fuse      train the fusion heads of every fold and the final bundle
  gate      from the shipped encoder's rows: does anybody speak, how far it is from training; of every bundle, that plain
            talk is neutral, with which the heads of voices and the fusion heads are written
  evaluate  `demeanor eval` of every fold and of MELD's dev part
  card      the shipped bundle's manifest and card, from what `evaluate` measured
"""

import json
from pathlib import Path

import numpy as np

from common.stages import Places
from emotion import bundle, card, distance, fusion, gate as gates, heard, plain, sarcastic, speech, text
from recognition import stages as recogniser

DATA = "folder with ravdess/, tess/, emodb/, nonspeech/, picture_words/, text.tar.xz"
EVERYONE = [None, *bundle.FOLDS]


def prepare(at: Places) -> None:
    text.prepare(at.data, at.work)
    speech.prepare(at.data, at.work)
    speech.fold_tables(at.data, at.work)


def hear(at: Places) -> None:
    heard.write(at.data, at.work, at.binary, recogniser.OUT)


def teacher(at: Places) -> None:
    speech.teacher(at.data, at.work)


def train(at: Places) -> None:
    text.train(at.data, at.work, at.models / "sarcasm/text.onnx")
    sarcastic.train(at.data, at.work)
    for fold in EVERYONE:
        speech.train(at.data, at.work, fold)


def distil(at: Places) -> None:
    for fold in EVERYONE:
        speech.distil(at.data, at.work, fold)
    speech.evaluate(at.data, at.work)


def folder(at: Places, fold, int8: bool) -> Path:
    """Where a bundle lies; the final int8 one is the one that ships."""
    name = "final" if fold is None else f"fold{fold}"
    path = at.work / "bundles" / name / ("int8" if int8 else "fp32")
    path = at.out if fold is None and int8 else path
    path.mkdir(parents=True, exist_ok=True)
    return path


def export(at: Places) -> None:
    for fold in EVERYONE:
        for int8 in (True, False):
            text.export(at.work, folder(at, fold, int8), int8)
            speech.export(at.work, fold, folder(at, fold, int8), int8)


def fuse(at: Places) -> None:
    for fold in EVERYONE:
        fusion.train(at.data, at.work, fold)
    fusion.evaluate(at.data, at.work)


def gate(at: Places) -> None:
    work, encoder = at.work / "gate", at.out / "speech.onnx"
    work.mkdir(exist_ok=True)
    gates.utterances(at.data, work, at.binary)
    gates.features(at.data, work, encoder)
    gates.choose(at.data, work)
    gates.measure(at.data, work)
    gates.export(at.data, work, at.out)
    plain.measure(at.data, work, encoder, at.out / "text.onnx", fusion.load(at.work, None, "constraint"))
    for fold in EVERYONE:
        correct(at, work, fold)
    distance.rows(at.data, work, encoder)
    distance.measure(at.data, work)
    distance.export(at.data, work, at.out)


def correct(at: Places, work: Path, fold) -> None:
    """Plain talk is neutral: what a voice alone says, and the voice's half of the joint heads."""
    encoder = folder(at, fold, True) / "speech.onnx"
    if fold is None:
        table = plain.load(at.data, work)
        known = np.ones(len(table["label"]), bool)
    else:
        table, known = plain.of_fold(at.data, work, fold, encoder)
    learnt = plain.adapter(table, known)
    for int8 in (True, False):
        out = folder(at, fold, int8)
        plain.export(out / "speech.onnx", learnt, out)
        fusion.export(at.work, fold, out, plain.share_of(learnt))
    plain.check(at.data, work, encoder, folder(at, fold, True) / "speech-head.onnx", learnt)


def evaluate(at: Places) -> None:
    temperature = card.temperatures(at.work)
    for fold in EVERYONE:
        for int8 in (True, False):
            bundle.write_manifest(folder(at, fold, int8), temperature, int8)
    (at.work / "metrics").mkdir(exist_ok=True)
    for name, arguments in card.measurements(at.data, at.work, lambda fold, int8: folder(at, fold, int8)).items():
        report = at.work / "metrics" / f"{name}.json"
        if not report.exists():
            report.write_text(json.dumps(at.evaluate("emotion", *arguments)))


def write_card(at: Places) -> None:
    card.write(at.work, at.out)


STAGES = {
    "prepare": prepare,
    "heard": hear,
    "teacher": teacher,
    "train": train,
    "distil": distil,
    "export": export,
    "fuse": fuse,
    "gate": gate,
    "evaluate": evaluate,
    "card": write_card,
}
