"""Pooled features of MVSA-Single for train.py, from the files that ship.

    python models/recipes/catalogue/features.py --data DATA --work WORK OUT

u is the mean of the text encoder's last rows, v that of the image trunk's patches, both int8 in
ONNX Runtime. Training items that share words or pixels with dev are left out. One in ten of the
rest chooses epochs (dev.npz), the others train (train.npz); the set's own dev part is what is
reported (test.npz).
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from PIL import Image  # noqa: E402

from common.runtime import session  # noqa: E402
from emotion import text_data as td  # noqa: E402
from sentiment import data as sd  # noqa: E402
from sentiment import features as sf  # noqa: E402

MODELS = Path(__file__).resolve().parents[2]


def pooled(items, work: Path) -> dict:
    text, image = session(MODELS / "sarcasm/text.onnx"), session(MODELS / "sentiment/image.onnx")
    side, tokenizer = image.get_inputs()[0].shape[1], td.tokenizer(work)
    u, v = [], []
    for item in items:
        made = sf.encode(tokenizer, item.text)
        u.append(text.run(["tokens"], {"ids": np.array(made.ids), "types": np.array(made.kinds)})[0].mean(0))
        with Image.open(item.picture) as picture:
            pixels = np.asarray(picture.convert("RGB").resize((side, side), Image.BILINEAR))
        v.append(image.run(["patches"], {"pixels": pixels[None]})[0].mean(0))
    return {"u": np.stack(u), "v": np.stack(v), "y": np.array([item.label for item in items])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    held, known = sd.table(args.data, "dev"), sd.train_pairs(args.data, args.work)
    order = np.random.default_rng(0).permutation(len(known))
    tenth = len(known) // 10
    parts = {
        "test": held,
        "dev": [known[i] for i in order[:tenth]],
        "train": [known[i] for i in order[tenth:]],
    }
    for name, items in parts.items():
        np.savez(args.out / f"{name}.npz", **pooled(items, args.work))
        print(name, len(items), flush=True)


if __name__ == "__main__":
    main()
