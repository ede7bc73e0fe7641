"""The head as ONNX: boxes.onnx, and the shared image trunk with the maps that it reads."""

import tomllib
from pathlib import Path

import numpy as np
import onnx
import torch

from common import manifest, runtime
from common.onnx_graph import INT64, Graph
from emotion.text import encoder_layer, numpy_state
from entities import bundle as entities
from grounding import data as gd
from grounding import model as gm
from trunk.model import VOCABULARY

PADDING = -1e4


def head(trained: gm.Head, pieces: list[int], int8: bool = True) -> Graph:
    """ids [Q, L] (0 beyond a name's end), kinds [Q] and the maps to logits [Q, 1 + 121] and boxes [Q, 121, 4]."""
    w, g = numpy_state(trained), Graph("boxes", int8)
    ids, kinds = g.input("ids", ["Q", "L"], INT64), g.input("kinds", ["Q"], INT64)
    read = {name: g.input(name, [gd.MAPS[name][0] ** 2, gd.MAPS[name][1]]) for name in trained.maps}
    linear = lambda x, name: g.linear(x, w[f"{name}.weight"], w[f"{name}.bias"], name)
    norm = lambda x, name: g.layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], gm.LN_EPS)
    x = cells(g, w, read, linear)
    x = norm(x, "first")
    for layer in trained.layers:
        x = encoder_layer(g, x, layer)
    q = g.add(linear(phrase(g, w, pieces, ids), "query"), g.op("Gather", [g.f32(w["kinds.weight"]), kinds], axis=0))
    q = norm(g.gelu(q), "asked")
    q = norm(g.add(q, look(g, w, q, x)), "looked")
    flat = lambda y, width: g.op("Reshape", [y, g.ints([-1, width])])
    across, down = g.ints([1]), g.ints([0])
    gain = g.op("Unsqueeze", [g.add(linear(q, "gain"), g.f32(1.0)), across])
    shift = g.op("Unsqueeze", [linear(q, "shift"), across])
    h = g.add(g.mul(g.op("Unsqueeze", [linear(x, "cell"), down]), gain), shift)
    h = linear(flat(g.op("Relu", [h]), gm.PAIR), "pair")
    h = g.op("Relu", [h])
    count = gm.CELLS * gm.CELLS
    score = g.op("Reshape", [linear(h, "score"), g.ints([-1, count])])
    g.output(g.op("Concat", [linear(q, "absent"), score], axis=1), "logits", ["Q", 1 + count])
    edges = g.op("Sigmoid", [g.op("Reshape", [linear(h, "edges"), g.ints([-1, count, 4])])])
    # left and top go down from the centre to 0, right and bottom up to 1
    centre = gm.centres().numpy()[:, [0, 1, 0, 1]]
    room = np.concatenate([-centre[:, :2], 1 - centre[:, 2:]], 1)
    g.output(g.add(g.mul(edges, g.f32(room)), g.f32(centre)), "boxes", ["Q", count, 4])
    return g


