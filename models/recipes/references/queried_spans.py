"""Reference for tests of QueriedSpans: a tiny reader, and what others say of it.

Writes queried_spans.onnx (one call of the function) and queried_spans.json: inputs with and
without picture rows, ONNX Runtime's outputs of the function's body, and torch's own, with the
match head written naively: one matrix upon every pair of tokens side by side.
"""

import json

import numpy as np
import torch
import torch.nn.functional as F
from entities import bundle
from references.text_guided_unit import array
from trunk import model as tm

DIM, SPAN, MATCH = 24, 16, 8


def tiny() -> tm.Reader:
    tm.DIM, tm.SPAN, tm.MATCH = DIM, SPAN, MATCH
    torch.manual_seed(11)
    reader = tm.Reader(0.0)
    for parameter in reader.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return reader.eval()


def naive(reader: tm.Reader, tokens: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """match [types, n, n], a pair after the other."""
    ends = []
    hooks = [norm.register_forward_hook(lambda _m, _i, out: ends.append(out[0])) for norm in reader.norms]
    bundle.wanted(reader, tokens, pictures)
    for hook in hooks:
        hook.remove()
    weight = torch.cat([pair.weight for pair in reader.pair], 1)
    bias = reader.pair[0].bias + reader.pair[1].bias
    count, n = len(reader.query), len(tokens)
    match = torch.zeros(count, n, n)
    with torch.no_grad():
        for kind in range(count):
            for i in range(n):
                for j in range(n):
                    pair = torch.cat([ends[0][kind, i], ends[1][kind, j]])
                    match[kind, i, j] = reader.match(F.gelu(weight @ pair + bias))[0]
    return match.numpy()


def write(at) -> None:
    reader, path = tiny(), at.out / "queried_spans.onnx"
    bundle.write_reader(reader, path)
    rng, cases = np.random.default_rng(12), []
    for n, w in ((6, 3), (5, 0), (1, 1)):
        tokens, pictures = rng.standard_normal((n, DIM), np.float32), rng.standard_normal((w, DIM), np.float32)
        ort, torch_ = bundle.answers(path, tokens, pictures), bundle.wanted(reader, tokens, pictures)
        names = ["exist", "start", "end", "match"]
        cases.append({
            "tokens": array(tokens),
            "pictures": array(pictures),
            "onnxruntime": {name: array(x) for name, x in zip(names, ort)},
            "torch": {name: array(x) for name, x in zip(names, torch_)} | {"match": array(naive(reader, tokens, pictures))},
        })
        print(n, w, [float(np.abs(a - b).max()) for a, b in zip(ort, torch_)], flush=True)
    described = {"made_by": "models/recipes/references/queried_spans.py", "cases": cases}
    (at.out / "queried_spans.json").write_text(json.dumps(described) + "\n")
