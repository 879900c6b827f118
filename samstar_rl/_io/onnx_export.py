"""Networks of torch run by ONNX Runtime: exported once, kept in the user's cache by their weights.

On a CPU that does something else as well ONNX Runtime loses far less time than torch, whose threads
wait for one another.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from samstar_rl._io.cache import cache_folder

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from torch import Tensor, nn

OPSET = 17
"""Of ONNX's operators."""
MOST_FILES = 24
"""Exports that are kept; the oldest go."""
_EXPORTING = threading.Lock()
"""A stream prepares a frame beside the last one's masks, and torch exports one module at a time."""


def open_session(
    module: nn.Module,
    version: int,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    *,
    varying: Mapping[str, Sequence[int]],
    n_threads: int = 1,
) -> InferenceSession:
    """Export a module, or find it exported in the cache, and load it.

    Parameters
    ----------
    module : Module
        In evaluation mode, on the CPU. The cache knows it by its class, its weights and `version`.
    version : int
        To be raised when what the module computes changes.
    inputs : mapping of str to Tensor
        An example of each argument, by its name and in the order of `forward`.
    outputs : sequence of str
        Names of what it returns.
    varying : mapping of str to sequence of int
        Axes of inputs and outputs whose length is not fixed.
    n_threads : int
        That one call may use.

    Returns
    -------
    InferenceSession
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    # threads that wait give their core away: others work on this machine, too
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    with _EXPORTING:
        exported = _exported(module, version, inputs, outputs, varying)
    return onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])


def weights_sha256(module: nn.Module) -> str:
    """The sha256 of a module's weights, their names and shapes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _exported(
    module: nn.Module,
    version: int,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    varying: Mapping[str, Sequence[int]],
) -> bytes:
    shapes = " ".join(str(tuple(example.shape)) for example in inputs.values())
    key = f"{weights_sha256(module)} {version} {shapes}"
    name = f"{type(module).__name__}-{hashlib.sha256(key.encode()).hexdigest()}.onnx"
    path = cache_folder("onnx") / name
    with suppress(OSError):
        return path.read_bytes()
    exported = _export(module, inputs, outputs, varying)
    # without a cache that can be written it is done again next time
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.part")
        temporary.write_bytes(exported)
        temporary.replace(path)  # complete or absent, whoever else exports it now
        by_age = sorted(path.parent.glob("*.onnx"), key=lambda file: file.stat().st_mtime)
        for old in by_age[:-MOST_FILES]:
            old.unlink()
    return exported


def _export(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    varying: Mapping[str, Sequence[int]],
) -> bytes:
    import torch

    buffer: Any = io.BytesIO()  # which torch takes, but does not say
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # what tracing warns of are shapes that are fixed on purpose
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                tuple(inputs.values()),
                buffer,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes={
                    name: {axis: f"{name}_{axis}" for axis in axes}
                    for name, axes in varying.items()
                },
                opset_version=OPSET,
                dynamo=False,
            )
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
    return buffer.getvalue()
