"""Vectors for the tests: what Python finds in the drawn pictures with the files that ship.

    faces_reference.py --out tests/data/faces_reference.json
"""

import argparse
import json
from pathlib import Path

from PIL import Image

import expression
import faces
import faces_bundle
from faces_boxes import detect, letterbox

REPO = Path(__file__).resolve().parents[2]


def found(name: str, sessions: tuple) -> dict:
    """Boxes in pixels of the picture, best first, and each face's logits."""
    detector, classifier = sessions
    picture = Image.open(REPO / "tests" / "data" / "pictures" / name).convert("RGB")
    boxes = detect(detector, picture, faces.SIDE, faces_bundle.MIN_SCORE)
    crops = [faces_bundle.cropped(picture, box) for box in boxes]
    return {
        "picture": name,
        "letterbox_sum": int(letterbox(picture, faces.SIDE).sum(dtype=int)),
        "faces": [
            {
                "box": [round(float(v), 3) for v in box[:4]],
                "score": round(float(box[4]), 5),
                "crop_sum": int(crop.sum(dtype=int)),
                "logits": [round(float(v), 4) for v in faces_bundle.logits(classifier, crop[None])[0]],
            }
            for box, crop in zip(boxes, crops)
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    sessions = faces_bundle.sessions(REPO / "models" / "expression")
    pictures = [found(name, sessions) for name in ("face.jpg", "forty_faces.jpg", "no_face.jpg")]
    head = {"min_score": faces_bundle.MIN_SCORE, "detector_side": faces.SIDE, "labels": expression.LABELS}
    out.write_text(json.dumps(head | {"pictures": pictures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
