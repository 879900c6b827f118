"""How likely each pixel of a micrograph belongs to a particle, by a small convolutional network.

The network sees the image at a short side of 256 px and knows nothing of the contrast's sign. It
looks at an image from the same side however it lies, see `from_the_same_side`, so that its maps
turn and flip with it. Its weights are packaged; `samstar dev pretrain-foreground` trains them.
"""

from __future__ import annotations

import copy
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from samstar_rl._io.onnx_export import open_session
from samstar_rl._io.opencv import avoid_ipp
from samstar_rl.errors import SamstarError
from samstar_rl.frames.intensity import normalise

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from samstar_rl.frames.frame import Frame

logger = logging.getLogger(__name__)

Field = NDArray[np.float32]

WEIGHTS = "foreground.safetensors"
#: Of what is exported; to be raised with any change of `ForegroundNetwork.forward`.
VERSION = 1
#: Short side in px at which the network sees an image; smaller images are not enlarged.
WORKING_SHORT_SIDE_PX = 256
#: Both sides of the network's input are multiples of this.
LARGEST_STRIDE = 32
#: Channels at the strides 2, 4, 8, 16 and 32.
WIDTHS = (16, 32, 48, 48, 64)
#: Residual blocks at the strides 2, 4, 8, 16 and 32.
DEPTHS = (1, 2, 3, 1, 1)
_SMALLEST_SIDE_PX = 8
#: Of the eight orientations of an image, so many are looked at. On labelled frames all eight gave
#: the same foreground (IoU 0.80 of real ones) at four times the price.
ORIENTATIONS = 2
#: What the network may say of a pixel: particle, core, rim, logarithm of the diameter.
MAPS = 4
#: Diameter in px at which its logarithm is 0, in the middle of those seen in training.
MIDDLE_DIAMETER_PX = 24.0
#: Grey differences below this are the rounding of a constant image.
_LEAST_SPREAD = 1e-3


@dataclass(frozen=True, eq=False)
class ForegroundMaps:
    """What the network says of an image, at working size.

    Parameters
    ----------
    probability : (h, w) float32 array
        That the pixel belongs to a particle.
    core : (h, w) float32 array
        That the pixel lies in the inner part of a single particle, a quarter of its inscribed
        radius away from its outline: touching particles come apart.
    rim : (h, w) float32 array, optional
        That the pixel lies between two particles that touch or nearly so. None of weights that
        were trained without it, and so ``diameter_px``.
    diameter_px : (h, w) float32 array, optional
        Equivalent diameter, in px of the maps, of the particle that the pixel belongs to, if any.
    """

    probability: Field
    core: Field
    rim: Field | None = None
    diameter_px: Field | None = None


class LazyMaps:
    """The maps of an image, computed when first asked for.

    Parameters
    ----------
    image : (H, W) array

    Attributes
    ----------
    quick : bool
        Whether the foreground is to be estimated quickly: the network then looks in one orientation
        only. To be set before `maps` is asked for.
    """

    def __init__(self, image: Field) -> None:
        self._image = image
        self._first_looks: dict[tuple[int, int], ForegroundMaps] = {}
        self.quick = False

    @cached_property
    def unit(self) -> Field:
        """The image as `normalise` makes it."""
        return normalise(self._image)

    @cached_property
    def maps(self) -> ForegroundMaps:
        """As `map_particles`."""
        if self.quick:
            return self.first_look()
        views = map_orientations(packaged_network(), self.unit)
        self._first_looks[working_shape(self.unit.shape)] = read_maps(views[0])
        return read_maps(np.stack(views).mean(axis=0))

    def first_look(self, short_side_px: int = WORKING_SHORT_SIDE_PX) -> ForegroundMaps:
        """What the network says of the image at a size, in one orientation; kept.

        At the network's own size it comes with `maps`.
        """
        shape = working_shape(self.unit.shape, short_side_px)
        if shape not in self._first_looks:
            self._first_looks[shape] = map_particles(
                packaged_network(), self.unit, orientations=1, short_side_px=short_side_px
            )
        return self._first_looks[shape]

    @classmethod
    def of(cls, frame: Frame) -> LazyMaps:
        """Those of a frame, which keeps them as long as it lives."""
        known: LazyMaps = frame.known.setdefault(cls, cls(frame.image))
        return known


