"""Who takes part in a benchmark, and how each is made ready with the same budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from samstar_rl._io import atomic
from samstar_rl.agents.benchmark.arena import Arena, Ready, ScriptedTuner, Watch
from samstar_rl.agents.benchmark.transfer import curve_of, prepare_others_static, prepare_unseen
from samstar_rl.agents.learning.hyperparameters import load_hyperparameters
from samstar_rl.agents.learning.imitation import amortise, search_each_frame
from samstar_rl.agents.learning.neuroevolution import evolve_policy
from samstar_rl.agents.learning.normalisation import fit_normalisation
from samstar_rl.agents.learning.train import TrainingPlan, train_policy
from samstar_rl.agents.policies.network import PolicyNetwork
from samstar_rl.agents.search.ask_tell import RefinedSearch, maximise
from samstar_rl.agents.search.static import search_static
from samstar_rl.agents.tuners.nsga2 import Nsga2Tuner
from samstar_rl.agents.tuners.tuners import (
    PolicyTuner,
    RandomTuner,
    SearchTuner,
    default_tuner,
)
from samstar_rl.envs import STREAM_ID
from samstar_rl.errors import SamstarError
from samstar_rl.settings import Settings
from samstar_rl.truth.metrics import f1_at
from samstar_rl.tuning.tuner import BankFrame, FrameEvaluator, StaticTuner, Tuner

FIRST_FRAMES = 6
"""Frames at the start of a stream on which an operator tunes before the experiment runs."""

EMBEDDING_GAIN = 0.25
SEARCH_FILE = "search.json"
"""Mean best reward after each evaluation on a frame."""
FRONT_FILE = "front.json"
"""What NSGA-II tried on one frame."""


def prepare_default(arena: Arena, seed: int) -> Ready:
    """SAM's own defaults."""
    return Ready(default_tuner(arena.task))


def prepare_static(arena: Arena, seed: int) -> Ready:
    """The static settings that the task ships with."""
    return Ready(StaticTuner(arena.task.static))


def prepare_random(arena: Arena, seed: int) -> Ready:
    """Random settings, one draw a frame."""
    return Ready(RandomTuner(arena.task, seed=seed))


def prepare_static_search(arena: Arena, seed: int) -> Ready:
    """One static choice, searched on the training frames by a genetic algorithm and refined.

    What SAM* as published would do, with the learners' budget; as theirs, its best on the
    validation streams is kept.
    """
    sources = [arena.frames.source(index) for index in arena.training_frames]
    with Watch(arena) as watch:
        watch.point(0, StaticTuner(arena.task.static), arena.task.static)

        def on_round(spent: int, settings: Settings, reward: float) -> None:
            watch.point(spent, StaticTuner(settings), settings)

        found = search_static(
            sources,
            arena.objective,
            algorithm="refined",
            n_evaluations=arena.steps,
            seed=seed,
            on_round=on_round,
        )
        watch.point(found.n_evaluations, StaticTuner(found.settings), found.settings)
    tuner = StaticTuner(watch.best, "static-search")
    return Ready(tuner, watch.curve, found.n_evaluations, watch.seconds, (arena.bank,))


def prepare_frozen_start(arena: Arena, seed: int) -> Ready:
    """What an operator does: tune on the stream's first frames, then leave it."""
    return _prepare_per_stream(arena, seed, FIRST_FRAMES, "frozen-start")


def prepare_frozen_first(arena: Arena, seed: int) -> Ready:
    """An operator in a hurry: tuned on the stream's first frame, then left."""
    return _prepare_per_stream(arena, seed, 1, "frozen-first")


def prepare_hindsight(arena: Arena, seed: int) -> Ready:
    """The best static choice for each whole stream, which nobody has at its start."""
    return _prepare_per_stream(arena, seed, None, "hindsight")


def _prepare_per_stream(arena: Arena, seed: int, n_frames: int | None, name: str) -> Ready:
    script, spent, started = [], 0, time.perf_counter()
    for number, stream in enumerate(arena.test.streams):
        sources = [BankFrame(arena.test, index) for index in stream[:n_frames]]
        found = search_static(
            sources,
            arena.objective,
            algorithm="refined",
            n_evaluations=arena.n_evaluations * len(sources),
            seed=seed + number,
        )
        script.append([found.settings])
        spent += found.n_evaluations
    seconds = time.perf_counter() - started
    return Ready(ScriptedTuner(script, name), [], spent, seconds)


