"""The speech student of LE-MER: Whisper tiny.en's first layers, a 25 fps emotion head.

Stages, in order (`run.py` drives them; each skips what its work folder already holds):
  prepare  mels of every clip in several disturbed views, and the frozen lower layers' frames
  teacher  Whisper base's features under a linear head: soft labels that know no held-out speaker
  train    the student on published labels; distil  the student on labels and teacher
  export   speech.onnx, int8 or f32
"""

import csv
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn, optim

from common import audio, mel
from common.audio import CLASSES, EMOTIONS, FOLDS
from common.onnx_graph import Graph
from emotion import whisper

LAYERS = 2  # of 4: a probe of each layer peaks at the second, within and across corpora
FROZEN = 1  # layers whose halved frames are cached; the ones above run at 25 fps and are fine-tuned
VIEWS = 5  # the first is the clip as published, trimmed; the others are augmented
WIDTH, FRAME = 384, 192
MU_LABEL, MU_TEACHER = 0.1, 0.5  # weights of the label-guided loss L_g (LE-MER) and of the teacher
TEACHER_LAYERS, TEACHER_C = (2, 3, 4), 0.005  # layers from 1; the conv front is 0
EPOCHS, EPOCH_CLIPS, BATCH = 12, 1200, 32
EMA = 0.98  # the student is the running mean of its last fifty steps' weights
MIXED, CUT = 0.5, 0.5  # shares of clips that borrow another's style, or lose a stretch
HEAD_RATE, TRUNK_RATE, DECAY, DROPOUT = 1e-3, 1e-4, 0.05, 0.3
CORPUS_SHARE = {"ravdess": 0.55, "tess": 0.2, "emodb": 0.25}
HELD = [*range(FOLDS), None]  # the folds, and the final model that holds no one out


def tag(fold) -> str:
    return "final" if fold is None else f"fold{fold}"


# -- frames on disk ---------------------------------------------------------------


class Frames:
    """Ragged [T_i, width] f16 arrays end to end in one file, mapped rather than read."""

    def __init__(self, path: Path):
        self.rows = np.load(path, mmap_mode="r")
        self.offsets = np.load(path.with_suffix(".offsets.npy"))

    def __getitem__(self, i) -> np.ndarray:
        return self.rows[self.offsets[i] : self.offsets[i + 1]]

    @staticmethod
    def save(path: Path, items: list[np.ndarray]) -> None:
        np.save(path.with_suffix(".offsets.npy"), np.cumsum([0] + [len(x) for x in items]))
        np.save(path, np.concatenate(items).astype(np.float16))


def _folder(work) -> Path:
    folder = Path(work) / "speech"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def prepare(data, work, count: int = VIEWS) -> None:
    """Mels and the frozen layers' frames of the first `count` views."""
    found, trunk = audio.clips(data), whisper.encoder("tiny.en", FROZEN)
    for view in range(count):
        mels, frames = _folder(work) / f"mel_{view}.npy", _folder(work) / f"frames_{view}.npy"
        if not mels.exists():
            Frames.save(mels, [mel.log_mel(_view(clip, view, i)) for i, clip in enumerate(found)])
        if not frames.exists():
            Frames.save(frames, _trunk_frames(trunk, Frames(mels), len(found)))


def _view(clip, view: int, i: int) -> np.ndarray:
    wave = audio.load(clip.path)
    return audio.trim(wave) if view == 0 else audio.augment(wave, np.random.default_rng([view, i]))


@torch.inference_mode()
def _trunk_frames(trunk, mels: Frames, count: int) -> list[np.ndarray]:
    return [halve(trunk.all_layers(torch.from_numpy(mels[i].astype(np.float32)))[-1]).numpy() for i in range(count)]


def halve(x: torch.Tensor) -> torch.Tensor:
    """[T, 384] at 50 fps -> [ceil(T/2), 384]: the mean of each even frame and its neighbours.

    From here on everything costs half; a probe of the layer above loses nothing it can show.
    """
    return F.avg_pool1d(x.T[None], 3, stride=2, padding=1, count_include_pad=False)[0].T


# -- teacher ----------------------------------------------------------------------


