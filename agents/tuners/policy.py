"""The tuner that asks a policy: one look at the frame, one answer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from samstar_rl.envs import TUNING_ID
from samstar_rl.envs.looks import is_over

if TYPE_CHECKING:
    from samstar_rl.agents.policies.bundle import PolicyBundle
    from samstar_rl.envs.bank_frames import BankFrames
    from samstar_rl.envs.observation.builder import ObservationBuilder
    from samstar_rl.envs.observation.schema import Vector
    from samstar_rl.settings import Settings
    from samstar_rl.tuning.tuner import FrameContext


class PolicyTuner:
    """A policy: one look at the frame, one answer.

    Parameters
    ----------
    act : callable
        Maps a raw observation (D,) to an action (n,).
    builder : ObservationBuilder
        Of the task and the SAM that the policy was made for.
    name : str
    frames : BankFrames, optional
        Where the frames come from, if their part of the observation is to be looked up.

    Attributes
    ----------
    bundle : PolicyBundle or None
        What it was made of, if it was made of one.
    """

    searches = False

    def __init__(
        self,
        act: Callable[[Vector], Vector],
        builder: ObservationBuilder,
        name: str = "policy",
        *,
        frames: BankFrames | None = None,
    ) -> None:
        self.name = name
        self.act = act
        self.builder = builder
        self.bundle: PolicyBundle | None = None
        self._frames = frames

    @classmethod
    def from_bundle(cls, bundle: PolicyBundle) -> PolicyTuner:
        """The tuner of a loaded bundle.

        Raises
        ------
        BundleError
            If this program's observations are no longer those that the policy was trained on.
        """
        kind = LookingTuner if bundle.env_id == TUNING_ID else PolicyTuner
        tuner = kind(bundle.act, bundle.make_builder(), bundle.name)
        tuner.bundle = bundle
        return tuner

    def reset(self) -> None:
        """Nothing to forget: what it knows of the last frame comes with the context."""

    def propose(self, context: FrameContext) -> Settings:
        """Look at the frame and answer."""
        return self.builder.decode(self.act(self.observe(context)))

    def observe(self, context: FrameContext) -> Vector:
        """The raw observation of a frame."""
        return self.builder.build(self.part(context), context.budget, context.last)

    def part(self, context: FrameContext) -> Vector:
        """The blocks of the observation that the frame alone decides."""
        known = None if self._frames is None else self._frames.known_part(context.frame)
        if known is not None:
            return known
        return self.builder.frame_part(context.frame, context.features)


class LookingTuner(PolicyTuner):
    """A policy that was trained in `samstar/Tuning-v1`: one look after the other.

    Each look's masks join those found before; the evaluation of the settings that it returns is
    that of all looks together.
    """

    searches = True

    def propose(self, context: FrameContext) -> Settings:
        """Look at the frame until the policy says that it is enough, or the budget is used up."""
        part, found = self.part(context), None
        for n_looks in count():
            searched = self.builder.searched(context.looks, context.left, n_looks, found)
            action = self.act(self.builder.build(part, context.left, found, searched))
            settings = self.builder.decode(action)
            found = context.look(settings)
            if is_over(float(action[-1]), n_looks + 1, context.left):
                break
        return settings
