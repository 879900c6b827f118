"""Write the embedded SAM's weights as they ship, and read them to train on.

They ship as float16 safetensors, complete or not at all, and say in their metadata which
calibration is folded into them.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from segment_anything.modeling import Sam
from torch import Tensor

from samstar_rl._io.atomic import replacing
from samstar_rl.errors import SamstarError
from samstar_rl.fitting.calibration import Calibration, undo_calibration

UNSTATED = Calibration(slope=0.85, intercept=0.18, sharpness=6.0)
"""What is folded into packed weights that do not say so: the first that shipped."""


def pack_weights(sam: Sam, path: Path, calibration: Calibration | None = None) -> None:
    """Store a SAM's weights in float16.

    Parameters
    ----------
    sam : Sam
    path : Path
        A .safetensors file, replaced at once when the new one is complete.
    calibration : Calibration, optional
        What is folded into the weights already, kept in the file's metadata.
    """
    weights = {
        name: value.detach().half().contiguous()
        for name, value in sam.state_dict().items()
        if value.is_floating_point()
    }
    stated = calibration or Calibration()
    with replacing(path) as temporary:
        save_file(weights, temporary, {"calibration": json.dumps(asdict(stated))})


def begin_from_weights(sam: Sam, path: Path) -> None:
    """Load weights into a SAM that shall be trained on, in place.

    Parameters
    ----------
    sam : Sam
        Of the same sizes as the weights.
    path : Path
        Packed weights, from which their calibration is taken out again, or the checkpoint.pt of a
        training, of which the averaged weights are taken.

    Raises
    ------
    SamstarError
        If the file is neither, or is of a network of other sizes.
    """
    calibration = None
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                stated = (file.metadata() or {}).get("calibration")
            calibration = UNSTATED if stated is None else Calibration(**json.loads(stated))
            weights: dict[str, Tensor] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            weights = state["average"]
        # packed weights lack BatchNorm's counters, which nothing uses
        missing, unexpected = sam.load_state_dict(weights, strict=False)
    except (KeyError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise SamstarError(_advice(path, str(error).splitlines()[0])) from error
    absent = [name for name in missing if not name.endswith("num_batches_tracked")]
    if absent or unexpected:
        raise SamstarError(_advice(path, f"{(absent + unexpected)[0]} does not agree"))
    if calibration is not None:
        undo_calibration(sam, calibration)


def _advice(path: Path, reason: str) -> str:
    return (
        f"{path} holds no weights to begin from ({reason}): give packed weights (.safetensors, as "
        "`samstar dev calibrate-sam` writes them) or the checkpoint.pt of a training"
    )


def round_to_half(sam: Sam) -> None:
    """Round the weights in place to what `pack_weights` stores, so that figures are the file's."""
    with torch.no_grad():
        for value in sam.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half().float())
