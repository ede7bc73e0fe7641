"""How the student learns: from the taggers' votes and from four larger networks in equal parts.

Each teacher sees three quarters of the faces and answers for the fourth, so what the student hears of
a face comes from networks that never saw its votes: where ten taggers were split by chance, that says more.
Faces are disturbed as cameras see them: a quarter turned by up to 60 degrees in the plane, a quarter
squeezed as a head turned away is. Rare expressions are drawn more often, by the root of their rarity.
"""

import copy
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from common import device
from expression import student

DEVICE = device.best()
FOLDS, FROM_TEACHERS, WARM = 4, 0.5, 0.08
TAUS = (0.0, 0.15, 0.3, 0.5, 0.7)  # adjustments that `compare` tries


@dataclass(frozen=True)
class Course:
    epochs: int
    batch: int
    rate: float
    ema: float  # of the running mean of weights
    seed: int
    mixup: float = 0.0  # both parameters of the beta distribution


TEACHER = Course(epochs=60, batch=512, rate=0.2, ema=0.998, seed=10, mixup=0.2)
STUDENT = Course(epochs=70, batch=256, rate=0.14, ema=0.999, seed=1)


# -- augmentation --------------------------------------------------------------------------


class Disturb:
    """Moves, turns, lights, blurs and covers faces, f32 [N, 1, 48, 48] in 0..255."""

    def __init__(self, seed: int):
        self.generator = torch.Generator(DEVICE).manual_seed(seed)

    def between(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, device=DEVICE, generator=self.generator) * (high - low) + low

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = self.light(self.move(x))
        noise = torch.randn(x.shape, device=DEVICE, generator=self.generator)
        return self.cover((x + noise * self.between(0, 6, len(x), 1, 1, 1)).clamp(0, 255).round())

    def move(self, x: torch.Tensor) -> torch.Tensor:
        n = len(x)
        scale, aspect = torch.exp(self.between(-0.22, 0.22, n)), torch.exp(self.between(-0.08, 0.08, n))
        angle = self.between(-1, 1, n) * math.radians(14)
        turned = self.between(0, 1, n) < 0.25
        angle = torch.where(turned, self.between(-1, 1, n) * math.radians(60), angle)
        away = self.between(0, 1, n) < 0.25
        aspect = torch.where(away, aspect / self.between(0.55, 1, n), aspect)
        flip = torch.where(self.between(0, 1, n) < 0.5, -1.0, 1.0)
        shear = self.between(-0.15, 0.15, n)
        dx, dy = self.between(-0.13, 0.13, n), self.between(-0.13, 0.13, n)
        across = torch.stack([torch.cos(angle) * scale * aspect * flip, shear - torch.sin(angle) * scale, dx], 1)
        down = torch.stack([torch.sin(angle) * scale * aspect * flip, torch.cos(angle) * scale, dy], 1)
        grid = F.affine_grid(torch.stack([across, down], 1), x.shape, align_corners=False)
        borders = [F.grid_sample(x, grid, padding_mode=mode, align_corners=False) for mode in ("border", "zeros")]
        return torch.where(self.between(0, 1, n, 1, 1, 1) < 0.5, *borders)

    def light(self, x: torch.Tensor) -> torch.Tensor:
        contrast, shift = (self.between(-a, a, len(x), 1, 1, 1) for a in (0.4, 40))
        mean = x.mean((1, 2, 3), keepdim=True)
        x = (x - mean) * torch.exp(contrast) + mean + shift
        blurred = self.between(0, 1, len(x), 1, 1, 1) < 0.15
        return torch.where(blurred, F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), x)

    def cover(self, x: torch.Tensor) -> torch.Tensor:
        """Random erasing of a patch of 6 to 20 pixels on three faces of ten."""
        size, middle = self.between(6, 20, len(x), 2, 1), self.between(0, student.SIDE, len(x), 2, 1)
        inside = (torch.arange(student.SIDE, device=DEVICE) - middle).div(size).add(0.5)
        inside = (inside >= 0) & (inside < 1)  # [N, (down, across), 48]
        hole = inside[:, 0, :, None] & inside[:, 1, None, :] & (self.between(0, 1, len(x), 1, 1) < 0.3)
        return torch.where(hole[:, None], self.between(0, 255, len(x), 1, 1, 1).round(), x)


# -- the teacher ---------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self, into: int, out: int, stride: int):
        super().__init__()
        self.first, self.second = student.normed(into, out, stride), student.normed(out, out)
        self.short = nn.Identity()
        if stride > 1 or into != out:
            self.short = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.short(x) + self.second(F.relu(self.first(x))))


