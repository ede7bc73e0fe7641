"""Plain talk is neutral: a correction of what a voice says, taught by speech that nobody acted.

The encoder's own head stays, and a linear map of the mean row is added to its logits, and to those of the
joint heads as far as the words are neutral. The map is trained with un-acted speech as neutral, then taken at
SHARE of its size: whole, it learns to tell a recording from an actor and calls the emotions of an unseen corpus
neutral (ATTEMPTS.md).
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from common import audio, runtime
from common.audio import CLASSES
from common.onnx_graph import Graph
from emotion import bundle, fusion, gate, gate_sounds, text_data

NEUTRAL = CLASSES.index("neutral")
PENALTY, SHARE = 0.1, 0.7
SHARES = {"ravdess": 0.4, "tess": 0.2, "emodb": 0.2, "plain": 0.25}  # of the training weight
VIEWS = ("device", "clean", "room", "far", "phone", "short")  # in loud noise a voice's emotion is anybody's guess


def load(data, work) -> dict:
    """Mean rows and logits of speech, from the views that `gate.py features` made: acted of the four classes, and plain."""
    found = gate_sounds.sounds(data, work)
    parts = [np.load(Path(work) / f"views_{name}.npz") for name in ("device", "recorded", "acted")]
    table = {name: np.concatenate([p[name] for p in parts]) for name in ("clip", "view", "rows", "mean", "logits")}
    label = np.array([_label(sound) for sound in found])[table["clip"]]
    kept = (label >= 0) & np.isin(table["view"], VIEWS) & gate.longest(table)
    table = {name: values[kept] for name, values in table.items()} | {"label": label[kept]}
    clips = [found[i] for i in table["clip"]]
    table["corpus"] = np.array([c.corpus if c.acted else "plain" for c in clips])
    table["source"], table["block"] = np.array([c.corpus for c in clips]), np.array([c.block for c in clips])
    return table


def of_fold(data, work, fold, encoder_path) -> tuple[dict, np.ndarray]:
    """The same of the encoder that has not heard a fold's speakers, from the clips as published; and which are not theirs."""
    path, found = Path(work) / f"plain_fold{fold}.npz", gate_sounds.sounds(data, work)
    clips = audio.clips(data)
    held = {clip.id for clip, part in zip(clips, audio.fold_of(clips)) if part == fold}
    found = [sound for sound in found if _label(sound) >= 0]
    if not path.exists():
        encoder = gate.Encoder(encoder_path)
        made = [encoder(audio.trim(gate_sounds.load(sound.path))[: gate_sounds.LONGEST]) for sound in found]
        np.savez(path, mean=np.stack([rows.mean(0) for rows, _ in made]), logits=np.stack([logits for _, logits in made]))
    table = dict(np.load(path)) | {"label": np.array([_label(sound) for sound in found])}
    table["corpus"] = np.array([sound.corpus if sound.acted else "plain" for sound in found])
    return table, np.array([not (sound.acted and sound.id in held) for sound in found])


def _label(sound) -> int:
    """Index of the class; -1 for what teaches this head nothing."""
    if sound.kind != "speech":
        return -1
    if not sound.acted:
        return NEUTRAL
    return CLASSES.index(sound.what) if sound.what in CLASSES else -1


def adapter(table, known) -> tuple[np.ndarray, np.ndarray]:
    """Weights [4, width] and bias [4] that, added to the encoder's logits, make the known views likeliest."""
    x, own, target = table["mean"][known].astype(np.float64), table["logits"][known], table["label"][known]
    weight = _weights(table["corpus"][known], target)
    centre, spread = np.average(x, axis=0, weights=weight), x.std(0) + 1e-6
    z, published = (x - centre) / spread, np.eye(len(CLASSES))[target]
    split = lambda flat: (flat[: -len(CLASSES)].reshape(len(CLASSES), -1), flat[-len(CLASSES) :])  # noqa: E731

    def loss(flat):
        w, b = split(flat)
        log_p = log_softmax(own + z @ w.T + b, axis=1)
        slope = (np.exp(log_p) - published) * weight[:, None]
        value = -np.sum(weight[:, None] * published * log_p) + PENALTY * np.sum(w**2) / 2
        return value, np.concatenate([(slope.T @ z + PENALTY * w).ravel(), slope.sum(0)])

    start = np.zeros(len(CLASSES) * (z.shape[1] + 1))
    w, b = split(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 80}).x)
    w = w / spread
    return w, b - w @ centre


def _weights(corpus, target) -> np.ndarray:
    """SHARES by corpus, the classes of one evenly; their sum is 1."""
    weight = np.zeros(len(corpus))
    for name, share in SHARES.items():
        for k in np.unique(target[corpus == name]):
            own = (corpus == name) & (target == k)
            weight[own] = share / len(np.unique(target[corpus == name])) / own.sum()
    return weight / weight.sum()


