"""Pictures with boxed phrases: maps of the shared image trunk, and the phrases as queries."""

import csv
import io
import lzma
import tarfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from PIL import Image
from safetensors.torch import load_file

from common import runtime
from emotion import text_data

SIDE, WHOLE = 176, 224.0
# The trunk's last maps at strides 8, 16 and 32: names of what it gives, cells a side, channels.
MAPS = {"fine": (22, 40), "middle": (11, 112), "patches": (6, 320)}


class Pictures(NamedTuple):
    """Rows are pictures; the second axis is the picture and its mirror image."""

    names: list[str]
    maps: dict[str, np.ndarray]  # f16 [pictures, 2, cells, channels]


def maps(model: Path, extra=("fine", "middle")):
    """A session of the trunk, which also gives what it keeps at strides 8 and 16."""
    graph = onnx.load(model)
    known = {o.name for o in graph.graph.output}
    for name in extra:
        if name not in known:
            expose(graph, name)
    return runtime.session(graph)


def expose(model: onnx.ModelProto, name: str) -> None:
    """A further output of an integer trunk: the last map of its side, as rows of cells."""
    side, channels = MAPS[name]
    graph = onnx.shape_inference.infer_shapes(model).graph
    dims = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    node = [n for n in graph.node if n.op_type == "QuantizeLinear" and dims[n.output[0]] == [1, channels, side, side]][-1]
    codes, scale, zero = node.output[0], node.input[1], node.input[2]
    shape = onnx.numpy_helper.from_array(np.array([channels, -1], np.int64), f"{name}_shape")
    model.graph.initializer.append(shape)
    model.graph.node.extend([
        helper.make_node("DequantizeLinear", [codes, scale, zero], [f"{name}_map"], name=f"{name}_map"),
        helper.make_node("Reshape", [f"{name}_map", f"{name}_shape"], [f"{name}_flat"], name=f"{name}_flat"),
        helper.make_node("Transpose", [f"{name}_flat"], [name], name=name, perm=[1, 0]),
    ])
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [side * side, channels]))


def pixels(raw: bytes) -> np.ndarray:
    """Stretched, as the device does."""
    image = Image.open(io.BytesIO(raw)).convert("RGB")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def pictures(data: Path, work: Path, part: str, trunk: Path) -> Pictures:
    path = work / f"grounding-{part}.npz"
    if not path.exists():
        wanted, run = {row["image"] for row in phrases(data, part)}, maps(trunk)
        names, found = [], {name: [] for name in MAPS}
        with tarfile.open(data / "grounding/images.tar") as archive:
            for member in archive:
                name = Path(member.name).name
                if not member.isfile() or name not in wanted:
                    continue
                names.append(name)
                whole = pixels(archive.extractfile(member).read())
                views = [run.run(list(MAPS), {"pixels": view[None]}) for view in (whole, np.ascontiguousarray(whole[:, ::-1]))]
                for at, name in enumerate(MAPS):
                    found[name].append(np.stack([view[at] for view in views]).astype(np.float16))
        np.savez(path, names=names, **{name: np.stack(rows) for name, rows in found.items()})
    held = np.load(path)
    return Pictures(held["names"].tolist(), {name: held[name] for name in MAPS})


def phrases(data: Path, part: str) -> list[dict]:
    """Rows of the table whose pixels are here."""
    with lzma.open(data / "grounding/phrases.csv.xz", "rt", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["split"] == part and row["packed"] == "1"]


# -- queries ------------------------------------------------------------------------------

# What the sets' kinds of phrases are of the four kinds of names.
KINDS = {"people": ("PER",), "scene": ("LOC",), "other": ("ORG", "OTHER"), "vehicles": ("OTHER",), "instruments": ("OTHER",)}


# A phrase's pieces that count, and how often a piece is said that has a row of its own.
LONGEST, OFTEN = 8, 4


class Queries(NamedTuple):
    """A phrase each; boxes in shares of the picture's sides."""

    pieces: np.ndarray  # int [phrases, LONGEST], rows of the table of words; -1 beyond the end
    picture: np.ndarray  # int [phrases], a row of Pictures
    box: np.ndarray  # f32 [phrases, 4] left, top, right, bottom: around all of its boxes; NaN of none
    kinds: list[tuple[str, ...]]


def around(boxes: str) -> list[float]:
    """The box around all boxes of a phrase, as the field judges phrases of several things."""
    each = np.array([[float(x) for x in box.split(",")] for box in boxes.split(";")]) / WHOLE
    return [*each[:, :2].min(0), *each[:, 2:].max(0)]


def known(data: Path, tokenizer) -> list[int]:
    """Pieces that have a row: what train's phrases say OFTEN, those without pixels as well. Row 0
    stands for all others."""
    counts = Counter()
    with lzma.open(data / "grounding/phrases.csv.xz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == "train":
                counts.update(tokenizer.encode(row["phrase"], add_special_tokens=False).ids)
    return sorted(piece for piece, count in counts.items() if count >= OFTEN)


def queries(data: Path, part: str, names: list[str], pieces: list[int], tokenizer) -> Queries:
    table = phrases(data, part)
    row_of = {piece: row for row, piece in enumerate(pieces, 1)}
    said = np.full((len(table), LONGEST), -1)
    for at, row in enumerate(table):
        ids = tokenizer.encode(row["phrase"], add_special_tokens=False).ids[-LONGEST:]
        said[at, : len(ids)] = [row_of.get(each, 0) for each in ids]
    place = {name: at for at, name in enumerate(names)}
    nowhere = [np.nan] * 4
    box = [around(row["boxes_224"]) if row["status"] == "box" else nowhere for row in table]
    kinds = [tuple(dict.fromkeys(kind for each in row["types"].split("/") for kind in KINDS.get(each, ()))) for row in table]
    return Queries(said, np.array([place[row["image"]] for row in table]), np.array(box, np.float32), kinds)


def table(work: Path, pieces: list[int]) -> torch.Tensor:
    """[1 + pieces, 384]: MiniLM's rows, frozen; nothing of a piece that is not known."""
    rows = load_file(text_data.minilm(work) / "model.safetensors")["embeddings.word_embeddings.weight"]
    return torch.cat([torch.zeros(1, rows.shape[1]), rows[pieces]])
