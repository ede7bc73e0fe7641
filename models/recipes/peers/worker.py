"""One Python runtime in one process: loads models, then answers lines with JSON lines.

    worker.py ENGINE THREADS SPEC...

Every SPEC is JSON: {"file", "dims": {name: size}, "inputs": {name: path.npy}, "options": {}}.
`run SECONDS` times the first model, `output FILE` writes its first output as raw f32, `rss`
says VmHWM. The rten peer (rten/src/main.rs) speaks the same lines.
"""

import json
import sys
import time

import numpy as np


class Ort:
    """Inputs and outputs are bound once, so a call costs Python little."""

    def __init__(self, spec: dict, threads: int):
        import onnxruntime as ort

        ort.set_default_logger_severity(4)
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        for name, size in spec["dims"].items():
            options.add_free_dimension_override_by_name(name, size)
        self.session = ort.InferenceSession(spec["file"], options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        for name, path in spec["inputs"].items():
            self.binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(np.load(path)))
        for output in self.session.get_outputs():
            self.binding.bind_output(output.name)

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def output(self):
        return self.binding.copy_outputs_to_cpu()[0]


class OpenVino:
    """Latency hint, shapes made static; precision is the plugin's own choice (bf16 where there is)."""

    def __init__(self, spec: dict, threads: int):
        import openvino as ov

        core = ov.Core()
        model = core.read_model(spec["file"])
        arrays = {name: np.load(path) for name, path in spec["inputs"].items()}
        model.reshape({name: list(array.shape) for name, array in arrays.items()})
        config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
        self.request = core.compile_model(model, "CPU", config | spec.get("options", {})).create_infer_request()
        for name, array in arrays.items():
            self.request.set_tensor(name, ov.Tensor(array))

    def run(self):
        self.request.infer()

    def output(self):
        return self.request.get_output_tensor(0).data


class Ncnn:
    """FILE.param and FILE.bin, written by pnnx; inputs and outputs are in0, in1, ..., out0."""

    def __init__(self, spec: dict, threads: int):
        import ncnn

        self.net = ncnn.Net()
        self.net.opt.num_threads = threads
        for name, value in spec.get("options", {}).items():
            setattr(self.net.opt, name, value)
        if self.net.load_param(spec["file"] + ".param") or self.net.load_model(spec["file"] + ".bin"):
            raise RuntimeError("ncnn does not load this file")
        arrays = [np.load(path) for path in spec["inputs"].values()]
        arrays = [a.astype(np.int32) if a.dtype == np.int64 else a[0] if a.ndim == 4 else a for a in arrays]
        self.inputs = [ncnn.Mat(a).clone() for a in arrays]

    def run(self):
        with self.net.create_extractor() as extractor:
            for i, value in enumerate(self.inputs):
                extractor.input(f"in{i}", value)
            code, self.result = extractor.extract("out0")
        if code:
            raise RuntimeError(f"ncnn answers {code}")

    def output(self):
        return np.array(self.result)


ENGINES = {"onnxruntime": Ort, "openvino": OpenVino, "ncnn": Ncnn}


def measure(model, seconds: float) -> dict:
    taken, end = [], time.perf_counter() + seconds
    while len(taken) < 3 or time.perf_counter() < end:
        start = time.perf_counter_ns()
        model.run()
        taken.append(time.perf_counter_ns() - start)
    return {"median_ns": int(np.median(taken)), "runs": len(taken)}


def peak_kb() -> int:
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])


def answer(model, line: str) -> dict:
    command, _, argument = line.strip().partition(" ")
    if command == "run":
        return measure(model, float(argument))
    if command == "output":
        model.run()
        np.ascontiguousarray(model.output(), np.float32).tofile(argument)
        return {}
    return {"rss_kb": peak_kb()}


def main() -> None:
    engine, threads, models = ENGINES[sys.argv[1]], int(sys.argv[2]), []
    __import__(sys.argv[1])  # not a part of loading a model
    load_ms = first_ms = 0.0
    for spec in map(json.loads, sys.argv[3:]):
        start = time.perf_counter()
        models.append(engine(spec, threads))
        loaded = time.perf_counter()
        models[-1].run()
        load_ms, first_ms = (loaded - start) * 1e3, (time.perf_counter() - loaded) * 1e3
    print(json.dumps({"load_ms": load_ms, "first_ms": first_ms}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(models and models[0], line)), flush=True)


if __name__ == "__main__":
    main()
