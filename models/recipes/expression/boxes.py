"""From a picture to the detector's input, and from its outputs to faces.

The input is the centred square around the whole picture (its side is the picture's longer
one, black outside the picture), resized to S x S.

Anchors, in the order of the outputs: first the cells of stride 8, row by row, two anchors
each; then those of stride 16, six anchors each (S = 128: 512 + 384 = 896). Anchors of a cell
have no shape; all sit at its centre ((column + 1/2) stride, (row + 1/2) stride):

    centre x = (column + 1/2) stride + dx,  width = w, likewise y and h.

Faces: drop anchors whose probability sigmoid(score) is below `min_score`; then, best first,
take every anchor left whose box overlaps the best one's by more than OVERLAP (intersection
over union), and answer the mean of their boxes weighted by their probabilities, with the best
one's probability. This is the paper's blending, steadier in video than keeping the best box.
"""

import numpy as np
from PIL import Image

ANCHORS = {"fine": (8, 2), "coarse": (16, 6)}  # stride, anchors a cell
OVERLAP = 0.3


def square(picture, centre: tuple[float, float], length: float, side: int) -> np.ndarray:
    """u8 [side, side, 3]: the square of `length` about `centre`, black outside the picture."""
    margin = int(np.ceil(length)) + 2
    canvas = Image.new("RGB", (picture.width + 2 * margin, picture.height + 2 * margin))
    canvas.paste(picture, (margin, margin))
    left, top = centre[0] - length / 2 + margin, centre[1] - length / 2 + margin
    return np.asarray(canvas.resize((side, side), Image.BILINEAR, box=(left, top, left + length, top + length)))


def letterbox(picture, side: int) -> np.ndarray:
    return square(picture, (picture.width / 2, picture.height / 2), max(picture.size), side)


def anchors(side: int) -> np.ndarray:
    """[A, 2] centres in pixels of the network's input."""
    rows = []
    for stride, count in ANCHORS.values():
        at = (np.arange(side // stride) + 0.5) * stride
        y, x = np.meshgrid(at, at, indexing="ij")
        rows.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), count, axis=0))
    return np.concatenate(rows)


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of (x0, y0, x1, y1)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    return shared / np.maximum(np.prod(box[2:] - box[:2]) + area - shared, 1e-9)


def faces(raw: np.ndarray, scores: np.ndarray, side: int, min_score: float = 0.5) -> np.ndarray:
    """[faces, 5]: (x0, y0, x1, y1, probability) in pixels of the input, best first."""
    probability = 1 / (1 + np.exp(-np.clip(scores.astype(np.float64), -100, 100)))
    keep = np.flatnonzero(probability >= min_score)
    keep = keep[np.argsort(-probability[keep], kind="stable")]
    centre, size = anchors(side)[keep] + raw[keep, :2], raw[keep, 2:]
    boxes, p, out = np.concatenate([centre - size / 2, centre + size / 2], 1), probability[keep], []
    while len(boxes):
        same = overlap(boxes[0], boxes) > OVERLAP
        same[0] = True
        out.append([*(p[same, None] * boxes[same]).sum(0) / p[same].sum(), p[0]])
        boxes, p = boxes[~same], p[~same]
    return np.array(out).reshape(-1, 5)


def detect(session, picture, side: int, min_score: float = 0.5) -> np.ndarray:
    """`faces` in pixels of the picture."""
    boxes, scores = session.run(["boxes", "scores"], {"pixels": letterbox(picture, side)[None]})
    found, length = faces(boxes, scores, side, min_score), max(picture.size)
    corner = np.array([picture.width - length, picture.height - length]) / 2
    found[:, :4] = found[:, :4] * length / side + np.tile(corner, 2)
    return found
