"""What the gate is trained on: acted and plain speech and what is neither, each disturbed in several ways.

A *view* is one sound as a microphone may bring it. Every sound belongs to a block, and a view mixes sounds
of one block alone, so that folds made of whole blocks share no speaker, no source and no background noise.
"""

import csv
import tarfile
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import av
import numpy as np
import soundfile
from scipy.signal import fftconvolve, resample_poly

from common import audio
from common.mel import RATE

KINDS = ["speech", "human", "other"]  # the order of the gate's logits
BLOCKS = 10
LONGEST = 8 * RATE  # the run time cuts longer utterances
SHORTEST = int(0.85 * RATE)  # its least utterance: 0.25 s of voice and both margins
HUMAN = {"baby_cry", "cough", "person_sneeze", "laugh", "yawn", "singing", "crowd_babble", "children_playing"}
MUSIC = {"music", "instrument", "instrument_fx", "drum_loop", "ringtone", "street_music"}
NOISES = ("babble", "music", "sounds")
TALKERS = 5  # in the babble that speech is mixed with
SPEECH_VIEWS = ("room", "noise", "noise", "short", "short_noise", "far", "phone")
OTHER_VIEWS = ("window", "window", "pair", "room", "far", "phone")
DRAWN = {True: 1, False: 3}  # disturbed views of an acted clip, and of any other
DISTURBED = int(3.5 * RATE)  # of which no more than this is taken: longer ones say nothing new


@dataclass(frozen=True)
class Sound:
    id: str
    corpus: str
    group: str  # the speaker, or the recording that a clip was cut from
    kind: str  # one of KINDS
    what: str  # the emotion of acted speech, else the class of sound
    voices: bool  # somebody may speak or sing in it, although it is filed as no speech
    block: int
    path: Path

    @property
    def acted(self) -> bool:
        return self.corpus in audio.CORPORA


def sounds(data, work) -> list[Sound]:
    """Every clip, acted speech first, in a fixed order."""
    return _acted(data) + _recorded(Path(data) / "nonspeech", Path(work) / "nonspeech")


def _acted(data):
    found = audio.clips(data)
    places = {c: sorted({clip.speaker for clip in found if clip.corpus == c}) for c in audio.CORPORA}
    made = []
    for clip in found:
        block = places[clip.corpus].index(clip.speaker) % BLOCKS
        made.append(Sound(clip.id, clip.corpus, clip.speaker, "speech", clip.emotion, False, block, clip.path))
    return made


def _recorded(data: Path, work: Path):
    if not work.exists():
        with tarfile.open(data / "clips.tar") as packed:
            packed.extractall(work, filter="data")
    with open(data / "labels.csv", newline="") as table:
        rows = sorted(csv.DictReader(table), key=lambda row: row["id"])
    made = []
    for row in rows:
        kind = "speech" if row["speech"] == "1" else "human" if row["class"] in HUMAN else "other"
        path, block = work / row["audio"], crc32(row["source"].encode()) % BLOCKS
        corpus = row["audio"].split("/")[0]
        made.append(Sound(row["id"], corpus, row["source"], kind, row["class"], row["voices"] == "1", block, path))
    return made


def load(path) -> np.ndarray:
    """As `audio.load`; some Ogg files whose packets span pages are too much for libsndfile, not for FFmpeg."""
    try:
        return audio.load(path)
    except soundfile.LibsndfileError:
        with av.open(str(path)) as file:
            frames = [frame.to_ndarray()[0] for frame in file.decode(audio=0)]
        return resample_poly(np.concatenate(frames), RATE, 48_000)  # Opus decodes at 48 kHz


