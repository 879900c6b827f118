"""Write the embedded SAM's weights as they ship: float16 safetensors, complete or not at all."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from segment_anything.modeling import Sam

from samstar_rl._io.atomic import replacing


def pack_weights(sam: Sam, path: Path) -> None:
    """Store a SAM's weights in float16.

    Parameters
    ----------
    sam : Sam
    path : Path
        A .safetensors file, replaced at once when the new one is complete.
    """
    weights = {
        name: value.detach().half().contiguous()
        for name, value in sam.state_dict().items()
        if value.is_floating_point()
    }
    with replacing(path) as temporary:
        save_file(weights, temporary)


def round_to_half(sam: Sam) -> None:
    """Round the weights in place to what `pack_weights` stores, so that figures are the file's."""
    with torch.no_grad():
        for value in sam.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half().float())
