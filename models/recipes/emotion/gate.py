"""The gate of the emotion bundle: does anybody speak in this utterance?

    python models/recipes/emotion/gate.py STAGE --data DIR --work DIR [--binary FILE]

Multinomial logistic regression on the mean of the shipped speech encoder's rows: speech, another human sound
(a cry, a cough, singing), anything else. Stages, in order (`all` runs every one):
  utterances  what the device's voice detector cuts out of every clip, and what is answered without a gate
  features    the encoder's rows of every view of every clip, summed up
  choose      cross-validation: inputs, penalty, temperature and threshold; gate.json
  export      gate.onnx, trained on everything
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

sys.path.append(str(Path(__file__).resolve().parents[1]))  # modules that all recipes share

from common import mel, runtime  # noqa: E402
from common.onnx_graph import Graph  # noqa: E402
from emotion import gate_sounds  # noqa: E402
from emotion.gate_sounds import BLOCKS, KINDS  # noqa: E402

REPO = Path(__file__).resolve().parents[3]
SUMS = ("mean", "deviation", "peak")
INPUTS = {"mean": ("mean",), "mean and deviation": ("mean", "deviation"), "all three": SUMS}
PENALTIES = (0.03, 0.3, 3.0)  # scikit-learn's C: the smaller, the stronger
SEEDS, FOLDS = (0, 1, 2), 5
SHIPPED = {"inputs": "mean", "penalty": 0.3, "temperature": 1.007, "threshold": 0.4}  # as `choose` found
SPEECH = ("ravdess", "tess", "emodb", "plain")
PLAIN_SOURCES = ("librispeech", "mycroft_phrases", "voice_sample")
EMOTIONS = ("angry", "happy", "sad")
LOST = 0.005  # of the clips of every corpus of speech, at most
# Parts of the training weight. Speech and the rest weigh the same, so that p(speech) is a probability where
# both are as likely; acted speech must be there: without it angry voices are lost.
SHARES = {"ravdess": 0.12, "tess": 0.09, "emodb": 0.09, "plain": 0.2, "human": 0.15, "other": 0.35}
DOUBTFUL = 0.5  # weight of clips filed as no speech in which somebody may speak


# -- what the encoder says ------------------------------------------------------------


class Encoder:
    """The speech encoder as it ships: a wave to rows [m, width] and four logits."""

    def __init__(self, path):
        self.session = runtime.session(path)

    def __call__(self, wave):
        return self.session.run(["frames", "logits"], {"mel": mel.log_mel(wave)})


def utterances(data, work, binary) -> None:
    """utterances.json: what the device cuts out of every clip, and what it answers without a gate."""
    found, cut = gate_sounds.sounds(data, work), []
    for first in range(0, len(found), 200):
        part = found[first : first + 200]
        command = [binary, "analyze", "--all", "--json", *(str(sound.path) for sound in part)]
        # no check: the exit status is 1 where none of the files holds a voice
        lines = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.splitlines()
        events = [json.loads(line) for line in lines]
        for sound in part:
            own = [event for event in events if event["source"] == sound.path.name]
            cut.append([(event["start"], event["end"], event["label"], event["scores"]) for event in own])
    (Path(work) / "utterances.json").write_text(json.dumps(cut))


def features(data, work, encoder_path) -> None:
    """views_{device,recorded,acted}.npz: of every view its clip's number, name, SNR and, of its rows, sums."""
    found = gate_sounds.sounds(data, work)
    encoder = Encoder(encoder_path)
    views = {"device": device_views(found, work)}
    studio = gate_sounds.Studio(found)
    for name, acted in (("recorded", False), ("acted", True)):
        chosen = [i for i, sound in enumerate(found) if sound.acted == acted]
        views[name] = ((i, *view) for i in chosen for view in studio.views(found[i]))
    for name, made in views.items():
        path = Path(work) / f"views_{name}.npz"
        if not path.exists():
            np.savez(path, **_summed(made, encoder))


def device_views(found, work):
    """Every utterance that the device would answer."""
    for number, cuts in enumerate(json.loads((Path(work) / "utterances.json").read_text())):
        wave = gate_sounds.load(found[number].path) if cuts else None
        for start, end, *_ in cuts:
            yield number, "device", np.nan, wave[round(start * mel.RATE) : round(end * mel.RATE)]


