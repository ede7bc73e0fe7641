"""Training on frozen maps and rows, and the field's measures."""

import copy
import time
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from grounding import data as gd
from grounding import model as gm
from trunk.data import TYPES

EPOCHS, RATE, DECAY, PICTURES, PHRASES = 5, 1e-3, 0.05, 16, 10
WARM_UP, MEMORY = 100, 0.997  # steps; of the mean of the weights, which is what ships
# Then from that mean on, at a rate that falls to nothing.
FALL_EPOCHS, FALL_RATE = 4, 5e-4
# How often a query says its kind beside the phrase, its kind alone, and somebody's name instead of the phrase.
BOTH, KIND_ALONE, NAMED = 0.3, 0.1, 0.1
# Of PHRASES, how many the picture lacks; how many where it shows nobody.
LACKING, NOBODY_LACKING = 2, 5
SHOWN = 0.5  # of a box, at least, in a cut of the picture
NO_KIND = len(TYPES)
FORGET = 0.05  # of the pieces
LOOK = 60
TILES = torch.cpu._is_amx_tile_supported()  # without them bf16 is five times slower than f32
NOTHING = np.array([0] + [-1] * (gd.LONGEST - 1))
HIDDEN = -1.0  # instead of a box of which a view shows too little
PERSON = TYPES.index("PER")


def loss_of(logits, boxes, truth, there, lacking):
    """Cells near the middle of the true box answer, by how well their boxes fit it."""
    absent = F.cross_entropy(logits[lacking], torch.zeros_like(logits[lacking][:, 0], dtype=torch.long), reduction="sum")
    logits, boxes, truth = logits[there], boxes[there], truth[there]
    iou, giou = gm.overlap(boxes, truth[:, None])
    middle, size = (truth[:, :2] + truth[:, 2:]) / 2, (truth[:, 2:] - truth[:, :2]).clamp(min=2 / gm.CELLS)
    off = ((gm.centres()[None] - middle[:, None]).abs() / size[:, None]).amax(-1)  # 0.5 at the edge
    near = (off < 0.3) | (off == off.amin(1, keepdim=True))
    fit = near * (iou.detach() + 0.05) ** 3
    fit = fit / fit.sum(1, keepdim=True)
    said = -(fit * logits.log_softmax(1)[:, 1:]).sum()
    near = near / near.sum(1, keepdim=True)
    weight = (near + fit) / 2
    placed = (weight * (1 - giou)).sum() + 2 * (weight * (boxes - truth[:, None]).abs().sum(-1)).sum()
    count = max(1, len(there.view(-1)))
    return (said + absent) / count, placed / count


def ask(rng, pieces, kinds, names, alone: bool):
    """(pieces, kind) of a query as training says it: mostly the phrase, at times its kind or both, or
    somebody's name. Without `alone` the phrase is always said."""
    kind = TYPES.index(kinds[rng.integers(len(kinds))]) if kinds else NO_KIND
    draw = rng.random() if kind != NO_KIND else 1.0
    if alone and draw < KIND_ALONE:
        return NOTHING, kind
    if alone and draw < KIND_ALONE + NAMED and kind == PERSON:
        return names[rng.integers(len(names))], kind
    pieces = np.where((pieces > 0) & (rng.random(len(pieces)) < FORGET), 0, pieces)
    return pieces, kind if draw < KIND_ALONE + NAMED + BOTH else NO_KIND


class Asked(NamedTuple):
    """What a batch of pictures is asked; [pictures, PHRASES] each, boxes as the views show them."""

    pieces: torch.Tensor
    kinds: torch.Tensor
    truth: torch.Tensor
    there: torch.Tensor
    lacking: torch.Tensor


def batch(rng, group, views, pictures: gd.Pictures, queries: gd.Queries, of: list, lacking: gd.Lacking, names) -> Asked:
    rows, boxes = [], []
    for picture, view in zip(group, views):
        foreign = lacking.draw(rng, picture, NOBODY_LACKING if lacking.nobody(picture) else LACKING)
        count = PHRASES - len(foreign)
        own = rng.choice(of[picture], count, replace=len(of[picture]) < count)
        # a kind by itself is there if a phrase of it is, and lacking where nobody is: things of some kind are everywhere
        rows += [ask(rng, queries.pieces[at], queries.kinds[at], names, not np.isnan(queries.box[at, 0])) for at in own]
        rows += [ask(rng, queries.pieces[at], queries.kinds[at], names, "people" in queries.types[at]) for at in foreign]
        shown, share = gd.seen_in(queries.box[own], pictures.cuts[picture, view])
        shown[share < SHOWN] = HIDDEN
        boxes.append(np.concatenate([shown, np.full((len(foreign), 4), np.nan)]))
    truth = torch.from_numpy(np.stack(boxes).astype(np.float32))
    lacks = truth[..., 0].isnan()
    shape = (len(group), PHRASES)
    pieces = torch.from_numpy(np.stack([said for said, _ in rows])).view(*shape, -1)
    kinds = torch.tensor([kind for _, kind in rows]).view(shape)
    return Asked(pieces, kinds, truth, (truth[..., 0] != HIDDEN) & ~lacks, lacks)


