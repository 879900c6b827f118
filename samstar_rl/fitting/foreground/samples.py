"""What the foreground network learns from: windows of real and simulated frames, and their maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samstar_rl.errors import SamstarError
from samstar_rl.fitting.augmentation import random_exposure, window
from samstar_rl.fitting.samples import image_on_disk
from samstar_rl.foreground.network import MIDDLE_DIAMETER_PX, WORKING_SHORT_SIDE_PX, standardise
from samstar_rl.frames.intensity import normalise
from samstar_rl.simulator import (
    FAMILIES,
    SIMULATOR_VERSION,
    SimulatedStream,
    draw_family_image,
    draw_wide_image,
)
from samstar_rl.simulator.seeds import FIRST_SEEDS

if TYPE_CHECKING:
    from samstar_rl.fitting.emps import Labelled
    from samstar_rl.fitting.foreground.training import ForegroundTraining


Labels = NDArray[np.int32]
Field = NDArray[np.float32]

#: Presets and families whose instances lie on something; grains, cells and lattices fill the plane.
PARTICLE_PRESETS = ("particles", "overlap", "morphology", "size", "core_shell")
PARTICLE_FAMILIES = tuple(
    name
    for name in FAMILIES
    if name not in ("atoms", "grains", "cells", "low_dose_atoms", "thin_walls")
)
SIMULATED_SIZES_PX = (256, 320, 384)
#: One frame in so many is a wide one, of many small particles.
WIDE_EVERY = 8
WIDE_SIZE_PX = 1024
POOL_VERSION = 2
#: Seeds from here on are kept for judging.
FIRST_JUDGING_SEED = FIRST_SEEDS["test"]
LAST_DRIFTED_FRAME = 40
#: Magnification relative to that at which the network sees whole frames.
ZOOMS = (0.5, 4.0)
#: The core begins at this share of the radius of an instance's inscribed disc.
CORE_DEPTH = 0.25
#: A rim is what lies this near, in px, to two particles.
RIM_REACH_PX = 2
#: Share of windows whose grey values are stretched and shifted against their own mean and spread,
#: as those of a tile are against its frame's.
SHIFTED_SHARE = 0.5
_BLOCK = np.ones((3, 3), np.uint8)


class SimulatedFrames:
    """A fixed number of simulated frames, each drawn at its first use and kept on disk.

    Even ones are frames of the streams of `PARTICLE_PRESETS`, somewhere in their drift; odd ones
    are single images of `PARTICLE_FAMILIES`, every eighth a wide one.

    Parameters
    ----------
    folder : Path
        Cache; safe to share between runs and to delete.
    count : int
        Below twice `FIRST_JUDGING_SEED`.

    Raises
    ------
    SamstarError
        If the count is out of range.
    """

    def __init__(self, folder: Path, count: int) -> None:
        if not 0 < count < 2 * FIRST_JUDGING_SEED:
            raise SamstarError(
                f"the number of simulated frames must be from 1 to {2 * FIRST_JUDGING_SEED - 1}, "
                f"got {count}"
            )
        version = f"version{SIMULATOR_VERSION}-{POOL_VERSION}"
        self.folder, self.count = folder / version, count
        self.folder.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, index: int) -> Labelled:
        return image_on_disk(self.folder / f"{index:06d}.npz", lambda: draw_simulated(index))


def draw_simulated(index: int) -> Labelled:
    """The simulated frame of an index: grey values (H, W) uint8 and labels (H, W) int32."""
    rng, seed = np.random.default_rng([7, index]), index // 2
    size = int(rng.choice(SIMULATED_SIZES_PX))
    if index % WIDE_EVERY == WIDE_EVERY - 1:
        return draw_wide_image(rng, WIDE_SIZE_PX)
    if index % 2:
        family = PARTICLE_FAMILIES[seed % len(PARTICLE_FAMILIES)]
        return draw_family_image(rng, family, (size, size))
    preset = PARTICLE_PRESETS[seed % len(PARTICLE_PRESETS)]
    with SimulatedStream(preset, seed=seed, size=size) as stream:
        labelled = stream.frame_at(int(rng.integers(LAST_DRIFTED_FRAME)))
    return labelled.frame.image.astype(np.uint8), labelled.truth.astype(np.int32)


class ForegroundBatches(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Batches by step number.

    Step k depends on the seed and k alone, so that a training resumes where it was killed.

    Parameters
    ----------
    config : ForegroundTraining
        Says how many windows, of which side, and how many of them are of real frames.
    simulated : SimulatedFrames
    real : list of (image, labels)
    """

    def __init__(
        self, config: ForegroundTraining, simulated: SimulatedFrames, real: list[Labelled]
    ) -> None:
        self.config, self.simulated, self.real = config, simulated, real

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """``image`` (B, 1, S, S), and ``target`` (B, 5, S, S), see `all_maps`."""
        rng = np.random.default_rng([self.config.seed, step])
        samples = [self._sample(rng) for _ in range(self.config.batch_size)]
        images, targets = zip(*samples, strict=True)
        return {
            "image": torch.from_numpy(np.stack(images)[:, None]),
            "target": torch.from_numpy(np.stack(targets)),
        }

    def _sample(self, rng: np.random.Generator) -> tuple[Field, Field]:
        while True:
            if self.real and rng.random() < self.config.real_share:
                frame = self.real[rng.integers(len(self.real))]
            else:
                frame = self.simulated[int(rng.integers(self.simulated.count))]
            image, labels = random_sample(rng, *frame, self.config.size)
            seen = standardise(normalise(image))
            if seen is not None:
                if rng.random() < SHIFTED_SHARE:
                    seen = np.float32(np.exp(rng.uniform(-0.7, 0.5))) * seen
                    seen = seen + np.float32(rng.normal(0, 0.4))
                return seen, all_maps(labels)


