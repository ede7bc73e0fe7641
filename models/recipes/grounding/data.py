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
from trunk import data as td

SIDE, WHOLE = 176, 224.0
# The trunk's last maps at strides 8, 16 and 32: names of what it gives, cells a side, channels.
MAPS = {"fine": (22, 40), "middle": (11, 112), "patches": (6, 320)}


# A train picture as a whole, its mirror image, and cuts, every other one mirrored; a cut has at least
# this share of each side.
VIEWS, SMALLEST = 6, 0.7


class Pictures(NamedTuple):
    """Rows are pictures, the first of their views is the whole picture."""

    names: list[str]
    maps: dict[str, np.ndarray]  # f16 [pictures, views, cells, channels]
    cuts: np.ndarray  # f32 [pictures, views, 4] left, top, right, bottom in shares; mirrored if left is right of right


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


def cuts(rng, views: int) -> np.ndarray:
    """[views, 4] as `Pictures` has them."""
    size = np.stack([np.ones(2), np.ones(2), *rng.uniform(SMALLEST, 1, (max(views - 2, 0), 2))])[:views]
    start = rng.uniform(size=size.shape) * (1 - size)
    sides = np.concatenate([start, start + size], 1)
    sides[1::2] = sides[1::2][:, [2, 1, 0, 3]]
    return sides.astype(np.float32)


def pixels(image: Image.Image, cut) -> np.ndarray:
    """Stretched, as the device does."""
    left, top, right, bottom = cut * np.tile(image.size, 2)
    shown = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(min(left, right), top, max(left, right), bottom))
    return np.ascontiguousarray(np.asarray(shown)[:, :: 1 if left < right else -1])


def seen_in(box: np.ndarray, cut: np.ndarray):
    """Boxes [..., 4] as a cut [..., 4] shows them, in its own shares, and how much of each it shows."""
    start, size = cut[..., :2], cut[..., 2:] - cut[..., :2]
    ends = (box.reshape(*box.shape[:-1], 2, 2) - start[..., None, :]) / size[..., None, :]
    low, high = ends.min(-2), ends.max(-2)
    shown = np.concatenate([low.clip(0, 1), high.clip(0, 1)], -1)
    area = lambda a, b: (b - a).prod(-1)
    return shown, area(shown[..., :2], shown[..., 2:]) / area(low, high)


def pictures(data: Path, work: Path, part: str, trunk: Path) -> Pictures:
    path = work / f"grounding-{part}.npz"
    if not path.exists():
        wanted, run = {row["image"] for row in phrases(data, part)}, maps(trunk)
        names, found, shown = [], {name: [] for name in MAPS}, []
        rng, views = np.random.default_rng(0), VIEWS if part == "train" else 1
        with tarfile.open(data / "grounding/images.tar") as archive:
            for member in archive:
                name = Path(member.name).name
                if not member.isfile() or name not in wanted:
                    continue
                names.append(name)
                image = Image.open(io.BytesIO(archive.extractfile(member).read())).convert("RGB")
                shown.append(cuts(rng, views))
                rows = [run.run(list(MAPS), {"pixels": pixels(image, cut)[None]}) for cut in shown[-1]]
                for at, name in enumerate(MAPS):
                    found[name].append(np.stack([view[at] for view in rows]).astype(np.float16))
        np.savez(path, names=names, cuts=np.stack(shown), **{name: np.stack(rows) for name, rows in found.items()})
    held = np.load(path)
    return Pictures(held["names"].tolist(), {name: held[name] for name in MAPS}, held["cuts"])


def phrases(data: Path, part: str) -> list[dict]:
    """Rows of the table whose pixels are here."""
    with lzma.open(data / "grounding/phrases.csv.xz", "rt", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["split"] == part and row["packed"] == "1"]


# -- queries ------------------------------------------------------------------------------

# What the sets' kinds of phrases are of the four kinds of names.
KINDS = {"people": ("PER",), "scene": ("LOC",), "other": ("ORG", "OTHER"), "vehicles": ("OTHER",), "instruments": ("OTHER",)}


# A phrase's pieces that count, and how often a piece is said that has a row of its own.
LONGEST, OFTEN = 8, 4


# Types of phrases, any of which tells of a person.
OF_PEOPLE = {"people", "bodyparts", "clothing"}


