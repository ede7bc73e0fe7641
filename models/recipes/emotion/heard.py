"""Texts as a recogniser writes them: spoken by a synthesiser, disturbed as rooms and microphones do, written down.

No set here has emotional speech with its transcript, and typed dialogue has marks that no recogniser is sure of. So
MELD's utterances and a part of GoEmotions are spoken by espeak-ng and recognised by the bundle that ships
(`run.py recognition`), whose mistakes are those that a board makes. Words alone: a synthesiser's voice says
nothing of the emotion.

    write(data, work, binary, recogniser)   work/text/heard, {text: what was heard}; resumable
    read(work)                              all of it; empty words where nothing was understood
"""

import json
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from common import audio
from common.mel import RATE
from emotion import text_data as td
from recognition.sentences import espeak

# Train texts are spoken by the first two; those that measure by the third, close to the microphone.
VOICES, STRANGER = ("en-us", "en-gb+f3"), "en-gb-x-rp+m7"
DISTURBED = 0.67  # share of the train texts that are spoken in a room, with noise, over some microphone
GOEMOTIONS = 5000
CHUNK = 200
ESPEAK_RATE = 22050


def folder(work: Path) -> Path:
    path = Path(work) / "text/heard"
    path.mkdir(parents=True, exist_ok=True)
    return path


def texts(root: Path) -> list[tuple[str, tuple[str, ...]]]:
    """(text, voices to choose from), each text once; MELD's whole dialogues, since history is heard as well."""
    learnt = dict.fromkeys(td.utterances(root, "train"))
    measured = dict.fromkeys([*td.utterances(root, "dev"), *filter(td.is_put_by, learnt)])
    others = [item.text for item in td.training_items(root) if item.source == "goemotions"]
    learnt |= dict.fromkeys(sorted(others, key=lambda t: zlib.crc32(t.encode()))[:GOEMOTIONS])
    return [(t, (STRANGER,)) for t in measured] + [(t, VOICES) for t in learnt if t not in measured]


def spoken(text: str, voices: tuple[str, ...]) -> np.ndarray:
    """16 kHz mono."""
    digest = zlib.crc32(text.encode())
    rng = np.random.default_rng(digest)
    said = espeak(text, voices[digest % len(voices)], int(rng.integers(140, 185)), "--stdout")
    # a pipe's header does not know how much follows it
    wave = np.frombuffer(said[44:], np.int16).astype(np.float32) / 32768
    wave = resample_poly(wave, RATE, ESPEAK_RATE).astype(np.float32)
    if len(wave) < RATE // 4 or not np.abs(wave).max():
        return np.zeros(RATE, np.float32)
    return audio.augment(wave, rng) if voices == VOICES and rng.random() < DISTURBED else wave


def recognised(waves: list[np.ndarray], binary: Path, recogniser: Path) -> list[str]:
    """What `demeanor transcribe` writes of each, utterances joined; what it doubts is left out."""
    with tempfile.TemporaryDirectory() as place:
        names = [f"{i}.wav" for i in range(len(waves))]
        for name, wave in zip(names, waves):
            soundfile.write(Path(place) / name, np.clip(wave, -1, 1), RATE, subtype="PCM_16")
        command = [binary.resolve(), "transcribe", "--json", "--recogniser", recogniser.resolve(), *names]
        ran = subprocess.run(command, cwd=place, capture_output=True, text=True)
    if ran.returncode not in (0, 1):
        raise SystemExit(ran.stderr)
    found = {name: [] for name in names}
    for line in map(json.loads, ran.stdout.splitlines()):
        if line["verdict"] == "words":
            found[line["source"]].append(line["text"])
    return [" ".join(found[name]) for name in names]


def write(data: Path, work: Path, binary: Path, recogniser: Path) -> None:
    wanted = texts(td.unpack(data, work))
    for start in range(0, len(wanted), CHUNK):
        part, file = wanted[start : start + CHUNK], folder(work) / f"{start:06}.json"
        if not file.exists():
            words = recognised([spoken(*each) for each in part], binary, recogniser)
            file.write_text(json.dumps({text: heard for (text, _), heard in zip(part, words)}, ensure_ascii=False))
            print(f"heard {start + len(part)} of {len(wanted)}", flush=True)


def read(work: Path) -> dict[str, str]:
    table = {}
    for file in sorted(folder(work).glob("*.json")):
        table |= json.loads(file.read_text())
    if not table:
        raise SystemExit(f"{folder(work)} is empty: run `run.py emotion heard` first")
    return table


def as_heard(item: td.Item, table: dict[str, str]) -> td.Item:
    """The item in recognised words, its history too; what nobody spoke or nothing understood loses its marks."""
    return item._replace(text=table.get(item.text) or td.bare(item.text), history=[table.get(t) or td.bare(t) for t in item.history])
