"""Figures of the sentiment bundle from `demeanor eval`, into its manifest and card."""

from pathlib import Path

from common.stages import fill
from sentiment import bundle

ON = "MVSA-Single dev; train without copies of dev"
METRICS = {"accuracy": "accuracy", "weighted_f1": "weighted F1"}


def table(report: dict) -> list[str]:
    """Markdown: a line a system, fp32 beneath int8."""
    rows = {row["name"]: row["metrics"] for row in report["rows"]}
    lines = ["| system | n | " + " | ".join(METRICS.values()) + " |", "|---" * (2 + len(METRICS)) + "|"]
    for name in [shown for row in bundle.HEADS for shown in (row, f"{row} (fp32)") if shown in rows]:
        of = rows[name]
        cells = ("{:.4f} [{:.3f}, {:.3f}]".format(of[figure], *of["ci95"][figure]) for figure in METRICS)
        lines.append(f"| {name} | {rows[name]['n']} | " + " | ".join(cells) + " |")
    return lines


def metrics(report: dict) -> list[dict]:
    """The manifest's figures: what ships, and each modality alone."""
    of = {row["name"]: row["metrics"] for row in report["rows"]}
    shown = {ON: report["metrics"], f"{ON}, words alone": of["text-only"], f"{ON}, picture alone": of["image-only"]}
    found = []
    for where, row in shown.items():
        for name in METRICS:
            found.append({"name": name, "on": where, "value": row[name], "ci95": row["ci95"][name], "n": row["n"]})
    return found


def write(report: dict, chosen: list[str], folder: Path, lender: Path, temperature: dict) -> None:
    bundle.write_manifest(folder, lender, temperature, metrics=metrics(report))
    data = "\n".join(f"| {name} | {licence} |" for name, licence in bundle.DATA)
    words = {
        "version": bundle.VERSION, "dev": "\n".join(table(report)), "chosen": "\n".join(chosen),
        "shipped": bundle.SHIPPED, "data": data,
    }
    fill(Path(__file__).with_name("CARD.in.md"), words, folder / "CARD.md")
