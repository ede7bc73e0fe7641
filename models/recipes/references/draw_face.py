"""Draws the pictures that tests look at: shaded faces and a scene without any.

face.jpg, dog.jpg, forty_faces.jpg and no_face.jpg go to tests/data/pictures.

No photograph and no data set is behind them: ellipses, light and a little noise, enough for
the detector to find each face. Seeds are fixed.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from common.stages import Places

UNIT = 400  # pixels of a face's drawing; it is scaled down when it is placed
SKINS = [(226, 182, 152), (198, 146, 112), (150, 102, 74), (240, 204, 180), (120, 80, 58)]
HAIRS = [(40, 30, 26), (92, 62, 38), (160, 124, 74), (70, 66, 66), (24, 22, 24)]


@dataclass
class Look:
    """What a face does: mouth -1 (corners down) .. 1 (smile), the rest 0 .. 1."""

    mouth: float = 0.0
    open: float = 0.0
    brows: float = 0.0
    lids: float = 0.0


LOOKS = {
    "neutral": Look(),
    "happiness": Look(mouth=1.0, open=0.35, lids=0.25),
    "surprise": Look(open=1.0, brows=1.0),
    "sadness": Look(mouth=-0.8, brows=0.2, lids=0.35),
}


def ellipse(middle: tuple[float, float], radii: tuple[float, float], soft: float = 1.0) -> np.ndarray:
    """[UNIT, UNIT] in 0..1: inside the ellipse 1, with an edge `soft` pixels wide."""
    y, x = np.mgrid[0:UNIT, 0:UNIT]
    far = np.hypot((x - middle[0]) / radii[0], (y - middle[1]) / radii[1])
    return np.clip((1 - far) * min(radii) / soft + 0.5, 0, 1)


def lay(canvas: np.ndarray, mask: np.ndarray, colour, strength: float = 1.0) -> None:
    part = (mask * strength)[..., None]
    canvas[..., :3] += (np.asarray(colour, float) - canvas[..., :3]) * part
    canvas[..., 3:] = np.maximum(canvas[..., 3:], part)


def stroke(points: list[tuple[float, float]], width: float, soft: float) -> np.ndarray:
    image = Image.new("L", (UNIT, UNIT))
    ImageDraw.Draw(image).line(points, fill=255, width=int(width), joint="curve")
    return np.asarray(image.filter(ImageFilter.GaussianBlur(soft)), float) / 255


def curve(left: float, right: float, y: float, bend: float) -> list[tuple[float, float]]:
    """A parabola from left to right whose middle lies `bend` below its ends."""
    t = np.linspace(-1, 1, 25)
    return [((left + right) / 2 + s * (right - left) / 2, y + bend * (1 - s * s)) for s in t]


def light(canvas: np.ndarray, mask: np.ndarray) -> None:
    """Light from the upper left, darker towards the outline."""
    y, x = np.mgrid[0:UNIT, 0:UNIT] / UNIT - 0.5
    shade = 1.08 - 0.5 * np.hypot(x * 1.25, y) ** 2 * 2 - 0.22 * x - 0.12 * y
    canvas[..., :3] *= 1 + (shade - 1)[..., None] * mask[..., None]


def eye(canvas: np.ndarray, x: float, look: Look, skin, hair) -> None:
    y, high = 178, 15 * (1 - 0.5 * look.lids + 0.35 * look.brows)
    lay(canvas, ellipse((x, y), (44, 28), 30), np.multiply(skin, 0.62), 0.55)
    lay(canvas, ellipse((x, y), (27, high), 3), (236, 232, 226))
    lay(canvas, ellipse((x, y), (14, min(14, high)), 3), (58, 40, 30))
    lay(canvas, ellipse((x - 4, y - 4), (4, 4), 2), (250, 250, 250), 0.8)
    lay(canvas, stroke(curve(x - 30, x + 30, y - 2, -high - 3), 7, 2), np.multiply(skin, 0.28), 0.9)
    brow = y - 38 - 16 * look.brows
    lay(canvas, stroke(curve(x - 38, x + 36, brow, -9 - 6 * look.brows), 12, 3), np.multiply(hair, 0.8), 0.9)


def mouth(canvas: np.ndarray, look: Look, skin) -> None:
    y, half = 296, 48 + 16 * max(look.mouth, 0) - 14 * look.open * (look.mouth <= 0)
    bend = 24 * look.mouth
    corners = y - bend * 0.5
    lay(canvas, ellipse((200, y + 26), (60, 20), 24), np.multiply(skin, 0.7), 0.35)
    if look.open > 0:
        inside = ellipse((200, y + bend * 0.3), (half * 0.85, 6 + 32 * look.open), 5)
        lay(canvas, inside, (72, 22, 22))
        if look.mouth > 0:
            lay(canvas, inside * ellipse((200, y - 2), (half * 0.8, 11), 4), (240, 236, 228))
    for lip, (shift, width) in {"upper": (-5, 11), "lower": (7 + 34 * look.open, 14)}.items():
        bow = bend if lip == "upper" else bend + 8
        lay(canvas, stroke(curve(200 - half, 200 + half, corners + (shift if look.open else shift / 3), bow), width, 3), (164, 78, 74), 0.85)
    if look.open == 0:
        lay(canvas, stroke(curve(200 - half, 200 + half, corners, bend), 5, 2), (80, 30, 30), 0.9)


def face(look: Look, person: int = 0) -> Image.Image:
    """RGBA [UNIT, UNIT]."""
    skin, hair = SKINS[person % len(SKINS)], HAIRS[(person * 2 + person // 5) % len(HAIRS)]
    canvas = np.zeros((UNIT, UNIT, 4))
    canvas[..., :3] = skin
    lay(canvas, ellipse((200, 180), (152, 178), 8), hair)
    lay(canvas, ellipse((200, 400), (74, 90), 8), np.multiply(skin, 0.72))
    for x in (66, 334):
        lay(canvas, ellipse((x, 205), (20, 40), 6), np.multiply(skin, 0.8))
    head = ellipse((200, 214), (132, 172), 6)
    lay(canvas, head, skin)
    lay(canvas, ellipse((200, 38), (150, 70), 18) * head, hair)
    light(canvas, head)
    for x in (112, 288):
        lay(canvas, ellipse((x, 250), (46, 38), 40), (226, 120, 104), 0.22)
    lay(canvas, ellipse((200, 246), (34, 20), 16), np.multiply(skin, 0.72), 0.5)
    lay(canvas, ellipse((192, 214), (14, 54), 18), np.minimum(np.multiply(skin, 1.15), 255), 0.55)
    lay(canvas, ellipse((218, 214), (12, 50), 14), np.multiply(skin, 0.7), 0.4)
    for x in (184, 216):
        lay(canvas, ellipse((x, 256), (9, 5), 5), np.multiply(skin, 0.3), 0.8)
    for x in (140, 260):
        eye(canvas, x, look, skin, hair)
    mouth(canvas, look, skin)
    return Image.fromarray(np.clip(canvas * [1, 1, 1, 255], 0, 255).astype(np.uint8), "RGBA")


def dog(coat=(150, 108, 66), ears=(84, 56, 36)) -> Image.Image:
    """RGBA [UNIT, UNIT]: what the detector takes for a face, and is a dog's."""
    canvas = np.zeros((UNIT, UNIT, 4))
    canvas[..., :3] = coat
    head = ellipse((200, 200), (120, 150), 8)
    lay(canvas, ellipse((200, 390), (110, 110), 12), np.multiply(coat, 0.85))
    lay(canvas, head, coat)
    for x, lean in ((84, -1), (316, 1)):
        lay(canvas, ellipse((x, 190), (38, 110), 10), ears)
        lay(canvas, ellipse((x + 14 * lean, 220), (26, 70), 30), np.multiply(ears, 0.6), 0.6)
    light(canvas, head)
    lay(canvas, ellipse((200, 120), (26, 90), 14), (232, 222, 206), 0.9)
    lay(canvas, ellipse((200, 270), (78, 74), 16), (226, 214, 196))
    for x in (146, 254):
        lay(canvas, ellipse((x, 168), (30, 26), 16), np.multiply(coat, 0.55), 0.7)
        lay(canvas, ellipse((x, 170), (17, 17), 3), (34, 22, 16))
        lay(canvas, ellipse((x - 5, 164), (5, 5), 2), (240, 240, 240), 0.9)
    lay(canvas, ellipse((200, 238), (36, 26), 4), (30, 26, 26))
    lay(canvas, ellipse((190, 230), (12, 6), 5), (120, 116, 116), 0.8)
    lay(canvas, stroke([(200, 262), (200, 296)], 6, 2), (60, 44, 40), 0.9)
    for way in (-1, 1):
        lay(canvas, stroke(curve(200, 200 + way * 62, 296, 16), 6, 2), (60, 44, 40), 0.9)
    lay(canvas, ellipse((200, 326), (24, 26), 5), (204, 96, 104))
    return Image.fromarray(np.clip(canvas * [1, 1, 1, 255], 0, 255).astype(np.uint8), "RGBA")


