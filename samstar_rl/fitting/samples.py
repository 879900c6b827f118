"""Training samples: simulated micrographs (drawn once, cached on disk) and crops of real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from samstar_rl._io.atomic import replacing
from samstar_rl.fitting.augmentation import (
    bend,
    mosaic,
    pad,
    paste_instances,
    random_exposure,
    random_rendering,
    random_view,
    resize,
    tile_view,
    whole_view,
)
from samstar_rl.fitting.prompt_sampling import sample_prompts
from samstar_rl.simulator import draw_training_image, draw_wide_image

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

    from samstar_rl.fitting.emps import Labelled
    from samstar_rl.fitting.sam_trainer import TrainingConfig


REAL_BACKGROUND_WEIGHT = 0.5
"""A background prompt on a real frame may hit a particle that nobody labelled."""


POOL_VERSION = 2
"""Raised whenever the training images of the same seed change: pools of earlier ones stay aside."""


def image_on_disk(path: Path, draw: Callable[[], Labelled]) -> Labelled:
    """An image (H, W) uint8 and its labels (H, W) int32 from a file, or drawn and written there."""
    if path.exists():
        with np.load(path) as stored:
            return stored["image"], stored["labels"].astype(np.int32)
    image, labels = draw()
    with replacing(path) as temporary:
        np.savez(temporary, image=image, labels=labels.astype(np.uint16))
    return image, labels


class SimulatedPool:
    """A fixed number of simulated images, each drawn at its first use and kept on disk.

    Parameters
    ----------
    folder : Path
    count : int
        Images in the pool.
    size : int
        Their side in px; larger than the network's input, so that windows differ at each use.
    seed : int
    wide : bool
        Images of many small particles (at least 640 px), to be seen tile by tile.
    """

    def __init__(
        self, folder: Path, *, count: int, size: int, seed: int, wide: bool = False
    ) -> None:
        kind = "wide" if wide else "size"
        self.folder = folder / f"version{POOL_VERSION}" / f"{kind}{size}_seed{seed}"
        self.count, self.size, self.seed, self.wide = count, size, seed, wide
        self.folder.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, index: int) -> Labelled:
        draw = draw_wide_image if self.wide else draw_training_image
        return image_on_disk(
            self.folder / f"{index:06d}.npz",
            lambda: draw(np.random.default_rng([self.seed, index]), self.size),
        )


class BatchDataset(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Batches by step number.

    Step k depends on the seed and k alone, so that a training resumes where it was killed.

    Parameters
    ----------
    config : TrainingConfig
        Says how many images and prompts, and what they are shares of.
    size : int
        Side of the network's input in px.
    simulated : SimulatedPool
    real : list of (image, labels)
    wide : SimulatedPool, optional
        Of wide images.
    """

    def __init__(
        self,
        config: TrainingConfig,
        size: int,
        simulated: SimulatedPool,
        real: list[Labelled],
        *,
        wide: SimulatedPool | None = None,
    ) -> None:
        self.config, self.size = config, size
        self.simulated, self.real, self.wide = simulated, real, wide

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.config.seed, step])
        samples = [self._sample(rng) for _ in range(self.config.batch_size)]
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}

    def _real_view(self, rng: np.random.Generator) -> Labelled:
        view = tile_view if rng.random() < self.config.tile_share else random_view
        return view(rng, *self.real[rng.integers(len(self.real))], self.size)

    def _mosaic(self, rng: np.random.Generator) -> Labelled:
        """Four to sixteen views of real frames, mostly whole, every second time of one frame."""
        across = int(rng.choice([2, 3, 4], p=[0.4, 0.35, 0.25]))
        part = self.size // across
        frames = [self.real[index] for index in rng.integers(len(self.real), size=across**2)]
        if rng.random() < 0.5:
            frames = frames[:1] * across**2
        parts = []
        for image, labels in frames:
            view = whole_view if rng.random() < 0.7 else random_view
            parts.append(view(rng, image, labels, part))
        return mosaic(parts, self.size)

    def _sample(self, rng: np.random.Generator) -> dict[str, Tensor]:
        config, size, real, wide = self.config, self.size, self.real, self.wide
        while True:
            is_real = bool(real) and rng.random() < config.real_share
            if is_real:
                if rng.random() < config.mosaic_share:
                    image, labels = self._mosaic(rng)
                else:
                    image, labels = self._real_view(rng)
                if rng.random() < config.paste_share:
                    image, labels = paste_instances(rng, image, labels, *self._real_view(rng))
                if rng.random() < config.bend_share:
                    image, labels = bend(rng, image, labels)
                image, labels = random_exposure(rng, random_rendering(rng, image), labels)
            elif wide is not None and rng.random() < config.wide_share:
                image, labels = wide[int(rng.integers(wide.count))]
                if rng.random() < config.mosaic_share:  # as small as in a mosaic, too
                    image, labels = random_view(rng, image, labels, size)
                else:
                    image, labels = tile_view(rng, image, labels, size)
                if rng.random() < 0.5:
                    image, labels = random_exposure(rng, random_rendering(rng, image), labels)
            else:
                image, labels = self.simulated[int(rng.integers(self.simulated.count))]
                if rng.random() < 0.5:
                    image, labels = random_view(rng, image, labels, size)
                else:
                    image, labels = resize(image, labels, size, size)
                if rng.random() < 0.5:
                    image, labels = random_exposure(rng, random_rendering(rng, image), labels)
            shape = image.shape
            image, labels = pad(image, labels, size)
            prompts = sample_prompts(rng, labels, shape, config.prompts)
            if prompts is not None:
                background_weight = REAL_BACKGROUND_WEIGHT if is_real else 1.0
                weight = np.where(prompts.instance < 0, background_weight, 1.0).astype(np.float32)
                return {
                    "image": torch.from_numpy(np.ascontiguousarray(image)),
                    "labels": torch.from_numpy(np.ascontiguousarray(labels)),
                    "shape": torch.tensor(shape),
                    "coords_px": torch.from_numpy(prompts.coords_px),
                    "prompt_labels": torch.from_numpy(prompts.labels),
                    "instance": torch.from_numpy(prompts.instance),
                    "weight": torch.from_numpy(weight),
                }


def network_input(sam: Sam, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Images of a batch as the encoder takes them, 0 on padding, and what of them is no padding.

    Parameters
    ----------
    sam : Sam
    batch : dict
        As `BatchDataset` gives it.

    Returns
    -------
    images : (B, 3, S, S) float tensor
    valid : (B, S, S) bool tensor
    """
    shape = batch["shape"]  # the rest is padding
    along = torch.arange(batch["image"].shape[-1], device=shape.device)
    rows = along[None, :, None] < shape[:, 0, None, None]
    columns = along[None, None, :] < shape[:, 1, None, None]
    valid = rows & columns
    images = (batch["image"].unsqueeze(1).float() - sam.pixel_mean) / sam.pixel_std
    return images * valid.unsqueeze(1), valid
