"""How far a voice is from those that the speech encoder learnt from: what drift is told by.

    python models/recipes/emotion/distance.py STAGE --data DIR --work DIR

A Gaussian of the mean rows of the acted clips: the KEPT directions in which they vary most, and one spread for all
others. The distance is the logarithm of the squared Mahalanobis distance a dimension. Stages:
  rows      mean rows of every clip, and of every eighth as a telephone brings it
  measure   the range of voices that the Gaussian never saw, and what disturbs it: by speaker, five folds
  told      how often drift is told, and how soon, of voices unlike and like those of a calibration
  export    speech-distance.onnx: `speech` [M, width] to `distance` [1], before its logarithm
"""

import argparse
import random
import sys
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

sys.path.append(str(Path(__file__).resolve().parents[1]))  # modules that all recipes share

from common import audio, runtime  # noqa: E402
from common.onnx_graph import Graph  # noqa: E402
from emotion import gate, gate_sounds  # noqa: E402

KEPT = 32  # of the rows' 192 directions
FOLDS = 5
ROUNDS = 200
MEMORY, BEYOND, FIRST = 50, 4.0, 20  # as in src/decision/drift.rs
TELEPHONE = 8  # every so many clips are sampled at 8 kHz, too
PERSON = 10  # answers in a row that the runtime takes to be about one person (src/decision/drift.rs)


def rows(data, work, encoder_path) -> None:
    """distances.npz: of every view its clip's corpus and speaker, its name and its mean row."""
    path = Path(work) / "distances.npz"
    if path.exists():
        return
    encoder = gate.Encoder(encoder_path)
    table = {name: [] for name in ("corpus", "speaker", "view", "mean")}
    spoken = [s for s in gate_sounds.sounds(data, work) if s.kind == "speech"]
    for number, sound in enumerate(spoken):
        wave = audio.trim(gate_sounds.load(sound.path))[: gate_sounds.LONGEST]
        views = {"clean": wave}
        if number % TELEPHONE == 0:
            views["telephone"] = resample_poly(resample_poly(wave, 1, 2), 2, 1)
        for view, heard in views.items():
            mean = encoder(heard.astype(np.float32))[0].mean(0)
            for column, value in zip(table.values(), (sound.corpus if sound.acted else "plain", sound.group, view, mean)):
                column.append(value)
    np.savez(path, **{name: np.array(column) for name, column in table.items()})


class Gaussian:
    """`measure(x)` is log((x - mean)' C^-1 (x - mean) / width); C has KEPT directions and one spread for the rest."""

    def __init__(self, x):
        x = x.astype(np.float64)
        self.mean = x.mean(0)
        spreads, directions = np.linalg.eigh(np.cov(x.T))
        kept, rest = spreads[-KEPT:], spreads[:-KEPT].mean()
        # C^-1 = (1 - U U') / rest, U the kept directions by what their spread takes away
        self.rest, self.taken = rest, directions[:, -KEPT:] * np.sqrt(1 - rest / kept)

    def measure(self, x):
        z = x - self.mean
        squared = (np.sum(z**2, axis=1) - np.sum((z @ self.taken) ** 2, axis=1)) / self.rest
        return np.log(squared / x.shape[1])


def measure(data, work) -> dict:
    """The range that the manifest carries, printed with what other voices are like."""
    table = np.load(Path(work) / "distances.npz")
    corpus, speaker, view, x = (table[name] for name in ("corpus", "speaker", "view", "mean"))
    acted, clean = corpus != "plain", view == "clean"
    people = sorted(set(zip(corpus[acted], speaker[acted])))
    fold = np.array([people.index((c, s)) % FOLDS if c != "plain" else -1 for c, s in zip(corpus, speaker)])
    distance = Gaussian(x[acted & clean]).measure(x)  # plain talk was never learnt from
    for k in range(FOLDS):
        held = fold == k
        distance[held] = Gaussian(x[acted & clean & ~held]).measure(x[held])
    batches = []
    for name in sorted(set(corpus)):
        for disturbed in ("clean", "telephone"):
            own = (corpus == name) & (view == disturbed)
            print(f"{name}, {disturbed}: n = {own.sum()}, {distance[own].mean():.3f} +- {distance[own].std():.3f}")
        own = np.flatnonzero((corpus == name) & clean)
        # clips stand in the order of their speakers, so that ten in a row are mostly one person's
        own = own[np.argsort(speaker[own], kind="stable")]
        batches += [distance[own[i : i + PERSON]] for i in range(0, len(own) - PERSON + 1, PERSON)]
    # the spread of what ten average to holds people and corpora
    means, within = np.array([b.mean() for b in batches]), np.mean([b.var(ddof=1) for b in batches])
    found = {
        "mean": round(float(means.mean()), 4),
        "within": round(float(np.sqrt(within)), 4),
        "between": round(float(np.sqrt(max(0, means.var(ddof=1) - within / PERSON))), 4),
        "answers": len(batches) * PERSON,
    }
    print("range", found)
    return found


