"""What sarcasm's ladder must beat: MiniLM fine-tuned on these posts alone, the picture words appended."""

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from emotion import text_data
from emotion.text_model import masked_mean
from sarcasm import train as st
from trunk import data as td
from trunk import model as tm
from trunk.batches import by_length, collate, encoded as read
from trunk.train import WARM_UP

EPOCHS, RATE, BATCH_TOKENS = 2, 1e-4, 1400


def appended(items: list[td.Item]) -> list[td.Item]:
    return [item._replace(text=f"{item.text} . {' '.join(item.picture)}") for item in items]


def run(data: Path, work: Path, seed: int = 0) -> dict:
    """Figures on MMSD2.0 valid."""
    root, tokenizer = td.unpack(data, work), text_data.tokenizer(work)
    valid = td.mmsd2(data, root, "valid")
    train = appended(td.apart(td.mmsd2(data, root, "train"), valid))
    torch.manual_seed(seed)
    trunk, head = tm.Trunk(), nn.Linear(tm.DIM, 2)
    trunk.load_minilm(text_data.minilm(work) / "model.safetensors")
    rng = random.Random(seed)
    order = lambda: rng.sample(range(len(train)), len(train))
    made = [group for _ in range(EPOCHS) for group in by_length(list(read(train, order(), tokenizer, rng)), BATCH_TOKENS, rng)]
    rng.shuffle(made)
    optim = torch.optim.AdamW([*trunk.parameters(), *head.parameters()], RATE, weight_decay=0.01, fused=True)
    steps = len(made)
    shape = lambda step: min((step + 1) / (WARM_UP * steps), (steps - step) / (steps * (1 - WARM_UP)))
    schedule = torch.optim.lr_scheduler.LambdaLR(optim, shape)

    def logits(sequences):
        ids, kinds, real, word = collate(sequences)
        with torch.autocast("cpu", torch.bfloat16):
            return head(F.dropout(masked_mean(trunk(ids, kinds, real), word >= 0), 0.1, head.training)).float()

    for step, group in enumerate(made):
        labels = torch.tensor([item.label for _, item, _ in group])
        F.cross_entropy(logits([each for _, _, each in group]), labels).backward()
        nn.utils.clip_grad_norm_(trunk.parameters(), 1.0)
        optim.step(), schedule.step(), optim.zero_grad(set_to_none=True)
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} of {steps}", flush=True)
    trunk.eval(), head.eval()
    sequences = [td.encode(tokenizer, item.text) for item in appended(valid)]
    with torch.no_grad():
        p = np.concatenate([logits(sequences[i : i + 32]).softmax(-1)[:, 1].numpy() for i in range(0, len(sequences), 32)])
    return st.measure(p, np.array([item.label for item in valid]))