def room(width: int, height: int, seed: int) -> Image.Image:
    """A wall with a window, a shelf and a plant; soft shadows, a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / [[[height]], [[width]]]
    wall = np.stack([168 - 50 * y + 26 * x, 172 - 48 * y + 14 * x, 176 - 40 * y], 2)
    image = Image.fromarray(np.clip(wall, 0, 255).astype(np.uint8))
    pen, at = ImageDraw.Draw(image), lambda *parts: [round(p * s) for p, s in zip(parts, (width, height) * 2)]
    pen.rectangle(at(0.0, 0.82, 1.0, 1.0), fill=(112, 92, 76))
    pen.rectangle(at(0.06, 0.1, 0.3, 0.5), fill=(206, 222, 232), outline=(96, 80, 66), width=max(2, width // 90))
    pen.line(at(0.18, 0.1, 0.18, 0.5), fill=(96, 80, 66), width=max(2, width // 120))
    pen.rectangle(at(0.66, 0.52, 0.95, 0.55), fill=(124, 96, 70))
    for i, left in enumerate(np.linspace(0.67, 0.9, 8)):
        colour = tuple(int(v) for v in rng.integers(40, 180, 3))
        pen.rectangle(at(left, 0.33 + 0.03 * (i % 3), left + 0.024, 0.52), fill=colour)
    for turn in np.linspace(-1, 1, 9):
        pen.line(at(0.5, 0.82, 0.5 + 0.09 * turn, 0.55 + 0.1 * turn * turn), fill=(46, 96, 58), width=max(2, width // 100))
    return image.filter(ImageFilter.GaussianBlur(width / 400))


def place(picture: Image.Image, drawn: Image.Image, middle: tuple[float, float], size: float) -> None:
    small = drawn.resize((round(size),) * 2, Image.LANCZOS)
    picture.paste(small, (round(middle[0] - size / 2), round(middle[1] - size / 2)), small)


def grained(picture: Image.Image, seed: int, strength: float = 3.0) -> Image.Image:
    noise = np.random.default_rng(seed).normal(0, strength, (picture.height, picture.width, 1))
    return Image.fromarray(np.clip(np.asarray(picture, float) + noise, 0, 255).astype(np.uint8))


def one_face(look: str = "happiness", person: int = 0) -> Image.Image:
    picture = room(320, 240, 1)
    pen = ImageDraw.Draw(picture)
    pen.ellipse((70, 196, 250, 330), fill=(52, 66, 96))
    place(picture, face(LOOKS[look], person), (160, 122), 168)
    return grained(picture, 2)


def one_dog(size: float = 180) -> Image.Image:
    picture = room(320, 240, 1)
    place(picture, dog(), (160, 122), size)
    return grained(picture, 2)


def forty_faces(columns: int = 7, rows: int = 6, cell: int = 72) -> Image.Image:
    """As near a square as forty cells come, so that each face is a fair share of the longer side."""
    picture = room(columns * cell, rows * cell, 3)
    for i in range(40):
        look = list(LOOKS.values())[i % len(LOOKS)]
        middle = (i % columns + 0.5) * cell, (i // columns + 0.5) * cell
        place(picture, face(look, i), middle, cell * 1.2)
    return grained(picture, 4, strength=2.0)


def write(at: Places) -> None:
    out = at.out / "pictures"
    out.mkdir(parents=True, exist_ok=True)
    one_face().save(out / "face.jpg", quality=88)
    one_dog().save(out / "dog.jpg", quality=88)
    forty_faces().save(out / "forty_faces.jpg", quality=75)
    grained(room(320, 240, 5), 6).save(out / "no_face.jpg", quality=80)
