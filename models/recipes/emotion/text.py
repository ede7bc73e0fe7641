"""The text student of LE-MER: train, distil, measure on MELD's dev part, export.

Stages, each resumable (they read and write `work/text`):
    prepare  -> rows of the shared vocabulary, sequences are made on the fly
    train    -> student.pt
    teacher  -> soft labels of a head on frozen MPNet features
    distil   -> student.pt trained on with the teacher's soft labels, kept if dev gains
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
from emotion import text_data as td
from emotion.text_model import DIM, LN_EPS, ROWS, Mpnet, Student

LABEL_LOSS = 0.1
SMOOTHING = 0.05
TOKENS_PER_BATCH = 1024
# Items of each set per epoch. GoEmotions and tweets teach the words of emotions, MELD the
# dialogue; the end of the schedule belongs to MELD, which is what dev measures.
SCHEDULE = [
    {"meld": 7000, "goemotions": 7000, "tweeteval": 2937},
    {"meld": 7000, "goemotions": 5000, "tweeteval": 1500},
    {"meld": 7000, "goemotions": 1500, "tweeteval": 500},
]
# MiniLM's two rows of kinds hardly differ, so history reads like the speaker's own words
# (measured: history cost 1 point). A second phase lets them part.
DIALOGUE_SCHEDULE = [{"meld": 6000, "goemotions": 1500}, {"meld": 4500, "goemotions": 500}]
DISTIL_SCHEDULE = [{"meld": 6500, "goemotions": 1000}]
MELD_NEUTRAL = 2900
RATE_ENCODER, RATE_HEAD = 6e-5, 8e-4
EMA = 0.99
FROZEN_LAYERS = 2


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


def epoch_batches(items, tok, epoch, seed, plan):
    chosen, rng = epoch_items(items, epoch, seed, plan)
    return batches([(i, *td.layout(tok, items[i].text, td.forget(items[i].history, rng))) for i in chosen], rng)


# -- the student --------------------------------------------------------------------

def new_student(work: Path, items, tok) -> Student:
    rows = np.load(folder(work) / "rows.npz")
    student = Student(rows["row_map"])
    student.load_minilm(td.minilm(work) / "model.safetensors", rows["kept"])
    with torch.no_grad():
        student.labels.copy_(torch.tanh(student.project(label_words(student, items, tok))))
    freeze(student)
    return student


def freeze(student: Student) -> None:
    """Embeddings and the lower layers keep MiniLM's weights: a third of the training time."""
    for part in (student.words, student.places, student.kinds, student.norm, *student.layers[:FROZEN_LAYERS]):
        part.requires_grad_(False)


def part_kinds(student: Student) -> None:
    freeze(student)
    student.kinds.requires_grad_(True)


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


def loss_of(student, group, items, weights, soft=None):
    """CE + 0.1 label CE, and, where the teacher spoke, half of it against its soft label."""
    ids, kinds, mask = collate(group)
    tokens, logits, own = student(ids, kinds, mask)
    target = torch.tensor([items[key].label for key, _, _ in group])
    hard = F.cross_entropy(logits, target, weights, label_smoothing=SMOOTHING)
    label = F.cross_entropy(student.label_logits(tokens, own), target, weights)
    if soft is not None:
        hard = 0.5 * hard + 0.5 * soft_loss(logits, group, soft)
    return hard + LABEL_LOSS * label


def soft_loss(logits, group, soft, temperature: float = 2.0):
    known = torch.tensor([key in soft for key, _, _ in group])
    if not known.any():
        return logits.sum() * 0
    wanted = torch.stack([soft[key] for key, _, _ in group if key in soft])
    log_p = F.log_softmax(logits[known] / temperature, -1)
    return temperature**2 * F.kl_div(log_p, F.softmax(wanted / temperature, -1), reduction="batchmean")


FRESH = ("project", "classify", "labels", "scale", "kinds")


def optimiser(student: Student, factor: float):
    fresh = [p for n, p in student.named_parameters() if p.requires_grad and n.split(".")[0] in FRESH]
    names = {id(p) for p in fresh}
    old = [p for p in student.parameters() if p.requires_grad and id(p) not in names]
    return torch.optim.AdamW(
        [{"params": old, "lr": RATE_ENCODER * factor}, {"params": fresh, "lr": RATE_HEAD * factor}], weight_decay=0.01
    )


