"""The face detector: BlazeFace (short range) out of the package mediapipe, in bytes.

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019.
Weights and code are Apache-2.0. The six key points of each face are left out.

Input `pixels` u8 [1, S, S, 3], RGB, as boxes.letterbox makes it. Outputs, one row per
anchor in the order that boxes.py describes: `boxes` f32 [A, 4] = (dx, dy, w, h) in
pixels of the input, and `scores` f32 [A], logits held within +-SCORE_LIMIT. The network is
convolutional, so S may be any multiple of 16; smaller faces are found at a larger S.

What is changed, exactly: channels that BlazeFace pads with zeros before a sum are zero rows
of the weights before; a wider sum behind a max pool goes through a 1 x 1 convolution of ones
and zeros; channels are scaled, and linear values shifted, so that each uses most of a byte's
steps; each of the five numbers of an anchor has steps of its own. What is changed with a
loss: int8 weights are fitted, layer by layer (rounded.py). What remains beyond convolutions
and sums is MaxPool 2 x 2 on bytes.
"""

import importlib.metadata
from pathlib import Path

import numpy as np
import torch

from common.image_nets import Extremes, FloatNet, IntegerNet, Weights, extremes
from expression.boxes import ANCHORS
from expression.rounded import BytesNet, FittedNet, TorchNet

SIDE = 192
POINT = (1 / 127.5, 127)  # trained on x / 127.5 - 1; the half step left over goes into the stem's bias
BLOCKS = [(24, 1), (28, 1), (32, 2), (36, 1), (42, 1), (48, 2), (56, 1), (64, 1), (72, 1), (80, 1), (88, 1)]
BLOCKS += [(96, 2), (96, 1), (96, 1), (96, 1), (96, 1)]  # channels out, stride
FINE = 10  # the block after which the cells of stride 8 are read
NUMBERS = 5  # dx, dy, w, h, score
SCORE_LIMIT = 8.0
EVENNESS = 0.5  # 1: every linear channel uses all steps, but weights grow unequal; 0: none is scaled
# lowest and highest (dx, dy, w, h, score) kept, pixels: beyond what any anchor with a face says
KEPT = {
    "fine": ((-12, -12, 8, 8, -SCORE_LIMIT), (12, 12, 60, 60, SCORE_LIMIT)),
    "coarse": ((-36, -36, 24, 24, -SCORE_LIMIT), (36, 36, 168, 168, SCORE_LIMIT)),
}
SAME, SAME_HALVED = (1, 1, 1, 1), (0, 0, 1, 1)  # borders of 3 x 3: top, left, bottom, right


# -- weights -------------------------------------------------------------------------------


def published() -> list[tuple[np.ndarray, np.ndarray]]:
    """(w [out, in, k, k] or [channels, 1, k, k], bias) of every convolution, as they run."""
    import tflite

    files = importlib.metadata.files("mediapipe") or []
    path = next(f for f in files if str(f).endswith("face_detection_short_range.tflite")).locate()
    model = tflite.Model.GetRootAs(Path(path).read_bytes(), 0)
    graph, kinds = model.Subgraphs(0), tflite.BuiltinOperator
    operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    kind = {id(o): model.OperatorCodes(o.OpcodeIndex()).DeprecatedBuiltinCode() for o in operators}
    stored = {o.Outputs(0): o.Inputs(0) for o in operators if kind[id(o)] == kinds.DEQUANTIZE}

    def array(index: int) -> np.ndarray:
        tensor = graph.Tensors(stored[index])
        data = model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
        return np.frombuffer(data, np.float16).reshape(tensor.ShapeAsNumpy()).astype(np.float32)

    axes = {kinds.CONV_2D: (0, 3, 1, 2), kinds.DEPTHWISE_CONV_2D: (3, 0, 1, 2)}
    convs = [o for o in operators if kind[id(o)] in axes]
    return [(array(o.Inputs(1)).transpose(axes[kind[id(o)]]), array(o.Inputs(2))) for o in convs]


