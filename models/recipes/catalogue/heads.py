"""The operators of the catalogue as torch modules: named and shaped as in the registry, so that
a trained one is written as a call of its function."""

import math

import torch
import torch.nn.functional as F
from torch import nn

# Functions that fuse two pooled vectors into one; `c` is the width of what comes out.
VECTOR = [
    "ConcatFusion", "SumFusion", "MaxFusion", "MultiplicativeFusion", "GatingFusion", "LstmFusion",
    "AttentionFusion", "ModulationFusion", "BilinearFusion", "BilinearGatedFusion",
    "LowRankBilinearFusion", "CompactBilinearFusion",
]
# Functions that end in probabilities of the classes.
STAGES = ["EarlyFusion", "MiddleFusion", "LateFusion"]
# Functions that end in one number.
SCALAR = ["InnerProductFusion", "ProjectedInnerProductFusion"]


def linear(x, w, b=None):
    return F.linear(x, w, b)


def sketch(x, h, s, d):
    """Count sketch of each row."""
    return x.new_zeros(len(x), d).index_add_(1, h, x * s)


def compact(u, v, w, d):
    spectra = [torch.fft.rfft(sketch(x, w[f"h_{k}"], w[f"s_{k}"], d)) for x, k in ((u, "u"), (v, "v"))]
    return torch.fft.irfft(spectra[0] * spectra[1], n=d)


def mixture(a, b, w):
    alpha = torch.sigmoid((torch.tanh(a) @ w["scorer"]) - (torch.tanh(b) @ w["scorer"])).unsqueeze(1)
    return alpha * a + (1 - alpha) * b


def modulation(u, v, w):
    alpha = torch.sigmoid(u @ w["a"] + v @ w["b"] + w["b_0"]).unsqueeze(1)
    return torch.cat([alpha * u, (1 - alpha) * v], 1)


def branches(u, v, w):
    return linear(u, w["w_u"], w["b_u"]), linear(v, w["w_v"], w["b_v"])


def bilinear(u, v, w):
    return torch.einsum("np,cpq,nq->nc", u, w["w"], v) + w["b"]


def low_rank(u, v, w):
    return linear(linear(u, w["w_u"]) * linear(v, w["w_v"]), w["w_p"], w["b"])


def early(u, v, w):
    hidden = torch.relu(linear(torch.cat([u, v], 1), w["w_1"], w["b_1"]))
    return torch.sigmoid(linear(hidden, w["w_2"], w["b_2"]))


def middle(u, v, w):
    hidden = torch.relu(torch.cat(branches(u, v, w), 1))
    return torch.sigmoid(linear(hidden, w["w_2"], w["b_2"]))


def late(u, v, w):
    a, b = (torch.relu(x) for x in branches(u, v, w))
    return (torch.sigmoid(linear(a, w["w_2"], w["b_2"])) + torch.sigmoid(linear(b, w["v_2"], w["b_3"]))) / 2


def two(combine):
    return lambda u, v, w: combine(*branches(u, v, w))


FORWARD = {
    "InnerProductFusion": lambda u, v, w: (u * v).sum(1, keepdim=True),
    "ProjectedInnerProductFusion": lambda u, v, w: (linear(u, w["w_u"]) * linear(v, w["w_v"])).sum(1, keepdim=True),
    "ConcatFusion": lambda u, v, w: linear(torch.cat([u, v], 1), w["w"], w["b"]),
    "SumFusion": lambda u, v, w: linear(u, w["w_u"]) + linear(v, w["w_v"], w["b"]),
    "MaxFusion": two(torch.maximum),
    "MultiplicativeFusion": two(torch.mul),
    "GatingFusion": two(lambda a, b: torch.sigmoid(a) * b),
    "LstmFusion": two(lambda a, b: torch.tanh(a) * b),
    "AttentionFusion": lambda u, v, w: mixture(*branches(u, v, w), w),
    "ModulationFusion": modulation,
    "BilinearFusion": bilinear,
    "BilinearGatedFusion": lambda u, v, w: bilinear(u, torch.sigmoid(v), w),
    "LowRankBilinearFusion": low_rank,
    "CompactBilinearFusion": lambda u, v, w: compact(u, v, w, int(w["d"])),
    "EarlyFusion": early,
    "MiddleFusion": middle,
    "LateFusion": late,
}


