"""Trains the text trunk with all its heads at once, one process, with checkpoints.

Every step is a batch of one task. A task's share of the steps is what its plan says; nothing is
chosen by a look at a dev part.
"""

import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from emotion import text_data
from emotion.text_model import masked_mean
from trunk import data as td
from trunk import model as tm

BATCH_TOKENS = 1400
TRUNK_RATE, HEAD_RATE, WARM_UP, DECAY = 1e-4, 6e-4, 0.06, 0.01
# The weights that stay are the mean of those that the last part of the steps came by.
MEAN_FROM, MEAN_EVERY = 0.6, 10
CONTRAST = 0.2
SAVE_EVERY = 300  # steps
MASK, MASKED = 103, 0.06  # share of word pieces that the trunk does not see while it learns

# Classes of the tasks that are a label a text.
CLASSES = {"irony": 2, "ekman": 7, "meld": 7, "tweet-emotion": 4, "sentiment": 3, "sst2": 2}


def plan(data: Path, root: Path) -> list[tuple[list[td.Item], float]]:
    """(items, epochs)."""
    held = td.mmsd2(data, root, "valid") + td.hfm(data, root, "valid2")
    found = td.entities(data, root)
    return [
        (td.apart(td.mmsd2(data, root, "train"), held), 2),
        (td.apart(td.hfm(data, root, "train"), held), 1),
        (td.apart(td.irony(root) + td.mustard(root), held), 1),
        (found["twitter"], 4),
        (found["gmner"], 2),
        (found["btc"], 1),
        (found["wnut17"], 1.5),
        (td.goemotions(root), 0.2),
        (td.meld(root), 0.5),
        (td.tweeteval(root, "emotion", "train") + td.tweeteval(root, "emotion", "test"), 1),
        (td.sentiment(data, root), 1),
        (td.sst2(root), 0.4),
    ]


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = tm.Trunk()
        self.fgm = nn.ModuleDict({name: tm.Fgm() for name in ("sarcasm", "hfm")})
        self.alone = nn.ModuleDict({name: nn.Linear(tm.DIM, 2) for name in ("sarcasm", "hfm")})
        self.reader = tm.Reader()
        self.classes = nn.ModuleDict({name: nn.Linear(tm.DIM, n) for name, n in CLASSES.items()})


class Words:
    """Rows of picture words, made once."""

    def __init__(self, folder: Path, tokenizer, items):
        known = sorted({word for item in items for word in item.picture})
        self.at = {word: i for i, word in enumerate(known)}
        self.rows = tm.word_rows(folder / "model.safetensors", tokenizer, known or ["nothing"])

    def collate(self, pictures):
        width = max(1, *(len(p) for p in pictures))
        rows, seen = torch.zeros(len(pictures), width, tm.DIM), torch.zeros(len(pictures), width, dtype=torch.bool)
        for i, picture in enumerate(pictures):
            if picture:
                rows[i, : len(picture)] = self.rows[[self.at[word] for word in picture]]
                seen[i, : len(picture)] = True
        return rows, seen


def collate(encoded):
    width = max(len(e.ids) for e in encoded)
    pad = lambda rows, value: torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])
    ids, kinds, words = (pad([getattr(e, name) for e in encoded], value) for name, value in (("ids", 0), ("kinds", 0), ("words", -1)))
    real = torch.tensor([[i < len(e.ids) for i in range(width)] for e in encoded])
    return ids, kinds, real, words


def epoch_batches(items, epochs: float, tokenizer, rng: random.Random):
    """Batches of [(item, encoded)], each of texts of about one length."""
    chosen = []
    while epochs > 0:
        drawn = list(items)
        rng.shuffle(drawn)
        chosen += drawn[: int(len(drawn) * min(epochs, 1))]
        epochs -= 1
    pairs = [(item, td.encode(tokenizer, item.text, item.picture)) for item in (td.disturb(item, rng) for item in chosen)]
    made = []
    for start in range(0, len(pairs), 2048):
        batch, longest = [], 0
        for pair in sorted(pairs[start : start + 2048], key=lambda p: len(p[1].ids) + rng.random()):
            longest = max(longest, len(pair[1].ids))
            if batch and longest * (len(batch) + 1) > BATCH_TOKENS:
                made.append(batch)
                batch, longest = [], len(pair[1].ids)
            batch.append(pair)
        made.append(batch)
    return made


def batches(data: Path, root: Path, tokenizer, seed: int):
    made = []
    for items, epochs in plan(data, root):
        rng = random.Random(f"{seed} {items[0].task} {len(items)}")
        found = epoch_batches(items, epochs, tokenizer, rng)
        print(f"{items[0].task}: {len(items)} texts, {epochs} epochs, {len(found)} batches", flush=True)
        made += found
    random.Random(seed).shuffle(made)
    return made


# -- losses -------------------------------------------------------------------------------


def targets(group, words):
    """exist [B, 4], start and end [B, 4, N], match [B, 4, N, N] of items with entities."""
    count, width = words.shape
    start = torch.zeros(count, len(td.TYPES), width)
    end, match = start.clone(), torch.zeros(count, len(td.TYPES), width, width)
    for i, (item, _) in enumerate(group):
        own = words[i].tolist()
        for first, past, name in item.label:
            if first in own and past - 1 in own:
                a, b = own.index(first), width - 1 - own[::-1].index(past - 1)
                kind = td.TYPES.index(name)
                start[i, kind, a], end[i, kind, b], match[i, kind, a, b] = 1, 1, 1
    return start.amax(-1), start, end, match