def cells(g: Graph, w: dict, read: dict, linear) -> str:
    """[121, DIM]: the maps side by side on the middle one's cells."""
    coarse = linear(read["patches"], "patches")
    total = None
    line = np.arange(gm.CELLS)
    for up in (0, 1):
        for left in (0, 1):
            place = ((line + up) // 2)[:, None] * 6 + ((line + left) // 2)[None]
            part = g.op("Gather", [coarse, g.ints(place.reshape(-1))], axis=0)
            total = part if total is None else g.add(total, part)
    x = g.add(g.mul(total, g.f32(0.25)), g.f32(w["places"]))
    if "middle" in read:
        x = g.add(x, linear(read["middle"], "middle"))
    if "fine" in read:
        side, channels = gm.CELLS, gd.MAPS["fine"][1]
        # two cells beside each other are one row already
        pairs = g.op("Reshape", [read["fine"], g.ints([-1, 2 * channels])])
        rows = [((2 * line + under)[:, None] * side + line[None]).reshape(-1) for under in (0, 1)]
        four = g.op("Concat", [g.op("Gather", [pairs, g.ints(each)], axis=0) for each in rows], axis=1)
        x = g.add(x, linear(four, "fine"))
    return x


def phrase(g: Graph, w: dict, pieces: list[int], ids: str) -> str:
    """[Q, WORD]: the pieces' rows as the head reads them, by weight. Row 0 is any other piece, the last one none."""
    table = w["table"] @ w["word.weight"].T + w["word.bias"]
    weights = w["table"] @ w["weigh.weight"].T
    weights = np.concatenate([weights - weights.max(), [[PADDING]]])
    table = np.concatenate([table, np.zeros((1, table.shape[1]), np.float32)])
    row_of = np.zeros(VOCABULARY, np.int32)
    row_of[pieces] = np.arange(1, len(pieces) + 1)
    row_of[0] = len(table) - 1
    rows = g.op("Gather", [g.const(row_of, "row_of"), ids], axis=0)
    share = g.softmax(g.op("Gather", [g.f32(weights[:, 0]), rows], axis=0))
    weighed = g.mul(g.embedding(rows, table, "words"), g.op("Unsqueeze", [share, g.ints([2])]))
    return g.op("ReduceSum", [weighed, g.ints([1])], keepdims=0)


def look(g: Graph, w: dict, q: str, x: str) -> str:
    """[Q, DIM]: what each query sees in the cells."""
    width = gm.DIM // gm.HEADS
    linear = lambda y, name, scale=1.0: g.linear(y, w[f"{name}.weight"] * scale, w[f"{name}.bias"] * scale, name)
    heads = lambda y: g.op("Reshape", [y, g.ints([-1, gm.CELLS * gm.CELLS, gm.HEADS, width])])
    # a handful of names are too few rows for products of their own
    asked = g.op("Unsqueeze", [linear(q, "look_q", width**-0.5), g.ints([1])])
    fit = g.op("ReduceSum", [heads(g.mul(linear(x, "look_k"), asked)), g.ints([3])], keepdims=0)
    share = g.softmax(g.op("Transpose", [fit], perm=[0, 2, 1]))
    share = g.op("Unsqueeze", [g.op("Transpose", [share], perm=[0, 2, 1]), g.ints([3])])
    seen = g.op("ReduceSum", [g.mul(heads(linear(x, "look_v")), share), g.ints([1])], keepdims=0)
    return g.op("Reshape", [seen, g.ints([-1, gm.DIM])])


def expose(models: Path) -> None:
    """The integer trunk of the sentiment bundle in its place, with those maps as outputs that it does
    not give yet; manifests that name it name it as it is now."""
    trunk = models / "sentiment/image.onnx"
    model, before = onnx.load(trunk), manifest.digest(trunk)
    lacking = [name for name in gd.MAPS if name not in {o.name for o in model.graph.output}]
    for name in lacking:
        gd.expose(model, name)
    if lacking:
        onnx.checker.check_model(model, full_check=True)
        trunk.write_bytes(model.SerializeToString())
        for path in models.glob("*/manifest.toml"):
            path.write_text(path.read_text().replace(before, manifest.digest(trunk)))


def enter(folder: Path, models: Path) -> None:
    """The head in the manifest of the entities bundle, whose figures stay."""
    about = tomllib.loads((folder / "manifest.toml").read_text())
    data = [(each["name"], each["licence"]) for each in about["data"]]
    data = [each for each in data if each not in entities.BOXES_DATA]
    entities.write_manifest(folder, models, about.get("metric", ()), data)


@torch.no_grad()
def check(trained: gm.Head, pieces: list[int], path: Path, maps: dict, said: np.ndarray, kinds: np.ndarray) -> float:
    """Largest difference of a box's side between the file and the module, for rows `said` of the table."""
    ids = np.where(said < 0, 0, np.array([100, *pieces])[said.clip(min=0)])
    fed = {"ids": ids, "kinds": kinds, **{name: maps[name].astype(np.float32) for name in trained.maps}}
    logits, boxes = runtime.session(path).run(["logits", "boxes"], fed)
    given = {name: torch.from_numpy(maps[name].astype(np.float32))[None] for name in trained.maps}
    right, right_boxes = (each[0].numpy() for each in trained(given, torch.from_numpy(said)[None], torch.from_numpy(kinds)[None]))
    best = right[:, 1:].argmax(1)
    rows = np.arange(len(best))
    print(f"logits within {np.abs(logits - right).max():.4f}; the best cell is the same for {(logits[:, 1:].argmax(1) == best).mean():.3f}")
    return float(np.abs(boxes[rows, best] - right_boxes[rows, best]).max())
