"""Checks the kernels of the catalogue against ONNX Runtime, which runs the functions' bodies.

    python models/recipes/catalogue/export.py --binary target/release/demeanor
        writes tests/data/catalogue: a small file of every function, its inputs, and ONNX
        Runtime's outputs; `cargo test` holds the kernels to them
    python models/recipes/catalogue/export.py --check
        compares live, at the sizes of heads too, and writes nothing

Needs: numpy, onnx, onnxruntime.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from registry import ROOT, Case, cases

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common.runtime import session  # noqa: E402

# small, and no multiple of any register
SMALL = dict(n=2, m=9, p=13, q=10, c=5, h=7, r=4, d=16, e=12, b=24)
# a code next to a rounding edge may fall on either side
BOUNDS = {False: 2e-5, True: 0.02}


def runtime(case: Case) -> list[np.ndarray]:
    """ONNX Runtime's outputs, of the body."""
    return session(case.model).run(None, case.inputs)


def kernels(binary: Path, case: Case) -> list[np.ndarray]:
    """Our outputs, of the call, through the program."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        onnx.save(case.model, folder / "model.onnx")
        given = []
        for name, array in case.inputs.items():
            np.save(folder / f"in_{name}.npy", array)
            given += ["--input", f"{name}={folder}/in_{name}.npy"]
        command = [binary, "bench", "--onnx", folder / "model.onnx", "--seconds", "0.001", "--output", folder, *given]
        subprocess.run([str(part) for part in command], check=True, capture_output=True)
        return [np.load(folder / f"{output.name}.npy") for output in case.model.graph.output]


def off(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference as a share of the largest value, of 1 at least."""
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    return float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max()))


def check(binary: Path, only: str) -> bool:
    good = True
    for sizes_of in (lambda _: [SMALL], lambda operator: operator["usual"]):
        for case in cases(binary, sizes_of, 1, only):
            pairs = zip(kernels(binary, case), runtime(case), strict=True)
            worst = max(off(ours, theirs) for ours, theirs in pairs if ours.size)
            within = worst <= BOUNDS[case.name.endswith("Int8")]
            good &= within
            sizes = " ".join(f"{letter}={size}" for letter, size in case.sizes.items())
            print(f"{'ok ' if within else 'OFF'} {case.name:<36} {worst:.1e}  {sizes}", flush=True)
    return good


def write(binary: Path, folder: Path) -> None:
    """A small file of every function, with inputs and ONNX Runtime's outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*"):
        old.unlink()
    for case in cases(binary, lambda _: [SMALL], 2):
        onnx.save(case.model, folder / f"{case.name}.onnx")
        outputs = zip(case.model.graph.output, runtime(case), strict=True)
        entry = {
            "inputs": {name: listed(array) for name, array in case.inputs.items()},
            "outputs": {output.name: listed(array) for output, array in outputs},
        }
        text = json.dumps(entry, separators=(",", ":"))
        (folder / f"{case.name}.json").write_text(text + "\n", encoding="utf-8")
    total = sum(path.stat().st_size for path in folder.glob("*"))
    print(f"{len(list(folder.glob('*.onnx')))} functions, {total / 1e3:.0f} kB in {folder}")


def listed(array: np.ndarray) -> dict:
    return {"dims": list(array.shape), "values": [float(f"{v:.9g}") for v in array.ravel()]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/demeanor")
    parser.add_argument("--out", type=Path, default=ROOT / "tests/data/catalogue")
    parser.add_argument("--check", action="store_true", help="compare live, write nothing")
    parser.add_argument("--only", default="", help="functions whose name this matches")
    args = parser.parse_args()
    if args.check:
        sys.exit(0 if check(args.binary, args.only) else 1)
    write(args.binary, args.out)


if __name__ == "__main__":
    main()
