"""The text student of LE-MER: typed and recognised words, with what was said before.

It starts from the trunk that the other tasks of words share, as the sarcasm bundle ships it, with the rows of a
smaller vocabulary. Stages, each resumable (they read and write `work/text`):
    prepare  -> rows of the shared vocabulary, sequences are made on the fly
    train    -> literal.pt, the mean of SEEDS students that start alike and see the texts in other orders; `sarcastic`
                makes student.pt of it
    export   -> text.onnx, vocab.txt, temperature
"""

import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.feature_extraction.text import TfidfVectorizer

from common import runtime
from common.onnx_graph import FLOAT, INT64, Graph
from common.stages import newer
from emotion import heard, readback
from emotion import text_data as td
from emotion.text_model import DIM, HEADS, LN_EPS, ROWS, Student

LABEL_LOSS = 0.1
SMOOTHING = 0.05
TOKENS_PER_BATCH = 3000
# Items of each set per epoch. GoEmotions and tweets teach the words of emotions, MELD the
# dialogue; the end of the schedule belongs to MELD.
SCHEDULE = [
    {"meld": 7000, "goemotions": 6000, "tweeteval": 1500},
    {"meld": 7000, "goemotions": 3000, "tweeteval": 700},
    {"meld": 7000, "goemotions": 1000},
]
MELD_NEUTRAL = 2900
# Shares of the texts that are read as a recogniser wrote them, and without any marks.
HEARD, BARE = 0.4, 0.15
RATE_ENCODER, RATE_HEAD, WARM_UP = 8e-5, 8e-4, 60
EMA = 0.98
FROZEN_LAYERS = 2
MASK, MASKED, ENDS = 103, 0.06, (101, 102)  # share of word pieces that the student does not see while it learns
SEEDS = (0, 1, 2)
LITERAL = "literal.pt"  # takes all words as meant


# -- data to batches ----------------------------------------------------------------

def folder(work: Path) -> Path:
    path = Path(work) / "text"
    path.mkdir(parents=True, exist_ok=True)
    return path


