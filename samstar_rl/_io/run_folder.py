"""The folder of one run: what was asked for, with which versions, and what came out."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from samstar_rl._io import atomic

# what decides about results; the rest of the environment stands in constraints.txt
RECORDED_PACKAGES = (
    "samstar-rl",
    "torch",
    "torchvision",
    "segment-anything",
    "numpy",
    "scipy",
    "gymnasium",
    "stable-baselines3",
    "pymoo",
    "onnxruntime",
)
RUN_FILE = "run.json"
RESULTS_FILE = "results.json"


class RunFolder:
    """A folder with ``run.json`` (config, command, versions), ``tensorboard/`` and the results.

    Parameters
    ----------
    path : path
        Made with its parents if it does not exist.

    Raises
    ------
    NotADirectoryError
        If the path is a file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"{self.path} is a file: choose a folder for the results")
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def tensorboard(self) -> Path:
        """Where TensorBoard's event files go."""
        return self.path / "tensorboard"

    def record(self, config: Mapping[str, Any]) -> None:
        """Write ``run.json``: every option of the run, defaults included; paths become text."""
        content = {
            "command": list(sys.argv),
            "config": {name: _plain(value) for name, value in config.items()},
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "versions": versions(),
        }
        atomic.write_json(self.path / RUN_FILE, content)

    def write_results(self, results: Mapping[str, Any]) -> Path:
        """Write ``results.json``."""
        path = self.path / RESULTS_FILE
        atomic.write_json(path, {key: _plain(value) for key, value in results.items()})
        return path

    def write_scalars(
        self,
        tags: Mapping[str, str],
        records: Sequence[Mapping[str, Any]],
        *,
        step: str | None = None,
    ) -> None:
        """Write columns of records as TensorBoard scalars.

        Parameters
        ----------
        tags : mapping of str to str
            TensorBoard's tag -> key of the records.
        records : sequence of mapping
        step : str, optional
            Key of the step; by default records are counted.
        """
        from torch.utils.tensorboard import SummaryWriter  # takes seconds to import

        with SummaryWriter(str(self.tensorboard)) as writer:
            for index, record in enumerate(records):
                for tag, key in tags.items():
                    writer.add_scalar(tag, float(record[key]), record[step] if step else index)


def versions() -> dict[str, str]:
    """Versions of Python, the platform and the packages that decide about results."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def _plain(value: Any) -> Any:
    """What JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and value != value:
        return None
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    return value