def widths() -> list[int]:
    """Channels behind each block: those at the end of its stage, so that sums need no padding."""
    out = [channels for channels, _ in BLOCKS]
    for i in reversed(range(len(BLOCKS) - 1)):
        if BLOCKS[i + 1][1] == 1:
            out[i] = out[i + 1]
    return out


def widened(w: np.ndarray, bias: np.ndarray, out: int, into: int) -> tuple[np.ndarray, np.ndarray]:
    wide = np.zeros((out, into, *w.shape[2:]), np.float32)
    wide[: w.shape[0], : w.shape[1]] = w
    return wide, np.pad(bias, (0, out - len(bias)))


def head(scores: tuple, boxes: tuple, anchors: int) -> tuple[np.ndarray, np.ndarray]:
    """One convolution for (dx, dy, w, h, score) of each anchor; key points are dropped."""
    rows = [
        np.concatenate([b.reshape(anchors, 16, *b.shape[1:])[:, :4], s.reshape(anchors, 1, *s.shape[1:])], axis=1)
        for s, b in zip(scores, boxes)
    ]
    return rows[0].reshape(anchors * NUMBERS, *rows[0].shape[2:]), rows[1].reshape(-1)


def layers() -> Weights:
    """BlazeFace's weights by layer, widened."""
    convs, wide = published(), widths()
    first = wide[0]
    w, bias = convs[0]
    made = {"stem": widened(w, bias - w.sum((1, 2, 3)) * np.float32(0.5 / 127.5), first, w.shape[1])}
    into = first
    for i, out in enumerate(wide):
        (depth, depth_bias), (point, point_bias) = convs[1 + 2 * i : 3 + 2 * i]
        made[f"depth{i}"] = widened(depth, depth_bias, into, 1)
        made[f"point{i}"] = widened(point, point_bias, out, into)
        if BLOCKS[i][1] == 2:
            made[f"widen{i}"] = np.eye(out, into, dtype=np.float32)[:, :, None, None], np.zeros(out, np.float32)
        into = out
    fine_scores, coarse_scores, fine_boxes, coarse_boxes = convs[1 + 2 * len(BLOCKS) :]
    made["fine"] = head(fine_scores, fine_boxes, ANCHORS["fine"][1])
    made["coarse"] = head(coarse_scores, coarse_boxes, ANCHORS["coarse"][1])
    return made


# -- the network ---------------------------------------------------------------------------


def block(net, x, i: int, weights: Weights):
    """skip + pointwise(depthwise(x)), then ReLU."""
    stride, channels = BLOCKS[i][1], len(weights[f"depth{i}"][0])
    skip = x if stride == 1 else net.conv(net.max_pool(x), f"widen{i}", relu=True)
    y = net.conv(x, f"depth{i}", stride, SAME if stride == 1 else SAME_HALVED, groups=channels)
    return net.add(skip, net.conv(y, f"point{i}"), f"sum{i}")


def near(net, weights: Weights):
    """The cells of stride 8."""
    x = net.conv(net.pixels, "stem", 2, (1, 1, 2, 2), relu=True)
    for i in range(FINE + 1):
        x = block(net, x, i, weights)
    return x


def far(net, x, weights: Weights):
    """The head on the cells of stride 16, from those of stride 8."""
    for i in range(FINE + 1, len(BLOCKS)):
        x = block(net, x, i, weights)
    return net.conv(x, "coarse")


def walk(net, weights: Weights) -> tuple:
    """(fine, coarse) heads before they are put in order."""
    x = near(net, weights)
    return net.conv(x, "fine"), far(net, x, weights)


