"""Vectors for the tests: what Python finds in the drawn pictures with the files that ship.
"""

import json
from pathlib import Path

from PIL import Image

from common.stages import Places
from expression import bundle, detector, student
from expression.boxes import detect, letterbox


def found(path: Path, sessions: tuple) -> dict:
    """Boxes in pixels of the picture, best first, and each face's logits."""
    detector, classifier = sessions
    picture = Image.open(path).convert("RGB")
    boxes = detect(detector, picture, detector.SIDE, bundle.MIN_SCORE)
    crops = [bundle.cropped(picture, box) for box in boxes]
    return {
        "picture": path.name,
        "letterbox_sum": int(letterbox(picture, detector.SIDE).sum(dtype=int)),
        "faces": [
            {
                "box": [round(float(v), 3) for v in box[:4]],
                "score": round(float(box[4]), 5),
                "crop_sum": int(crop.sum(dtype=int)),
                "logits": [round(float(v), 4) for v in bundle.logits(classifier, crop[None])[0]],
            }
            for box, crop in zip(boxes, crops)
        ],
    }


def write(at: Places) -> None:
    sessions = bundle.sessions(at.models / "expression")
    pictures = [found(at.out / "pictures" / name, sessions) for name in ("face.jpg", "forty_faces.jpg", "no_face.jpg")]
    head = {"min_score": bundle.MIN_SCORE, "detector_side": detector.SIDE, "labels": student.LABELS}
    (at.out / "faces_reference.json").write_text(json.dumps(head | {"pictures": pictures}, indent=1) + "\n")
