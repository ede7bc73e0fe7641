"""expression.onnx read back, so that an output can be added and all else stays, byte for byte."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from common import runtime
from common.image_nets import IntegerNet, Weights
from expression import student

LAST = len(student.CHANNELS) - 1
COPIES = 4  # the runtime's convolutions have more than four channels: the gate's two are there four times
CELLS = f"sum{LAST}"  # the last layer before the mean


class Points:
    """Scale and zero point of each layer's bytes, as a file says them."""

    def __init__(self, points: dict[str, tuple[float, int]]):
        self.points = points

    def point(self, layer: str, _relu) -> tuple[float, int]:
        return self.points[layer]


class Shipped:
    """expression.onnx read back: weights in real units, their grids, the points of its values, and where values stand."""

    def __init__(self, path: Path):
        self.model = onnx.load(path)
        graph = self.model.graph
        self.constant = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.weights: Weights = {}
        self.scales, self.points, self.value = {}, {}, {}
        rounded = iter([*(f"sum{i}" for i in range(LAST + 1)), "mean"])
        for node in graph.node:
            c = [self.constant.get(name) for name in node.input]
            if node.op_type == "QLinearConv":
                layer = node.name.rsplit("_", 1)[0]
                w = c[3].astype(np.float64) * c[4].astype(np.float64).reshape(-1, 1, 1, 1)
                bias = c[8].astype(np.float64) * c[4] * np.float64(c[1])
                self.weights[layer], self.scales[layer] = (w.astype(np.float32), bias), c[4]
                self._place(layer, node, c[6], c[7])
            elif node.op_type == "QuantizeLinear":
                self._place(next(rounded), node, c[1], c[2])

    def _place(self, layer: str, node, scale, zero) -> None:
        self.points[layer], self.value[layer] = (np.float32(scale), int(zero)), node.output[0]


def probe(shipped: Shipped, layers: list[str]):
    """A session that gives the codes of these layers."""
    model = onnx.ModelProto()
    model.CopyFrom(shipped.model)
    for layer in layers:
        model.graph.output.append(onnx.helper.make_tensor_value_info(shipped.value[layer], onnx.TensorProto.UINT8, None))
    session, names = runtime.session(model), [shipped.value[layer] for layer in layers]
    return lambda face: session.run(names, {"pixels": face[None, :, :, None]})


def codes(look, faces: np.ndarray) -> list[np.ndarray]:
    """u8 codes of each layer of `look` for u8 faces [N, 48, 48]."""
    made = [look(face) for face in faces]
    return [np.concatenate([row[i] for row in made]) for i in range(len(made[0]))]


# -- writing the file again ------------------------------------------------------------------


def write(shipped: Shipped, gate: tuple[np.ndarray, float], reach: float, out: Path) -> int:
    """expression.onnx with the output `gate`: two logits, (face, anything else), of the last cells.

    `gate` is a weight [256, 3, 3] and a bias for the difference of the two; `reach` is the largest
    logit that must fit. All else is as `shipped` says; returns the size in bytes.
    """
    (weight, bias), twice = gate, [1, -1] * COPIES
    rows = np.stack([sign * weight for sign in twice]) / 2, np.array([sign * bias for sign in twice]) / 2
    points = shipped.points | {"gate": (np.float32(reach / 127), 128)}
    scales = {layer: scale for layer, scale in shipped.scales.items() if layer != "gate"}
    weights = shipped.weights | {"gate": rows}
    net = IntegerNet("expression", weights, student.SIDE, 1, student.POINT, Points(points), scales)
    cells = student.trunk(net)
    logits = net.g.op("Reshape", [net.floats(student.named(net, cells)), net.g.ints([-1])])
    net.g.output(logits, "logits", [len(student.LABELS)])
    copies = net.g.op("Reshape", [net.floats(net.conv(cells, "gate")), net.g.ints([COPIES, 2])])
    net.g.output(net.g.mean_rows(copies), "gate", [2])
    return net.g.save(out / "expression.onnx")
