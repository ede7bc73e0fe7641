"""Training of MVCN's heads on cached rows: recipes of the ladder, soft labels, figures."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from sentiment import mvcn
from sentiment.features import Seen, shuffled
from sentiment.halves import Halves

BATCH = 64
TEMPERATURE = 3.0  # of soft labels
SCC_WEIGHT = 0.1  # lambda_scc
# A training step shows some of the patches: cheaper, and no head can lean on one place.
PATCHES, SHOWN = 36, 24


@dataclass(frozen=True)
class Recipe:
    """One row of the ladder. `scc` is "" or a mode of mvcn.scc; alpha is ALC's."""

    kind: str
    scc: str = ""
    accumulate: bool = False
    alpha: float = 0.0
    pi: str = "entmax"
    epochs: int = 2
    rate: float = 4e-4
    dropout: float = 0.3
    soft: float = 0.7  # share of the loss that the late fusion's soft labels take
    decay: float = 0.05


LADDER = {
    "equal": Recipe("equal"),
    "tgf": Recipe("guided"),
    "tgf+scc": Recipe("guided", "class"),
    "tgf+scc+ac": Recipe("guided", "class", True),
    "mvcn": Recipe("guided", "class", True, 0.1),
}


class Targets(NamedTuple):
    """Per item: label, whether the modalities' own sentiments disagree, and the logits of a late
    fusion that never saw it."""

    labels: torch.Tensor
    disagree: torch.Tensor
    soft: torch.Tensor

    def of(self, chosen):
        return Targets(self.labels[chosen], self.disagree[chosen], self.soft[chosen])


def loss_of(answer: mvcn.Answer, targets: Targets, recipe: Recipe, centroids: mvcn.Centroids):
    """lambda_sc L_sc + lambda_scc L_scc (9), and the late fusion's soft labels."""
    wanted = mvcn.alc_targets(targets.labels, targets.disagree, recipe.alpha)
    soft = (targets.soft / TEMPERATURE).softmax(-1)
    kl = F.kl_div((answer.logits / TEMPERATURE).log_softmax(-1), soft, reduction="batchmean")
    loss = (1 - recipe.soft) * F.cross_entropy(answer.logits, wanted) + recipe.soft * TEMPERATURE**2 * kl
    if recipe.scc:
        q = answer.representation
        loss = loss + SCC_WEIGHT * mvcn.scc(q, targets.labels, *centroids(q, targets.labels), recipe.scc)
    return loss


def fit(seen: Seen, chosen: np.ndarray, targets: Targets, recipe: Recipe, seed: int, late: Halves) -> mvcn.Head:
    """A head trained on the items `chosen`, from the late fusion on; its weights are the mean over the second half."""
    torch.manual_seed(seed)
    rng, head = np.random.default_rng(seed), mvcn.Head(recipe.kind, recipe.pi, recipe.dropout)
    head.take(late)
    steps = recipe.epochs * max(1, round(len(chosen) / BATCH))
    adam = torch.optim.AdamW([p for p in head.parameters() if p.requires_grad], recipe.rate, weight_decay=recipe.decay)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, recipe.rate, steps, pct_start=0.1)
    mean = torch.optim.swa_utils.AveragedModel(head)
    centroids, step = mvcn.Centroids(recipe.accumulate), 0
    head.train()
    for _ in range(recipe.epochs):
        centroids.reset()
        for batch in shuffled(seen, chosen, BATCH, rng):
            view = rng.integers(len(seen.patches))
            loss = loss_of(answer_of(head, seen.batch(batch, view, some_patches(rng))), targets.of(batch), recipe, centroids)
            descend(loss, head, adam, rate)
            step += 1
            if step > steps // 2:
                mean.update_parameters(head)
    return mean.module.eval()


def some_patches(rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.permutation(PATCHES)[:SHOWN])


def descend(loss, head: mvcn.Head, adam, rate) -> None:
    adam.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
    adam.step()
    rate.step()


def answer_of(head: mvcn.Head, batch: mvcn.Batch) -> mvcn.Answer:
    """With products in bf16, losses in f32."""
    with torch.autocast("cpu", torch.bfloat16):
        answer = head(batch)
    return mvcn.Answer(answer.logits.float(), answer.representation.float(), answer.attention)


@torch.no_grad()
def answers(head: mvcn.Head, seen: Seen, chosen=None) -> np.ndarray:
    """Logits [n, 3] on the plain pictures."""
    chosen = np.arange(len(seen.labels)) if chosen is None else np.asarray(chosen)
    order = chosen[np.argsort(seen.lengths()[chosen])]
    logits = torch.cat([head(seen.batch(part)).logits for part in np.array_split(order, -(-len(order) // 128))])
    found = np.empty((len(seen.labels), mvcn.CLASSES), np.float32)
    found[order] = logits.numpy()
    return found[chosen]


def figures(confusion: np.ndarray) -> dict:
    """Accuracy and weighted F1 of a confusion matrix (rows: truth)."""
    right, support, guessed = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    f1 = 2 * right / np.maximum(1, support + guessed)
    return {"accuracy": float(right.sum() / support.sum()), "weighted_f1": float(f1 @ support / support.sum())}


def scores(logits: np.ndarray, labels: np.ndarray) -> dict:
    confusion = np.zeros((mvcn.CLASSES, mvcn.CLASSES), int)
    np.add.at(confusion, (labels, logits.argmax(1)), 1)
    return figures(confusion)
