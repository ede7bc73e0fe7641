"""The text trunk (BERT-shaped, 6 x 384) and the heads that train it.

`tokens` [N, 384] is what heads read. Picture words are rows of MiniLM's own embedding table,
the mean of a word's pieces, frozen: the same on the board, whatever the trunk has learnt.
"""

import math

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from emotion.text_model import BERT_NAMES, Plain, padding_bias
from trunk.data import KINDS, MAX_TOKENS, TYPES

DIM, HEADS, LAYERS, FFN, VOCABULARY = 384, 12, 6, 1536, 30522
LN_EPS = 1e-12
OFF = -1e4


class Trunk(nn.Module):
    """ids, kinds [B, N] to tokens [B, N, 384]."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, DIM), nn.Embedding(MAX_TOKENS, DIM)
        self.kinds = nn.Embedding(KINDS, DIM)
        self.norm = nn.LayerNorm(DIM, LN_EPS)
        self.layers = nn.ModuleList(Plain(DIM, HEADS, FFN, LN_EPS) for _ in range(LAYERS))

    def load_minilm(self, path) -> None:
        weights = load_file(path)
        kinds = weights["embeddings.token_type_embeddings.weight"]
        # a shape is at first no more than a plain word
        kinds = torch.cat([kinds, kinds[:1].repeat(KINDS - 2, 1)])
        self.load_state_dict({
            "words.weight": weights["embeddings.word_embeddings.weight"],
            "places.weight": weights["embeddings.position_embeddings.weight"][:MAX_TOKENS],
            "kinds.weight": kinds,
            "norm.weight": weights["embeddings.LayerNorm.weight"],
            "norm.bias": weights["embeddings.LayerNorm.bias"],
        }, strict=False)
        for i, layer in enumerate(self.layers):
            layer.load(weights, f"encoder.layer.{i}.", BERT_NAMES)

    def forward(self, ids, kinds, mask):
        x = self.norm(self.words(ids) + self.places.weight[: ids.shape[1]] + self.kinds(kinds))
        bias = padding_bias(mask).to(x.dtype)
        for layer in self.layers:
            x = layer(x, bias)
        return x


def word_rows(path, tokenizer, words: list[str]) -> torch.Tensor:
    """[words, 384]: mean of each word's pieces in MiniLM's table, of length 1."""
    table = load_file(path)["embeddings.word_embeddings.weight"]
    rows = [table[tokenizer.encode(word, add_special_tokens=False).ids].mean(0) for word in words]
    return F.normalize(torch.stack(rows), dim=-1)


# -- sarcasm: G2SAM -----------------------------------------------------------------------

GRAPH, WINDOW, NEAR, SCORE = 96, 2, 4, 128


def edges(x, mask, window: int | None):
    """[B, N, N] true where two nodes are joined: themselves, neighbours in the text, and the
    NEAR most similar ones (cosine), in both directions. Without a window every pair is."""
    real = mask[:, :, None] & mask[:, None, :]
    if window is None:
        return real
    places = torch.arange(x.shape[1], device=x.device)
    close = (places[:, None] - places[None, :]).abs() <= window
    unit = F.normalize(x.float(), dim=-1)
    cosines = (unit @ unit.transpose(1, 2)).masked_fill(~real, -2.0)
    cosines = cosines.masked_fill(torch.eye(x.shape[1], dtype=torch.bool, device=x.device), -2.0)
    k = min(NEAR, x.shape[1])
    nearest = torch.zeros_like(real).scatter_(2, cosines.topk(k, -1).indices, True) & (cosines > -2.0)
    return (close | nearest | nearest.transpose(1, 2)) & real


class Gat(nn.Module):
    """A graph attention layer: two heads of half the width, side by side; what a node was stays."""

    def __init__(self, dim: int = GRAPH, heads: int = 2, dropout: float = 0.2):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.map = nn.Linear(dim, dim, bias=False)
        self.source = nn.Parameter(torch.randn(heads, dim // heads) * 0.1)
        self.target = nn.Parameter(torch.randn(heads, dim // heads) * 0.1)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x, joined):
        h = self.map(F.dropout(x, self.dropout, self.training)).unflatten(-1, (self.heads, -1))  # B N H D
        scores = (h * self.target).sum(-1)[:, :, None] + (h * self.source).sum(-1)[:, None]  # B i j H
        scores = F.leaky_relu(scores, 0.2).masked_fill(~joined[..., None], OFF)
        weights = scores.softmax(2).to(h.dtype)
        mixed = torch.einsum("bijh,bjhd->bihd", weights, h).flatten(2)
        return self.norm(x + F.relu(mixed))


class Fgm(nn.Module):
    """Fine-grained graph matching (G2SAM): both graphs, joint attention, readout."""

    def __init__(self, dropout: float = 0.2):
        super().__init__()
        self.dropout = dropout
        self.text, self.picture = nn.Linear(DIM, GRAPH), nn.Linear(DIM, GRAPH)
        self.text_gat = nn.ModuleList(Gat() for _ in range(2))
        self.picture_gat = nn.ModuleList(Gat() for _ in range(2))
        self.q, self.k, self.v = (nn.Linear(GRAPH, GRAPH, bias=False) for _ in range(3))
        self.weigh1, self.weigh2 = nn.Linear(GRAPH, GRAPH), nn.Linear(GRAPH, 1)
        self.read = nn.Linear(GRAPH, SCORE)
        self.classify = nn.Linear(SCORE, 2)

    def forward(self, tokens, mask, picture, seen):
        """tokens [B, N, 384] without [CLS] and [SEP] in `mask`; picture [B, W, 384] with `seen`.
        Gives logits [B, 2] and q [B, 128]."""
        t, v = self.text(tokens), self.picture(picture)
        joined = edges(tokens, mask, WINDOW)
        for layer in self.text_gat:
            t = layer(t, joined)
        joined = edges(v, seen, None)
        for layer in self.picture_gat:
            v = layer(v, joined)
        both, real = torch.cat([v, t], 1), torch.cat([seen, mask], 1)
        q = self.q(both)
        g = F.scaled_dot_product_attention(q, self.k(both), self.v(both), attn_mask=padding_bias(real)[:, 0].to(q.dtype))
        g = g + both
        r = self.weigh2(F.gelu(self.weigh1(F.dropout(g, self.dropout, self.training))))
        weights = r.masked_fill(~real[..., None], OFF).softmax(1)
        q = F.gelu(self.read((weights * g).sum(1)))
        return self.classify(F.dropout(q, self.dropout, self.training)), q


def contrast(q, labels, temperature: float = 0.1):
    """LGCL (G2SAM): rows of one label near each other, by squared distance of unit rows."""
    z = F.normalize(q.float(), dim=-1)
    scores = -torch.cdist(z, z).square() / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    same = (labels[:, None] == labels[None, :]) & ~itself
    log = scores.masked_fill(itself, OFF).log_softmax(1)
    return -((log * same).sum(1) / same.sum(1).clamp(min=1)).mean()


# -- entities: MNER-QG --------------------------------------------------------------------

SPAN, MATCH = 192, 64


class Reader(nn.Module):
    """Entities by reading comprehension (MNER-QG): the sentence is encoded once, and each type's
    stored query modulates it."""

    def __init__(self, dropout: float = 0.2, dim: int = DIM):
        super().__init__()
        self.dropout = dropout
        self.text, self.picture = nn.Linear(dim, SPAN), nn.Linear(DIM, SPAN)
        self.q, self.k, self.v = (nn.Linear(SPAN, SPAN, bias=False) for _ in range(3))
        self.mixed = nn.LayerNorm(SPAN)
        self.query = nn.Parameter(torch.randn(len(TYPES), SPAN) * 0.1)
        self.gain, self.shift = nn.Linear(SPAN, SPAN), nn.Linear(SPAN, SPAN)
        self.exist_key = nn.Linear(SPAN, SPAN, bias=False)
        self.exist = nn.Linear(SPAN, 1)
        self.keys = nn.Linear(SPAN, SPAN, bias=False)
        self.values = nn.Linear(SPAN, SPAN, bias=False)
        self.ends = nn.ModuleList(nn.Linear(SPAN, SPAN, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(SPAN) for _ in range(2))
        self.marks = nn.ModuleList(nn.Linear(SPAN, 1) for _ in range(2))
        self.pair = nn.ModuleList(nn.Linear(SPAN, MATCH) for _ in range(2))
        self.match = nn.Linear(MATCH, 1)

    def forward(self, tokens, mask, picture, seen):
        """Logits: exist [B, 4], start and end [B, 4, N], match [B, 4, N, N]."""
        h = F.gelu(self.text(F.dropout(tokens, self.dropout, self.training)))
        v = self.picture(picture)
        bias = F.pad((~seen)[:, None] * OFF, (1, 0)).to(h.dtype)
        # the first row says nothing: words need not look at the picture
        rows = torch.cat([torch.zeros_like(v[:, :1]), v], 1)
        seen_by = F.scaled_dot_product_attention(self.q(h), self.k(rows), self.v(rows), attn_mask=bias)
        h = self.mixed(h + seen_by)
        a = F.gelu(h[:, None] * (1 + self.gain(self.query))[:, None] + self.shift(self.query)[:, None])  # B 4 N D
        scores = torch.einsum("btnd,td->btn", a, self.exist_key(self.query)) / math.sqrt(SPAN)
        weights = scores.masked_fill(~mask[:, None], OFF).softmax(-1)
        whole = torch.einsum("btn,btnd->btd", weights, a)
        exist = self.exist(whole).squeeze(-1)
        looks = (v * seen[..., None]).sum(1) / seen.sum(1).clamp(min=1)[:, None]
        count = a.shape[:2]
        states = torch.stack([
            h[:, :1].expand(*count, SPAN), self.query[None].expand(*count, SPAN), whole,
            looks[:, None].expand(*count, SPAN),
        ], 2).to(a.dtype)
        keys, values = self.keys(states), self.values(states)
        found, marks = [], []
        for to, norm, mark in zip(self.ends, self.norms, self.marks):
            z = F.scaled_dot_product_attention(to(a), keys, values)
            found.append(norm(a + z))
            marks.append(mark(F.dropout(found[-1], self.dropout, self.training)).squeeze(-1))
        first, last = self.pair[0](found[0]), self.pair[1](found[1])
        match = self.match(F.gelu(first[:, :, :, None] + last[:, :, None])).squeeze(-1)
        return exist, marks[0], marks[1], match
