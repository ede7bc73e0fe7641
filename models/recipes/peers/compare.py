"""Other runtimes and ours on the same models, in turns.

    compare.py --shapes DIR [--binary target/full/demeanor] [--threads 1|2] [--rounds R]
               [--level avx2] [--models DIR...] [--json OUT] [--markdown] [--agreement] [--rss]

Every engine holds every form of a shape in a process of its own; in each round each process
computes for a short while, one after the other, so that a slow moment of the machine hits all
alike. Per round the median run counts; the report gives the median of the rounds with their
spread, and ratios that are taken within rounds.
"""

import argparse
import functools
import importlib.metadata
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import onnx

HERE = Path(__file__).resolve().parent
PRUNE_AFTER, PRUNE_AT = 2, 1.5
# a turn in which the process waited for a core longer than this is taken again
DISTURBED, TURNS = 0.03, 4

# which forms each engine is tried with; what it cannot load is said in the report
INTEGER = ["dyn", "qlinear", "ortdyn", "qdq", "qdqw", "qdqfull"]
TRIES = {
    "demeanor": ["f32", "dyn", "qlinear"],
    "onnxruntime": ["f32", *INTEGER],
    "openvino": ["f32", "wq", "wq+dq", *INTEGER],
    "rten": ["f32", *INTEGER],
    "ncnn": ["f32", "bf16", "int8"],
    "tract": ["f32", "dyn", "qlinear", "ortdyn"],
}
OPTIONS = {
    # one scale for a whole row of activations instead of one per 32
    ("openvino", "wq+dq"): {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 2**31},
    ("ncnn", "bf16"): {"use_bf16_storage": True},
}
FLOATS = ("f32", "bf16")


# -- inputs ---------------------------------------------------------------------------------

def describe(file: Path, dims: dict) -> dict:
    """{input: (dtype, shape)} with symbolic sizes filled in."""
    found = {}
    for value in onnx.load(file, load_external_data=False).graph.input:
        kind = value.type.tensor_type
        shape = [dims[d.dim_param] if d.dim_param else d.dim_value for d in kind.shape.dim]
        found[value.name] = (np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), shape)
    return found


def write_inputs(file: Path, dims: dict, folder: Path, seed: int = 0, words: bool = False) -> dict:
    """{input: path.npy}; integers are i % 2, floats halved normal noise. Beside each lies its raw form.

    With `words`, ids are drawn from the vocabulary instead.
    """
    rng, paths = np.random.default_rng(seed), {}
    for name, (dtype, shape) in describe(file, dims).items():
        if words and name == "ids":
            array = rng.integers(1000, 30000, shape)
        elif dtype.kind == "i":
            array = (np.arange(np.prod(shape)) % 2).astype(dtype).reshape(shape)
        else:
            array = rng.standard_normal(shape, np.float32) * np.float32(0.5)
        paths[name] = str(folder / f"{name}.npy")
        np.save(paths[name], array)
        array.tofile(folder / f"{name}.raw")
    return paths


def rten_inputs(inputs: dict) -> list[str]:
    words = []
    for name, path in inputs.items():
        array = np.load(path)
        kind = "i64" if array.dtype == np.int64 else "f32"
        words.append(f"{name}:{kind}:{'x'.join(map(str, array.shape))}:{path.removesuffix('.npy')}.raw")
    return words


# -- engines --------------------------------------------------------------------------------

