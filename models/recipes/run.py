"""How the bundles are made: python models/recipes/run.py TASK [STAGE] [--data DIR] [--work DIR]

TASK is a folder beside this file with a `stages.py`; without STAGE all of its stages run, in
order, and each skips what is already there. `run.py TASK --help` says what the stages are.
"""

import importlib
import sys
from pathlib import Path

from common import stages

HERE = Path(__file__).resolve().parent


def tasks() -> list[str]:
    return sorted(path.parent.name for path in HERE.glob("*/stages.py") if path.parent.name != "common")


def main(words: list[str]) -> None:
    task = words[0] if words else "--help"
    if task in ("-h", "--help"):
        print(f"{__doc__}\nTasks: {', '.join(tasks())}")
    elif task not in tasks():
        raise SystemExit(f"there is no task {task}; known are {', '.join(tasks())}")
    else:
        stages.run(task, importlib.import_module(f"{task}.stages"), words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
