"""The teacher: linear classifiers on frozen features of larger encoders, cross-fitted.

No item's soft label comes from a classifier that saw the item or a copy of it. MVSA's own
labels of text and picture are not in our data: whether the two disagree is guessed by a
text-only and a picture-only classifier, cross-fitted too.
"""

from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emotion import text_data as td
from emotion import text_model
from sentiment import data as sd
from sentiment import features

# inverse strengths of the classifiers' L2 penalty, chosen by cross-validation on train
STRENGTHS = {"all": 3e-4, "text": 3e-4, "image": 3e-4}
PARTS_STRENGTH = 5e-4


def mpnet_means(data: Path, work: Path, name: str) -> np.ndarray:
    """MPNet's mean rows [n, 768]."""
    path = features.folder(work) / f"mpnet_{name}.npy"
    if not path.exists():
        from tokenizers import Tokenizer

        net = text_model.Mpnet(td.mpnet(work) / "model.safetensors").eval()
        tok = Tokenizer.from_file(str(td.mpnet(work) / "tokenizer.json"))
        tok.no_truncation()
        tok.no_padding()
        coded = [tok.encode(sd.without_links(i.text)).ids for i in features.items(data, work, name)]
        coded = [ids[: features.MAX_TOKENS - 1] + ids[-1:] for ids in coded]
        np.save(path, np.concatenate([mean_row(net, ids) for ids in coded]))
    return np.load(path)


def mean_row(net, ids: list[int]) -> np.ndarray:
    with torch.autocast("cpu", torch.bfloat16):
        row = net(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))
    return row.float().numpy()


def text_means(held: features.Texts) -> np.ndarray:
    return np.stack([held.of(i).astype(np.float32).mean(0) for i in range(len(held))])


def table(data: Path, work: Path, name: str) -> dict:
    """{"text", "image", "all": features [n, ...]}"""
    small = features.patches(data, work, name, 0, None, "plain").astype(np.float32).mean(1)
    words = np.c_[mpnet_means(data, work, name), text_means(features.texts(data, work, name))]
    image = np.c_[small, features.teacher_maps(data, work, name).astype(np.float32)]
    return {"text": words, "image": image, "all": np.c_[words, image]}


def classifier(strength: float):
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))


def cross_fitted(x: np.ndarray, labels: np.ndarray, folds: np.ndarray, strength: float) -> np.ndarray:
    """log p [n, 3] of each item by classifiers that never saw its fold."""
    found = np.zeros((len(labels), len(sd.LABELS)), np.float32)
    for k in np.unique(folds):
        held = folds == k
        found[held] = classifier(strength).fit(x[~held], labels[~held]).predict_log_proba(x[held])
    return found


def parts(data: Path, work: Path) -> dict:
    """{"text" of train, "image" of train, "said": logits that add up for any text with any picture}.

    A linear classifier's logits are a sum over features, so its words and its picture can be
    told apart; train's own come from classifiers that never saw them, `said` from their mean.
    Only features that the student has, but for Lite2's: what it cannot see it cannot learn.
    """
    path = features.folder(work) / "parts.npz"
    if not path.exists():
        labels, folds = features.labels(data, work, "train"), sd.folds(data, work)
        words = text_means(features.texts(data, work, "train"))
        said, image = text_means(features.texts(data, work, "said")), table(data, work, "train")["image"]
        found = {"text": np.zeros((len(labels), 3)), "image": np.zeros((len(labels), 3)), "said": np.zeros((len(said), 3))}
        for k in range(sd.FOLDS):
            held = folds == k
            scaler, linear = classifier(PARTS_STRENGTH).fit(np.c_[words, image][~held], labels[~held])
            weight = linear.coef_ / scaler.scale_
            shift = linear.intercept_ - weight @ scaler.mean_
            split = words.shape[1]
            found["text"][held] = words[held] @ weight[:, :split].T + shift
            found["image"][held] = image[held] @ weight[:, split:].T
            found["said"] += (said @ weight[:, :split].T + shift) / sd.FOLDS
        sums = found["text"] + found["image"]
        print(f"teacher, sum of parts: cross-fitted accuracy {(sums.argmax(1) == labels).mean():.4f}", flush=True)
        np.savez(path, **{name: value.astype(np.float32) for name, value in found.items()})
    return dict(np.load(path))


def write(data: Path, work: Path) -> None:
    """teacher.npz: `soft` log p [n, 3] of train, `disagree` [n], `text` and `image` log p."""
    path = features.folder(work) / "teacher.npz"
    if path.exists():
        return
    labels, folds = features.labels(data, work, "train"), sd.folds(data, work)
    found = {name: cross_fitted(x, labels, folds, STRENGTHS[name]) for name, x in table(data, work, "train").items()}
    for name, p in found.items():
        print(f"teacher, {name}: cross-fitted accuracy {(p.argmax(1) == labels).mean():.4f}", flush=True)
    disagree = found["text"].argmax(1) != found["image"].argmax(1)
    print(f"modalities disagree on {disagree.mean():.3f} of train", flush=True)
    np.savez(path, soft=found["all"], disagree=disagree, text=found["text"], image=found["image"])
