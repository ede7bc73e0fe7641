"""The entities bundle (MNER-QG): names in words, beside what a picture shows; reads the shared text trunk.

Stages:
  export    the reader that the trunk's training made, as the bundle, and a check against ONNX Runtime

`--work` is the folder where the trunk was trained (trunk-0.pt); `--models` holds the sarcasm
bundle, whose text trunk and picture words this one borrows.
"""

import numpy as np
import torch

from common.stages import Places
from entities import bundle
from trunk import model as tm

WORST = 0.05


def reader(at: Places) -> tm.Reader:
    state = torch.load(at.work / "trunk-0.pt", map_location="cpu")
    made = tm.Reader()
    made.load_state_dict({name.removeprefix("reader."): x for name, x in state.items() if name.startswith("reader.")})
    return made.float().eval()


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
    trained, path = reader(at), at.out / "reader.onnx"
    size = bundle.write_reader(trained, path)
    worst = bundle.check(trained, path, drawn())
    print(f"reader.onnx, {size / 1e3:.0f} kB: probabilities within {worst:.4f} of torch's", flush=True)
    if worst > WORST:
        raise SystemExit("that is more than bytes explain")
    bundle.write_manifest(at.out, at.models)


STAGES = {"export": export}
