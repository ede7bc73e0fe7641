"""Trains the text trunk with all its heads at once, one process.

Every step is a batch of one task. A task's share of the steps is what its plan says; nothing is
chosen by a look at a dev part.
"""

import json
import os
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from common import device
from emotion import text_data
from trunk import batches as tb
from trunk import data as td
from trunk import heads as th

TRUNK_RATE, HEAD_RATE, WARM_UP, DECAY = 1.5e-4, 8e-4, 0.06, 0.01
# The weights that stay are the mean of those that the last part of the steps came by.
MEAN_FROM, MEAN_EVERY = 0.6, 10
SAVE_EVERY = 500  # steps
MASK, MASKED = 103, 0.06  # share of word pieces that the trunk does not see while it learns


def plan(data: Path, root: Path) -> list[tuple[list[td.Item], float]]:
    """(items, epochs)."""
    held = td.mmsd2(data, root, "valid") + td.hfm(data, root, "valid2")
    found = td.entities(data, root)
    return [
        (td.apart(td.mmsd2(data, root, "train"), held), 5),
        (td.apart(td.hfm(data, root, "train"), held), 3),
        (td.apart(td.irony(root) + td.mustard(root), held), 3),
        (found["twitter"], 9),
        (found["gmner"], 5),
        (found["btc"], 2),
        (found["wnut17"], 3),
        (td.goemotions(root), 1),
        (td.meld(root), 4),
        (td.tweeteval(root, "emotion", "train") + td.tweeteval(root, "emotion", "test"), 3),
        (td.sentiment(data, root), 2),
        (td.sst2(root), 1),
    ]


class Texts:
    """All items of the plan, one after the other."""

    def __init__(self, data: Path, work: Path):
        self.root, self.folder = td.unpack(data, work), text_data.minilm(work)
        self.tokenizer = text_data.tokenizer(work)
        groups = plan(data, self.root)
        # for a trial of the whole on a small machine
        every, share = int(os.environ.get("DEMEANOR_EVERY", 1)), float(os.environ.get("DEMEANOR_EPOCHS", 1))
        groups = [(items[::every], epochs * share) for items, epochs in groups]
        self.items = [item for items, _ in groups for item in items]
        starts = np.cumsum([0] + [len(items) for items, _ in groups])
        self.plan = [(list(range(a, b)), epochs) for a, b, (_, epochs) in zip(starts, starts[1:], groups)]
        self.words = tb.Words(self.folder, self.tokenizer, self.items)

    def batches(self, seed: int, processes: int) -> list[tb.Batch]:
        rng = random.Random(seed)
        learnt = [([i for i in which if not tb.of_check(self.items[i])], epochs) for which, epochs in self.plan]
        made = tb.make(self.items, self.words, self.tokenizer, tb.jobs(learnt, tb.BATCH_TOKENS, rng, str(seed)), processes)
        rng.shuffle(made)
        return made


class Taught:
    """Soft labels on the machine that trains."""

    def __init__(self, work: Path, count: int, where):
        logits, at, lengths, spans = None, [], [], []
        for fold in range(tb.FOLDS):
            found = np.load(work / f"teacher-{fold}.npz")
            logits = np.zeros((count, *found["logits"].shape[1:]), np.float16) if logits is None else logits
            # copies of the parts that check come from every fold and train nothing
            logits[found["theirs"]] = found["logits"][found["theirs"]]
            at.append(found["at"]), lengths.append(found["lengths"]), spans.append(found["spans"])
        at, lengths = np.concatenate(at), np.concatenate(lengths)
        starts, sizes = np.zeros(count, np.int64), np.zeros(count, np.int64)
        starts[at], sizes[at] = np.cumsum(lengths) - lengths, lengths
        put = lambda array: torch.from_numpy(array).to(where)
        self.logits, self.starts, self.sizes, self.spans = put(logits), put(starts), put(sizes), put(np.concatenate(spans))

    def of(self, batch: tb.Batch):
        logits = self.logits[batch.which, batch.beside.long()]
        if batch.task not in th.SPANS:
            return logits, None
        n = batch.ids.shape[1]
        own = batch.first(batch.own)
        index = self.starts[batch.which][:, None] + torch.arange(n, device=own.device)
        marks = self.spans[index.clamp(max=len(self.spans) - 1)] * own[..., None]
        start, end = marks.permute(0, 2, 1).unflatten(1, (2, 4)).unbind(1)
        return logits, (start, end, self.sizes[batch.which] == batch.own)


