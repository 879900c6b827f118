"""The training of the foreground network: one loop that resumes where it was killed."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from samstar_rl._io.atomic import replacing
from samstar_rl.errors import SamstarError
from samstar_rl.fitting.foreground.samples import ForegroundBatches, SimulatedFrames
from samstar_rl.fitting.resumable import ResumableTraining
from samstar_rl.foreground.network import WIDTHS, ForegroundNetwork, for_inference, load_network

if TYPE_CHECKING:
    from samstar_rl.fitting.emps import Labelled

DICE_WEIGHT = 1.0
CORE_WEIGHT = 0.7
RIM_WEIGHT = 0.5
DIAMETER_WEIGHT = 0.5
#: Rims are thin: one of their pixels counts as much as so many others.
RIM_PIXEL_WEIGHT = 4.0
#: An image with this share of foreground has the weight 1 in the cross-entropies.
USUAL_SHARE = 0.25
IMAGE_WEIGHTS = (0.7, 3.0)
LOG_EVERY_S = 20.0


@dataclass(frozen=True)
class ForegroundTraining:
    """Everything that decides the result, beside the data.

    Parameters
    ----------
    steps : int, optional
        Optimiser steps in all.
    minutes : float, optional
        In place of steps: how long to train in all, pauses between resumptions not counted. How
        many steps that makes depends on the machine.
    batch_size : int
    learning_rate : float
        Highest rate, after the warm-up; it then falls to zero as a half cosine.
    warmup_steps : int
    weight_decay : float
    ema_decay : float
        Of the moving average of the weights, which is what is packed.
    size : int
        Side of the windows in px, a multiple of 32.
    real_share : float
        Share of windows of real frames.
    simulated_frames : int
        In the pool from which windows are drawn.
    precision : {"float32", "bfloat16"}
    seed : int

    Raises
    ------
    SamstarError
        If not exactly one of steps and minutes is given, or one is not positive.
    """

    steps: int | None = None
    minutes: float | None = None
    batch_size: int = 8
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    weight_decay: float = 0.02
    ema_decay: float = 0.997
    size: int = 224
    real_share: float = 0.5
    simulated_frames: int = 800
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise SamstarError("give either steps or minutes: how long the training shall be")
        if (self.steps or self.minutes or 0) <= 0:
            raise SamstarError("steps or minutes must be above 0")

    def progress(self, step: int, trained_s: float) -> float:
        """How much of the training is done, in [0, 1]."""
        done = step / self.steps if self.steps else trained_s / (60 * float(self.minutes or 1))
        return min(done, 1.0)

    def rate(self, step: int, progress: float) -> float:
        """Learning rate: linear warm-up, then a half cosine."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * progress))


class ForegroundTrainer(ResumableTraining):
    """Trains the foreground network and keeps a checkpoint from which it resumes.

    Parameters
    ----------
    config : ForegroundTraining
    folder : Path
        Run folder: ``checkpoint.pt`` (tensors and numbers only), ``losses.jsonl``.
    pool_folder : Path
        Cache of simulated frames, shared between runs.
    real : list of (image, labels)
        Real frames to train on.
    workers : int
        Processes that prepare batches; 0 prepares them in this one.
    widths : tuple of int, optional
        Another size, for tests.
    begin_from : Path, optional
        Packed weights from which a new training begins, in place of random ones.
    """

    KEPT = ("network", "average", "optimizer")
    COUNTED = ("step", "trained_s")
    MAY_CHANGE = ("steps", "minutes")

    def __init__(
        self,
        config: ForegroundTraining,
        folder: Path,
        *,
        pool_folder: Path,
        real: list[Labelled],
        workers: int = 0,
        widths: tuple[int, ...] | None = None,
        begin_from: Path | None = None,
    ) -> None:
        self.config: ForegroundTraining = config
        self.folder, self.workers = folder, workers
        self.begin_from, self.begun = begin_from, begin_from is not None
        widths = widths or WIDTHS
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = ForegroundNetwork(widths)
        self.network.train().to(memory_format=torch.channels_last)
        self.average = ForegroundNetwork(widths).eval()
        self.average.load_state_dict(self.network.state_dict())
        self.optimizer = self._adamw(self.network, betas=(0.9, 0.99))
        self.step, self.trained_s = 0, 0.0
        simulated = SimulatedFrames(pool_folder, config.simulated_frames)
        self.batches = ForegroundBatches(config, simulated, real)

    def run(self, *, save_every_s: float = 60) -> ForegroundNetwork:
        """Train to the end and return the averaged network in evaluation mode."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            self._resume()
        elif self.begin_from is not None:
            images = torch.cat([self.batches[10**6 + k]["image"] for k in range(4)])
            begin_from_packed(self.network, self.begin_from, images)
            self.average.load_state_dict(self.network.state_dict())
        saved = logged = before = time.monotonic()
        history: list[dict[str, float]] = []
        with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()) as bar:
            task = bar.add_task("training", total=1.0)
            last = self.config.steps or 10**9
            for batch in self._batches(self.batches, last, workers=self.workers, ahead=4):
                if self._done >= 1:
                    break
                history.append(self.train_step(batch))
                now = time.monotonic()
                self.trained_s += now - before
                before = now
                if now - logged > LOG_EVERY_S:
                    self._log(history, now - logged)
                    logged, history = now, []
                if now - saved > save_every_s:
                    self._save()
                    saved = time.monotonic()
                loss = f"{sum(history[-1].values()):.3f}" if history else ""
                bar.update(task, completed=self._done, description=f"step {self.step} {loss}")
        self._save()
        return self.average

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Take one step of the optimiser and return the losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate(self.step, self._done)
        mixed = self.config.precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            logits = self.network(batch["image"])
        losses = foreground_losses(logits.float(), batch["target"])
        self.optimizer.zero_grad(set_to_none=True)
        total = losses["particle"] + DICE_WEIGHT * losses["dice"] + CORE_WEIGHT * losses["core"]
        if "rim" in losses:
            total = total + RIM_WEIGHT * losses["rim"] + DIAMETER_WEIGHT * losses["diameter"]
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self._follow(self.average, self.network)
        self.step += 1
        return {key: float(value.detach()) for key, value in losses.items()}

    @property
    def _done(self) -> float:
        return self.config.progress(self.step, self.trained_s)

    def _log(self, history: list[dict[str, float]], seconds: float) -> None:
        entry = {"step": self.step, "images_per_second": 0.0}
        entry |= {key: math.fsum(h[key] for h in history) / len(history) for key in history[0]}
        entry["images_per_second"] = len(history) * self.config.batch_size / seconds
        with (self.folder / "losses.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")


def foreground_losses(logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Compare logits (B, 2 or 4, H, W) with the maps (B, 2 or 5, H, W) of `all_maps`.

    Returns
    -------
    dict
        ``particle`` and ``core``: binary cross-entropies, images with few particles weighing more;
        ``dice``: soft Dice loss of the particles, mean over images. Of four maps also ``rim``, a
        binary cross-entropy in which the thin rims weigh more, and ``diameter``, the smooth
        absolute error of its logarithm where it is known, each particle counting by its diameter.
    """
    errors = F.binary_cross_entropy_with_logits(logits[:, :2], target[:, :2], reduction="none")
    errors = errors.mean(dim=(2, 3))
    share = target[:, 0].mean(dim=(1, 2))
    weight = (USUAL_SHARE / share.clamp_min(1e-3)).sqrt().clamp(*IMAGE_WEIGHTS)
    particle, core = ((weight[:, None] * errors).sum(dim=0) / weight.sum()).unbind()
    losses = {"particle": particle, "core": core, "dice": _soft_dice(logits[:, 0], target[:, 0])}
    if logits.shape[1] == 2:
        return losses
    losses["rim"] = F.binary_cross_entropy_with_logits(
        logits[:, 2], target[:, 2], pos_weight=logits.new_tensor(RIM_PIXEL_WEIGHT)
    )
    logarithm, known = target[:, 3], target[:, 4]
    errors = F.smooth_l1_loss(logits[:, 3], logarithm, reduction="none", beta=0.2)
    # by area a few large particles would outweigh all small ones
    by_pixel = known * torch.exp(-logarithm)
    losses["diameter"] = (by_pixel * errors).sum() / by_pixel.sum().clamp_min(1)
    return losses


