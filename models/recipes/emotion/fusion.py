"""The fusion heads of LE-MER, trained on what the encoders output: H_t of the int8
text encoder, H_s of the speech student.

No corpus here has emotional voice and emotional words for the same utterance, so the heads
are trained on *label-matched pairs*: acted speech beside a text of the same class. A head
trained on matched pairs alone would believe the words of "Kids are talking by the door",
and would take both encoders to be as sure as they are on their own training items. Hence
the other kinds of pair below.

    train(data, work, fold)   the heads of one fold (None: nobody held out)
    evaluate(data, work)      tables of the held-out speakers, with the lists they rest on
    export(work, fold, out)   fusion.onnx, fusion-ar.onnx, fusion-al.onnx
"""

import csv
import json
import random
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from onnx import AttributeProto, helper
from torch import nn

from common import audio
from common.onnx_graph import OPSET, Graph
from common.stages import newer
from emotion import heard, speech, text
from emotion import text_data as td
from emotion.text import fit_temperature
from emotion.text_model import masked_mean

DIM, CLASSES, NEUTRAL = 192, len(td.CLASSES), 3
LABEL_TEMPERATURE = 0.2
# mu of L_m, L_c, L_g^t, L_g^s
MU = (1.0, 0.1, 0.1, 0.1)
VARIANTS = ("constraint", "ar", "al")
FILES = {"constraint": "fusion.onnx", "ar": "fusion-ar.onnx", "al": "fusion-al.onnx"}
STEPS, BATCH, RATE = 100, 48, 1e-4
# Shares of the kinds of training pair.
KINDS = {"matched": 0.4, "neutral_text": 0.25, "neutral_speech": 0.05, "conflict": 0.3}
# Of an emotional text in a neutral voice, this much belongs to the text's class.
TEXT_SHARE_NEUTRAL_VOICE = 0.5
# Of contradicting pairs, this much belongs to the voice.
VOICE_SHARE = 1.0
# How much more often training voices are doubtful than strangers are mistaken.
DOUBT = 2.0
# What the words' evidence is worth at the start, beside the voice's: words may tip an unsure
# voice, not overrule a clear one. More wins on matched pairs and loses on contradicting ones.
TEXT_WEIGHT = 0.35
POLARITY = [-1, 1, -1, 0]


class Clip(NamedTuple):
    id: str
    path: str
    speaker: str
    sentence: str
    label: int
    fold: int
    views: tuple  # H_s [m, 192] of the clip, then of a disturbed copy
    logits: np.ndarray


class Said(NamedTuple):
    text: str
    history: list
    label: int
    seen: bool  # whether the text student was trained on it
    rows: np.ndarray  # H_t [n, 192], own rows only
    logits: np.ndarray


def folder(work: Path) -> Path:
    path = Path(work) / "fusion"
    path.mkdir(parents=True, exist_ok=True)
    return path


# -- what the encoders output -------------------------------------------------------

def clips(data: Path, work: Path, fold) -> list[Clip]:
    """Every four-class clip as this fold's speech student hears it."""
    stored = dict(np.load(speech.features(data, work, fold)))
    found, made = audio.clips(data), []
    folds = audio.fold_of(found)
    for i, clip in enumerate(found):
        if clip.emotion in td.CLASSES:
            views = tuple(cut(stored, suffix, i) for suffix in ("", "_1"))
            label = td.CLASSES.index(clip.emotion)
            made.append(Clip(clip.id, str(clip.path), clip.speaker, clip.text, label, int(folds[i]), views, stored["logits"][i]))
    return made


def cut(stored: dict, suffix: str, i: int):
    """H_s [m, 192] of clip i."""
    return stored["frames" + suffix][slice(*stored["offsets" + suffix][i : i + 2])].astype(np.float32)


def carriers() -> list[str]:
    """Own sentences without emotion, as acted corpora and test readers use them."""
    lines = (Path(__file__).parent / "carriers.txt").read_text(encoding="utf-8").split("\n")
    return [line for line in lines if line and not line.startswith("#")]