class Peer:
    """A process that holds one model (or several, for memory) and answers lines."""

    def __init__(self, command: list[str]):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.complaints = []
        threading.Thread(target=lambda: self.complaints.extend(self.process.stderr), daemon=True).start()
        self.start = self.read()

    def read(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            time.sleep(0.05)
            said = [c.strip() for c in self.complaints if c.strip()]
            raise RuntimeError(said[-1][:200] if said else f"ended with {self.process.returncode}")
        return json.loads(line)

    def ask(self, line: str) -> dict:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.read()

    def waited(self) -> int:
        """Nanoseconds that its threads were ready to run and had no core."""
        total = 0
        for stat in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            try:
                total += int(stat.read_text().split()[1])
            except OSError:  # a thread that has just ended
                continue
        return total

    def run(self, seconds: float) -> tuple[int, float]:
        """Median nanoseconds, and the share of the turn spent waiting for a core."""
        before, begun = self.waited(), time.perf_counter_ns()
        median = self.ask(f"run {seconds}")["median_ns"]
        return median, (self.waited() - before) / (time.perf_counter_ns() - begun)

    def output(self, file: Path) -> np.ndarray:
        self.ask(f"output {file}")
        return np.fromfile(file, np.float32)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait()


class Binary:
    """`demeanor bench`, one process a turn; with engine="tract" the stock engine."""

    def __init__(self, binary: Path, engine: str, threads: int, spec: dict):
        self.command = [str(binary), "bench", "--onnx", spec["file"], "--threads", str(threads), "--json"]
        self.command += [w for n, size in spec["dims"].items() for w in ("--dim", f"{n}={size}")]
        self.command += ["--engine", "tract"] if engine == "tract" else []
        self.inputs = [w for name, path in spec["inputs"].items() for w in ("--input", f"{name}={path}")]
        self.threads, self.start = threads, self.bench(0.05)

    def bench(self, seconds: float, *more: str) -> dict:
        done = subprocess.run([*self.command, "--seconds", str(seconds), *more], capture_output=True, text=True)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            raise RuntimeError(said[-1][:200] if said else f"ended with {done.returncode}")
        return json.loads(done.stdout)["models"][0]

    def run(self, seconds: float) -> tuple[int, float]:
        """As Peer.run; with one thread, what was neither computing nor asleep was waiting."""
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        median = self.bench(seconds)["median_ns"]
        after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begun
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return median, 1 - busy / wall if self.threads == 1 else 0.0

    def outputs(self, folder: Path) -> dict:
        self.bench(0.01, *self.inputs, "--output", str(folder))
        return {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}

    def close(self) -> None:
        pass


def command_of(engine: str, threads: int, specs: list[dict], rten: Path | None) -> list[str]:
    if engine == "rten":
        words = [[s["file"], *rten_inputs(s["inputs"])] for s in specs]
        joined = [w for i, group in enumerate(words) for w in ([";"] if i else []) + group]
        return [str(rten), str(threads), *joined]
    return [sys.executable, str(HERE / "worker.py"), engine, str(threads), *map(json.dumps, specs)]


@functools.cache
def build_rten() -> Path:
    """Builds the rten peer under the repository's target folder; says so when it cannot."""
    os.environ.setdefault("CARGO_TARGET_DIR", str(HERE.parents[2] / "target" / "peers"))
    done = subprocess.run(
        ["cargo", "build", "--release", "--locked", "--message-format=json", "--manifest-path", str(HERE / "rten/Cargo.toml")],
        capture_output=True, text=True,
    )
    made = [json.loads(line).get("executable") for line in done.stdout.splitlines() if line.startswith("{")]
    paths = [path for path in made if path]
    if not paths:
        raise RuntimeError("the rten peer does not build: " + done.stderr.strip()[-200:])
    return Path(paths[-1])


def ncnn_file(shapes: Path, shape: str, int8: bool) -> str:
    """FILE of FILE.param and FILE.bin, converted when missing or older than its source."""
    source = shapes / f"{shape}-batch.onnx"
    source = source if source.exists() else shapes / f"{shape}-f32.onnx"
    file = shapes / "ncnn" / shape
    for kind, made in (("f32", f"{file}.bin"), ("int8", f"{file}-int8.bin"))[: 1 + int8]:
        if not os.path.exists(made) or os.path.getmtime(made) < source.stat().st_mtime:
            command = [sys.executable, str(HERE / "ncnn_convert.py"), kind, str(source), str(file)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError((done.stderr.strip().splitlines() or ["the converter died"])[-1][:200])
    return f"{file}-int8" if int8 else str(file)


def spec_of(shapes: Path, shape: str, engine: str, form: str, dims: dict, inputs: dict) -> dict:
    if engine == "ncnn":
        file = ncnn_file(shapes, shape, form == "int8")
    else:
        file = str(shapes / f"{shape}-{form.split('+')[0]}.onnx")
    return {"file": file, "dims": dims, "inputs": inputs, "options": OPTIONS.get((engine, form), {})}


def start(args, engine: str, shape: str, form: str, dims: dict, inputs: dict):
    spec = spec_of(args.shapes, shape, engine, form, dims, inputs)
    if engine in ("demeanor", "tract"):
        return Binary(args.binary, engine, args.threads, spec)
    return Peer(command_of(engine, args.threads, [spec], build_rten() if engine == "rten" else None))


def is_there(args, engine: str, shape: str, form: str, forms: list[str]) -> bool:
    if engine in ("demeanor", "tract"):
        return args.binary is not None and form in forms
    if engine == "ncnn":
        return "batch" in forms or shape == "mobilenet"
    return form.split("+")[0] in forms


# -- rounds ---------------------------------------------------------------------------------

def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    if a.size != b.size:
        return float("nan")
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))


