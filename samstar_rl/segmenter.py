"""From a frame to its result: the one path of the API, the commands, the live loop and napari.

    frame -> usable? -> encode -> look -> choose (the tuner) -> decode -> filter -> score -> result

A frame that cannot be treated (blank, saturated, without the pixel size that its task needs) raises
a `SamstarError`, has no result, and leaves no trace: the next frame follows the last one that had
a result.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from segment_anything.modeling import Sam

from samstar_rl.errors import SamstarError
from samstar_rl.foreground.network import LazyMaps
from samstar_rl.frames.frame import Frame
from samstar_rl.frames.quality import UnusableFrameError, inspect_frame
from samstar_rl.results.result import FrameResult
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.sam.prompt_order import MOST_LONG_SIDE_PX, PromptPlan, find_bodies
from samstar_rl.sam.views import closer_zoom
from samstar_rl.settings import SETTINGS, Settings
from samstar_rl.tasks.task import Task, load_task
from samstar_rl.tuning.budget import CALIBRATION_GAZE, DeadlineBudget, GazeOptions
from samstar_rl.tuning.evaluable_frames import LiveFrame
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import Evaluation, FrameEvaluator, StaticTuner, Tuner, tune_frame
from samstar_rl.tuning.wrapper import TunerWrapper

if TYPE_CHECKING:
    from samstar_rl.sam.point_decoder import Precision

WELL_SEEN_PX = 48.0
"""Width of a usual body in SAM's picture below which a policy's closest look is not close enough:
on simulated agglomerates and powders of 1024 px zoom 6 found far more than 4, and 8 little more."""


@dataclass(eq=False)
class PreparedFrame:
    """A frame that was found usable and was encoded, ahead of its turn.

    Attributes
    ----------
    source : LiveFrame
        The frame with its embedding, and with the proposals that were asked for so far.
    findings : tuple of str
        What people should know about the frame's quality.
    seconds : float
        What preparing took.
    evaluator : FrameEvaluator or None
        What was evaluated on the frame, from its turn on.
    """

    source: LiveFrame
    findings: tuple[str, ...]
    seconds: float
    evaluator: FrameEvaluator | None = field(default=None, repr=False)


class Segmenter:
    """Segment the frames of one stream, each knowing what the last one came to.

    Parameters
    ----------
    objective : Objective
        What the masks are scored by, with the task.
    engine : ProposalEngine
        The SAM.
    tuner : Tuner or Settings, optional
        What chooses the settings of each frame, by default the task's static settings.
    keep_proposals : bool
        Keep all of SAM's proposals of a frame, so that further settings can be tried on it
        (`segment` with settings) without SAM. A tuner that searches has them kept anyway.
    gaze : GazeOptions, optional
        What is fixed of the gaze whatever the tuner chooses, and the time that a frame may take.
    exclude_border : bool
        Leave particles that the border cuts out of tables and size statistics.

    Attributes
    ----------
    budget : DeadlineBudget or None
        What turns the time that a frame may take into cost; None without a deadline.

    Raises
    ------
    SamstarError
        If the tuner is none.

    Examples
    --------
    >>> segmenter = Segmenter.load("particles")  # doctest: +SKIP
    >>> result = segmenter(frame)  # doctest: +SKIP
    >>> for result in segmenter.with_tuner(tuner).run(frames): ...  # doctest: +SKIP
    """

    def __init__(
        self,
        objective: Objective,
        engine: ProposalEngine,
        tuner: Tuner | Settings | None = None,
        *,
        keep_proposals: bool = False,
        gaze: GazeOptions | None = None,
        exclude_border: bool = False,
    ) -> None:
        if tuner is None or isinstance(tuner, Settings):
            tuner = StaticTuner(tuner or objective.task.static)
        elif not hasattr(tuner, "propose"):
            raise SamstarError(
                f"tuner must be a Tuner or Settings, got {tuner!r}: "
                "samstar_rl.agents.make_tuner('genetic', task) makes one by its name"
            )
        self.objective = objective
        self.engine = engine
        self.tuner = tuner
        self.keep_proposals = keep_proposals
        self.gaze = gaze or GazeOptions()
        self.exclude_border = exclude_border
        self.budget: DeadlineBudget | None = None
        if self.gaze.budget_ms:
            self.budget = DeadlineBudget(self.gaze.budget_ms, engine.view_cost)
        self._last: Evaluation | None = None
        tuner.reset()

    @classmethod
    def load(
        cls,
        task: Task | str | Path = "particles",
        tuner: Tuner | Settings | None = None,
        *,
        sam: Sam | str | Path = "tiny",
        device: str = "cpu",
        precision: Precision = "float32",
        gaze: GazeOptions | None = None,
        exclude_border: bool = False,
    ) -> Segmenter:
        """Load a task and a SAM, and make a segmenter of them.

        Parameters
        ----------
        task : Task, str or path
            The name of a task that ships, or a TOML file.
        tuner : Tuner or Settings, optional
            As for the class.
        sam : Sam, str or path
            The model, or what `load_sam` takes. The last one that was loaded by name is kept.
        device : str
            "cpu" or "cuda".
        precision : str
            As for `ProposalEngine`.
        gaze : GazeOptions, optional
            As for the class.
        exclude_border : bool
            As for the class.

        Returns
        -------
        Segmenter

        Raises
        ------
        SamstarError
            If task or SAM does not exist or is wrong, saying what is.
        """
        loaded = task if isinstance(task, Task) else load_task(task)
        if isinstance(sam, Sam):
            engine = ProposalEngine(sam, device=device, precision=precision)
        else:
            engine = load_engine(str(sam), device, precision)
        return cls(Objective(loaded), engine, tuner, gaze=gaze, exclude_border=exclude_border)

    def with_tuner(
        self, tuner: Tuner | Settings | None, *, keep_proposals: bool = False
    ) -> Segmenter:
        """The same task and SAM for another stream, with a tuner of its own."""
        return Segmenter(
            self.objective,
            self.engine,
            tuner,
            keep_proposals=keep_proposals,
            gaze=self.gaze,
            exclude_border=self.exclude_border,
        )

    @property
    def task(self) -> Task:
        """What the sample should look like."""
        return self.objective.task

    def prepare(self, frame: Frame) -> PreparedFrame:
        """Do what needs no knowledge of earlier frames; may run in another thread than `segment`.

        Parameters
        ----------
        frame : Frame

        Returns
        -------
        PreparedFrame

        Raises
        ------
        UnusableFrameError
            If segmenting the frame would be fiction: it is blank, saturated or mostly missing.
        SamstarError
            If the task needs a pixel size that the frame does not have.
        """
        started = time.perf_counter()
        # usable?
        quality = inspect_frame(frame)
        if not quality.usable:
            raise UnusableFrameError(f"frame {frame.id!r}: {'; '.join(quality.findings)}")
        self.task.length_unit_px(frame)
        if self.budget is not None and self.budget.hurries:
            LazyMaps.of(frame).quick = True
        # encode, and look where particles are likely: neither needs the other
        source = LiveFrame(self.engine, frame, searches=self._keeps())
        if self.engine.encodes_beside:
            _ = LazyMaps.of(frame).unit  # which both need
            encoding = _encoding().submit(lambda: source.embedding)
            self.objective.physics.look_at(frame)
            encoding.result()
        else:
            _ = source.embedding
            self.objective.physics.look_at(frame)
        return PreparedFrame(source, quality.findings, time.perf_counter() - started)

    def segment(self, prepared: PreparedFrame, settings: Settings | None = None) -> FrameResult:
        """Choose settings, decode, filter and score; in the order of the frames.

        Parameters
        ----------
        prepared : PreparedFrame
        settings : Settings, optional
            Take these in place of the tuner's. The stream does not remember the result.

        Returns
        -------
        FrameResult
        """
        if prepared.evaluator is None:
            previous = None if self._last is None else self._last.segmentation
            prepared.source.searches = self._keeps()  # the tuner may have been changed meanwhile
            prepared.evaluator = FrameEvaluator(
                prepared.source,
                self.objective,
                previous=previous,
                cost_limit=self._cost_limit(prepared),
            )
        # choose, decode, filter, score
        evaluator, frame = prepared.evaluator, prepared.source.frame
        if settings is None:
            tuner, evaluator.fix = self.tuner, partial(self._fixed, frame)
        else:
            tuner, evaluator.fix = StaticTuner(settings, "by hand"), self.gaze.apply
        tuned = tune_frame(tuner, evaluator, self._last)
        # tell the tuner, remember, report
        notes = list(prepared.findings)
        if settings is None:
            self._last = tuned.evaluation
            if isinstance(tuner, TunerWrapper):
                tuner.observe(tuned)
                notes += tuner.take_notes()
        if LazyMaps.of(prepared.source.frame).quick:
            notes.append("short of time: the foreground was estimated quickly")
        proposals = tuned.evaluation.segmentation.proposals
        effort = proposals.effort
        if effort is not None and self.budget is not None and settings is None:
            took_ms = (prepared.seconds + tuned.seconds) * 1e3
            self.budget.observe(effort.cost, took_ms, proposals.looking_seconds * 1e3)
        if effort is not None and effort.stopped_by == "budget":
            notes.append(f"stopped by its budget, {effort.n_tiles_left_out} tiles not looked at")
        if len(tuned.evaluation.segmentation) == 0:
            notes.append("no particle was found")
        notes += self._too_small(prepared.source.frame, tuned.evaluation)
        result = FrameResult.of(
            tuned,
            task=self.task.name,
            tuner=tuner.name,
            prepared_s=prepared.seconds,
            notes=notes,
        )
        return replace(result, exclude_border=self.exclude_border)

    def __call__(self, frame: Frame) -> FrameResult:
        """Treat one frame from beginning to end: `prepare`, then `segment`."""
        return self.segment(self.prepare(frame))

    def run(self, frames: Iterable[Frame]) -> Iterator[FrameResult]:
        """Treat the frames of a stream one after the other.

        Where a frame cannot be treated ``next`` raises a `SamstarError`; the ``next`` after that
        goes on with the frame after it.
        """
        return map(self, frames)

    def _fixed(self, frame: Frame, settings: Settings) -> Settings:
        """What a tuner chose, with what the user has fixed, and beyond the range of its task.

        A policy has learned from banks, which hold a few zooms and a few hundred prompts. Where it
        takes the closest look of its task and bodies are small even so, SAM looks closer if there
        is time for it; where there are more bodies than its task's prompts, SAM is asked at each of
        them and a quarter more, until a deadline ends that.
        """
        settings, space = self.gaze.apply(settings), self.task.space
        tuner = self.tuner
        while isinstance(tuner, TunerWrapper):
            tuner = tuner.inner
        if tuner.searches or isinstance(tuner, StaticTuner) or settings.n_prompts is None:
            return settings
        zoom, n_prompts = settings.zoom, settings.n_prompts
        plan = PromptPlan.of(frame, zoom)
        width_px, n_bodies = plan.usual_width_px, len(plan.width_px)
        frees_zoom = "zoom" in space.names and not self.gaze.zoom and self.budget is None
        if frees_zoom and width_px and zoom >= space.limits("zoom")[1]:
            closer = closer_zoom(width_px, frame.shape, zoom, self._picture_px, WELL_SEEN_PX)
            zoom = closer or zoom
        frees_prompts = "n_prompts" in space.names and not self.gaze.n_prompts
        if frees_prompts and n_bodies > space.limits("n_prompts")[1]:
            n_prompts = min(5 * n_bodies // 4, int(SETTINGS["n_prompts"].high))
        return settings.replace(zoom=zoom, n_prompts=n_prompts)

    @property
    def _picture_px(self) -> int:
        """Side of the picture that SAM sees."""
        return int(self.engine.sam.image_encoder.img_size)

    def _too_small(self, frame: Frame, evaluation: Evaluation) -> list[str]:
        """Say that particles are too small for SAM at this zoom, and which zoom would do."""
        evidence = self.objective.physics.gauge(frame)["evidence"]
        diameter_px = evidence.foreground.typical_diameter_px
        if diameter_px is None and len(evaluation.segmentation) == 0:
            # so small that nothing of them is left in a small picture of the frame
            bodies = find_bodies(evaluation.segmentation.proposals.scene.unit, MOST_LONG_SIDE_PX)
            diameter_px = float(np.median(bodies.width_px)) if len(bodies.width_px) else None
        if diameter_px is None:
            return []
        zoom, picture_px = evaluation.settings.zoom, self._picture_px
        closer = closer_zoom(diameter_px, frame.shape, zoom, picture_px)
        if closer is None:
            return []
        seen_px = diameter_px * zoom * picture_px / max(frame.shape)
        return [
            f"most particles are about {seen_px:.0f} px wide in SAM's picture, too small for it: "
            f"--zoom {closer:g} shows them {closer / zoom:.2g} times as large"
        ]

    def _cost_limit(self, prepared: PreparedFrame) -> float | None:
        """What the frame may cost; milliseconds become cost before the frame begins."""
        if self.budget is None:
            return None
        if not self.budget.is_calibrated:
            self._calibrate(self.budget, prepared.source.frame)
            if self.budget.hurry():
                self._calibrate(self.budget, prepared.source.frame)
        return self.budget.cost_limit()

    def _calibrate(self, budget: DeadlineBudget, frame: Frame) -> None:
        """Measure how long a frame takes, on one of which nothing is known yet."""
        settings = CALIBRATION_GAZE.apply(self.task.static)
        trial = Segmenter(self.objective, self.engine, settings)
        for _ in range(2):  # what is done once and never again falls to the first time
            started = time.perf_counter()
            unknown = Frame(frame.image, frame.pixel_size_nm, frame.id)
            LazyMaps.of(unknown).quick = budget.hurries
            found = trial(unknown).segmentation.proposals
            took_ms = (time.perf_counter() - started) * 1e3
        budget.observe(found.cost, took_ms, found.looking_seconds * 1e3)

    def _keeps(self) -> bool:
        return self.keep_proposals or self.tuner.searches


@lru_cache(maxsize=1)
def _encoding() -> ThreadPoolExecutor:
    """The thread in which frames are encoded beside their foreground."""
    return ThreadPoolExecutor(1, "samstar-encode")


@lru_cache(maxsize=1)
def load_engine(
    sam: str = "tiny", device: str = "cpu", precision: Precision = "float32"
) -> ProposalEngine:
    """Load a SAM by name or path, ready to propose; the last one is kept.

    Parameters
    ----------
    sam : str
        As `load_sam` takes it.
    device : str
    precision : str
        As for `ProposalEngine`.

    Returns
    -------
    ProposalEngine
    """
    model = load_sam(sam, device=device)
    return ProposalEngine(model, device=device, precision=precision)
