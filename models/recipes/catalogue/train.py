"""Trains every operator of the catalogue the same way on frozen features, and writes the heads.

    python models/recipes/catalogue/train.py FEATURES OUT [--binary target/release/demeanor]

FEATURES holds train.npz, dev.npz and, if there is one, test.npz, each with `u` [N, p] (pooled
rows of the text), `v` [N, q] (pooled rows of the picture) and `y` [N] (classes, from 0). OUT
gets `NAME.onnx` (inputs u [1, p], v [1, q]; output logits [1, K]; the fusion is one call of its
function) and, where there is one, `NAMEInt8.onnx`, of the first seed, and `results.json`:
accuracy and weighted F1 of every seed, intervals, parameters, multiply-accumulates.

Every head is trained alike: AdamW, the same steps, batches, dropout and epoch-wise choice by
accuracy on dev; only the operator differs. Baselines of one modality and a memory bank over
concat's features come along.

Needs: numpy, torch, onnx, onnxruntime, scikit-learn.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import heads
import numpy as np
import onnx
import registry
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from scipy import stats
from sklearn.metrics import f1_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import runtime  # noqa: E402

WIDTH, HIDDEN, RANK, SKETCH = 64, 64, 64, 512
# a full bilinear form has c·p·q weights: at 64 they would outnumber the examples by thousands
BILINEAR_WIDTH = 8
EPOCHS, BATCH, RATE, DECAY, DROPOUT = 30, 64, 1e-3, 1e-2, 0.3
BANK_K, BANK_TAU = (1, 5, 10, 20, 50, 100), 0.1


def load(folder: Path) -> dict:
    """Splits by name; a folder without a test split is tested on dev, and says so."""
    splits = {}
    for name in ("train", "dev", "test"):
        path = folder / f"{name}.npz"
        if path.exists():
            held = np.load(path)
            splits[name] = tuple(torch.from_numpy(held[k].astype(t)) for k, t in (("u", np.float32), ("v", np.float32), ("y", np.int64)))
    splits["held"] = splits.get("test", splits["dev"])
    return splits


def moments(x: torch.Tensor):
    return x.mean(0).numpy(), (1.0 / (x.std(0) + 1e-5)).numpy()


def fit(model, splits: dict, seed: int):
    """The epoch that is best on dev."""
    u, v, y = splits["train"]
    rng = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    steps = EPOCHS * math.ceil(len(y) / BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best, kept = -1.0, None
    for _ in range(EPOCHS):
        model.train()
        for chosen in torch.randperm(len(y), generator=rng).split(BATCH):
            loss = F.cross_entropy(model(u[chosen], v[chosen], DROPOUT), y[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        accuracy = score(predictions(model, splits["dev"]), splits["dev"][2])["accuracy"]
        if accuracy > best:
            best, kept = accuracy, {k: t.clone() for k, t in model.state_dict().items()}
    model.load_state_dict(kept)
    return model.eval()


@torch.no_grad()
def predictions(model, split) -> np.ndarray:
    model.eval()
    return model(split[0], split[1]).argmax(1).numpy()


def score(found: np.ndarray, y: torch.Tensor) -> dict:
    y = y.numpy()
    return {"accuracy": float((found == y).mean()), "f1": float(f1_score(y, found, average="weighted"))}


class OneModality(torch.nn.Module):
    """A baseline: one linear layer over ReLU of one, on u or v alone."""

    def __init__(self, at: int, width: int, classes: int, moments_of, rng):
        super().__init__()
        self.at = at
        self.mean, self.scale = (torch.as_tensor(m) for m in moments_of)
        self.w = torch.nn.Parameter(torch.randn(WIDTH, width, generator=rng) / math.sqrt(width))
        self.b = torch.nn.Parameter(torch.zeros(WIDTH))
        self.last_w = torch.nn.Parameter(torch.randn(classes, WIDTH, generator=rng) / math.sqrt(WIDTH))
        self.last_b = torch.nn.Parameter(torch.zeros(classes))

    def forward(self, u, v, dropout=0.0):
        x = ((u, v)[self.at] - self.mean) * self.scale
        z = F.dropout(torch.relu(F.linear(x, self.w, self.b)), dropout, self.training)
        return F.linear(z, self.last_w, self.last_b)

    def parameters_learnt(self) -> int:
        return sum(p.numel() for p in self.parameters())


@torch.no_grad()
def bank(model, splits: dict, classes: int) -> dict:
    """kNN over a trained head's features; k is chosen on dev."""
    stored = F.normalize(model.features(*splits["train"][:2]), dim=1)
    answers = F.one_hot(splits["train"][2], classes).float()

    def answer(split, k):
        query = F.normalize(model.features(*split[:2]), dim=1)
        near, index = torch.cdist(query, stored).square().topk(k, largest=False)
        weight = torch.softmax(-near / BANK_TAU, 1)
        return (weight.unsqueeze(2) * answers[index]).sum(1).argmax(1).numpy()

    chosen = max(BANK_K, key=lambda k: score(answer(splits["dev"], k), splits["dev"][2])["accuracy"])
    return {**score(answer(splits["held"], chosen), splits["held"][2]), "k": chosen}


