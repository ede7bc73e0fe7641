"""The expression network's last block, trained on from the file that ships.

The layers before it stay as they are, byte for byte: what they make of a face (`SUM`, codes of
6 x 6 cells) is computed once for each face and view, and the last block and its heads learn on
that. `net_of` writes the file again from what `read` found in it.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper

from common.image_nets import IntegerNet, Weights
from expression import student

LAST = len(student.CHANNELS) - 1
SUM = f"sum{LAST - 1}"  # the last value of the frozen layers


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
    import onnxruntime

    model = onnx.ModelProto()
    model.CopyFrom(shipped.model)
    for layer in layers:
        model.graph.output.append(onnx.helper.make_tensor_value_info(shipped.value[layer], onnx.TensorProto.UINT8, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [shipped.value[layer] for layer in layers]
    return lambda face: session.run(names, {"pixels": face[None, :, :, None]})


def codes(look, faces: np.ndarray) -> list[np.ndarray]:
    """u8 codes of each layer of `look` for u8 faces [N, 48, 48]."""
    made = [look(face) for face in faces]
    return [np.concatenate([row[i] for row in made]) for i in range(len(made[0]))]


# -- views ---------------------------------------------------------------------------------


def turned(faces: torch.Tensor, generator, angle: float = 45, squeeze: float = 0.55, shear: float = 0.25) -> torch.Tensor:
    """Faces [N, 1, 48, 48] as heads turned away look from far: tilted in the plane, narrowed, sheared, one side nearer."""
    n = len(faces)

    def between(low, high):
        return torch.rand(n, generator=generator) * (high - low) + low

    tilt, narrow, lean, near = (torch.deg2rad(between(-angle, angle)), between(squeeze, 1), between(-shear, shear), between(-0.35, 0.35))
    return warped(faces, tilt, narrow, lean, near)


def warped(faces, tilt, narrow, lean, near) -> torch.Tensor:
    """Each face tilted (radians), narrowed to a share of its width, sheared, and one side nearer (a perspective along x)."""
    at = (torch.arange(student.SIDE) + 0.5) / student.SIDE * 2 - 1
    y, x = torch.meshgrid(at, at, indexing="ij")
    x, y = x[None], y[None]
    tilt, narrow, lean, near = (v[:, None, None] for v in (tilt, narrow, lean, near))
    u, v = torch.cos(tilt) * x + torch.sin(tilt) * y, -torch.sin(tilt) * x + torch.cos(tilt) * y
    u = u / narrow + lean * v
    depth = 1 + near * u
    grid = torch.stack([u / depth, v / depth], -1)
    return F.grid_sample(faces.float(), grid, padding_mode="border", align_corners=False).clamp(0, 255).round()


def views(faces: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """u8 views of u8 faces: plain, mirrored, two disturbed as in training, one turned."""
    generator, disturb = torch.Generator().manual_seed(seed), student.Disturb(seed)
    rows = torch.from_numpy(faces[:, None])
    made = {"plain": faces, "mirrored": faces[:, :, ::-1]}
    for name, change in (("mild", disturb), ("mild2", disturb), ("turned", lambda x: turned(x, generator))):
        made[name] = torch.cat([change(part) for part in rows.split(512)])[:, 0].numpy().astype(np.uint8)
    return made


# -- writing the file again ------------------------------------------------------------------


def write(shipped: Shipped, gate: tuple[np.ndarray, np.ndarray], reach: float, out: Path) -> int:
    """expression.onnx with the output `gate`: two logits, (face, anything else), from the mean row.

    `gate` is a weight row [256] and a bias for the difference of the two; `reach` is the largest
    logit that must fit. All else is as `shipped` says; returns the size in bytes.
    """
    row, bias = gate
    weights = shipped.weights | {"gate": (np.stack([row, -row])[:, :, None, None] / 2, np.array([bias, -bias]) / 2)}
    points = shipped.points | {"gate": (np.float32(reach / 127), 128)}
    scales = {layer: scale for layer, scale in shipped.scales.items() if layer != "gate"}
    net = IntegerNet("expression", weights, student.SIDE, 1, student.POINT, Points(points), scales)
    mean = student.trunk(net)
    for name, size in (("logits", len(student.LABELS)), ("gate", 2)):
        floats = net.floats(net.conv(mean, name))
        net.g.output(net.g.op("Reshape", [floats, net.g.ints([-1])]), name, [size])
    return net.g.save(out / "expression.onnx")