def prepare(data: Path, work: Path) -> None:
    """Unpacks the sets and fixes which embedding rows stay."""
    data, work = Path(data), Path(work)
    root, out = td.unpack(data, work), folder(work) / "rows.npz"
    if out.exists():
        return
    from safetensors.numpy import load_file

    tok = td.tokenizer(work)
    table = load_file(td.minilm(work) / "model.safetensors")["embeddings.word_embeddings.weight"]
    special = [tok.token_to_id(t) for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")]
    counts = td.token_counts(data, root, tok)
    kept, row_map = td.share_rows(counts, table, ROWS, special)
    own = sum(n for t, n in counts.items() if t in set(kept)) / sum(counts.values())
    np.savez(out, kept=kept, row_map=row_map, own_share=own)
    for name, with_history in (("meld_dev", True), ("meld_dev_nohistory", False)):
        td.write_eval_csv(work / f"cv/{name}.csv", td.meld(root, "dev"), with_history)


def epoch_items(items, epoch: int, seed: int, plan: dict):
    """Indices of this epoch's items: the plan's number of each set, MELD's neutral capped."""
    rng = random.Random(seed * 1000 + epoch)
    chosen = []
    for source, number in plan.items():
        mine = [i for i, item in enumerate(items) if item.source == source]
        rng.shuffle(mine)
        if source == "meld":
            neutral = [i for i in mine if items[i].label == 3][:MELD_NEUTRAL]
            mine = [i for i in mine if items[i].label != 3] + neutral
            rng.shuffle(mine)
        chosen += mine[:number]
    return chosen, rng


def batches(sequences, rng):
    """Groups (key, ids, n) of like length into batches of about TOKENS_PER_BATCH tokens."""
    ordered = sorted(sequences, key=lambda s: (len(s[1]), rng.random()))
    groups, group = [], []
    for sequence in ordered:
        if group and len(sequence[1]) * (len(group) + 1) > TOKENS_PER_BATCH:
            groups.append(group)
            group = []
        group.append(sequence)
    if group:
        groups.append(group)
    rng.shuffle(groups)
    return groups


def collate(group):
    width = max(len(ids) for _, ids, _ in group)
    ids = torch.zeros(len(group), width, dtype=torch.long)
    kinds, mask = torch.zeros_like(ids), torch.zeros(len(group), width, dtype=torch.bool)
    for row, (_, tokens, n) in enumerate(group):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        kinds[row, n:] = 1
        mask[row, : len(tokens)] = True
    return ids, kinds, mask


def formed(item: td.Item, heard_as: dict, rng: random.Random) -> td.Item:
    """The item as typed, as a recogniser wrote it, or without its marks."""
    draw = rng.random()
    if draw < HEARD:
        return heard.as_heard(item, heard_as)
    return td.without_marks(item) if draw < HEARD + BARE else item


def epoch_batches(items, heard_as, tok, epoch, seed, plan):
    chosen, rng = epoch_items(items, epoch, seed, plan)
    drawn = [(i, formed(items[i], heard_as, rng)) for i in chosen]
    return batches([(i, *td.layout(tok, item.text, td.forget(item.history, rng))) for i, item in drawn], rng)


# -- the student --------------------------------------------------------------------

def new_student(work: Path, trunk: Path, items, tok) -> Student:
    rows = np.load(folder(work) / "rows.npz")
    student = Student(rows["row_map"])
    student.load_minilm(td.minilm(work) / "model.safetensors", rows["kept"])
    start_from(student, readback.encoder(trunk, HEADS), rows["kept"])
    with torch.no_grad():
        student.labels.copy_(torch.tanh(student.project(label_words(student, items, tok))))
    freeze(student)
    return student


def freeze(student: Student) -> None:
    """Tables and the lower layers keep the trunk's weights: a third of the training time; but for the
    kinds of rows, since what was said before must not read like the speaker's own words."""
    for part in (student.words, student.places, student.norm, *student.layers[:FROZEN_LAYERS]):
        part.requires_grad_(False)


@torch.no_grad()
def start_from(student: Student, trunk: readback.Encoder, kept) -> None:
    """The trunk's places are fewer: MiniLM's own stay behind them."""
    student.words.weight.copy_(trunk.words[torch.as_tensor(kept)])
    student.places.weight[: len(trunk.places)] = trunk.places
    student.kinds.weight.copy_(trunk.kinds[: len(student.kinds.weight)])
    student.norm.load_state_dict(trunk.norm)
    for layer, weights in zip(student.layers, trunk.layers):
        layer.load_state_dict(weights)


def label_words(student: Student, items, tok):
    """[4, 384]: mean embedding of the ten words of highest TF-IDF in each class's texts."""
    documents = [" ".join(i.text for i in items if i.label == c) for c in range(len(td.CLASSES))]
    vectors = TfidfVectorizer(stop_words="english", sublinear_tf=True, token_pattern=r"[A-Za-z]{3,}")
    weights = vectors.fit_transform(documents).toarray()
    names = vectors.get_feature_names_out()
    # a word that every class uses alike names no class
    distinct = weights - np.sort(weights, axis=0)[-2]
    rows = []
    for c in range(len(td.CLASSES)):
        words = [names[i] for i in np.argsort(-distinct[c])[:10]]
        ids = [t for word in words for t in tok.encode(word, add_special_tokens=False).ids]
        rows.append(student.words(student.row_map[torch.tensor(ids)]).mean(0))
    return torch.stack(rows)


def class_weights(items):
    """Inverse square root of the class's share: half-way to balanced."""
    counts = np.bincount([i.label for i in items], minlength=len(td.CLASSES))
    weights = (counts.sum() / counts) ** 0.5
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)


def masked(ids, mask):
    """Some word pieces hidden."""
    hidden = (torch.rand(ids.shape) < MASKED) & mask & ~torch.isin(ids, torch.tensor(ENDS))
    return torch.where(hidden, MASK, ids)


