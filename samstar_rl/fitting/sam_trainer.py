"""The training of the embedded SAM: one loop that resumes where it was killed."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.progress import Progress
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter

from samstar_rl.errors import SamstarError
from samstar_rl.fitting.evaluation import best_of_three
from samstar_rl.fitting.losses import AuxiliaryHead, MaskLosses, mask_losses
from samstar_rl.fitting.packing import begin_from_weights
from samstar_rl.fitting.resumable import ResumableTraining
from samstar_rl.fitting.samples import BatchDataset, SimulatedPool, network_input
from samstar_rl.sam.architectures.tiny import TinySamConfig, build_tiny_sam, tie_cross_attentions
from samstar_rl.sam.folded_decoder import point_tokens, predict_masks

if TYPE_CHECKING:
    from samstar_rl.fitting.emps import Labelled


MASK_STRIDE = 2
IOU_WEIGHT = 2.0
AUXILIARY_WEIGHT = 0.4


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the result, beside the data.

    Parameters
    ----------
    images : int
        To see in all. May be changed when a training resumes, as long as the decay has not begun.
    batch_size, prompts : int
        Images a step, prompts an image.
    parts : int
        Parts of a batch that are computed side by side, each normalised by itself. Threads that
        share no operation do not wait for one another where other work takes a core.
    learning_rate : float
        Of the plateau between warm-up and decay.
    decay_share : float
        The last part of the training, in which the rate falls linearly to zero. May be changed
        like `images`.
    real_share : float
        Share of crops of real frames; the rest is simulated.
    tile_share : float
        Of the views of real frames, the share that are tiles as a gaze cuts them; the others are
        whole frames and windows at any angle.
    wide_share : float
        Of the simulated views, the share that are tiles of wide images of many small particles.
    mosaic_share : float
        Of the views of real frames, the share that are put together of 4 to 16 smaller ones, and of
        wide images that which is seen at any magnification instead of in tiles: for particles of
        4 to 10 px.
    paste_share, bend_share : float
        Of the views of real frames, the shares that get instances of another one laid over them,
        and that are warped: against learning the few frames there are by heart.
    simulated_images, simulated_size : int
        Number and side (px) of the simulated images in the pool.
    wide_images, wide_size : int
        The same of the wide images.
    precision : {"float32", "bfloat16"}
        Mixed precision pays on CUDA and on CPUs with AMX.
    """

    images: int = 48_000
    batch_size: int = 4
    parts: int = 1
    prompts: int = 8
    learning_rate: float = 1.0e-3
    warmup_steps: int = 250
    decay_share: float = 0.35
    weight_decay: float = 0.03
    ema_decay: float = 0.998
    real_share: float = 0.5
    tile_share: float = 0.4
    wide_share: float = 0.4
    mosaic_share: float = 0.4
    paste_share: float = 0.25
    bend_share: float = 0.4
    simulated_images: int = 8_000
    simulated_size: int = 320
    wide_images: int = 800
    wide_size: int = 1024
    precision: str = "float32"
    seed: int = 0

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return self.images // self.batch_size

    def rate(self, step: int) -> float:
        """Learning rate: linear warm-up, plateau, linear decay."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        left = (self.steps - step) / max(1.0, self.decay_share * self.steps)
        return self.learning_rate * warm * min(1.0, max(left, 0.0))


class Trainer(ResumableTraining):
    """Trains the embedded SAM on one device and keeps a checkpoint from which it resumes.

    Parameters
    ----------
    config : TrainingConfig
    folder : Path
        Run folder: ``checkpoint.pt`` (tensors and numbers only), TensorBoard events.
    pool_folder : Path
        Cache of simulated images, shared between runs.
    real : list of (image, labels)
        Real frames to train on.
    validation : list of (image, labels)
        Real frames for the curve in TensorBoard.
    device : str
    workers : int
        Processes that prepare batches.
    network : TinySamConfig, optional
        Sizes of the network.
    begin_from : Path, optional
        Weights from which a new training begins, see `samstar_rl.fitting.packing`; a training
        that resumes has its own.

    Raises
    ------
    SamstarError
        If a batch cannot be divided into that many equal parts.
    """

    KEPT = ("sam", "average", "auxiliary", "optimizer")
    MAY_CHANGE = ("images", "decay_share")

    def __init__(
        self,
        config: TrainingConfig,
        folder: Path,
        *,
        pool_folder: Path,
        real: list[Labelled],
        validation: list[Labelled],
        device: str = "cpu",
        workers: int = 1,
        network: TinySamConfig | None = None,
        begin_from: Path | None = None,
    ) -> None:
        if config.parts < 1 or config.batch_size % config.parts:
            raise SamstarError(
                f"a batch of {config.batch_size} images does not divide into {config.parts} equal "
                "parts: choose another batch_size or parts"
            )
        self.config: TrainingConfig = config
        self.folder, self.validation = folder, validation
        self.device, self.workers = torch.device(device), workers
        network = network or TinySamConfig()
        self.sam = build_tiny_sam(network, seed=config.seed)
        if begin_from is None:
            tie_cross_attentions(self.sam)
        else:
            begin_from_weights(self.sam, begin_from)
        self.sam.train().to(self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.auxiliary = AuxiliaryHead(network.channels).to(self.device)
        if begin_from is not None:  # a head of noise would teach the encoder noise at first
            torch.nn.init.zeros_(self.auxiliary.maps.weight)
        self.average = build_tiny_sam(network, seed=config.seed).to(self.device)
        self.average.load_state_dict(self.sam.state_dict())
        self.optimizer = self._adamw(self.sam, self.auxiliary, betas=(0.9, 0.98), fused=True)
        # Parts of a batch are computed by copies that share parameters, not statistics.
        memo = {id(one): one for one in self._parameters(self.sam, self.auxiliary)}
        self._replicas = [(self.sam, self.auxiliary)] + [
            copy.deepcopy((self.sam, self.auxiliary), dict(memo)) for _ in range(config.parts - 1)
        ]
        self._threads: ThreadPoolExecutor | None = None
        if config.parts > 1:
            self._threads = ThreadPoolExecutor(config.parts, "part", initializer=_one_thread)
        self.step = 0
        self.begun = begin_from is not None
        pool = SimulatedPool(
            pool_folder, count=config.simulated_images, size=config.simulated_size, seed=config.seed
        )
        wide = SimulatedPool(
            pool_folder,
            count=config.wide_images,
            size=config.wide_size,
            seed=config.seed,
            wide=True,
        )
        self.dataset = BatchDataset(config, network.image_size, pool, real, wide=wide)

    @staticmethod
    def _parameters(*modules: nn.Module) -> list[nn.Parameter]:
        return [one for module in modules for one in module.parameters() if one.requires_grad]

    def run(self, *, save_every_s: float = 120, validate_every_s: float = 900) -> Sam:
        """Train to the end and return the averaged network."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            self._resume(self.device)
        writer = SummaryWriter(self.folder, purge_step=self.step * self.config.batch_size)
        saved = validated = logged = time.monotonic()
        history: list[dict[str, float]] = []
        with Progress() as progress, writer:
            bar = progress.add_task(
                "training", total=self.config.images, completed=self.step * self.config.batch_size
            )
            for batch in self._batches(
                self.dataset, self.config.steps, workers=self.workers, ahead=8
            ):
                history.append(self._train_step(batch))
                self.step += 1
                progress.advance(bar, self.config.batch_size)
                now = time.monotonic()
                if now - logged > 20:
                    self._log(writer, history, now - logged)
                    logged, history = now, []
                if now - validated > validate_every_s:
                    self._validate(writer)
                    validated = time.monotonic()
                if now - saved > save_every_s:
                    self._save()
                    saved = time.monotonic()
            self._validate(writer)
        self._save()
        return self.average.eval()

    def _train_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate(self.step)
        batch = {key: value.to(self.device) for key, value in batch.items()}
        names = list(batch)
        chunks = zip(*(value.chunk(self.config.parts) for value in batch.values()), strict=True)
        parts = [dict(zip(names, chunk, strict=True)) for chunk in chunks]
        if self._threads is None:
            results = [self._gradients(*self._replicas[0], parts[0])]
        else:
            results = list(
                self._threads.map(self._gradients, *zip(*self._replicas, strict=True), parts)
            )
        parameters = self._parameters(self.sam, self.auxiliary)
        for parameter, *gradients in zip(parameters, *(one for one, _ in results), strict=True):
            # what no prompt uses has no gradient, and does not decay either
            used = [gradient for gradient in gradients if gradient is not None]
            parameter.grad = torch.stack(used).sum(dim=0) / len(gradients) if used else None
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self._follow(self.average, self.sam)
        logs = [log for _, log in results]
        return {key: math.fsum(log[key] for log in logs) / len(logs) for key in logs[0]}

    def _gradients(
        self, sam: Sam, auxiliary: AuxiliaryHead, batch: dict[str, Tensor]
    ) -> tuple[Sequence[Tensor | None], dict[str, float]]:
        """Gradients of all parameters on a part of a batch, and what is logged of it."""
        masks, embedding, valid = self._masks(sam, batch)
        dense = auxiliary.loss(embedding, batch["labels"], valid)
        loss = masks.mask + IOU_WEIGHT * masks.iou + AUXILIARY_WEIGHT * dense
        gradients = torch.autograd.grad(loss, self._parameters(sam, auxiliary), allow_unused=True)
        return gradients, {
            "loss/mask": float(masks.mask.detach()),
            "loss/iou": float(masks.iou.detach()),
            "loss/auxiliary": float(dense.detach()),
            "train/best_of_three_iou": float(masks.best_iou),
            "train/selected_iou": float(masks.selected_iou),
        }

    def _masks(self, sam: Sam, batch: dict[str, Tensor]) -> tuple[MaskLosses, Tensor, Tensor]:
        """Losses of the masks, the embedding, and what of the images is no padding."""
        images, valid = network_input(sam, batch)
        prompt_encoder = sam.prompt_encoder
        mixed = self.config.precision != "float32"
        dtype = getattr(torch, self.config.precision)
        with torch.autocast(self.device.type, dtype, enabled=mixed):
            embedding = sam.image_encoder(images)
            sparse = point_tokens(
                prompt_encoder,
                batch["coords_px"].flatten(0, 1),
                batch["prompt_labels"].flatten(0, 1),
            )
            logits, iou_pred = predict_masks(
                sam.mask_decoder,
                embedding,
                prompt_encoder.get_dense_pe(),
                prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1),
                sparse,
            )
        target = mask_targets(batch["labels"], batch["instance"])
        masks = mask_losses(logits.float(), iou_pred.float(), target, batch["weight"].flatten())
        return masks, embedding.float(), valid

    def _log(self, writer: SummaryWriter, history: list[dict[str, float]], seconds: float) -> None:
        images = self.step * self.config.batch_size
        for key in history[0]:
            mean = math.fsum(entry[key] for entry in history) / len(history)
            writer.add_scalar(key, mean, images)
        rate = len(history) * self.config.batch_size / seconds
        writer.add_scalar("train/images_per_second", rate, images)
        writer.add_scalar("train/learning_rate", self.config.rate(self.step), images)
        writer.flush()

    def _validate(self, writer: SummaryWriter) -> None:
        images = self.step * self.config.batch_size
        result = best_of_three(self.average.eval(), self.validation, most_instances=8)
        for key, value in asdict(result).items():
            writer.add_scalar(f"validation/{key}", value, images)
        with (self.folder / "validation.jsonl").open("a") as file:
            file.write(json.dumps({"images": images, **asdict(result)}) + "\n")


def _one_thread() -> None:
    """For a thread of its own: its operations take no other, and subnormal numbers no time."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def mask_targets(labels: Tensor, instance: Tensor) -> Tensor:
    """Soft masks (B * P, S / 2, S / 2) of the instances (B, P) in labels (B, S, S)."""
    masks = labels.unsqueeze(1) == instance[:, :, None, None]
    return F.avg_pool2d(masks.float(), MASK_STRIDE).flatten(0, 1)
