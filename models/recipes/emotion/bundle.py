"""Manifests, measured figures and the card of the emotion bundle.

Figures come from `demeanor eval --json` on int8 bundles, never from Python. Cross-validated
ones are pooled: the folds' confusion matrices are added up, and the interval resamples the
items behind them.
"""

from pathlib import Path

import numpy as np

from common import manifest

LABELS = ["angry", "happy", "sad", "neutral"]
VERSION = "1.7.0"
FOLDS = range(5)
FILES = ["speech.onnx", "text.onnx", "vocab.txt", "fusion.onnx", "fusion-ar.onnx", "fusion-al.onnx", "gate.onnx", "speech-head.onnx", "speech-distance.onnx"]
DATA = [
    ("RAVDESS, 20 speakers (speech)", "CC BY-NC-SA 4.0"),
    ("TESS (speech)", "CC BY-NC-ND 4.0"),
    ("EmoDB (speech)", "free for research"),
    ("clips of no speech and of plain speech, 1,065 of many sources (gate, speech head)", "research; per clip"),
    ("MELD train (text with history)", "GPL-3.0"),
    ("GoEmotions train (text)", "Apache-2.0"),
    ("TweetEval emotion train (text)", "research, terms of SemEval-2018 task 1"),
    ("MMSD2.0 train, TweetEval irony, MUStARD (text; sarcastic or not)", "no licence stated: research"),
    ("bundle g2sam (text trunk, from which the words' encoder starts) and the data on its card", "research only"),
    ("MiniLM-L6-v2 (that trunk's initial weights)", "Apache-2.0"),
    ("Whisper tiny.en (initial weights, speech)", "MIT"),
    ("Whisper base (teacher, speech)", "MIT"),
]
UNSURE_BELOW = 0.4
# From when on an answer is told that rests on a voice alone (ATTEMPTS.md, section 25).
VOICE_FROM = 0.6
# what stages `gate` and `plain` chose and measured; see ATTEMPTS.md, sections 7, 8 and 25
GATE = {"labels": ["speech", "human", "other"], "temperature": 1.007, "threshold": 0.4}
PLAIN_TEMPERATURE, JOINT_TEMPERATURE = 1.26, 1.0
# what stage `gate` measured of voices that the Gaussian did not see, though the encoder did (distance.py)
RANGE = {"mean": 0.3542, "within": 0.2338, "between": 0.3313, "answers": 3020}
FLOATS = ("fusion", "gate", "speech-head", "speech-distance")


def precision(name: str, int8: bool) -> str:
    if name == "vocab.txt":
        return "none"
    return "int8" if int8 and not name.startswith(FLOATS) else "f32"


def heads(temperature: dict, gated: bool) -> list[dict]:
    """Bundles of the folds have no gate: they measure the answers."""
    rows, fused = ["text.tokens", "speech.frames", "text.logits"], JOINT_TEMPERATURE
    voice = [manifest.head("speech-only", ["speech.frames"], "speech-head.onnx", PLAIN_TEMPERATURE, threshold=VOICE_FROM)]
    if gated:
        voice.insert(0, manifest.head("is it speech", ["speech.frames"], "gate.onnx", kind="gate", **GATE))
        voice.append(manifest.head("how far", ["speech.frames"], "speech-distance.onnx", kind="distance", range=RANGE))
    return [
        manifest.head("text-only", ["text.logits"], temperature=temperature["text"]),
        *voice,
        manifest.head("score fusion", kind="mean", of=["text-only", "speech-only"], ablation=True),
        manifest.head("A_r only", rows, "fusion-ar.onnx", fused, ablation=True),
        manifest.head("A_l only", rows, "fusion-al.onnx", fused, ablation=True),
        manifest.head("attention constraint", rows, "fusion.onnx", fused, explain={"text": "g_text", "speech": "g_speech"}),
    ]


def write_manifest(folder: Path, temperature: dict, int8: bool = True, metrics=()) -> None:
    """manifest.toml of the files that lie in `folder`."""
    about = {
        "id": "le-mer",
        "task": "emotion",
        "version": VERSION,
        "summary": "Emotion from speech and text: label-guided fusion (LE-MER), distilled students",
        "licence": "research only: CC BY-NC-SA 4.0 and CC BY-NC-ND 4.0 data shaped the weights",
        "labels": LABELS,
        "speech": {"file": "speech.onnx", "sample_rate": 16000, "mels": 80, "max_seconds": 8.0},
        "text": {"file": "text.onnx", "vocab": "vocab.txt", "max_tokens": 128, "history": 5},
        "head": heads(temperature, (folder / "gate.onnx").exists()),
        "late": {"task": "expression", "classes": dict(zip(LABELS, ("anger", "happiness", "sadness", "neutral")))},
        "decision": {"unsure_below": UNSURE_BELOW},
        "eval": {"figures": ["accuracy", "ua", "macro_f1"]},
    }
    files = [(name, precision(name, int8)) for name in FILES if (folder / name).exists()]
    manifest.write(folder, about, files, metrics=metrics, data=DATA)


# -- figures --------------------------------------------------------------------------


def figures(confusion) -> dict:
    """Accuracy, UA and macro-F1 of a confusion matrix (rows: truth)."""
    c = np.asarray(confusion, float)
    support, guessed, right = c.sum(1), c.sum(0), np.diag(c)
    seen = support > 0
    f1 = 2 * right / np.maximum(support + guessed, 1)
    recall = right / np.maximum(support, 1)
    return {"accuracy": right.sum() / c.sum(), "ua": recall[seen].mean(), "macro_f1": f1[seen].mean()}


def with_interval(confusion, draws: int = 1000, seed: int = 0) -> dict:
    """{figure: (value, low, high)}; drawing items with replacement is drawing cells."""
    c = np.asarray(confusion)
    rng = np.random.default_rng(seed)
    n = int(c.sum())
    resampled = rng.multinomial(n, c.ravel() / n, size=draws)
    drawn = [figures(r.reshape(c.shape)) for r in resampled]
    out = {}
    for name, value in figures(c).items():
        low, high = np.percentile([d[name] for d in drawn], [2.5, 97.5])
        out[name] = (value, low, high)
    return out | {"n": n}


def pooled(reports: list[dict]) -> dict:
    """{row: figures with interval} over the folds' reports."""
    rows = {"shipped": sum(np.asarray(r["confusion"]) for r in reports)}
    for name in dict.fromkeys(row["name"] for r in reports for row in r["rows"]):
        parts = [row["confusion"] for r in reports for row in r["rows"] if row["name"] == name]
        rows[name] = sum(np.asarray(p) for p in parts)
    return {name: with_interval(confusion) for name, confusion in rows.items()}


def spread(reports: list[dict]) -> list[float]:
    """UA of every speaker, lowest first."""
    return sorted(s["ua"] for r in reports for s in r["speakers"].values())
