"""Cycles of the ARM inner loops, estimated by llvm-mca: no board needed, nothing runs.

    mca.py [--mca llvm-mca-22] [--rustc rustc] [--loops DIR] [--check SHARE]

The kernels (`src/kernels`, which needs nothing else of the crate) are compiled for
aarch64-unknown-linux-gnu at opt-level 3. Of each kernel the innermost loop with the most
multiplications is taken out of the assembly and given to llvm-mca for each core that runs it;
the products per turn are counted from the instructions. `rustc` must have that target's std
(Debian: rustc-web and libstd-rust-web-dev:arm64, then --rustc /usr/bin/rustc); llvm-mca is in
Debian's `llvm-22`. `--loops` keeps the loops, `--check 0.85` fails below that share.

Read the figures with care.

- A model is a table of latencies, ports and widths that someone typed from a manual. LLVM has
  one for the Cortex-A57 and uses it for the A72, A76 and A78 too (llvm-mca names its resources,
  and this script prints whose they are), so `-mcpu=cortex-a76` says nothing of an A76. The
  Neoverse N1 is the A76's server sibling with the same pipelines and has its own model: that
  row is the one to read for a Raspberry Pi 5 or a Jetson Orin. Both models dispatch 3
  micro-operations a cycle; a real A76 dispatches more.
- There is no cache, no TLB and no branch predictor in it: every load hits and every branch is
  foreseen. It is a bound for a panel of weights that lies in the first-level cache.
- Only the loop counts: not the call, the sums' start, nor what becomes of them.
- `neon-dot depthwise` spends two instructions on bringing four taps' bytes side by side for
  each that multiplies; its limit counts those too. It stays below it for want of dispatch, and
  is still well above the 4 products a cycle of widening to 16 bits.
- Shares of the limit may not be compared between cores, only loops with each other on a core.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

KERNELS = Path(__file__).resolve().parents[3] / "src/kernels/mod.rs"
TARGET = "aarch64-unknown-linux-gnu"

# products an instruction does; `smlal` and its like by the width of their result
PRODUCTS = {"sdot": 16, "smmla": 32}
LONG = re.compile(r"(smull|smlal|smlsl)2?$")
LONG_PRODUCTS = {"8h": 8, "4s": 4}

# kernel: (mangled symbol has these in turn, [(core, products a cycle at most, why)])
FORWARD = "one multiplying pipe"
BOTH = "two pipes"
ZIPS = "two pipes, two zips to a product"
KERNELS_AND_CORES = [
    ("neon 2×16", ("neon4tile4rows", "Kj2_"), [("cortex-a57", 8, FORWARD), ("cortex-a72", 8, FORWARD)]),
    ("neon 1×16", ("neon4tile4rows", "Kj1_"), [("cortex-a72", 8, FORWARD)]),
    ("neon depthwise", ("4neon5entry9depthwise",), [("cortex-a57", 4, FORWARD), ("cortex-a72", 4, FORWARD)]),
    ("neon-dot 6×16", ("neon3dot4rows", "Kj6_"), [("cortex-a76", 32, BOTH), ("neoverse-n1", 32, BOTH)]),
    ("neon-dot depthwise", ("3dot5entry9depthwise",), [("neoverse-n1", 64 / 6, ZIPS)]),
    ("neon-dot 4×16", ("neon3dot4rows", "Kj4_"), [("neoverse-n1", 32, BOTH)]),
    ("neon-dot 1×16", ("neon3dot4rows", "Kj1_"), [("neoverse-n1", 32, BOTH)]),
    ("neon-i8mm 6×16", ("neon4i8mm5pairs", "Kj3_"), [("neoverse-n2", 64, BOTH)]),
]
# the loops that a whole matrix spends its time in
MAIN = {
    "neon 2×16",
    "neon depthwise",
    "neon-dot 6×16",
    "neon-i8mm 6×16",
}


def assembly(rustc: str, folder: Path) -> str:
    stub, out = folder / "stub.rs", folder / "stub.s"
    stub.write_text(f'#![allow(dead_code)]\n#[path = "{KERNELS}"]\npub mod kernels;\n')
    options = ["--edition", "2024", "--crate-type", "lib", "--target", TARGET, "-C", "opt-level=3"]
    options += ["-C", "codegen-units=1", "-C", "symbol-mangling-version=v0"]
    subprocess.run([rustc, *options, f"--emit=asm={out}", str(stub)], check=True, cwd=folder)
    return out.read_text()


def products(line: str) -> int:
    name, _, operands = line.partition("\t")
    if LONG.match(name):
        return LONG_PRODUCTS[operands.split(",")[0].split(".")[1]]
    return PRODUCTS.get(name, 0)


def instructions(lines: list[str]) -> list[str]:
    bare = (line.split("//")[0].strip() for line in lines)
    return [line for line in bare if line and not line.startswith((".", "#")) and not line.endswith(":")]


def inner_loop(assembly: str, parts: tuple[str, ...]) -> list[str]:
    """The innermost loop with the most products in the function whose symbol has `parts` in turn."""
    best: list[str] = []
    for symbol, body in re.findall(r"^(_R\w+):\n(.*?)^\.Lfunc_end", assembly, re.M | re.S):
        if not re.search(".*".join(parts), symbol):
            continue
        labels, loops, lines = {}, [], body.split("\n")
        for at, line in enumerate(lines):
            if label := re.match(r"(\.LBB\w+):", line):
                labels[label[1]] = at
            branch = re.match(r"\s+(?:b|b\.\w+|cbn?z|tbn?z)\s.*?(\.LBB\w+)", line)
            if branch and branch[1] in labels:
                loops.append((labels[branch[1]], at))
        for first, last in loops:
            outer = any(first <= f and l <= last and (f, l) != (first, last) for f, l in loops)
            loop = instructions(lines[first : last + 1])
            if not outer and sum(map(products, loop)) > sum(map(products, best)):
                best = loop
    if not best:
        sys.exit(f"no loop with products in a function named {'…'.join(parts)}")
    return best


def estimate(mca: str, core: str, loop: list[str]) -> tuple[float, float, str]:
    """Block throughput and simulated cycles of one turn, and whose model it is."""
    turns = 1000
    text = "\n".join(re.sub(r"\.LBB\w+", "elsewhere", line) for line in loop)
    command = [mca, "-march=aarch64", f"-mcpu={core}", "-mattr=+dotprod,+i8mm", f"-iterations={turns}"]
    run = subprocess.run(command, input=text, text=True, capture_output=True)
    if run.returncode:
        sys.exit(f"{' '.join(command)}: {run.stderr}")
    number = lambda name: float(re.search(rf"^{name}:\s+([\d.]+)", run.stdout, re.M)[1])
    model = re.search(r"^\[0(?:\.0)?\]\s+- (\w+?)Unit", run.stdout, re.M)
    return number("Block RThroughput"), number("Total Cycles") / turns, model[1] if model else "?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mca", default="llvm-mca")
    parser.add_argument("--rustc", default="rustc")
    parser.add_argument("--loops", type=Path, help="write each loop to this folder")
    parser.add_argument("--check", type=float, help="fail if a main loop has less of its limit")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = assembly(args.rustc, Path(folder))
    print("| kernel | core | model | instructions | products | cycles: ports / simulated | per cycle | limit | share |")
    print("|---|---|---|---|---|---|---|---|---|")
    below = []
    for kernel, parts, cores in KERNELS_AND_CORES:
        loop = inner_loop(text, parts)
        if args.loops:
            args.loops.mkdir(parents=True, exist_ok=True)
            (args.loops / f"{kernel.replace(' ', '-')}.s").write_text("\n".join(loop) + "\n")
        macs = sum(map(products, loop))
        for core, limit, why in cores:
            ports, cycles, model = estimate(args.mca, core, loop)
            share = macs / cycles / limit
            if args.check and kernel in MAIN and share < args.check:
                below.append(f"{kernel} on {core}")
            print(
                f"| {kernel} | {core} | {model} | {len(loop)} | {macs} | {ports:.1f} / {cycles:.1f} "
                f"| {macs / cycles:.1f} | {limit:.3g} ({why}) | {share:.0%} |"
            )
    if below:
        sys.exit(f"below {args.check:.0%} of the limit: {', '.join(below)}")


if __name__ == "__main__":
    main()
