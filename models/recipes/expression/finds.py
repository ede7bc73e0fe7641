"""What the detector takes for a face: in pictures without people, and where faces are known to be.

Every find is kept with the score of the detector and in colour with what is around it: as the device
cuts it (`context`), and a little more for views that are cut and lit otherwise (`around`). Groups are
pictures: what was cut from one stays in one fold.

    none      finds in pictures whose sentences name nobody, and in cut-outs of animals and things
    away      squares of pictures, away from every find and every person
    people    finds above SURE on the upper half of a person's box
    perhaps   the same from `min_score` to SURE: by eye five of six are faces, many turned away or small
    pasted    FER+ faces pasted into scenes, found again
    posts     finds above SURE in pictures of tweets, where nobody drew faces
"""

import csv
import io
import lzma
import tarfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from common.image_nets import session_of
from expression import bundle, detector
from expression.boxes import detect, overlap, square

LEAST, SURE = 0.3, 0.9
PASTED, AWAY, POSTS, CROWDS, CUT = 1000, 400, 1600, 2000, 500  # FER+ faces; pictures of MVSA; with people, cut up of them
AROUND, AROUND_SIDE = 2.4, 144  # of a box's longer side; pixels
# a size of the longer side and a shape: packed pictures were squeezed to a square
SHAPES = ((224, 224), (320, 240))


