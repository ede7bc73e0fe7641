"""The face expression student: a small residual network on 48 x 48 grey bytes, FER+ labels.

Stages, in order (`stages.py` drives them; each skips what its work folder already holds):
  prepare  faces and votes of FER+ in one file
  train    the network on the taggers' votes
  export   expression.onnx, int8 or f32

Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced
Label Distribution", 2016: ten taggers named each face; the network learns their shares, with
lone votes left out as there.
"""

import copy
import csv
import io
import math
import tarfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from common.image_nets import Extremes, FloatNet, IntegerNet, Weights, extremes

LABELS = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"]
VOTES = [*LABELS, "unknown", "NF"]
SIDE, POINT = 48, (1 / 64, 128)
CHANNELS = (32, 64, 128, 256)  # each stage halves the picture and adds one residual block
TWIN = 0.95  # correlation above which two faces are taken for the same photograph
HELD, CALIBRATION = 1500, 500  # train faces for the temperature; for the ranges of bytes
BATCH, EPOCHS, RATE, DECAY, DROPOUT = 128, 33, 0.1, 5e-4, 0.3
WARM, EMA = 0.08, 0.997
SAME = (1, 1, 1, 1)


# -- data ----------------------------------------------------------------------------------


def prepare(data: Path, work: Path) -> None:
    """work/ferplus.npz: u8 faces [N, 48, 48] and votes [N, 10] of train and dev."""
    from PIL import Image

    path, out = work / "ferplus.npz", {}
    if path.exists():
        return
    with tarfile.open(data / "ferplus" / "faces.tar") as archive:
        stored = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}
    for part in ("train", "dev"):
        rows = list(csv.DictReader(open(data / "ferplus" / f"{part}.csv", newline="")))
        faces = [np.asarray(Image.open(io.BytesIO(stored[row["image"]])).convert("L")) for row in rows]
        out[part] = np.stack(faces)
        out[f"{part}_votes"] = np.array([[int(row[name]) for name in VOTES] for row in rows], np.int16)
        out[f"{part}_ids"] = np.array([row["id"] for row in rows])
    np.savez(path, **out)


def heard(votes: np.ndarray) -> np.ndarray:
    """Votes without those that one tagger alone gave."""
    return np.where(votes > 1, votes, 0).astype(np.float32)


def shares(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(distribution over the eight classes, which rows have one: not unknown, not NF)"""
    kept = heard(votes)
    total = kept[:, :8].sum(1)
    return kept[:, :8] / np.maximum(total, 1)[:, None], (kept.argmax(1) < 8) & (total > 0)


def truth(votes: np.ndarray, strict: bool) -> tuple[np.ndarray, np.ndarray]:
    """(label, which rows count). Strict: more than half of the votes that FER+ keeps, as there;
    otherwise the one class with most votes of all ten."""
    kept = heard(votes) if strict else votes
    most = kept.max(1)
    alone = most > 0.5 * kept.sum(1) if strict else (kept == most[:, None]).sum(1) == 1
    label = kept.argmax(1)
    return label, alone & (label < 8)


def twins(faces: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Highest correlation of each face with any of `others` or their mirror images."""

    def unit(x: np.ndarray) -> torch.Tensor:
        rows = x.reshape(len(x), -1).astype(np.float32)
        rows -= rows.mean(1, keepdims=True)
        return torch.from_numpy(rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6))

    both = torch.cat([unit(others), unit(others[:, :, ::-1])]).T
    return torch.cat([(part @ both).amax(1) for part in unit(faces).split(2048)]).numpy()


def split(stored) -> tuple[np.ndarray, np.ndarray]:
    """(train rows, held rows of train), without twins of dev faces; seeded."""
    _, labelled = shares(stored["train_votes"])
    rows = np.flatnonzero(labelled & (twins(stored["train"], stored["dev"]) <= TWIN))
    np.random.default_rng(0).shuffle(rows)
    return rows[HELD:], rows[:HELD]