def prepare_oracle(arena: Arena, seed: int) -> Ready:
    """For each frame the settings that are best by ground truth: nobody's to have, a bound."""
    space, script = arena.task.space, []
    start = np.asarray([space.encode(arena.task.static)], dtype=float)
    for stream in arena.streams:
        chosen = []
        for index in stream:
            evaluator = FrameEvaluator(BankFrame(arena.test, index), arena.objective)
            truth = arena.judge.truth(index)
            if truth is None:
                raise SamstarError("the oracle needs ground truth: judge on frames with labels")
            search = RefinedSearch(space.n, seed=seed + index, start=start)

            def f1(vector: np.ndarray, e: FrameEvaluator = evaluator, t: object = truth) -> float:
                return f1_at(e(space.decode(vector)).segmentation, t)  # type: ignore[arg-type]

            chosen.append(space.decode(maximise(search, f1, arena.n_evaluations).vector))
        script.append(chosen)
    return Ready(ScriptedTuner(script, "oracle"))


def prepare_random_search(arena: Arena, seed: int) -> Ready:
    """The best of many random settings on each frame."""
    return _prepare_search(arena, seed, "random")


def prepare_genetic(arena: Arena, seed: int) -> Ready:
    """A genetic search on each frame."""
    return _prepare_search(arena, seed, "genetic")


def prepare_genetic_warm(arena: Arena, seed: int) -> Ready:
    """A genetic search that goes on from the last frame's population: its fair streaming form."""
    return _prepare_search(arena, seed, "genetic", warm=True)


def prepare_tpe(arena: Arena, seed: int) -> Ready:
    """A tree-structured Parzen estimator (Optuna) on each frame."""
    return _prepare_search(arena, seed, "tpe")


def _prepare_search(arena: Arena, seed: int, algorithm: str, *, warm: bool = False) -> Ready:
    n_evaluations = arena.n_evaluations
    tuner = SearchTuner(arena.task, algorithm, n_evaluations=n_evaluations, warm=warm, seed=seed)
    progress: list[np.ndarray] = []
    tuner.on_found = lambda found: progress.append(found.best_so_far())

    def keep(folder: Path) -> None:
        mean = np.mean(progress, axis=0)
        atomic.write_json(folder / SEARCH_FILE, {"best_reward": [float(r) for r in mean]})

    return Ready(tuner, keep=keep)


