"""Speech corpora: which clips there are, how they are decoded, trimmed and disturbed."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import fftconvolve, firwin2, resample_poly

from common.mel import RATE

CLASSES = ["angry", "happy", "sad", "neutral"]  # the order of every logits vector
EMOTIONS = CLASSES + ["fearful", "disgust", "surprised", "bored"]  # auxiliary task only
CORPORA = ["ravdess", "tess", "emodb"]
TESS_PER_CELL = 70  # of 200 words a speaker and emotion: two voices must not outweigh twenty
MARGIN = 0.3  # seconds of silence the run time keeps on either side
FOLDS = 5


@dataclass(frozen=True)
class Clip:
    id: str
    corpus: str
    speaker: str
    emotion: str  # one of EMOTIONS
    label: str  # as published
    text: str
    path: Path


def clips(data) -> list[Clip]:
    """Every clip the recipe uses, in a fixed order (TESS thinned)."""
    found = []
    for corpus in CORPORA:
        folder = Path(data) / corpus
        with open(folder / "all.csv", newline="") as table:
            rows = sorted(csv.DictReader(table), key=lambda row: row["id"])
        for row in _thin(rows) if corpus == "tess" else rows:
            emotion = "neutral" if row["label"] == "calm" else row["label"]
            path = (folder / row["audio"]).resolve()
            found.append(Clip(row["id"], corpus, row["speaker"], emotion, row["label"], row["text"], path))
    return found


def _thin(rows):
    """The same number of evenly spread clips of each (speaker, emotion)."""
    cells = {}
    for row in rows:
        cells.setdefault((row["speaker"], row["label"]), []).append(row)
    return [cell[i * len(cell) // TESS_PER_CELL] for cell in cells.values() for i in range(TESS_PER_CELL)]


def groups(found: list[Clip]) -> np.ndarray:
    """Place of the speaker among its corpus's sorted speakers, modulo 5."""
    places = {c: sorted({clip.speaker for clip in found if clip.corpus == c}) for c in CORPORA}
    return np.array([places[clip.corpus].index(clip.speaker) % FOLDS for clip in found])


def fold_of(found: list[Clip]) -> np.ndarray:
    """RAVDESS's groups are the folds; other corpora are always trained on (-1)."""
    return np.where([clip.corpus == "ravdess" for clip in found], groups(found), -1)


def load(path) -> np.ndarray:
    """16 kHz mono f32; a file that is neither is refused, never resampled on the quiet."""
    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != RATE or wave.shape[1] != 1:
        raise ValueError(f"{path}: {rate} Hz, {wave.shape[1]} channels; 16 kHz mono is needed, convert it first")
    return wave[:, 0]


def speech_span(wave: np.ndarray) -> tuple[int, int]:
    """Samples from the first to the last 20 ms that comes within 35 dB of the loudest."""
    step = RATE // 50
    energy = np.add.reduceat(wave.astype(np.float64) ** 2, np.arange(0, len(wave), step))
    active = np.flatnonzero(energy >= energy.max() * 10**-3.5)
    return active[0] * step, min(len(wave), (active[-1] + 1) * step)


def trim(wave: np.ndarray, before: float = MARGIN, after: float = MARGIN) -> np.ndarray:
    """Cuts silence down to the margins (seconds), as the run time's VAD does."""
    start, end = speech_span(wave)
    return wave[max(0, start - int(before * RATE)) : end + int(after * RATE)]


def augment(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A disturbed copy: what a board's microphone and room, and a jumpy VAD, would add."""
    wave = trim(wave, rng.uniform(0, 0.6), rng.uniform(0, 0.6))
    if rng.random() < 0.6:
        wave = resample_poly(wave, 100, int(rng.integers(90, 112)))
    if rng.random() < 0.5:
        wave = _room(wave, rng)
    if rng.random() < 0.6:
        wave = _microphone(wave, rng)
    if rng.random() < 0.7:
        wave = wave + _noise(len(wave), rng) * _rms(wave) * 10 ** (-rng.uniform(5, 35) / 20)
    if rng.random() < 0.15:
        limit = np.abs(wave).max() * rng.uniform(0.3, 0.8)
        wave = np.clip(wave, -limit, limit)
    if rng.random() < 0.25:
        wave = _narrow(wave, rng)
    return wave.astype(np.float32)


def _rms(wave):
    return float(np.sqrt(np.mean(wave**2)) + 1e-9)


def _room(wave, rng):
    """Exponentially decaying noise as impulse response, RT60 0.15-0.7 s."""
    t = np.arange(int(0.4 * RATE)) / RATE
    tail = rng.standard_normal(len(t)) * 10 ** (-3 * t / rng.uniform(0.15, 0.7))
    tail[: int(0.002 * RATE)] = 0
    tail *= rng.uniform(0.2, 1.0) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return fftconvolve(wave, tail)[: len(wave)]


def _microphone(wave, rng):
    """A smooth random response, +-8 dB at seven points from 0 to 8 kHz."""
    points = np.array([0, 150, 500, 1200, 2500, 5000, RATE / 2])
    taps = firwin2(129, points, 10 ** (rng.uniform(-8, 8, len(points)) / 20), fs=RATE)
    return fftconvolve(wave, taps, mode="same")


def _narrow(wave, rng):
    """Nothing above 3 to 7 kHz: telephones, cheap codecs, corpora that were resampled."""
    edge = rng.uniform(3000, 7000)
    taps = firwin2(129, [0, edge, edge * 1.1, RATE / 2], [1, 1, 0, 0], fs=RATE)
    return fftconvolve(wave, taps, mode="same")


def _noise(length, rng):
    """Unit-power noise between white and brown."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1) ** -rng.uniform(0, 1)
    noise = np.fft.irfft(spectrum, length)
    return noise / _rms(noise)