class Studio:
    """Makes views; holds the plain clips in memory, because they are also the noise of others."""

    def __init__(self, found: list[Sound]):
        self.waves = {s.id: load(s.path) for s in found if not s.acted}
        self.plain = self._by_block(s for s in found if s.kind == "speech" and not s.acted)
        rest = [s for s in found if s.kind != "speech"]
        self.rest = self._by_block(rest)
        self.music = self._by_block(s for s in rest if s.what in MUSIC)

    @staticmethod
    def _by_block(chosen):
        chosen = list(chosen)
        return [[s for s in chosen if s.block == block] for block in range(BLOCKS)]

    def views(self, sound: Sound):
        """(name, SNR or nan, wave) of the clip as published and of its disturbed copies."""
        rng = np.random.default_rng(crc32(sound.id.encode()))
        wave = self.waves[sound.id] if sound.id in self.waves else load(sound.path)
        if not sound.acted:  # which the device cuts just so
            yield "clean", np.nan, audio.trim(wave)[:LONGEST]
        names = SPEECH_VIEWS if sound.kind == "speech" else OTHER_VIEWS
        for name in rng.choice(names, DRAWN[sound.acted], replace=False):
            start = rng.integers(max(1, len(wave) - DISTURBED))
            snr, made = getattr(self, f"_{name}")(sound, wave[start : start + DISTURBED], rng)
            yield str(name), snr, made.astype(np.float32)

    # -- views ----------------------------------------------------------------------

    def _room(self, sound, wave, rng):
        return np.nan, audio.augment(wave, rng)

    def _noise(self, sound, wave, rng):
        return self._noisy(sound, audio.trim(wave), rng)

    def _noisy(self, sound, wave, rng):
        snr = rng.uniform(-5, 20)
        noise = self.background(sound, len(wave), rng)
        return snr, mix(wave, noise, snr)

    def _short(self, sound, wave, rng):
        return np.nan, _piece(wave, rng, 0.5, 2.0)

    def _short_noise(self, sound, wave, rng):
        return self._noisy(sound, _piece(wave, rng, 0.5, 2.0), rng)

    def _far(self, sound, wave, rng):
        """Across a room: more echo than direct sound, low in the microphone's own noise."""
        wave = _echo(audio.trim(wave), rng)
        hiss = rng.standard_normal(len(wave)) * np.sqrt(np.mean(wave**2))
        return np.nan, mix(wave, hiss, rng.uniform(10, 30))

    def _phone(self, sound, wave, rng):
        """Sampled at 8 kHz: nothing above 4 kHz, in half of the cases nothing below 300 Hz."""
        wave = audio.trim(wave)
        if rng.random() < 0.5:
            spectrum = np.fft.rfft(wave)
            spectrum[: int(300 * len(wave) / RATE)] = 0
            wave = np.fft.irfft(spectrum, len(wave))
        return np.nan, resample_poly(resample_poly(wave, 1, 2), 2, 1)

    def _window(self, sound, wave, rng):
        """A stretch as a mistaken voice detector cuts it."""
        size = int(np.clip(rng.uniform(0.5, 1.1) * len(wave), SHORTEST, LONGEST))
        start = rng.integers(0, max(1, len(wave) - size))
        return np.nan, wave[start : start + size]

    def _pair(self, sound, wave, rng):
        """Two sounds at once, still no speech."""
        return np.nan, mix(wave, _fitted(self._wave(self.rest[sound.block], rng), len(wave), rng), rng.uniform(-6, 12))

    def background(self, sound, length, rng):
        """Babble of other talkers, music, or another sound, of the same block."""
        kind = rng.choice(NOISES)
        if kind == "babble":
            others = [s for s in self.plain[sound.block] if s.group != sound.group]
            talkers = [_fitted(self._wave(others, rng), length, rng) for _ in range(TALKERS)]
            return sum(t / (np.sqrt(np.mean(t**2)) + 1e-9) for t in talkers)
        return _fitted(self._wave((self.music if kind == "music" else self.rest)[sound.block], rng), length, rng)

    def _wave(self, chosen, rng):
        return self.waves[chosen[rng.integers(len(chosen))].id]


def mix(wave, noise, snr: float):
    """The wave with noise `snr` dB below it, both by their mean power."""
    power = np.mean(wave**2) / (np.mean(noise**2) + 1e-12)
    return wave + noise * np.sqrt(power) * 10 ** (-snr / 20)


def _fitted(wave, length, rng):
    """`length` samples from anywhere in the wave, repeated where it is too short."""
    return np.resize(np.roll(wave, -rng.integers(len(wave))), length)


def _piece(wave, rng, least, most):
    """A stretch of `least` to `most` seconds from within what was said."""
    start, end = audio.speech_span(wave)
    size = min(int(rng.uniform(least, most) * RATE), end - start)
    at = start + rng.integers(0, end - start - size + 1)
    return wave[at : at + size]


def _echo(wave, rng):
    """Exponentially decaying noise, RT60 0.4 to 1.2 s, 0 to 9 dB above the direct sound."""
    t = np.arange(int(0.8 * RATE)) / RATE
    tail = rng.standard_normal(len(t)) * 10 ** (-3 * t / rng.uniform(0.4, 1.2))
    tail *= 10 ** (rng.uniform(0, 9) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] += 1.0
    return fftconvolve(wave, tail)[: len(wave)]
