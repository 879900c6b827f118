"""How likely a mask is a particle, by a small network that sees it at its own size.

It looks at the polar views of `polar_views` and at a few figures that do not depend on the frame
around the mask either: SAM's own judgement, shape, and size in pixels. Quarter turns, flips and an
inversion of contrast leave what it says as it is.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from samstar_rl._io.onnx_export import open_session, weights_sha256
from samstar_rl.errors import SamstarError
from samstar_rl.evidence.polar_views import N_ANGLES, N_CHANNELS, RADII
from samstar_rl.foreground.network import threads

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from samstar_rl.masks.particle_table import ParticleTable

logger = logging.getLogger(__name__)

WEIGHTS = "plausibility.safetensors"
#: Names of the figures beside the views, in the order of `describe_masks`.
EVIDENCE = (
    "predicted_iou",
    "stability_score",
    "circularity",
    "solidity",
    "log_aspect_ratio",
    "log_diameter",
    "touches_border",
)
_MOST_ASPECT = 6.0
#: Larger masks are drawn as finely as the views can show: their size in px says nothing more.
_LARGEST_DIAMETER_PX = 64.0
#: Masks that are judged together. Always as many, so that the last bits of a judgement do not
#: depend on the company.
BATCH = 8
#: Of what is exported and of what banks record; to be raised with any change of
#: `_BothWays.forward`, of the views or of the figures.
VERSION = 1
_WIDTHS = (16, 32, 40, 40)
_HIDDEN = 64
_DROPOUT = 0.2


class LikenessNetwork(nn.Module):
    """Convolutions of polar views, around in angle, beside a few figures.

    Attributes
    ----------
    mean, spread : (E,) buffers
        By which the figures are standardised.
    scale, offset : buffers
        Of the logit, fitted at last for calibration.
    """

    mean: Tensor
    spread: Tensor
    scale: Tensor
    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth = _WIDTHS
        self.first = nn.Conv2d(N_CHANNELS, first, 5, stride=2)
        self.second = nn.Conv2d(first, second, 3)
        self.third = nn.Conv2d(second, third, 3, stride=2)
        self.fourth = nn.Conv2d(third, fourth, 3)
        self.along_radius = nn.Conv2d(fourth, _HIDDEN, (len(RADII) // 4, 1))
        self.around = nn.Conv2d(_HIDDEN, _HIDDEN, (1, 3))
        self.mixed = nn.Linear(2 * _HIDDEN + len(EVIDENCE), _HIDDEN)
        self.out = nn.Linear(_HIDDEN, 1)
        for name in ("mean", "spread"):
            self.register_buffer(name, torch.full((len(EVIDENCE),), float(name == "spread")))
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("offset", torch.zeros(1))

    def forward(self, views: Tensor, figures: Tensor) -> Tensor:
        """Logits (B,) of views (B, 2, R, A) and figures (B, E)."""
        seen = F.relu(self.first(_wrapped(views, 2, 2)))
        seen = F.relu(self.second(_wrapped(seen, 1, 1)))
        seen = F.relu(self.third(_wrapped(seen, 1, 1)))
        seen = F.relu(self.fourth(_wrapped(seen, 1, 1)))
        seen = F.relu(self.along_radius(seen))
        seen = F.relu(self.around(_wrapped(seen, 0, 1)))[:, :, 0]
        known = (figures - self.mean) / self.spread
        gathered = torch.cat([seen.mean(dim=2), seen.amax(dim=2), known], dim=1)
        gathered = F.dropout(gathered, _DROPOUT, self.training)
        logits = self.out(F.relu(self.mixed(gathered)))[:, 0]
        return logits * self.scale + self.offset


def _wrapped(views: Tensor, radial: int, around: int) -> Tensor:
    """Views with a margin: around in angle, as at their ends in radius."""
    views = F.pad(views, (around, around, 0, 0), mode="circular")
    return F.pad(views, (0, 0, radial, radial), mode="replicate") if radial else views


def reversed_views(views: Tensor) -> Tensor:
    """Views of the flipped frame: angles backwards, the first staying the first."""
    return views.flip(-1).roll(1, -1)


class _BothWays(nn.Module):
    """The mean logit of views and of the same views reversed."""

    def __init__(self, network: LikenessNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, views: Tensor, figures: Tensor) -> Tensor:
        """Logits (B,) of views (B, 2, R, A) and figures (B, E)."""
        both = torch.cat([views, reversed_views(views)])
        return self.network(both, figures.repeat(2, 1)).view(2, -1).mean(dim=0)


class Likeness:
    """A fitted network, ready to judge; ONNX Runtime runs it.

    Parameters
    ----------
    network : LikenessNetwork
    """

    def __init__(self, network: LikenessNetwork) -> None:
        self.network = network.eval()

    @cached_property
    def sha256(self) -> str:
        """What tells its judgements from those of other weights or of another version."""
        told = f"{weights_sha256(self.network)} {VERSION}"
        return hashlib.sha256(told.encode()).hexdigest()

    def of(self, views: NDArray[np.float32], figures: NDArray[np.float32]) -> NDArray[np.float64]:
        """The probability of each mask, (K,), of its view (K, 2, R, A) and figures (K, E)."""
        n_masks, missing = len(views), -len(views) % BATCH
        views = np.pad(views, ((0, missing), (0, 0), (0, 0), (0, 0)))
        figures = np.pad(figures, ((0, missing), (0, 0)))
        _ = self._session  # opened before several threads ask for it

        def judge(start: int) -> NDArray[np.float32]:
            batch = slice(start, start + BATCH)
            return self._logits(views[batch], figures[batch])

        logits = threads().map(judge, range(0, len(views), BATCH))
        found = np.concatenate([np.zeros(0), *logits])[:n_masks]
        return np.asarray(1 / (1 + np.exp(-found)))

    @torch.no_grad()
    def _logits(
        self, views: NDArray[np.float32], figures: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        if self._session is not None:
            (logits,) = self._session.run(None, {"views": views, "figures": figures})
            return np.asarray(logits)
        both_ways = _BothWays(self.network)
        return np.asarray(both_ways(torch.from_numpy(views), torch.from_numpy(figures)).numpy())

    @cached_property
    def _session(self) -> InferenceSession | None:
        inputs = {
            "views": torch.zeros(BATCH, N_CHANNELS, len(RADII), N_ANGLES),
            "figures": torch.zeros(BATCH, len(EVIDENCE)),
        }
        try:
            both_ways = _BothWays(self.network).eval()
            return open_session(both_ways, VERSION, inputs, ["logits"], varying={})
        except Exception as error:  # of the exporter, of ONNX Runtime: a dozen types
            logger.warning("torch judges masks, ONNX Runtime cannot: %s", error)
            return None


def load_likeness(path: Path) -> Likeness:
    """Read the weights of a fitted network.

    Raises
    ------
    SamstarError
        If the file is missing or holds something else.
    """
    network = LikenessNetwork()
    try:
        weights: Mapping[str, Tensor] = load_file(path)
        network.load_state_dict({name: value.float() for name, value in weights.items()})
    except (RuntimeError, OSError, SafetensorError) as error:
        raise SamstarError(
            f"{path} does not fit the network of plausibility: {str(error).splitlines()[0]}; "
            "expected what `samstar dev fit-plausibility` writes"
        ) from error
    return Likeness(network)


@lru_cache(maxsize=1)
def packaged_likeness() -> Likeness:
    """The fitted network of the package; `samstar dev fit-plausibility` fits it."""
    with resources.as_file(resources.files("samstar_rl.evidence") / WEIGHTS) as path:
        return load_likeness(path)


def describe_masks(table: ParticleTable) -> NDArray[np.float32]:
    """Gather the figures of K masks, (K, E), in the order of `EVIDENCE`."""
    diameter = np.clip(table.equivalent_diameter_area, 1, _LARGEST_DIAMETER_PX)
    figures = (
        table.predicted_iou,
        table.stability_score,
        table.circularity,
        table.solidity,
        np.log(np.clip(table.aspect_ratio, 1, _MOST_ASPECT)),
        np.log(diameter),
        table.touches_border,
    )
    return np.nan_to_num(np.stack(figures, axis=1)).astype(np.float32)
