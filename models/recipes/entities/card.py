"""Figures of the entities bundle: from `demeanor eval`, and the ladder over seeds."""

import numpy as np

FIGURES = {"precision": "P", "recall": "R", "f1": "F1"}


def measured(reports: dict[str, dict]) -> str:
    lines = ["| valid part | row | n | " + " | ".join(FIGURES.values()) + " |", "|---" * (3 + len(FIGURES)) + "|"]
    for name, report in reports.items():
        for row in [{"name": "ships", "metrics": report["metrics"]}, *report["rows"]]:
            of = row["metrics"]
            cells = ("{:.3f} [{:.3f}, {:.3f}]".format(of[f], *of["ci95"][f]) for f in FIGURES)
            lines.append(f"| {name} | {row['name']} | {of['n']} | " + " | ".join(cells) + " |")
    return "\n".join(dict.fromkeys(lines))


def grounding(report: dict) -> str:
    """Boxes: ours, answers that need no model, and ours by the kind of phrase."""
    figures = {"a50": "A@0.5", "a75": "A@0.75", "miou": "mean IoU"}
    lines = ["| | n | " + " | ".join(figures.values()) + " |", "|---" * (2 + len(figures)) + "|"]
    rows = [("ships", report["metrics"]), *((row["name"], row["metrics"]) for row in report["rows"])]
    for name, of in [*rows, *report["kinds"].items()]:
        cells = ("{:.3f} [{:.3f}, {:.3f}]".format(of[f], *of["ci95"][f]) for f in figures)
        lines.append(f"| {name} | {of['n']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ladder(found: dict[str, dict[str, list[dict]]]) -> str:
    lines = []
    for row in next(iter(found.values())):
        seeds = [[s["f1"] for s in rows[row]] for rows in found.values()]
        lines.append(f"| {row} | " + " | ".join(f"{np.mean(s):.4f} ± {np.std(s):.4f}" for s in seeds) + " |")
    return "\n".join(lines)


def checks(found: dict[str, dict]) -> str:
    """The shipped reader and what changes it, a column a set."""
    signed = "{:.3f} ({:+.3f} [{:+.3f}, {:+.3f}])"
    lines = ["| | " + " | ".join(found) + " |", "|---" * (1 + len(found)) + "|"]
    for row in next(iter(found.values())):
        each = [of[row] for of in found.values()]
        cells = [signed.format(of["f1"], of["gain"], *of["ci95"]) if of["gain"] else f"{of['f1']:.3f}" for of in each]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def names(found: dict[str, dict]) -> str:
    lines = ["| asked for | what is counted | n (pictures) | share |", "|---|---|---|---|"]
    for asked, rows in found.items():
        for what, of in rows.items():
            share = "{:.3f} [{:.3f}, {:.3f}]".format(of["share"], *of["ci95"])
            lines.append(f"| {asked} | {what} | {of['n']} ({of['pictures']}) | {share} |")
    return "\n".join(lines)