def prepare_nsga2(arena: Arena, seed: int) -> Ready:
    """NSGA-II over the terms on each frame; the task's weights choose from its front."""
    tuner = Nsga2Tuner(arena.task, n_evaluations=arena.n_evaluations, seed=seed)

    def keep(folder: Path) -> None:
        front = tuner.fronts[len(arena.streams[0]) // 2]  # of the first stream's middle frame
        content = {
            "frame_id": front.frame_id,
            "names": list(front.names),
            "values": front.values.tolist(),
            "optimal": front.optimal.tolist(),
            "chosen": front.chosen,
        }
        atomic.write_json(folder / FRONT_FILE, content)

    return Ready(tuner, keep=keep)


def prepare_learner(arena: Arena, seed: int, *, algorithm: str) -> Ready:
    """A policy learned by reinforcement, by the name of a learner's hyperparameters."""
    hyperparameters = load_hyperparameters(
        algorithm, task=arena.task.name, env_id=STREAM_ID, overrides={"total_steps": arena.steps}
    )
    plan = TrainingPlan(algorithm, hyperparameters, seed=seed)
    trained = train_policy(arena.task, arena.bank, plan, arena.folder, resume=True)
    progress = trained.progress
    return Ready(
        _judged(arena, trained.network, algorithm),
        curve_of(progress),
        progress.steps,
        progress.seconds,
        (arena.bank,),
        trained.network,
        dict(hyperparameters),
    )


def prepare_evolved(arena: Arena, seed: int) -> Ready:
    """A policy whose weights the genetic algorithm evolves; its best on the validation streams.

    Like a training it begins at the static settings, and never ends below them there.
    """
    parts = (arena.frames.part(index) for index in arena.training_frames)
    normalisation = fit_normalisation(
        arena.frames.builder.schema, parts, embedding_gain=EMBEDDING_GAIN
    )

    def as_tuner(network: PolicyNetwork) -> PolicyTuner:
        return PolicyTuner(network, arena.frames.builder, frames=arena.frames)

    with Watch(arena) as watch:
        watch.point(0, StaticTuner(arena.task.static), None)
        evolved = evolve_policy(
            arena.frames,
            arena.training,
            arena.objective,
            normalisation,
            n_evaluations=arena.steps,
            seed=seed,
            on_generation=lambda spent, network: watch.point(spent, as_tuner(network), network),
        )
    best = watch.best
    tuner: Tuner = StaticTuner(arena.task.static)
    if best is not None:
        tuner = _judged(arena, best, "evolved")
    spent, seconds = evolved.n_evaluations, watch.seconds
    return Ready(tuner, watch.curve, spent, seconds, (arena.bank,), best)


def prepare_nearest(arena: Arena, seed: int) -> Ready:
    """The searched optimum of the most similar training frame."""
    return _prepare_amortised(arena, seed, "nearest")


def prepare_mlp(arena: Arena, seed: int) -> Ready:
    """A perceptron fitted to the searched optima of the training frames."""
    return _prepare_amortised(arena, seed, "mlp")


def prepare_forest(arena: Arena, seed: int) -> Ready:
    """A random forest fitted to the searched optima of the training frames."""
    return _prepare_amortised(arena, seed, "forest")


def _prepare_amortised(arena: Arena, seed: int, kind: str) -> Ready:
    started = time.perf_counter()
    indices = arena.training_frames
    actions = search_each_frame(
        arena.frames, indices, arena.objective, n_evaluations=arena.steps, seed=seed
    )
    tuner = amortise(arena.frames, indices, actions, kind, seed=seed, judged=arena.judge.frames)
    tuner.name = kind
    spent = arena.steps // len(indices) * len(indices)
    return Ready(tuner, [], spent, time.perf_counter() - started, (arena.bank,))


CONTENDERS: dict[str, Callable[[Arena, int], Ready]] = {
    "default": prepare_default,
    "random": prepare_random,
    "static": prepare_static,
    "static-search": prepare_static_search,
    "frozen-first": prepare_frozen_first,
    "frozen-start": prepare_frozen_start,
    "hindsight": prepare_hindsight,
    "random-search": prepare_random_search,
    "tpe": prepare_tpe,
    "nsga2": prepare_nsga2,
    "genetic": prepare_genetic,
    "genetic-warm": prepare_genetic_warm,
    "nearest": prepare_nearest,
    "mlp": prepare_mlp,
    "forest": prepare_forest,
    "evolved": prepare_evolved,
    "td3": partial(prepare_learner, algorithm="td3"),
    "tqc": partial(prepare_learner, algorithm="tqc"),
    "trpo": partial(prepare_learner, algorithm="trpo"),
    "ppo": partial(prepare_learner, algorithm="ppo"),
    "sac": partial(prepare_learner, algorithm="sac"),
    "others-static": prepare_others_static,
    "unseen": prepare_unseen,
    "oracle": prepare_oracle,
}
"""Contenders by name, in the order of the tables."""

LEARNERS = ("ppo", "sac")
"""Those among which the best learned policy of a task is chosen."""

SEEDED = (*LEARNERS, "unseen")
"""Those that carry claims, and so run with several seeds."""

POLICIES = ("nearest", "mlp", "forest", "evolved", "td3", "tqc", "trpo", *LEARNERS, "unseen")
"""Those that answer each frame at once from what they see of it."""

TRANSFERS = ("others-static", "unseen")
"""Those that never learn from the task on which they are judged; they need several tasks."""

NEEDS = {
    "forest": ("sklearn", "amortised"),
    "tpe": ("optuna", "optuna"),
    "tqc": ("sb3_contrib", "contrib"),
    "trpo": ("sb3_contrib", "contrib"),
}
"""Modules that contenders need, and the extras that install them."""

ON_STREAMS = ("frozen-first", "frozen-start", "hindsight", "genetic-warm")
"""Those that mean nothing where each frame is a stream of its own."""

SLOW = ("tpe", "nsga2", "random-search")
"""Searches on each frame that carry no claim: a plan may spare frames on them."""


def _judged(arena: Arena, network: PolicyNetwork, name: str) -> PolicyTuner:
    frames = arena.judge.frames
    return PolicyTuner(network, frames.builder, name, frames=frames)
