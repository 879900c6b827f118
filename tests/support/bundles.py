"""Policy bundles for tests: a network that nobody has trained, and all that says what it fits."""

from __future__ import annotations

import numpy as np

from samstar_rl.agents.policies.bundle import PolicyBundle
from samstar_rl.agents.policies.network import Normalisation, PolicyNetwork
from samstar_rl.envs import STREAM_ID
from samstar_rl.envs.observation.schema import ObservationSchema
from samstar_rl.tasks.task import Task


def untrained_bundle(
    task: Task, n_channels: int, *, sam_sha256: str, mean: float = 0.0, scale: float = 1.0
) -> PolicyBundle:
    """A bundle whose policy answers the middle of every range, whatever it sees."""
    schema = ObservationSchema.for_task(task, n_channels)
    n_in, n_out = schema.size, task.space.n
    network = PolicyNetwork(
        normalisation=Normalisation(
            np.full(n_in, mean, np.float32), np.full(n_in, scale, np.float32)
        ),
        weights=(np.zeros((4, n_in), np.float32), np.zeros((n_out, 4), np.float32)),
        biases=(np.zeros(4, np.float32), np.zeros(n_out, np.float32)),
        activation="tanh",
        squash=False,
        centre=np.zeros(n_out, np.float32),
        span=1.0,
    )
    return PolicyBundle.of(
        network, name="untrained", env_id=STREAM_ID, task=task, schema=schema, sam_name="tiny",
        sam_sha256=sam_sha256, training={"algorithm": "none"},
    )  # fmt: skip