def train(pictures: gd.Pictures, queries: gd.Queries, table, names: np.ndarray, lacking: gd.Lacking, seed: int = 0,
          epochs: int = EPOCHS, rate: float = RATE, look=None, start: dict | None = None, **shape) -> gm.Head:
    """The mean of the weights over the last steps. `look` sees it every LOOK steps. From the weights
    `start` on the rate falls to nothing. `names` are people's, rows of the table of words."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = gm.Head(table, **shape).train()
    if start:
        head.load_state_dict(start)
    of = [np.array(each) for each in gd.grouped(queries.picture, range(len(queries.picture)), len(pictures.names))]
    optim = torch.optim.AdamW(head.parameters(), rate, weight_decay=DECAY, fused=True)
    steps = epochs * -(-len(of) // PICTURES)
    falling = lambda step: 1 - step / steps if start else 1.0
    schedule = torch.optim.lr_scheduler.LambdaLR(optim, lambda step: min(falling(step), (step + 1) / WARM_UP))
    mean, step = copy.deepcopy(head).eval(), 0
    for epoch in range(epochs):
        began, sums = time.time(), np.zeros(2)
        for group in np.array_split(rng.permutation(len(of)), steps // epochs):
            views = rng.integers(pictures.cuts.shape[1], size=len(group))
            maps = {name: torch.from_numpy(each[group, views]).float() for name, each in pictures.maps.items() if name in head.maps}
            asked = batch(rng, group, views, pictures, queries, of, lacking, names)
            with torch.autocast("cpu", torch.bfloat16, enabled=TILES):
                logits, boxes = head(maps, asked.pieces, asked.kinds)
            said, placed = loss_of(logits.float(), boxes.float(), asked.truth, asked.there, asked.lacking)
            (said + 2 * placed).backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optim.step(), schedule.step(), optim.zero_grad()
            step += 1
            for kept, new in zip(mean.parameters(), head.parameters()):
                kept.data.lerp_(new.data, 1 - min(MEMORY, step / (step + 10)))
            if look and step % LOOK == 0:
                look(mean, step)
            sums += said.item(), placed.item()
        print(f"epoch {epoch}: {sums / (steps // epochs)} {time.time() - began:.0f} s", flush=True)
    return mean


def meant(logits, boxes):
    """[Q]: the cell whose box overlaps most with those of all cells, each as much as it is likely, as the
    program tells it (src/session/heads/boxes.rs)."""
    iou, _ = gm.overlap(boxes[:, :, None], boxes[:, None])
    return (iou @ logits[:, 1:].softmax(1)[..., None]).squeeze(-1).argmax(1)


@torch.no_grad()
def answer(head: gm.Head, pictures: gd.Pictures, queries: gd.Queries, kind_alone: bool = False):
    """Every query's box [n, 4] and whether it is absent, a probability [n]; by the phrase, or
    by its kind alone."""
    best, absent = np.zeros((len(queries.picture), 4), np.float32), np.zeros(len(queries.picture), np.float32)
    for picture in range(len(pictures.names)):
        which = np.flatnonzero(queries.picture == picture)
        maps = {name: torch.from_numpy(each[picture : picture + 1, 0]).float() for name, each in pictures.maps.items()}
        pieces, kinds = queries.pieces[which], np.full(len(which), NO_KIND)
        if kind_alone:
            pieces = np.tile(NOTHING, (len(which), 1))
            kinds = np.array([TYPES.index(queries.kinds[at][0]) if queries.kinds[at] else NO_KIND for at in which])
        logits, boxes = head(maps, torch.from_numpy(pieces)[None], torch.from_numpy(kinds)[None])
        at = meant(logits[0], boxes[0])
        best[which] = boxes[0, torch.arange(len(at)), at].numpy()
        absent[which] = logits[0].softmax(1)[:, 0].numpy()
    return best, absent


def ious(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return gm.overlap(torch.from_numpy(found), torch.from_numpy(truth))[0].numpy()


def measure(found: np.ndarray, truth: np.ndarray) -> dict:
    """Over the phrases that have a box."""
    there = ~np.isnan(truth[:, 0])
    iou = ious(found[there], truth[there])
    return {"a50": float((iou >= 0.5).mean()), "a75": float((iou >= 0.75).mean()), "miou": float(iou.mean()), "n": int(there.sum())}
