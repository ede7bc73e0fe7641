"""Reference for the tests of src/vision/resize.rs: crops resampled by Pillow.

The picture is a formula that the test repeats; a crop that reaches outside is taken from
the picture pasted on a black sheet as large as both.

The version of Pillow is written into the file.
"""

import json
import math

import numpy as np
import PIL
from PIL import Image

from common.stages import Places

# picture's width and height; crop's x, y, width and height; output's width and height
CASES = [
    ((64, 48), (0, 0, 64, 48), (24, 24)),
    ((64, 48), (10.25, 5.5, 30.75, 20.125), (16, 16)),
    ((64, 48), (0, -8, 64, 64), (32, 32)),
    ((64, 48), (-20.5, -10.25, 50, 50), (16, 16)),
    ((64, 48), (40, 30, 60.5, 60.5), (20, 12)),
    ((64, 48), (20, 20, 8, 8), (24, 24)),
    ((64, 48), (12.6, 7.3, 1.5, 0.75), (5, 6)),
    ((64, 48), (100, 100, 20, 20), (4, 4)),
    ((640, 480), (0, 0, 640, 480), (32, 32)),
    ((640, 480), (201.5, 99.25, 133.3, 133.3), (48, 48)),
    ((640, 480), (0, 0, 640, 480), (3, 2)),
    ((1, 1), (0, 0, 1, 1), (3, 3)),
    ((1, 7), (0, 0, 1, 7), (2, 3)),
    ((33, 1), (0, 0, 33, 1), (8, 4)),
    ((31, 17), (0, 0, 31, 17), (31, 17)),
]


def picture(width, height):
    x, y, c = np.arange(width), np.arange(height)[:, None], np.arange(3)
    x, y = x[None, :, None], y[:, :, None]
    values = (x * x * 3 + y * 29 + c * 85 + (x ^ y) * 11) // 2
    return Image.fromarray((values % 256).astype(np.uint8))


def resample(image, crop, size):
    x, y, width, height = (float(np.float32(v)) for v in crop)
    left, top = min(0, math.floor(x)), min(0, math.floor(y))
    right = max(image.width, math.ceil(x + width))
    bottom = max(image.height, math.ceil(y + height))
    sheet = Image.new("RGB", (right - left, bottom - top))
    sheet.paste(image, (-left, -top))
    box = (x - left, y - top, x + width - left, y + height - top)
    return sheet.resize(size, Image.BILINEAR, box=box)


def write(at: Places) -> None:
    cases = []
    for side, crop, size in CASES:
        rgb = np.asarray(resample(picture(*side), crop, size)).astype(int)
        grey = (77 * rgb[..., 0] + 150 * rgb[..., 1] + 29 * rgb[..., 2] + 128) >> 8
        cases.append(
            {
                "picture": side,
                "crop": crop,
                "size": size,
                "rgb": rgb.astype(np.uint8).tobytes().hex(),
                "grey": grey.astype(np.uint8).tobytes().hex() if size == (48, 48) else None,
            }
        )
    with open(at.out / "resize_reference.json", "w", encoding="utf-8") as file:
        json.dump({"pillow": PIL.__version__, "cases": cases}, file, indent=1)
        file.write("\n")
