"""What `demeanor adapt` costs: 400 recordings of 4 s, pieces of the sample at two speeds, on one core."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from common.audio import load
from common.stages import REPO

CLIPS, SECONDS, RATE, GROUPS = 400, 4, 16000, 10
SPEEDS = {"slow": 0.85, "fast": 1.15}
COUNTED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print([used.ru_utime + used.ru_stime, used.ru_maxrss])
"""


def table(folder: Path) -> Path:
    """The recordings, and a table of them: the speed is the class."""
    folder.mkdir(parents=True, exist_ok=True)
    sample, count, rows = load(REPO / "tests" / "data" / "sample.wav"), SECONDS * RATE, []
    for i in range(CLIPS):
        label = list(SPEEDS)[i % 2]
        places = np.arange(count) * (SPEEDS[label] + 0.002 * (i % 20))
        start = i * 731 % (len(sample) - int(places[-1]) - 2)
        wave = np.interp(start + places, np.arange(len(sample)), sample)
        soundfile.write(folder / f"{i}.wav", wave, RATE, subtype="PCM_16")
        rows.append((f"{i}.wav", label, i // 2 % GROUPS))
    with open(folder / "table.csv", "w", newline="") as out:
        csv.writer(out).writerows([("audio", "label", "group"), *rows])
    return folder / "table.csv"


def measure(at) -> dict:
    """Seconds of a core and the most memory that was resident."""
    folder = at.work / "adapting" / "cost"
    data, out = table(folder / "clips"), folder / "bundle"
    shutil.rmtree(out, ignore_errors=True)
    command = [str(at.binary), "adapt", "--task", "emotion", "--data", str(data), "--out", str(out), "--json", "--force"]
    # a small process between: what this one holds is no memory of its child's
    run = [sys.executable, "-c", COUNTED, *command]
    report, (seconds, kilobytes) = map(json.loads, subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines())
    return {"items": report["items"], "core_seconds": round(seconds, 1), "resident_mb": round(kilobytes / 1024)}
