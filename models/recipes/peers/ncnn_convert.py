"""ncnn's two files from an ONNX file: pnnx converts, and the int8 form is written here.

    ncnn_convert.py f32 SOURCE.onnx FILE      writes FILE.param, FILE.bin
    ncnn_convert.py int8 SOURCE.onnx FILE     reads them, writes FILE-int8.param, FILE-int8.bin

The ncnn package has no quantiser in it, so `quantise` does what ncnn2int8 does. Weights of
convolutions and inner products become int8 with one scale per output, and each of them gets
a scale of its input, the peak seen on a few random inputs (127 / peak). Weights of a Gemm
have one scale; it quantises its input itself, row by row.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

INT8_TAG = np.uint32(0x000D4B38)
MAGIC = "7767517"


def describe(source: Path) -> dict:
    """{input: (dtype, shape)}; all sizes are fixed, the first is 1."""
    kinds = {value.name: value.type.tensor_type for value in onnx.load(source).graph.input}
    return {
        name: (np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), [d.dim_value for d in kind.shape.dim])
        for name, kind in kinds.items()
    }


def convert(source: Path, inputs: dict, file: Path) -> None:
    """Writes FILE.param and FILE.bin; inputs is what `describe` says."""
    shapes = ",".join(f"[{','.join(map(str, s))}]{'i64' if d.kind == 'i' else 'f32'}" for d, s in inputs.values())
    file.parent.mkdir(exist_ok=True)
    pnnx = Path(sys.executable).with_name("pnnx")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.onnx"
        shutil.copy(source, copy)
        subprocess.run([pnnx, copy.name, f"inputshape={shapes}", "fp16=0"], cwd=folder, capture_output=True)
        for suffix in ("param", "bin"):
            made = Path(folder) / f"model.ncnn.{suffix}"
            if not made.exists():
                raise RuntimeError("pnnx does not convert this file")
            shutil.move(made, file.with_name(f"{file.name}.{suffix}"))
    embed(file)


def embed(file: Path) -> None:
    """pnnx leaves a table and a Gather, which ncnn has not, where an Embed belongs."""
    head, layers = read_param(Path(f"{file}.param"))
    gathers = [layer for layer in layers if layer.kind == "Gather"]
    if not gathers:
        return
    gather, blob = gathers[0], Path(f"{file}.bin").read_bytes()
    table = next(layer for layer in layers if layer.head[-1] == gather.bottoms[0])
    if len(gathers) > 1 or any(layer.plain_sizes() for layer in layers[: layers.index(table)]):
        raise RuntimeError("only one table, and that at the start, can become an Embed")
    width, rows = table.get(0), table.get(1)
    table.head = ["Embed", table.name, "1", "1", gather.bottoms[1], gather.head[-1]]
    table.attributes = [f"0={width}", f"1={rows}", "2=0", f"3={width * rows}"]
    layers.remove(gather)
    write_param(file, [str(int(number) - 1) for number in head.split()], layers)
    Path(f"{file}.bin").write_bytes(bytes(4) + blob)


class Layer:
    """One line of a .param file."""

    def __init__(self, line: str):
        words = line.split()
        self.kind, self.name, bottoms, tops = words[0], words[1], int(words[2]), int(words[3])
        self.bottoms = words[4 : 4 + bottoms]
        self.head, self.attributes = words[: 4 + bottoms + tops], words[4 + bottoms + tops :]

    def get(self, key: int, default: int = 0) -> int:
        return next((int(a.split("=")[1]) for a in self.attributes if a.startswith(f"{key}=")), default)

    def plain_sizes(self) -> list[int]:
        """Numbers of 4-byte values of a layer that stays as it is, in .bin."""
        if self.kind == "LayerNorm" and self.get(2, 1):
            return [self.get(0)] * 2
        if self.kind == "MemoryData":
            return [max(self.get(0), 1) * max(self.get(1), 1) * max(self.get(2), 1) * max(self.get(11), 1)]
        if self.kind == "Embed":
            return [1 + self.get(3)]
        return []

    def weights(self) -> int:
        """Number of tagged weights of a layer that becomes int8; 0 for all others."""
        return {"Convolution": self.get(6), "ConvolutionDepthWise": self.get(6), "InnerProduct": self.get(2)}.get(self.kind, 0)

    def has_bias(self) -> bool:
        return bool(self.get(1 if self.kind == "InnerProduct" else 5))


def read_param(file: Path) -> tuple[str, list[Layer]]:
    lines = file.read_text().splitlines()
    if lines[0] != MAGIC:
        raise RuntimeError(f"{file.name} is no ncnn file")
    return lines[1], [Layer(line) for line in lines[2:] if line.strip()]


def write_param(file: Path, head: list[str], layers: list[Layer]) -> None:
    lines = [" ".join([*layer.head, *layer.attributes]) for layer in layers]
    Path(f"{file}.param").write_text("\n".join([MAGIC, " ".join(head), *lines]) + "\n")


def input_peaks(file: Path, layers: list[Layer], inputs: dict) -> dict:
    """{blob: largest magnitude} of everything that a quantised layer reads."""
    import ncnn

    net, rng, peaks = ncnn.Net(), np.random.default_rng(6), {}
    net.opt.lightmode, net.opt.num_threads = False, 1
    net.load_param(f"{file}.param")
    net.load_model(f"{file}.bin")
    for _ in range(4):
        with net.create_extractor() as extractor:
            for i, (dtype, shape) in enumerate(inputs.values()):
                extractor.input(f"in{i}", ncnn.Mat(random_input(rng, dtype, shape)).clone())
            for blob in {b for layer in layers if layer.weights() for b in layer.bottoms}:
                value = np.array(extractor.extract(blob)[1])
                peaks[blob] = max(peaks.get(blob, 1e-6), float(np.abs(value).max()))
    return peaks


def random_input(rng, dtype, shape) -> np.ndarray:
    if dtype.kind == "i":
        return rng.integers(0, 2, shape[1:]).astype(np.int32)
    return rng.standard_normal(shape[1:], np.float32) * np.float32(0.5)


def whole_numbers(weights: np.ndarray, scale) -> bytes:
    """Tag, int8 weights, padding to four bytes."""
    q = np.rint(weights * scale).clip(-127, 127).astype(np.int8).tobytes()
    return INT8_TAG.tobytes() + q + bytes(-len(q) % 4)


class Reader:
    """Takes values off a .bin file."""

    def __init__(self, blob: bytes):
        self.blob, self.at = blob, 0

    def take(self, count: int) -> np.ndarray:
        self.at += count * 4
        return np.frombuffer(self.blob, np.float32, count, self.at - count * 4)


def quantised_layer(layer: Layer, read: Reader, peaks: dict) -> bytes:
    """Weights, bias, scales of the outputs, scale of the input."""
    read.take(1)  # the tag of f32
    weights = read.take(layer.weights()).reshape(layer.get(0), -1)
    bias = read.take(layer.get(0) if layer.has_bias() else 0)
    scale = 127 / np.abs(weights).max(1).clip(1e-9)
    scales = np.append(scale, 127 / peaks[layer.bottoms[0]]).astype(np.float32)
    layer.attributes.append("8=1" if layer.kind == "ConvolutionDepthWise" else "8=2")
    return whole_numbers(weights, scale[:, None]) + bias.tobytes() + scales.tobytes()


def quantised_gemm(layer: Layer, read: Reader) -> bytes:
    """B [N, K], C [N], scale of B; pnnx writes a linear layer with constant B and C so."""
    if (layer.get(4), layer.get(5), layer.get(6), layer.get(10)) != (0, 1, 1, 4):
        raise RuntimeError("this Gemm is no linear layer")
    read.take(1)
    weights = read.take(layer.get(8) * layer.get(9))
    bias = read.take(1 + layer.get(8))
    scale = np.float32(127 / np.abs(weights).max())
    layer.attributes.append("18=2")
    return whole_numbers(weights, scale) + bias.tobytes() + scale.tobytes()


def quantise(file: Path, inputs: dict) -> None:
    """Writes FILE-int8.param and .bin beside the f32 ones."""
    out, read = file.with_name(f"{file.name}-int8"), Reader(Path(f"{file}.bin").read_bytes())
    head, layers = read_param(Path(f"{file}.param"))
    peaks, parts = input_peaks(file, layers, inputs), []
    for layer in layers:
        if layer.kind == "Gemm":
            parts.append(quantised_gemm(layer, read))
        elif layer.weights():
            parts.append(quantised_layer(layer, read, peaks))
        parts += [read.take(size).tobytes() for size in layer.plain_sizes()]
    if read.at != len(read.blob):
        raise RuntimeError(f"{file.name}.bin holds layers with weights that are not known here")
    write_param(out, head.split(), layers)
    Path(f"{out}.bin").write_bytes(b"".join(parts))


def main() -> None:
    source, file = Path(sys.argv[2]), Path(sys.argv[3])
    if sys.argv[1] == "int8":
        quantise(file, describe(source))
    else:
        convert(source, describe(source), file)


if __name__ == "__main__":
    main()