def _soft_dice(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice of probabilities, mean over images (B, H, W)."""
    probability = logits.sigmoid().flatten(1)
    shared = (probability * target.flatten(1)).sum(dim=1)
    total = probability.sum(dim=1) + target.flatten(1).sum(dim=1)
    # a few hundredths of a percent of the image, so that an empty one has a slope too
    least = 3e-4 * probability.shape[1]
    return (1 - (2 * shared + least) / (total + least)).mean()


def pack(network: ForegroundNetwork, path: Path) -> None:
    """Store a network for inference, in float16 as safetensors, complete or not at all."""
    weights = {
        name: value.half().contiguous()
        for name, value in for_inference(network).state_dict().items()
    }
    with replacing(path) as temporary:
        save_file(weights, temporary)


@torch.no_grad()
def begin_from_packed(network: ForegroundNetwork, path: Path, images: Tensor) -> None:
    """Load packed weights into a network that shall be trained on, in place.

    Packing folds the normalisations into the convolutions. Here each gets the mean and spread that
    it sees of some images, and weights that undo just these: the network draws the same maps as the
    packed one. Maps that the packed one does not draw start with random weights.

    Parameters
    ----------
    network : ForegroundNetwork
    path : Path
    images : (B, 1, H, W) tensor
        Training images.

    Raises
    ------
    SamstarError
        If the packed weights are of a network of another size.
    """
    packed = load_network(path)
    try:
        _copy_folded(network, packed)
    except RuntimeError as error:  # a tensor of another shape
        raise SamstarError(f"{path} is of a foreground network of another size: {error}") from error
    handles = [
        module.register_forward_pre_hook(_undo_normalisation)
        for module in network.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    network.eval()(images)
    network.train()
    for handle in handles:
        handle.remove()


def _copy_folded(network: ForegroundNetwork, packed: ForegroundNetwork) -> None:
    """Copy the weights of folded convolutions; their biases go to the normalisations behind."""
    own = dict(network.named_modules())
    for name, module in packed.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        target = own[name]
        rows = min(len(module.weight), len(target.weight))  # of the readout
        target.weight[:rows].copy_(module.weight[:rows])
        if module.bias is None:
            continue
        if target.bias is None:
            stem, _, _ = name.rpartition(".")
            target = own[f"{stem}.1"]
        target.bias[:rows].copy_(module.bias[:rows])


def _undo_normalisation(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Take mean and spread from what comes in, and undo them by weight and bias."""
    assert isinstance(module, nn.BatchNorm2d)
    assert module.running_mean is not None and module.running_var is not None
    variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
    module.running_mean.copy_(mean)
    module.running_var.copy_(variance)
    module.weight.copy_(torch.sqrt(variance + module.eps))
    module.bias.add_(mean)
