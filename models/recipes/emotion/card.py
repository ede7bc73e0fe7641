"""Which measurements the card rests on, and the card itself."""

import json
from pathlib import Path

from common.stages import fill
from emotion import bundle, gate_sounds, sarcastic

LISTS = {
    "speech": "RAVDESS, speaker-independent 5-fold, the sentence that was read as text",
    "pairs": "label-matched pairs: RAVDESS voices of held-out speakers with MELD dev words",
    "heard": "label-matched pairs whose words were spoken by a synthesiser and recognised",
    "neutral_words": "the same voices with MELD dev words of the class neutral",
    "conflict": "the emotional ones of these voices with MELD dev words of the opposite polarity; the voice's label is true",
}
TABLES = {"speech": "fold", "pairs": "pairs_fold", "heard": "heard_fold", "neutral_words": "neutral_meld_fold", "conflict": "conflict_fold"}
NOISES = {"music", "crowd_babble", "crowded_bar", "restaurant"}
DECIBELS = (5, 0, -5, -10)
ROWS = ["text-only", "speech-only", "score fusion", "A_r only", "A_l only", "attention constraint"]


def temperatures(work: Path) -> dict:
    """{head: temperature}, each fitted on data its head was not trained on."""
    return json.loads((work / "temperature.json").read_text())


def measurements(data: Path, work: Path, folder) -> dict:
    """{name: arguments of Places.evaluate after the task}; `folder(fold, int8)` says where a bundle lies."""
    runs, calm = {}, ("--map", "calm=neutral")
    for kind, table in TABLES.items():
        for fold in bundle.FOLDS:
            path = work / "cv" / f"{table}{fold}.csv"
            # the lists differ in their words alone: two of them tell int8 from fp32
            reference = folder(fold, False) if kind in ("speech", "pairs") else None
            runs[f"{kind}{fold}"] = (folder(fold, True), path, reference, *calm)
    for fold in bundle.FOLDS:
        runs[f"noise{fold}"] = (folder(fold, True), work / "cv" / f"fold{fold}.csv", None, *calm, *noisy(data, work))
    for name in (sarcastic.SINCERE, sarcastic.SARCASTIC):
        runs[name] = (folder(None, True), work / "cv" / f"{name}.csv")
    meld = (folder(None, True), work / "cv" / "meld_dev.csv", folder(None, False), *calm)
    runs["meld"] = meld
    runs["meld_no_history"] = (*meld, "--no-history")
    return runs


def noisy(data: Path, work: Path) -> list[str]:
    """Options that mix recorded babble, bars and music into each voice."""
    options = ["--degrade", ",".join(f"snr:{db}" for db in DECIBELS)]
    for sound in gate_sounds.sounds(data, work / "gate"):
        if sound.what in NOISES:
            options += ["--noise", str(sound.path)]
    return options


def read(work: Path, name: str) -> dict:
    return json.loads((work / "metrics" / f"{name}.json").read_text())


def folds(work: Path, kind: str) -> list[dict]:
    return [read(work, f"{kind}{fold}") for fold in bundle.FOLDS]


def metrics(work: Path) -> list[dict]:
    """The manifest's figures: the shipped answer on each list, and the words alone."""
    out = []
    for kind, name in LISTS.items():
        rows = bundle.pooled(folds(work, kind))
        out.append(metric("ua", name, rows["shipped"]))
        if kind == "speech":
            out.append(metric("ua", "RAVDESS, speaker-independent 5-fold, voice alone", rows["speech-only"]))
    for name, where in (("meld", "MELD dev, four classes, history"), ("meld_no_history", "MELD dev, no history")):
        out.append(metric("macro_f1", where, bundle.pooled([read(work, name)])["shipped"]))
    return out


def metric(figure: str, where: str, row: dict) -> dict:
    value, low, high = row[figure]
    return {"name": figure, "on": where, "value": value, "ci95": (low, high), "n": row["n"]}


def cell(row: dict, figure: str) -> str:
    value, low, high = row[figure]
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def table(rows: dict, figures=("accuracy", "ua", "macro_f1")) -> list[str]:
    """Markdown: one line a system, fp32 beneath int8."""
    names = {"accuracy": "WA", "ua": "UA", "macro_f1": "macro-F1"}
    lines = ["| system | n | " + " | ".join(names[f] for f in figures) + " |", "|---" * (2 + len(figures)) + "|"]
    for name in ROWS:
        for shown in (name, f"{name} (fp32)"):
            if shown in rows:
                cells = " | ".join(cell(rows[shown], f) for f in figures)
                lines.append(f"| {shown} | {rows[shown]['n']} | {cells} |")
    return lines


def in_noise(rows: dict) -> list[str]:
    """Markdown: the shipped answer as recorded and in noise."""
    names = {"as recorded": "shipped"} | {f"noise at {db} dB": f"noise at {db} dB" for db in DECIBELS}
    lines = ["| | n | WA | UA |", "|---|---|---|---|"]
    return lines + [f"| {name} | {rows[row]['n']} | {cell(rows[row], 'accuracy')} | {cell(rows[row], 'ua')} |" for name, row in names.items()]


def write(work: Path, shipped: Path) -> None:
    bundle.write_manifest(shipped, temperatures(work), True, metrics(work))
    words = {kind: "\n".join(table(bundle.pooled(folds(work, kind)))) for kind in LISTS}
    words |= {name: "\n".join(table(bundle.pooled([read(work, name)]))) for name in ("meld", "meld_no_history")}
    for name in (sarcastic.SINCERE, sarcastic.SARCASTIC):
        row = bundle.pooled([read(work, name)])["shipped"]
        words[name] = f"{cell(row, 'accuracy')} (n = {row['n']})"
    words["noise"] = "\n".join(in_noise(bundle.pooled(folds(work, "noise"))))
    spread = bundle.spread(folds(work, "speech"))
    middle = spread[len(spread) // 2]
    words["speakers"] = f"worst {spread[0]:.3f}, median {middle:.3f}, best {spread[-1]:.3f}"
    words["data"] = "\n".join(f"| {name} | {licence} |" for name, licence in bundle.DATA)
    words["version"] = bundle.VERSION
    fill(Path(__file__).with_name("CARD.in.md"), words, shipped / "CARD.md")
