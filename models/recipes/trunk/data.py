"""The sets that train the text trunk, and what becomes of their words.

Nothing of a test part that is held back is here, and what repeats the text of a dev part is
taken out of train.
"""

import ast
import csv
import json
import lzma
import random
import re
import tarfile
from pathlib import Path
from typing import NamedTuple

from emotion import text_data

MAX_TOKENS = 96
MAX_PICTURE_WORDS = 8
NO_PICTURE = 0.15  # share of pictures that nobody sees while the trunk learns
TYPES = ["PER", "LOC", "ORG", "OTHER"]
# What a caption says that no picture shows.
STOP = set(
    "a an the of on in at to and with is are for by it its that this his her their there as from up out "
    "into over next front some two three has have be being who while very".split()
)
# Twitter2017 says MISC for what Twitter2015 calls OTHER
TWITTER = {"MISC": "OTHER"}
WNUT = {
    "person": "PER", "location": "LOC", "corporation": "ORG", "group": "ORG",
    "product": "OTHER", "creative-work": "OTHER",
}
# Words that give HFM's labels away; the published train part is what holds none of them.
GIVEAWAYS = set("sarcasm sarcastic reposting <url> joke humour humor jokes irony ironic exgag".split())


class Item(NamedTuple):
    """A text, what somebody else's model saw in its picture, and one task's label."""

    task: str
    text: str
    label: object  # a class, or entities as (first word, past the last word, type)
    picture: tuple[str, ...] = ()
    id: str = ""
    history: tuple[str, ...] = ()  # what was said before it, the last the nearest


def apart(train: list[Item], held: list[Item]) -> list[Item]:
    """The items of `train` that repeat no text of `held`."""
    keys = {text_data.key(item.text) for item in held}
    return [item for item in train if text_data.key(item.text) not in keys]


def unpack(data: Path, work: Path) -> Path:
    """Every text set. The test parts among them are of sets that nothing is reported on."""
    root = work / "all-texts"
    if not (root / "done").exists():
        with tarfile.open(data / "text.tar.xz") as archive:
            archive.extractall(root, filter="data")
        (root / "done").touch()
    return root


# -- what others saw in the pictures ------------------------------------------------------


def attributes(data: Path) -> dict[str, tuple[str, ...]]:
    """Five words of each of HFM's pictures, by the tweet's id."""
    with lzma.open(data / "picture_words/mmsd2.csv.xz", "rt", encoding="utf-8") as file:
        return {row["image_id"]: tuple(row["hfm_five_words"].split()) for row in csv.DictReader(file)}


