"""Times the kernels of the catalogue beside ONNX Runtime and tract, on the functions' bodies.

    python models/recipes/catalogue/compare.py [--only REGEX] [--rounds 5] [--json FILE]

Rounds alternate: the program measures its kernel and tract on the body (interleaved within
the round), then ONNX Runtime runs the same function at the same sizes on one thread. Ratios
are taken within a round and their median is printed, so whatever else the machine does meets
both. ONNX Runtime is called from Python; the time of an empty call of it is taken off.

Needs: numpy, onnx, onnxruntime.
"""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from registry import OPSET, ROOT, cases


def session(model) -> onnxruntime.InferenceSession:
    """As users run it: exact byte products (`common/runtime.py`) take it longer where a processor lacks VNNI."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def empty() -> onnxruntime.InferenceSession:
    """A model that does nothing, for the price of a call."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "empty", [x], [y])
    return session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8))


def timed(run, seconds: float) -> float:
    """Median nanoseconds of a call."""
    run()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times)


def ours(binary: Path, name: str, seconds: float) -> dict:
    """What the program measures, by sizes."""
    command = [binary, "bench", "--fusion", "--operator", name, "--seconds", seconds, "--json"]
    printed = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    found = [row for row in json.loads(printed.stdout)["operators"] if row["function"] == name]
    return {row["sizes"]: row for row in found}


def compare(binary: Path, only: str, rounds: int, seconds: float) -> list[dict]:
    grouped = {}
    for case in cases(binary, lambda operator: operator["usual"], 1, only):
        grouped.setdefault(case.name, []).append(case)
    nothing, x = empty(), {"x": np.zeros((1, 8), np.float32)}
    rows = []
    for name, found in grouped.items():
        sessions = [session(case.model) for case in found]
        measured = [[] for _ in found]
        for _ in range(rounds):
            by_sizes = list(ours(binary, name, seconds).values())
            call = timed(lambda: nothing.run(None, x), seconds / 4)
            for case, s, row, into in zip(found, sessions, by_sizes, measured, strict=True):
                theirs = timed(lambda: s.run(None, case.inputs), seconds)
                into.append((row, max(theirs - call, 1.0)))
        for case, into in zip(found, measured, strict=True):
            row = into[0][0]
            median = statistics.median
            rows.append({
                "function": name,
                "sizes": row["sizes"],
                "kernel_us": median(r["kernel_ns"] for r, _ in into) / 1e3,
                "tract_us": median(r["tract_ns"] for r, _ in into) / 1e3,
                "ort_us": median(t for _, t in into) / 1e3,
                "faster_than_tract": median(r["tract_by_kernel"] for r, _ in into),
                "faster_than_ort": median(t / r["kernel_ns"] for r, t in into),
                "share_of_peak_macs": median(r["share_of_peak_macs"] for r, _ in into),
                "share_of_read_rate": median(r["share_of_read_rate"] for r, _ in into),
            })
            show(rows[-1])
    return rows


def show(row: dict) -> None:
    times = " ".join(f"{row[key]:>9.2f}" for key in ("kernel_us", "tract_us", "ort_us"))
    ratios = f"{row['faster_than_tract']:>7.1f}x {row['faster_than_ort']:>7.1f}x"
    print(f"{row['function']:<34} {row['sizes']:<26} {times} {ratios}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/full/demeanor")
    parser.add_argument("--only", default="", help="functions whose name this matches")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each measurement")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(f"{'':<34} {'':<26} {'kernel µs':>9} {'tract µs':>9} {'ORT µs':>9} {'tract':>8} {'ORT':>8}")
    rows = compare(args.binary, args.only, args.rounds, args.seconds)
    for engine in ("tract", "ort"):
        slower = [row for row in rows if row[f"faster_than_{engine}"] < 1.0]
        print(f"slower than {engine}: {', '.join(r['function'] + ' ' + r['sizes'] for r in slower) or 'none'}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
