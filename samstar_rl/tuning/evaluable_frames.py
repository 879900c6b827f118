"""Frames with whatever turns settings into a segmentation of them, as a `FrameSource` offers it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from samstar_rl.segmentation.filters import filter_proposals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from samstar_rl.bank.bank import Bank
    from samstar_rl.evidence.frame_evidence import FrameEvidence
    from samstar_rl.frames.frame import Frame
    from samstar_rl.sam.embedding import Embedding, FrameFeatures
    from samstar_rl.sam.engine import ProposalEngine, Proposals
    from samstar_rl.segmentation.segmentation import Segmentation
    from samstar_rl.settings import PromptSettings, Settings


class BankFrame:
    """A frame of a bank as a `FrameSource`: SAM has done its work already.

    Parameters
    ----------
    bank : Bank
    index : int
        Of the frame in the bank.
    """

    def __init__(self, bank: Bank, index: int) -> None:
        self.bank = bank
        self.index = index
        self.frame = bank.frame(index)

    @property
    def features(self) -> FrameFeatures:
        """The whole frame's embedding, pooled, as recorded in the bank."""
        return self.bank.features(self.index)

    @property
    def records(self) -> list[Proposals]:
        """All proposals of the frame in the bank."""
        return [self.bank.proposals(self.index, prompt) for prompt in self.bank.prompts]

    def segment(
        self,
        settings: Settings,
        length_unit_px: float,
        evidence: FrameEvidence | None = None,
        cost_limit: float | None = None,
    ) -> Segmentation:
        """Choose among the recorded proposals.

        Parameters
        ----------
        settings : Settings
        length_unit_px : float
            One unit of length of the task in px of the frame.
        evidence : FrameEvidence, optional
            Of the frame and the sample, for the gate ``min_plausibility``.
        cost_limit : float, optional
            The budget of the frame, see `ProposalEngine.propose`.

        Returns
        -------
        Segmentation
        """
        proposals = self.bank.proposals(self.index, settings.prompt, cost_limit)
        return filter_proposals(
            proposals, settings, length_unit_px=length_unit_px, evidence=evidence
        )


class LiveFrame:
    """A frame from the microscope as a `FrameSource`: SAM works when asked to.

    Parameters
    ----------
    engine : ProposalEngine
    frame : Frame
    searches : bool
        The tuner evaluates many settings: decode all proposals of a choice of prompt settings once
        and filter them from then on. Otherwise decode only what an evaluation keeps, and again
        where the next one needs other masks than those.
    """

    def __init__(self, engine: ProposalEngine, frame: Frame, *, searches: bool = False) -> None:
        self.engine = engine
        self.frame = frame
        self.searches = searches
        self._proposals: dict[PromptSettings, Proposals] = {}
        self._last: Proposals | None = None

    @cached_property
    def embedding(self) -> Embedding:
        """The frame's one encoder pass."""
        return self.engine.embed(self.frame)

    @cached_property
    def features(self) -> FrameFeatures:
        """The whole frame's embedding, pooled."""
        return self.embedding.frame_features

    @property
    def records(self) -> list[Proposals]:
        """All proposals that were decoded and kept."""
        return list(self._proposals.values())

    def segment(
        self,
        settings: Settings,
        length_unit_px: float,
        evidence: FrameEvidence | None = None,
        cost_limit: float | None = None,
    ) -> Segmentation:
        """Decode what is needed, then filter.

        Parameters
        ----------
        settings : Settings
        length_unit_px : float
            One unit of length of the task in px of the frame.
        evidence : FrameEvidence, optional
            Of the frame and the sample, for the gate ``min_plausibility``.
        cost_limit : float, optional
            The budget of the frame, see `ProposalEngine.propose`.

        Returns
        -------
        Segmentation
        """
        if not self.searches:
            if self._last is not None and self._last.serves(settings, cost_limit):
                return filter_proposals(
                    self._last, settings, length_unit_px=length_unit_px, evidence=evidence
                )
            found = self.engine.segment(
                self.frame,
                settings,
                embedding=self.embedding,
                length_unit_px=length_unit_px,
                evidence=evidence,
                cost_limit=cost_limit,
            )
            self._last = found.proposals
            return found
        record = next((held for held in self._proposals if held.holds(settings.prompt)), None)
        if record is None:
            record = settings.prompt
            self._proposals[record] = self.engine.propose(
                self.frame, record, embedding=self.embedding, cost_limit=cost_limit
            )
        return filter_proposals(
            self._proposals[record].first(settings.prompt, cost_limit),
            settings,
            length_unit_px=length_unit_px,
            evidence=evidence,
        )


class DecodedFrame:
    """A frame with all its proposals as a `FrameSource`: SAM has done its work.

    Parameters
    ----------
    frame : Frame
    features : FrameFeatures
    proposals : mapping of PromptSettings to Proposals
    """

    def __init__(
        self, frame: Frame, features: FrameFeatures, proposals: Mapping[PromptSettings, Proposals]
    ) -> None:
        self.frame = frame
        self.features = features
        self.proposals = proposals

    @classmethod
    def decode(
        cls, engine: ProposalEngine, frame: Frame, prompts: Sequence[PromptSettings]
    ) -> DecodedFrame:
        """Let SAM compute a frame's proposals.

        Parameters
        ----------
        engine : ProposalEngine
        frame : Frame
        prompts : sequence of PromptSettings
            All that will be asked for.

        Returns
        -------
        DecodedFrame
        """
        embedding = engine.embed(frame)
        proposals = {
            prompt: engine.propose(frame, prompt, embedding=embedding) for prompt in prompts
        }
        return cls(frame, embedding.frame_features, proposals)

    @property
    def records(self) -> list[Proposals]:
        """All proposals."""
        return list(self.proposals.values())

    def segment(
        self,
        settings: Settings,
        length_unit_px: float,
        evidence: FrameEvidence | None = None,
        cost_limit: float | None = None,
    ) -> Segmentation:
        """Choose among the proposals.

        Parameters
        ----------
        settings : Settings
        length_unit_px : float
            One unit of length of the task in px of the frame.
        evidence : FrameEvidence, optional
            Of the frame and the sample, for the gate ``min_plausibility``.
        cost_limit : float, optional
            The budget of the frame, see `ProposalEngine.propose`.

        Returns
        -------
        Segmentation
        """
        record = next(held for held in self.proposals if held.holds(settings.prompt))
        proposals = self.proposals[record].first(settings.prompt, cost_limit)
        return filter_proposals(
            proposals, settings, length_unit_px=length_unit_px, evidence=evidence
        )
