"""What trainings share: steps of AdamW, a moving average of the weights, a checkpoint to resume."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from samstar_rl._io.atomic import replacing
from samstar_rl.errors import SamstarError


class ResumableTraining:
    """A training that goes on from its checkpoint; what it computes is the subclass's.

    Attributes
    ----------
    KEPT : tuple of str
        Attributes whose ``state_dict`` is in the checkpoint.
    COUNTED : tuple of str
        Attributes that are plain numbers there.
    MAY_CHANGE : tuple of str
        Fields of the config that may differ when the training resumes.
    config : dataclass
        Has ``learning_rate``, ``weight_decay`` and ``ema_decay``.
    folder : Path
        Holds ``checkpoint.pt``, of tensors and numbers only.
    step : int
        Steps done.
    begun : bool
        Whether the training began from weights that mean something already.
    """

    KEPT: ClassVar[tuple[str, ...]]
    COUNTED: ClassVar[tuple[str, ...]] = ("step",)
    MAY_CHANGE: ClassVar[tuple[str, ...]]
    config: Any
    folder: Path
    step: int
    begun: bool

    @property
    def checkpoint(self) -> Path:
        """Where the training resumes from."""
        return self.folder / "checkpoint.pt"

    def _adamw(self, *modules: nn.Module, **options: Any) -> torch.optim.AdamW:
        """AdamW that does not decay biases and normalisations."""
        parameters = [parameter for module in modules for parameter in module.parameters()]
        matrices = [parameter for parameter in parameters if parameter.ndim > 1]
        vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": self.config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.config.learning_rate, **options)

    def _batches(
        self, dataset: Dataset[dict[str, Tensor]], last: int, *, workers: int, ahead: int
    ) -> Iterator[dict[str, Tensor]]:
        """The batches from this step to the last, prepared by processes where there are workers."""
        return iter(
            DataLoader(
                dataset,
                batch_size=None,
                sampler=range(self.step, last),
                num_workers=workers,
                prefetch_factor=ahead if workers else None,
            )
        )

    @torch.no_grad()
    def _follow(self, average: nn.Module, network: nn.Module) -> None:
        """Exponential moving average of the weights, short at the start of new ones."""
        decay = self.config.ema_decay
        if not self.begun:
            decay = min(decay, (self.step + 1) / (self.step + 20))
        averaged, current = average.state_dict(), network.state_dict()
        floats = [key for key in averaged if averaged[key].is_floating_point()]
        torch._foreach_lerp_(
            [averaged[key] for key in floats], [current[key] for key in floats], 1 - decay
        )

    def _save(self) -> None:
        state = {"config": asdict(self.config)}
        state |= {name: getattr(self, name) for name in self.COUNTED}
        state |= {name: getattr(self, name).state_dict() for name in self.KEPT}
        with replacing(self.checkpoint) as temporary:
            torch.save(state, temporary)

    def _resume(self, device: torch.device | None = None) -> None:
        state = torch.load(self.checkpoint, map_location=device, weights_only=True)
        for key, now in asdict(self.config).items():
            before = state["config"].get(key)
            if key not in self.MAY_CHANGE and before != now:
                raise SamstarError(
                    f"{self.checkpoint} was begun with {key} = {before}, now it is {now}: resume "
                    f"with the same options (only {' and '.join(self.MAY_CHANGE)} may change) or "
                    "choose another folder"
                )
        for name in self.KEPT:
            getattr(self, name).load_state_dict(state[name])
        for name in self.COUNTED:
            setattr(self, name, state[name])