def edges_of_words(words):
    """Tokens that begin a word, and those that end one."""
    before = F.pad(words, (1, 0), value=-1)[:, :-1]
    after = F.pad(words, (0, 1), value=-1)[:, 1:]
    return (words >= 0) & (words != before), (words >= 0) & (words != after)


def span_loss(outputs, group, words, types: int):
    exist, start, end, match = (each[:, :types].float() for each in outputs)
    gold_exist, gold_start, gold_end, gold_match = (each[:, :types] for each in targets(group, words))
    first, last = edges_of_words(words)
    loss = F.binary_cross_entropy_with_logits(exist, gold_exist)
    for logits, gold, legal in ((start, gold_start, first), (end, gold_end, last)):
        each = F.binary_cross_entropy_with_logits(logits, gold, reduction="none") * legal[:, None]
        # a few marks among many places: the sum over a sentence, in units of its entities
        loss = loss + each.sum() / (gold.sum() + len(group))
    # pairs that decoding could come to, and the right ones
    likely_start = ((start > -1) | (gold_start > 0)) & first[:, None]
    likely_end = ((end > -1) | (gold_end > 0)) & last[:, None]
    ordered = torch.ones(words.shape[1], words.shape[1], dtype=torch.bool).triu()
    pairs = likely_start[..., None] & likely_end[..., None, :] & ordered
    each = F.binary_cross_entropy_with_logits(match, gold_match, reduction="none") * pairs
    return loss + 0.5 * each.sum() / (gold_match.sum() + len(group))


def loss_of(model: Everything, group, words: Words):
    task = group[0][0].task
    ids, kinds, real, word = collate([encoded for _, encoded in group])
    own = torch.tensor([[i < encoded.own for i in range(ids.shape[1])] for _, encoded in group])
    ids = torch.where((torch.rand(ids.shape) < MASKED) & (word >= 0), MASK, ids)
    pictures = words.collate([item.picture for item, _ in group])
    with torch.autocast("cpu", torch.bfloat16):
        tokens = model.trunk(ids, kinds, real)
        if task in ("entities", "three-types"):
            outputs = model.reader(tokens, own, *pictures)
        else:
            mean = masked_mean(tokens, word >= 0)
            if task in model.fgm:
                logits, q = model.fgm[task](tokens, word >= 0, *pictures)
                alone = model.alone[task](mean)
            else:
                logits = model.classes[task](F.dropout(mean, 0.1, model.training))
    if task in ("entities", "three-types"):
        return span_loss(outputs, group, word, 4 if task == "entities" else 3)
    labels = torch.tensor([item.label for item, _ in group])
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=0.05)
    if task in model.fgm:
        loss = loss + 0.5 * F.cross_entropy(alone.float(), labels) + CONTRAST * tm.contrast(q, labels)
    return loss


def optimiser(model: Everything):
    groups = []
    for part, rate in ((model.trunk, TRUNK_RATE), (nn.ModuleList([model.fgm, model.alone, model.reader, model.classes]), HEAD_RATE)):
        matrices = [p for p in part.parameters() if p.ndim > 1]
        others = [p for p in part.parameters() if p.ndim < 2]
        groups += [{"params": matrices, "lr": rate, "weight_decay": DECAY}, {"params": others, "lr": rate, "weight_decay": 0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def train(data: Path, work: Path, seed: int = 0) -> Path:
    """The trunk and its heads, the mean of their last weights; goes on where it was stopped."""
    done, checkpoint = work / f"trunk-{seed}.pt", work / f"trunk-{seed}.part"
    if done.exists():
        return done
    root, folder = td.unpack(data, work), text_data.minilm(work)
    tokenizer = text_data.tokenizer(work)
    torch.manual_seed(seed)
    model = Everything()
    model.trunk.load_minilm(folder / "model.safetensors")
    made = batches(data, root, tokenizer, seed)
    words = Words(folder, tokenizer, [item for group in made for item, _ in group])
    optim = optimiser(model)
    total, first = len(made), 0
    shape = lambda step: min((step + 1) / (WARM_UP * total), max(0.0, (total - step) / (total * (1 - WARM_UP))))
    schedule = torch.optim.lr_scheduler.LambdaLR(optim, shape)
    if checkpoint.exists():
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"]), optim.load_state_dict(state["optim"]), schedule.load_state_dict(state["schedule"])
        first = state["step"]
    mean = torch.optim.swa_utils.AveragedModel(model)
    if checkpoint.exists():
        mean.load_state_dict(state["mean"])
    model.train()
    began, losses = time.time(), {}
    for step in range(first, total):
        # what is masked and dropped is the same whether or not training was stopped before
        torch.manual_seed(seed * 1_000_000 + step)
        loss = loss_of(model, made[step], words)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step(), schedule.step(), optim.zero_grad(set_to_none=True)
        if step >= MEAN_FROM * total and step % MEAN_EVERY == 0:
            mean.update_parameters(model)
        losses.setdefault(made[step][0][0].task, []).append(float(loss.detach()))
        if (step + 1) % 100 == 0:
            minutes = (time.time() - began) / 60
            left = minutes / (step + 1 - first) * (total - step - 1)
            means = " ".join(f"{task} {sum(each) / len(each):.3f}" for task, each in sorted(losses.items()))
            print(f"step {step + 1} of {total}, {minutes:.1f} min, {left:.0f} min left: {means}", flush=True)
            losses = {}
        if (step + 1) % SAVE_EVERY == 0:
            torch.save({"model": model.state_dict(), "optim": optim.state_dict(), "schedule": schedule.state_dict(), "mean": mean.state_dict(), "step": step + 1}, checkpoint)
    torch.save(mean.module.state_dict(), done)
    checkpoint.unlink(missing_ok=True)
    return done
