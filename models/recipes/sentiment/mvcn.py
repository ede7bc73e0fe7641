"""MVCN (ACL 2023) on rows of frozen encoders: text-guided units, losses, ablations.

Inputs are the text trunk's rows [B, n, 384] and the picture trunk's patches [B, P, 320];
row 0 of the text is [CLS]. What the paper leaves open is ours and said where it stands.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from sentiment.halves import Halves

CLASSES = 3
TEXT, PATCH = 384, 320
DIM, FFN, HEADS, UNITS = 128, 256, 4, 2
LN_EPS = 1e-5
# distances between representations are divided by sqrt(t), the paper's t
DISTANCE_SCALE = DIM**0.5


# -- sparse attention -------------------------------------------------------------------


def sparsemax(z):
    """Rows of z onto the simplex: max(z - tau, 0) with sum 1."""
    ordered = z.sort(-1, descending=True).values
    k = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
    total = ordered.cumsum(-1)
    support = (1 + k * ordered > total).sum(-1, keepdim=True)
    tau = (total.gather(-1, support - 1) - 1) / support
    return (z - tau).clamp(min=0)


class Entmax15(torch.autograd.Function):
    """1.5-entmax over the last axis: max(z/2 - tau, 0)^2 with sum 1, by sorting."""

    @staticmethod
    def forward(ctx, z):
        z = (z - z.amax(-1, keepdim=True)) / 2
        ordered = z.sort(-1, descending=True).values
        k = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
        mean, square = ordered.cumsum(-1) / k, (ordered**2).cumsum(-1) / k
        tau = mean - ((1 - k * (square - mean**2)) / k).clamp(min=0).sqrt()
        support = (tau <= ordered).sum(-1, keepdim=True)
        p = (z - tau.gather(-1, support - 1)).clamp(min=0) ** 2
        ctx.save_for_backward(p)
        return p

    @staticmethod
    def backward(ctx, gradient):
        (p,) = ctx.saved_tensors
        slope = p.sqrt()
        mean = (gradient * slope).sum(-1, keepdim=True) / slope.sum(-1, keepdim=True)
        return slope * (gradient - mean)


PI = {"entmax": Entmax15.apply, "sparsemax": sparsemax, "softmax": lambda z: z.softmax(-1)}


# -- units ------------------------------------------------------------------------------


class SharedDropout(nn.Module):
    """Dropout of whole features of an item: all its rows lose the same ones."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x):
        if not self.training or self.share == 0:
            return x
        kept = torch.rand(x.shape[0], 1, x.shape[-1]) >= self.share
        return x * (kept / (1 - self.share)).to(x.dtype)


class Attention(nn.Module):
    """Multi-head attention whose rows are pi(scores); returns also the weights [B, h, n, m]."""

    def __init__(self, pi: str, dim: int = DIM, heads: int = HEADS):
        super().__init__()
        self.heads, self.pi = heads, PI[pi]
        self.query, self.key_value, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, x, y, mask=None):
        """x[B, n, d] asks y[B, m, d]; mask[B, m] is true where a row of y is real."""
        split = lambda v: v.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = map(split, self.key_value(y).chunk(2, -1))
        scores = split(self.query(x)) @ key.transpose(-1, -2) / math.sqrt(key.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], -1e4)
        weights = self.pi(scores.float())
        mixed = weights.to(value.dtype) @ value
        return self.out(mixed.transpose(1, 2).flatten(2)), weights


class Unit(nn.Module):
    """X_f = LN(X + MHSA(X)); X_g = LN(X_f + SpA(X_f, V, V)); Y = LN(X_g + FFN(X_g)).

    With pi None the middle line is left out: a plain transformer layer.
    """

    def __init__(self, pi: str | None, dropout: float, dim: int = DIM, ffn: int = FFN, heads: int = HEADS):
        super().__init__()
        self.own = Attention("softmax", dim, heads)
        self.guide = Attention(pi, dim, heads) if pi else None
        self.up, self.down = nn.Linear(dim, ffn), nn.Linear(ffn, dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim, LN_EPS) for _ in range(3))
        self.drop = SharedDropout(dropout)

    def forward(self, x, mask, patches=None, first_row_only: bool = False):
        """The last unit of a head that answers from row 0 need not compute the others while it
        is trained."""
        asking, weights = (x[:, :1] if first_row_only else x), None
        x = self.norm1(asking + self.drop(self.own(asking, x, mask)[0]))
        if self.guide is not None:
            seen, weights = self.guide(x, patches)
            x = self.norm2(x + self.drop(seen))
        return self.norm3(x + self.drop(self.down(F.relu(self.up(x))))), weights


