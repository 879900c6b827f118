"""Who takes part in a benchmark, and how each is made ready with the same budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.errors import SamstarError
from samstar_rl._io import atomic
from samstar_rl.agents.benchmark.conditions import Conditions, Prepared, ValidationCurve
from samstar_rl.agents.learning.hyperparameters import load_hyperparameters
from samstar_rl.agents.learning.imitation import EMBEDDING_GAIN, imitate, search_each_frame
from samstar_rl.agents.learning.neuroevolution import evolve_policy
from samstar_rl.agents.learning.normalisation import fit_normalisation
from samstar_rl.agents.learning.train import TrainingPlan, train_multi_policy, train_policy
from samstar_rl.agents.search.ask_tell import make_search, maximise
from samstar_rl.agents.search.static import search_static
from samstar_rl.agents.tuners.fixed import (
    ForeignStaticTuner,
    RandomTuner,
    ScriptedTuner,
    StaticTuner,
    default_tuner,
)
from samstar_rl.agents.tuners.policy import PolicyTuner
from samstar_rl.agents.tuners.search import Nsga2Tuner, SearchTuner
from samstar_rl.envs import STREAM_ID
from samstar_rl.envs.variation import VARIATION
from samstar_rl.truth.metrics import Truth, f1_at
from samstar_rl.tuning.tuner import BankFrame, FrameEvaluator

if TYPE_CHECKING:
    from samstar_rl.agents.learning.train import Trained
    from samstar_rl.agents.policies.network import PolicyNetwork
    from samstar_rl.settings import Settings
    from samstar_rl.tuning.tuner import Tuner

FIRST_FRAMES = 6
"""Frames at the start of a stream on which an operator tunes before the experiment runs."""

SEARCH_FILE = "search.json"
"""Mean best reward after each evaluation on a frame."""
FRONT_FILE = "front.json"
"""What NSGA-II tried on one frame."""


def prepare_static_search(conditions: Conditions, seed: int) -> Prepared:
    """One static choice, searched on the training frames by a genetic algorithm and refined.

    What SAM* as published would do, with the learners' budget; as theirs, its best on the
    validation streams is kept.
    """
    sources = [conditions.frames.source(index) for index in conditions.training_frames]
    with ValidationCurve(conditions) as curve:

        def add(spent: int, settings: Settings, reward: float = 0.0) -> None:
            curve.add(spent, StaticTuner(settings), settings)

        add(0, conditions.task.static)
        found = search_static(
            sources,
            conditions.objective,
            algorithm="refined",
            n_evaluations=conditions.steps,
            seed=seed,
            on_round=add,
        )
        add(found.n_evaluations, found.settings)
    tuner, spent = StaticTuner(curve.best, "static-search"), found.n_evaluations
    return Prepared(tuner, curve.points, spent, curve.seconds, (conditions.bank,))


def prepare_frozen(
    conditions: Conditions, seed: int, *, n_frames: int | None, name: str
) -> Prepared:
    """The best static choice for each test stream's first frames, or for all of it in hindsight."""
    script, spent, started = [], 0, time.perf_counter()
    for number, stream in enumerate(conditions.test.streams):
        sources = [BankFrame(conditions.test, index) for index in stream[:n_frames]]
        found = search_static(
            sources,
            conditions.objective,
            algorithm="refined",
            n_evaluations=conditions.n_evaluations * len(sources),
            seed=seed + number,
        )
        script.append([found.settings])
        spent += found.n_evaluations
    return Prepared(ScriptedTuner(script, name), [], spent, time.perf_counter() - started)


def prepare_oracle(conditions: Conditions, seed: int) -> Prepared:
    """For each frame the settings that are best by ground truth: nobody's to have, a bound."""
    space = conditions.task.space

    def best(index: int) -> Settings:
        evaluator = FrameEvaluator(BankFrame(conditions.test, index), conditions.objective)
        truth: Truth | None = conditions.judge.truth(index)
        if truth is None:
            raise SamstarError("the oracle needs ground truth: judge on frames with labels")
        found = maximise(
            make_search("refined", conditions.task, seed=seed + index),
            lambda vector: f1_at(evaluator(space.decode(vector)).segmentation, truth),
            conditions.n_evaluations,
        )
        return space.decode(found.vector)

    script = [[best(index) for index in stream] for stream in conditions.streams]
    return Prepared(ScriptedTuner(script, "oracle"))


