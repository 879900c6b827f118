"""Load a Segment Anything model: the embedded one, an official checkpoint, or one from a path."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

from samstar_rl._io.checkpoint_cache import (
    CHECKPOINTS,
    UNVERIFIED,
    CheckpointError,
    fetch_checkpoint,
)
from samstar_rl.errors import SamstarError
from samstar_rl.sam.architectures.tiny import build_tiny_sam
from samstar_rl.sam.architectures.tiny_vit import UNUSED_WEIGHTS, build_mobile_sam
from samstar_rl.sam.device import choose_device

TINY_WEIGHTS = "tiny_sam.safetensors"
OFFICIAL_MODELS = ("vit_b", "vit_l", "vit_h")
#: architecture -> how it is built with random weights
BUILDERS: dict[str, Callable[[], Sam]] = {
    "tiny": build_tiny_sam,
    "vit_t": build_mobile_sam,
    **{name: sam_model_registry[name] for name in OFFICIAL_MODELS},
}


class SamLoadError(SamstarError):
    """A checkpoint is missing, damaged, or belongs to another model."""


def load_sam(
    model: str | Path = "tiny", checkpoint: str | Path | None = None, *, device: str = "cpu"
) -> Sam:
    """Load a Segment Anything model in evaluation mode.

    Parameters
    ----------
    model : str or path
        "tiny" is the embedded SAM. "vit_b", "vit_l" and "vit_h" are Meta's, "vit_b_em", "vit_h_em",
        "vit_b_lm" and "vit_h_lm" micro-sam's for electron and light microscopy. "vit_t" is
        MobileSAM's, "vit_t_lm", "vit_t_em_organelles" and the like micro-sam's later ones: these
        need `checkpoint`. Otherwise the path of a checkpoint of Meta's, MobileSAM's or micro-sam's
        format, whose architecture is read off its weights.
    checkpoint : path, optional
        The weights; by default the packaged ones of "tiny", and for those that were published with
        a sha256 a download that is verified by it and kept in the user's cache.
    device : str
        Where torch puts the model: "cpu", "cuda", "mps", or "auto" for the first that is there.

    Returns
    -------
    Sam
        Taken unchanged by `SamPredictor` and `SamAutomaticMaskGenerator`. Its attributes
        ``samstar_name`` and ``samstar_sha256`` say what was loaded; the latter is of the file.

    Raises
    ------
    SamLoadError
        If the name is unknown, the file is missing, damaged or of another model, or a download is
        needed and there is no network or no published sha256. Nothing is ever unpickled:
        checkpoints are read with ``weights_only=True``.

    Notes
    -----
    What to expect of the larger models follows from their encoders: "tiny" sees 256 px and has
    3.3 M parameters; vit_t sees 1024 px through a small encoder of 5.7 M; vit_b, vit_l and vit_h
    see 1024 px through 12, 24 and 32 transformer blocks, so that time and memory rise in this
    order, all far above those of "tiny". In float32 each
    parameter takes 4 bytes; a checkpoint file is about as large as its model in memory, and needs
    that once more while it is loaded. ``samstar segment`` prints the seconds of each frame.
    """
    device = choose_device(device)
    name, path = _resolve(model, checkpoint)
    weights = _read_weights(path)
    if name is None:
        name = _recognise(weights, path)
    sam = BUILDERS[name]()
    _fill(sam, weights, name, path)
    sam.samstar_name = name
    sam.samstar_sha256 = file_sha256(path)
    return sam.eval().to(device)


def weights_sha256(model: str | Path = "tiny", checkpoint: str | Path | None = None) -> str:
    """The sha256 of the weights that `load_sam` reads, which are not loaded.

    A checkpoint that has a name is downloaded where it is not there yet.

    Raises
    ------
    SamLoadError
        If the name is unknown, the file is missing, or a download is needed and there is no
        network.
    """
    return file_sha256(_existing(_resolve(model, checkpoint)[1]))


def packaged_weights_path() -> Path:
    """Where the embedded SAM's weights lie in the installed package."""
    return Path(str(resources.files("samstar_rl.sam.weights"))) / TINY_WEIGHTS


