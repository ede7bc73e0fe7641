"""The text student (BERT-shaped, 6 x 384) and its MPNet teacher, as small torch modules.

Both share one transformer layer; the packages' weights are loaded by name.
"""

import math

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

DIM, HEADS, LAYERS, FFN, OUT, CLASSES = 384, 12, 6, 1536, 192, 4
LN_EPS = 1e-12
# Rows of the embedding table that stay; the others share them (text_data.share_rows).
ROWS = 6400

BERT_NAMES = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "o": "attention.output.dense", "norm1": "attention.output.LayerNorm",
    "up": "intermediate.dense", "down": "output.dense", "norm2": "output.LayerNorm",
}
MPNET_NAMES = BERT_NAMES | {
    "q": "attention.attn.q", "k": "attention.attn.k", "v": "attention.attn.v",
    "o": "attention.attn.o", "norm1": "attention.LayerNorm",
}


class Layer(nn.Module):
    """Post-norm transformer layer."""

    def __init__(self, dim: int, heads: int, ffn: int, eps: float, dropout: float = 0.0):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.up, self.down = nn.Linear(dim, ffn), nn.Linear(ffn, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps), nn.LayerNorm(dim, eps)

    def forward(self, x, bias):
        """x[B, N, dim]; bias broadcasts to the scores [B, heads, N, N]."""
        split = lambda y: y.view(*y.shape[:2], self.heads, -1).transpose(1, 2)
        q = split(self.q(x))
        mixed = F.scaled_dot_product_attention(q, split(self.k(x)), split(self.v(x)), attn_mask=None if bias is None else bias.to(q.dtype))
        x = self.norm1(x + self.drop(self.o(mixed.transpose(1, 2).flatten(2))))
        return self.norm2(x + self.drop(self.down(F.gelu(self.up(x)))))

    def drop(self, x):
        return F.dropout(x, self.dropout, self.training)

    def load(self, weights: dict, prefix: str, names: dict) -> None:
        renamed = {f"{mine}.{end}": weights[f"{prefix}{theirs}.{end}"] for mine, theirs in names.items() for end in ("weight", "bias")}
        self.load_state_dict(renamed)


class Plain(Layer):
    """The layer, its attention in plain products: on a processor with bf16 tiles the fused one's
    gradient costs as much as all the rest. No dropout inside: words are masked instead."""

    def forward(self, x, bias):
        split = lambda y: y.view(*y.shape[:2], self.heads, -1).transpose(1, 2)
        q, k, v = split(self.q(x)), split(self.k(x)), split(self.v(x))
        weights = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + bias).softmax(-1).to(v.dtype)
        x = self.norm1(x + self.o((weights @ v).transpose(1, 2).flatten(2)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


def padding_bias(mask):
    """mask[B, N] of real tokens -> additive bias [B, 1, 1, N]."""
    return (~mask)[:, None, None, :] * -1e4


def masked_mean(x, mask):
    weight = mask.unsqueeze(-1).to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


class Student(nn.Module):
    """Token ids to H_t [B, N, 192] and logits [B, 4]."""

    def __init__(self, row_map, rows: int = ROWS):
        super().__init__()
        self.register_buffer("row_map", torch.as_tensor(row_map, dtype=torch.long))
        self.words, self.places, self.kinds = nn.Embedding(rows, DIM), nn.Embedding(128, DIM), nn.Embedding(2, DIM)
        self.norm = nn.LayerNorm(DIM, LN_EPS)
        self.layers = nn.ModuleList(Plain(DIM, HEADS, FFN, LN_EPS) for _ in range(LAYERS))
        self.project = nn.Linear(DIM, OUT)
        self.classify = nn.Linear(OUT, CLASSES)
        self.labels = nn.Parameter(torch.randn(CLASSES, OUT) * 0.1)
        self.scale = nn.Parameter(torch.tensor(10.0))

    def load_minilm(self, path, kept) -> None:
        weights = load_file(path)
        state = {
            "words.weight": weights["embeddings.word_embeddings.weight"][torch.as_tensor(kept)],
            "places.weight": weights["embeddings.position_embeddings.weight"][:128],
            "kinds.weight": weights["embeddings.token_type_embeddings.weight"],
            "norm.weight": weights["embeddings.LayerNorm.weight"],
            "norm.bias": weights["embeddings.LayerNorm.bias"],
        }
        self.load_state_dict(state, strict=False)
        for i, layer in enumerate(self.layers):
            layer.load(weights, f"encoder.layer.{i}.", BERT_NAMES)

    def embed(self, ids, kinds):
        places = self.places.weight[: ids.shape[1]]
        return self.norm(self.words(self.row_map[ids]) + places + self.kinds(kinds))

    def forward(self, ids, kinds, mask):
        """ids, kinds: i64 [B, N]; mask: true where a token is real. H_t is bounded by tanh."""
        x = self.embed(ids, kinds)
        bias = padding_bias(mask).to(x.dtype)
        for layer in self.layers:
            x = layer(x, bias)
        tokens = torch.tanh(self.project(x))
        own = mask & (kinds == 0)
        return tokens, self.classify(masked_mean(tokens, own)), own

    def label_logits(self, tokens, own):
        """LE-MER's p_g, its logits: scaled mean over the own rows of the cosines G_t."""
        cosines = F.normalize(tokens, dim=-1) @ F.normalize(self.labels, dim=-1).T
        return self.scale * masked_mean(cosines, own)


class Mpnet(nn.Module):
    """MPNet-base, to be fine-tuned: ids to the last layer's rows."""

    def __init__(self, path, dropout: float):
        super().__init__()
        weights = {name: each.float() for name, each in load_file(path).items() if each.is_floating_point()}
        table = lambda name: nn.Embedding.from_pretrained(weights[name], freeze=False)
        self.words, self.places = table("embeddings.word_embeddings.weight"), table("embeddings.position_embeddings.weight")
        self.relative = table("encoder.relative_attention_bias.weight")
        self.norm = nn.LayerNorm(768, 1e-5)
        self.norm.load_state_dict({end: weights[f"embeddings.LayerNorm.{end}"] for end in ("weight", "bias")})
        self.layers = nn.ModuleList(Layer(768, 12, 3072, 1e-5, dropout) for _ in range(12))
        for i, layer in enumerate(self.layers):
            layer.load(weights, f"encoder.layer.{i}.", MPNET_NAMES)

    def relative_bias(self, n: int):
        """T5's buckets: exact up to 8 places either side, logarithmic up to 128."""
        places = torch.arange(n, device=self.relative.weight.device)
        back = -(places[None, :] - places[:, None])
        far = back.abs()
        log = 8 + (torch.log(far.clamp(min=1) / 8) / math.log(128 / 8) * 8).long()
        bucket = (back < 0).long() * 16 + torch.where(far < 8, far, log.clamp(max=15))
        return self.relative(bucket).permute(2, 0, 1)[None]

    def forward(self, ids, mask, more):
        """[B, N, 768]; `more` is added to the embeddings."""
        # MPNet's positions start after its padding index, 1
        x = self.norm(self.words(ids) + self.places.weight[2 : 2 + ids.shape[1]] + more)
        bias = padding_bias(mask) + self.relative_bias(ids.shape[1])
        for layer in self.layers:
            x = layer(x, bias)
        return x
