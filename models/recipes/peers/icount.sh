#!/bin/bash
# Instructions of one inference on an ARM core, ours and the peers', without a board.
#
#   icount.sh --binary DEMEANOR --kernel VMLINUZ [--cpu cortex-a76] [--seconds 0.3]
#             [--shapes build/shapes] [--onnxruntime DIR] [--work DIR] [SHAPE...]
#
# DEMEANOR is built for aarch64-unknown-linux-gnu, VMLINUZ is an arm64 kernel:
#   apt-get install qemu-system-arm gcc-aarch64-linux-gnu cpio
#   apt-get download linux-image-6.1.0-56-arm64:arm64 && dpkg-deb -x linux-image-*.deb .   # boot/
#
# QEMU boots it with `-icount shift=0`, in which every instruction takes one nanosecond of the
# guest's time, so the medians of `demeanor bench` are counts, the same on every machine and to
# 0.2% the same on every run. Instructions are not cycles: a cache miss, a wait for a result
# and a division cost the same as an addition here. They rank programs that do similar things,
# and say how much a core has to issue; they do not say how long it takes.
#
# Ours runs the integer form of each shape (`dyn`, for mobilenet `qlinear`); tract runs that and
# `f32`, onnxruntime that and its own integer forms, and each is given what it does better. Its
# Python wheel and a Python are wanted for onnxruntime, in DIR:
#   apt-get download {python3.11-minimal,libpython3.11-{minimal,stdlib},libexpat1,zlib1g}:arm64 \
#     {libffi8,libssl3,libbz2-1.0,liblzma5,libstdc++6,libgcc-s1,libc6}:arm64
#   pip download --no-deps --only-binary=:all: --platform manylinux_2_28_aarch64 \
#     --platform manylinux_2_27_aarch64 --python-version 3.11 --implementation cp \
#     onnxruntime==1.32.0 numpy flatbuffers packaging
set -euo pipefail

die() { echo "icount.sh: $*" >&2; exit 1; }