# -- files --------------------------------------------------------------------------

def export(model, operator: dict, function: dict, path: Path, bodies: dict) -> None:
    """u, v to logits; the operator is a call, what is around it is plain ONNX."""
    nodes, constants, sizes = [], [], {**model.sizes, "n": 1}

    def const(array, name: str) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(kind: str, ins, out: str, **attributes) -> str:
        nodes.append(helper.make_node(kind, list(ins), [out], name=out, **attributes))
        return out

    inputs = []
    for key in ("u", "v"):
        mean, scale = (getattr(model, f"{key}_{part}").numpy() for part in ("mean", "scale"))
        centred = op("Sub", [key, const(mean, f"{key}_mean")], f"{key}_centred")
        inputs.append(op("Mul", [centred, const(scale, f"{key}_scale")], f"{key}_standard"))
    arrays, scale = [], None
    for weight in function["weights"]:
        if weight["kind"] == "scale":
            arrays.append((weight["name"], scale))
            continue
        array = getattr(model, weight["name"]).detach().numpy()
        if weight["element"] == "int8":
            array, scale = registry.quantised(array.reshape(-1, array.shape[-1]))
        arrays.append((weight["name"], array))
    named = [const(array, name) for name, array in arrays]
    settings = registry.settings_at(operator, sizes)
    nodes.append(helper.make_node(function["name"], inputs + named, ["z"], name="fusion", domain="demeanor", **settings))
    z = tail(model, op, const)
    info = lambda name, width: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width])
    classes = model.last_b.numel() if hasattr(model, "last_b") else sizes["c"]
    graph = helper.make_graph(nodes, function["name"], [info("u", sizes["p"]), info("v", sizes["q"])], [info(z, classes)], constants)
    opsets = [helper.make_opsetid("", registry.OPSET), helper.make_opsetid("demeanor", 1)]
    made = helper.make_model(graph, opset_imports=opsets, functions=registry.needed(bodies, function["name"]), producer_name="demeanor-recipes", ir_version=8)
    onnx.checker.check_model(made)
    onnx.save(made, path)


def tail(model, op, const) -> str:
    """From the operator's output to logits."""
    if model.name in heads.STAGES:
        return op("Log", [op("Add", ["z", const(np.float32(1e-6), "least")], "kept")], "logits")
    z = "z"
    if model.name == "CompactBilinearFusion":
        size = op("Sqrt", [op("Add", [op("Abs", [z], "size"), const(np.float32(1e-12), "least")], "more")], "root")
        signed = op("Mul", [op("Sign", [z], "sign"), size], "signed")
        length = op("ReduceL2", [signed, const(np.array([1]), "axis")], "length", keepdims=1)
        unit = op("Div", [signed, length], "unit")
        z = op("Mul", [unit, const(np.float32(math.sqrt(model.width)), "spread")], "spread_unit")
    elif model.name not in heads.SCALAR:
        z = op("Relu", [z], "positive")
    w, b = (t.detach().numpy() for t in (model.last_w, model.last_b))
    return op("Gemm", [z, const(w, "last_w"), const(b, "last_b")], "logits", transB=1)


