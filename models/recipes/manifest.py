"""What every bundle's manifest ends with: its files, figures and data."""

import hashlib
from pathlib import Path


def write(folder: Path, head: list[str], files, shared=(), metrics=(), data=()) -> None:
    """manifest.toml: `head`, then `files` (name, role, precision) as they lie in `folder`,
    `shared` (bundle, role, sha256), `metrics` and `data` (name, licence)."""
    lines = list(head)
    for name, role, precision in files:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        lines += ["", "[[file]]", f'name = "{name}"', f'role = "{role}"']
        lines += [f'precision = "{precision}"', f'sha256 = "{digest}"']
    for bundle, role, digest in shared:
        lines += ["", "[[shared]]", f'bundle = "{bundle}"', f'role = "{role}"', f'sha256 = "{digest}"']
    for metric in metrics:
        low, high = metric["ci95"]
        lines += ["", "[[metric]]", f'name = "{metric["name"]}"', f'on = "{metric["on"]}"']
        lines += [f"value = {metric['value']:.4f}", f"ci95 = [{low:.4f}, {high:.4f}]", f"n = {metric['n']}"]
    for name, licence in data:
        lines += ["", "[[data]]", f'name = "{name}"', f'licence = "{licence}"']
    (folder / "manifest.toml").write_text("\n".join(lines) + "\n")