def run_schedule(student, items, tok, schedule, checkpoint: Path, seed: int, soft=None, factor=1.0):
    """Trains through the schedule; `checkpoint` makes it resumable. Leaves the EMA weights in."""
    plan = [g for e, part in enumerate(schedule) for g in epoch_batches(items, tok, e, seed, part)]
    adam = optimiser(student, factor)
    rate = torch.optim.lr_scheduler.LambdaLR(adam, lambda s: min((s + 1) / 60, max(0.0, 1 - s / len(plan))))
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
        loss = loss_of(student, plan[step], items, weights, soft)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        adam.step()
        rate.step()
        mean.update_parameters(student)
        if step % 100 == 99 or step + 1 == len(plan):
            torch.save({n: p.state_dict() for n, p in parts.items()} | {"step": step + 1}, checkpoint)
            print(f"step {step + 1}/{len(plan)} loss {loss.item():.3f} {time.time() - begun:.0f} s", flush=True)
    student.load_state_dict(mean.module.state_dict())
    student.eval()


def train(data: Path, work: Path, seed: int = 0) -> None:
    """Words first, then dialogue with the kinds of rows set free; their mean is the student."""
    data, work = Path(data), Path(work)
    out, words = folder(work) / "student.pt", folder(work) / "words.pt"
    if out.exists():
        return
    prepare(data, work)
    root, tok = td.unpack(data, work), td.tokenizer(work)
    items = td.training_items(root)
    torch.manual_seed(seed)
    if not words.exists():
        student = new_student(work, items, tok)
        run_schedule(student, items, tok, SCHEDULE, folder(work) / "train.ckpt", seed)
        torch.save(student.state_dict(), words)
    student = load_student(work, words.name)
    part_kinds(student)
    run_schedule(student, items, tok, DIALOGUE_SCHEDULE, folder(work) / "dialogue.ckpt", seed + 50, factor=0.8)
    student.load_state_dict(mean_state(student, load_student(work, words.name)))
    torch.save(student.state_dict(), out)
    print(json.dumps(measure(student, data, work)), flush=True)


def mean_state(one: Student, other: Student) -> dict:
    """The mean of two students' weights: neither phase's last steps weigh too much."""
    theirs = other.state_dict()
    return {k: (v + theirs[k]) / 2 if v.is_floating_point() else v for k, v in one.state_dict().items()}


def load_student(work: Path, name: str = "student.pt") -> Student:
    student = Student(np.load(folder(work) / "rows.npz")["row_map"])
    student.load_state_dict(torch.load(folder(work) / name))
    return student.eval()


# -- measuring ----------------------------------------------------------------------

@torch.no_grad()
def dev_logits(student: Student, items, tok, with_history: bool):
    sequences = [(i, *td.layout(tok, item.text, item.history if with_history else [])) for i, item in enumerate(items)]
    logits = torch.zeros(len(items), len(td.CLASSES))
    for group in batches(sequences, random.Random(0)):
        logits[[key for key, _, _ in group]] = student(*collate(group))[1]
    return logits.numpy()


def scores(logits, labels) -> dict:
    from sklearn.metrics import f1_score

    guess = logits.argmax(1)
    return {"accuracy": round(float((guess == labels).mean()), 4), "macro_f1": round(float(f1_score(labels, guess, average="macro")), 4)}


def measure(student: Student, data: Path, work: Path) -> dict:
    dev, tok = td.meld(td.unpack(data, work), "dev"), td.tokenizer(work)
    labels = np.array([i.label for i in dev])
    return {name: scores(dev_logits(student, dev, tok, h), labels) for name, h in (("history", True), ("no_history", False))}


def fit_temperature(logits, labels) -> float:
    """The T of softmax(logits / T) with the least log loss, by golden steps over a grid."""
    grid = np.exp(np.linspace(math.log(0.3), math.log(5), 200))
    losses = [F.cross_entropy(torch.tensor(logits / t), torch.tensor(labels)).item() for t in grid]
    return round(float(grid[int(np.argmin(losses))]), 3)


# -- the teacher --------------------------------------------------------------------
# Fine-tuning MPNet is beyond the processor this was made on, so it stays frozen: each
# utterance is encoded once, and a head reads the utterance, the one before and the mean of
# the history. Its soft labels are out of fold by dialogue, since a head is far too sure of
# what it was trained on.

TEACHER_FOLDS = 5
TEACHER_GOEMOTIONS = 1000


def teacher_items(root: Path):
    items = td.training_items(root)
    others = [i for i, item in enumerate(items) if item.source == "goemotions"][:TEACHER_GOEMOTIONS]
    return {i: items[i] for i, item in enumerate(items) if item.source == "meld"} | {i: items[i] for i in others}


