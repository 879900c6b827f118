"""Training samples: simulated micrographs (drawn once, cached on disk) and crops of real ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from samstar_rl._io.atomic import replacing
from samstar_rl.fitting.augmentation import pad, random_exposure, random_view, resize, tile_view
from samstar_rl.fitting.prompt_sampling import sample_prompts
from samstar_rl.simulator import draw_training_image, draw_wide_image

if TYPE_CHECKING:
    from samstar_rl.fitting.emps import Labelled


REAL_BACKGROUND_WEIGHT = 0.5
"""A background prompt on a real frame may hit a particle that nobody labelled."""


POOL_VERSION = 2
"""Raised whenever the training images of the same seed change: pools of earlier ones stay aside."""


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
        path = self.folder / f"{index:06d}.npz"
        if path.exists():
            with np.load(path) as stored:
                return stored["image"], stored["labels"].astype(np.int32)
        draw = draw_wide_image if self.wide else draw_training_image
        image, labels = draw(np.random.default_rng([self.seed, index]), self.size)
        with replacing(path) as temporary:
            np.savez(temporary, image=image, labels=labels.astype(np.uint16))
        return image, labels


@dataclass(frozen=True)
class SampleSpec:
    """What a training sample is made of.

    Parameters
    ----------
    image_size : int
        Side of the network's input in px.
    prompts : int
        Per image.
    real_share : float
        Share of crops of real frames.
    tile_share : float
        Of the views of real frames, the share that are tiles as a gaze cuts them; the others are
        whole frames and windows at any angle.
    wide_share : float
        Of the simulated views, the share that are tiles of wide images.
    """

    image_size: int
    prompts: int
    real_share: float
    tile_share: float = 0.4
    wide_share: float = 0.4


def _draw_sample(
    rng: np.random.Generator,
    spec: SampleSpec,
    simulated: SimulatedPool,
    real: list[Labelled],
    *,
    wide: SimulatedPool | None = None,
) -> dict[str, Tensor]:
    """Draw one training sample."""
    while True:
        is_real = bool(real) and rng.random() < spec.real_share
        if is_real:
            view = tile_view if rng.random() < spec.tile_share else random_view
            image, labels = view(rng, *real[rng.integers(len(real))], spec.image_size)
            image, labels = random_exposure(rng, image, labels)
        elif wide is not None and rng.random() < spec.wide_share:
            image, labels = tile_view(rng, *wide[int(rng.integers(wide.count))], spec.image_size)
            if rng.random() < 0.5:
                image, labels = random_exposure(rng, image, labels)
        else:
            image, labels = simulated[int(rng.integers(simulated.count))]
            if rng.random() < 0.5:
                image, labels = random_view(rng, image, labels, spec.image_size)
            else:
                image, labels = resize(image, labels, spec.image_size, spec.image_size)
            if rng.random() < 0.5:
                image, labels = random_exposure(rng, image, labels)
        shape = image.shape
        image, labels = pad(image, labels, spec.image_size)
        prompts = sample_prompts(rng, labels, shape, spec.prompts)
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


class BatchDataset(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Batches by step number.

    Step k depends on the seed and k alone, so that a training resumes where it was killed.
    """

    def __init__(
        self,
        spec: SampleSpec,
        simulated: SimulatedPool,
        real: list[Labelled],
        *,
        batch_size: int,
        seed: int,
        wide: SimulatedPool | None = None,
    ) -> None:
        self.spec, self.simulated, self.real, self.wide = spec, simulated, real, wide
        self.batch_size, self.seed = batch_size, seed

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.seed, step])
        samples = [
            _draw_sample(rng, self.spec, self.simulated, self.real, wide=self.wide)
            for _ in range(self.batch_size)
        ]
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}
