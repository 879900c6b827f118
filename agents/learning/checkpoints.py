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
    (draft / "progress.json").write_text(json.dumps(sheet, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(draft, target)
    for older in _checkpoints(folder)[:-1]:
        shutil.rmtree(older, ignore_errors=True)


def load_checkpoint(
    folder: Path, learner: Any, like: PolicyNetwork, *, key: Mapping[str, Any]
) -> tuple[dict[str, Any], PolicyNetwork] | None:
    """Bring the learner to the last checkpoint's state.

    Parameters
    ----------
    folder : path
    learner : BaseAlgorithm
    like : PolicyNetwork
        Of the same shape as the best policy.
    key : mapping

    Returns
    -------
    (progress, best policy), or None if there is no checkpoint.

    Raises
    ------
    TrainingError
        If it belongs to another training.
    """
    found = _checkpoints(folder)
    if not found:
        return None
    sheet = read_json(found[-1] / "progress.json")
    _check_key(sheet["key"], key, found[-1])
    _load_states(learner, torch.load(found[-1] / "learner.pt", "cpu", weights_only=True))
    if isinstance(learner, OffPolicyAlgorithm):
        with np.load(found[-1] / "replay.npz", allow_pickle=False) as arrays:
            _load_replay(learner, arrays)
    learner.num_timesteps = int(sheet["progress"]["steps"])
    with np.load(found[-1] / "best.npz", allow_pickle=False) as arrays:
        best = _network_from(arrays, like)
    return sheet["progress"], best


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.isdigit())


def _check_key(found: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    wanted = json.loads(json.dumps(wanted))
    for name, value in wanted.items():
        if found.get(name) != value:
            raise TrainingError(
                f"{path} belongs to another training: its {name} is {found.get(name)!r}, asked for "
                f"is {value!r}. Train in another folder, or ask for what was begun there"
            )


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
