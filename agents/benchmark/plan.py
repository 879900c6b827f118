"""What a benchmark computes: its plan, its units of work, and where their results lie."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samstar_rl._io import atomic
from samstar_rl.agents.benchmark.contenders import CONTENDERS, LEARNERS, ONCE, STATICS, Contender
from samstar_rl.agents.benchmark.units import (
    CONDITIONS,
    DRIFT,
    PLAN,
    REAL,
    SURVEY,
    TEST,
    TRAIN,
    Unit,
    short_name,
)
from samstar_rl.bank.labelled import read_labelled
from samstar_rl.bank.simulated import SimulatedStreams, with_gaze
from samstar_rl.errors import SamstarError
from samstar_rl.simulator.seeds import first_seed
from samstar_rl.tasks.task import load_task

if TYPE_CHECKING:
    from samstar_rl.frames.frame import LabelledFrame
    from samstar_rl.tasks.task import Task


class BenchmarkError(SamstarError):
    """A benchmark cannot be run or resumed as asked."""


@dataclass(frozen=True)
class RealFrames:
    """Labelled images of the user's: which to fit on, which to report on.

    Attributes
    ----------
    fit, judge : tuple of str
        Paths of images; none is in both.
    labels : str
        Folder with the ground truth of each, under its name.
    pixel_size_nm : float, optional
        By default what the files say.

    Raises
    ------
    BenchmarkError
        If one of the two is empty, or an image is in both.
    """

    fit: tuple[str, ...]
    judge: tuple[str, ...]
    labels: str
    pixel_size_nm: float | None = None

    def __post_init__(self) -> None:
        if len(self.fit) < 2 or not self.judge:
            raise BenchmarkError(
                f"at least 2 images to fit on and 1 to judge on are needed, got {len(self.fit)} "
                f"and {len(self.judge)}"
            )
        both = sorted(set(self.fit) & set(self.judge))
        if both:
            raise BenchmarkError(f"{both[0]} would be fitted on and judged on: keep them apart")


@dataclass(frozen=True)
class BenchmarkPlan:
    """All that decides what a benchmark computes.

    Attributes
    ----------
    tasks : tuple of str
        Names of shipped tasks, or TOML files. All contenders meet the first one, under each
        condition; the others drift, and are met by contenders that are to take part everywhere.
    contenders : tuple of str
        Names of `CONTENDERS`.
    conditions : tuple of str
        Of ``drift``, ``survey`` and ``real``: simulated experiments that drift, simulated automated
        acquisitions of one sample type and of two in turn, and the images of ``real``.
    budgets : tuple of float or None
        The cost that each frame may have; None for no limit.
    zooms : tuple of float
        Ladder of zooms that SAM computes for each frame.
    most_prompts : int
        Prompts at each zoom at most.
    grid, grid_every : int
        Points along a side of the stock generator's grid, for SAM's defaults, which are judged on
        one in so many frames of each test stream.
    n_seeds, n_static_seeds : int
        Seeds of the learners, and of searches for a static choice and what stands beside them.
    n_streams, n_frames, n_test_streams, n_test_frames, n_survey_frames : int
        Simulated streams to learn from and to be judged on, and frames in each; the last one of
        surveys to be judged on.
    frame_step, test_frame_step, survey_step : int
        Distance of those frames in the simulated experiment, which is that many times longer; the
        last one of the frames to learn from in a survey, whose test frames follow one another.
    size_px : int
    drift : float
        1 is an ordinary experiment.
    steps : int
        Evaluations that a learner, or the search for a static choice at one budget, may spend.
    n_evaluations : int
        That a search may spend on each test frame.
    slow_every : int
        Slow contenders are judged on one in so many frames of each test stream.
    seed : int
        Chooses the simulated samples.
    real : RealFrames, optional
        Images to fit and judge on. Each is a stream of its own: contenders that need streams do
        not take part. Policies learn from the first conditions' simulated streams as well.

    Raises
    ------
    BenchmarkError
        If a contender does not exist, a condition cannot be, or a number makes no sense.
    """

    tasks: tuple[str, ...] = ("particles", "overlap", "morphology", "size")
    contenders: tuple[str, ...] = tuple(CONTENDERS)
    conditions: tuple[str, ...] = (DRIFT, SURVEY)
    budgets: tuple[float | None, ...] = (75, 150, 300, 600, 1200, None)
    zooms: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0)
    most_prompts: int = 375
    grid: int = 32
    grid_every: int = 1
    n_seeds: int = 5
    n_static_seeds: int = 3
    n_streams: int = 40
    n_frames: int = 2
    frame_step: int = 30
    n_test_streams: int = 6
    n_test_frames: int = 8
    n_survey_frames: int = 24
    test_frame_step: int = 20
    survey_step: int = 12
    size_px: int = 512
    drift: float = 1.0
    steps: int = 40_000
    n_evaluations: int = 300
    slow_every: int = 6
    seed: int = 0
    real: RealFrames | None = None

    @classmethod
    def demo(
        cls, task: str = "particles", *, steps: int = 5000, seed: int = 0, quick: bool = False
    ) -> BenchmarkPlan:
        """What the demo runs: a policy beside a genetic search, SAM's defaults and static settings.

        Parameters
        ----------
        task : str
        steps : int
            Evaluations that PPO, and the search for a static choice, may spend.
        seed : int
        quick : bool
            A tenth of everything: to see that it runs.

        Returns
        -------
        BenchmarkPlan
        """
        plan = cls(
            tasks=(task,),
            contenders=("default", "static", "rule", "static-search", "genetic", "ppo"),
            conditions=(SURVEY,),
            budgets=(150, 300, 600),
            zooms=(1.0, 2.0, 4.0),
            most_prompts=128,
            grid_every=4,
            n_seeds=1,
            n_static_seeds=1,
            n_streams=12,
            n_frames=1,
            n_test_streams=3,
            n_survey_frames=4,
            steps=steps,
            n_evaluations=100,
            seed=seed,
        )
        if not quick:
            return plan
        return replace(
            plan, budgets=(150, None), zooms=(1.0, 2.0), most_prompts=32, grid=8, n_streams=3,
            n_test_streams=2, n_survey_frames=2, size_px=256, steps=600, n_evaluations=40,
        )  # fmt: skip

    @classmethod
    def quick(cls) -> BenchmarkPlan:
        """One task, the contenders that matter most, few budgets and frames: minutes."""
        return cls(
            tasks=("particles",),
            contenders=tuple(name for name, one in CONTENDERS.items() if one.quick),
            budgets=(75, 150, 300, None),
            zooms=(1.0, 2.0, 4.0),
            most_prompts=192,
            n_seeds=2,
            n_static_seeds=1,
            n_streams=16,
            n_frames=1,
            n_test_streams=2,
            n_survey_frames=12,
            size_px=256,
            steps=10_000,
            n_evaluations=100,
        )

    def on(self, real: RealFrames) -> BenchmarkPlan:
        """The same plan with labelled images besides."""
        others = tuple(name for name in self.conditions if name != REAL)
        return replace(self, conditions=(*others, REAL), real=real)

    def to_dict(self) -> dict[str, Any]:
        """The content as plain types, fit for JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def __post_init__(self) -> None:
        unknown = [name for name in self.contenders if name not in CONTENDERS]
        if unknown:
            raise BenchmarkError(
                f"no contender {unknown[0]!r}: expected some of {', '.join(CONTENDERS)}"
            )
        strange = [name for name in self.conditions if name not in CONDITIONS]
        if strange or not self.conditions:
            raise BenchmarkError(
                f"conditions must be some of {', '.join(CONDITIONS)}, got {self.conditions}"
            )
        if (REAL in self.conditions) != (self.real is not None):
            raise BenchmarkError(
                "the condition 'real' and labelled images belong together: give --frames FOLDER "
                "with --labels, or leave it out"
            )
        if len({short_name(task) for task in self.tasks}) < len(self.tasks) or not self.tasks:
            raise BenchmarkError(f"tasks must be named, each once, got {', '.join(self.tasks)}")
        if not self.budgets or any(b is not None and not 0 < b < math.inf for b in self.budgets):
            raise BenchmarkError(f"budgets must be positive costs or none, got {self.budgets}")
        for name, value in asdict(self).items():
            if isinstance(value, int) and value < (0 if name == "seed" else 1):
                raise BenchmarkError(f"{name} must be at least 1, got {value}")
        if self.n_streams * self.n_frames < 2:
            raise BenchmarkError("one frame cannot be split into training and validation")

    @property
    def limits(self) -> tuple[float, ...]:
        """The budgets as numbers, rising: no limit is infinite."""
        return tuple(sorted(math.inf if budget is None else budget for budget in self.budgets))

    def units(self) -> Iterator[Unit]:
        """Every condition, task, contender and seed."""
        for condition, task in self.banks():
            for name in self.contenders:
                one = CONTENDERS[name]
                if task != self.tasks[0] and not one.everywhere:
                    continue
                if one.transfers and condition != DRIFT:
                    continue
                if one.needs_streams and condition == REAL:
                    continue
                for seed in range(self._n_seeds(one)):
                    yield Unit(condition, task, name, seed)

    def banks(self) -> Iterator[tuple[str, str]]:
        """Every condition with its tasks."""
        for condition in self.conditions:
            for task in self.tasks if condition == DRIFT else self.tasks[:1]:
                yield condition, task

    def _n_seeds(self, contender: Contender) -> int:
        n_others = len(self.tasks) - 1
        if contender.transfers and n_others == 0:
            return 0
        if contender.name == "others-static":  # one for each of the other tasks
            return n_others
        return {ONCE: 1, STATICS: self.n_static_seeds, LEARNERS: self.n_seeds}[contender.seeds]

    def task(self, name: str) -> Task:
        """A task with the plan's zooms and numbers of prompts."""
        return with_gaze(load_task(name), zooms=self.zooms, most_prompts=self.most_prompts)

    def streams(
        self, condition: str, task: str, part: str
    ) -> tuple[int, Iterator[Iterable[LabelledFrame]]]:
        """The streams of ``train`` or ``test``, with the truth that only the judge will see.

        Parameters
        ----------
        condition, task, part : str

        Returns
        -------
        n_frames : int
            In all streams.
        streams : iterator of streams
        """
        if condition != REAL:
            own = self._simulated(condition, part)
            loaded = load_task(task)
            return sum(map(len, own)), chain.from_iterable(s.streams(loaded) for s in own)
        assert self.real is not None
        images = self.real.judge if part == TEST else self.real.fit
        real = read_labelled(images, self.real.labels, pixel_size_nm=self.real.pixel_size_nm)
        if part == TEST:
            return len(images), real
        # policies learn from simulations as well, searches from the images alone, which come last
        count, simulated = 0, list[SimulatedStreams]()
        for one in self._simulated(SURVEY, TRAIN):
            n_streams = max(min(one.n_streams, len(images)), 1)
            simulated.append(replace(one, n_streams=n_streams))
            count += len(simulated[-1])
        loaded = load_task(task)
        return count + len(images), chain(
            chain.from_iterable(s.streams(loaded) for s in simulated), real
        )

    def _simulated(self, condition: str, part: str) -> list[SimulatedStreams]:
        """The simulated streams of a part; of a survey those of one sample type, then of two.

        Where their number is odd, there is one more of two types, which are the harder ones.
        """
        is_test, is_survey = part == TEST, condition == SURVEY
        n_streams = self.n_test_streams if is_test else self.n_streams
        first = first_seed("test" if is_test else "training", self.seed)
        step = self.test_frame_step if is_test else self.frame_step
        n_test_frames = self.n_test_frames
        if is_survey:
            step, n_test_frames = 1 if is_test else self.survey_step, self.n_survey_frames
        streams = SimulatedStreams(
            n_streams=n_streams,
            n_frames=n_test_frames if is_test else self.n_frames,
            size_px=self.size_px,
            drift=self.drift,
            every=step,
            first_seed=first,
        )
        if not is_survey:
            return [streams]
        half = n_streams // 2
        parts = [
            replace(streams, survey=1, n_streams=half),
            replace(streams, survey=2, n_streams=n_streams - half, first_seed=first + half),
        ]
        return [one for one in parts if one.n_streams]


def begin(plan: BenchmarkPlan, root: Path) -> None:
    """Write the plan, or see that the folder's is the same.

    Raises
    ------
    BenchmarkError
        If it is another one.
    """
    wanted = plan.to_dict()
    path = root / PLAN
    if path.is_file():
        present: Mapping[str, Any] = atomic.read_json(path)
        for name, value in wanted.items():
            if present.get(name) != value:
                raise BenchmarkError(
                    f"{root} holds a benchmark with {name} = {present.get(name)}, asked for is "
                    f"{value}: choose another folder, or ask for the same to finish it"
                )
    root.mkdir(parents=True, exist_ok=True)
    atomic.write_json(path, wanted)


def read_plan(root: Path) -> BenchmarkPlan:
    """The plan of the benchmark in a folder.

    Raises
    ------
    BenchmarkError
        If there is none.
    """
    path = root / PLAN
    if not path.is_file():
        raise BenchmarkError(f"{root} holds no benchmark: run `samstar benchmark -o {root}` first")
    content: dict[str, Any] = atomic.read_json(path)
    real = content.pop("real")
    if real is not None:
        content["real"] = RealFrames(**_with_tuples(real))
    return BenchmarkPlan(**_with_tuples(content))


def _with_tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
