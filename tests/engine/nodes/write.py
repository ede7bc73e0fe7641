"""Writes the node tests of the `onnx` package: one folder each, as ONNX lays them out.

    python3 tests/engine/nodes/write.py FOLDER

`tests/engine/nodes.rs` runs them with DEMEANOR_NODE_TESTS=FOLDER and compares with table.csv.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests


def proto(value, kind, name: str):
    """A tensor of a test as a message; None for a sequence, a map or an optional."""
    if not kind.HasField("tensor_type"):
        return None
    if isinstance(value, onnx.TensorProto):
        return value
    return numpy_helper.from_array(np.asarray(value), name)


def write(case, folder: Path) -> None:
    for at, (inputs, outputs) in enumerate(case.data_sets):
        place = folder / case.name / f"test_data_set_{at}"
        place.mkdir(parents=True, exist_ok=True)
        graph = case.model.graph
        for role, values, infos in [("input", inputs, graph.input), ("output", outputs, graph.output)]:
            for i, (value, info) in enumerate(zip(values, infos)):
                message = proto(value, info.type, info.name)
                # an empty file is what no tensor holds
                content = b"" if message is None else message.SerializeToString()
                (place / f"{role}_{i}.pb").write_bytes(content)
    (folder / case.name / "model.onnx").write_bytes(case.model.SerializeToString())


def main() -> None:
    folder = Path(sys.argv[1])
    np.random.seed(1)
    cases = load_model_tests(kind="node")
    for case in cases:
        write(case, folder)
    print(f"{len(cases)} node tests of onnx {onnx.__version__} in {folder}")


if __name__ == "__main__":
    main()