def teacher(data, work) -> None:
    """Logits over EMOTIONS of every clip, one file per held-out fold (and none held out).

    A clip's logits come from a head that saw neither the held-out speakers nor any
    speaker of the clip's own group: what it says is generalisation, not memory.
    """
    found, folder = audio.clips(data), _folder(work)
    if not (folder / "teacher_features.npy").exists():
        np.save(folder / "teacher_features.npy", _teacher_features(found))
    features = np.load(folder / "teacher_features.npy")
    for held in HELD:
        np.save(folder / f"teacher_{tag(held)}.npy", _cross_fitted(features, found, held))


def _teacher_features(found) -> np.ndarray:
    """Mean and deviation over time of the most telling layers of Whisper base."""
    base = whisper.encoder("base", max(TEACHER_LAYERS))
    stats = []
    with torch.inference_mode():
        for clip in found:
            outputs = base.all_layers(torch.from_numpy(mel.log_mel(audio.trim(audio.load(clip.path)))))
            stats.append(torch.cat([f(outputs[i], 0) for i in TEACHER_LAYERS for f in (torch.mean, torch.std)]))
    return torch.stack(stats).numpy()


def _cross_fitted(features, found, held) -> np.ndarray:
    folds, groups = audio.fold_of(found), audio.groups(found)
    target = np.array([EMOTIONS.index(clip.emotion) for clip in found])
    logits = np.zeros((len(found), len(EMOTIONS)), np.float32)
    for group in range(FOLDS):
        known = (groups != group) & (folds != held)
        head = make_pipeline(
            StandardScaler(), LogisticRegression(C=TEACHER_C, max_iter=100, class_weight="balanced")
        )
        head.fit(features[known], target[known])
        logits[groups == group] = head.decision_function(features[groups == group])
    return logits


# -- student ----------------------------------------------------------------------


class Student(nn.Module):
    """Frozen frames [B, M, 384] at 25 fps -> frames H_s [B, M, 192] that carry the emotion."""

    def __init__(self):
        super().__init__()
        self.layers = whisper.encoder("tiny.en", LAYERS).layers[FROZEN:]
        self.norm = nn.LayerNorm(WIDTH)
        self.reduce = nn.Linear(WIDTH, FRAME)
        self.project = nn.Linear(FRAME, FRAME)
        self.frame_norm = nn.LayerNorm(FRAME)
        self.salience = nn.Linear(FRAME, 1, bias=False)
        self.classify = nn.Linear(FRAME, len(CLASSES))
        self.auxiliary = nn.Linear(FRAME, len(EMOTIONS))
        self.labels = nn.Parameter(torch.randn(len(CLASSES), FRAME))
        self.label_scale = nn.Parameter(torch.tensor(10.0))
        self.drop = nn.Dropout(DROPOUT)

    def frames(self, x, keep):
        for layer in self.layers:
            x = layer(x, keep)
        return self.frame_norm(self.project(self.drop(F.gelu(self.reduce(self.norm(x))))))

    def pool(self, h, keep):
        """Salience-weighted mean over the frames that `keep` [B, M] marks as real."""
        scores = self.salience(h)[:, :, 0].masked_fill(~keep, -1e4)
        return (scores.softmax(1)[:, :, None] * h).sum(1)

    def label_logits(self, h, keep):
        """Mean cosine of the frames with each label's embedding, scaled (LE-MER, L_g)."""
        cosine = F.normalize(h, dim=-1) @ F.normalize(self.labels, dim=-1).T
        return self.label_scale * (cosine * keep[:, :, None]).sum(1) / keep.sum(1, keepdim=True)

    def forward(self, x, keep):
        h = self.frames(x, keep)
        pooled = self.drop(self.pool(h, keep))
        return self.classify(pooled), self.auxiliary(pooled), self.label_logits(h, keep)


# -- training ---------------------------------------------------------------------


def train(data, work, fold=None, seed: int = 0) -> Path:
    """The student on published labels alone; `fold` is held out (None: no one is)."""
    return _checkpointed(data, work, fold, seed, taught=False)


def distil(data, work, fold=None, seed: int = 0) -> Path:
    """The student on published labels and the teacher's."""
    return _checkpointed(data, work, fold, seed, taught=True)


def checkpoint(work, fold, seed: int = 0, taught: bool = True) -> Path:
    return _folder(work) / f"student_{'taught' if taught else 'plain'}_{tag(fold)}_{seed}.pt"


