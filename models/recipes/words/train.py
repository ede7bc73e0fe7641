"""The head: every patch widened, their mean, and a logit a word."""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from words import data as wd

WIDE, EPOCHS, RATE, BATCH, DECAY = 512, 8, 1e-3, 32, 0.02
MEMORY = 0.995  # of the mean of the weights, which is what ships


class Head(nn.Module):
    """patches [B, 36, 320] to logits [B, words]."""

    def __init__(self, words: int, wide: int = WIDE, dropout: float = 0.3):
        super().__init__()
        self.widen, self.name, self.dropout = nn.Linear(320, wide), nn.Linear(wide, words), dropout

    def forward(self, patches):
        wide = self.widen(patches).relu().mean(1)
        return self.name(F.dropout(wide, self.dropout, self.training))


def start(head: Head, counts: np.ndarray) -> None:
    """Words as often as they are said."""
    share = (counts > 0).mean(0).clip(1e-4, 0.9)
    head.name.bias.data = torch.tensor(np.log(share / (1 - share)), dtype=torch.float32)
    head.name.weight.data *= 0.1


def train(pictures: wd.Pictures, seed: int = 0) -> Head:
    """On a view of each picture a pass; the mean of the weights over the last steps."""
    torch.manual_seed(seed)
    head = Head(pictures.words.shape[1])
    start(head, pictures.words)
    mean, x = copy.deepcopy(head).eval(), torch.from_numpy(pictures.patches)
    # a word that one of five people said counts less than one that all said
    y = torch.tensor(1 - 0.5 ** pictures.words.astype(np.float32) * (pictures.words > 0) - (pictures.words == 0))
    optim = torch.optim.AdamW(head.parameters(), RATE, weight_decay=DECAY)
    steps, step = EPOCHS * (len(x) // BATCH), 0
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, RATE, steps, pct_start=0.1)
    head.train()
    for _ in range(EPOCHS):
        for group in torch.randperm(len(x))[: len(x) // BATCH * BATCH].view(-1, BATCH):
            shown = x[group, torch.randint(x.shape[1], (BATCH,))].float()
            loss = F.binary_cross_entropy_with_logits(head(shown), y[group], reduction="sum") / BATCH
            loss.backward()
            optim.step(), schedule.step(), optim.zero_grad()
            step += 1
            for kept, new in zip(mean.parameters(), head.parameters()):
                kept.data.lerp_(new.data, 1 - min(MEMORY, step / (step + 10)))
    return mean


def measure(logits: np.ndarray, words: np.ndarray) -> dict:
    """Mean average precision over the words that five pictures or more show, and the share of the
    five likeliest words that a caption says."""
    said = words > 0
    precisions = []
    for word in np.flatnonzero(said.sum(0) >= 5):
        ranked = said[np.argsort(-logits[:, word], kind="stable"), word]
        precisions.append((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean())
    return {"map": float(np.mean(precisions)), "words": len(precisions), "n": len(words), "precision@5": precision(logits, words)}


def precision(logits: np.ndarray, words: np.ndarray) -> float:
    """The share of the five likeliest words that a caption says."""
    best = np.argsort(-logits, 1)[:, :5]
    return float(np.take_along_axis(words > 0, best, 1).mean())