def training_texts(root: Path) -> list[tuple[td.Item, bool]]:
    """(item, seen by the text student). Unseen sets first: their errors are honest."""
    rng = random.Random(5)
    unseen = rng.sample(td.goemotions(root, "dev"), 1200) + td.tweeteval(root, "val")
    seen = [i for i in td.training_items(root) if i.source == "meld"]
    picked = rng.sample([i for i in seen if i.label != NEUTRAL], 1200) + rng.sample([i for i in seen if i.label == NEUTRAL], 500)
    # a board often has no history: every second dialogue item goes without
    picked = [i if n % 2 else i._replace(history=[]) for n, i in enumerate(picked)]
    bank = [td.Item("carrier", line, NEUTRAL, []) for line in carriers()]
    return [(i, False) for i in unseen + bank] + [(i, True) for i in picked]


def said(work: Path, items, name: str) -> list[Said]:
    """Items [(item, seen)] through the int8 text encoder, cached under `name`."""
    model, cache = Path(work) / "bundles/final/int8/text.onnx", folder(work) / f"text_{name}.npz"
    if not newer(cache, model):
        np.savez(cache, **text.onnx_features(model, work, [item for item, _ in items]))
    stored = dict(np.load(cache))
    rows = np.split(stored["rows"].astype(np.float32), stored["offsets"][1:-1])
    return [Said(i.text, i.history, i.label, seen, r, x) for (i, seen), r, x in zip(items, rows, stored["logits"], strict=True)]


# -- the heads ----------------------------------------------------------------------

class Head(nn.Module):
    """H_t, H_s to logits; `variant` says which attention mixes the frames."""

    def __init__(self, variant: str):
        super().__init__()
        self.variant = variant
        self.w = nn.Parameter(torch.zeros(DIM, DIM))
        self.label_text, self.label_speech = nn.Parameter(torch.zeros(CLASSES, DIM)), nn.Parameter(torch.zeros(CLASSES, DIM))
        self.classify = nn.Linear(2 * DIM, CLASSES)
        self.scale = nn.Parameter(torch.tensor(10.0))

    def start_from(self, texts: list[Said], text_student, speech_student) -> None:
        """Both unimodal heads side by side, and short training from there.

        W = u s^T, with u.h ~ 1 for every token h, attends to frames as the speech head's
        salience s does. The ridge draws u.h below 1, which flattens that attention: hence
        the division by its mean. The bias takes away what neutral words say on average, so
        that they leave the verdict to the voice instead of voting for neutral.
        """
        tokens = torch.tensor(np.concatenate([t.rows for t in texts]))
        ones = torch.linalg.lstsq(tokens.T @ tokens + len(tokens) * 1e-3 * torch.eye(DIM), tokens.sum(0)).solution
        ones = ones / (tokens @ ones).mean()
        neutral = torch.tensor(np.mean([t.rows.mean(0) for t in unseen_neutral(texts)], 0))
        with torch.no_grad():
            from_text = TEXT_WEIGHT * text_student.classify.weight
            self.w.copy_(torch.outer(ones, speech_student.salience.weight[0]))
            self.classify.weight.copy_(torch.cat([from_text, speech_student.classify.weight], 1))
            self.classify.bias.copy_(speech_student.classify.bias - from_text @ neutral)
            self.label_text.copy_(text_student.labels)
            self.label_speech.copy_(speech_student.labels)

    def forward(self, ht, ts, hs, ss):
        """ht [B, n, 192], hs [B, m, 192]; ts, ss: which rows are real. Padding changes nothing."""
        hidden = ~ss[:, None, :]
        g_text, g_speech = cosines(ht, self.label_text), cosines(hs, self.label_speech)
        real = (ht @ self.w @ hs.transpose(1, 2)).masked_fill(hidden, -1e4).softmax(-1)
        label = (g_text @ g_speech.transpose(1, 2) / LABEL_TEMPERATURE).masked_fill(hidden, -1e4).softmax(-1)
        mixed = label if self.variant == "al" else real
        v = masked_mean(torch.cat([ht, mixed @ hs], -1), ts)
        gap = masked_mean(((label - real) ** 2).sum(-1, keepdim=True), ts)
        guided = [self.scale * masked_mean(g, mask) for g, mask in ((g_text, ts), (g_speech, ss))]
        return self.classify(v), gap.mean(), *guided


