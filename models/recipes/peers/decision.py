"""One decision about a picture with its words, from JPEG bytes: ours and ONNX Runtime, in turns.

    decision.py --pictures DIR [--binary target/release/demeanor] [--rounds 7] [--tokens 24]

Both run the three shipped files (models/emotion/text.onnx, models/sentiment/image.onnx,
models/sentiment/fusion.onnx) on one thread. ONNX Runtime gets its pixels from Pillow
(libjpeg-turbo; the same antialiased resampling), ours from what `demeanor analyze` reports for
the same folder. Per round the medians of each stage count and are summed; the report gives the
median of the rounds with their spread, and ratios taken within rounds.
"""

import argparse
import io
import json
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

MODELS = Path(__file__).resolve().parents[2]
FILES = {
    "text": MODELS / "emotion/text.onnx",
    "image": MODELS / "sentiment/image.onnx",
    "fusion": MODELS / "sentiment/fusion.onnx",
}
STAGES = ["decode", "resize", "image", "text", "fusion"]


def side() -> int:
    (value,) = (i for i in session(FILES["image"]).get_inputs() if i.name == "pixels")
    return value.shape[1]


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def noise(value, tokens: int, rng) -> np.ndarray:
    shape = [d if isinstance(d, int) else tokens for d in value.shape]
    return {
        "tensor(uint8)": lambda: rng.integers(0, 256, shape, np.uint8),
        "tensor(int64)": lambda: rng.integers(0, 2, shape, np.int64),
        "tensor(float)": lambda: rng.standard_normal(shape, np.float32),
    }[value.type]()


def median_ms(work, seconds: float = 0.5) -> float:
    spent, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(spent) < 5:
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return 1e3 * statistics.median(spent)


class OnnxRuntime:
    def __init__(self, pictures: list[bytes], tokens: int):
        self.pictures, self.side, rng = pictures, side(), np.random.default_rng(1)
        self.runs = {}
        for stage, path in FILES.items():
            model = session(path)
            fed = {i.name: noise(i, tokens, rng) for i in model.get_inputs()}
            self.runs[stage] = lambda model=model, fed=fed: model.run(None, fed)

    def round(self) -> dict:
        decoded, resized = [], []
        for data in self.pictures:
            start = time.perf_counter()
            picture = Image.open(io.BytesIO(data)).convert("RGB")
            middle = time.perf_counter()
            np.asarray(picture.resize((self.side, self.side), Image.BILINEAR))
            decoded.append(middle - start)
            resized.append(time.perf_counter() - middle)
        found = {"decode": 1e3 * statistics.median(decoded), "resize": 1e3 * statistics.median(resized)}
        return found | {stage: median_ms(run) for stage, run in self.runs.items()}


class Ours:
    def __init__(self, binary: str, folder: Path, tokens: int):
        self.binary, self.folder, self.tokens = binary, folder, tokens

    def call(self, *words) -> str:
        return subprocess.run([self.binary, *map(str, words)], check=True, capture_output=True, text=True).stdout

    def round(self) -> dict:
        lines = self.call("analyze", self.folder, "--tasks", "sentiment", "--json").splitlines()
        spent = [json.loads(line)["latency_ms"] for line in lines]
        found = {stage: statistics.median(s[stage] for s in spent) for stage in ("decode", "resize")}
        for stage, path in FILES.items():
            dims = [f"--dim={name}={self.tokens}" for name in ("n", "N")]
            report = json.loads(self.call("bench", "--onnx", path, *dims, "--seconds", 0.5, "--json"))
            found[stage] = report["models"][0]["median_ns"] / 1e6
        return found


def line(name: str, values: list[float]) -> str:
    return f"{name:<8} {statistics.median(values):7.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--binary", default="target/release/demeanor")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=24)
    asked = parser.parse_args()
    pictures = [p.read_bytes() for p in sorted(asked.pictures.glob("*.jpg"))]
    ours = Ours(asked.binary, asked.pictures, asked.tokens)
    theirs = OnnxRuntime(pictures, asked.tokens)
    rounds = [(ours.round(), theirs.round()) for _ in range(asked.rounds)]
    print(f"{len(pictures)} pictures, {asked.tokens} tokens, one thread, {asked.rounds} rounds; ms")
    for stage in STAGES + ["all"]:
        of = (lambda r: sum(r.values())) if stage == "all" else (lambda r: r[stage])
        pairs = [(of(a), of(b)) for a, b in rounds]
        ratio = [b / a for a, b in pairs]
        print(line(stage, [a for a, _ in pairs]), line("onnxruntime", [b for _, b in pairs]), line("ratio", ratio), sep="   ")


if __name__ == "__main__":
    main()