def _checkpointed(data, work, fold, seed, taught) -> Path:
    path = checkpoint(work, fold, seed, taught)
    if not path.exists():
        found = audio.clips(data)
        known = audio.fold_of(found) != fold if fold is not None else np.ones(len(found), bool)
        soft = np.load(_folder(work) / f"teacher_{tag(fold)}.npy") if taught else None
        torch.save(fit(work, found, known, soft, seed).state_dict(), path)
    return path


def fit(work, found, known, soft=None, seed: int = 0, count: int = VIEWS) -> Student:
    """Trains on `count` views of the clips that `known` marks; `soft` are the teacher's logits or None."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    student, views = Student(), [Frames(_folder(work) / f"frames_{v}.npy") for v in range(count)]
    mean = optim.swa_utils.AveragedModel(student, multi_avg_fn=optim.swa_utils.get_ema_multi_avg_fn(EMA))
    emotion = torch.tensor([EMOTIONS.index(clip.emotion) for clip in found])
    soft = None if soft is None else torch.from_numpy(soft)
    optimiser, schedule = _optimiser(student)
    weights = _sampling_weights(found) * known
    for _ in range(EPOCHS):
        student.train()
        chosen = rng.choice(len(found), EPOCH_CLIPS, p=weights / weights.sum())
        for batch in _batches(chosen, views[0], rng):
            x, keep = pad([_cut(_disturbed(views, i, rng), rng) for i in batch])
            x = _restyled(x, keep, emotion[batch].numpy(), rng)
            # half the time a step where the processor has bf16 products; weights stay f32
            with torch.autocast("cpu", torch.bfloat16):
                loss = _loss(student(x, keep), emotion[batch], None if soft is None else soft[batch])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            mean.update_parameters(student)
    student.load_state_dict(mean.module.state_dict())
    return student.eval()


def _optimiser(student):
    """AdamW, slow for the pretrained layers; the rates warm up over a tenth and decay to nothing."""
    trunk = list(student.layers.parameters())
    pretrained = {id(p) for p in trunk}
    head = [p for p in student.parameters() if id(p) not in pretrained]
    groups = [{"params": head, "lr": HEAD_RATE}, {"params": trunk, "lr": TRUNK_RATE}]
    optimiser = optim.AdamW(groups, weight_decay=DECAY)
    steps = EPOCHS * -(-EPOCH_CLIPS // BATCH)
    return optimiser, optim.lr_scheduler.OneCycleLR(optimiser, [HEAD_RATE, TRUNK_RATE], steps, pct_start=0.1)


def _sampling_weights(found) -> np.ndarray:
    """Corpora by CORPUS_SHARE, emotions evenly within one, the four classes twice as often."""
    cells = [(clip.corpus, clip.emotion) for clip in found]
    sizes = {cell: cells.count(cell) for cell in set(cells)}
    return np.array([CORPUS_SHARE[c] * (2 if e in CLASSES else 1) / sizes[c, e] for c, e in cells])


def _batches(chosen, frames: Frames, rng):
    """Batches of similar length, in random order."""
    length = np.diff(frames.offsets)[chosen] + rng.normal(0, 8, len(chosen))
    ordered = chosen[np.argsort(length)]
    starts = rng.permutation(np.arange(0, len(ordered), BATCH))
    return [ordered[start : start + BATCH] for start in starts]


def _disturbed(views, i, rng) -> np.ndarray:
    """Frames of a random view, the published one a little more often."""
    return views[max(0, int(rng.integers(-1, len(views))))][i]


def _cut(frames, rng) -> np.ndarray:
    """The frames without a stretch of up to a third: no one moment carries a class."""
    if rng.random() >= CUT:
        return frames
    size = int(len(frames) * rng.uniform(0.05, 0.3))
    start = rng.integers(0, len(frames) - size)
    return np.delete(frames, slice(start, start + size), axis=0)


def _restyled(x, keep, emotion, rng):
    """Some clips with a share of the mean and deviation over time of another of their emotion.

    These two hold much of who speaks and through which microphone (MixStyle, ICLR 2021);
    within one emotion they may be exchanged without making a label wrong.
    """
    partner = np.arange(len(x))
    for e in np.unique(emotion):
        same = np.flatnonzero(emotion == e)
        partner[same] = rng.permutation(same)
    share = np.where(rng.random(len(x)) < MIXED, rng.uniform(0, 0.7, len(x)), 0)
    share = torch.tensor(share, dtype=torch.float32)[:, None, None]
    real = keep[:, :, None]
    count = real.sum(1, keepdim=True)
    centre = (x * real).sum(1, keepdim=True) / count
    spread = (((x - centre) ** 2 * real).sum(1, keepdim=True) / count + 1e-5).sqrt()
    blend = lambda own: torch.lerp(own, own[partner], share)
    return ((x - centre) / spread * blend(spread) + blend(centre)) * real


def pad(items) -> tuple[torch.Tensor, torch.Tensor]:
    """Ragged frames -> [B, T, width] and which of them are real."""
    keep = torch.zeros(len(items), max(map(len, items)), dtype=torch.bool)
    x = torch.zeros(*keep.shape, items[0].shape[1])
    for row, item in enumerate(items):
        keep[row, : len(item)] = True
        x[row, : len(item)] = torch.from_numpy(item.astype(np.float32))
    return x, keep


def _loss(outputs, emotion, soft):
    """Published labels on both heads and the label embeddings; the teacher's on both heads."""
    logits, auxiliary, guided = outputs
    four = emotion < len(CLASSES)
    hard = emotion[four]
    loss = F.cross_entropy(logits[four], hard, label_smoothing=0.1) + MU_LABEL * F.cross_entropy(guided[four], hard)
    loss = loss + 0.3 * F.cross_entropy(auxiliary, emotion, label_smoothing=0.1)
    if soft is not None:
        loss = loss + MU_TEACHER * _divergence(logits[four], soft[four, : len(CLASSES)])
        loss = loss + 0.3 * MU_TEACHER * _divergence(auxiliary, soft)
    return loss


