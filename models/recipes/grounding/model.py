"""The grounding head: cells of an image that look at each other, then each query at every cell.

What hangs on the image alone is made once, whatever the number of queries.
"""

import torch
import torch.nn.functional as F
from torch import nn

from emotion.text_model import Layer
from trunk.data import TYPES

CELLS, DIM, HEADS, FFN, LAYERS, PAIR, WORD = 11, 128, 4, 256, 2, 96, 96
LN_EPS = 1e-12
# A query's kind: one of the types of names, or none that is known.
KINDS = len(TYPES) + 1


def centres() -> torch.Tensor:
    """[cells, 2]: x and y of each cell's centre, in shares of the sides; row by row."""
    line = (torch.arange(CELLS) + 0.5) / CELLS
    return torch.stack([line.repeat(CELLS), line.repeat_interleave(CELLS)], 1)


def spread() -> torch.Tensor:
    """[121, 36]: the 6 x 6 map at the places of the 11 x 11 one; every second cell is its own."""
    line = torch.zeros(CELLS, 6)
    for at in range(CELLS):
        line[at, at // 2] += 0.5
        line[at, (at + 1) // 2] += 0.5
    return torch.kron(line, line)


class Head(nn.Module):
    """Maps [B, cells, channels], pieces [B, Q, L] (rows of `table`, -1 beyond the end) and kinds
    [B, Q] to logits [B, Q, 1 + 121], of which the first says that there is nothing to point at,
    and boxes [B, Q, 121, 4]."""

    def __init__(self, table: torch.Tensor, dropout: float = 0.1, maps=("patches", "middle", "fine")):
        super().__init__()
        self.register_buffer("table", table)
        self.word, self.weigh = nn.Linear(table.shape[1], WORD), nn.Linear(table.shape[1], 1)
        self.dropout, self.maps = dropout, maps
        self.patches, self.middle, self.fine = nn.Linear(320, DIM), nn.Linear(112, DIM), nn.Linear(160, DIM)
        self.places = nn.Parameter(torch.randn(CELLS * CELLS, DIM) * 0.02)
        self.first = nn.LayerNorm(DIM, LN_EPS)
        self.layers = nn.ModuleList(Layer(DIM, HEADS, FFN, LN_EPS, dropout) for _ in range(LAYERS))
        self.query, self.kinds = nn.Linear(WORD, DIM), nn.Embedding(KINDS, DIM)
        self.asked = nn.LayerNorm(DIM, LN_EPS)
        self.look_q, self.look_k, self.look_v = (nn.Linear(DIM, DIM) for _ in range(3))
        self.looked = nn.LayerNorm(DIM, LN_EPS)
        self.cell, self.gain, self.shift = nn.Linear(DIM, PAIR), nn.Linear(DIM, PAIR), nn.Linear(DIM, PAIR)
        self.pair = nn.Linear(PAIR, PAIR)
        self.score, self.edges = nn.Linear(PAIR, 1), nn.Linear(PAIR, 4)
        self.absent = nn.Linear(DIM, 1)
        self.register_buffer("spread", spread(), persistent=False)
        self.register_buffer("centres", centres(), persistent=False)
        nn.init.zeros_(self.edges.weight)

    def cells(self, maps: dict) -> torch.Tensor:
        """[B, 121, DIM]"""
        x = self.spread @ self.patches(maps["patches"]) + self.places
        if "middle" in self.maps:
            x = x + self.middle(maps["middle"])
        if "fine" in self.maps:
            b = len(x)
            four = maps["fine"].view(b, CELLS, 2, CELLS, 2, -1).transpose(2, 3).reshape(b, CELLS * CELLS, -1)
            x = x + self.fine(four)
        x = self.first(x)
        for layer in self.layers:
            x = layer(x, None)
        return x

    def phrase(self, pieces) -> torch.Tensor:
        """[B, Q, WORD]: the mean of the pieces' rows, each as much as it weighs."""
        rows = self.table[pieces.clamp(min=0)]
        weights = self.weigh(rows).squeeze(-1).float().masked_fill(pieces < 0, -1e4).softmax(-1)
        return (weights[..., None, :].to(rows.dtype) @ self.word(rows).to(rows.dtype)).squeeze(-2)

    def forward(self, maps: dict, pieces, kinds):
        x = self.cells(maps)
        drop = lambda y: F.dropout(y, self.dropout, self.training)
        q = self.asked(F.gelu(self.query(drop(self.phrase(pieces))) + self.kinds(kinds)))
        b, n = q.shape[:2]
        heads = lambda y: y.view(b, -1, HEADS, DIM // HEADS).transpose(1, 2)
        seen = F.scaled_dot_product_attention(heads(self.look_q(q)), heads(self.look_k(x)), heads(self.look_v(x)))
        q = self.looked(q + seen.transpose(1, 2).flatten(2))
        h = F.relu(self.cell(x)[:, None] * (1 + self.gain(q))[:, :, None] + self.shift(q)[:, :, None])
        h = F.relu(self.pair(drop(h)))
        logits = torch.cat([self.absent(q), self.score(h).squeeze(-1)], -1)
        return logits, self.boxes(self.edges(h))

    def boxes(self, edges):
        """Of the room between a cell's centre and each side of the image, the box takes a share."""
        share, (x, y) = edges.sigmoid(), self.centres.unbind(1)
        left, top, right, bottom = share.unbind(-1)
        return torch.stack([x * (1 - left), y * (1 - top), x + right * (1 - x), y + bottom * (1 - y)], -1)


def overlap(a, b):
    """(IoU, GIoU) of boxes [..., 4]."""
    area = lambda box: (box[..., 2] - box[..., 0]).clamp(min=0) * (box[..., 3] - box[..., 1]).clamp(min=0)
    inner = torch.cat([torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])], -1)
    outer = torch.cat([torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])], -1)
    shared = area(inner)
    union = (area(a) + area(b) - shared).clamp(min=1e-9)
    iou = shared / union
    return iou, iou - (area(outer) - union) / area(outer).clamp(min=1e-9)
