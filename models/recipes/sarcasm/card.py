"""Figures of the sarcasm bundle: from `demeanor eval`, and the ladder over seeds."""

import numpy as np

FIGURES = {"accuracy": "accuracy", "precision": "P", "recall": "R", "f1": "F1", "macro_f1": "macro-F1"}


def measured(report: dict) -> str:
    """Markdown: a line a row of `demeanor eval --json`."""
    lines = ["| system | n | " + " | ".join(FIGURES.values()) + " |", "|---" * (2 + len(FIGURES)) + "|"]
    for row in report["rows"]:
        of = row["metrics"]
        cells = ("{:.3f} [{:.3f}, {:.3f}]".format(of[f], *of["ci95"][f]) for f in FIGURES)
        lines.append(f"| {row['name']} | {of['n']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ladder(rows: dict[str, list[dict]]) -> str:
    """Mean over the seeds, and with several their standard deviation."""
    lines = ["| system | seeds | " + " | ".join(FIGURES.values()) + " |", "|---" * (2 + len(FIGURES)) + "|"]
    for name, seeds in rows.items():
        spread = lambda figure: f" ± {np.std([s[figure] for s in seeds]):.3f}" if len(seeds) > 1 else ""
        cells = (f"{np.mean([s[f] for s in seeds]):.3f}{spread(f)}" for f in FIGURES)
        lines.append(f"| {name} | {len(seeds)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def lost(rows: dict[str, list[dict]], head: str) -> str:
    """Accuracy that a head loses to the picture words of another post, mean over the seeds."""
    mean = lambda name: np.mean([seed["accuracy"] for seed in rows[name]])
    return f"{mean(head) - mean(f'{head}, shuffled picture words'):.3f}".lstrip("0")


def sweep(found: dict[str, list[float]], head: str, ks, taus) -> str:
    lines = ["| k | " + " | ".join(f"τ {tau}" for tau in taus) + " |", "|---" * (1 + len(taus)) + "|"]
    for k in ks:
        cells = (f"{np.mean(found[f'{head}, k {k}, tau {tau}']):.4f}" for tau in taus)
        lines.append(f"| {k} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