def start(kind: str, dims: list[int], below: int, rng: torch.Generator) -> torch.Tensor:
    """A weight before training."""
    if kind == "matrix":
        # three axes are a bilinear form, whose value is a sum over two of them
        inputs = math.prod(dims[1:])
        return torch.randn(dims, generator=rng) / math.sqrt(inputs)
    if kind == "index":
        return torch.randint(0, below, dims, generator=rng)
    if kind == "sign":
        return torch.randint(0, 2, dims, generator=rng).float() * 2 - 1
    return torch.randn(dims, generator=rng) * 0.1 if dims != [1] and len(dims) == 1 else torch.zeros(dims)


class Head(nn.Module):
    """Standardised u and v, the operator, and a linear layer over ReLU; probabilities as they
    are; a sketch over its signed root at unit length."""

    def __init__(self, name: str, function: dict, sizes: dict, classes: int, moments, rng: torch.Generator):
        super().__init__()
        from registry import shape, value

        self.name, self.sizes = name, sizes
        for key, (mean, scale) in moments.items():
            self.register_buffer(f"{key}_mean", torch.as_tensor(mean))
            self.register_buffer(f"{key}_scale", torch.as_tensor(scale))
        self.names = [weight["name"] for weight in function["weights"]]
        for weight in function["weights"]:
            below = value(weight["below"], sizes) if weight["below"] else 0
            drawn = start(weight["kind"], shape(weight["shape"], sizes), below, rng)
            if weight["kind"] in ("index", "sign"):
                self.register_buffer(weight["name"], drawn)
            else:
                if weight["name"].startswith("b_") or weight["name"] == "b" and drawn.dim() == 1 and name != "ModulationFusion":
                    drawn = torch.zeros_like(drawn)
                setattr(self, weight["name"], nn.Parameter(drawn))
        self.width = {"ModulationFusion": sizes["p"] + sizes["q"], "CompactBilinearFusion": sizes["d"]}.get(name, sizes["c"])
        if name in SCALAR:
            self.width = 1
        if name not in STAGES:
            self.last_w = nn.Parameter(torch.randn(classes, self.width, generator=rng) / math.sqrt(self.width))
            self.last_b = nn.Parameter(torch.zeros(classes))

    def weights(self) -> dict:
        return {name: getattr(self, name) for name in self.names}

    def standard(self, u, v):
        return (u - self.u_mean) * self.u_scale, (v - self.v_mean) * self.v_scale

    def features(self, u, v):
        """What the last layer reads."""
        u, v = self.standard(u, v)
        z = FORWARD[self.name](u, v, {**self.weights(), "d": self.sizes.get("d", 0)})
        if self.name == "CompactBilinearFusion":
            z = torch.sign(z) * torch.sqrt(z.abs() + 1e-12)
            return F.normalize(z, dim=1) * math.sqrt(self.width)
        return z if self.name in SCALAR else torch.relu(z)

    def forward(self, u, v, dropout: float = 0.0):
        if self.name in STAGES:
            u, v = self.standard(u, v)
            u, v = F.dropout(u, dropout, self.training), F.dropout(v, dropout, self.training)
            return torch.log(FORWARD[self.name](u, v, self.weights()) + 1e-6)
        z = self.features(u, v)
        z = z if self.name in SCALAR else F.dropout(z, dropout, self.training)
        return linear(z, self.last_w, self.last_b)

    def parameters_learnt(self) -> int:
        return sum(p.numel() for p in self.parameters())