def unseen_neutral(texts: list[Said]) -> list[Said]:
    """Neutral words that the text student was not trained on, carriers among them."""
    return [t for t in texts if t.label == NEUTRAL and not t.seen]


def cosines(rows, labels):
    return F.normalize(rows, dim=-1) @ F.normalize(labels, dim=-1).T


# -- training pairs -----------------------------------------------------------------

class Pairs:
    """Draws training pairs of every kind; one seed, one sequence."""

    def __init__(self, clips: list[Clip], texts: list[Said], confusion, text_accuracy: float, seed: int):
        self.rng = random.Random(seed)
        self.clips = [[c for c in clips if c.label == k] for k in range(CLASSES)]
        self.texts = [[t for t in texts if t.label == k] for k in range(CLASSES)]
        self.bank = unseen_neutral(texts)
        self.confusion = np.asarray(confusion, float)
        self.confusion /= self.confusion.sum(1, keepdims=True)
        self.text_accuracy = text_accuracy

    def speech_of(self, label: int) -> list[Clip]:
        """A clip of `label`, often followed by one of a class that it is mistaken for.

        The encoder is sure of every speaker it was trained on. Two classes in one clip are
        the doubt that it shows about a stranger; doubt is DOUBT times as frequent as error.
        """
        row = self.confusion[label].copy()
        row[label] = 0
        doubted = self.rng.random() < DOUBT * row.sum()
        classes = [label] + (self.rng.choices(range(CLASSES), row) if doubted else [])
        return [self.rng.choice(self.clips[k]) for k in classes]

    def text_of(self, label: int) -> Said:
        """A text of `label`, or, for a text the student has learnt by heart, sometimes another's."""
        chosen = self.rng.choice(self.texts[label])
        if chosen.seen and self.rng.random() > self.text_accuracy + 0.15:
            return self.rng.choice(self.texts[self.rng.choice([k for k in range(CLASSES) if k != label])])
        return chosen

    def draw(self):
        """(text, clips heard one after the other, target [4])"""
        kind = self.rng.choices(list(KINDS), KINDS.values())[0]
        return getattr(self, kind)()

    def matched(self):
        label = self.rng.randrange(CLASSES)
        return self.text_of(label), self.speech_of(label), one_hot(label)

    def neutral_text(self):
        label = self.rng.randrange(CLASSES)
        neutral = self.rng.choice(self.bank if self.rng.random() < 0.6 else self.texts[NEUTRAL])
        return neutral, self.speech_of(label), one_hot(label)

    def neutral_speech(self):
        label = self.rng.randrange(NEUTRAL)
        target = mixture(label, NEUTRAL, TEXT_SHARE_NEUTRAL_VOICE)
        return self.rng.choice(self.texts[label]), self.speech_of(NEUTRAL), target

    def conflict(self):
        heard = self.rng.randrange(NEUTRAL)
        read = self.rng.choice([k for k in range(NEUTRAL) if POLARITY[k] != POLARITY[heard]])
        return self.rng.choice(self.texts[read]), self.speech_of(heard), mixture(heard, read, VOICE_SHARE)


def one_hot(label: int):
    return mixture(label, label, 1.0)


def mixture(first: int, second: int, share: float):
    target = np.zeros(CLASSES, np.float32)
    target[first] += share
    target[second] += 1 - share
    return target


def stack(arrays):
    width = max(map(len, arrays))
    out, mask = torch.zeros(len(arrays), width, DIM), torch.zeros(len(arrays), width, dtype=torch.bool)
    for row, array in enumerate(arrays):
        out[row, : len(array)], mask[row, : len(array)] = torch.from_numpy(array), True
    return out, mask


