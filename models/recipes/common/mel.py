"""Log-mel features: the numpy twin of `src/signal`'s, frame for frame.

Whisper's frame layout with one change: the peak that bounds the dynamic range is also
what the features are measured from, so a gain on the input changes nothing.
"""

from functools import cache

import numpy as np

RATE, N_FFT, HOP, BANDS = 16_000, 400, 160, 80
RANGE = 8.0  # decades of power kept below the peak
MAX_FRAMES = 800  # 8 s


def _slaney_hz(mels: np.ndarray) -> np.ndarray:
    """Slaney's mel scale: linear to 1 kHz (200/3 Hz a mel), then ln(6.4)/27 a mel."""
    knee = 15.0
    return np.where(mels < knee, mels * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mels - knee)))


@cache
def filterbank() -> np.ndarray:
    """[80, 201] triangles of equal area, as librosa.filters.mel(sr=16000, n_fft=400, n_mels=80)."""
    top = 15 + np.log(RATE / 2 / 1000) * 27 / np.log(6.4)
    edges = _slaney_hz(np.linspace(0, top, BANDS + 2))
    bins = np.arange(N_FFT // 2 + 1) * RATE / N_FFT
    width = np.diff(edges)
    rise = (bins - edges[:-2, None]) / width[:-1, None]
    fall = (edges[2:, None] - bins) / width[1:, None]
    area = 2.0 / (edges[2:] - edges[:-2])
    return np.maximum(0, np.minimum(rise, fall)) * area[:, None]


def power_spectrum(wave: np.ndarray) -> np.ndarray:
    """[floor(len/160), 201] powers under a periodic Hann window, reflect-padded by 200."""
    wave = np.asarray(wave, np.float64)
    if len(wave) <= N_FFT // 2:  # too short to reflect
        wave = np.pad(wave, (0, N_FFT - len(wave)))
    padded = np.pad(wave, N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP][: len(wave) // HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    return np.abs(np.fft.rfft(frames * window, axis=1)) ** 2


def log_mel(wave: np.ndarray) -> np.ndarray:
    """[T, 80] f32 in [-0.5, 1.5]; 1.5 is the utterance's loudest cell."""
    x = np.log10(np.maximum(power_spectrum(wave) @ filterbank().T, 1e-10))
    peak = x.max()
    return ((np.maximum(x, peak - RANGE) - peak) / 4 + 1.5).astype(np.float32)[:MAX_FRAMES]