def loss_of(student, group, items, weights):
    """CE + 0.1 label CE."""
    ids, kinds, mask = collate(group)
    tokens, logits, own = student(masked(ids, mask), kinds, mask)
    target = torch.tensor([items[key].label for key, _, _ in group])
    hard = F.cross_entropy(logits, target, weights, label_smoothing=SMOOTHING)
    return hard + LABEL_LOSS * F.cross_entropy(student.label_logits(tokens, own), target, weights)


FRESH = ("project", "classify", "labels", "scale", "kinds")


def optimiser(student: Student, encoder: float = RATE_ENCODER, head: float = RATE_HEAD):
    fresh = [p for n, p in student.named_parameters() if p.requires_grad and n.split(".")[0] in FRESH]
    names = {id(p) for p in fresh}
    old = [p for p in student.parameters() if p.requires_grad and id(p) not in names]
    return torch.optim.AdamW([{"params": old, "lr": encoder}, {"params": fresh, "lr": head}], weight_decay=0.01, fused=True)


def advance(student: Student, loss, adam, rate, mean) -> None:
    """One step down the loss; `mean` follows."""
    adam.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    adam.step()
    rate.step()
    mean.update_parameters(student)


def fit(student, items, heard_as, tok, checkpoint: Path, seed: int) -> None:
    """Trains through the schedule; `checkpoint` makes it resumable. Leaves the EMA weights in."""
    plan = [g for e, part in enumerate(SCHEDULE) for g in epoch_batches(items, heard_as, tok, e, seed, part)]
    adam = optimiser(student)
    rate = torch.optim.lr_scheduler.LambdaLR(adam, lambda s: min((s + 1) / WARM_UP, max(0.0, 1 - s / len(plan))))
    mean = torch.optim.swa_utils.AveragedModel(student, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA))
    weights, start, begun = class_weights(items), 0, time.time()
    parts = {"student": student, "adam": adam, "rate": rate, "mean": mean}
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=False)
        start = state.pop("step")
        for name, part in parts.items():
            part.load_state_dict(state[name])
    torch.manual_seed(seed + start)
    student.train()
    for step in range(start, len(plan)):
        # half the time a step where the processor has bf16 products; weights stay f32
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(student, plan[step], items, weights)
        advance(student, loss, adam, rate, mean)
        if step % 100 == 99 or step + 1 == len(plan):
            torch.save({n: p.state_dict() for n, p in parts.items()} | {"step": step + 1}, checkpoint)
            print(f"seed {seed}, step {step + 1}/{len(plan)} loss {loss.item():.3f} {time.time() - begun:.0f} s", flush=True)
    student.load_state_dict(mean.module.state_dict())
    student.eval()


def train(data: Path, work: Path, trunk: Path) -> None:
    """`trunk` is the int8 file to start from. Students of several orders of the texts, and their mean."""
    data, work = Path(data), Path(work)
    out = folder(work) / LITERAL
    if out.exists():
        return
    root, tok, heard_as = td.unpack(data, work), td.tokenizer(work), heard.read(work)
    items = td.training_items(root)
    for seed in SEEDS:
        one = folder(work) / f"student-{seed}.pt"
        if not one.exists():
            torch.manual_seed(0)  # they start alike, so that their mean is a student too
            student = new_student(work, trunk, items, tok)
            fit(student, items, heard_as, tok, one.with_suffix(".ckpt"), seed)
            torch.save(student.state_dict(), one)
            print(seed, json.dumps(measure(student, put_by(root), heard_as, tok)), flush=True)
    student = load_student(work, f"student-{SEEDS[0]}.pt")
    student.load_state_dict(mean_state([load_student(work, f"student-{seed}.pt") for seed in SEEDS]))
    print("mean", json.dumps(measure(student, put_by(root), heard_as, tok)), flush=True)
    torch.save(student.state_dict(), out)


