"""How each contender of a benchmark is made ready with the same budget."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl._io import atomic
from samstar_rl.agents.benchmark.conditions import Prepared, ValidationCurve
from samstar_rl.agents.benchmark.contenders import FRONT_FILE, SEARCH_FILE
from samstar_rl.agents.learning.hyperparameters import load_hyperparameters
from samstar_rl.agents.learning.imitation import EMBEDDING_GAIN, imitate, search_each_frame
from samstar_rl.agents.learning.neuroevolution import evolve_policy
from samstar_rl.agents.learning.normalisation import fit_normalisation
from samstar_rl.agents.learning.plan import TrainingPlan
from samstar_rl.agents.learning.train import bundle_trained, train_multi_policy, train_policy
from samstar_rl.agents.search.ask_tell import make_search, maximise
from samstar_rl.agents.search.static import search_static
from samstar_rl.agents.tuners.fixed import (
    ForeignStaticTuner,
    RandomTuner,
    ScriptedTuner,
    default_tuner,
)
from samstar_rl.agents.tuners.policy import PolicyTuner
from samstar_rl.agents.tuners.search import Nsga2Tuner, SearchTuner
from samstar_rl.envs import STREAM_ID
from samstar_rl.envs.wrappers import VARIATION
from samstar_rl.errors import SamstarError
from samstar_rl.truth.metrics import f1_at
from samstar_rl.tuning.evaluable_frames import BankFrame
from samstar_rl.tuning.tuner import FrameEvaluator, StaticTuner

if TYPE_CHECKING:
    from samstar_rl.agents.benchmark.conditions import Conditions
    from samstar_rl.agents.learning.train import Trained
    from samstar_rl.agents.policies.network import PolicyNetwork
    from samstar_rl.settings import Settings
    from samstar_rl.truth.metrics import Truth
    from samstar_rl.tuning.tuner import Tuner


def default(conditions: Conditions, seed: int) -> Prepared:
    """SAM's own defaults."""
    return Prepared(default_tuner(conditions.task))


def static(conditions: Conditions, seed: int) -> Prepared:
    """The static settings that the task ships with."""
    return Prepared(StaticTuner(conditions.task.static))


def random(conditions: Conditions, seed: int) -> Prepared:
    """Random settings, one draw a frame."""
    return Prepared(RandomTuner(conditions.task, seed=seed))


def static_search(conditions: Conditions, seed: int) -> Prepared:
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


def frozen(conditions: Conditions, seed: int, *, n_frames: int | None, name: str) -> Prepared:
    """The best static choice for each test stream's first frames, or for all of it in hindsight.

    Parameters
    ----------
    conditions : Conditions
    seed : int
    n_frames : int, optional
        Frames at the start of each stream; all of it by default.
    name : str
        Of the tuner.

    Returns
    -------
    Prepared
    """
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


def oracle(conditions: Conditions, seed: int) -> Prepared:
    """The settings of each frame that are best by ground truth: nobody's to have, a bound."""
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


def genetic(conditions: Conditions, seed: int, *, warm: bool = False) -> Prepared:
    """A genetic search on each frame; warm, it goes on from the last frame's population.

    Parameters
    ----------
    conditions : Conditions
    seed : int
    warm : bool

    Returns
    -------
    Prepared
    """
    tuner = SearchTuner(
        conditions.task, n_evaluations=conditions.n_evaluations, warm=warm, seed=seed
    )
    progress: list[np.ndarray] = []
    tuner.on_found = lambda found: progress.append(found.best_so_far())

    def keep(folder: Path) -> None:
        mean = np.mean(progress, axis=0)
        atomic.write_json(folder / SEARCH_FILE, {"best_reward": [float(r) for r in mean]})

    return Prepared(tuner, keep=keep)


def nsga2(conditions: Conditions, seed: int) -> Prepared:
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


def learner(conditions: Conditions, seed: int, *, algorithm: str) -> Prepared:
    """A policy learned by reinforcement, by the name of a learner's hyperparameters.

    Parameters
    ----------
    conditions : Conditions
    seed : int
    algorithm : str

    Returns
    -------
    Prepared
    """
    plan = _training_plan(conditions, algorithm, conditions.task.name, seed)
    trained = train_policy(conditions.task, conditions.bank, plan, conditions.folder, resume=True)
    prepared = _of_training(trained, plan, _judged(conditions, trained.network, algorithm))
    prepared.learned_from = (conditions.bank,)
    bundle = bundle_trained(trained, plan, [(conditions.task, conditions.bank)])
    prepared.keep = lambda folder: bundle.save(folder / "policy")
    return prepared


def unseen(conditions: Conditions, seed: int) -> Prepared:
    """One policy that PPO learned on the other tasks: it never met this one, nor its settings."""
    plan = _training_plan(conditions, "ppo", "all", seed, variation=VARIATION)
    others = list(conditions.others.values())
    trained = train_multi_policy(others, plan, conditions.folder, resume=True)
    tuner = trained.tuner(conditions.test, conditions.task, "unseen")
    prepared = _of_training(trained, plan, tuner)
    prepared.learned_from = tuple(bank for _, bank in others)
    return prepared


def others_static(conditions: Conditions, seed: int) -> Prepared:
    """The static settings of another task: who meets a new sample has no others.

    The seed says of which of the other tasks.
    """
    foreign, _ = list(conditions.others.values())[seed]
    return Prepared(ForeignStaticTuner(foreign, conditions.task))


def evolved(conditions: Conditions, seed: int) -> Prepared:
    """A policy whose weights the genetic algorithm evolves; its best on the validation streams.

    Like a training it begins at the static settings, and never ends below them there.
    """
    frames, unmoved = conditions.frames, StaticTuner(conditions.task.static)
    parts = (frames.part(index) for index in conditions.training_frames)
    normalisation = fit_normalisation(frames.builder.schema, parts, embedding_gain=EMBEDDING_GAIN)
    with ValidationCurve(conditions) as curve:

        def add(spent: int, network: PolicyNetwork) -> None:
            curve.add(spent, PolicyTuner(network, frames.builder, frames=frames), network)

        curve.add(0, unmoved, None)
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
    tuner = unmoved if best is None else _judged(conditions, best, "evolved")
    return Prepared(tuner, curve.points, spent, curve.seconds, (conditions.bank,))


def mlp(conditions: Conditions, seed: int) -> Prepared:
    """A perceptron fitted to the searched optima of the training frames."""
    started, indices = time.perf_counter(), conditions.training_frames
    actions = search_each_frame(
        conditions.frames, indices, conditions.objective,
        n_evaluations=conditions.steps, seed=seed,
    )  # fmt: skip
    tuner = imitate(conditions.frames, indices, actions, seed=seed, judged=conditions.judge.frames)
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
        hyperparameters=dict(plan.hyperparameters),
    )


def _judged(conditions: Conditions, network: PolicyNetwork, name: str) -> PolicyTuner:
    frames = conditions.judge.frames
    return PolicyTuner(network, frames.builder, name, frames=frames)