def check(model, path: Path, split, int8: bool) -> None:
    """ONNX Runtime on the file answers as torch does."""
    session = runtime.session(path)
    with torch.no_grad():
        wanted = model(*split[:2])[:100].numpy()
    found = np.concatenate([session.run(None, {"u": u[None].numpy(), "v": v[None].numpy()})[0] for u, v in zip(*(x[:100] for x in split[:2]))])
    if int8:
        assert (found.argmax(1) == wanted.argmax(1)).mean() >= 0.9, path
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=2e-3, err_msg=str(path))


# -- the table ----------------------------------------------------------------------

def interval(values: list[float], count: int) -> dict:
    """Mean over seeds; half-widths at 95% of seeds (Student) and of the test items (binomial)."""
    mean, n = float(np.mean(values)), len(values)
    seeds = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else float("nan")
    return {"mean": mean, "seeds": seeds, "items": 1.96 * math.sqrt(mean * (1 - mean) / count)}


def show(name: str, row: dict) -> None:
    a, f = row["accuracy"], row["f1"]
    print(f"{name:<30} acc {a['mean']:.4f} ± {a['seeds']:.4f} (items ± {a['items']:.4f})  F1 {f['mean']:.4f}  {row['parameters']} parameters", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--binary", type=Path, default=registry.ROOT / "target/release/demeanor")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="operators whose name holds this")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    splits, bodies = load(args.features), registry.bodies()
    (u, v, y), held = splits["train"], splits["held"]
    classes = int(y.max()) + 1
    moments_of = {"u": moments(u), "v": moments(v)}
    print(f"train {len(y)}, dev {len(splits['dev'][2])}, held out {len(held[2])} ({'test' if 'test' in splits else 'dev again: optimistic'})")
    results = {}

    def record(name, scores, parameters, macs=0, **more):
        rows = {key: interval([s[key] for s in scores], len(held[2])) for key in ("accuracy", "f1")}
        results[name] = {**rows, "seeds": scores, "parameters": parameters, "macs": macs, **more}
        show(name, results[name])

    for at, name in ((0, "text alone"), (1, "picture alone")):
        models = [fit(OneModality(at, (u, v)[at].shape[1], classes, moments_of["uv"[at]], torch.Generator().manual_seed(s)), splits, s) for s in range(args.seeds)]
        record(name, [score(predictions(m, held), held[2]) for m in models], models[0].parameters_learnt())
    for operator in registry.operators(args.binary):
        name = operator["functions"][0]["name"]
        sizes = {"n": 1, "p": u.shape[1], "q": v.shape[1], "c": WIDTH, "h": HIDDEN, "r": RANK, "d": SKETCH}
        if name in heads.STAGES:
            sizes["c"] = classes
        elif name.startswith("Bilinear"):
            sizes["c"] = BILINEAR_WIDTH
        fits = name in heads.FORWARD and args.only in name and (name != "InnerProductFusion" or sizes["p"] == sizes["q"])
        if not fits:
            continue
        make = lambda s: heads.Head(name, operator["functions"][0], sizes, classes, moments_of, torch.Generator().manual_seed(s))
        models = [fit(make(s), splits, s) for s in range(args.seeds)]
        macs = sum(math.prod(registry.value(f, sizes) for f in term.split("*")) for term in operator["macs"].split("+"))
        record(name, [score(predictions(m, held), held[2]) for m in models], models[0].parameters_learnt(), macs)
        for function in operator["functions"]:
            path = args.out / f"{function['name']}.onnx"
            export(models[0], operator, function, path, bodies)
            check(models[0], path, held, function["name"].endswith("Int8"))
        if name == "ConcatFusion":
            record("MemoryBankFusion (of concat's features)", [bank(m, splits, classes) for m in models], models[0].parameters_learnt())
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