binary='' kernel='' cpu=cortex-a76 seconds=0.3 shapes=build/shapes work='' onnxruntime='' wanted=()
while (($#)); do
  case $1 in
    --binary | --kernel | --cpu | --seconds | --shapes | --work | --onnxruntime)
      (($# > 1)) || die "$1 needs a value"
      declare "${1#--}=$2"
      shift 2
      ;;
    -*) die "unknown option $1" ;;
    *) wanted+=("$1"); shift ;;
  esac
done
[[ -f $binary ]] || die "--binary needs an aarch64 demeanor"
[[ -f $kernel ]] || die "--kernel needs an arm64 kernel"
[[ -f $shapes/shapes.json ]] || die "$shapes has no shapes.json; make it with shapes.py"
((${#wanted[@]})) || wanted=(minilm mobilenet speech fusion)
[[ -n $work ]] || work=$(mktemp -d)
root=$work/root
rm -rf "$root"
mkdir -p "$root"
if [[ -n $onnxruntime ]]; then
  for package in "$onnxruntime"/*.deb; do dpkg-deb -x "$package" "$root"; done
  for wheel in "$onnxruntime"/*.whl; do python3 -m zipfile -e "$wheel" "$root/site"; done
fi
mkdir -p "$root"/{bin,dev,proc,sys,models,lib/aarch64-linux-gnu}

# -- the root file system: the program, the libraries it names, models, an init ---------------
cp "$binary" "$root/bin/demeanor"
for loader in {,/usr/aarch64-linux-gnu}/lib/ld-linux-aarch64.so.1; do
  [[ -e $loader ]] && break
done
cp -L "$loader" "$root/lib/"
add_libraries() {
  local name found names
  names=$(aarch64-linux-gnu-readelf -d "$1" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p')
  for name in $names; do
    [[ -e $root/lib/aarch64-linux-gnu/$name ]] && continue
    for found in {/lib,/usr/lib}/aarch64-linux-gnu/"$name" /usr/aarch64-linux-gnu/lib/"$name"; do
      [[ -e $found ]] && break
    done
    [[ -e $found ]] || die "no arm64 $name here"
    cp -L "$found" "$root/lib/aarch64-linux-gnu/"
    add_libraries "$found"
  done
}
add_libraries "$binary"

# a line of jobs is `label TAB words`; what a job prints follows its label on the console
python3 - "$shapes" "$root" "$seconds" "${onnxruntime:+ort}" "${wanted[@]}" <<'PY'
import json, pathlib, shutil, sys
shapes, root = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
seconds, ort, wanted = sys.argv[3], sys.argv[4], sys.argv[5:]
known, jobs = json.loads((shapes / "shapes.json").read_text()), []
for name in wanted:
    if name not in known:
        sys.exit(f"icount.sh: no shape {name}; there are {', '.join(known)}")
    integer = next(form for form in ("qlinear", "dyn") if (shapes / f"{name}-{form}.onnx").exists())
    dims = [w for n, size in known[name]["dims"].items() for w in ("--dim", f"{n}={size}")]
    tries = [("ours", integer), ("tract", integer), ("tract", "f32")]
    if ort:
        tries += [("ort", form) for form in (integer, "ortdyn", "qdq", "qdqfull")]
    for engine, form in tries:
        file = f"{name}-{form}.onnx"
        if not (shapes / file).exists():
            continue
        shutil.copy(shapes / file, root / "models" / file)
        words = ["/bin/demeanor", "bench", "--onnx", f"/models/{file}", "--engine", engine]
        words += ["--seconds", seconds, "--json", *dims]
        if engine == "ort":
            sizes = [f"{n}={size}" for n, size in known[name]["dims"].items()]
            words = ["/usr/bin/python3.11", "/ort.py", f"/models/{file}", seconds, *sizes]
        jobs.append(f"{name}/{engine}/{form}\t" + " ".join(words))
(root / "jobs").write_text("\n".join(jobs) + "\n")
PY

cat >"$root/ort.py" <<'PY'
import json, statistics, sys, time
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.log_severity_level = 3
file, seconds, dims = sys.argv[1], float(sys.argv[2]), dict(d.split("=") for d in sys.argv[3:])
session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
feeds, rng = {}, np.random.default_rng(1)
for value in session.get_inputs():
    shape = [int(dims.get(d, d)) for d in value.shape]
    integer = value.type == "tensor(int64)"
    feeds[value.name] = rng.integers(0, 1000, shape) if integer else rng.standard_normal(shape, np.float32)
times, start = [], time.perf_counter_ns()
session.run(None, feeds)
while len(times) < 3 or time.perf_counter_ns() - start < seconds * 1e9:
    begin = time.perf_counter_ns()
    session.run(None, feeds)
    times.append(time.perf_counter_ns() - begin)
print(json.dumps({"median_ns": statistics.median(times)}))
PY

cat >"$work/init.c" <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    static char line[4096];
    mount("none", "/proc", "proc", 0, NULL);
    mount("none", "/sys", "sysfs", 0, NULL);
    mount("none", "/dev", "devtmpfs", 0, NULL);
    setenv("PYTHONPATH", "/site", 1);
    FILE *jobs = fopen("/jobs", "r");
    while (jobs && fgets(line, sizeof line, jobs)) {
        char *words[64], *label = strtok(line, "\t\n");
        int count = 0;
        while (count < 63 && (words[count] = strtok(NULL, " \n"))) count++;
        words[count] = NULL;
        printf("\njob %s ", label);
        fflush(stdout);
        if (fork() == 0) {
            execv(words[0], words);
            _exit(127);
        }
        wait(NULL);
    }
    printf("\njobs done\n");
    fflush(stdout);
    sync();
    reboot(RB_POWER_OFF);
}
C
aarch64-linux-gnu-gcc -O1 -static -o "$root/init" "$work/init.c"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initramfs.gz"

# -- the run --------------------------------------------------------------------------------
qemu-system-aarch64 -M virt -cpu "$cpu" -icount shift=0,sleep=off -smp 1 -m 2048 -nic none \
  -nographic -no-reboot -kernel "$kernel" -initrd "$work/initramfs.gz" \
  -append "console=ttyAMA0 quiet panic=-1 rdinit=/init" </dev/null >"$work/console.txt" ||
  die "QEMU failed; see $work/console.txt"
grep -q '^jobs done' "$work/console.txt" || die "the guest did not finish; see $work/console.txt"

python3 - "$work/console.txt" "$cpu" <<'PY'
import json, re, sys
found, level, macs = {}, "?", {}
label = ""
for line in open(sys.argv[1], errors="replace"):
    if job := re.match(r"job (\S+/\S+) ", line):
        if label:
            print(f"{label} gave no report", file=sys.stderr)
        label = job[1]
    # a library may have said something first
    if not label or not (text := re.search(r"\{.*\}\s*$", line)):
        continue
    shape, engine, form = label.split("/")
    report, label = json.loads(text[0]), ""
    model = report["models"][0] if "models" in report else report
    found.setdefault(shape, {}).setdefault(engine, {})[form] = model["median_ns"] / 1e6
    if engine == "ours":
        level, macs[shape] = report["level"], model["macs"] / 1e6
print(f"Million instructions an inference, {sys.argv[2]} (level {level}), one thread:\n")
print("| shape | MMAC | ours | MAC per instruction | tract | onnxruntime | ours / the best of them |")
print("|---|---|---|---|---|---|---|")
for shape, engines in found.items():
    def cell(engine):
        counts = sorted(engines.get(engine, {}).items(), key=lambda c: c[1])
        return ", ".join(f"{count:.1f} {form}" for form, count in counts) or "–"
    peers = [count for e in ("tract", "ort") for count in engines.get(e, {}).values()]
    ours = min(engines.get("ours", {}).values(), default=None)
    ratio = f"{ours / min(peers):.3f}" if ours and peers else "–"
    density = f"{macs[shape] / ours:.2f}" if ours else "–"
    print(f"| {shape} | {macs.get(shape, 0):.1f} | {cell('ours')} | {density} | {cell('tract')} | {cell('ort')} | {ratio} |")
PY
