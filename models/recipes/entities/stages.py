"""The entities bundle (MNER-QG): names in words, beside what a picture shows; reads the shared text trunk.

Stages:
  ladder    the head gone on with on rows of the trunk as it ships, three seeds, and the ablations
  export    the reader as the bundle, and a check against ONNX Runtime
  card      manifest and card, from what `demeanor eval` measures on both valid parts

`--work` is the folder where the trunk was trained (trunk-0.pt); `--models` holds the sarcasm
bundle, whose text trunk and picture words this one borrows.
"""

import numpy as np
import torch

from common.stages import Places
from entities import bundle, ladder
from trunk import model as tm

DATA = "folder with text.tar.xz and picture_words/"
WORST = 0.05


def joint(at: Places) -> dict:
    """Weights of the head that was trained with the trunk."""
    state = torch.load(at.work / "trunk-0.pt", map_location="cpu")
    return {name.removeprefix("reader."): x for name, x in state.items() if name.startswith("reader.")}


def run_ladder(at: Places) -> None:
    if not (at.work / "entities-ladder.json").exists():
        ladder.run(at.data, at.work, at.models / "sarcasm/text.onnx", joint(at))


def drawn(count: int = 24) -> list[tuple[np.ndarray, np.ndarray]]:
    """Token rows as a layer norm leaves them, and rows of length 1; some pictures have none."""
    rng = np.random.default_rng(0)
    cases = []
    for i in range(count):
        pictures = rng.standard_normal((i % 6, tm.DIM)).astype(np.float32)
        pictures /= np.maximum(np.linalg.norm(pictures, axis=1, keepdims=True), 1e-9)
        cases.append((rng.standard_normal((3 + 2 * i, tm.DIM)).astype(np.float32), pictures))
    return cases


def export(at: Places) -> None:
    at.out.mkdir(parents=True, exist_ok=True)
    trained, path = ladder.reader(at.work, ladder.SHIPPED_SEED, joint(at)), at.out / "reader.onnx"
    size = bundle.write_reader(trained, path)
    worst = bundle.check(trained, path, drawn())
    print(f"reader.onnx, {size / 1e3:.0f} kB: probabilities within {worst:.4f} of torch's", flush=True)
    if worst > WORST:
        raise SystemExit("that is more than bytes explain")
    bundle.write_manifest(at.out, at.models)


STAGES = {"ladder": run_ladder, "export": export}
