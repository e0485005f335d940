"""Kokoro's ONNX graph, rebuilt so that sound can be made piece by piece.

It is cut in two: text to features, and features to sound. The first half is a twentieth of the work and says how long,
how high and how loud each sound will be, so that silence can be left out of the second.

The second half normalises its channels some fifty times by their mean and variance over the whole text. A short chunk
has other means than its neighbours, and its vowels change ("dish" becomes "dash"). With the means of a few typical
sentences put in their place, a chunk sounds the same whatever it was cut from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

FEATURES = ("/encoder/MatMul_1_output_0", "/encoder/Reshape_output_0", "/encoder/Reshape_1_output_0")
"""Where it is cut: text features [1, 512, frames], pitch and loudness [1, 2 * frames]. All three exports of
Kokoro-82M v1.0 that are in circulation (float32, float16, int8) call them so."""


def split(path: Path) -> tuple[bytes, bytes] | None:
    """The two halves as ONNX files, or None where the graph has no such tensors."""
    import onnx

    whole = onnx.load(str(path))
    made = {output for node in whole.graph.node for output in node.output}
    if not made.issuperset(FEATURES):
        return None
    style = [each for each in whole.graph.input if each.name == "style"]
    features = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in FEATURES]
    return (
        _part(onnx, whole, list(whole.graph.input), features),
        _part(onnx, whole, [*features, *style], list(whole.graph.output)),
    )


def showing_means(sound: bytes) -> tuple[bytes, list[str]]:
    """The second half with its means and variances as further outputs, and what these are called."""
    import onnx

    model = onnx.load_from_string(sound)
    names = [node.output[0] for node in model.graph.node if node.op_type == "ReduceMean"]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    return model.SerializeToString(), names


def with_means(sound: bytes, means: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The second half with those means and variances instead of its input's own."""
    import onnx

    model = onnx.load_from_string(sound)
    kept = [node for node in model.graph.node if node.output[0] not in means]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in means.items())
    serialized: bytes = model.SerializeToString()
    return serialized


def _part(onnx: Any, whole: Any, inputs: list[Any], outputs: list[Any]) -> bytes:
    """What lies between those inputs and outputs."""
    makes = {output: node for node in whole.graph.node for output in node.output}
    given = {each.name for each in inputs}
    wanted = [each.name for each in outputs]
    needed: dict[str, Any] = {}
    while wanted:
        name = wanted.pop()
        node = makes.get(name)
        if name in given or node is None or node.output[0] in needed:
            continue
        needed[node.output[0]] = node
        wanted += node.input
    nodes = [node for node in whole.graph.node if node.output[0] in needed]
    used = {name for node in nodes for name in node.input}
    weights = [each for each in whole.graph.initializer if each.name in used]
    graph = onnx.helper.make_graph(nodes, whole.graph.name, inputs, outputs, weights)
    model = onnx.helper.make_model(graph, opset_imports=whole.opset_import, ir_version=whole.ir_version)
    serialized: bytes = model.SerializeToString()
    return serialized
