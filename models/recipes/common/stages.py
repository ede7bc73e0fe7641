"""What the stages of every task share: where things lie, the order of the stages, the binary that measures.

A task's `stages.py` has `STAGES`, {name: function of Places}, in order; its docstring tells what each
does. It may have `DATA`, what `--data` must hold, without which no data are asked for; and
`THREADS`, how many torch uses when nobody says (other counts sum in another order).
"""

import argparse
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Places:
    """Where a stage reads and writes."""

    data: Path | None  # the sets, read only
    work: Path  # caches, checkpoints, reports
    models: Path  # bundles of other tasks, which this one may borrow from
    out: Path  # the bundle that ships
    binary: Path  # the demeanor that measures

    def evaluate(self, task: str, bundle: Path, table: Path, reference: Path | None = None, *options: str) -> dict:
        """What `demeanor eval --json` says of `bundle` on `table`, and of its f32 `reference`."""
        if not self.binary.is_file():
            raise SystemExit(f"{self.binary} is missing; run `cargo build --release` first")
        command = [str(self.binary), "eval", "--task", task, "--data", str(table), "--json"]
        command += ["--models", str(bundle), *options]
        if reference:
            command += ["--reference", str(reference)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run(task: str, module, words: list[str]) -> None:
    """One stage of a task, or all of them."""
    parser = argparse.ArgumentParser(
        prog=f"run.py {task}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    needs = getattr(module, "DATA", None)
    parser.add_argument("stage", nargs="?", choices=[*module.STAGES, "all"], default="all")
    parser.add_argument("--data", type=Path, required=bool(needs), help=needs or "not needed")
    parser.add_argument("--work", type=Path, default=Path("build/work"), help="folder for caches and checkpoints")
    parser.add_argument("--models", type=Path, default=REPO / "models", help="folder of the bundles to borrow from")
    parser.add_argument("--out", type=Path, default=getattr(module, "OUT", REPO / "models" / task), help="folder that is written")
    parser.add_argument("--binary", type=Path, default=REPO / "target/release/demeanor", help="the demeanor that measures")
    parser.add_argument("--threads", type=int, default=getattr(module, "THREADS", 2))
    given = vars(parser.parse_args(words))
    stage, threads = given.pop("stage"), given.pop("threads")
    if needs:
        import torch

        torch.set_num_threads(threads)
    places = Places(**given)
    places.work.mkdir(parents=True, exist_ok=True)
    for name, function in module.STAGES.items():
        if stage in (name, "all"):
            print(f"== {task} {name}", flush=True)
            function(places)


def newer(cache: Path, source: Path) -> bool:
    """Whether `cache` was made after `source`."""
    return cache.exists() and cache.stat().st_mtime > source.stat().st_mtime


def fill(template: Path, words: dict[str, str], out: Path) -> None:
    """Writes the template's text with every @name@ replaced."""
    text = template.read_text(encoding="utf-8")
    for name, word in words.items():
        text = text.replace(f"@{name}@", word)
    out.write_text(text, encoding="utf-8")