def step_loss(head: Head, drawn, rng: random.Random):
    texts, heard, targets = zip(*drawn)
    frames = [np.concatenate([clip.views[rng.randrange(2)] for clip in clips]) for clips in heard]
    logits, gap, from_text, from_speech = head(*stack([t.rows for t in texts]), *stack(frames))
    losses = [F.cross_entropy(logits, torch.tensor(np.array(targets)), label_smoothing=0.05)]
    losses.append(gap if head.variant == "constraint" else gap * 0)
    losses.append(F.cross_entropy(from_text, torch.tensor([t.label for t in texts])))
    losses.append(F.cross_entropy(from_speech, torch.tensor([clips[0].label for clips in heard])))
    return sum(mu * loss for mu, loss in zip(MU, losses))


def fit(variant: str, pairs: Pairs, start) -> Head:
    """Trains the words' half of the verdict and the label embeddings.

    The voice's half stays as the speech student learnt it: that student knows its training
    speakers by heart, and a half fitted to them again loses 2 points on strangers.
    """
    head = Head(variant)
    head.start_from(*start)
    head.w.requires_grad_(False)
    head.classify.weight.register_hook(lambda gradient: gradient * (torch.arange(2 * DIM) < DIM))
    adam = torch.optim.AdamW([p for p in head.parameters() if p.requires_grad], RATE, weight_decay=0)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, STEPS, pct_start=0.1)
    for _ in range(STEPS):
        loss = step_loss(head, [pairs.draw() for _ in range(BATCH)], pairs.rng)
        adam.zero_grad()
        loss.backward()
        adam.step()
        rate.step()
    return head.eval()


def checkpoint(work: Path, fold, variant: str) -> Path:
    return folder(work) / f"{speech.tag(fold)}_{variant}.pt"


def train(data: Path, work: Path, fold=None, seed: int = 0) -> None:
    """The three heads of a fold; speakers of the fold are never heard."""
    data, work = Path(data), Path(work)
    accuracy = text.evaluate(data, work)["int8"]["history"]["accuracy"]
    texts = said(work, training_texts(td.unpack(data, work)), "train")
    known = [c for c in clips(data, work, fold) if fold is None or c.fold != fold]
    confusion = json.loads((work / "speech_cv.json").read_text())["confusion"]
    start = texts, text.load_student(work), speech.restore(speech.checkpoint(work, fold))
    for variant in VARIANTS:
        path = checkpoint(work, fold, variant)
        if not path.exists():
            torch.manual_seed(seed)
            torch.save(fit(variant, Pairs(known, texts, confusion, accuracy, seed), start).state_dict(), path)


def load(work: Path, fold, variant: str) -> Head:
    head = Head(variant)
    head.load_state_dict(torch.load(checkpoint(work, fold, variant)))
    return head.eval()


# -- held-out lists and figures -----------------------------------------------------

LISTS = ("pairs", "heard", "neutral_text", "neutral_meld", "conflict")


def held_out_lists(data: Path, work: Path, fold: int):
    """{list: [(clip, text)]} of the fold's speakers; seed fixed.

    pairs: a MELD dev text of the clip's class, two to a clip. heard: the same, but of the texts
    of which something was recognised, in recognised words. neutral_text: the sentence that
    was really spoken. neutral_meld: a neutral MELD dev text. conflict: emotional clips with
    a MELD dev text of the opposite polarity. The label is the voice's in all of them.
    """
    rng = random.Random(100 + fold)
    root, heard_as = td.unpack(data, work), heard.read(work)
    items = td.meld(root, "dev")
    dev = said(work, [(i, False) for i in items], "dev")
    recognised = said(work, [(heard.as_heard(i, heard_as), False) for i in items if heard_as.get(i.text)], "dev_heard")
    held = [c for c in clips(data, work, fold) if c.fold == fold]
    sentences = sorted({c.sentence for c in held})
    spoken = said(work, [(td.Item("ravdess", s, NEUTRAL, []), False) for s in sentences], "sentences")
    of = [[t for t in dev if t.label == k] for k in range(CLASSES)]
    opposite = lambda k: [t for t in dev if POLARITY[t.label] == -POLARITY[k]]
    twice = [c for c in held for _ in range(2)]
    understood = [[t for t in recognised if t.label == k] for k in range(CLASSES)]
    choose = random.Random(200 + fold)  # of its own, so that the other lists stay what they were
    return {
        "pairs": [(c, rng.choice(of[c.label])) for c in twice],
        "heard": [(c, choose.choice(understood[c.label])) for c in twice],
        "neutral_text": [(c, spoken[sentences.index(c.sentence)]) for c in held],
        "neutral_meld": [(c, rng.choice(of[NEUTRAL])) for c in held],
        "conflict": [(c, rng.choice(opposite(c.label))) for c in twice if c.label != NEUTRAL],
    }


