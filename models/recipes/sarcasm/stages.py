"""The sarcasm bundle (G2SAM): a post's words and what its picture shows, judged by remembered posts.

Stages:
  baseline  MiniLM fine-tuned on these posts alone, picture words appended: what the ladder must beat
  ladder    every row of the paper's table, five seeds, on frozen rows of the trunk as it ships
  export    heads, banks and the manifest
  few       a bank of a tenth of the posts that stand for all, for `--bank`: in `--work`/few
  half      the bank in half floats, twice the size, for `--bank`: in `--work`/half
  card      manifest and card, from what `demeanor eval` measures on valid

`--work` is the folder where `run.py trunk` trained; `--models` holds the bundles `words` and `sentiment`.
"""

import csv
import json

from common.stages import Places, fill
from sarcasm import baseline, bundle, card, ladder
from sarcasm import train as st
from trunk import data as td
from trunk import export as trunk

DATA = "folder with text.tar.xz and picture_words/"
# ladder's head, its file, its bank
SHIPPED = (("fgm", "fgm-plain.onnx", "bank-plain.safetensors"), ("fgm+lgcl", "fgm.onnx", "bank.safetensors"))


def text_file(at: Places):
    path = at.out / "text.onnx"
    if not path.exists():
        trunk.write(trunk.load(at.work).trunk, at.work, at.out, int8=True)
    return path


def run_baseline(at: Places) -> None:
    path = at.work / "sarcasm-baseline.json"
    if not path.exists():
        path.write_text(json.dumps(baseline.run(at.data, at.work)))
    print(path.read_text(), flush=True)


def temperatures(at: Places) -> dict[str, float]:
    return json.loads((at.work / "ladder.json").read_text())["temperature"]


def run_ladder(at: Places) -> None:
    if not (at.work / "ladder.json").exists():
        ladder.run(at.data, at.work, text_file(at))


def export(at: Places) -> None:
    text = text_file(at)
    of = ladder.parts(at.data, at.work, text)
    alone = ladder.head(at.work, "text-only", ladder.SHIPPED_SEED).classify
    bundle.export_text(alone, at.out / "text-head.onnx")
    ids = [int(item.id) for item in of.train.items]
    for name, file, bank in SHIPPED:
        made = ladder.head(at.work, name, ladder.SHIPPED_SEED)
        bundle.export_fgm(made, at.out / file)
        print(f"{file}: within {bundle.check(made, alone, at.out, file):.1e} of torch", flush=True)
        q = st.answer(made, of.train, of.words)[1]
        bundle.write_bank(at.out / bank, [text, at.out / file], q, ladder.labels(of.train), ids, ladder.K, ladder.TAU)
    bundle.write_manifest(at.out, at.models, temperatures(at))


def other_bank(at: Places, folder: str, choose, half: bool = False) -> None:
    """The shipped head's bank in `--work`/`folder`, of the posts at the places that `choose` gives for rows and classes."""
    of, (name, file, bank) = ladder.parts(at.data, at.work, text_file(at)), SHIPPED[-1]
    y = ladder.labels(of.train)
    q = st.answer(ladder.head(at.work, name, ladder.SHIPPED_SEED), of.train, of.words)[1]
    chosen = choose(q, y)
    ids = [int(of.train.items[i].id) for i in chosen]
    path, made_by = at.work / folder / bank, [text_file(at), at.out / file]
    path.parent.mkdir(exist_ok=True)
    bundle.write_bank(path, made_by, q[chosen], y[chosen], ids, ladder.K, ladder.TAU, half)


def few(at: Places) -> None:
    other_bank(at, "few", lambda q, y: st.prototypes(q, y, st.PROTOTYPES))


def half(at: Places) -> None:
    other_bank(at, "half", lambda q, y: list(range(len(y))), half=True)


def table(at: Places):
    """MMSD2.0 valid as `demeanor eval` reads it."""
    path = at.work / "mmsd2-valid.csv"
    items = td.mmsd2(at.data, td.unpack(at.data, at.work), "valid")
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text", "label", "attributes"])
        rows.writerows([item.id, item.text, bundle.LABELS[item.label], " ".join(item.picture)] for item in items)
    return path


def write_card(at: Places) -> None:
    report = at.evaluate("sarcasm", at.out, table(at))
    (at.work / "sarcasm-eval.json").write_text(json.dumps(report, indent=1))
    shown, found = report["metrics"], json.loads((at.work / "ladder.json").read_text())
    on = "MMSD2.0 valid, words given"
    metrics = [
        {"name": name, "on": on, "value": shown[name], "ci95": shown["ci95"][name], "n": shown["n"]}
        for name in ("accuracy", "macro_f1")
    ]
    bundle.write_manifest(at.out, at.models, temperatures(at), metrics=metrics)
    words = {
        "version": bundle.VERSION,
        "bank": f"{bundle.bank_size(at.out / 'bank.safetensors'):,}",
        "dev": card.measured(report),
        "seeds": str(len(found["rows"]["fgm"])),
        "ladder": card.ladder(found["rows"]),
        "sweep": card.sweep(found["sweep"], "fgm", st.K, st.TAU),
        "k": str(ladder.K),
        "control": card.lost(found["rows"], "fgm"),
        "prototypes": f"{st.PROTOTYPES:,}",
        "data": "\n".join(f"| {name} | {licence} |" for name, licence in bundle.DATA),
    }
    fill(at.models / "recipes/sarcasm/CARD.in.md", words, at.out / "CARD.md")


STAGES = {"baseline": run_baseline, "ladder": run_ladder, "export": export, "few": few, "half": half, "card": write_card}
