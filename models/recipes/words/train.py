"""The head: every patch widened, their mean, and a logit a word."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from words import data as wd

WIDE, EPOCHS, RATE, BATCH = 512, 30, 2e-3, 128


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


def train(pictures: wd.Pictures, wide: int = WIDE, seed: int = 0, epochs: int = EPOCHS) -> Head:
    torch.manual_seed(seed)
    head = Head(pictures.words.shape[1], wide)
    start(head, pictures.words)
    x = torch.tensor(pictures.patches, dtype=torch.float32)
    # a word that one of five people said counts less than one that all said
    y = torch.tensor(1 - 0.5 ** pictures.words.astype(np.float32) * (pictures.words > 0) - (pictures.words == 0))
    optim = torch.optim.AdamW(head.parameters(), RATE, weight_decay=0.05)
    steps = epochs * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, RATE, steps, pct_start=0.1)
    head.train()
    for _ in range(epochs):
        for group in torch.randperm(len(x))[: len(x) // BATCH * BATCH].view(-1, BATCH):
            loss = F.binary_cross_entropy_with_logits(head(x[group]), y[group], reduction="sum") / BATCH
            loss.backward()
            optim.step(), schedule.step(), optim.zero_grad()
    return head.eval()


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