def maps_of(frame: Frame) -> ForegroundMaps:
    """As `particle_probability` of a frame, which keeps them as long as it lives."""
    return LazyMaps.of(frame).maps


def particle_probability(image: ArrayLike) -> ForegroundMaps:
    """Estimate where the particles of an image are.

    The estimate turns and flips with the image.

    Parameters
    ----------
    image : (H, W) array
        Intensities of any range, as for `normalise`; NaN marks missing pixels.

    Returns
    -------
    ForegroundMaps
        Of the shape that `working_shape` gives. A constant image has no particles.

    Raises
    ------
    SamstarError
        If the image is not two-dimensional, is empty, or is not of real numbers.
    """
    return map_particles(packaged_network(), normalise(image))


def map_particles(
    network: ForegroundNetwork,
    unit: Field,
    *,
    orientations: int = ORIENTATIONS,
    short_side_px: int = WORKING_SHORT_SIDE_PX,
) -> ForegroundMaps:
    """The maps that a network in evaluation mode draws of an image.

    Parameters
    ----------
    network : ForegroundNetwork
    unit : (H, W) float32 array
        The image in [0, 1].
    orientations : int
        In how many it looks, 1 to 8; the maps are their mean.
    short_side_px : int
        Size at which it looks; smaller images are not enlarged.

    Returns
    -------
    ForegroundMaps
        Of the shape that `working_shape` gives.
    """
    views = map_orientations(network, unit, orientations, short_side_px)
    return read_maps(np.stack(views).mean(axis=0))


def map_orientations(
    network: ForegroundNetwork,
    unit: Field,
    orientations: int = ORIENTATIONS,
    short_side_px: int = WORKING_SHORT_SIDE_PX,
) -> list[Field]:
    """The raw maps that `map_particles` takes the mean of, turned back, one an orientation.

    Parameters
    ----------
    network, unit, orientations, short_side_px
        As for `map_particles`.

    Returns
    -------
    list of (maps, h, w) float32 arrays
    """
    work = standardise(at_working_size(unit, short_side_px))
    if work is None:
        shape = working_shape(unit.shape, short_side_px)
        return [np.zeros((network.maps, *shape), dtype=np.float32)]

    # one at a time in a thread: the activations of one image stay within a core's cache
    def look(symmetry: int) -> Field:
        return _undone(raw_maps(network, _done(work, symmetry)), symmetry)

    turns = from_the_same_side(work)[:orientations]
    if network.session is None or len(turns) == 1:
        return [look(symmetry) for symmetry in turns]
    return list(threads().map(look, turns))