class Queries(NamedTuple):
    """A phrase each; boxes in shares of the picture's sides."""

    pieces: np.ndarray  # int [phrases, LONGEST], rows of the table of words; -1 beyond the end
    picture: np.ndarray  # int [phrases], a row of Pictures
    box: np.ndarray  # f32 [phrases, 4] left, top, right, bottom: around all of its boxes; NaN of none
    kinds: list[tuple[str, ...]]
    types: list[frozenset]  # as the set has them


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


def rows_of(phrases: list[str], pieces: list[int], tokenizer) -> np.ndarray:
    """[phrases, LONGEST]: rows of the table of words, -1 beyond the end."""
    row_of = {piece: row for row, piece in enumerate(pieces, 1)}
    said = np.full((len(phrases), LONGEST), -1)
    for row, phrase in zip(said, phrases):
        ids = tokenizer.encode(phrase, add_special_tokens=False).ids[-LONGEST:]
        row[: len(ids)] = [row_of.get(each, 0) for each in ids]
    return said


def queries(data: Path, part: str, names: list[str], pieces: list[int], tokenizer) -> Queries:
    table = phrases(data, part)
    said = rows_of([row["phrase"] for row in table], pieces, tokenizer)
    place = {name: at for at, name in enumerate(names)}
    nowhere = [np.nan] * 4
    box = [around(row["boxes_224"]) if row["status"] == "box" else nowhere for row in table]
    types = [row["types"].split("/") for row in table]
    kinds = [tuple(dict.fromkeys(kind for each in of for kind in KINDS.get(each, ()))) for of in types]
    pictures = np.array([place[row["image"]] for row in table])
    return Queries(said, pictures, np.array(box, np.float32), kinds, [frozenset(of) for of in types])


def table(work: Path, pieces: list[int]) -> torch.Tensor:
    """[1 + pieces, 384]: MiniLM's rows, frozen; nothing of a piece that is not known."""
    rows = load_file(text_data.minilm(work) / "model.safetensors")["embeddings.word_embeddings.weight"]
    return torch.cat([torch.zeros(1, rows.shape[1]), rows[pieces]])


def people(data: Path, root: Path, part: str) -> list[str]:
    """Names of people in a part of Twitter2015 and 2017."""
    found = {}
    for year in ("2015", "2017"):
        for item in td.twitter(data, root, year, part):
            words = item.text.split()
            found |= {" ".join(words[first:past]): None for first, past, kind in item.label if kind == "PER"}
    return list(found)


class Lacking:
    """Phrases of other pictures that name what a picture lacks, as far as its captions tell: of a type
    that none of its own phrases has; of `other`, a thing that none of them names. Scenes are never
    lacking: a street may be there without a word of it."""

    def __init__(self, queries: Queries, pictures: int):
        self.queries = queries
        self.types = [frozenset().union(*of) for of in grouped(queries.picture, queries.types, pictures)]
        self.things = [frozenset(of) for of in grouped(queries.picture, self.thing(), pictures)]

    def thing(self) -> list[int]:
        """The last piece of each phrase, mostly its noun."""
        pieces = self.queries.pieces
        return pieces[np.arange(len(pieces)), (pieces >= 0).sum(1) - 1].tolist()

    def nobody(self, picture: int) -> bool:
        return not self.types[picture] & OF_PEOPLE

    def fits(self, picture: int, at: int) -> bool:
        types, there = self.queries.types[at], self.types[picture]
        if types & {"scene", "notvisual"} or types & OF_PEOPLE and there & OF_PEOPLE:
            return False
        if "other" in types:
            pieces = self.queries.pieces[at]
            return not self.things[picture] & set(pieces[pieces >= 0].tolist())
        return not types & there

    def draw(self, rng, picture: int, count: int) -> np.ndarray:
        """`count` rows of the queries, fewer where chance finds no more."""
        tried = rng.integers(len(self.queries.picture), size=20 * count)
        return np.array([at for at in tried if self.fits(picture, at)][:count], int)


def grouped(picture: np.ndarray, values: list, pictures: int) -> list[list]:
    of = [[] for _ in range(pictures)]
    for at, value in zip(picture, values):
        of[at].append(value)
    return of
