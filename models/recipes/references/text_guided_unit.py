"""Reference for tests of the units: a tiny one with its weights, and what ONNX Runtime says of it.

Writes text_guided_unit.onnx (x, patches -> y, attention; one call of TextGuidedUnit) and
text_guided_unit.json: the same weights and inputs, the outputs of the unit with each pi and
of SelfUnit, and rows of scores with their pi in float64. Every array is {"shape", "values"}.
"""

import json
from pathlib import Path

import numpy as np
import torch
from onnx import numpy_helper

from common import runtime
from common.stages import Places
from sentiment import mvcn
from sentiment.units_graph import NAMES, HeadGraph, parts, stored, write_unit

D, F, HEADS, N, P = 16, 32, 2, 5, 6


def trained(pi: str | None) -> mvcn.Unit:
    """Random weights, the same for every pi; SelfUnit has those that it shares with the others."""
    torch.manual_seed(5)
    guided = mvcn.Unit("entmax", 0.0, D, F, HEADS)
    for parameter in guided.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    unit = mvcn.Unit(pi, 0.0, D, F, HEADS).eval()
    unit.load_state_dict({k: v for k, v in guided.state_dict().items() if k in unit.state_dict()})
    return unit


def inputs() -> dict:
    rng = np.random.default_rng(6)
    return {"x": rng.standard_normal((N, D), np.float32), "patches": 2 * rng.standard_normal((P, D), np.float32)}


def graph(pi: str | None) -> tuple[HeadGraph, dict]:
    """The graph and {input name of the function: array} of its weights."""
    g, unit = HeadGraph("unit"), trained(pi)
    x, patches = g.input("x", ["n", D]), g.input("patches", [P, D]) if pi else None
    y, attention = write_unit(g, x, patches, unit, pi)
    g.output(y, "y", ["n", D])
    if pi:
        g.output(attention, "attention", ["n", P])
    held = {i.name: i for i in g.initializers}
    weights = {}
    for (part, ends), names in zip(parts(pi), stored(g, unit, pi).values()):
        weights |= {f"{part}_{end}": numpy_helper.to_array(held[name]) for end, name in zip(ends, names)}
    return g, weights


def array(values) -> dict:
    values = np.asarray(values)
    exact = int if values.dtype.kind == "i" else (lambda v: float(f"{v:.9g}"))
    return {"shape": list(values.shape), "values": [exact(v) for v in values.ravel()]}


def run(path: Path, pi: str | None) -> dict:
    session = runtime.session(path)
    fed = inputs() if pi else {"x": inputs()["x"]}
    names = [o.name for o in session.get_outputs()]
    return {name: array(value) for name, value in zip(names, session.run(names, fed))}


def score_rows() -> list[dict]:
    rng = np.random.default_rng(7)
    rows = [np.array([-2.0, 0.0, 0.5]), np.zeros(4), np.array([30.0, -30.0]), np.array([1.0]), np.array([2.0, 2.0, -5.0, 2.0])]
    rows += [scale * rng.standard_normal(size) for size in (6, 36, 49) for scale in (0.3, 1.0, 5.0)]
    found = []
    for z in rows:
        result = {name: array(pi(torch.tensor(z)[None])[0].numpy()) for name, pi in mvcn.PI.items()}
        found.append({"scores": array(z), **result})
    return found


def write(at: Places) -> None:
    cases, weights = {}, {}
    for pi in ("softmax", "sparsemax", None, "entmax"):
        g, found = graph(pi)
        path = at.out / "text_guided_unit.onnx"
        g.save(path)
        weights |= found
        cases[NAMES[pi]] = run(path, pi)
    described = {
        "made_by": "models/recipes/references/text_guided_unit.py",
        "heads": HEADS,
        "inputs": {name: array(value) for name, value in inputs().items()},
        "weights": {name: array(value) for name, value in weights.items()},
        "units": cases,
        "pi": score_rows(),
    }
    (at.out / "text_guided_unit.json").write_text(json.dumps(described) + "\n")