def from_the_same_side(work: Field) -> list[int]:
    """The eight symmetries of a standardised image (h, w), in an order that turns with the image.

    The first one brings the quarter of the image with most contrast to the top left, and the one
    with more contrast of the two beside that to the top right; the second turns it upside down.
    Contrast has no sign, so that an inverted image is looked at from the same side.
    """
    height, width = (max(side // 2, 1) for side in work.shape)
    parts = [work[:height, :width], work[:height, -width:]]
    parts += [work[-height:, :width], work[-height:, -width:]]
    contrast = np.array([np.square(part, dtype=np.float64).mean() for part in parts])

    def corners(symmetry: int) -> tuple[float, float]:
        top_left, top_right = _done(contrast.reshape(2, 2), symmetry)[0].tolist()
        return top_left, top_right

    first = max(range(8), key=corners)
    flip, turn = first // 4, first % 4
    return [4 * side + (turn + by) % 4 for side in (flip, 1 - flip) for by in (0, 2, 1, 3)]


def read_maps(raw: Field) -> ForegroundMaps:
    """Name what `raw_maps` gives, (2 or 4, h, w), and turn logarithms into diameters."""
    if len(raw) < MAPS:
        return ForegroundMaps(raw[0], raw[1])
    diameter_px = np.float32(MIDDLE_DIAMETER_PX) * np.exp(raw[3])
    return ForegroundMaps(raw[0], raw[1], raw[2], diameter_px)


def working_shape(
    shape: tuple[int, ...], short_side_px: int = WORKING_SHORT_SIDE_PX
) -> tuple[int, int]:
    """Height and width in px at which the network sees an image of (H, W)."""
    scale = min(1.0, short_side_px / min(shape))
    height, width = (max(round(side * scale), _SMALLEST_SIDE_PX) for side in shape)
    return height, width


def at_working_size(unit: Field, short_side_px: int = WORKING_SHORT_SIDE_PX) -> Field:
    """The image (H, W) resampled by area to its `working_shape`."""
    avoid_ipp()
    height, width = working_shape(unit.shape, short_side_px)
    return np.asarray(cv2.resize(unit, (width, height), interpolation=cv2.INTER_AREA))


def standardise(unit: Field) -> Field | None:
    """The image with mean 0 and standard deviation 1, or None if it is constant."""
    spread = float(unit.std(dtype=np.float64))
    if spread < _LEAST_SPREAD:
        return None
    return ((unit - unit.mean(dtype=np.float64)) / spread).astype(np.float32)


class ForegroundNetwork(nn.Module):
    """A residual U-Net that adds its skips, from stride 2 to 32, with a look at the whole image.

    Pixels are unshuffled into channels before the first convolution and back after the last, so
    that nothing is computed at full resolution.

    Parameters
    ----------
    widths, depths : tuple of int
        Channels and residual blocks at the strides 2, 4, 8, ...
    maps : int
        How many maps it draws: 2 (particle, core) or 4 (rim and logarithm of the diameter too).
    """

    session: InferenceSession | None = None
    """Runs the exported network in place of torch, where there is one."""

    def __init__(
        self,
        widths: tuple[int, ...] = WIDTHS,
        depths: tuple[int, ...] = DEPTHS,
        *,
        maps: int = MAPS,
    ) -> None:
        super().__init__()
        self.maps = maps
        self.stages = nn.ModuleList(
            nn.Sequential(
                _convolution(before, width, stride=2 if level else 1),
                *(_Residual(width) for _ in range(depth)),
            )
            for level, (before, width, depth) in enumerate(
                zip((4, *widths), widths, depths, strict=False)
            )
        )
        # which grey is a particle's may be decided by the far side of the image
        self.context = nn.Linear(widths[-1], widths[-1])
        pairs = list(zip(widths[1:], widths, strict=False))
        self.lifts = nn.ModuleList(nn.Conv2d(deep, width, 1) for deep, width in pairs)
        self.merges = nn.ModuleList(_convolution(width, width) for _, width in pairs)
        self.readout = nn.Conv2d(widths[0], maps * 4, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the maps, (B, maps, H, W), of standardised images (B, 1, H, W)."""
        features = F.pixel_unshuffle(image, 2).contiguous(memory_format=torch.channels_last)
        levels = []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        whole = self.context(features.mean(dim=(2, 3)))
        features = F.relu(features + whole[:, :, None, None])
        for level in reversed(range(len(self.lifts))):
            deeper = F.interpolate(self.lifts[level](features), scale_factor=2.0, mode="nearest")
            features = self.merges[level](levels[level] + deeper)
        return F.pixel_shuffle(self.readout(features), 2)


class _Residual(nn.Module):
    """Two 3x3 convolutions beside an identity; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = _convolution(channels, channels, activation=False)
        nn.init.zeros_(self.second.get_parameter("1.weight"))

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(features + self.second(self.first(features)))


def load_network(path: Path) -> ForegroundNetwork:
    """Read packed weights into a network ready for inference.

    Raises
    ------
    SamstarError
        If the file is missing or holds other weights.
    """
    if not path.is_file():
        raise SamstarError(
            f"no weights of the foreground network at {path}: install the package with its data, "
            "or train them with `samstar dev pretrain-foreground`"
        )
    try:
        weights = {key: value.float() for key, value in load_file(path).items()}
        # those that were packed first draw two maps
        maps = len(weights["readout.weight"]) // 4 if "readout.weight" in weights else MAPS
        network = for_inference(ForegroundNetwork(maps=maps))
        network.load_state_dict(weights)
    except (RuntimeError, OSError, SafetensorError) as error:
        raise SamstarError(
            f"{path} does not fit the foreground network: {str(error).splitlines()[0]}; expected "
            "what `samstar dev pretrain-foreground` packs"
        ) from error
    return network


def for_inference(network: ForegroundNetwork) -> ForegroundNetwork:
    """A copy in evaluation mode, its normalisations folded into the convolutions before them."""
    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential):
            convolution, normalisation = module[0], module[1]
            if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
                module[0] = fuse_conv_bn_eval(convolution, normalisation)
                module[1] = nn.Identity()
    return network.to(memory_format=torch.channels_last)


def packaged_weights_path() -> Path:
    """Where the weights lie in the installed package."""
    return Path(str(resources.files("samstar_rl.foreground"))) / WEIGHTS


@lru_cache(maxsize=1)
def packaged_network() -> ForegroundNetwork:
    """The network with the packaged weights, loaded at the first call; ONNX Runtime runs it."""
    network = load_network(packaged_weights_path())
    side = WORKING_SHORT_SIDE_PX
    try:
        network.session = open_session(
            network,
            VERSION,
            {"image": torch.zeros(1, 1, side, side)},
            ["maps"],
            varying={"image": [2, 3], "maps": [2, 3]},
        )
    except Exception as error:  # of the exporter, of ONNX Runtime: a dozen types
        logger.warning("torch estimates foregrounds, ONNX Runtime cannot: %s", error)
    return network


@lru_cache(maxsize=1)
def threads() -> ThreadPoolExecutor:
    """Threads in which parts of a frame's foreground are computed side by side."""
    return ThreadPoolExecutor(torch.get_num_threads(), "samstar-foreground")


def _convolution(
    channels_in: int, channels_out: int, *, stride: int = 1, activation: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(channels_out),
    ]
    if activation:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def raw_maps(network: ForegroundNetwork, work: Field) -> Field:
    """What a network says of one orientation of a standardised image (h, w).

    Returns
    -------
    (maps, h, w) float32 array
        Probabilities of particle, core and rim, and the logarithm of the diameter over
        `MIDDLE_DIAMETER_PX`.
    """
    height, width = work.shape
    below, right = -height % LARGEST_STRIDE, -width % LARGEST_STRIDE
    # NumPy reflects as often as needed; torch not beyond the image's own size
    padded = np.pad(work, ((0, below), (0, right)), mode="reflect")[None, None]
    if network.session is not None:
        (whole,) = network.session.run(None, {"image": padded})
        whole = torch.from_numpy(whole)
    else:
        with torch.no_grad():
            whole = network(torch.from_numpy(padded))
    logits = whole[0, :, :height, :width]
    logits[: MAPS - 1].sigmoid_()
    return np.asarray(logits.numpy())


def _done(image: Field, symmetry: int) -> Field:
    """One of the eight symmetries: quarter turns, and above 3 a flip before them."""
    flipped = image[..., ::-1] if symmetry >= 4 else image
    return np.ascontiguousarray(np.rot90(flipped, symmetry % 4, axes=(-2, -1)))


def _undone(maps: Field, symmetry: int) -> Field:
    turned = np.rot90(maps, -(symmetry % 4), axes=(-2, -1))
    return turned[..., ::-1] if symmetry >= 4 else turned