def encode_utterances(texts: list[str], work: Path, chunk: int = 512) -> dict:
    """Mean MPNet row of each distinct text; chunks are cached so that it can be stopped."""
    from tokenizers import Tokenizer

    where = td.mpnet(work)
    tok = Tokenizer.from_file(str(where / "tokenizer.json"))
    tok.enable_truncation(64)
    tok.no_padding()
    cache, model, table = folder(work) / "mpnet", None, {}
    cache.mkdir(exist_ok=True)
    ordered = list(dict.fromkeys(texts))
    for start in range(0, len(ordered), chunk):
        part, file = ordered[start : start + chunk], cache / f"{start:06}.npy"
        if not file.exists():
            model = model or Mpnet(where / "model.safetensors").eval()
            features = np.zeros((len(part), 768), np.float32)
            for group in batches([(i, tok.encode(t).ids, 1) for i, t in enumerate(part)], random.Random(0)):
                ids, _, mask = collate(group)
                features[[i for i, _, _ in group]] = model(ids, mask).numpy()
            np.save(file, features)
            print(f"teacher {start + len(part)}/{len(ordered)}", flush=True)
        table.update(zip(part, np.load(file)))
    return table


def teacher_rows(items, table):
    blank = np.zeros(768, np.float32)
    rows = []
    for item in items:
        past = [table[t] for t in item.history]
        rows.append(np.concatenate([table[item.text], past[-1] if past else blank, np.mean(past, 0) if past else blank]))
    return torch.tensor(np.array(rows))


def teacher_head(x, y, weights, seed: int):
    torch.manual_seed(seed)
    head = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Linear(x.shape[1], 128), torch.nn.GELU(), torch.nn.Dropout(0.3), torch.nn.Linear(128, 4))
    adam = torch.optim.AdamW(head.parameters(), 1e-3, weight_decay=0.05)
    for _ in range(12):
        for part in torch.randperm(len(x)).split(64):
            loss = F.cross_entropy(head(x[part]), y[part], weights, label_smoothing=SMOOTHING)
            adam.zero_grad()
            loss.backward()
            adam.step()
    return head.eval()


def teacher(data: Path, work: Path, seed: int = 0) -> None:
    """Writes teacher.npz: item indices and out-of-fold logits; prints the head's dev figures."""
    data, work = Path(data), Path(work)
    out = folder(work) / "teacher.npz"
    if out.exists():
        return
    root = td.unpack(data, work)
    chosen, dev = teacher_items(root), td.meld(root, "dev")
    texts = [t for item in [*dev, *chosen.values()] for t in [item.text, *item.history]]
    table = encode_utterances(texts, work)
    x, dev_x = teacher_rows(chosen.values(), table), teacher_rows(dev, table)
    y, weights = torch.tensor([i.label for i in chosen.values()]), class_weights(chosen.values())
    # blocks of 200 neighbours keep a dialogue's utterances in one fold
    fold = (torch.arange(len(y)) // 200) % TEACHER_FOLDS
    logits = torch.zeros(len(y), len(td.CLASSES))
    with torch.no_grad():
        for k in range(TEACHER_FOLDS):
            with torch.enable_grad():
                head = teacher_head(x[fold != k], y[fold != k], weights, seed)
            logits[fold == k] = head(x[fold == k])
        with torch.enable_grad():
            head = teacher_head(x, y, weights, seed)
        dev_logits_ = head(dev_x).numpy()
    print("teacher on dev", scores(dev_logits_, np.array([i.label for i in dev])), flush=True)
    np.savez(out, index=np.array(list(chosen)), logits=logits.numpy())


def distil(data: Path, work: Path, seed: int = 0) -> None:
    """One more, gentler pass with the teacher's soft labels; dev's macro-F1 says what is kept."""
    data, work = Path(data), Path(work)
    done = folder(work) / "distilled.json"
    if done.exists():
        return
    known = np.load(folder(work) / "teacher.npz")
    soft = {int(i): torch.tensor(row) for i, row in zip(known["index"], known["logits"])}
    root, tok = td.unpack(data, work), td.tokenizer(work)
    student, start = load_student(work), load_student(work)
    part_kinds(student)
    run_schedule(student, td.training_items(root), tok, DISTIL_SCHEDULE, folder(work) / "distil.ckpt", seed + 1, soft, factor=0.5)
    both = load_student(work)
    both.load_state_dict(mean_state(student, start))
    candidates = {"start": start, "taught": student, "mean": both}
    report = {name: measure(one, data, work) for name, one in candidates.items()}
    best = max(report, key=lambda name: report[name]["history"]["macro_f1"])
    torch.save(candidates[best].state_dict(), folder(work) / "student.pt")
    done.write_text(json.dumps(report | {"kept": best}, indent=1))
    print(done.read_text(), flush=True)


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
    graph.output(x, "hidden", ["N", DIM])
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