def told(data, work) -> None:
    """Half of RAVDESS's speakers calibrate, with 100, 300 and 600 answers; others follow, ten clips of a person in a row."""
    table = np.load(Path(work) / "distances.npz")
    corpus, speaker, view, x = (table[name] for name in ("corpus", "speaker", "view", "mean"))
    clean, ravdess = view == "clean", corpus == "ravdess"
    distance = Gaussian(x[(corpus != "plain") & clean]).measure(x)
    people = sorted(set(speaker[ravdess]))
    for size in (100, 300, 600):
        counts = {}
        for seed in range(ROUNDS):
            rng = random.Random(seed)
            known = np.isin(speaker, rng.sample(people, len(people) // 2))
            usual = _usual(distance[_turns(ravdess & clean & known, speaker, rng)[:size]])
            for name, marked in (
                ("other speakers", ravdess & clean & ~known),
                ("the same as a telephone brings them", ravdess & ~clean & ~known),
                ("EmoDB", (corpus == "emodb") & clean),
                ("plain talk", (corpus == "plain") & clean),
            ):
                numbers = distance[_turns(marked, speaker, rng)]
                counts.setdefault(name, []).append((len(numbers), _drifts(usual, numbers)))
        for name, runs in counts.items():
            first = [after[0] for _, after in runs if after]
            answers, alarms = sum(n for n, _ in runs), sum(len(after) for _, after in runs)
            soon = f", first after {np.median(first):.0f} answers (median)" if first else ""
            print(f"{size}, {name}: {alarms} in {answers} answers; {len(first)} of {ROUNDS} runs{soon}")


def _turns(marked, speaker, rng) -> list[int]:
    of = {}
    for i in rng.sample(list(np.flatnonzero(marked)), int(marked.sum())):
        of.setdefault(speaker[i], []).append(i)
    turns = [own[i : i + PERSON] for own in of.values() for i in range(0, len(own), PERSON)]
    return [i for turn in rng.sample(turns, len(turns)) for i in turn]


def _usual(numbers) -> tuple[float, float, float, int]:
    """The twin of `Tally::usual`."""
    full = np.array(numbers[: len(numbers) // PERSON * PERSON]).reshape(-1, PERSON)
    means, within = full.mean(1), full.var(1, ddof=1).mean()
    return means.mean(), within, max(0, means.var(ddof=1) - within / PERSON), full.size


def _drifts(usual, numbers) -> list[int]:
    """The twin of `Watch`: answers after which drift is told."""
    mean, within, between, known = usual
    freedom, z, keep = known / PERSON - 1, BEYOND, np.exp(-1 / MEMORY)
    far = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    weights = squares = total = 0.0
    has_drifted, found = False, []
    for count, number in enumerate(numbers, 1):
        weights, squares, total = keep * weights + 1, keep**2 * squares + 1, keep * total + number
        variance = between * (1 + PERSON / known) + within * (squares / weights**2 + 1 / known)
        off = abs(total / weights - mean) / (far * np.sqrt(variance))
        if count >= FIRST and not has_drifted and off > 1:
            has_drifted = True
            found.append(count)
        elif has_drifted and off < 0.5:
            has_drifted = False
    return found


def export(data, work, out) -> None:
    table = np.load(Path(work) / "distances.npz")
    known = (table["corpus"] != "plain") & (table["view"] == "clean")
    gaussian = Gaussian(table["mean"][known])
    width = len(gaussian.mean)
    g = Graph("speech-distance", int8=False)
    given = g.input("speech", ["M", width])
    mean = g.op("ReduceMean", [given], axes=[0], keepdims=1)
    z = g.add(mean, g.f32(-gaussian.mean[None]))
    taken = g.linear(z, gaussian.taken.T, None)
    total = [g.op("ReduceSum", [g.mul(v, v), g.ints([1])], keepdims=0) for v in (z, taken)]
    squared = g.mul(g.op("Sub", total), g.f32(np.array([1 / gaussian.rest / width])))
    # its logarithm is taken by the head that reads it
    g.output(squared, "distance", [1])
    path = Path(out) / "speech-distance.onnx"
    print(f"speech-distance.onnx: {g.save(path)} bytes")
    session = runtime.session(path)
    for x in table["mean"][::300]:
        told = session.run(None, {"speech": np.stack([x, x])})[0]
        np.testing.assert_allclose(np.log(told), gaussian.measure(x[None]), rtol=1e-3, atol=1e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["rows", "measure", "told", "export", "all"])
    parser.add_argument("--data", type=Path, required=True, help="folder with ravdess/, tess/, emodb/, nonspeech/")
    parser.add_argument("--work", type=Path, required=True, help="folder for caches")
    parser.add_argument("--encoder", type=Path, default=gate.REPO / "models/emotion/speech.onnx")
    parser.add_argument("--out", type=Path, default=gate.REPO / "models/emotion", help="folder of the bundle")
    a = parser.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    if a.stage in ("rows", "all"):
        rows(a.data, a.work, a.encoder)
    if a.stage in ("measure", "all"):
        measure(a.data, a.work)
    if a.stage in ("told", "all"):
        told(a.data, a.work)
    if a.stage in ("export", "all"):
        export(a.data, a.work, a.out)


if __name__ == "__main__":
    main()
