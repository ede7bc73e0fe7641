"""ONNX Runtime, asked for the same numbers on every processor."""

from pathlib import Path

import onnx
import onnx.inliner
import onnxruntime


def session(model: Path | str | onnx.ModelProto, as_written: bool = False) -> onnxruntime.InferenceSession:
    """One thread. `as_written`, for files in f32, keeps its graph optimiser away: its reshape fusion
    guesses a size from the others, which no words at all do not give."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    given = model if isinstance(model, onnx.ModelProto) else onnx.load(model)
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    else:
        # where a processor lacks VNNI, sums of two byte products saturate at 16 bits without it
        options.add_session_config_entry("session.x64quantprecision", "1")
        given = unshared(given)
    return onnxruntime.InferenceSession(given.SerializeToString(), options, providers=["CPUExecutionProvider"])


def unshared(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which no two nodes read the same signed bytes: ONNX Runtime makes unsigned ones of
    them for each reader, under one name, and refuses the second."""
    made = onnx.inliner.inline_local_functions(model)
    held = {tensor.name: tensor for tensor in made.graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    read = set()
    for number, node in enumerate(made.graph.node):
        for place, name in enumerate(node.input):
            if name in held and name in read:
                node.input[place] = f"{name}_of_{number}_{place}"
                made.graph.initializer.add().CopyFrom(held[name])
                made.graph.initializer[-1].name = node.input[place]
            read.add(name)
    return made