def prepare_genetic(conditions: Conditions, seed: int, *, warm: bool = False) -> Prepared:
    """A genetic search on each frame; warm, it goes on from the last frame's population."""
    tuner = SearchTuner(
        conditions.task, n_evaluations=conditions.n_evaluations, warm=warm, seed=seed
    )
    progress: list[np.ndarray] = []
    tuner.on_found = lambda found: progress.append(found.best_so_far())

    def keep(folder: Path) -> None:
        mean = np.mean(progress, axis=0)
        atomic.write_json(folder / SEARCH_FILE, {"best_reward": [float(r) for r in mean]})

    return Prepared(tuner, keep=keep)


def prepare_nsga2(conditions: Conditions, seed: int) -> Prepared:
    """NSGA-II over the terms on each frame; the task's weights choose from its front."""
    tuner = Nsga2Tuner(conditions.task, n_evaluations=conditions.n_evaluations, seed=seed)

    def keep(folder: Path) -> None:
        # of the first stream's middle frame
        front = tuner.fronts[len(conditions.streams[0]) // 2]
        content = {
            "frame_id": front.frame_id,
            "names": list(front.names),
            "values": front.values.tolist(),
            "optimal": front.optimal.tolist(),
            "chosen": front.chosen,
        }
        atomic.write_json(folder / FRONT_FILE, content)

    return Prepared(tuner, keep=keep)


def prepare_learner(conditions: Conditions, seed: int, *, algorithm: str) -> Prepared:
    """A policy learned by reinforcement, by the name of a learner's hyperparameters."""
    plan = _training_plan(conditions, algorithm, conditions.task.name, seed)
    trained = train_policy(
        conditions.task, conditions.bank, plan, conditions.folder, resume=True
    )
    prepared = _of_training(trained, plan, _judged(conditions, trained.network, algorithm))
    prepared.learned_from = (conditions.bank,)
    return prepared


def prepare_unseen(conditions: Conditions, seed: int) -> Prepared:
    """One policy that PPO learned on the other tasks: it never met this one, nor its settings."""
    plan = _training_plan(conditions, "ppo", "all", seed, variation=VARIATION)
    others = list(conditions.others.values())
    trained = train_multi_policy(others, plan, conditions.folder, resume=True)
    tuner = trained.tuner(conditions.test, conditions.task, "unseen")
    prepared = _of_training(trained, plan, tuner)
    prepared.learned_from = tuple(bank for _, bank in others)
    return prepared


def prepare_others_static(conditions: Conditions, seed: int) -> Prepared:
    """The static settings of another task: who meets a new sample has no others.

    The seed says of which of the other tasks.
    """
    foreign, _ = list(conditions.others.values())[seed]
    return Prepared(ForeignStaticTuner(foreign, conditions.task))


def prepare_evolved(conditions: Conditions, seed: int) -> Prepared:
    """A policy whose weights the genetic algorithm evolves; its best on the validation streams.

    Like a training it begins at the static settings, and never ends below them there.
    """
    frames, static = conditions.frames, StaticTuner(conditions.task.static)
    parts = (frames.part(index) for index in conditions.training_frames)
    normalisation = fit_normalisation(frames.builder.schema, parts, embedding_gain=EMBEDDING_GAIN)
    with ValidationCurve(conditions) as curve:

        def add(spent: int, network: PolicyNetwork) -> None:
            curve.add(spent, PolicyTuner(network, frames.builder, frames=frames), network)

        curve.add(0, static, None)
        _, spent = evolve_policy(
            frames,
            conditions.training,
            conditions.objective,
            normalisation,
            n_evaluations=conditions.steps,
            seed=seed,
            on_generation=add,
        )
    best: PolicyNetwork | None = curve.best
    tuner = static if best is None else _judged(conditions, best, "evolved")
    return Prepared(tuner, curve.points, spent, curve.seconds, (conditions.bank,), best)


def prepare_mlp(conditions: Conditions, seed: int) -> Prepared:
    """A perceptron fitted to the searched optima of the training frames."""
    started, indices = time.perf_counter(), conditions.training_frames
    actions = search_each_frame(
        conditions.frames, indices, conditions.objective,
        n_evaluations=conditions.steps, seed=seed,
    )  # fmt: skip
    tuner = imitate(
        conditions.frames, indices, actions, seed=seed, judged=conditions.judge.frames
    )
    spent = conditions.steps // len(indices) * len(indices)
    return Prepared(tuner, [], spent, time.perf_counter() - started, (conditions.bank,))


def _training_plan(
    conditions: Conditions, algorithm: str, task: str, seed: int, variation: float = 0.0
) -> TrainingPlan:
    hyperparameters = load_hyperparameters(
        algorithm, task=task, env_id=STREAM_ID, overrides={"total_steps": conditions.steps}
    )
    return TrainingPlan(algorithm, hyperparameters, seed=seed, variation=variation)


def _of_training(trained: Trained, plan: TrainingPlan, tuner: Tuner) -> Prepared:
    progress = trained.progress
    return Prepared(
        tuner,
        [(int(p["steps"]), p["seconds"], p["score"]) for p in progress.curve],
        progress.steps,
        progress.seconds,
        network=trained.network,
        hyperparameters=dict(plan.hyperparameters),
    )


def _judged(conditions: Conditions, network: PolicyNetwork, name: str) -> PolicyTuner:
    frames = conditions.judge.frames
    return PolicyTuner(network, frames.builder, name, frames=frames)


@dataclass(frozen=True)
class Contender:
    """One who takes part in a benchmark.

    Attributes
    ----------
    name : str
    prepare : callable
        Makes it ready under `Conditions` with a seed.
    is_learner : bool
        Whether it is among those of which the best learned policy of a task is chosen.
    is_policy : bool
        Whether it answers each frame at once from what it sees of it.
    carries_claims : bool
        Whether it runs with several seeds.
    everywhere : bool
        Whether it takes part in every task of the full plan, and not in the first alone.
    quick : bool
        Whether it takes part in the quick plan.
    transfers : bool
        Whether it never learns from the task on which it is judged; it needs several tasks.
    needs_streams : bool
        Whether it means nothing where each frame is a stream of its own.
    slow : bool
        Whether it searches on each frame and carries no claim: a plan may spare frames on it.
    needs : (module, extra), optional
        A module that it needs, and the extra that installs it.
    """

    name: str
    prepare: Callable[[Conditions, int], Prepared]
    is_learner: bool = False
    is_policy: bool = False
    carries_claims: bool = False
    everywhere: bool = False
    quick: bool = False
    transfers: bool = False
    needs_streams: bool = False
    slow: bool = False
    needs: tuple[str, str] | None = None


def _learner(algorithm: str, *, main: bool = False, quick: bool = False) -> Contender:
    contrib = ("sb3_contrib", "contrib") if algorithm in ("tqc", "trpo") else None
    return Contender(
        algorithm, partial(prepare_learner, algorithm=algorithm), is_policy=True, needs=contrib,
        is_learner=main, carries_claims=main, everywhere=main, quick=quick,
    )  # fmt: skip


def _frozen(name: str, n_frames: int | None, *, quick: bool = False) -> Contender:
    prepare = partial(prepare_frozen, n_frames=n_frames, name=name)
    return Contender(name, prepare, everywhere=True, quick=quick, needs_streams=True)


#: In the order of the tables.
_ALL = (
    Contender("default", lambda c, seed: Prepared(default_tuner(c.task)), everywhere=True,
              quick=True),
    Contender("random", lambda c, seed: Prepared(RandomTuner(c.task, seed=seed)), everywhere=True,
              quick=True),
    Contender("static", lambda c, seed: Prepared(StaticTuner(c.task.static)), everywhere=True,
              quick=True),
    Contender("static-search", prepare_static_search, everywhere=True, quick=True),
    _frozen("frozen-first", 1),
    _frozen("frozen-start", FIRST_FRAMES, quick=True),
    _frozen("hindsight", None),
    Contender("nsga2", prepare_nsga2, slow=True),
    Contender("genetic", prepare_genetic, everywhere=True, quick=True),
    Contender("genetic-warm", partial(prepare_genetic, warm=True), needs_streams=True),
    Contender("mlp", prepare_mlp, is_policy=True, quick=True),
    Contender("evolved", prepare_evolved, is_policy=True),
    _learner("td3"),
    _learner("tqc"),
    _learner("trpo"),
    _learner("ppo", main=True, quick=True),
    _learner("sac", main=True),
    Contender("others-static", prepare_others_static, everywhere=True, transfers=True),
    Contender("unseen", prepare_unseen, is_policy=True, carries_claims=True, everywhere=True,
              transfers=True),
    Contender("oracle", prepare_oracle, everywhere=True),
)  # fmt: skip
CONTENDERS: dict[str, Contender] = {contender.name: contender for contender in _ALL}
"""Contenders by name, in the order of the tables."""
