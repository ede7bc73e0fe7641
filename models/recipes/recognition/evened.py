"""Moves loud channels from a layer norm's output into the weights that read it.

A few channels are tens of times louder than the rest, and activations have one int8 scale for all.
Dividing a channel by s in the norm and multiplying its weights by s changes no product in f32;
s = sqrt(peak of the channel / peak of its weights), the peaks on the tests' recording.
"""

import numpy as np
import onnx

from common import mel, runtime
from common.onnx_graph import Graph
from recognition import graphs
from recognition.graphs import Arrays


class Watched(Graph):
    """An f32 graph that gives every layer norm's output, in the order in which they are made."""

    def __init__(self, name: str, int8: bool):
        super().__init__(name, int8=False)
        self.norms = []

    def layer_norm(self, x, gamma, beta, eps):
        made = super().layer_norm(x, gamma, beta, eps)
        self.norms.append(f"norm_{len(self.norms)}")
        self.output(made, self.norms[-1], ["N", len(gamma)])
        return made


def readers(encoder: Arrays, decoder: Arrays) -> dict[str, list[tuple[Arrays, str]]]:
    """Each norm, as it is made, with the arrays that read it; the last of the decoder is read by
    the vocabulary, whose rows are embeddings too."""
    found = {}
    for i in range(graphs.layers(encoder)):
        found[f"encoder/layer_{i}/self_attention/layer_norm"] = [(encoder, f"layer_{i}/self_attention/linear_0")]
        found[f"encoder/layer_{i}/ffn/layer_norm"] = [(encoder, f"layer_{i}/ffn/linear_0")]
    count = graphs.layers(decoder)
    found["encoder/layer_norm"] = [(decoder, f"layer_{i}/attention/linear_1") for i in range(count)]
    for i in range(count):
        for part in ("self_attention", "attention", "ffn"):
            found[f"decoder/layer_{i}/{part}/layer_norm"] = [(decoder, f"layer_{i}/{part}/linear_0")]
    return found


def peaks(encoder: Arrays, decoder: Arrays, wave: np.ndarray, start: list[int], most: int) -> list[np.ndarray]:
    """Greatest value of every channel behind each norm while the sound is heard and written down."""
    run = lambda graph: runtime.session(onnx.load_model_from_string(graph.bytes()))
    hear = graphs.encoder(encoder, decoder, kind=Watched)
    say = graphs.decoder(decoder, kind=Watched)
    names = [i.name for i in say.inputs]
    count = 2 * graphs.layers(decoder)
    made = run(hear).run([*graphs.cached(count // 2, "cross"), *hear.norms], {"mel": mel.log_mel(wave)})
    cross, found = made[:count], [np.abs(x).max(0) for x in made[count:]]
    speaker, past = run(say), [np.zeros((0, cross[0].shape[1]), np.float32)] * count
    said, token = [np.zeros(cross[0].shape[1])] * len(say.norms), None
    for position in range(most):
        token = start[position] if position < len(start) else int(logits[0].argmax())
        ints = [np.array([token], np.int64), np.array([position], np.int64)]
        fed = dict(zip(names, [*ints, *cross, *past]))
        logits, rows, *norms = speaker.run(["logits", "rows", *say.norms], fed)
        past = [np.concatenate([p, r]) for p, r in zip(past, np.split(rows, count, axis=1))]
        said = [np.maximum(s, np.abs(n).max(0)) for s, n in zip(said, norms)]
    return [*found, *said]


def even_out(encoder: Arrays, decoder: Arrays, wave: np.ndarray, start: list[int], most: int = 24) -> None:
    """Changes the arrays."""
    seen = peaks(encoder, decoder, wave, start, most)
    for (name, read), peak in zip(readers(encoder, decoder).items(), seen):
        part, _, norm = name.partition("/")
        arrays = encoder if part == "encoder" else decoder
        weights = np.max([np.abs(a[f"{n}/weight"]).max(0) for a, n in read], 0)
        scale = np.sqrt(np.maximum(peak, 1e-6) / np.maximum(weights, 1e-6)).astype(np.float32)
        for end in ("gamma", "beta"):
            arrays[f"{norm}/{end}"] = arrays[f"{norm}/{end}"] / scale
        for a, n in read:
            a[f"{n}/weight"] = a[f"{n}/weight"] * scale