def open_all(args, shape: str, entry: dict, folder: Path) -> tuple[dict, dict]:
    """({(engine, form): peer}, {(engine, form): why it cannot})."""
    dims, peers, failures = entry["dims"], {}, {}
    inputs = write_inputs(args.shapes / f"{shape}-{entry['forms'][0]}.onnx", dims, folder)
    for engine in args.engines:
        for form in TRIES[engine]:
            if not is_there(args, engine, shape, form, entry["forms"]):
                continue
            try:
                peers[engine, form] = start(args, engine, shape, form, dims, inputs)
                peers[engine, form].run(0.1)
            except (RuntimeError, OSError, ImportError, ValueError, KeyError) as why:
                peers.pop((engine, form), None)
                failures[engine, form] = str(why)
    return peers, failures


def likeness(peers: dict, folder: Path) -> dict:
    """Cosine of each peer's first output to onnxruntime's f32."""
    outputs = {k: p.output(folder / "out.raw") for k, p in peers.items() if isinstance(p, Peer)}
    reference = outputs.get(("onnxruntime", "f32"))
    return {} if reference is None else {k: cosine(v, reference) for k, v in outputs.items()}


def best_form(times: dict, engine: str, integer: bool):
    """The engine's fastest form so far, by the median of its rounds; None if it has none."""
    mine = [k for k in times if k[0] == engine and times[k] and (k[1] not in FLOATS) == integer]
    return min(mine, key=lambda k: statistics.median(times[k]), default=None)


def prune(times: dict, peers: dict) -> None:
    """Forms far slower than their engine's best cost time and decide nothing.

    Judged by the fastest round: a disturbed one must not throw the best form out.
    """
    groups = {}
    for engine, form in peers:
        groups.setdefault((engine, form in FLOATS), []).append((engine, form))
    for keys in groups.values():
        best = min(min(times[key]) for key in keys)
        for key in [key for key in keys if min(times[key]) > PRUNE_AT * best]:
            peers.pop(key).close()


def turn(peer, seconds: float) -> tuple[float, bool]:
    """Milliseconds of the least disturbed try, and whether even that was disturbed."""
    tries = []
    while not tries or (tries[-1][0] > DISTURBED and len(tries) < TURNS):
        median, waited = peer.run(seconds)
        tries.append((waited, median / 1e6))
        time.sleep(0.05)  # some thread pools spin on for a while
    waited, best = min(tries)
    return best, waited > DISTURBED


def rounds(args, peers: dict) -> tuple[dict, int]:
    """({(engine, form): [median ms of each round]}, disturbed turns); the order turns by one each round."""
    times, disturbed = {key: [] for key in peers}, 0
    for number in range(args.rounds):
        order = list(peers)
        order = order[number % len(order):] + order[: number % len(order)]
        for key in order:
            best, bad = turn(peers[key], args.seconds)
            times[key].append(best)
            disturbed += bad
        if number + 1 == PRUNE_AFTER:
            prune(times, peers)
    return times, disturbed