def _divergence(logits, soft, temperature: float = 2.0):
    ours, theirs = (logits / temperature).log_softmax(1), (soft / temperature).softmax(1)
    return F.kl_div(ours, theirs, reduction="batchmean") * temperature**2


# -- measuring --------------------------------------------------------------------


def restore(path) -> Student:
    student = Student()
    student.load_state_dict(torch.load(path))
    return student.eval()


@torch.inference_mode()
def predict(student: Student, frames: Frames, which) -> tuple[np.ndarray, list[np.ndarray]]:
    """Logits [len(which), 4] and each clip's H_s."""
    logits, hidden = [], []
    for i in which:
        x, keep = pad([frames[i]])
        h = student.frames(x, keep)
        logits.append(student.classify(student.pool(h, keep))[0].numpy())
        hidden.append(h[0].numpy())
    return np.array(logits), hidden


def mean_recall(predicted, target) -> float:
    """UA: the mean over the classes that occur of the share of each that was found."""
    return float(np.mean([np.mean(predicted[target == k] == k) for k in np.unique(target)]))


def evaluate(data, work, taught: bool = True, seed: int = 0) -> dict:
    """Five-fold figures on RAVDESS's four classes; written to speech_cv.json."""
    found, frames = audio.clips(data), Frames(_folder(work) / "frames_0.npy")
    folds, target = audio.fold_of(found), _targets(found)
    logits, per_fold = np.zeros((len(found), len(CLASSES))), []
    for fold in range(FOLDS):
        held = np.flatnonzero((folds == fold) & (target >= 0))
        student = restore(checkpoint(work, fold, seed, taught))
        logits[held] = predict(student, frames, held)[0]
        per_fold.append(mean_recall(logits[held].argmax(1), target[held]))
    held = np.flatnonzero((folds >= 0) & (target >= 0))
    figures = _summary(logits[held], target[held]) | {"ua_per_fold": per_fold, "ua": float(np.mean(per_fold))}
    (Path(work) / "speech_cv.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def _targets(found) -> np.ndarray:
    """Index of the class; -1 for emotions that are none of the four."""
    return np.array([CLASSES.index(clip.emotion) if clip.emotion in CLASSES else -1 for clip in found])


def _summary(logits, target) -> dict:
    predicted = logits.argmax(1)
    confusion = np.zeros((len(CLASSES), len(CLASSES)), int)
    np.add.at(confusion, (target, predicted), 1)
    return {
        "classes": CLASSES,
        "wa": float(np.mean(predicted == target)),
        "confusion": confusion.tolist(),  # rows: published, columns: predicted
        "temperature": _temperature(logits, target),
    }


def _temperature(logits, target) -> float:
    """The divisor of held-out logits that makes their likelihood greatest."""

    def loss(temperature):
        return -log_softmax(logits / temperature, axis=1)[np.arange(len(target)), target].mean()

    return float(minimize_scalar(loss, bounds=(0.1, 10), method="bounded").x)


def leave_one_corpus_out(data, work, taught: bool = True, seed: int = 0) -> dict[str, float]:
    """UA on each corpus of a student that heard only the other two."""
    found, frames, target = audio.clips(data), Frames(_folder(work) / "frames_0.npy"), _targets(audio.clips(data))
    corpus = np.array([clip.corpus for clip in found])
    soft = np.load(_folder(work) / "teacher_final.npy") if taught else None
    scores = {}
    for name in audio.CORPORA:
        student = fit(work, found, corpus != name, soft, seed)
        held = np.flatnonzero((corpus == name) & (target >= 0))
        scores[name] = mean_recall(predict(student, frames, held)[0].argmax(1), target[held])
    return scores


def features(data, work, fold=None, seed: int = 0) -> Path:
    """H_s and logits of every clip, as published (`frames`) and disturbed (`frames_1`), for the fusion head.

    Clips of other emotions than the four have no frames: no pair is made of them.
    """
    path = Path(work) / "speech_feats" / f"{tag(fold)}.npz"
    if path.exists():
        return path
    path.parent.mkdir(exist_ok=True)
    found, student = audio.clips(data), restore(checkpoint(work, fold, seed))
    arrays = {"ids": [c.id for c in found], "corpus": [c.corpus for c in found]}
    arrays |= {"speaker": [c.speaker for c in found], "label": [c.emotion for c in found]}
    for view, suffix in ((0, ""), (1, "_1")):
        which = np.flatnonzero(_targets(found) >= 0)
        known, hidden = predict(student, Frames(_folder(work) / f"frames_{view}.npy"), which)
        logits, lengths = np.zeros((len(found), len(CLASSES)), np.float32), np.zeros(len(found), int)
        logits[which], lengths[which] = known, [len(h) for h in hidden]
        arrays |= {"logits" + suffix: logits, "frames" + suffix: np.concatenate(hidden).astype(np.float16)}
        arrays["offsets" + suffix] = np.cumsum([0, *lengths])
    np.savez(path, **arrays)
    return path


def fold_tables(data, work) -> None:
    """cv/fold{k}.csv: the clips that fold k holds out, for `demeanor eval`."""
    found, folder = audio.clips(data), Path(work) / "cv"
    folder.mkdir(exist_ok=True)
    folds = audio.fold_of(found)
    for fold in range(FOLDS):
        with open(folder / f"fold{fold}.csv", "w", newline="") as table:
            rows = csv.writer(table)
            rows.writerow(["id", "audio", "text", "label", "speaker"])
            for i in np.flatnonzero((folds == fold) & (_targets(found) >= 0)):
                clip = found[i]
                rows.writerow([clip.id, clip.path, clip.text, clip.label, clip.speaker])


# -- export -----------------------------------------------------------------------


def export(work, fold, out_dir, int8: bool = True, seed: int = 0, taught: bool = True) -> int:
    """Writes out_dir/speech.onnx of a trained student; returns its size in bytes."""
    student, trunk = restore(checkpoint(work, fold, seed, taught)), whisper.encoder("tiny.en", FROZEN)
    _even_out(student, trunk, Frames(_folder(work) / "mel_1.npy"))
    g = Graph("speech", int8)
    x = _front_graph(g, trunk, g.input("mel", ["T", mel.BANDS]))
    for layer in trunk.layers:
        x = _layer_graph(g, layer, x)
    x = _halve_graph(g, x)
    for layer in student.layers:
        x = _layer_graph(g, layer, x)
    h = _frames_graph(g, student, x)
    g.output(h, "frames", ["M", FRAME])
    g.output(_logits_graph(g, student, h), "logits", [len(CLASSES)])
    Path(out_dir).mkdir(parents=True, exist_ok=True)
    return g.save(Path(out_dir) / "speech.onnx")


@torch.no_grad()
def _even_out(student, trunk, mels: Frames, sample: int = 64) -> None:
    """Moves loud channels from each layer norm's output into the weights that read it.

    A few channels are tens of times louder than the rest, and activations have one int8
    scale for all. Dividing a channel by s in the norm and multiplying its weights by s
    changes no product in f32; s = sqrt(peak of the channel / peak of its weights).
    """
    layers = [*trunk.layers, *student.layers]
    readers = {layer.norm1: layer.qkv for layer in layers} | {layer.norm2: layer.up for layer in layers}
    readers[student.norm] = student.reduce
    peaks = {}

    def watch(norm, _, output):
        peaks[norm] = torch.maximum(peaks.get(norm, torch.zeros(())), output.abs().flatten(0, -2).amax(0))

    hooks = [norm.register_forward_hook(watch) for norm in readers]
    for i in np.linspace(0, len(mels.offsets) - 2, sample).astype(int):
        x = halve(trunk.all_layers(torch.from_numpy(mels[i].astype(np.float32)))[-1])[None]
        student.frames(x, torch.ones(x.shape[:2], dtype=torch.bool))
    for hook in hooks:
        hook.remove()
    for norm, linear in readers.items():
        scale = (peaks[norm] / linear.weight.abs().amax(0)).clamp(min=1e-6).sqrt()
        norm.weight /= scale
        norm.bias /= scale
        linear.weight *= scale


def _weights(module):
    return module.weight.detach().numpy(), None if module.bias is None else module.bias.detach().numpy()


def _conv_graph(g, x, weight, bias, stride):
    """x [T, in] -> GELU(convolution of width 3) [ceil(T/stride), out]"""
    x = g.op("Unsqueeze", [g.op("Transpose", [x], perm=[1, 0]), g.ints([0])])
    x = g.conv1d(x, weight, bias, stride=stride, pad=1)
    return g.op("Transpose", [g.op("Squeeze", [g.gelu(x), g.ints([0])])], perm=[1, 0])


def _front_graph(g, trunk, x):
    x = _conv_graph(g, x, *_weights(trunk.conv1), stride=1)
    x = _conv_graph(g, x, *_weights(trunk.conv2), stride=2)
    return g.add(x, _positions_graph(g, trunk.positions.detach().numpy(), x))


def _positions_graph(g, table, x):
    """The first len(x) rows; sines all, so one scale serves the int8 table."""
    rows = g.op("Shape", [x], start=0, end=1)

    def head(values):
        return g.op("Slice", [values, g.ints([0]), rows, g.ints([0])])

    if not g.int8:
        return head(g.f32(table))
    q = g.const(np.rint(table * 127).astype(np.int8), "positions")
    return g.mul(g.op("Cast", [head(q)], to=1), g.f32(1 / 127))


def _layer_graph(g, layer, x):
    w, b = _weights(layer.qkv)
    (wq, wk, wv), (bq, _, bv) = np.split(w, 3), np.split(b, 3)
    n = g.layer_norm(x, *_weights(layer.norm1), layer.norm1.eps)
    x = g.add(x, g.attention(n, layer.heads, wq, bq, wk, None, wv, bv, *_weights(layer.out)))
    n = g.layer_norm(x, *_weights(layer.norm2), layer.norm2.eps)
    return g.add(x, g.linear(g.gelu(g.linear(n, *_weights(layer.up))), *_weights(layer.down)))


def _halve_graph(g, x):
    """`halve`, in f32: the residual stream has outliers that one int8 scale would drown in."""
    x = g.op("Unsqueeze", [g.op("Transpose", [x], perm=[1, 0]), g.ints([0])])
    x = g.op("AveragePool", [x], kernel_shape=[3], strides=[2], pads=[1, 1], count_include_pad=0)
    return g.op("Transpose", [g.op("Squeeze", [x, g.ints([0])])], perm=[1, 0])


def _frames_graph(g, student, x):
    x = g.layer_norm(x, *_weights(student.norm), student.norm.eps)
    x = g.linear(g.gelu(g.linear(x, *_weights(student.reduce))), *_weights(student.project))
    return g.layer_norm(x, *_weights(student.frame_norm), student.frame_norm.eps)


def _logits_graph(g, student, h):
    """Salience-weighted mean, then the classes as products and sums: too few to quantise."""
    scores = g.op("Transpose", [g.linear(h, *_weights(student.salience))], perm=[1, 0])
    pooled = g.matmul(g.softmax(scores), h)
    w, b = _weights(student.classify)
    return g.add(g.op("ReduceSum", [g.mul(pooled, g.f32(w)), g.ints([1])], keepdims=0), g.f32(b))
