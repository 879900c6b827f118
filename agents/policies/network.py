"""A policy as plain numbers: from a raw observation to an action, in NumPy or as ONNX.

Whatever learned it (PPO, SAC, a genetic algorithm, a regressor), a policy that ships is a
`PolicyNetwork`: normalisation with clipping, a small multilayer perceptron, and the squashing of
the output to [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Activation = Literal["tanh", "relu"]

CLIP = 5.0
"""Normalised observations are clipped to +- this many standard deviations."""


@dataclass(frozen=True, eq=False)
class Normalisation:
    """How raw observations become the network's input: ``clip((raw - mean) * scale, +- limit)``.

    Attributes
    ----------
    mean, scale : (D,) float32 array
        Scale is 1 / standard deviation, or 0 for a number that never varied in training: what a
        policy has not seen move, it must not react to.
    limit : float
    """

    mean: Array
    scale: Array
    limit: float = CLIP

    def __call__(self, raw: Array) -> Array:
        """Normalise (..., D) observations."""
        return np.clip((raw - self.mean) * self.scale, -self.limit, self.limit)

    def to_dict(self) -> dict[str, Any]:
        """The content as plain types, fit for JSON."""
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist(), "limit": self.limit}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Normalisation:
        """Inverse of `to_dict`."""
        return cls(
            np.asarray(data["mean"], dtype=np.float32),
            np.asarray(data["scale"], dtype=np.float32),
            float(data["limit"]),
        )


@dataclass(frozen=True, eq=False)
class PolicyNetwork:
    """A deterministic policy.

    Attributes
    ----------
    normalisation : Normalisation
    weights : tuple of (out, in) float32 arrays
        Of each linear layer, the last one gives the action.
    biases : tuple of (out,) float32 arrays
    activation : {"tanh", "relu"}
        Between the layers.
    squash : bool
        Take the tanh of the last layer's output (SAC) before it is scaled and clipped.
    centre : (n,) float32 array
        Action at an output of 0.
    span : float
        Action = clip(centre + span * output, -1, 1).
    """

    normalisation: Normalisation
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    activation: Activation
    squash: bool
    centre: Array
    span: float

    @property
    def n_observations(self) -> int:
        """Length of the observation."""
        return len(self.normalisation.mean)

    @property
    def n_actions(self) -> int:
        """Length of the action."""
        return len(self.centre)

    def __call__(self, observation: Array) -> Array:
        """Actions (..., n) in [-1, 1] for raw observations (..., D)."""
        hidden = self.normalisation(np.asarray(observation, dtype=np.float32))
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = hidden @ weight.T + bias
            if i < len(self.weights) - 1:
                hidden = np.tanh(hidden) if self.activation == "tanh" else np.maximum(hidden, 0)
        if self.squash:
            hidden = np.tanh(hidden)
        action = np.clip(self.centre + self.span * hidden, -1.0, 1.0)
        return np.asarray(action, dtype=np.float32)

    def to_onnx(self) -> bytes:
        """The network as ONNX: ``observation (N, D) float32 -> action (N, n) float32``."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        nodes: list[onnx.NodeProto] = []
        constants: list[onnx.TensorProto] = []

        def constant(name: str, value: Any) -> str:
            constants.append(numpy_helper.from_array(np.asarray(value, dtype=np.float32), name))
            return name

        def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
            nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
            return output

        hidden = node("Sub", ["observation", constant("mean", self.normalisation.mean)], "centred")
        hidden = node("Mul", [hidden, constant("scale", self.normalisation.scale)], "scaled")
        limit = self.normalisation.limit
        bounds = [constant("minus_limit", -limit), constant("limit", limit)]
        hidden = node("Clip", [hidden, *bounds], "normalised")
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            layer = [hidden, constant(f"weight_{i}", weight), constant(f"bias_{i}", bias)]
            hidden = node("Gemm", layer, f"linear_{i}", transB=1)
            if i < len(self.weights) - 1:
                kind = {"tanh": "Tanh", "relu": "Relu"}[self.activation]
                hidden = node(kind, [hidden], f"hidden_{i}")
        if self.squash:
            hidden = node("Tanh", [hidden], "squashed")
        hidden = node("Mul", [hidden, constant("span", self.span)], "spanned")
        hidden = node("Add", [hidden, constant("centre", self.centre)], "shifted")
        node("Clip", [hidden, constant("lowest", -1.0), constant("highest", 1.0)], "action")

        def tensor(name: str, size: int) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])

        inputs = [tensor("observation", self.n_observations)]
        outputs = [tensor("action", self.n_actions)]
        graph = helper.make_graph(nodes, "policy", inputs, outputs, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9  # what onnxruntime 1.20 reads
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())