def measure(data, work, encoder_path, text_path, student) -> None:
    """Shares of plain clips named angry, happy or sad, without and with the map: by a voice alone, and beside
    neutral sentences by the joint head (`student`, without the map)."""
    table = load(data, work)
    joint, neutral = beside(table, data, work, encoder_path, text_path, student)
    plain = table["corpus"] == "plain"
    thirds = [plain & (table["block"] % 3 == k) for k in range(3)]
    sources = [plain & (table["source"] == name) for name in gate.PLAIN_SOURCES]
    for name, splits in (("speakers", thirds), ("sources", sources)):
        for head, own, counts, temperature, told in (
            ("voice alone", table["logits"], np.ones_like(neutral), bundle.PLAIN_TEMPERATURE, bundle.VOICE_FROM),
            ("beside neutral sentences", joint, neutral, bundle.JOINT_TEMPERATURE, bundle.UNSURE_BELOW),
        ):
            before, after = [], []
            for held in splits:
                w, b = adapter(table, ~held)
                seen = held & (table["view"] == "device")
                before.append(own[seen])
                after.append(own[seen] + SHARE * counts[seen, None] * (table["mean"][seen] @ w.T + b))
            for least in dict.fromkeys((bundle.UNSURE_BELOW, told)):
                of = [gate.share(named(np.concatenate(part), temperature, least)[None]) for part in (before, after)]
                print(f"{name}, {head}, from {least}: without {of[0]}, with {of[1]}", flush=True)


def beside(table, data, work, encoder_path, text_path, student) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n, 4] of the joint head for plain clips as the device cuts them, each beside the next neutral sentence, and
    how neutral that is [n]."""
    logits, seen = np.zeros((len(table["clip"]), len(CLASSES)), np.float32), table["view"] == "device"
    neutral = np.zeros(len(logits))
    wanted = dict.fromkeys(table["clip"][seen & (table["corpus"] == "plain")].tolist())
    encoder, sentences = gate.Encoder(encoder_path), _sentences(work, text_path)
    found, longest = gate_sounds.sounds(data, work), {}
    for number, view, _, wave in gate.device_views(found, work):
        if number in wanted and len(wave) > len(longest.get(number, ())):
            longest[number] = wave
    for at, (number, wave) in enumerate(longest.items()):
        tokens, said = sentences[at % len(sentences)]
        text, speech = (torch.from_numpy(each)[None] for each in (tokens, encoder(wave)[0]))
        real = (torch.ones(rows.shape[:2], dtype=torch.bool) for rows in (text, speech))
        own = seen & (table["clip"] == number)
        with torch.no_grad():
            logits[own] = student(text, next(real), speech, next(real))[0].numpy()
        neutral[own] = softmax(said)[NEUTRAL]
    return logits, neutral


def _sentences(work, text_path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows and logits of every neutral sentence."""
    run, tokenizer = runtime.session(text_path), text_data.tokenizer(Path(work).parent)
    ids = [np.array(tokenizer.encode(line).ids) for line in fusion.carriers()]
    return [run.run(["tokens", "logits"], {"ids": each, "types": np.zeros_like(each)}) for each in ids]


def named(logits, temperature: float, least: float) -> np.ndarray:
    p = softmax(logits / temperature, axis=1)
    return (p.argmax(1) != NEUTRAL) & (p.max(1) >= least)


def own_head(encoder_path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Salience [width], weights [4, width] and bias [4] of the head inside speech.onnx, int8 or f32."""
    graph = onnx.load(encoder_path).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    at = next(i for i, node in enumerate(graph.node) if "frames" in node.output)
    constants = [stored[name] for node in graph.node[at + 1 :] for name in node.input if name in stored]
    width = constants[0].shape[0]
    floats = [c for c in constants if c.dtype == np.float32]
    salience = constants[0].astype(np.float32).reshape(width)
    if constants[0].dtype == np.int8:
        salience = salience * floats.pop(0).reshape(())
    else:
        floats.pop(0)
    weights, bias = floats
    return salience, weights.reshape(len(CLASSES), width), bias


def export(encoder_path, learnt: tuple[np.ndarray, np.ndarray], out) -> None:
    (salience, weights, bias), (w, b) = own_head(encoder_path), learnt
    g = Graph("speech-head", int8=False)
    rows = g.input("speech", ["M", len(salience)])
    scores = g.op("Transpose", [g.linear(rows, salience[None], None)], perm=[1, 0])
    pooled = g.matmul(g.softmax(scores), rows)
    mean = g.op("ReduceMean", [rows], axes=[0], keepdims=1)
    logits = g.add(g.linear(pooled, weights, bias + SHARE * b), g.linear(mean, SHARE * w, None))
    g.output(g.op("Squeeze", [logits, g.ints([0])]), "logits", [len(CLASSES)])
    print(f"speech-head.onnx: {g.save(Path(out) / 'speech-head.onnx')} bytes", flush=True)


def share_of(learnt: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Of the map, what is added."""
    return tuple(SHARE * part for part in learnt)


def check(data, work, encoder_path, head_path, learnt: tuple[np.ndarray, np.ndarray]) -> None:
    """The file against the encoder's own logits plus the adapter, on real clips: only int8 rounding may differ."""
    encoder, gaps, (w, b) = gate.Encoder(encoder_path), [], learnt
    head = runtime.session(head_path)
    for sound in gate_sounds.sounds(data, work)[::200]:
        rows, logits = encoder(audio.trim(gate_sounds.load(sound.path))[: gate_sounds.LONGEST])
        wanted = logits + SHARE * (rows.mean(0) @ w.T + b)
        gaps.append(np.abs(head.run(None, {"speech": rows})[0] - wanted).max())
    print(f"largest difference of a logit on {len(gaps)} clips: {max(gaps):.4f}")
    if max(gaps) > 0.1:
        raise SystemExit("speech-head.onnx does not repeat the encoder's head; see own_head")
