"""The trained trunk as text.onnx, int8 or f32."""

from pathlib import Path

import numpy as np
import torch

from common.onnx_graph import INT64, Graph
from emotion import text_data
from emotion.text import encoder_layer, numpy_state
from trunk import data as td
from trunk import model as tm
from trunk.heads import Everything


def load(work: Path, seed: int = 0) -> Everything:
    model = Everything()
    model.load_state_dict(torch.load(work / f"trunk-{seed}.pt"))
    return model.eval()


def graph_of(trunk: tm.Trunk, int8: bool) -> Graph:
    w, graph = numpy_state(trunk), Graph("text", int8)
    ids, kinds = graph.input("ids", ["N"], INT64), graph.input("types", ["N"], INT64)
    every = graph.ints(np.arange(td.MAX_TOKENS))
    places = graph.op("Slice", [every, graph.ints([0]), graph.op("Shape", [ids])])
    x = graph.add(graph.embedding(ids, w["words.weight"], "words"), graph.embedding(kinds, w["kinds.weight"], "kinds"))
    x = graph.add(x, graph.embedding(places, w["places.weight"], "places"))
    x = graph.layer_norm(x, w["norm.weight"], w["norm.bias"], tm.LN_EPS)
    for layer in trunk.layers:
        x = encoder_layer(graph, x, layer)
    graph.output(x, "tokens", ["N", tm.DIM])
    return graph


def write(trunk: tm.Trunk, work: Path, out: Path, int8: bool) -> int:
    """text.onnx and vocab.txt; the model's size in bytes."""
    out.mkdir(parents=True, exist_ok=True)
    vocabulary = text_data.tokenizer(work).get_vocab()
    (out / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)) + "\n", encoding="utf-8")
    return graph_of(trunk, int8).save(out / "text.onnx")
