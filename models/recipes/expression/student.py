"""The face expression student: a small residual network on 48 x 48 grey bytes, FER+ labels.

Its data, its layers and its export; `learning.py` trains it.

Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced
Label Distribution", 2016: ten taggers named each face; the network learns their shares, with
lone votes left out as there.
"""

import csv
import io
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
DECAY, DROPOUT = 5e-4, 0.3
TAU = 0.15  # how far rarity is made up for; `learning.compare` finds it
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


def decayed(student: nn.Module) -> list[dict]:
    matrices = [p for p in student.parameters() if p.ndim > 1]
    vectors = [p for p in student.parameters() if p.ndim == 1]
    return [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]


# -- export --------------------------------------------------------------------------------


def adjust(student: Student, seen: np.ndarray) -> None:
    """Takes a part of each class's log prior off its logit (Menon et al. 2021): the network learnt that most
    faces are neutral or happy, and leans on it where a face is hard to tell. In the last bias it costs nothing."""
    with torch.no_grad():
        student.head.bias -= TAU * torch.from_numpy(np.log(seen.mean(0)))


def export(work: Path, out: Path, int8: bool) -> int:
    """out/expression.onnx; returns its size in bytes."""
    student, stored = Student(), np.load(work / "ferplus.npz")
    student.load_state_dict(torch.load(work / "expression.pt"))
    rows, _ = split(stored)
    adjust(student, shares(stored["train_votes"])[0][rows])
    weights = student.weights()
    net = FloatNet("expression", weights, SIDE, 1, POINT)
    logits = walk(net)
    if int8:
        limits = extremes(net, stored["train"][rows[:CALIBRATION], :, :, None])
        net = IntegerNet("expression", weights, SIDE, 1, POINT, Extremes(limits))
        logits = walk(net)
    net.g.output(net.g.op("Reshape", [net.floats(logits), net.g.ints([-1])]), "logits", [len(LABELS)])
    return net.g.save(out / "expression.onnx")
