"""Kokoro's weights from the int8 ONNX export to a state dict of the package `kokoro`.

For machines without a model hub. The numbers are those of the int8 export, written as float32: the same voice, no
better than the export and slower than it. Needs the torch extra.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceloop_services.runtime import MissingError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_OPERATOR_SUFFIX = re.compile(r"/(?:Gemm_)?(?:Conv|ConvTranspose|MatMul|LSTM|Gather)(?:_quant)?$")
_PREDICTORS_OWN = re.compile(r"(?:F0|N|shared)(?:[._]|$)")
_GATES = 4


def onnx_to_state_dict(onnx_file: Path, config_file: Path, into: Path) -> dict[str, object]:
    """Write the weights of `onnx_file` to `into` as torch.load reads them; returns the versions that did it.

    Raises MissingError where a library is not there, ValueError where the export is not the one this is written for.
    """
    try:
        import onnx
        import torch
        from kokoro import KModel
    except ImportError as error:
        raise MissingError(
            f"the library {error.name}, to make kokoro-82m-torch", "python -m pip install 'pytest-voiceloop[torch]'"
        ) from None
    weights = _Weights(onnx.load(str(onnx_file)).graph, onnx.numpy_helper.to_array)
    empty = into.with_name(f"{into.name}.empty")
    torch.save({}, empty)
    wanted = KModel(repo_id="hexgrad/Kokoro-82M", config=str(config_file), model=str(empty)).state_dict()
    empty.unlink()

    state: dict[str, dict[str, Any]] = {}
    for key, like in wanted.items():
        made = torch.from_numpy(np.array(weights.get(key, tuple(like.shape)), dtype=np.float32))
        # KModel loads what does not fit without a word; so it has to be checked here.
        if made.shape != like.shape:
            raise ValueError(f"{onnx_file.name}: {key} has the shape {tuple(made.shape)}, not {tuple(like.shape)}")
        part, _, rest = key.partition(".")
        state.setdefault(part, {})[rest] = made
    torch.save(state, into)
    return {"torch": torch.__version__, "onnx": onnx.__version__}


class _Weights:
    """The export's weights under the names that KModel gives them."""

    def __init__(self, graph: Any, to_array: Any) -> None:
        self._arrays: dict[str, NDArray[Any]] = {each.name: to_array(each) for each in graph.initializer}
        # The optimiser of the export renamed most weights; what remains is the name of the node that uses them.
        self._users: dict[str, Any] = {}
        for node in graph.node:
            # Shapes are gathered too, under the same names; they are no weights.
            if _OPERATOR_SUFFIX.search(node.name) and _weight_name(node) in self._arrays:
                self._users.setdefault(_module(node.name), node)
        self._dequantisers = {node.input[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
        self._named = {_key(name): name for name in self._arrays if not name.endswith("_quantized")}

    def get(self, key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The weight called `key`. Raises ValueError where the export has none."""
        if key in self._named:
            array: NDArray[np.float32] = self._arrays[self._named[key]].astype(np.float32)
            return array
        module, _, parameter = key.rpartition(".")
        if module.endswith(".norm"):  # the affine part of instance norms exists for the exporter alone
            return np.full(shape, parameter == "weight", dtype=np.float32)
        if module == "bert.pooler":  # not used for speech, so not exported
            return np.zeros(shape, dtype=np.float32)
        node = self._users.get(module)
        if node is None:
            raise ValueError(f"the ONNX export has no weights for {key}")
        if "LSTM" in node.op_type:
            return self._lstm(node, parameter)
        weight = self._dequantised(node)
        if parameter == "weight":
            return np.transpose(weight) if "MatMul" in node.op_type else weight
        if parameter == "weight_v":
            # A row of zeros has no direction: any will do, since its length (weight_g) is zero.
            return np.where(_norms(weight) == 0, np.float32(1), weight).astype(np.float32)
        if parameter == "weight_g":
            return _norms(weight)
        raise ValueError(f"the ONNX export has no {key}")

    def _dequantised(self, node: Any) -> NDArray[np.float32]:
        name = _weight_name(node)
        weight: NDArray[np.float32] = self._arrays[name].astype(np.float32)
        if not name.endswith("_quantized"):
            return weight
        if node.op_type == "Gather":
            scale, zero = (self._arrays[each] for each in self._dequantisers[node.output[0]].input[1:3])
        else:
            # Equal zero points share one initializer, so it is the node that says which.
            scale, zero = (self._arrays[each] for each in (f"{name.removesuffix('_quantized')}_scale", node.input[3]))
        dequantised: NDArray[np.float32] = ((weight - zero) * scale).astype(np.float32)
        return dequantised

    def _lstm(self, node: Any, parameter: str) -> NDArray[np.float32]:
        direction = int(parameter.endswith("_reverse"))
        if parameter.startswith("bias"):
            both = self._arrays[node.input[3]][direction]
            half = both[: len(both) // 2] if "_ih_" in parameter else both[len(both) // 2 :]
            return _torch_gates(half)
        at = 1 if "_ih_" in parameter else 2
        scale, zero = (self._arrays[node.input[place]][direction] for place in ((8, 9) if at == 1 else (10, 11)))
        weight: NDArray[np.float32] = (self._arrays[node.input[at]][direction].astype(np.float32) - zero) * scale
        return _torch_gates(weight.T)


def _weight_name(node: Any) -> str:
    return str(node.input[0 if node.op_type == "Gather" else 1])


def _module(node_name: str) -> str:
    """KModel's name of the module behind a node: a list's name stands twice in it, the parents' not always."""
    segments = _OPERATOR_SUFFIX.sub("", node_name).strip("/").split("/")
    kept = [one for one, after in zip(segments, [*segments[1:], ""], strict=True) if not after.startswith(f"{one}.")]
    return _key(".".join(kept))


def _key(name: str) -> str:
    name = name.removeprefix("encoder.") if name.startswith("encoder.") else name.removeprefix("decoder.")
    return f"predictor.{name}" if _PREDICTORS_OWN.match(name) else name


def _torch_gates(stacked: NDArray[np.float32]) -> NDArray[np.float32]:
    """ONNX stacks an LSTM's gates as input, output, forget, cell; torch as input, forget, cell, output."""
    inputs, outputs, forget, cell = np.split(stacked.astype(np.float32), _GATES)
    return np.concatenate([inputs, forget, cell, outputs])


def _norms(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The length of each row, in the shape of weight_norm's weight_g."""
    axes = tuple(range(1, weight.ndim))
    norms: NDArray[np.float64] = np.sqrt(np.sum(np.square(weight, dtype=np.float64), axis=axes, keepdims=True))
    return norms.astype(np.float32)
