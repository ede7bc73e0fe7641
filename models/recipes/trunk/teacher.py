"""MPNet, fine-tuned by all tasks at once: soft labels for every text by a teacher that never saw it.

The texts are in three folds, copies of one in the same; each fold's teacher learns from the
other two and then speaks for its own.
"""

import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from common import device
from emotion import text_data
from emotion.text_model import Mpnet, masked_mean
from trunk import batches as tb
from trunk import data as td
from trunk import heads as th
from trunk import model as tm

RATE, HEAD_RATE, WARM_UP, DECAY, DROPOUT = 4e-5, 6e-4, 0.08, 0.01, 0.1
BATCH_TOKENS = 6000
EPOCHS = 0.6  # of those of the student
DIM = 768


class Teacher(nn.Module):
    def __init__(self, path: Path):
        super().__init__()
        self.mpnet = Mpnet(path, DROPOUT)
        # what is told of a word's shape, and of what stands beside it, is at first nothing
        self.kinds = nn.Embedding(td.KINDS, DIM)
        nn.init.zeros_(self.kinds.weight)
        self.reader = tm.Reader(dim=DIM)
        self.classes = nn.ModuleDict({name: nn.Linear(DIM, n) for name, n in th.WIDTHS.items()})
        self.register_buffer("ids", ids_of_mpnet())

    def forward(self, batch: tb.Batch, words):
        """Logits by task, and the reader's answers if the batch has any."""
        rows = self.mpnet(self.ids[batch.ids], batch.first(batch.lengths), self.kinds(batch.kinds))
        mean = F.dropout(masked_mean(rows, batch.words >= 0), DROPOUT, self.training)
        spans = self.reader(rows, batch.first(batch.own), *words.of(batch.pictures)) if batch.task in th.SPANS else None
        return {name: head(mean) for name, head in self.classes.items()}, spans


def ids_of_mpnet() -> torch.Tensor:
    """BERT's vocabulary, four places further on; [CLS], [SEP], padding and the mask have others."""
    ids = torch.arange(tm.VOCABULARY) + 4
    ids[[0, 101, 102, 103]] = torch.tensor([1, 0, 2, tm.VOCABULARY + 4])
    return ids


def loss_of(model: Teacher, batch: tb.Batch, words):
    with torch.autocast(batch.ids.device.type, torch.bfloat16):
        found, spans = model(batch, words)
    if batch.task in th.SPANS:
        return th.span_loss(spans, batch.labels, batch.words, th.SPANS[batch.task])
    return F.cross_entropy(found[batch.task].float(), batch.labels, label_smoothing=th.SMOOTHING)


def train(model: Teacher, made: list[tb.Batch], words, where) -> Teacher:
    body, heads = [*model.mpnet.parameters(), *model.kinds.parameters()], [*model.reader.parameters(), *model.classes.parameters()]
    optim = torch.optim.AdamW([{"params": body, "lr": RATE}, {"params": heads, "lr": HEAD_RATE}], weight_decay=DECAY, betas=(0.9, 0.98), fused=True)
    total, began = len(made), time.time()
    shape = lambda step: min((step + 1) / (WARM_UP * total), (total - step) / (total * (1 - WARM_UP)))
    schedule = torch.optim.lr_scheduler.LambdaLR(optim, shape)
    model.train()
    for step, each in enumerate(made):
        loss_of(model, each.to(where), words).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step(), schedule.step(), optim.zero_grad(set_to_none=True)
        if (step + 1) % 200 == 0:
            print(f"teacher: step {step + 1} of {total}, {(time.time() - began) / 60:.1f} min", flush=True)
    return model.eval()


class Soft:
    """What a teacher says of each text: logits with its picture or history and without, and, of
    texts with entities, where they begin and end."""

    def __init__(self, count: int):
        self.logits = np.zeros((count, 2, sum(th.WIDTHS.values())), np.float16)
        self.spans: dict[int, np.ndarray] = {}  # [2, 4, tokens]

    def packed(self) -> dict[str, np.ndarray]:
        at = np.array(sorted(self.spans), np.int64)
        flat = [self.spans[i].reshape(8, -1).T for i in at]
        lengths = np.array([len(each) for each in flat], np.int64)
        return {"logits": self.logits, "at": at, "lengths": lengths, "spans": np.concatenate(flat) if flat else np.zeros((0, 8), np.float16)}


@torch.no_grad()
def speak(model: Teacher, made: list[tb.Batch], words, where, soft: Soft) -> None:
    for each in made:
        each = each.to(where)
        with torch.autocast(where.type, torch.bfloat16):
            found, spans = model(each, words)
        logits = torch.cat([found[name].float() for name in th.WIDTHS], -1).half().cpu().numpy()
        beside = each.beside.cpu().numpy().astype(int)
        soft.logits[each.which.cpu().numpy(), beside] = logits
        if spans is not None:
            marks = torch.stack([spans[1], spans[2]], 1).float().sigmoid().half().cpu().numpy()
            for row, (i, n) in enumerate(zip(each.which.tolist(), each.own.tolist())):
                soft.spans[i] = marks[row, :, :, :n]


def run(items, plan, words, tokenizer, work: Path, fold: int, processes: int, tokens: int = BATCH_TOKENS) -> Path:
    """teacher-FOLD.npz: what the fold's teacher says of its texts. `plan`: (indices, epochs)."""
    done = work / f"teacher-{fold}.npz"
    if done.exists():
        return done
    where, rng = device.best(), random.Random(f"teacher {fold}")
    theirs = [i for i, item in enumerate(items) if tb.fold_of(item) == fold or tb.of_check(item)]
    hidden = set(theirs)
    learnt = [([i for i in which if i not in hidden], EPOCHS * epochs) for which, epochs in plan]
    made = tb.make(items, words, tokenizer, tb.jobs(learnt, tokens, rng, f"teacher {fold}"), processes)
    rng.shuffle(made)
    blind = [item._replace(picture=(), history=()) for item in items]
    speaking, own = [], {item.task: [] for item in items}
    for i in theirs:
        own[items[i].task].append(i)
    for which in filter(None, own.values()):
        with_any = [i for i in which if items[i].picture or items[i].history]
        # of where entities are, what is said last counts: with the picture, where there is one
        speaking += tb.make(blind, words, tokenizer, [(which, 4 * tokens, None)], 1)
        speaking += tb.make(items, words, tokenizer, [(with_any, 4 * tokens, None)], 1) if with_any else []
    print(f"teacher {fold}: {len(made)} batches", flush=True)
    torch.manual_seed(fold)
    words.rows = words.rows.to(where)
    model = Teacher(text_data.mpnet(work) / "model.safetensors").to(where)
    soft = Soft(len(items))
    speak(train(model, made, words, where), speaking, words, where, soft)
    # of a text with nothing beside it both views are one
    bare = [i for i in theirs if not (items[i].picture or items[i].history)]
    soft.logits[bare, 1] = soft.logits[bare, 0]
    report(items, theirs, soft, fold)
    np.savez(done, theirs=np.array(theirs), **soft.packed())
    return done


def report(items, theirs, soft: Soft, fold: int) -> None:
    """Accuracy on texts that this teacher never saw."""
    for place, (name, width) in enumerate(th.WIDTHS.items()):
        at = sum(list(th.WIDTHS.values())[:place])
        of = [i for i in theirs if items[i].task == name]
        if of:
            right = np.mean([soft.logits[i, 1, at : at + width].argmax() == items[i].label for i in of])
            print(f"teacher {fold} on {len(of)} unseen of {name}: accuracy {right:.4f}", flush=True)