def compare_shape(args, shape: str, entry: dict) -> dict:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peers, failures = open_all(args, shape, entry, folder)
        opened = dict(peers)
        try:
            alike = likeness(peers, folder)
            starts = {key: peer.start for key, peer in peers.items()}
            times, disturbed = rounds(args, peers)
        finally:
            for peer in opened.values():
                peer.close()
    return {"times": times, "starts": starts, "alike": alike, "failures": failures, "disturbed": disturbed}


# -- agreement, memory ------------------------------------------------------------------------

def difference(a: np.ndarray, b: np.ndarray) -> dict:
    return {"cosine": cosine(a, b), "max": float(np.abs(a.astype(np.float64) - b).max()), "peak": float(np.abs(b).max())}


def ort_outputs(file: Path, inputs: dict) -> dict:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {n: np.load(p) for n, p in inputs.items()})))


def agreement(args, shape: str, entry: dict) -> dict:
    """{form: {output: difference}} of ours against onnxruntime on the same integer file."""
    found = {}
    for form in [f for f in ("dyn", "qlinear") if f in entry["forms"]]:
        file = args.shapes / f"{shape}-{form}.onnx"
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "out"
            folder.mkdir()
            inputs = write_inputs(file, entry["dims"], Path(name), seed=1, words=True)
            spec = {"file": str(file), "dims": entry["dims"], "inputs": inputs}
            ours, theirs = Binary(args.binary, "demeanor", args.threads, spec).outputs(folder), ort_outputs(file, inputs)
            found[form] = {n: difference(ours[n], theirs[n]) for n in theirs}
    return found