def finish(net, heads, steps: dict) -> None:
    """Rows of anchors: value = code's value x span + low, number by number."""
    g, levels = net.g, []
    for name, value in zip(ANCHORS, heads):
        rows = g.op("Transpose", [net.floats(value)], perm=[0, 2, 3, 1])
        rows = g.op("Reshape", [rows, g.ints([-1, NUMBERS])])
        low, span = steps[name]
        levels.append(g.add(g.mul(rows, g.f32(span)), g.f32(low)))
    rows = g.op("Concat", levels, axis=0)
    anchors = sum(count * (net_side(net) // stride) ** 2 for stride, count in ANCHORS.values())
    boxes = g.op("Slice", [rows, g.ints([0]), g.ints([4]), g.ints([1])])
    scores = g.op("Slice", [rows, g.ints([4]), g.ints([5]), g.ints([1])])
    g.output(boxes, "boxes", [anchors, 4])
    g.output(g.op("Reshape", [scores, g.ints([-1])]), "scores", [anchors])


def net_side(net) -> int:
    return net.g.inputs[0].type.tensor_type.shape.dim[1].dim_value


def stages() -> list[list[int]]:
    """Blocks whose sums run through one another."""
    out = []
    for i, (_, stride) in enumerate(BLOCKS):
        out = [*out, [i]] if i == 0 or stride == 2 else [*out[:-1], [*out[-1], i]]
    return out


class Evened:
    """Weights of the same function whose values use all steps of a byte, channel by channel.

    Sums: a positive factor per channel passes ReLU, max pool and sums unchanged, and a
    depthwise convolution takes it back. Linear values: any factor and shift, taken back by the
    pointwise convolution behind. Both are free, since weights have a scale per channel.
    """

    def __init__(self, weights: Weights, limits: dict):
        self.weights, self.limits, self.steps = dict(weights), dict(limits), {}
        for i in range(len(BLOCKS)):
            self._clip(i)
        before = None
        for blocks in stages():
            before = self._stage(blocks, before)
            if FINE in blocks:
                self._divide_input("fine", before)
        self._divide_input("coarse", before)
        for i in range(len(BLOCKS)):
            self._linear(i)
        for name, (stride, count) in ANCHORS.items():
            low, high = np.array(KEPT[name], np.float32)
            self.steps[name] = low, high - low
            self._outputs(name, np.tile(1 / (high - low), count), np.tile(-low / (high - low), count))

    def _clip(self, i: int) -> None:
        """Below minus the peak of what it is added to, a value ends as 0 whatever it is."""
        low, high = self.limits[f"point{i}"]
        self.limits[f"point{i}"] = np.stack([np.maximum(low, -self.limits[skipped(i)][1]), high])

    def _stage(self, blocks: list[int], before: np.ndarray | None) -> np.ndarray:
        """Divides a stage's channels by their peaks; returns the peaks."""
        made = [f"sum{i}" for i in blocks] + ["stem" if blocks[0] == 0 else f"widen{blocks[0]}"]
        peak = np.max([self.limits[layer][1] for layer in made], axis=0)
        peak = np.maximum(peak, 1e-2 * peak.max()).astype(np.float32)
        for layer in [*made, *(f"point{i}" for i in blocks)]:
            self._outputs(layer, 1 / peak, None)
        first = blocks[0]
        if first > 0:  # a max pool lies before: its channels still have the factors of the stage before
            self._divide_input(f"widen{first}", before)
        for i in blocks:
            (w, bias), into = self.weights[f"depth{i}"], before if i == first and first > 0 else peak
            self.weights[f"depth{i}"] = w * into[:, None, None, None], bias
        return peak

    def _divide_input(self, layer: str, peak: np.ndarray) -> None:
        w, bias = self.weights[layer]
        self.weights[layer] = w * peak[:, None, None], bias

    def _linear(self, i: int) -> None:
        low, high = self.limits[f"depth{i}"].astype(np.float32)
        span = np.maximum(high - low, 1e-3 * (high - low).max() + 1e-6) ** EVENNESS
        self._outputs(f"depth{i}", 1 / span, -low / span)
        self.limits[f"depth{i}"][1] = (high - low) / span
        w, bias = self.weights[f"point{i}"]
        self.weights[f"point{i}"] = w * span[:, None, None], bias + w[:, :, 0, 0] @ low

    def _outputs(self, layer: str, factor: np.ndarray, shift: np.ndarray | None) -> None:
        """What the layer makes, times `factor` plus `shift`; shifted values lie in 0..1."""
        if layer in self.weights:
            w, bias = self.weights[layer]
            moved = 0 if shift is None else shift
            self.weights[layer] = w * factor[:, None, None, None], bias * factor + moved
        known = self.limits[layer] * factor
        self.limits[layer] = known if shift is None else np.stack([0 * factor, 0 * factor + 1])


def float_net(side: int = SIDE) -> FloatNet:
    """BlazeFace in f32, with outputs."""
    weights = layers()
    net = FloatNet("face", weights, side, 3, POINT)
    plain = {name: (np.zeros(NUMBERS, np.float32), np.ones(NUMBERS, np.float32)) for name in ANCHORS}
    finish(net, walk(net, weights), plain)
    return net


def skipped(i: int) -> str:
    """The layer that block i's convolutions are added to."""
    return "stem" if i == 0 else f"widen{i}" if BLOCKS[i][1] == 2 else f"sum{i - 1}"


def aim(layer: str, reference, net):
    """What rounded layers should make, and where it matters. Pointwise layers also make up for
    what the sum so far has lost; heads are for anchors that see a face."""
    wanted = reference.raw[layer].float()
    if layer in ANCHORS:
        return wanted, probabilities(wanted).add(0.03).repeat_interleave(NUMBERS, 1)
    if not layer.startswith("point"):
        return wanted, torch.ones_like(wanted)
    skip = skipped(int(layer.removeprefix("point")))
    wanted = wanted + reference.made[skip]  # below 0 the sum is 0 whatever it is
    return wanted - net.made[skip], 0.02 + (wanted > 0).float()


def probabilities(head: torch.Tensor) -> torch.Tensor:
    """[N, anchors, cells, cells] of an evened head."""
    return torch.sigmoid((head.unflatten(1, (-1, NUMBERS))[:, :, 4] - 0.5) * 2 * SCORE_LIMIT)


def integer_net(pictures: np.ndarray, more: np.ndarray, side: int = SIDE) -> IntegerNet:
    """BlazeFace in bytes: fitted to what the f32 network makes of u8 `pictures` [N, side, side, 3],
    its last blocks trained on `more` of them."""
    from expression import tuning

    weights = layers()
    reference = FloatNet("face", weights, side, 3, POINT)
    walk(reference, weights)
    evened = Evened(weights, extremes(reference, pictures))
    with torch.no_grad():
        target = TorchNet(evened.weights, POINT, pictures)
        target.conv(near(target, weights), "fine")
        fitted = FittedNet(target, POINT, pictures, evened.limits, aim)
        fitted.conv(near(fitted, weights), "fine")
        codes, wanted = last_blocks(evened, fitted, more)
    made = fitted.weights | tuning.tune(evened.weights, evened.limits, evened.steps["coarse"], codes, wanted)
    net = IntegerNet("face", made, side, 3, POINT, Extremes(evened.limits), fitted.scales)
    finish(net, walk(net, weights), evened.steps)
    return net


def last_blocks(evened: Evened, fitted: FittedNet, pictures: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """(what the fitted blocks give the last ones, what the f32 network's last head says)"""
    codes, wanted = [], []
    for at in range(0, len(pictures), 8):
        part = pictures[at : at + 8]
        codes.append(near(BytesNet(fitted.weights, POINT, part, fitted.limits), fitted.weights))
        floats = TorchNet(evened.weights, POINT, part)
        wanted.append(far(floats, near(floats, evened.weights), evened.weights).half())
    return torch.cat(codes), torch.cat(wanted)