def write_list(path: Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["id", "audio", "text", "label", "history", "speaker"])
        for n, (clip, said_) in enumerate(rows):
            history = json.dumps(said_.history, ensure_ascii=False)
            out.writerow([f"{clip.id}_{n}", clip.path, said_.text, td.CLASSES[clip.label], history, clip.speaker])


@torch.no_grad()
def head_logits(head: Head, rows):
    out = [head(*stack([t.rows]), *stack([c.views[0]]))[0][0].numpy() for c, t in rows]
    return np.array(out)


def softmax(x, temperature):
    return F.softmax(torch.tensor(x) / temperature, -1).numpy()


def unimodal_temperatures(data: Path, work: Path) -> dict:
    return {
        "text": text.evaluate(data, work)["temperature"],
        "speech": json.loads((work / "speech_cv.json").read_text())["temperature"],
    }


def fold_logits(data: Path, work: Path, fold: int) -> dict:
    """{list: {system: logits or probabilities}}, labels under "label"; writes the lists as CSV."""
    heads = {v: load(work, fold, v) for v in VARIANTS}
    temperature, result = unimodal_temperatures(data, work), {}
    for name, rows in held_out_lists(data, work, fold).items():
        write_list(work / f"cv/{name}_fold{fold}.csv", rows)
        from_text, from_speech = np.array([t.logits for _, t in rows]), np.array([c.logits for c, _ in rows])
        score = (softmax(from_text, temperature["text"]) + softmax(from_speech, temperature["speech"])) / 2
        systems = {"text": from_text, "speech": from_speech, "score": score}
        systems |= {v: head_logits(head, rows) for v, head in heads.items()}
        result[name] = systems | {"label": np.array([c.label for c, _ in rows])}
    return result


def accuracy_and_recall(outputs, label) -> tuple[float, float]:
    """(WA, UA)"""
    guess = outputs.argmax(1)
    return float((guess == label).mean()), float(np.mean([(guess[label == k] == k).mean() for k in np.unique(label)]))


def evaluate(data: Path, work: Path) -> dict:
    """Mean over folds of WA and UA for each list and system, and the fused temperatures."""
    data, work = Path(data), Path(work)
    folds = [fold_logits(data, work, k) for k in range(audio.FOLDS)]
    table = {}
    for name in LISTS:
        systems = [s for s in folds[0][name] if s != "label"]
        per_fold = {s: [accuracy_and_recall(f[name][s], f[name]["label"]) for f in folds] for s in systems}
        table[name] = {s: [round(float(x), 4) for x in np.mean(v, 0)] for s, v in per_fold.items()}
    pooled = lambda key: np.concatenate([f["pairs"][key] for f in folds])
    temperatures = {v: fit_temperature(pooled(v), pooled("label")) for v in VARIANTS}
    figures = {"wa_ua": table, "temperature": temperatures}
    (work / "fusion_cv.json").write_text(json.dumps(figures, indent=1) + "\n")
    (work / "temperature.json").write_text(json.dumps(unimodal_temperatures(data, work)) + "\n")
    return figures


# -- export -------------------------------------------------------------------------

INPUTS = ["text", "speech", "w", "label_text", "label_speech", "classifier", "bias"]
OUTPUTS = ["logits", "attention", "g_text", "g_speech"]


def node(op: str, inputs, output: str, **attributes):
    return helper.make_node(op, inputs, [output], **attributes)


