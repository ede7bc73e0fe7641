"""The heads of the ladder on frozen rows of the text trunk, several seeds a row."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import MiniBatchKMeans
from torch import nn

from emotion.text_model import masked_mean
from sarcasm.rows import Posts, batches
from trunk import model as tm
from trunk.batches import Words

SEEDS = range(5)
EPOCHS, RATE, BATCH, DECAY = 4, 1e-3, 64, 0.02
CONTRAST = 0.5
PROTOTYPES = 2000
K, TAU = (1, 5, 10, 20, 50, 100, 200), (0.05, 0.1, 0.2)


class TextOnly(nn.Module):
    """The mean of the words' rows."""

    def __init__(self):
        super().__init__()
        self.classify = nn.Linear(tm.DIM, 2)

    def forward(self, tokens, mask, picture, seen):
        mean = masked_mean(tokens, mask)
        return self.classify(F.dropout(mean, 0.1, self.training)), mean


class WordsOnly(nn.Module):
    """The mean of the picture words' rows: what the picture alone tells."""

    def __init__(self):
        super().__init__()
        self.read, self.classify = nn.Linear(tm.DIM, tm.SCORE), nn.Linear(tm.SCORE, 2)

    def forward(self, tokens, mask, picture, seen):
        q = F.gelu(self.read(masked_mean(picture, seen)))
        return self.classify(q), q


LADDER = {"text-only": (TextOnly, 0), "picture words": (WordsOnly, 0), "fgm": (tm.Fgm, 0), "fgm+lgcl": (tm.Fgm, CONTRAST)}


def train(name: str, posts: Posts, words: Words, seed: int) -> nn.Module:
    kind, contrast = LADDER[name]
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = kind().train()
    optim = torch.optim.AdamW(head.parameters(), RATE, weight_decay=DECAY)
    steps = EPOCHS * -(-len(posts.items) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, RATE, steps, pct_start=0.1)
    for _ in range(EPOCHS):
        for group in batches(posts, BATCH, rng):
            tokens, word, _, items = posts.batch(group)
            labels = torch.tensor([item.label for item in items])
            logits, q = head(tokens, word >= 0, *words.collate([item.picture for item in items]))
            loss = F.cross_entropy(logits, labels, label_smoothing=0.05)
            if contrast:
                loss = loss + contrast * tm.contrast(q, labels)
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optim.step(), schedule.step(), optim.zero_grad()
    return head.eval()


@torch.no_grad()
def answer(head: nn.Module, posts: Posts, words: Words):
    """(probability of sarcasm [n], q [n, 128])."""
    p, q = np.zeros(len(posts.items), np.float32), None
    for group in batches(posts, 256):
        tokens, word, _, items = posts.batch(group)
        logits, rows = head(tokens, word >= 0, *words.collate([item.picture for item in items]))
        q = np.zeros((len(posts.items), rows.shape[1]), np.float32) if q is None else q
        p[group], q[group] = logits.softmax(-1)[:, 1].numpy(), rows.numpy()
    return p, q


def neighbours(bank: np.ndarray, labels: np.ndarray, q: np.ndarray, k: int, tau: float) -> np.ndarray:
    """The vote of G2SAM: the share of sarcastic ones among the k nearest, the nearer the weightier."""
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-9)
    bank, found = unit(bank), np.zeros(len(q), np.float32)
    for start in range(0, len(q), 512):
        distance = 2 - 2 * unit(q[start : start + 512]) @ bank.T
        near = np.argpartition(distance, k - 1, 1)[:, :k]
        d = np.take_along_axis(distance, near, 1)
        weights = np.exp(-(d - d.min(1, keepdims=True)) / tau)
        found[start : start + 512] = (weights * labels[near]).sum(1) / weights.sum(1)
    return found


def prototypes(bank: np.ndarray, labels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Indices of `count` posts that stand for all: of each class as many as its share, the nearest
    to the centres of k-means on unit rows."""
    unit, chosen = bank / np.linalg.norm(bank, axis=1, keepdims=True).clip(1e-9), []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        clusters = round(count * len(own) / len(labels))
        centres = MiniBatchKMeans(clusters, random_state=seed, n_init=1).fit(unit[own]).cluster_centers_
        nearest = (centres @ unit[own].T).argmax(1)
        chosen.append(own[np.unique(nearest)])
    return np.concatenate(chosen)


def softened(share: np.ndarray, k: int) -> np.ndarray:
    """Probability of sarcasm from its share among k neighbours, at temperature 1."""
    return (share + 0.5 / k) / (1 + 1 / k)


def temperature(p: np.ndarray, labels: np.ndarray) -> float:
    """The T of σ(logit(p) / T) with the least log loss, over a grid."""
    logit, sign = np.log(p.clip(1e-6, 1 - 1e-6) / (1 - p).clip(1e-6, 1)), 2 * labels - 1
    grid = np.exp(np.linspace(np.log(0.3), np.log(8), 200))
    losses = [np.logaddexp(0, -sign * logit / t).mean() for t in grid]
    return round(float(grid[int(np.argmin(losses))]), 3)


def measure(p: np.ndarray, labels: np.ndarray) -> dict:
    said = p >= 0.5
    hit, wrong, missed = (said & (labels == 1)).sum(), (said & (labels == 0)).sum(), (~said & (labels == 1)).sum()
    right = (~said & (labels == 0)).sum()
    f = lambda a, b, c: 2 * a / max(2 * a + b + c, 1)
    return {
        "accuracy": float((said == labels).mean()), "precision": float(hit / max(hit + wrong, 1)),
        "recall": float(hit / max(hit + missed, 1)), "f1": float(f(hit, wrong, missed)),
        "macro_f1": float((f(hit, wrong, missed) + f(right, missed, wrong)) / 2),
    }
