"""The bundle `whisper-tiny-en`: files, and the manifest that says how they are read."""

import hashlib
from pathlib import Path

import soundfile

from common import manifest, mel, whisper
from common.stages import REPO
from recognition import evened, graphs

VERSION = "1.0.0"
SOUND = REPO / "tests/data/sample.wav"  # where activations are loud
NAME = "whisper-tiny-en"
# of the published weights; other bytes are another model
WEIGHTS = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
DATA = [("Whisper tiny.en (weights; 680,000 hours of speech from the web, not published)", "MIT")]
MAX_SECONDS = 29  # Whisper's positions end after 30 s, and a second of silence is put behind the sound
PAD_SECONDS = 1.0
# what a guard does is told in src/session/recogniser/mod.rs; how the figures were found, on the card
NO_SPEECH_ABOVE = 0.6
STOP_ABOVE = 0.2
TOKENS_PER_SECOND, TOKENS_MORE = 6.0, 4
UNSURE_BELOW = 0.4


def frequent(count: int) -> list[int]:
    """The tokens that a smaller vocabulary keeps, in their order.

    A token's number is the rank of its merge, so the first ones are the most frequent, and together
    they spell every word: one that is cut off is said in pieces.
    """
    told = transcript()
    special = sorted({told["end"], told["no_speech"], *told["start"]})
    return [*range(count - len(special)), *special]


def write(out: Path, int8: bool = True, kept: list[int] | None = None) -> dict[str, int]:
    """encoder.onnx, decoder.onnx and vocab.txt, of all tokens or those kept; sizes in bytes."""
    out.mkdir(parents=True, exist_ok=True)
    blob = whisper.checkpoint("tiny.en")
    if hashlib.sha256(blob).hexdigest() != WEIGHTS:
        raise SystemExit("the package holds other weights; install the version that weights.txt pins")
    encoder, decoder = whisper.tensors(blob, "encoder/"), whisper.tensors(blob, "decoder/")
    if int8:
        wave, rate = soundfile.read(SOUND, dtype="float32")
        assert rate == mel.RATE
        evened.even_out(encoder, decoder, wave[: 7 * rate], transcript()["start"])
    tokens = whisper.vocabulary()
    if kept:
        tokens = [tokens[i] for i in kept]
        decoder["embeddings/weight"] = decoder["embeddings/weight"][kept]
    (out / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return {
        "encoder.onnx": graphs.encoder(encoder, decoder, int8).save(out / "encoder.onnx"),
        "decoder.onnx": graphs.decoder(decoder, int8).save(out / "decoder.onnx"),
        "vocab.txt": (out / "vocab.txt").stat().st_size,
    }


def transcript(kept: list[int] | None = None) -> dict:
    """What the manifest says of decoding; tokens by their place among those kept."""
    tokens, told = whisper.vocabulary(), whisper.settings()
    places = {token: at for at, token in enumerate(kept or range(len(tokens)))}
    end = tokens.index("<|endoftext|>")
    suppressed = lambda ids: [places[token] for token in ids if token < end and token in places]
    place = lambda name: places[tokens.index(name)]
    return {
        "encoder": "encoder.onnx",
        "decoder": "decoder.onnx",
        "vocab": "vocab.txt",
        "max_seconds": float(MAX_SECONDS),
        "pad_seconds": PAD_SECONDS,
        "start": [place("<|startoftranscript|>"), place("<|notimestamps|>")],
        "end": places[end],
        "no_speech": place("<|nocaptions|>"),
        "text_tokens": places[end],
        "suppress": suppressed(told["suppress_ids"]),
        "suppress_first": suppressed(told["suppress_ids_begin"]),
        "no_speech_above": NO_SPEECH_ABOVE,
        "stop_above": STOP_ABOVE,
        "tokens_per_second": TOKENS_PER_SECOND,
        "tokens_more": TOKENS_MORE,
    }


def write_manifest(out: Path, int8: bool = True, metrics=(), kept: list[int] | None = None) -> None:
    about = {
        "id": NAME + ("-small" if kept else ""),
        "task": "recognition",
        "version": VERSION,
        "summary": "What is said in English, in words: Whisper tiny.en at the utterance's own length",
        "licence": "MIT",
        "on_request": True,
        "labels": [],
        "transcript": transcript(kept),
        "decision": {"unsure_below": UNSURE_BELOW, "smooth": False},
    }
    precision = "int8" if int8 else "f32"
    files = [("encoder.onnx", precision), ("decoder.onnx", precision), ("vocab.txt", "none")]
    manifest.write(out, about, files, metrics=metrics, data=DATA)