class Teacher(nn.Module):
    """ResNet-18 (He et al. 2016) for 48 x 48 pixels: a stem of 3 x 3 without pooling."""

    def __init__(self):
        super().__init__()
        widths = (64, 64, 128, 256, 512)
        self.stem = nn.Sequential(student.normed(1, widths[0]), nn.ReLU())
        pairs = [(Block(into, out, 2), Block(out, out, 1)) for into, out in zip(widths, widths[1:])]
        self.body = nn.Sequential(*(block for pair in pairs for block in pair))
        self.head = nn.Linear(widths[-1], len(student.LABELS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.dropout(self.body(self.stem(x)).mean((2, 3)), 0.4, self.training))


# -- learning ------------------------------------------------------------------------------


class Faces:
    """Labelled train faces, those that train first, then those held out; all on the device."""

    def __init__(self, work: Path):
        stored = np.load(work / "ferplus.npz")
        rows, held = student.split(stored)
        order = np.concatenate([rows, held])
        self.votes, self.train = stored["train_votes"][order], np.arange(len(rows))
        self.pixels = torch.from_numpy(stored["train"][order][:, None]).to(DEVICE)
        self.shares = torch.from_numpy(student.shares(self.votes)[0])
        self.fold = np.arange(len(order)) % FOLDS


def rate(course: Course, done: float) -> float:
    """One cycle: a short linear rise, then half a cosine."""
    return course.rate * (done / WARM if done < WARM else 0.5 * (1 + math.cos(math.pi * (done - WARM) / (1 - WARM))))


def fit(net: nn.Module, faces: Faces, rows: np.ndarray, target: torch.Tensor, course: Course, weight=None) -> nn.Module:
    """The running mean of the weights; bf16 products. `target` [faces, 8]; with `weight` rows are drawn by it, else each once."""
    rng, disturb = np.random.default_rng(course.seed), Disturb(course.seed)
    net, target = net.to(DEVICE, memory_format=torch.channels_last), target.to(DEVICE)
    mean = copy.deepcopy(net).eval()
    optimiser = torch.optim.SGD(student.decayed(net), lr=course.rate, momentum=0.9, nesterov=True)
    passes = len(rows) // course.batch
    for step in range(course.epochs * passes):
        if step % passes == 0:
            drawn = rng.permutation(rows) if weight is None else rng.choice(rows, len(rows), p=weight)
        for group in optimiser.param_groups:
            group["lr"] = max(rate(course, step / (course.epochs * passes)), 1e-5)
        batch = torch.from_numpy(drawn[step % passes * course.batch :][: course.batch]).to(DEVICE)
        x, y = student.centred(disturb(faces.pixels[batch].float())), target[batch]
        if course.mixup:
            share, other = rng.beta(course.mixup, course.mixup), torch.randperm(len(x), device=DEVICE)
            x, y = share * x + (1 - share) * x[other], share * y + (1 - share) * y[other]
        learn(net, optimiser, x, y)
        follow(mean, net, min(course.ema, (step + 1) / (step + 10)))
    return mean


def learn(net, optimiser, x, target) -> None:
    net.train()
    with torch.autocast(DEVICE.type, torch.bfloat16):
        logits = net(x)
    loss = -(target * F.log_softmax(logits.float(), 1)).sum(1).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


@torch.no_grad()
def follow(mean: nn.Module, net: nn.Module, keep: float) -> None:
    for old, new in zip(mean.state_dict().values(), net.state_dict().values()):
        if old.dtype.is_floating_point:
            old.lerp_(new, 1 - keep)


@torch.no_grad()
def logits(net: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    with torch.autocast(DEVICE.type, torch.bfloat16):
        return torch.cat([net(student.centred(part)).float() for part in pixels.split(4096)]).cpu()


def figures(made: np.ndarray, votes: np.ndarray) -> dict:
    """(accuracy, macro-F1) by both rules of `student.truth`."""
    found = {}
    for rule, strict in (("half", True), ("top", False)):
        label, counts = student.truth(votes, strict)
        label, answer = label[counts], made.argmax(1)[counts]
        each = [2 * ((answer == k) & (label == k)).sum() / max((answer == k).sum() + (label == k).sum(), 1) for k in range(8)]
        found[rule] = round(float((answer == label).mean()), 4), round(float(np.mean(each)), 4)
    return found


def teach(work: Path, course: Course = TEACHER) -> None:
    """work/teachers.npz: logits of each face by the teacher that never saw it, mean of the face and its mirror image."""
    path = work / "teachers.npz"
    if path.exists():
        return
    faces = Faces(work)
    told = torch.zeros(len(faces.fold), len(student.LABELS))
    for k in range(FOLDS):
        own, each = faces.fold == k, replace(course, seed=course.seed + k)
        torch.manual_seed(each.seed)
        teacher = fit(Teacher(), faces, np.flatnonzero(~own), faces.shares, each)
        unseen = faces.pixels[np.flatnonzero(own)]
        told[own] = (logits(teacher, unseen) + logits(teacher, unseen.flip(3))) / 2
        print(f"teacher {k}", figures(told[own].numpy(), faces.votes[own]), flush=True)
    np.savez(path, logits=told.numpy())


def taught(work: Path, faces: Faces, rows: np.ndarray, course: Course) -> nn.Module:
    told = torch.softmax(torch.from_numpy(np.load(work / "teachers.npz")["logits"]), 1)
    shares = faces.shares.numpy()[rows]
    weight = (shares / np.sqrt(shares.mean(0))).sum(1)
    target = (1 - FROM_TEACHERS) * faces.shares + FROM_TEACHERS * told
    torch.manual_seed(course.seed)
    return fit(student.Student(), faces, rows, target, course, weight / weight.sum())


def compare(work: Path, course: Course = STUDENT) -> None:
    """What a student of three folds says of the fourth, by how far rarity is made up for: chooses `student.TAU`."""
    faces = Faces(work)
    rows, own = np.flatnonzero(faces.fold != FOLDS - 1), np.flatnonzero(faces.fold == FOLDS - 1)
    made = logits(taught(work, faces, rows, course), faces.pixels[own]).numpy()
    rarity = np.log(faces.shares.numpy()[rows].mean(0))
    for tau in TAUS:
        print(tau, figures(made - tau * rarity, faces.votes[own]), flush=True)


def train(work: Path, course: Course = STUDENT) -> None:
    """work/expression.pt"""
    path = work / "expression.pt"
    if path.exists():
        return
    faces = Faces(work)
    state = taught(work, faces, faces.train, course).state_dict()
    torch.save({name: value.cpu() for name, value in state.items()}, path)