def cosine_nodes(rows: str, labels: str, output: str):
    """output = normalised rows @ normalised labels^T"""
    nodes = []
    for value in (rows, labels):
        norm, floor, unit = f"{value}_norm_{output}", f"{value}_floor_{output}", f"{value}_unit_{output}"
        nodes += [node("ReduceL2", [value], norm, axes=[1], keepdims=1), node("Max", [norm, "tiny"], floor), node("Div", [value, floor], unit)]
    nodes.append(node("Transpose", [f"{labels}_unit_{output}"], f"{output}_columns", perm=[1, 0]))
    return nodes + [node("MatMul", [f"{rows}_unit_{output}", f"{output}_columns"], output)]


def attention_nodes(by_label: bool):
    if not by_label:
        scores = [node("MatMul", ["text", "w"], "query"), node("Transpose", ["speech"], "keys", perm=[1, 0]), node("MatMul", ["query", "keys"], "scores")]
    else:
        temperature = helper.make_node("Constant", [], ["temperature_value"])
        reference = AttributeProto(name="value_float", ref_attr_name="temperature", type=AttributeProto.FLOAT)
        temperature.attribute.append(reference)
        scores = [
            temperature,
            node("Transpose", ["g_speech"], "g_columns", perm=[1, 0]),
            node("MatMul", ["g_text", "g_columns"], "agreement"),
            node("Div", ["agreement", "temperature_value"], "scores"),
        ]
    return scores + [node("Softmax", ["scores"], "attention", axis=-1)]


def function(by_label: bool):
    """The head as a model-local function: plain ONNX that any runtime can run."""
    nodes = [node("Constant", [], "tiny", value_float=1e-12)]
    nodes += cosine_nodes("text", "label_text", "g_text") + cosine_nodes("speech", "label_speech", "g_speech")
    nodes += attention_nodes(by_label)
    nodes += [
        node("MatMul", ["attention", "speech"], "mixed"),
        node("Concat", ["text", "mixed"], "joined", axis=1),
        node("ReduceMean", ["joined"], "v", axes=[0], keepdims=0),
        node("MatMul", ["classifier", "v"], "product"),
        node("Add", ["product", "bias"], "logits"),
    ]
    name, inputs = ("LabelAttentionFusion", [i for i in INPUTS if i != "w"]) if by_label else ("CrossAttentionFusion", INPUTS)
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_function("demeanor", name, inputs, OUTPUTS, nodes, opset, attributes=["temperature"] if by_label else [])


def export_head(head: Head, path: Path, plain) -> int:
    by_label = head.variant == "al"
    graph, made = Graph("fusion", int8=False), function(by_label)
    graph.functions.append(made)
    values = {"w": head.w, "label_text": head.label_text, "label_speech": head.label_speech, "classifier": head.classify.weight, "bias": head.classify.bias}
    graph.input("text", ["n", DIM])
    graph.input("speech", ["m", DIM])
    inputs = [graph.f32(values[i].detach().numpy(), i) if i in values else i for i in made.input]
    given = [graph.fresh("logits"), *OUTPUTS[1:]]
    graph.call("demeanor", made.name, inputs, given, **({"temperature": LABEL_TEMPERATURE} if by_label else {}))
    said = graph.input("words", [CLASSES])
    neutral = graph.op("Gather", [graph.op("Softmax", [said], axis=-1), graph.ints([NEUTRAL])], axis=0)
    mean = graph.op("ReduceMean", ["speech"], axes=[0], keepdims=1)
    shift = graph.op("Reshape", [graph.linear(mean, *plain, "plain"), graph.ints([-1])])
    graph.nodes.append(node("Add", [given[0], graph.mul(shift, neutral)], "logits"))
    shapes = ([CLASSES], ["n", "m"], ["n", CLASSES], ["m", CLASSES])
    for name, shape in zip(OUTPUTS, shapes):
        graph.outputs.append(helper.make_tensor_value_info(name, 1, shape))
    return graph.save(path)


def export(work: Path, fold, out_dir: Path, plain) -> dict:
    """Writes the three heads. `plain`, the map (weights and bias) that makes plain talk neutral, counts as far as the
    words are neutral by their own logits, which the heads read too. Returns their sizes in bytes."""
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    return {file: export_head(load(Path(work), fold, v), out_dir / file, plain) for v, file in FILES.items()}