def _summed(views, encoder) -> dict:
    """Mean, deviation and peak over the encoder's rows of every view."""
    table = {name: [] for name in ("clip", "view", "snr", "rows", *SUMS, "logits")}
    for number, view, snr, wave in views:
        rows, logits = encoder(wave)
        values = (number, view, snr, len(rows), rows.mean(0), rows.std(0), rows.max(0), logits)
        for column, value in zip(table.values(), values):
            column.append(value)
    return {name: np.array(column) for name, column in table.items()}


@dataclass
class Views:
    """Every view with what is known of its clip; arrays of one length."""

    clip: np.ndarray
    view: np.ndarray
    snr: np.ndarray
    sums: dict[str, np.ndarray]  # SUMS -> [n, width]
    kind: np.ndarray  # index into KINDS
    corpus: np.ndarray  # an acted corpus, "plain", or the kind of what is no speech
    source: np.ndarray  # where the clip comes from
    what: np.ndarray
    voices: np.ndarray
    block: np.ndarray
    weight: np.ndarray

    @property
    def speech(self):
        return self.kind == 0

    def columns(self, inputs: str) -> np.ndarray:
        return np.concatenate([self.sums[name] for name in INPUTS[inputs]], axis=1).astype(np.float32)


def views(data, work) -> Views:
    found = gate_sounds.sounds(data, work)
    parts = [np.load(Path(work) / f"views_{name}.npz") for name in ("device", "recorded", "acted")]
    column = {name: np.concatenate([part[name] for part in parts]) for name in ("clip", "view", "snr", "rows", *SUMS)}
    spoken = np.array([sound.kind == "speech" for sound in found])[column["clip"]]
    kept = ~spoken | longest(column)
    column = {name: values[kept] for name, values in column.items()}
    clip = column["clip"]
    corpora = [s.corpus if s.acted else "plain" if s.kind == "speech" else s.kind for s in found]
    of_clip = lambda values: np.array(values)[clip]  # noqa: E731
    made = Views(
        clip,
        column["view"],
        column["snr"],
        {name: column[name] for name in SUMS},
        of_clip([KINDS.index(s.kind) for s in found]),
        of_clip(corpora),
        of_clip([s.corpus for s in found]),
        of_clip([s.what for s in found]),
        of_clip([s.voices for s in found]),
        of_clip([s.block for s in found]),
        np.ones(len(clip)),
    )
    made.weight = (1 / np.bincount(clip)[clip]) * np.where(made.voices, DOUBTFUL, 1.0)
    for name, share in SHARES.items():
        own = made.corpus == name
        made.weight[own] *= share * len(found) / made.weight[own].sum()
    return made


def longest(column) -> np.ndarray:
    """Of the utterances cut out of one clip the longest, and every other view.

    The device finds a second utterance in one clip of acted speech in twelve; most are
    breaths or a door, and nobody has labelled them.
    """
    kept, best = column["view"] != "device", {}
    for i in np.flatnonzero(~kept):
        other = best.get(column["clip"][i])
        if other is None or column["rows"][i] > column["rows"][other]:
            best[column["clip"][i]] = i
    kept[list(best.values())] = True
    return kept


# -- the regression -------------------------------------------------------------------