# -- augmentation --------------------------------------------------------------------------


class Disturb:
    """Moves, turns, lights, blurs and covers faces [N, 1, 48, 48] in 0..255."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def between(self, n: int, low: float, high: float) -> torch.Tensor:
        return torch.rand(n, generator=self.generator) * (high - low) + low

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = self.light(self.move(x.float()))
        return self.cover((x + self.noise(x)).clamp(0, 255).round())

    def move(self, x: torch.Tensor) -> torch.Tensor:
        n = len(x)
        scale, aspect = torch.exp(self.between(n, -0.22, 0.22)), torch.exp(self.between(n, -0.08, 0.08))
        angle = self.between(n, -1, 1) * math.radians(14)
        flip = torch.where(self.between(n, 0, 1) < 0.5, -1.0, 1.0)
        dx, dy = self.between(n, -0.13, 0.13), self.between(n, -0.13, 0.13)
        across = torch.stack([torch.cos(angle) * scale * aspect * flip, -torch.sin(angle) * scale, dx], 1)
        down = torch.stack([torch.sin(angle) * scale * aspect * flip, torch.cos(angle) * scale, dy], 1)
        grid = F.affine_grid(torch.stack([across, down], 1), x.shape, align_corners=False)
        border = "border" if self.between(1, 0, 1) < 0.5 else "zeros"
        return F.grid_sample(x, grid, padding_mode=border, align_corners=False)

    def light(self, x: torch.Tensor) -> torch.Tensor:
        contrast, shift = (self.between(len(x), -a, a)[:, None, None, None] for a in (0.4, 40))
        mean = x.mean((1, 2, 3), keepdim=True)
        x = (x - mean) * torch.exp(contrast) + mean + shift
        blurred = (self.between(len(x), 0, 1) < 0.15)[:, None, None, None]
        return torch.where(blurred, F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), x)

    def noise(self, x: torch.Tensor) -> torch.Tensor:
        return torch.randn(x.shape, generator=self.generator) * self.between(len(x), 0, 6)[:, None, None, None]

    def cover(self, x: torch.Tensor) -> torch.Tensor:
        """Random erasing of a patch of 6 to 20 pixels on three faces of ten."""
        size, middle = (self.between(2 * len(x), *r).int().view(2, -1) for r in ((6, 20), (0, SIDE)))
        for i in torch.nonzero(self.between(len(x), 0, 1) < 0.3).flatten():
            (top, left), (high, wide) = (middle - size // 2)[:, i].clamp(min=0), size[:, i]
            x[i, :, top : top + high, left : left + wide] = self.between(1, 0, 255)
        return x


# -- network -------------------------------------------------------------------------------


def normed(into: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out))


class Student(nn.Module):
    """Four times: halve with a 3 x 3 convolution, then x + conv(conv(x)); mean; eight logits."""

    def __init__(self):
        super().__init__()
        ends = list(zip((1, *CHANNELS), CHANNELS))
        self.down = nn.ModuleList([normed(into, out, 2) for into, out in ends])
        self.first = nn.ModuleList([normed(out, out) for _, out in ends])
        self.second = nn.ModuleList([normed(out, out) for _, out in ends])
        self.head = nn.Linear(CHANNELS[-1], len(LABELS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for down, first, second in zip(self.down, self.first, self.second):
            x = F.relu(down(x))
            x = F.relu(x + second(F.relu(first(x))))
        return self.head(F.dropout(x.mean((2, 3)), DROPOUT, self.training))

    def weights(self) -> Weights:
        """By layer of `walk`, batch norms folded."""
        made = {"logits": (self.head.weight.detach().numpy()[:, :, None, None], self.head.bias.detach().numpy())}
        for name in ("down", "first", "second"):
            for i, (conv, norm) in enumerate(getattr(self, name)):
                factor = norm.weight / (norm.running_var + norm.eps).sqrt()
                bias = norm.bias - norm.running_mean * factor
                w = conv.weight * factor[:, None, None, None]
                made[f"{name}{i}"] = w.detach().float().numpy(), bias.detach().float().numpy()
        return made


def trunk(net):
    """A face in 3 x 3 cells, [1, 256, 3, 3]."""
    x = net.pixels
    for i in range(len(CHANNELS)):
        x = net.conv(x, f"down{i}", 2, SAME, relu=True)
        y = net.conv(net.conv(x, f"first{i}", 1, SAME, relu=True), f"second{i}", 1, SAME)
        x = net.add(x, y, f"sum{i}")
    return x


def named(net, cells):
    """Logits of the expressions."""
    return net.conv(net.mean(cells, "mean"), "logits")


def walk(net):
    return named(net, trunk(net))


def centred(faces: torch.Tensor) -> torch.Tensor:
    return ((faces.float() - POINT[1]) * POINT[0]).contiguous(memory_format=torch.channels_last)


def rate(done: float) -> float:
    """One cycle: a short linear rise, then half a cosine."""
    return RATE * (done / WARM if done < WARM else 0.5 * (1 + math.cos(math.pi * (done - WARM) / (1 - WARM))))


def train(work: Path) -> None:
    """work/expression.pt: the running mean of the student's weights; bf16 products."""
    path = work / "expression.pt"
    if path.exists():
        return
    torch.manual_seed(1)
    stored = np.load(work / "ferplus.npz")
    rows, _ = split(stored)
    faces, votes = torch.from_numpy(stored["train"][:, None]), torch.from_numpy(shares(stored["train_votes"])[0])
    student = Student().to(memory_format=torch.channels_last)
    mean, disturb = copy.deepcopy(student).eval(), Disturb(1)
    optimiser = torch.optim.SGD(decayed(student), lr=RATE, momentum=0.9, nesterov=True)
    steps, order = EPOCHS * (len(rows) // BATCH), np.random.default_rng(0)
    for step in range(steps):
        if step % (len(rows) // BATCH) == 0:
            shuffled = order.permutation(rows)
        for group in optimiser.param_groups:
            group["lr"] = max(rate(step / steps), 1e-5)
        batch = shuffled[(step * BATCH) % (len(rows) // BATCH * BATCH) :][:BATCH]
        learn(student, optimiser, disturb(faces[batch]), votes[batch])
        follow(mean, student, step)
    torch.save(mean.state_dict(), path)


def decayed(student: nn.Module) -> list[dict]:
    matrices = [p for p in student.parameters() if p.ndim > 1]
    vectors = [p for p in student.parameters() if p.ndim == 1]
    return [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]


def learn(student, optimiser, x, target) -> None:
    student.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = student(centred(x))
    loss = -(target * F.log_softmax(logits.float(), 1)).sum(1).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def follow(mean: nn.Module, student: nn.Module, step: int) -> None:
    keep = min(EMA, (step + 1) / (step + 10))
    with torch.no_grad():
        for old, new in zip(mean.state_dict().values(), student.state_dict().values()):
            old.lerp_(new, 1 - keep) if old.dtype.is_floating_point else old.copy_(new)


# -- export --------------------------------------------------------------------------------


def export(work: Path, out: Path, int8: bool) -> int:
    """out/expression.onnx; returns its size in bytes."""
    student, stored = Student(), np.load(work / "ferplus.npz")
    student.load_state_dict(torch.load(work / "expression.pt"))
    weights = student.weights()
    net = FloatNet("expression", weights, SIDE, 1, POINT)
    logits = walk(net)
    if int8:
        rows, _ = split(stored)
        limits = extremes(net, stored["train"][rows[:CALIBRATION], :, :, None])
        net = IntegerNet("expression", weights, SIDE, 1, POINT, Extremes(limits))
        logits = walk(net)
    net.g.output(net.g.op("Reshape", [net.floats(logits), net.g.ints([-1])]), "logits", [len(LABELS)])
    return net.g.save(out / "expression.onnx")