def grounding(data: Path) -> dict[str, list[dict]]:
    """Phrases of every packed picture, by its name."""
    found = defaultdict(list)
    with lzma.open(data / "grounding" / "phrases.csv.xz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["packed"] == "1":
                found[row["image"]].append(row)
    return found


def pictures(data: Path) -> dict[str, bytes]:
    with tarfile.open(data / "grounding" / "images.tar") as archive:
        return {Path(m.name).name: archive.extractfile(m).read() for m in archive if m.isfile()}


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def boxes(rows: list[dict], kinds) -> np.ndarray:
    """[n, 4] in the space of 224 x 224 of the phrases that have one of these types."""
    texts = {row["boxes_224"] for row in rows if set(row["types"].split("/")) & set(kinds)}
    found = [[float(n) for n in box.split(",")] for text in sorted(texts) for box in text.split(";") if box.strip()]
    return np.array(found).reshape(-1, 4)


def nobody(rows: list[dict]) -> bool:
    """No sentence names a person or a part of one."""
    return not any(set(row["types"].split("/")) & {"people", "bodyparts"} for row in rows)


def cut_outs(picture: Image.Image, rows: list[dict], rng) -> list[Image.Image]:
    """Animals and things that no person's box touches: with some of what is around them, and on one colour."""
    persons, made = boxes(rows, ("people", "bodyparts", "clothing")), []
    for box in boxes(rows, ("animals", "other", "vehicles", "instruments")):
        width, height = box[2:] - box[:2]
        if min(width, height) < 40 or (len(persons) and overlap(box, persons).max() > 0):
            continue
        margin = rng.uniform(0, 0.2) * max(width, height)
        place = np.concatenate([np.maximum(box[:2] - margin, 0), np.minimum(box[2:] + margin, 224)])
        if len(persons) and overlap(place, persons).max() > 0:
            continue
        cut = picture.crop(tuple(place.astype(int)))
        cut = cut.resize([max(1, int(side * 240 / max(cut.size))) for side in cut.size], Image.BILINEAR)
        if rng.random() < 0.5:
            ground = Image.new("RGB", (320, 320), (int(rng.choice([0, 128, 255])),) * 3)
            ground.paste(cut, (40, 40))
            cut = ground
        made.append(cut)
    return made


def collect(data: Path, work: Path, finder: Path) -> None:
    """work/finds.npz"""
    path = work / "finds.npz"
    if path.exists():
        return
    session, rng = session_of(finder), np.random.default_rng(0)
    kept, seen = defaultdict(list), []  # finds; (group, part, kind) of every view that was searched

    def keep(kind: str, picture, find, group: str, part: str) -> None:
        side, centre = max(find[2] - find[0], find[3] - find[1]), ((find[0] + find[2]) / 2, (find[1] + find[3]) / 2)
        kept["context"].append(square(picture, centre, bundle.CONTEXT_SCALE * side, bundle.CONTEXT_SIDE))
        kept["around"].append(square(picture, centre, AROUND * side, AROUND_SIDE))
        about = {"score": find[4], "kind": kind, "group": group, "part": part, "view": len(seen) - 1}
        for name, value in about.items():
            kept[name].append(value)

    phrases, shown, crowds = grounding(data), pictures(data), 0
    for name, rows in sorted(phrases.items()):
        part = rows[0]["split"]
        if not nobody(rows):
            crowds += part == "train"
            if part == "train" and crowds > CROWDS:
                continue
        picture = opened(shown[name])
        views = []
        if nobody(rows) or part != "train" or crowds <= CUT:
            views = [("cut-out", view) for view in cut_outs(picture, rows, rng)[:3]]
        if nobody(rows):
            views += [("whole", picture.resize(shape, Image.BILINEAR)) for shape in SHAPES]
        for what, view in views:
            seen.append((name, part, what))
            for find in detect(session, view, detector.SIDE, LEAST):
                keep("none", view, find, name, part)
        if not nobody(rows):
            persons, found = boxes(rows, ("people",)), detect(session, picture, detector.SIDE, LEAST)
            seen.append((name, part, "people"))
            for find in found:
                if find[4] >= bundle.MIN_SCORE and on_a_head(find, persons):
                    keep("people" if find[4] >= SURE else "perhaps", picture, find, name, part)
    print("grounding", len(seen), flush=True)
    rows = list(csv.DictReader(open(data / "mvsa_single" / "train.csv", newline="", encoding="utf-8")))
    scenes = []
    order = rng.permutation(len(rows))
    for i in order[:AWAY]:
        picture = Image.open(data / "mvsa_single" / rows[i]["image"]).convert("RGB")
        found = detect(session, picture, detector.SIDE, LEAST)
        if not len(found):
            scenes.append((rows[i]["image"], picture))
        seen.append((rows[i]["image"], "train", "away"))
        side = rng.uniform(0.1, 0.6) * min(picture.size)
        corner = [rng.uniform(0, length - side) for length in picture.size]
        place = np.array([corner[0], corner[1], corner[0] + side, corner[1] + side, 0.0])
        if not len(found) or overlap(place[:4], found[:, :4]).max() == 0:
            keep("away", picture, place, rows[i]["image"], "train")
    for i in order[AWAY : AWAY + POSTS]:
        picture = Image.open(data / "mvsa_single" / rows[i]["image"]).convert("RGB")
        seen.append((rows[i]["image"], "train", "posts"))
        for find in detect(session, picture, detector.SIDE, SURE)[:4]:
            keep("posts", picture, find, rows[i]["image"], "train")
    print("tweets", len(seen), "without a find", len(scenes), flush=True)
    stored = np.load(work / "ferplus.npz")
    for part in ("train", "dev"):
        faces = stored[part]
        for i in rng.permutation(len(faces))[: PASTED if part == "train" else PASTED // 3]:
            name, scene = scenes[int(rng.integers(len(scenes)))]
            ground = scene.resize((320, 240), Image.BILINEAR) if rng.random() < 0.5 else None
            seen.append((f"{part}{i}", part, "pasted"))
            picture, (left, top, side) = pasted(faces[i], rng, ground)
            frame = np.array([left, top, left + side, top + side])
            for find in detect(session, picture, detector.SIDE, LEAST):
                if overlap(frame, find[None, :4])[0] > 0.3:
                    keep("pasted", picture, find, f"{part}{i}", part)
                    break
    np.savez(path, **{name: np.array(values) for name, values in kept.items()}, seen=np.array(seen))


def pasted(face: np.ndarray, rng, ground) -> tuple[Image.Image, tuple[int, int, int]]:
    """A face of 32 to 180 pixels somewhere in a scene or on one grey; (picture, (left, top, side))."""
    side = int(np.exp(rng.uniform(np.log(32), np.log(180))))
    picture = ground or Image.new("RGB", (320, 240), (int(rng.integers(30, 220)),) * 3)
    left, top = int(rng.integers(0, 321 - side)), int(rng.integers(0, 241 - side))
    picture.paste(Image.fromarray(face).resize((side, side), Image.BILINEAR), (left, top))
    return picture, (left, top, side)


def on_a_head(find: np.ndarray, persons: np.ndarray) -> bool:
    """Whether a find's centre lies in the upper half of a person's box."""
    x, y = (find[0] + find[2]) / 2, (find[1] + find[3]) / 2
    inside = (persons[:, 0] <= x) & (x <= persons[:, 2]) & (persons[:, 1] <= y)
    return bool((inside & (y <= (persons[:, 1] + persons[:, 3]) / 2)).any())
