"""Query grounding: a head on the shared image trunk's maps that points at what words name.

It ships in the bundle `entities`, whose names it is asked about.

Stages:
  prepare   maps of the trunk at three strides for every picture, its mirror image and cuts of both
  train     the head, on phrases, on kinds of names and on people's names, there and lacking
  export    boxes.onnx and its head into the entities bundle; the trunk gives the maps as outputs
  measure   A@0.5, A@0.75 and mean IoU on Flickr8k's val pictures by `demeanor eval`, int8
"""

import csv
import json
import lzma
import tarfile

import numpy as np
import torch

from common.stages import REPO, Places
from emotion import text_data
from grounding import bundle
from grounding import data as gd
from grounding import model as gm
from grounding import train as gt
from trunk import data as td

DATA = "folder with grounding/ and text.tar.xz"
OUT = REPO / "models" / "entities"
THREADS = 1
WORST = 0.02


def pictures(at: Places, part: str) -> gd.Pictures:
    return gd.pictures(at.data, at.work, part, at.models / "sentiment/image.onnx")


def prepare(at: Places) -> None:
    for part in ("val", "train"):
        pictures(at, part)


def words(at: Places):
    tokenizer = text_data.tokenizer(at.work)
    pieces = gd.known(at.data, tokenizer)
    return tokenizer, pieces, gd.table(at.work, pieces)


def train(at: Places) -> None:
    flat, done = at.work / "grounding-flat.pt", at.work / "grounding.pt"
    if done.exists():
        return
    tokenizer, pieces, table = words(at)
    seen = pictures(at, "train")
    queries = gd.queries(at.data, "train", seen.names, pieces, tokenizer)
    names = gd.rows_of(gd.people(at.data, td.unpack(at.data, at.work), "train"), pieces, tokenizer)
    given = (seen, queries, table, names, gd.Lacking(queries, len(seen.names)))

    def keep(head: gm.Head, step: int) -> None:
        torch.save(head.state_dict(), at.work / "grounding-part.pt")
        print(f"step {step}", flush=True)

    if not flat.exists():
        torch.save(gt.train(*given, look=keep).state_dict(), flat)
    fall = {"epochs": gt.FALL_EPOCHS, "rate": gt.FALL_RATE, "start": torch.load(flat)}
    torch.save(gt.train(*given, seed=1, look=keep, **fall).state_dict(), done)


def export(at: Places) -> None:
    tokenizer, pieces, table = words(at)
    head = gm.Head(table).eval()
    head.load_state_dict(torch.load(at.work / "grounding.pt"))
    path = at.out / "boxes.onnx"
    size = bundle.head(head, pieces).save(path)
    seen = pictures(at, "val")
    queries = gd.queries(at.data, "val", seen.names, pieces, tokenizer)
    worst = []
    for picture in range(8):
        which = np.flatnonzero(queries.picture == picture)
        maps = {name: each[picture, 0] for name, each in seen.maps.items()}
        kinds = np.arange(len(which)) % gm.KINDS
        worst.append(bundle.check(head, pieces, path, maps, queries.pieces[which], kinds))
    print(f"boxes.onnx, {size / 1e3:.0f} kB: boxes within {max(worst):.4f} of torch's", flush=True)
    if max(worst) > WORST:
        raise SystemExit("that is more than bytes explain")
    bundle.expose(at.models)
    bundle.enter(at.out, at.models)


def table_of(at: Places):
    """The val part as a table with its pictures beside it."""
    folder = at.work / "grounding-val"
    path = folder / "val.csv"
    if not path.exists():
        (folder / "images").mkdir(parents=True, exist_ok=True)
        with lzma.open(at.data / "grounding/phrases.csv.xz", "rt", encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
        wanted = {row["image"] for row in rows}
        with tarfile.open(at.data / "grounding/images.tar") as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if member.isfile() and name in wanted:
                    (folder / "images" / name).write_bytes(archive.extractfile(member).read())
        with path.open("w", newline="", encoding="utf-8") as file:
            out = csv.DictWriter(file, list(rows[0]))
            out.writeheader()
            out.writerows(rows)
    return path


def report(at: Places) -> dict:
    """What `demeanor eval` says of val, with the bundles beside the one that is written."""
    found = at.evaluate("grounding", at.out.parent, table_of(at))
    (at.work / "grounding-eval.json").write_text(json.dumps(found, indent=1))
    return found


def measure(at: Places) -> None:
    found = report(at)
    for row in [{"name": "int8", "metrics": found["metrics"]}, *found["rows"]]:
        print(row["name"], row["metrics"])


STAGES = {"prepare": prepare, "train": train, "export": export, "measure": measure}