def random_sample(
    rng: np.random.Generator, image: NDArray[np.uint8], labels: Labels, size: int
) -> Labelled:
    """Take a random window of a frame as another microscope might have recorded it.

    Parameters
    ----------
    rng : numpy.random.Generator
    image : (H, W) uint8 array
    labels : (H, W) int32 array
        0 is background.
    size : int
        Side of the window in px.

    Returns
    -------
    (uint8 array, int32 array)
        Image and labels, (size, size) each.
    """
    zoom = np.exp(rng.uniform(*np.log(ZOOMS)))
    side = min(image.shape) * size / (WORKING_SHORT_SIDE_PX * zoom)
    view, view_labels = window(rng, image, labels, side, size)
    view, view_labels = random_exposure(rng, view, view_labels)
    return (255 - view if rng.random() < 0.5 else view), view_labels


def target_maps(labels: Labels) -> Field:
    """Particle and core of instance labels (H, W): (2, H, W) of 0 and 1."""
    particle = labels > 0
    # 0 where another instance is next to a pixel, so that cores of touching ones are separated
    values = labels.astype(np.float32)
    above = cv2.dilate(values, _BLOCK)
    below = cv2.erode(np.where(values > 0, values, np.float32(np.inf)), _BLOCK)
    alone = (labels > 0) & (above == values) & (below == values)
    distance = np.asarray(cv2.distanceTransform(alone.astype(np.uint8), cv2.DIST_L2, 5))
    deepest = np.zeros(labels.max() + 1, dtype=np.float32)
    np.maximum.at(deepest, labels, distance)
    deepest[0] = np.inf
    return np.stack([particle, distance > CORE_DEPTH * deepest[labels]]).astype(np.float32)


def all_maps(labels: Labels) -> Field:
    """What the network learns of instance labels (H, W): (5, H, W).

    Particle, core and rim of 0 and 1; the logarithm of the diameter over `MIDDLE_DIAMETER_PX`; and
    where the latter is known: on particles that the border does not cut.
    """
    logarithm, known = diameter_map(labels)
    return np.concatenate([target_maps(labels), [rim_map(labels), logarithm, known]])


def rim_map(labels: Labels) -> Field:
    """1 within `RIM_REACH_PX` of two instances, (H, W): what separates particles that touch."""
    block = np.ones((2 * RIM_REACH_PX + 1,) * 2, np.uint8)
    values = labels.astype(np.float32)
    highest = cv2.dilate(values, block)
    lowest = cv2.erode(np.where(values > 0, values, np.float32(np.inf)), block)
    return ((highest > 0) & (lowest < highest)).astype(np.float32)


def diameter_map(labels: Labels) -> tuple[Field, Field]:
    """Logarithm of the equivalent diameter of each pixel's instance, and where it is known."""
    areas = np.bincount(labels.ravel()).astype(np.float64)
    logarithms = np.log(np.sqrt(4 / np.pi * np.maximum(areas, 1)) / MIDDLE_DIAMETER_PX)
    whole = np.ones(len(areas), bool)
    whole[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = False
    whole[0] = False
    logarithms[0] = 0
    return logarithms.astype(np.float32)[labels], whole.astype(np.float32)[labels]
