"""All heads that train the text trunk, and what they lose by a batch."""

import torch
import torch.nn.functional as F
from torch import nn

from emotion.text_model import masked_mean
from trunk import data as td
from trunk import model as tm
from trunk.batches import Batch, edges_of_words

# Classes of the tasks that are a label a text.
CLASSES = {"irony": 2, "ekman": 7, "meld": 7, "tweet-emotion": 4, "sentiment": 3, "sst2": 2}
# These are matched with their pictures as well.
MATCHED = ("sarcasm", "hfm")
WIDTHS = CLASSES | {name: 2 for name in MATCHED}
SPANS = {"entities": 4, "three-types": 3}  # types that a set names
CONTRAST = 0.2
SMOOTHING = 0.05
# The teacher's share of the loss of a text's own task; the weight of the mean of all others.
TAUGHT, BESIDES = 0.6, 0.5


class Everything(nn.Module):
    """The trunk and its heads."""

    def __init__(self):
        super().__init__()
        self.trunk = tm.Trunk()
        self.fgm = nn.ModuleDict({name: tm.Fgm() for name in MATCHED})
        self.alone = nn.ModuleDict({name: nn.Linear(tm.DIM, 2) for name in MATCHED})
        self.reader = tm.Reader()
        self.classes = nn.ModuleDict({name: nn.Linear(tm.DIM, n) for name, n in CLASSES.items()})

    def of_mean(self, mean) -> dict[str, torch.Tensor]:
        """Logits of every task that is a label a text."""
        return {name: head(mean) for name, head in (*self.classes.items(), *self.alone.items())}


def split(logits) -> dict[str, torch.Tensor]:
    """[..., all widths] by task, in the order of WIDTHS."""
    return dict(zip(WIDTHS, logits.split(list(WIDTHS.values()), -1)))


def gold(marks, shape, types: int):
    """exist [B, T], start and end [B, T, N], match [B, T, N, N]."""
    count, width = shape
    start = torch.zeros(count, len(td.TYPES), width, device=marks.device)
    end, match = start.clone(), torch.zeros(count, len(td.TYPES), width, width, device=marks.device)
    row, kind, first, last = marks.unbind(1)
    start[row, kind, first] = 1
    end[row, kind, last] = 1
    match[row, kind, first, last] = 1
    start, end, match = start[:, :types], end[:, :types], match[:, :types]
    return start.amax(-1), start, end, match


def span_loss(outputs, marks, words, types: int, soft=None):
    """`marks` as `batches.marks` gives them; `soft`, if a teacher spoke: its start and end
    [B, 4, N], which count for half, and [B] whose they are."""
    exist, start, end, match = (each[:, :types].float() for each in outputs)
    gold_exist, gold_start, gold_end, gold_match = gold(marks, words.shape, types)
    first, last = edges_of_words(words)
    count = len(words)
    loss = F.binary_cross_entropy_with_logits(exist, gold_exist)
    for place, (logits, right, legal) in enumerate(((start, gold_start, first), (end, gold_end, last))):
        wanted = right
        if soft is not None:
            share = 0.5 * soft[2].float()[:, None, None]
            wanted = right * (1 - share) + soft[place][:, :types].float() * share
        each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * legal[:, None]
        # a few marks among many places: the sum over a sentence, in units of its entities
        loss = loss + each.sum() / (right.sum() + count)
    # pairs that decoding could come to, and the right ones
    likely_start = ((start > -1) | (gold_start > 0)) & first[:, None]
    likely_end = ((end > -1) | (gold_end > 0)) & last[:, None]
    ordered = torch.ones(words.shape[1], words.shape[1], dtype=torch.bool, device=words.device).triu()
    pairs = likely_start[..., None] & likely_end[..., None, :] & ordered
    each = F.binary_cross_entropy_with_logits(match, gold_match, reduction="none") * pairs
    return loss + 0.5 * each.sum() / (gold_match.sum() + count)


def soft_loss(logits, wanted):
    """Cross entropy [B] against another's logits."""
    return -(wanted.float().softmax(-1) * logits.float().log_softmax(-1)).sum(-1)


def loss_of(model: Everything, batch: Batch, ids, words, taught=None):
    """`ids`: those of the batch, some of them masked; `taught`: (logits [B, all widths], spans)."""
    wordy, task = batch.words >= 0, batch.task
    shown = words.of(batch.pictures)
    with torch.autocast(batch.ids.device.type, torch.bfloat16):
        tokens = model.trunk(ids, batch.kinds, batch.first(batch.lengths))
        if task in SPANS:
            outputs = model.reader(tokens, batch.first(batch.own), *shown)
        mean = F.dropout(masked_mean(tokens, wordy), 0.1, model.training)
        found = model.of_mean(mean)
        if task in MATCHED:
            logits, q = model.fgm[task](tokens, wordy, *shown)
    theirs, own = split(taught[0]) if taught else {}, found.get(task)
    if task in SPANS:
        loss = span_loss(outputs, batch.labels, batch.words, SPANS[task], taught and taught[1])
    else:
        hard = lambda given: F.cross_entropy(given.float(), batch.labels, label_smoothing=SMOOTHING)
        both = lambda given: (1 - TAUGHT) * hard(given) + TAUGHT * soft_loss(given, theirs[task]).mean() if taught else hard(given)
        if task in MATCHED:
            loss = both(logits) + 0.5 * both(own) + CONTRAST * tm.contrast(q, batch.labels)
        else:
            loss = both(own)
    if taught:
        others = [soft_loss(found[name], theirs[name]).mean() for name in WIDTHS if name != task]
        loss = loss + BESIDES * torch.stack(others).mean()
    return loss