def mean_state(students) -> dict:
    states = [student.state_dict() for student in students]
    mean = lambda values: sum(values) / len(values) if values[0].is_floating_point() else values[0]
    return {name: mean([state[name] for state in states]) for name in states[0]}


def load_student(work: Path, name: str = "student.pt") -> Student:
    student = Student(np.load(folder(work) / "rows.npz")["row_map"])
    student.load_state_dict(torch.load(folder(work) / name))
    return student.eval()


# -- measuring ----------------------------------------------------------------------

def put_by(root: Path) -> list[td.Item]:
    """MELD's train texts that taught neither this student nor the trunk it starts from."""
    return [item for item in td.meld(root, "train") if td.is_put_by(item.text)]


@torch.no_grad()
def logits_of(student: Student, items, tok):
    sequences = [(i, *td.layout(tok, item.text, item.history)) for i, item in enumerate(items)]
    logits = torch.zeros(len(items), len(td.CLASSES))
    for group in batches(sequences, random.Random(0)):
        logits[[key for key, _, _ in group]] = student(*collate(group))[1]
    return logits.numpy()


def scores(logits, labels) -> dict:
    from sklearn.metrics import f1_score

    guess = logits.argmax(1)
    return {"accuracy": round(float((guess == labels).mean()), 4), "macro_f1": round(float(f1_score(labels, guess, average="macro")), 4)}


def measure(student: Student, items, heard_as, tok) -> dict:
    """Of typed words, of the same without their marks, and of what was recognised of them, with history and without."""
    forms = {"typed": items, "bare": [td.without_marks(i) for i in items], "heard": [heard.as_heard(i, heard_as) for i in items]}
    labels = np.array([item.label for item in items])
    alone = lambda made: [item._replace(history=[]) for item in made]
    return {name: {"history": scores(logits_of(student, made, tok), labels), "none": scores(logits_of(student, alone(made), tok), labels)} for name, made in forms.items()}


def fit_temperature(logits, labels) -> float:
    """The T of softmax(logits / T) with the least log loss, by golden steps over a grid."""
    grid = np.exp(np.linspace(math.log(0.3), math.log(5), 200))
    losses = [F.cross_entropy(torch.tensor(logits / t), torch.tensor(labels)).item() for t in grid]
    return round(float(grid[int(np.argmin(losses))]), 3)


# -- export -------------------------------------------------------------------------

def numpy_state(module) -> dict:
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def places_of(graph: Graph, ids: str, table) -> str:
    """Rows 0..N of the position table, N being the number of ids."""
    every = graph.ints(np.arange(td.MAX_TOKENS))
    rows = graph.op("Slice", [every, graph.ints([0]), graph.op("Shape", [ids])])
    return graph.embedding(rows, table, "places")


def encoder_layer(graph: Graph, x: str, layer) -> str:
    w = numpy_state(layer)
    parts = [w[f"{name}.{end}"] for name in "qkvo" for end in ("weight", "bias")]
    x = graph.add(x, graph.attention(x, layer.heads, *parts))
    x = graph.layer_norm(x, w["norm1.weight"], w["norm1.bias"], LN_EPS)
    up = graph.gelu(graph.linear(x, w["up.weight"], w["up.bias"], "ffn_up"))
    x = graph.add(x, graph.linear(up, w["down.weight"], w["down.bias"], "ffn_down"))
    return graph.layer_norm(x, w["norm2.weight"], w["norm2.bias"], LN_EPS)


def own_mean(graph: Graph, tokens: str, kinds: str) -> str:
    """[1, 192]: mean over the rows of kind 0."""
    own = graph.op("Sub", [graph.f32(1.0), graph.op("Cast", [kinds], to=FLOAT)])
    column = graph.op("Unsqueeze", [own, graph.ints([1])])
    total = graph.op("ReduceSum", [graph.mul(tokens, column), graph.ints([0])], keepdims=1)
    return graph.op("Div", [total, graph.op("ReduceSum", [column, graph.ints([0])], keepdims=1)])


