"""Writes a bundle's manifest.toml, schema 2 (src/model/manifest/)."""

import hashlib
import json
from decimal import Decimal
from pathlib import Path

INLINE = ("explain", "classes", "range", "context")  # tables that are short enough for a line


def fixed(number: float) -> Decimal:
    """A measured number: four decimals in the file."""
    return Decimal(f"{number:.4f}")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def head(name: str, reads=None, file=None, temperature=None, kind="classes", **more) -> dict:
    """An entry of `[[head]]`: `reads` names TRUNK.OUTPUT in the order of the file's inputs;
    without a file what is read are the logits."""
    found = {"name": name, "kind": kind, "reads": reads, "file": file}
    found["temperature"] = None if temperature is None else fixed(temperature)
    return {key: value for key, value in (found | more).items() if value is not None}


def write(folder: Path, about: dict, files, borrowed=(), metrics=(), data=()) -> None:
    """manifest.toml: `about`, then `files` (name, precision) as they lie in `folder`, `borrowed`
    (name, bundle, precision, sha256), `metrics` and `data` (name, licence)."""
    lines = section([], {"schema": 2} | about)
    tables = [("file", {"name": name, "precision": precision, "sha256": digest(folder / name)}) for name, precision in files]
    for name, bundle, precision, sha256 in borrowed:
        tables.append(("file", {"name": name, "bundle": bundle, "precision": precision, "sha256": sha256}))
    for metric in metrics:
        numbers = {"value": fixed(metric["value"]), "ci95": [fixed(bound) for bound in metric["ci95"]], "n": metric["n"]}
        tables.append(("metric", {"name": metric["name"], "on": metric["on"]} | numbers))
    tables += [("data", {"name": name, "licence": licence}) for name, licence in data]
    for name, table in tables:
        lines += ["", f"[[{name}]]", *section([], table)]
    (folder / "manifest.toml").write_text("\n".join(lines) + "\n")


def section(path: list[str], table: dict) -> list[str]:
    """Lines of a table: its values, then tables within it, each under a heading of its own."""
    lines = []
    for key, value in table.items():
        if isinstance(value, dict) and key not in INLINE:
            lines += ["", f"[{'.'.join([*path, key])}]", *section([*path, key], value)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for entry in value:
                lines += ["", f"[[{key}]]", *section([key], entry)]
        else:
            lines.append(f"{key} = {written(value)}")
    return lines


def written(value) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {written(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "[\n" + "".join(f"    {written(row)},\n" for row in value) + "]"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)