# -- heads ------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Padded rows of a few items; `mask` is true where a text row is real."""

    text: torch.Tensor
    mask: torch.Tensor
    patches: torch.Tensor


class Answer(NamedTuple):
    logits: torch.Tensor
    representation: torch.Tensor  # Q̂ [B, d]
    attention: torch.Tensor | None  # [B, n, P], mean over heads of the last unit


class Head(nn.Module):
    """"guided" (TGF and MVCN) or "equal" (MFS): what units make of both, added to what either half says alone.

    The halves (halves.py) are fitted before and held; the units start at nothing, so that a head is
    at first the late fusion and no worse.
    """

    def __init__(self, kind: str, pi: str = "entmax", dropout: float = 0.1, units: int = UNITS):
        super().__init__()
        self.kind, self.input_dropout = kind, SharedDropout(dropout)
        self.text, self.image = nn.Linear(TEXT, DIM), nn.Linear(PATCH, DIM)
        guided = pi if kind == "guided" else None
        self.units = nn.ModuleList(Unit(guided, dropout) for _ in range(units))
        self.classify = nn.Linear(DIM, CLASSES)
        nn.init.zeros_(self.classify.weight)
        nn.init.zeros_(self.classify.bias)
        self.words, self.picture = nn.Linear(2 * TEXT, CLASSES), nn.Linear(PATCH, CLASSES, bias=False)
        for held in (self.words, self.picture):
            held.requires_grad_(False)

    def take(self, halves: Halves) -> None:
        """The late fusion that the units add to."""
        self.words.weight.data, self.words.bias.data = torch.tensor(halves.text), torch.tensor(halves.bias)
        self.picture.weight.data = torch.tensor(halves.image)

    def forward(self, batch: Batch, first_row_only: bool = True) -> Answer:
        """guided: row 0 ([CLS]) answers; equal: the mean of the rows does."""
        said = torch.cat([batch.text[:, 0], masked_mean(batch.text, batch.mask)], 1)
        alone = self.words(said) + self.picture(batch.patches.mean(1))
        text, image = self.text(self.input_dropout(batch.text)), self.image(self.input_dropout(batch.patches))
        x, mask, weights = text, batch.mask, None
        if self.kind == "equal":
            x, mask = torch.cat([text, image], 1), F.pad(mask, (0, image.shape[1]), value=True)
        for unit in self.units:
            short = self.kind == "guided" and first_row_only and unit is self.units[-1]
            x, weights = unit(x, mask, image if self.kind == "guided" else None, short)
        q = x[:, 0] if self.kind == "guided" else masked_mean(x, mask)
        return Answer(self.classify(q) + alone, q, None if weights is None else weights.mean(1))


def masked_mean(x, mask):
    weight = mask.unsqueeze(-1).to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1)


# -- losses (training only) ---------------------------------------------------------------


class Centroids:
    """Accumulating calibration: running sum and count of each class's representations.

    Reset every epoch; the live batch is included, and alone when `accumulate` is off.
    """

    def __init__(self, accumulate: bool):
        self.accumulate = accumulate
        self.reset()

    def reset(self) -> None:
        self.total, self.count = torch.zeros(CLASSES, DIM), torch.zeros(CLASSES)

    def __call__(self, q, labels):
        """(C [classes, d], which classes were seen); the gradient flows through the live batch."""
        one_hot = F.one_hot(labels, CLASSES).to(q.dtype)
        total, count = self.total + one_hot.T @ q, self.count + one_hot.sum(0)
        if self.accumulate:
            self.total, self.count = total.detach(), count
        return total / count.clamp(min=1)[:, None], count > 0


def distance(q, centroids):
    """d[i, c] = ||Q̂_i - C_c||^2 / sqrt(t)"""
    return torch.cdist(q, centroids).square() / DISTANCE_SCALE


def scc(q, labels, centroids, seen, mode: str = "class"):
    """Sentiment-based congruity constraint, mean over the batch.

    "batch": the paper's formula read literally (softmax of -d over the batch), "class":
    softmax over the classes' centroids, "absolute": the distance itself.
    """
    d = distance(q, centroids)
    own = d.gather(1, labels[:, None])[:, 0]
    if mode == "batch":
        return -(-own).log_softmax(0).mean()
    if mode == "absolute":
        return own.mean()
    return F.cross_entropy((-d).masked_fill(~seen, -1e4), labels)


def alc_targets(labels, disagree, alpha: float):
    """Adaptive label calibration: 1 - alpha for the label and alpha/(K-1) elsewhere where
    the two modalities' own sentiments disagree, one-hot where they agree."""
    share = alpha * disagree.float()[:, None]
    one_hot = F.one_hot(labels, CLASSES).float()
    return one_hot * (1 - share) + (1 - one_hot) * share / (CLASSES - 1)
