"""More of the same language first: MiniLM goes on guessing masked words, in posts and talk."""

import os
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from common import device
from trunk import batches as tb
from trunk import model as tm

EPOCHS, RATE, WARM_UP, DECAY = 6, 2e-4, 0.06, 0.01
BATCH_TOKENS = 12000
MASK, MASKED = 103, 0.2


def path(work: Path) -> Path:
    return work / "language.pt"


class Guess(nn.Module):
    """Logits over the vocabulary by the trunk's own table."""

    def __init__(self, trunk: tm.Trunk):
        super().__init__()
        self.trunk, self.dense = trunk, nn.Linear(tm.DIM, tm.DIM)
        self.norm, self.bias = nn.LayerNorm(tm.DIM, tm.LN_EPS), nn.Parameter(torch.zeros(tm.VOCABULARY))
        # a row of the table is about 1 long: guessing begins with a fitting scale
        nn.init.constant_(self.norm.weight, 0.3)

    def forward(self, rows):
        return self.norm(F.gelu(self.dense(rows))) @ self.trunk.words.weight.T + self.bias


def train(texts, work: Path, seed: int = 0, processes: int = os.cpu_count() or 1) -> Path:
    """language.pt: the trunk. `texts`: `train.Texts`."""
    if path(work).exists():
        return path(work)
    where, rng, jobs = device.best(), random.Random(f"language {seed}"), []
    epochs = EPOCHS * float(os.environ.get("DEMEANOR_EPOCHS", 1))
    # whoever wrote a text, its words are language: copies are read once
    distinct = list({tb.td.key(item.text): i for i, item in enumerate(texts.items)}.values())
    plain = [item._replace(task="language", label=0) for item in texts.items]
    for drawn in tb.draws(distinct, epochs, rng):
        jobs += [(drawn[at : at + 10000], BATCH_TOKENS, f"language {seed} {at} {rng.random()}") for at in range(0, len(drawn), 10000)]
    made = tb.make(plain, texts.words, texts.tokenizer, jobs, processes)
    rng.shuffle(made)
    torch.manual_seed(seed)
    trunk = tm.Trunk()
    trunk.load_minilm(texts.folder / "model.safetensors")
    model = Guess(trunk).to(where).train()
    optim = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY, betas=(0.9, 0.98), fused=True)
    total, began, losses = len(made), time.time(), []
    shape = lambda step: min((step + 1) / (WARM_UP * total), (total - step) / (total * (1 - WARM_UP)))
    schedule = torch.optim.lr_scheduler.LambdaLR(optim, shape)
    for step, each in enumerate(made):
        each = each.to(where)
        masked = (torch.rand(each.ids.shape, device=where) < MASKED) & (each.words >= 0)
        if not masked.any():
            continue
        draw = torch.rand(each.ids.shape, device=where)
        other = torch.randint(1000, tm.VOCABULARY, each.ids.shape, device=where)
        ids = torch.where(masked & (draw < 0.8), MASK, torch.where(masked & (draw > 0.9), other, each.ids))
        with torch.autocast(where.type, torch.bfloat16):
            rows = trunk(ids, each.kinds, each.first(each.lengths))
            logits = model(rows[masked])
        loss = F.cross_entropy(logits.float(), each.ids[masked])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step(), schedule.step(), optim.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        if (step + 1) % 200 == 0:
            mean = float(torch.stack(losses).mean())
            print(f"language: step {step + 1} of {total}, {(time.time() - began) / 60:.1f} min: {mean:.3f}", flush=True)
            losses = []
    torch.save(trunk.cpu().state_dict(), path(work))
    return path(work)