def captions(data: Path) -> dict[tuple[str, str], tuple[str, ...]]:
    """Content words of a caption of each of Twitter2015's and 2017's pictures."""
    with lzma.open(data / "picture_words/twitter_mner.csv.xz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {(row["set"], row["imgid"]): content(row["caption_blip2"]) for row in rows}


def content(caption: str) -> tuple[str, ...]:
    words = dict.fromkeys(w for w in re.findall(r"[a-z]+", caption.lower()) if w not in STOP)
    return tuple(words)[:MAX_PICTURE_WORDS]


# -- sarcasm ------------------------------------------------------------------------------


def mmsd2(data: Path, root: Path, part: str) -> list[Item]:
    seen = attributes(data)
    rows = json.loads((root / f"mmsd2_text/data/text_json_final/{part}.json").read_text())
    return [
        Item("sarcasm", row["text"], int(row["label"]), seen.get(str(row["image_id"]), ()), str(row["image_id"]))
        for row in rows
    ]


def hfm(data: Path, root: Path, part: str) -> list[Item]:
    """`train` or `valid2`; of valid the human's label, the last."""
    seen, items = attributes(data), []
    for line in filter(None, (root / f"hfm_text/text/{part}.txt").read_text(encoding="utf-8").split("\n")):
        row = ast.literal_eval(line)
        if part != "train" or not GIVEAWAYS & set(row[1].split()):
            items.append(Item("hfm", row[1], int(row[-1]), seen.get(row[0], ()), row[0]))
    return items


def irony(root: Path) -> list[Item]:
    return [item for part in ("train", "val", "test") for item in tweeteval(root, "irony", part)]


def mustard(root: Path) -> list[Item]:
    said = json.loads((root / "mustard_text/data/sarcasm_data.json").read_text())
    return [Item("irony", row["utterance"], int(row["sarcasm"])) for row in said.values()]


def tweeteval(root: Path, name: str, part: str) -> list[Item]:
    folder = root / f"tweeteval/datasets/{name}"
    texts = (folder / f"{part}_text.txt").read_text(encoding="utf-8").split("\n")
    labels = (folder / f"{part}_labels.txt").read_text().split()
    task = name if name == "irony" else f"tweet-{name}"
    return [Item(task, text, int(label)) for text, label in zip(texts, labels) if text.strip()]


# -- entities -----------------------------------------------------------------------------


def conll(path: Path, task: str, seen=None, rename=None) -> list[Item]:
    """Sentences of `token TAB tag`, some under an `IMGID:` line; words are joined by a space."""
    items, words, tags, image = [], [], [], ""
    for line in [*path.read_text(encoding="utf-8").split("\n"), ""]:
        line = line.strip("﻿\r\n")
        if line.startswith("IMGID:"):
            image = line[6:]
        elif line.strip():
            word, _, tag = line.rpartition("\t")
            words.append(word.strip() or "?")
            tags.append(tag.strip())
        elif words:
            picture = (seen or {}).get(image, ())
            items.append(Item(task, " ".join(words), spans(tags, rename), picture, image))
            words, tags, image = [], [], ""
    return items


def spans(tags: list[str], rename=None) -> tuple[tuple[int, int, str], ...]:
    """(first word, past the last, type); a lonely I- begins one."""
    found, start = [], None
    for at, tag in enumerate([*tags, "O"]):
        going_on = start is not None and tag == f"I-{tags[start][2:]}"
        if start is not None and not going_on:
            found.append((start, at, (rename or {}).get(tags[start][2:], tags[start][2:])))
            start = None
        if tag != "O" and start is None:
            start = at
    return tuple(span for span in found if span[2] in TYPES)


def twitter(data: Path, root: Path, year: str, part: str) -> list[Item]:
    name = f"twitter{year}"
    seen = {image: words for (kind, image), words in captions(data).items() if kind == name}
    return conll(root / f"mner_umt_text/data/{name}/{part}.txt", "entities", seen, TWITTER)


def entities(data: Path, root: Path) -> dict[str, list[Item]]:
    """Train parts by set, apart from both valid parts."""
    held = [item for year in ("2015", "2017") for item in twitter(data, root, year, "valid")]
    own = [item for year in ("2015", "2017") for item in twitter(data, root, year, "train")]
    more = [i for part in ("train", "dev", "test") for i in conll(root / f"gmner_boxes/Twitter10000/txt/{part}.txt", "entities")]
    other = [i for part in ("train", "dev") for i in conll(root / f"btc/train_dev_test_conll/btc.{part}", "three-types")]
    wnut = [i for part in ("wnut17train", "emerging.dev") for i in conll(root / f"wnut17/{part}.conll", "entities", None, WNUT)]
    return {
        "twitter": apart(own, held),
        "gmner": apart(more, held + own),
        "btc": apart(other, held),
        "wnut17": apart(wnut, held),
    }


# -- emotion and sentiment ----------------------------------------------------------------


def goemotions(root: Path) -> list[Item]:
    items = []
    with open(root / "goemotions/data/ekman/train.tsv", encoding="utf-8") as file:
        for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row[1].isdigit():
                items.append(Item("ekman", text_data.clean(row[0]), int(row[1])))
    return items


MELD = ["anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"]


def meld(root: Path) -> list[Item]:
    """Utterances with those that were spoken before them in the dialogue."""
    with open(root / "meld_text/data/MELD/train_sent_emo.csv", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (int(row["Dialogue_ID"]), int(row["Utterance_ID"])))
    items, before, dialogue = [], [], None
    for row in rows:
        if row["Dialogue_ID"] != dialogue:
            before, dialogue = [], row["Dialogue_ID"]
        text = text_data.clean(row["Utterance"])
        items.append(Item("meld", text, MELD.index(row["Emotion"]), history=tuple(before[-text_data.HISTORY :])))
        before.append(text)
    return items


def sentiment(data: Path, root: Path) -> list[Item]:
    labels = ["negative", "neutral", "positive"]
    tables = {}
    for part in ("train", "dev"):
        with open(data / f"mvsa_single/{part}.csv", encoding="utf-8", newline="") as file:
            tables[part] = [Item("sentiment", row["text"], labels.index(row["label"])) for row in csv.DictReader(file)]
    multiple = json.loads((root / "clmlf_splits/dataset/data/MVSA-multiple/10-flod-1/train.json").read_text())
    # that file's labels: 0 neutral, 1 negative, 2 positive
    order = {0: 1, 1: 0, 2: 2}
    tables["multiple"] = [Item("sentiment", row["text"], order[row["emotion_label"]]) for row in multiple]
    tweets = [item._replace(task="sentiment") for part in ("val", "test") for item in tweeteval(root, "sentiment", part)]
    # MVSA-Single stays a stranger to the trunk, so that a head trained on its rows trusts them
    # no more than it should
    return apart(tables["multiple"] + tweets, tables["train"] + tables["dev"])


def sst2(root: Path) -> list[Item]:
    items = []
    for part in ("train", "test"):
        for line in filter(None, (root / f"sst2/data/SST2/{part}.tsv").read_text(encoding="utf-8").split("\n")):
            text, _, label = line.rpartition("\t")
            items.append(Item("sst2", text, int(label)))
    return items


# -- from words to what the trunk reads ---------------------------------------------------

# Rows of the table that BERT has for its two segments: 0 a plain word, 1 what the words are read
# beside (here: words for the picture), and then what an uncased vocabulary no longer shows of a word.
PLAIN, BESIDE, CAPITAL, CAPITALS, MIXED = 0, 1, 2, 3, 4
KINDS = 8


def shape(word: str) -> int:
    letters = [c for c in word if c.isalpha()]
    if not any(c.isupper() for c in letters):
        return PLAIN
    if len(letters) > 1 and all(c.isupper() for c in letters):
        return CAPITALS
    return CAPITAL if letters[0].isupper() and not any(c.isupper() for c in letters[1:]) else MIXED


class Encoded(NamedTuple):
    ids: list[int]
    kinds: list[int]
    words: list[int]  # the word of each token, by white space; -1 of [CLS], [SEP] and what follows it
    own: int  # tokens of the text itself, [CLS] and [SEP] among them


def encode(tokenizer, text: str, picture: tuple[str, ...] = (), history: tuple[str, ...] = ()) -> Encoded:
    """[CLS] text [SEP], with the shape of the word that a piece is from, then what it is read beside:
    the picture's words and [SEP], or what was said before, each with a [SEP]; their beginning cut:
    MAX_TOKENS at most."""
    made = tokenizer.encode(text, add_special_tokens=False)
    starts = [m.span() for m in re.finditer(r"\S+", text)]
    word_of = [0] * len(text)
    for number, (start, end) in enumerate(starts):
        for at in range(start, end):
            word_of[at] = number
    shapes = [shape(text[start:end]) for start, end in starts]
    ids, kinds, words = [101], [PLAIN], [-1]
    for id_, (start, _) in list(zip(made.ids, made.offsets))[: MAX_TOKENS - 2]:
        ids.append(id_)
        words.append(word_of[start])
        kinds.append(shapes[word_of[start]])
    ids.append(102)
    kinds.append(PLAIN)
    words.append(-1)
    own, room = len(ids), MAX_TOKENS - len(ids)
    said = [*history, " ".join(picture)] if picture else history
    beside = [id_ for each in said for id_ in [*tokenizer.encode(each, add_special_tokens=False).ids, 102]][-room:]
    if room >= 2:
        ids += beside
        kinds += [BESIDE] * len(beside)
        words += [-1] * len(beside)
    return Encoded(ids, kinds, words, own)


def disturb(item: Item, rng: random.Random) -> Item:
    """What people and recognisers do to words: no case, no closing marks, masks filled in. And the
    picture: now and then there is none, and nothing is meant by the order of its words."""
    text = item.text
    picture = [] if rng.random() < NO_PICTURE else list(item.picture)
    rng.shuffle(picture)
    if "<" in text:
        if rng.random() < 0.5:
            text = re.sub(r"<num>", lambda _: str(rng.choice([2, 3, 5, 10, 12, 24, 30, 50, 100, 2015])), text)
        if rng.random() < 0.5:
            text = text.replace("<user>", "@user")
    if item.task == "hfm" and rng.random() < 0.5:
        text = re.sub(r"emoji_\d+|#", " ", text)
    if rng.random() < 0.1:
        text = text.lower()
    if not isinstance(item.label, tuple) and rng.random() < 0.15:
        text = re.sub(r"[.!?,;:]+(?=\s|$)", " ", text)
    history = tuple(text_data.forget(list(item.history), rng)) if item.history else ()
    return item._replace(text=text if text.strip() else item.text, picture=tuple(picture), history=history)