def fit(x, kind, weight, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights [3, d] and bias [3]; inputs are standardised for the penalty, and the weights put back."""
    centre = np.average(x, axis=0, weights=weight)
    spread = np.sqrt(np.average((x - centre) ** 2, axis=0, weights=weight)) + 1e-6
    model = LogisticRegression(C=penalty, max_iter=150, tol=1e-3)
    model.fit((x - centre) / spread, kind, sample_weight=weight)
    weights = model.coef_ / spread
    return weights, model.intercept_ - weights @ centre


def folds(v: Views, seed: int) -> np.ndarray:
    """Fold of every view: blocks dealt to five folds, anew for every seed."""
    dealt = np.empty(BLOCKS, int)
    dealt[np.random.default_rng(seed).permutation(BLOCKS)] = np.arange(BLOCKS) % FOLDS
    return dealt[v.block]


def held_out(v: Views, inputs: str, penalty: float, seed: int, left_out=None) -> np.ndarray:
    """Logits [n, 3] of every view by a gate that heard nothing of its block, nor what `left_out` marks."""
    x, fold, logits = v.columns(inputs), folds(v, seed), np.zeros((len(v.clip), len(KINDS)))
    for held in range(FOLDS):
        known = fold != held if left_out is None else (fold != held) & ~left_out
        weights, bias = fit(x[known], v.kind[known], v.weight[known], penalty)
        logits[fold == held] = x[fold == held] @ weights.T + bias
    return logits


def log_odds(logits) -> np.ndarray:
    """log p(speech) - log(1 - p(speech))"""
    return logits[:, 0] - np.logaddexp(logits[:, 1], logits[:, 2])


def log_loss(v: Views, odds) -> float:
    return float(np.average(np.logaddexp(0, np.where(v.speech, -odds, odds)), weights=v.weight))


def temperature(v: Views, logits) -> float:
    """The divisor of held-out logits that makes p(speech) likeliest."""
    loss = lambda t: log_loss(v, log_odds(logits / t))  # noqa: E731
    return float(minimize_scalar(loss, bounds=(0.3, 5), method="bounded").x)


def strictest(v: Views, runs) -> float:
    """The highest threshold (log-odds) that loses, over all runs, at most LOST of every corpus's clips as the device cuts them."""
    limits = []
    for corpus in SPEECH:
        own = np.sort(np.concatenate([odds[(v.corpus == corpus) & (v.view == "device")] for odds in runs]))
        limits.append(own[int(LOST * len(own))])
    return float(min(limits))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# -- choosing and measuring --------------------------------------------------------------


def choose(data, work) -> None:
    """Compares inputs and penalties by held-out log loss over SEEDS; writes chosen.json."""
    v, tried = views(data, work), []
    for inputs in INPUTS:
        for penalty in PENALTIES:
            runs = [held_out(v, inputs, penalty, seed) for seed in SEEDS]
            tried.append(_outcome(v, inputs, penalty, runs))
            print(json.dumps(tried[-1]), flush=True)
    (Path(work) / "chosen.json").write_text(json.dumps({"tried": tried}, indent=1))


def _outcome(v: Views, inputs, penalty, runs) -> dict:
    divisor = float(np.mean([temperature(v, logits) for logits in runs]))
    odds = [log_odds(logits / divisor) for logits in runs]
    limit = strictest(v, odds)
    strict = ~v.speech & ~v.voices
    let = lambda marked: float(np.mean([np.mean(o[marked] >= limit) for o in odds]))  # noqa: E731
    return {
        "inputs": inputs,
        "penalty": penalty,
        "log_loss": float(np.mean([log_loss(v, o) for o in odds])),
        "temperature": divisor,
        "strictest_threshold": float(sigmoid(limit)),
        "let_through": let(strict & (v.view == "clean")),
        "let_through_device": let(strict & (v.view == "device")),
        "lost_in_noise": 1 - let(v.speech & (v.view == "noise")),
    }


def measure(data, work) -> None:
    """Everything that is said about the gate, on clips that it did not hear; gate.json."""
    v = views(data, work)
    runs = [held_out(v, SHIPPED["inputs"], SHIPPED["penalty"], seed) for seed in SEEDS]
    odds = np.array([log_odds(logits / SHIPPED["temperature"]) for logits in runs])
    passed = odds >= logit(SHIPPED["threshold"])
    figures = {
        "shipped": SHIPPED,
        "strictest_threshold": float(sigmoid(strictest(v, odds))),
        "calibration_error": [calibration_error(v, o) for o in odds],
        "speech_lost": _speech_lost(v, ~passed),
        "let_through": _let_through(v, passed),
        "corpus_left_out": {name: _left_out(v, v.corpus == name) for name in ("ravdess", "tess", "emodb", "plain")},
        "source_left_out": {name: _left_out(v, v.source == name) for name in PLAIN_SOURCES},
        "unknown_sounds": _unknown_sounds(v, odds[0]),
        "device": _device(data, work, v, passed),
    }
    text = json.dumps(figures, indent=1)
    (Path(work) / "gate.json").write_text(text + "\n")
    print(text)


def share(hits) -> dict:
    """Share of [seeds, n] hits with Wilson's 95% interval for n clips."""
    if hits.size == 0:
        return {"n": 0}
    n, p, z = hits.shape[-1], float(np.mean(hits)), 1.96
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    return {"share": round(p, 4), "ci95": [round(max(0.0, float(low)), 4), round(float(high), 4)], "n": n}


def logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


def calibration_error(v: Views, odds, bins: int = 10) -> float:
    """Expected calibration error of p(speech), views weighted as in training."""
    p = sigmoid(odds)
    place, error = np.minimum((p * bins).astype(int), bins - 1), 0.0
    for k in np.unique(place):
        own = place == k
        gap = np.average(p[own], weights=v.weight[own]) - np.average(v.speech[own], weights=v.weight[own])
        error += abs(gap) * v.weight[own].sum() / v.weight.sum()
    return round(float(error), 4)


def _speech_lost(v: Views, silenced) -> dict:
    table = {f"{c}, as cut by the device": share(silenced[:, (v.corpus == c) & (v.view == "device")]) for c in SPEECH}
    table["plain, whole"] = share(silenced[:, (v.corpus == "plain") & (v.view == "clean")])
    for view in sorted(set(gate_sounds.SPEECH_VIEWS)):
        table[view] = share(silenced[:, v.speech & (v.view == view)])
    for low, high in ((-5, 0), (0, 5), (5, 10), (10, 20)):
        table[f"noise of {low} to {high} dB"] = share(silenced[:, v.speech & (v.snr >= low) & (v.snr < high)])
    return table


def _let_through(v: Views, passed) -> dict:
    strict, table = ~v.speech & ~v.voices, {}
    for view in ("clean", "device", "window", "pair", "room", "far", "phone"):
        table[view] = share(passed[:, strict & (v.view == view)])
    for name, own in (("human", v.kind == 1), ("other", v.kind == 2), ("music", np.isin(v.what, sorted(gate_sounds.MUSIC)))):
        for view in ("clean", "device"):
            table[f"{name}, {view}"] = share(passed[:, strict & own & (v.view == view)])
    table["with voices, clean"] = share(passed[:, ~v.speech & v.voices & (v.view == "clean")])
    return table


def _common_sounds(v: Views) -> list[str]:
    rest = ~v.speech & (v.view == "clean")
    return [str(name) for name in np.unique(v.what[rest]) if np.sum(rest & (v.what == name)) >= 18]


def _left_out(v: Views, marked) -> dict:
    """What of the marked clips passes a gate that heard none of them: utterances as the device cuts them, and whole clips."""
    x = v.columns(SHIPPED["inputs"])
    weights, bias = fit(x[~marked], v.kind[~marked], v.weight[~marked], SHIPPED["penalty"])
    odds = log_odds((x[marked] @ weights.T + bias) / SHIPPED["temperature"])
    passed = (odds >= logit(SHIPPED["threshold"]))[None]
    return {f"passed, {view}": share(passed[:, v.view[marked] == view]) for view in ("device", "clean")}


def _unknown_sounds(v: Views, odds) -> dict:
    """Sounds of a class that training lacked: by class, and whether Mahalanobis' distance helps the gate.

    Both rules lose at most LOST of every corpus of speech: the gate alone with all of it, the pair with half
    for each. Limits come from the held-out `odds` of a gate that knows every class.
    """
    x, by_class = v.columns(SHIPPED["inputs"]), {}
    rules = {"gate alone": [], "and the distance to speech": [], "and the distance to the nearest kind": []}
    whole, half = _limit(v, odds, LOST), _limit(v, odds, LOST / 2)
    for name in _common_sounds(v):
        known = v.what != name
        weights, bias = fit(x[known], v.kind[known], v.weight[known], SHIPPED["penalty"])
        unseen = log_odds((x[~known] @ weights.T + bias) / SHIPPED["temperature"])
        own = v.view[~known] == "device"
        by_class[name] = share((unseen[own] >= logit(SHIPPED["threshold"]))[None])
        passed = {"gate alone": unseen[own] >= whole}
        for rule, far in zip(list(rules)[1:], distances(v, known)):
            passed[rule] = (unseen[own] >= half) & (-far[~known][own] >= _limit(v, -far, LOST / 2))
        if not v.voices[~known].any():
            for rule, hits in passed.items():
                rules[rule].append(hits)
    return {rule: share(np.concatenate(hits)[None]) for rule, hits in rules.items()} | {"by class": by_class}


def _limit(v: Views, score, lost: float) -> float:
    """The highest threshold that loses `lost` of every corpus's utterances at most."""
    limits = []
    for corpus in SPEECH:
        own = np.sort(score[(v.corpus == corpus) & (v.view == "device")])
        limits.append(own[int(lost * len(own))])
    return float(min(limits))


def distances(v: Views, known, shrink: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Squared Mahalanobis distance of every view to speech's mean and to the nearest kind's, of the known views."""
    x = v.sums["mean"].astype(np.float64)
    means = [np.average(x[known & (v.kind == k)], axis=0, weights=v.weight[known & (v.kind == k)]) for k in range(len(KINDS))]
    centred = x[known] - np.array(means)[v.kind[known]]
    covariance = (centred * v.weight[known, None]).T @ centred / v.weight[known].sum()
    covariance = (1 - shrink) * covariance + shrink * np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
    inverse = np.linalg.inv(covariance)
    squared = np.array([np.sum((x - mean) @ inverse * (x - mean), axis=1) for mean in means])
    return squared[0], squared.min(0)


def _device(data, work, v: Views, passed) -> dict:
    """Events of today's device on clips that are no speech, and which of them the gate silences."""
    found = gate_sounds.sounds(data, work)
    cuts = json.loads((Path(work) / "utterances.json").read_text())
    passing = {}  # clip -> [seeds, utterances]
    for i in np.flatnonzero((v.view == "device") & ~v.speech):
        passing.setdefault(int(v.clip[i]), []).append(passed[:, i])
    tables = {}
    for name, own in (
        ("no speech, no voices", lambda s: s.kind != "speech" and not s.voices),
        ("music, no voices", lambda s: s.what in gate_sounds.MUSIC and not s.voices),
        ("babble, singing, street music", lambda s: s.voices),
    ):
        chosen = [i for i, sound in enumerate(found) if own(sound)]
        minutes = sum(len(gate_sounds.load(found[i].path)) for i in chosen) / mel.RATE / 60
        before, after, clips = 0, np.zeros(len(SEEDS)), np.zeros((2, len(SEEDS), len(chosen)), bool)
        for place, i in enumerate(chosen):
            named = np.array([label in EMOTIONS for _, _, label, _ in cuts[i]], bool)
            if named.any():
                kept = np.array(passing[i]).T & named  # [seeds, utterances]
                before, after = before + named.sum(), after + kept.sum(1)
                clips[0, :, place], clips[1, :, place] = True, kept.any(1)
        tables[name] = {
            "minutes": round(minutes, 2),
            "emotions a minute without the gate": round(float(before / minutes), 2),
            "emotions a minute with it": [round(float(a / minutes), 3) for a in after],
            "clips named an emotion without it": share(clips[0]),
            "clips named an emotion with it": share(clips[1]),
        }
    return tables


# -- export -------------------------------------------------------------------------------


def export(data, work, out) -> None:
    """gate.onnx: `speech` [M, width], the encoder's `frames`, to `logits` [3] in the order of KINDS."""
    v = views(data, work)
    weights, bias = fit(v.columns(SHIPPED["inputs"]), v.kind, v.weight, SHIPPED["penalty"])
    g = Graph("gate", int8=False)
    rows = g.input("speech", ["M", v.sums["mean"].shape[1]])
    mean = g.op("ReduceMean", [rows], axes=[0], keepdims=1)
    g.output(g.op("Squeeze", [g.linear(mean, weights, bias), g.ints([0])]), "logits", [len(KINDS)])
    size = g.save(Path(out) / "gate.onnx")
    session = runtime.session(Path(out) / "gate.onnx")
    trial = np.random.default_rng(0).standard_normal((7, weights.shape[1]), dtype=np.float32)
    np.testing.assert_allclose(session.run(None, {"speech": trial})[0], trial.mean(0) @ weights.T + bias, rtol=1e-3, atol=1e-4)
    print(f"gate.onnx: {size} bytes")


STAGES = ("utterances", "features", "choose", "measure", "export")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=[*STAGES, "all"])
    parser.add_argument("--data", type=Path, required=True, help="folder with ravdess/, tess/, emodb/, nonspeech/")
    parser.add_argument("--work", type=Path, required=True, help="folder for caches")
    parser.add_argument("--encoder", type=Path, default=REPO / "models/emotion/speech.onnx")
    parser.add_argument("--binary", type=Path, default=REPO / "target/release/demeanor", help="cuts the utterances")
    parser.add_argument("--out", type=Path, default=REPO / "models/emotion", help="folder of the bundle")
    a = parser.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    run = {
        "utterances": lambda: utterances(a.data, a.work, a.binary),
        "features": lambda: features(a.data, a.work, a.encoder),
        "choose": lambda: choose(a.data, a.work),
        "measure": lambda: measure(a.data, a.work),
        "export": lambda: export(a.data, a.work, a.out),
    }
    for stage in STAGES if a.stage == "all" else [a.stage]:
        print(f"== {stage}", flush=True)
        run[stage]()


if __name__ == "__main__":
    main()
