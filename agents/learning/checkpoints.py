"""Checkpoints of a training: everything that its going on depends on, and no pickle.

State dicts (read with ``weights_only=True``), npz and JSON.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from samstar_rl._io.atomic import read_json
from samstar_rl.agents.policies.network import PolicyNetwork
from samstar_rl.errors import SamstarError

SHEET = "progress.json"


class TrainingError(SamstarError):
    """A training cannot begin or be resumed as asked."""


def save_checkpoint(
    folder: Path,
    learner: Any,
    best: PolicyNetwork,
    *,
    key: Mapping[str, Any],
    progress: Mapping[str, Any],
) -> None:
    """Write ``folder/NNNNNNNNN/``: it appears complete or not at all; older ones go.

    Parameters
    ----------
    folder : path
    learner : BaseAlgorithm
    best : PolicyNetwork
        The best policy so far.
    key : mapping
        What must agree for a training to go on from here.
    progress : mapping
        Its ``steps`` name the checkpoint.
    """
    target = folder / f"{progress['steps']:09d}"
    draft = folder / f".{target.name}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    torch.save(_states(learner), draft / "learner.pt")
    np.savez(draft / "best.npz", **_network_arrays(best))
    if isinstance(learner, OffPolicyAlgorithm):
        np.savez(draft / "replay.npz", **_replay_arrays(learner))
    sheet = {"key": dict(key), "progress": dict(progress)}
    (draft / SHEET).write_text(json.dumps(sheet, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(draft, target)
    for older in _checkpoints(folder)[:-1]:
        shutil.rmtree(older, ignore_errors=True)


def last_checkpoint(folder: Path, key: Mapping[str, Any]) -> Path | None:
    """Find the checkpoint from which a training may go on.

    Parameters
    ----------
    folder : path
    key : mapping
        What must agree with the training that wrote it.

    Returns
    -------
    Path or None
        None if there is no checkpoint.

    Raises
    ------
    TrainingError
        If it belongs to another training.
    """
    found = _checkpoints(folder)
    if not found:
        return None
    known = read_json(found[-1] / SHEET)["key"]
    for name, value in json.loads(json.dumps(key)).items():
        if known.get(name) != value:
            raise TrainingError(
                f"{found[-1]} belongs to another training: its {name} is {known.get(name)!r}, "
                f"asked for is {value!r}. Train in another folder, or ask for what was begun there"
            )
    return found[-1]


def load_checkpoint(
    path: Path, learner: Any, like: PolicyNetwork
) -> tuple[dict[str, Any], PolicyNetwork]:
    """Bring the learner to a checkpoint's state.

    Parameters
    ----------
    path : path
        As `last_checkpoint` finds it.
    learner : BaseAlgorithm
    like : PolicyNetwork
        Of the same shape as the best policy.

    Returns
    -------
    (progress, best policy)
    """
    progress: dict[str, Any] = read_json(path / SHEET)["progress"]
    _load_states(learner, torch.load(path / "learner.pt", "cpu", weights_only=True))
    if isinstance(learner, OffPolicyAlgorithm):
        with np.load(path / "replay.npz", allow_pickle=False) as arrays:
            _load_replay(learner, arrays)
    learner.num_timesteps = int(progress["steps"])
    with np.load(path / "best.npz", allow_pickle=False) as arrays:
        best = _network_from(arrays, like)
    return progress, best


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.isdigit())


def _states(learner: Any) -> dict[str, Any]:
    states = {"parameters": learner.get_parameters(), "n_updates": learner._n_updates}
    if getattr(learner, "log_ent_coef", None) is not None:
        states["log_ent_coef"] = learner.log_ent_coef.detach()
    return states


def _load_states(learner: Any, states: Mapping[str, Any]) -> None:
    learner.set_parameters(states["parameters"], device="cpu")
    learner._n_updates = int(states["n_updates"])
    if getattr(learner, "log_ent_coef", None) is not None:
        learner.log_ent_coef.data.copy_(states["log_ent_coef"])


_REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def _replay_arrays(learner: Any) -> dict[str, Any]:
    buffer = learner.replay_buffer
    filled = buffer.buffer_size if buffer.full else buffer.pos
    arrays = {name: getattr(buffer, name)[:filled] for name in _REPLAY}
    return {**arrays, "position": np.array([buffer.pos, int(buffer.full)])}


def _load_replay(learner: Any, arrays: Mapping[str, Any]) -> None:
    buffer = learner.replay_buffer
    for name in _REPLAY:
        getattr(buffer, name)[: len(arrays[name])] = arrays[name]
    position, full = arrays["position"]
    buffer.pos, buffer.full = int(position), bool(full)


def _network_arrays(network: PolicyNetwork) -> dict[str, Any]:
    arrays = {f"weight_{i}": weight for i, weight in enumerate(network.weights)}
    return arrays | {f"bias_{i}": bias for i, bias in enumerate(network.biases)}


def _network_from(arrays: Mapping[str, Any], like: PolicyNetwork) -> PolicyNetwork:
    count = len(like.weights)
    return PolicyNetwork(
        normalisation=like.normalisation,
        weights=tuple(arrays[f"weight_{i}"] for i in range(count)),
        biases=tuple(arrays[f"bias_{i}"] for i in range(count)),
        activation=like.activation,
        squash=like.squash,
        centre=like.centre,
        span=like.span,
    )