def watch_peak(command: list[str]) -> int:
    """VmHWM in kB of a process that ends by itself, read until it does."""
    process, peak = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), 0
    while process.poll() is None:
        try:
            text = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        peak = max([peak] + [int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM")])
        time.sleep(0.002)
    if process.wait():
        raise RuntimeError(f"ended with {process.returncode}")
    return peak


def memory_specs(args, engine: str, entries: dict, folder: Path) -> list[dict]:
    """The public shapes' integer files: the same for all, but openvino and rten read no QLinearConv with
    one scale per channel, and ncnn has its own."""
    specs = []
    for shape, form in (("minilm", "dyn"), ("mobilenet", "qlinear"), ("speech", "dyn"), ("fusion", "dyn")):
        form = "qdq" if form == "qlinear" and engine in ("openvino", "rten") else form
        form = "int8" if engine == "ncnn" else form
        own = folder / shape
        own.mkdir(exist_ok=True)
        inputs = write_inputs(args.shapes / f"{shape}-f32.onnx", entries[shape]["dims"], own)
        specs.append(spec_of(args.shapes, shape, engine, form, entries[shape]["dims"], inputs))
    return specs


def peak_of(args, engine: str, specs: list[dict]) -> int:
    if engine in ("demeanor", "tract"):
        command = [str(args.binary), "bench", "--threads", str(args.threads), "--json", "--seconds", "0.2"]
        command += [w for s in specs for w in ("--onnx", s["file"])]
        command += [w for s in specs for n, size in s["dims"].items() for w in ("--dim", f"{n}={size}")]
        return watch_peak(command + (["--engine", "tract"] if engine == "tract" else []))
    peer = Peer(command_of(engine, args.threads, specs, build_rten() if engine == "rten" else None))
    peak = peer.ask("rss")["rss_kb"]
    peer.close()
    return peak


def memory(args, entries: dict) -> dict:
    """{engine: {"kb", "bare_kb"}}: all four shapes loaded and run once; bare is without any model."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for engine in args.engines:
            if engine in ("demeanor", "tract") and args.binary is None:
                continue
            try:
                found[engine] = {"kb": peak_of(args, engine, memory_specs(args, engine, entries, Path(folder)))}
                if engine in ("onnxruntime", "openvino", "ncnn"):
                    found[engine]["bare_kb"] = peak_of(args, engine, [])
            except (RuntimeError, OSError, ImportError) as why:
                found[engine] = {"failed": str(why)}
    return found


# -- report -----------------------------------------------------------------------------------

def spread(values: list[float], digits: int = 2) -> str:
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def milliseconds(values: list[float]) -> str:
    return spread(values, 3 if statistics.median(values) < 1 else 2)


def ratios(theirs: list[float], ours: list[float]) -> list[float]:
    return [a / b for a, b in zip(theirs, ours)]


def rows_of(result: dict, engines: list[str]) -> list[list[str]]:
    times, rows = result["times"], []
    ours = best_form(times, "demeanor", True)
    for engine in engines:
        best, floats = best_form(times, engine, True), best_form(times, engine, False)
        if not (best or floats):
            continue
        shown = best or floats
        ratio = spread(ratios(times[shown], times[ours])) if ours and engine != "demeanor" else "-"
        alike = result["alike"].get(shown)
        rows.append([
            engine,
            f"{milliseconds(times[best])} {best[1]}" if best else "-",
            f"{milliseconds(times[floats])} {floats[1]}" if floats else "-",
            ratio,
            "-" if alike is None else f"{alike:.4f}",
        ])
    return rows


def fastest_peer(times: dict):
    peers = [best_form(times, engine, True) for engine in TRIES if engine not in ("demeanor", "tract")]
    return min([p for p in peers if p], key=lambda k: statistics.median(times[k]), default=None)


def table(head: list[str], rows: list[list[str]], markdown: bool) -> str:
    if markdown:
        lines = ["| " + " | ".join(r) + " |" for r in (head, ["---"] * len(head), *rows)]
    else:
        widths = [max(len(r[i]) for r in (head, *rows)) for i in range(len(head))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip() for r in (head, *rows)]
    return "\n".join(lines)


def print_shape(args, shape: str, result: dict) -> None:
    head = ["engine", "int8 ms [rounds]", "float ms [rounds]", "x ours [rounds]", "cosine to f32"]
    print(f"\n### {shape}, {args.threads} thread{'s' if args.threads > 1 else ''}\n")
    print(table(head, rows_of(result, args.engines), args.markdown), flush=True)
    first, ours = fastest_peer(result["times"]), best_form(result["times"], "demeanor", True)
    if first:
        ratio = f", {spread(ratios(result['times'][first], result['times'][ours]))} x ours" if ours else ""
        print(f"\nfastest peer: {first[0]} {first[1]}{ratio}", flush=True)
    if result["disturbed"]:
        print(f"{result['disturbed']} turns were disturbed by other processes even when taken again", flush=True)
    for (engine, form), why in result["failures"].items():
        print(f"not run: {engine} {form}: {why}", flush=True)


def print_loads(args, results: dict, entries: dict) -> None:
    """Load and first run of the larger integer files, per 10 MB of file."""
    rows = []
    for shape, result in results.items():
        for (engine, form), begun in result["starts"].items():
            best = best_form(result["times"], engine, True)
            if engine != "ncnn" and (engine, form) == best and "load_ms" in begun:
                size = (args.shapes / f"{shape}-{form.split('+')[0]}.onnx").stat().st_size / 1e7
                first = begun.get("first_ms", float("nan"))
                rows.append([shape, engine, form, f"{begun['load_ms']:.1f}", f"{begun['load_ms'] / size:.1f}", f"{first:.2f}"])
    print("\n### load\n")
    print(table(["shape", "engine", "form", "load ms", "per 10 MB", "first run ms"], rows, args.markdown), flush=True)


def print_agreement(args, found: dict) -> None:
    rows = [[s, f, o, f"{d['cosine']:.6f}", f"{d['max']:.5f}", f"{d['peak']:.3f}"]
            for s, forms in found.items() for f, outs in forms.items() for o, d in outs.items()]
    print("\n### ours against onnxruntime on the same file\n")
    print(table(["shape", "form", "output", "cosine", "max difference", "peak value"], rows, args.markdown), flush=True)


def print_memory(args, found: dict) -> None:
    rows = [[e, v.get("failed") or f"{v['kb'] / 1024:.0f}", f"{v['bare_kb'] / 1024:.0f}" if "bare_kb" in v else "-"]
            for e, v in found.items()]
    print("\n### peak memory, four public shapes loaded and run\n")
    print(table(["engine", "MB", "of it without a model"], rows, args.markdown), flush=True)


def plain(value):
    """Keys of two parts joined, for JSON."""
    if isinstance(value, dict):
        return {"/".join(k) if isinstance(k, tuple) else k: plain(v) for k, v in value.items()}
    return value


def versions() -> dict:
    found = {}
    for package in ("onnxruntime", "openvino", "ncnn", "pnnx", "onnx", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


# -- all --------------------------------------------------------------------------------------

def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shapes", type=Path, required=True, help="what shapes.py wrote")
    parser.add_argument("--binary", type=Path, help="demeanor; without it only the peers are compared")
    parser.add_argument("--models", type=Path, nargs="*", default=[], help="bundles whose encoders are compared too")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each engine's turn")
    parser.add_argument("--level", choices=["avx2", "avx-vnni", "avx512-vnni"], help="hold every engine to it: see hold.c")
    parser.add_argument("--only", nargs="*", help="shapes")
    parser.add_argument("--engines", nargs="*", default=list(TRIES), choices=list(TRIES))
    parser.add_argument("--forms", nargs="*", help="of ours, instead of f32, dyn and qlinear")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--agreement", action="store_true", help="ours against onnxruntime; needs --binary")
    parser.add_argument("--rss", action="store_true", help="peak memory too")
    args = parser.parse_args()
    args.shapes = args.shapes.resolve()
    if args.binary:
        args.binary = args.binary.resolve(strict=True)
    if args.forms:
        TRIES["demeanor"] = args.forms
    return args


def entries_of(args) -> dict:
    entries = json.loads((args.shapes / "shapes.json").read_text())
    if args.models:
        from shapes import write_shipped

        for folder in args.models:
            entries |= write_shipped(folder, args.shapes)
    return {s: e for s, e in entries.items() if not args.only or s in args.only}


def hold(level: str) -> None:
    """What is started from here on believes that the CPU has no more than `level`."""
    library = HERE.parents[2] / "target" / "peers" / "hold.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "hold.c"], check=True)
    os.environ |= {"HOLD": level, "LD_PRELOAD": str(library), "DEMEANOR_ISA": level}


def main() -> None:
    args = arguments()
    entries = entries_of(args)
    if "rten" in args.engines:
        build_rten()
    if args.level:
        hold(args.level)
    # every engine inherits this: the last cores, as the first one serves interrupts
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-args.threads:])
    held = f" held to {args.level}" if args.level else ""
    print(f"{processor()}{held}, {args.threads} of {os.cpu_count()} cores, {args.rounds} rounds of {args.seconds} s;", end=" ")
    print(", ".join(f"{k} {v}" for k, v in versions().items()), flush=True)
    results, report = {}, {"processor": processor(), "level": args.level, "versions": versions(), "threads": args.threads}
    for shape, entry in entries.items():
        results[shape] = compare_shape(args, shape, entry)
        print_shape(args, shape, results[shape])
    print_loads(args, results, entries)
    report["shapes"] = plain(results)
    if args.agreement and args.binary:
        report["agreement"] = {shape: agreement(args, shape, entry) for shape, entry in entries.items()}
        print_agreement(args, report["agreement"])
    if args.rss:
        report["memory"] = memory(args, json.loads((args.shapes / "shapes.json").read_text()))
        print_memory(args, report["memory"])
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
