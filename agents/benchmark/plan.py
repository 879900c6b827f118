"""What a benchmark computes: its plan, its units of work, and where their results lie."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samstar_rl._io import atomic
from samstar_rl.agents.benchmark.contenders import CONTENDERS
from samstar_rl.agents.benchmark.units import PLAN, Unit, short_name
from samstar_rl.bank.labelled import read_labelled
from samstar_rl.bank.simulated import SimulatedStreams, with_ladder
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
        Names of shipped tasks, or TOML files. The first one is met by all contenders, the others
        by those of ``everywhere``.
    contenders : tuple of str
        Names of `CONTENDERS`.
    everywhere : tuple of str
        Contenders that take part in every task.
    n_seeds : int
        Seeds of the contenders that carry claims; the others run once.
    n_streams, n_frames, n_test_streams, n_test_frames : int
        Simulated streams to learn from and to be judged on, and frames in each.
    frame_step, test_frame_step : int
        Distance of those frames in the simulated experiment, which is that many times longer.
    size_px : int
    drift : float
        1 is an ordinary experiment.
    points_per_side : tuple of int
        Ladder of prompt densities that SAM computes for each frame.
    steps : int
        Evaluations that a learner, or the search for a static choice, may spend.
    n_evaluations : int
        That a search may spend on each test frame.
    slow_every : int
        Slow contenders are judged on one in so many frames of each test stream.
    seed : int
        Chooses the simulated samples.
    real : RealFrames, optional
        Images to fit and judge on in place of simulated streams. Each is a stream of its own:
        contenders that need streams do not take part.

    Raises
    ------
    BenchmarkError
        If a contender does not exist or cannot take part, or a number makes no sense.
    """

    tasks: tuple[str, ...] = ("particles", "overlap", "morphology", "size")
    contenders: tuple[str, ...] = tuple(CONTENDERS)
    everywhere: tuple[str, ...] = tuple(n for n, one in CONTENDERS.items() if one.everywhere)
    n_seeds: int = 5
    n_streams: int = 60
    n_frames: int = 2
    frame_step: int = 30
    n_test_streams: int = 6
    n_test_frames: int = 24
    test_frame_step: int = 20
    size_px: int = 512
    drift: float = 1.0
    points_per_side: tuple[int, ...] = (8, 16, 32)
    steps: int = 40_000
    n_evaluations: int = 300
    slow_every: int = 1
    seed: int = 0
    real: RealFrames | None = None

    @classmethod
    def demo(
        cls, task: str = "particles", *, steps: int = 20_000, seed: int = 0, quick: bool = False
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
            contenders=("default", "random", "static", "static-search", "genetic", "ppo"),
            everywhere=(),
            n_seeds=1,
            n_streams=40,
            frame_step=1,
            n_test_streams=4,
            n_test_frames=8,
            test_frame_step=1,
            size_px=256,
            drift=1.5,
            points_per_side=(8, 16),
            steps=steps,
            seed=seed,
        )
        if not quick:
            return plan
        return replace(
            plan, n_streams=3, n_frames=3, n_test_streams=2, n_test_frames=2, steps=2000,
            n_evaluations=40,
        )  # fmt: skip

    @classmethod
    def quick(cls, task: str = "particles") -> BenchmarkPlan:
        """One task, the contenders that matter most, two seeds: about ten minutes."""
        return cls(
            tasks=(task,),
            contenders=tuple(name for name, one in CONTENDERS.items() if one.quick),
            everywhere=(),
            n_seeds=2,
            n_streams=40,
            n_test_streams=4,
            n_test_frames=12,
            test_frame_step=40,
            points_per_side=(8, 16),
        )

    @classmethod
    def on(cls, real: RealFrames, task: str = "particles") -> BenchmarkPlan:
        """One task on labelled images, all contenders that can take part."""
        contenders = tuple(n for n, one in CONTENDERS.items() if not one.needs_streams)
        return cls(tasks=(task,), contenders=contenders, everywhere=(), real=real)

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
        if self.real is not None:
            streaming = [name for name in self.contenders if CONTENDERS[name].needs_streams]
            if streaming:
                raise BenchmarkError(
                    f"{streaming[0]!r} needs streams, single images are none: leave it out, or "
                    "benchmark on simulated streams"
                )
        if len({short_name(task) for task in self.tasks}) < len(self.tasks) or not self.tasks:
            raise BenchmarkError(f"tasks must be named, each once, got {', '.join(self.tasks)}")
        self._check_counts()

    def _check_counts(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, int) and value < (0 if name == "seed" else 1):
                raise BenchmarkError(f"{name} must be at least 1, got {value}")
        if self.n_streams * self.n_frames < 2:
            raise BenchmarkError("one frame cannot be split into training and validation")

    def units(self) -> Iterator[Unit]:
        """Every task, contender and seed."""
        for position, task in enumerate(self.tasks):
            for name in self.contenders:
                if position == 0 or name in self.everywhere:
                    for seed in range(self._n_seeds(name)):
                        yield Unit(task, name, seed)

    def _n_seeds(self, contender: str) -> int:
        n_others = len(self.tasks) - 1
        if contender == "others-static":  # one for each of the other tasks
            return n_others
        if CONTENDERS[contender].transfers and n_others == 0:
            return 0
        return self.n_seeds if CONTENDERS[contender].carries_claims else 1

    def task(self, name: str) -> Task:
        """A task with the plan's ladder of prompt densities."""
        return with_ladder(load_task(name), self.points_per_side)

    def _simulated(self, part: str) -> SimulatedStreams:
        is_test = part == "test"
        return SimulatedStreams(
            n_streams=self.n_test_streams if is_test else self.n_streams,
            n_frames=self.n_test_frames if is_test else self.n_frames,
            size_px=self.size_px,
            drift=self.drift,
            every=self.test_frame_step if is_test else self.frame_step,
            first_seed=first_seed("test" if is_test else "training", self.seed),
        )

    def count_frames(self, part: str) -> int:
        """Frames in ``train`` or ``test``."""
        if self.real is not None:
            return len(self.real.fit if part == "train" else self.real.judge)
        return len(self._simulated(part))

    def streams(self, task: str, part: str) -> Iterator[Iterable[LabelledFrame]]:
        """The streams of ``train`` or ``test``, with the truth that only the judge will see."""
        if self.real is None:
            return self._simulated(part).streams(load_task(task))
        images = self.real.fit if part == "train" else self.real.judge
        return read_labelled(images, self.real.labels, pixel_size_nm=self.real.pixel_size_nm)


def check_extras(plan: BenchmarkPlan) -> None:
    """See that all contenders can run before hours have passed.

    Raises
    ------
    BenchmarkError
        If one needs a package that is not installed.
    """
    for name in plan.contenders:
        package, extra = CONTENDERS[name].needs or ("", "")
        if package and importlib.util.find_spec(package) is None:
            raise BenchmarkError(
                f"the contender {name!r} needs {package}: pip install 'samstar-rl[{extra}]', or "
                "choose others with --tuner"
            )


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
