"""Builds the ONNX files of a bundle, node by node.

Exporters trace what torch happened to do; here every node is one we chose, so that the
int8 file holds integer operators only (DynamicQuantizeLinear -> MatMulInteger /
ConvInteger) where the f32 file holds MatMul / Conv. The same calls write both flavours:
`Graph(int8=False)` is the reference that `demeanor eval --reference` compares with.

Everything is batch 1 without a batch axis; lengths are dynamic ("N", "T"), so there is
no padding and no mask.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def quantise_per_channel(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 with one scale per index of `axis`.

    The range is +-127: -128 would make |q| asymmetric, which some kernels pay for.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    peak = np.abs(weight).max(axis=others, keepdims=True)
    scale = np.where(peak > 0, peak / 127.0, 1.0).astype(np.float32)
    q = np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
    return q, scale.reshape(-1)


class Graph:
    """A growing ONNX graph; methods take and return value names."""

    opset = OPSET

    def __init__(self, name: str, int8: bool = True):
        self.name, self.int8 = name, int8
        self.nodes, self.initializers = [], []
        self.inputs, self.outputs = [], []
        self.functions, self.domains = [], {}
        self._constants, self._count, self._quantised = {}, 0, {}

    # -- plumbing ---------------------------------------------------------------

    def fresh(self, hint: str) -> str:
        self._count += 1
        return f"{hint}_{self._count}"

    def input(self, name: str, shape, dtype=FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, value: str, name: str, shape, dtype=FLOAT) -> None:
        self.nodes.append(helper.make_node("Identity", [value], [name], name=f"out_{name}"))
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def const(self, array, hint: str = "c") -> str:
        """An initializer; equal constants are stored once."""
        array = np.ascontiguousarray(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self.fresh(hint)
            self.initializers.append(numpy_helper.from_array(array, name))
            self._constants[key] = name
        return self._constants[key]

    def scalar(self, value) -> str:
        """A constant without axes, as scales and bounds must be."""
        array = np.array(value)
        key = ("scalar", array.dtype.str, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.fresh("s")
            self.initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def f32(self, array, hint: str = "f") -> str:
        return self.const(np.asarray(array, np.float32), hint)

    def ints(self, values) -> str:
        return self.const(np.asarray(values, np.int64), "i")

    def op(self, op_type: str, inputs, outputs: int = 1, hint: str | None = None, **attrs):
        names = [self.fresh(hint or op_type.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, name=names[0], **attrs))
        return names[0] if outputs == 1 else names

    # -- arithmetic -------------------------------------------------------------

    def add(self, a, b):
        return self.op("Add", [a, b])

    def mul(self, a, b):
        return self.op("Mul", [a, b])

    def quantise(self, x: str):
        """(u8 values, f32 scale, u8 zero point) of x; asked twice, computed once."""
        if x not in self._quantised:
            self._quantised[x] = self.op("DynamicQuantizeLinear", [x], outputs=3, hint="dq")
        return self._quantised[x]

    def linear(self, x: str, weight: np.ndarray, bias: np.ndarray | None, hint: str = "linear") -> str:
        """x[..., in] @ weight[out, in]^T + bias[out] (torch's layout)."""
        w = np.asarray(weight, np.float32).T
        if self.int8:
            q, scale = quantise_per_channel(w, axis=1)
            xq, x_scale, x_zero = self.quantise(x)
            acc = self.op("MatMulInteger", [xq, self.const(q, hint + "_q"), x_zero], hint=hint)
            y = self.mul(self.op("Cast", [acc], to=FLOAT), self.mul(x_scale, self.f32(scale)))
        else:
            y = self.op("MatMul", [x, self.f32(w, hint + "_w")], hint=hint)
        return y if bias is None else self.add(y, self.f32(bias))

    def matmul(self, a: str, b: str, hint: str = "matmul") -> str:
        """Product of two activations (attention), integer in the int8 flavour."""
        if not self.int8:
            return self.op("MatMul", [a, b], hint=hint)
        aq, a_scale, a_zero = self.quantise(a)
        bq, b_scale, b_zero = self.quantise(b)
        acc = self.op("MatMulInteger", [aq, bq, a_zero, b_zero], hint=hint)
        return self.mul(self.op("Cast", [acc], to=FLOAT), self.mul(a_scale, b_scale))

    def conv1d(self, x: str, weight: np.ndarray, bias: np.ndarray, stride=1, pad=0, hint="conv") -> str:
        """x[1, in, T] * weight[out, in, k] + bias[out] -> [1, out, T']."""
        w = np.asarray(weight, np.float32)
        attrs = dict(kernel_shape=[w.shape[2]], strides=[stride], pads=[pad, pad])
        if self.int8:
            q, scale = quantise_per_channel(w, axis=0)
            xq, x_scale, x_zero = self.quantise(x)
            acc = self.op("ConvInteger", [xq, self.const(q, hint + "_q"), x_zero], hint=hint, **attrs)
            y = self.mul(self.op("Cast", [acc], to=FLOAT), self.mul(x_scale, self.f32(scale.reshape(1, -1, 1))))
        else:
            y = self.op("Conv", [x, self.f32(w, hint + "_w")], hint=hint, **attrs)
        return self.add(y, self.f32(np.asarray(bias).reshape(1, -1, 1)))

    def gelu(self, x: str) -> str:
        """Exact GELU: x/2 (1 + erf(x/sqrt 2))."""
        e = self.op("Erf", [self.mul(x, self.f32(2.0**-0.5))])
        return self.mul(self.mul(x, self.f32(0.5)), self.add(e, self.f32(1.0)))

    def layer_norm(self, x: str, gamma, beta, eps: float) -> str:
        return self.op("LayerNormalization", [x, self.f32(gamma), self.f32(beta)], axis=-1, epsilon=float(eps))

    def softmax(self, x: str) -> str:
        return self.op("Softmax", [x], axis=-1)

    # -- blocks -----------------------------------------------------------------

    def embedding(self, ids: str, table: np.ndarray, hint: str = "embedding") -> str:
        """Rows of table[R, d]; the int8 flavour stores one scale per row."""
        if not self.int8:
            return self.op("Gather", [self.f32(table, hint), ids], axis=0)
        q, scale = quantise_per_channel(np.asarray(table, np.float32), axis=0)
        rows = self.op("Cast", [self.op("Gather", [self.const(q, hint), ids], axis=0)], to=FLOAT)
        scales = self.op("Gather", [self.f32(scale.reshape(-1, 1)), ids], axis=0)
        return self.mul(rows, scales)

    def attention(self, x: str, heads: int, wq, bq, wk, bk, wv, bv, wo, bo) -> str:
        """Multi-head self-attention of x[N, d]; torch layouts; biases may be None."""
        dim = np.asarray(wq).shape[0]
        width = dim // heads

        def split(value, perm):
            shaped = self.op("Reshape", [value, self.ints([0, heads, width])])
            return self.op("Transpose", [shaped], perm=perm)

        # 1/sqrt(width) goes into the query's weights: one pass over the scores less
        scale = width**-0.5
        q = split(self.linear(x, np.asarray(wq) * scale, None if bq is None else np.asarray(bq) * scale, "query"), [1, 0, 2])
        k = split(self.linear(x, wk, bk, "key"), [1, 2, 0])
        v = split(self.linear(x, wv, bv, "value"), [1, 0, 2])
        probs = self.softmax(self.matmul(q, k, "scores"))
        mixed = self.op("Transpose", [self.matmul(probs, v, "context")], perm=[1, 0, 2])
        return self.linear(self.op("Reshape", [mixed, self.ints([0, dim])]), wo, bo, "attention_out")

    def mean_rows(self, x: str) -> str:
        """x[N, d] -> [d]"""
        return self.op("ReduceMean", [x], axes=[0], keepdims=0)

    # -- functions of our own ---------------------------------------------------

    def call(self, domain: str, op_type: str, inputs, outputs: list[str], **attrs) -> list[str]:
        self.nodes.append(helper.make_node(op_type, list(inputs), outputs, name=op_type, domain=domain, **attrs))
        self.domains[domain] = 1
        return outputs

    # -- finish -----------------------------------------------------------------

    def save(self, path) -> int:
        """Checks and writes the model; returns its size in bytes."""
        data = self.bytes()
        with open(path, "wb") as out:
            out.write(data)
        return len(data)

    def bytes(self) -> bytes:
        """The model, checked."""
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        opsets += [helper.make_opsetid(domain, version) for domain, version in self.domains.items()]
        model = helper.make_model(
            graph, opset_imports=opsets, functions=self.functions, producer_name="demeanor-recipes", ir_version=8
        )
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()