def packaged_weights_sha256() -> str:
    """The sha256 of the embedded SAM's weights, by which policies name the SAM they belong to."""
    return file_sha256(packaged_weights_path())


def file_sha256(path: Path) -> str:
    """The sha256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _resolve(model: str | Path, checkpoint: str | Path | None) -> tuple[str | None, Path]:
    if model == "tiny":
        return "tiny", Path(checkpoint) if checkpoint else packaged_weights_path()
    if model in CHECKPOINTS:
        architecture = CHECKPOINTS[str(model)].architecture
    elif model in UNVERIFIED:
        architecture = UNVERIFIED[str(model)]
    elif Path(model).exists():
        return None, Path(model)
    else:
        raise SamLoadError(
            f"unknown SAM {str(model)!r}: expected one of tiny, "
            f"{', '.join([*CHECKPOINTS, *UNVERIFIED])}, or the "
            "path of an existing checkpoint (.pth, .pt or .safetensors)"
        )
    if checkpoint is not None:
        return architecture, Path(checkpoint)
    try:
        return architecture, fetch_checkpoint(str(model))
    except CheckpointError as error:
        raise SamLoadError(str(error)) from error


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise SamLoadError(f"no SAM checkpoint at {path}: check the path")
    return path


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    _existing(path)
    weights: Any
    try:
        if path.suffix == ".safetensors":
            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise a dozen unrelated types
        raise SamLoadError(
            f"{path} is not a readable checkpoint ({error.__class__.__name__}): expected a .pth or "
            ".pt state dict or a .safetensors file; download it anew if it should be one"
        ) from error
    # micro-sam wraps the state dict
    if isinstance(weights, dict) and isinstance(weights.get("model_state"), dict):
        weights = weights["model_state"]
    if not isinstance(weights, dict) or not all(
        isinstance(value, torch.Tensor) for value in weights.values()
    ):
        raise SamLoadError(f"{path} holds no state dict of a SAM: expected name -> tensor")
    # a training of micro-sam's keeps the SAM as one part of its model
    return {
        name.removeprefix("sam."): value
        for name, value in weights.items()
        if not name.removeprefix("sam.").startswith(UNUSED_WEIGHTS)
    }


def _recognise(weights: dict[str, torch.Tensor], path: Path) -> str:
    blocks = sum(
        name.startswith("image_encoder.blocks.") and name.endswith(".norm1.weight")
        for name in weights
    )
    known = {12: "vit_b", 24: "vit_l", 32: "vit_h"}
    if blocks in known:
        return known[blocks]
    if "image_encoder.lateral_4.weight" in weights:
        return "tiny"
    if "image_encoder.patch_embed.seq.0.c.weight" in weights:
        return "vit_t"
    raise SamLoadError(
        f"{path} is of no SAM that is known here ({', '.join(BUILDERS)}): "
        f"it has {len(weights)} tensors and {blocks} transformer blocks in image_encoder"
    )


def _fill(sam: Sam, weights: dict[str, torch.Tensor], name: str, path: Path) -> None:
    floats = {
        key: value.float() if value.is_floating_point() else value for key, value in weights.items()
    }
    try:
        missing, unexpected = sam.load_state_dict(floats, strict=False)
    except RuntimeError as error:  # a tensor of another shape
        raise SamLoadError(f"{path} does not fit the model {name!r}: {error}") from error
    # the mean and standard deviation of pixels are constants that Sam itself sets
    missing = [key for key in missing if not key.startswith("pixel_")]
    if missing or unexpected:
        raise SamLoadError(
            f"{path} does not fit the model {name!r}: {len(missing)} tensors are missing "
            f"(first: {missing[:1]}), {len(unexpected)} unknown (first: {unexpected[:1]})"
        )
