#!/usr/bin/env python3
"""Instructions and cache misses of one inference on a board's core, ours and tract's.

misses.py --binary DEMEANOR --shapes build/shapes [--core a72] [--core a76] [--core a57]
          [--work DIR] [SHAPE...]

DEMEANOR is built for aarch64-unknown-linux-gnu (`boards/build qemu-virt`). Each program runs in
qemu-user with the plugin `cache.c`, once for few inferences and once for more; the difference
counts. What the emulated kernel says of its caches is the board's, so ours cuts its products
as it would there. A miss of the first cache waits about ten cycles for the second, a miss of the
second about a hundred for memory, unless a prefetcher was there before: the model has none, nor a
second core that shares the second cache.

Ours runs the integer form of each shape (`dyn`, for mobilenet `qlinear`); tract runs that and
`f32`, and is given what takes it fewer instructions. onnxruntime's aarch64 wheel crashes in
qemu-user 7.2; `icount.sh` counts its instructions in a whole emulated machine.

Needs gcc and qemu-user.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
# processor of qemu, first and second data cache in bytes and ways
CORES = {
    "a57": ("cortex-a57", (32 << 10, 2), (2 << 20, 16)),  # Jetson Nano
    "a72": ("cortex-a72", (32 << 10, 2), (1 << 20, 16)),  # Raspberry Pi 4
    "a76": ("cortex-a76", (64 << 10, 4), (512 << 10, 8)),  # Raspberry Pi 5
}
FEW, MORE = 2, 6


def sysroot(folder, caches):
    """What the emulated program finds before the machine's own: a board's caches."""
    shutil.rmtree(folder, ignore_errors=True)
    for level, (size, ways) in enumerate(caches, 1):
        index = folder / f"sys/devices/system/cpu/cpu0/cache/index{2 * level - 2}"
        index.mkdir(parents=True)
        told = {"level": level, "type": "Data" if level == 1 else "Unified", "size": f"{size >> 10}K"}
        told["ways_of_associativity"] = ways
        for name, value in told.items():
            (index / name).write_text(f"{value}\n")


class Emulated:
    """A board's core, its caches and what the program finds."""

    def __init__(self, core, plugin, work):
        cpu, *self.caches = CORES[core]
        self.root, self.out = work / f"root-{core}", work / "counts"
        sysroot(self.root, self.caches)
        (first, ways), (second, more) = self.caches
        model = f"{plugin},l1={first}:{ways},l2={second}:{more},out={self.out}"
        self.command = ["qemu-aarch64", "-cpu", cpu, "-L", str(self.root), "-plugin", model]

    def counts(self, words):
        """Instructions, accesses, first and second misses of a process."""
        ran = subprocess.run(self.command + words, capture_output=True, text=True)
        if ran.returncode != 0:
            raise RuntimeError(ran.stderr.strip().splitlines()[-1] if ran.stderr else "failed")
        return [int(n) for n in self.out.read_text().split()]

    def each(self, words):
        """The same of one inference; `words` takes the number of them."""
        few, more = (self.counts(words(runs)) for runs in (FEW, MORE))
        return [(b - a) / (MORE - FEW) for a, b in zip(few, more)]


def counted(emulated, binary, file, dims, engine):
    sizes = [w for pair in dims for w in ("--dim", pair)]
    fixed = [binary, "bench", "--onnx", str(file), "--engine", engine, *sizes]
    return emulated.each(lambda runs: [*fixed, "--runs", str(runs)])


def forms(shapes, name, wanted):
    return [f for f in wanted if (shapes / f"{name}-{f}.onnx").exists()]


def measured(emulated, arguments, name, dims):
    """Counts by engine: of the form of the fewest instructions."""
    shapes, found = arguments.shapes, {}
    integer = forms(shapes, name, ["qlinear", "dyn"])[0]
    tried = [("ours", integer)] + [("tract", form) for form in forms(shapes, name, [integer, "f32"])]
    for engine, form in tried:
        file = shapes / f"{name}-{form}.onnx"
        try:
            counts = counted(emulated, arguments.binary, file, dims, engine)
        except RuntimeError as why:
            print(f"{name}, {engine}, {form}: {why}", file=sys.stderr)
            continue
        if engine not in found or counts[0] < found[engine][0][0]:
            found[engine] = counts, form
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--shapes", required=True, type=pathlib.Path)
    parser.add_argument("--core", action="append", choices=CORES)
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("shape", nargs="*")
    arguments = parser.parse_args()
    known = json.loads((arguments.shapes / "shapes.json").read_text())
    wanted = arguments.shape or ["minilm", "mobilenet", "speech", "fusion"]
    if unknown := [name for name in wanted if name not in known]:
        sys.exit(f"misses.py: no shape {unknown[0]}; there are {', '.join(known)}")
    work = arguments.work or pathlib.Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    plugin = work / "cache.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", plugin, HERE / "cache.c"], check=True)
    for core in arguments.core or ["a72", "a76"]:
        emulated = Emulated(core, plugin, work)
        (first, _), (second, _) = emulated.caches
        print(f"\n{CORES[core][0]}, {first >> 10} KB and {second >> 10} KB, an inference, thousands:\n")
        print("| shape | engine | form | instructions | accesses | first misses | second misses |")
        print("|---|---|---|---|---|---|---|")
        for name in wanted:
            dims = [f"{n}={size}" for n, size in known[name]["dims"].items()]
            for engine, (counts, form) in measured(emulated, arguments, name, dims).items():
                cells = " | ".join(f"{count / 1e3:,.0f}" for count in counts)
                print(f"| {name} | {engine} | {form} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
