"""Reference for the tests of src/signal: log-mel rows of a made signal, by the numpy twin."""

import json

import numpy as np

from common.mel import RATE, log_mel
from common.stages import Places


def signal(samples: int) -> np.ndarray:
    """Two chirps and noise, by formula, so that a test in any language can make it:
    0.4 sin(2 pi (200 t + 1500 t^2)) + 0.1 sin(2 pi (3000 t - 1000 t^2)) + 0.02 u,
    u = s/2^31 - 1, s the 32-bit state of s <- 1664525 s + 1013904223 (mod 2^32), s_0 = 1."""
    t = np.arange(samples) / RATE
    state, noise = 1, np.empty(samples)
    for i in range(samples):
        state = (1664525 * state + 1013904223) % 2**32
        noise[i] = state / 2**31 - 1
    chirps = 0.4 * np.sin(2 * np.pi * (200 * t + 1500 * t * t)) + 0.1 * np.sin(2 * np.pi * (3000 * t - 1000 * t * t))
    return (chirps + 0.02 * noise).astype(np.float32)


def case(samples: int, rows: list[int]) -> dict:
    mel = log_mel(signal(samples))
    return {
        "samples": samples,
        "frames": len(mel),
        "rows": {str(i): [round(float(v), 6) for v in mel[i]] for i in rows},
    }


def write(at: Places) -> None:
    """Half a second, an odd length, and a clip too short to reflect."""
    cases = [
        case(8000, [0, 1, 7, 24, 49]),
        case(4321, [0, 13, 26]),
        case(170, [0, 1]),
    ]
    body = {"signal": " ".join(signal.__doc__.split()), "cases": cases}
    with open(at.out / "mel_reference.json", "w") as out:
        json.dump(body, out, indent=1)
        out.write("\n")