def build_graph(student: Student, int8: bool) -> Graph:
    w, graph = numpy_state(student), Graph("text", int8)
    ids, kinds = graph.input("ids", ["N"], INT64), graph.input("types", ["N"], INT64)
    rows = graph.op("Gather", [graph.const(w["row_map"].astype(np.int32), "row_map"), ids], axis=0)
    x = graph.add(graph.embedding(rows, w["words.weight"], "words"), graph.embedding(kinds, w["kinds.weight"], "kinds"))
    x = graph.add(x, places_of(graph, ids, w["places.weight"]))
    x = graph.layer_norm(x, w["norm.weight"], w["norm.bias"], LN_EPS)
    for layer in student.layers:
        x = encoder_layer(graph, x, layer)
    tokens = graph.op("Tanh", [graph.linear(x, w["project.weight"], w["project.bias"], "project")])
    # the last product is 4 x 192: multiplied and summed in f32, so no float MatMul remains
    mean = own_mean(graph, tokens, kinds)
    products = graph.mul(mean, graph.f32(w["classify.weight"]))
    logits = graph.add(graph.op("ReduceSum", [products, graph.ints([1])], keepdims=0), graph.f32(w["classify.bias"]))
    graph.output(tokens, "tokens", ["N", w["project.bias"].size])
    graph.output(logits, "logits", [len(td.CLASSES)])
    graph.output(x, "hidden", ["N", DIM])  # what a new classifier of words may read
    return graph


def export(work: Path, out_dir: Path, int8: bool = True) -> int:
    """Writes text.onnx and vocab.txt; returns the size of the model in bytes."""
    work, out_dir = Path(work), Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    vocabulary = td.tokenizer(work).get_vocab()
    words = sorted(vocabulary, key=vocabulary.get)
    (out_dir / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return build_graph(load_student(work), int8).save(out_dir / "text.onnx")


# -- the exported files, measured ---------------------------------------------------

def onnx_features(model: Path, work: Path, items) -> dict:
    """H_t's own rows end to end with offsets, and logits [len(items), 4]."""
    run, tok, rows, logits = runtime.session(model), td.tokenizer(work), [], []
    for item in items:
        ids, n = td.layout(tok, item.text, item.history)
        kinds = np.array([0] * n + [1] * (len(ids) - n))
        hidden, outputs = run.run(["tokens", "logits"], {"ids": np.array(ids), "types": kinds})
        rows.append(hidden[:n].astype(np.float16))
        logits.append(outputs)
    return {"rows": np.concatenate(rows), "offsets": np.cumsum([0] + [len(r) for r in rows]), "logits": np.array(logits)}


def evaluate(data: Path, work: Path) -> dict:
    """Exports both flavours to bundles/final and measures them on MELD's dev part.

    The temperature is fitted on one half of dev's dialogues only. Figures of the present
    student are not measured twice.
    """
    data, work = Path(data), Path(work)
    out = folder(work) / "figures.json"
    if newer(out, folder(work) / "student.pt"):
        return json.loads(out.read_text())
    root = td.unpack(data, work)
    dev, dialogues = td.meld(root, "dev"), np.array(td.meld_dialogues(root, "dev"))
    labels, figures = np.array([i.label for i in dev]), {}
    for flavour in ("fp32", "int8"):
        target = work / "bundles/final" / flavour
        figures[flavour] = {"bytes": export(work, target, flavour == "int8")}
        for name, items in (("history", dev), ("no_history", [i._replace(history=[]) for i in dev])):
            logits = onnx_features(target / "text.onnx", work, items)["logits"]
            figures[flavour][name] = scores(logits, labels)
            if (flavour, name) == ("int8", "history"):
                half = dialogues % 2 == 0
                figures["temperature"] = fit_temperature(logits[half], labels[half])
    out.write_text(json.dumps(figures, indent=1) + "\n")
    return figures