def optimiser(model: th.Everything):
    groups = []
    for part, rate in ((model.trunk, TRUNK_RATE), (nn.ModuleList([model.fgm, model.alone, model.reader, model.classes]), HEAD_RATE)):
        matrices = [p for p in part.parameters() if p.ndim > 1]
        others = [p for p in part.parameters() if p.ndim < 2]
        groups += [{"params": matrices, "lr": rate, "weight_decay": DECAY}, {"params": others, "lr": rate, "weight_decay": 0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def train(data: Path, work: Path, seed: int = 0, taught: bool = True, processes: int = os.cpu_count() or 1) -> Path:
    """The trunk and its heads, the mean of their last weights; goes on where it was stopped."""
    kind = "" if taught else "untaught-"
    done = work / f"trunk-{kind}{seed}.pt"
    checkpoint, where = done.with_suffix(".part"), device.best()
    if done.exists():
        return done
    texts = Texts(data, work)
    made, words = texts.batches(seed, processes), texts.words
    words.rows = words.rows.to(where)
    torch.manual_seed(seed)
    model = th.Everything()
    model.trunk.load_minilm(texts.folder / "model.safetensors")
    model = model.to(where)
    soft = Taught(work, len(texts.items), where) if taught else None
    optim = optimiser(model)
    total, first = len(made), 0
    shape = lambda step: min((step + 1) / (WARM_UP * total), max(0.0, (total - step) / (total * (1 - WARM_UP))))
    schedule = torch.optim.lr_scheduler.LambdaLR(optim, shape)
    mean = torch.optim.swa_utils.AveragedModel(model)
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=where)
        for part, name in ((model, "model"), (optim, "optim"), (schedule, "schedule"), (mean, "mean")):
            part.load_state_dict(state[name])
        first = state["step"]
    model.train()
    began, losses = time.time(), {}
    for step in range(first, total):
        # what is masked and dropped is the same whether or not training was stopped before
        torch.manual_seed(seed * 1_000_000 + step)
        each = made[step].to(where)
        ids = torch.where((torch.rand(each.ids.shape, device=where) < MASKED) & (each.words >= 0), MASK, each.ids)
        loss = th.loss_of(model, each, ids, words, soft and soft.of(each))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step(), schedule.step(), optim.zero_grad(set_to_none=True)
        if step >= MEAN_FROM * total and step % MEAN_EVERY == 0:
            mean.update_parameters(model)
        losses.setdefault(each.task, []).append(loss.detach())
        if (step + 1) % 200 == 0:
            minutes = (time.time() - began) / 60
            left = minutes / (step + 1 - first) * (total - step - 1)
            means = " ".join(f"{task} {float(torch.stack(each).mean()):.3f}" for task, each in sorted(losses.items()))
            print(f"{kind}step {step + 1} of {total}, {minutes:.1f} min, {left:.1f} min left: {means}", flush=True)
            losses = {}
        if (step + 1) % SAVE_EVERY == 0:
            torch.save({"model": model.state_dict(), "optim": optim.state_dict(), "schedule": schedule.state_dict(), "mean": mean.state_dict(), "step": step + 1}, checkpoint)
    torch.save(mean.module.cpu().state_dict(), done)
    checkpoint.unlink(missing_ok=True)
    check(mean.module, texts, where, done.with_suffix(".json"))
    return done


@torch.no_grad()
def check(model: th.Everything, texts: Texts, where, path: Path) -> None:
    """Figures on the texts that trained nothing: by them students are told apart."""
    from entities import train as et

    model, words, found = model.to(where).eval(), texts.words, {}
    for which, _ in texts.plan:
        own = [i for i in which if tb.of_check(texts.items[i])]
        task = texts.items[which[0]].task
        right, hit, said, there = [], 0, 0, 0
        for each in tb.make(texts.items, words, texts.tokenizer, [(own, 8000, None)], 1) if own else []:
            each, gold = each.to(where), [texts.items[i].label for i in each.which.tolist()]
            tokens = model.trunk(each.ids, each.kinds, each.first(each.lengths))
            shown = words.of(each.pictures)
            if task in th.SPANS:
                outputs = [x.sigmoid().cpu().numpy() for x in model.reader(tokens, each.first(each.own), *shown)]
                for row, label in enumerate(gold):
                    said_here = et.decode(*(x[row] for x in outputs), each.words[row].cpu())
                    hit, said, there = hit + len(said_here & set(label)), said + len(said_here), there + len(set(label))
            else:
                wordy = each.words >= 0
                logits = model.fgm[task](tokens, wordy, *shown)[0] if task in th.MATCHED else model.of_mean(th.masked_mean(tokens, wordy))[task]
                right += (logits.argmax(-1) == each.labels).tolist()
        name = f"{task}, {len(which)}"
        found[name] = 2 * hit / max(said + there, 1) if task in th.SPANS else float(np.mean(right or [0]))
        print(f"{len(own)} texts of {name}: {found[name]:.4f}", flush=True)
    path.write_text(json.dumps(found, indent=1))
