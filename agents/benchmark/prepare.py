"""How each contender of a benchmark is made ready with the same budgets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl._io import atomic
from samstar_rl.agents.benchmark.conditions import Prepared, ValidationCurve
from samstar_rl.agents.benchmark.contenders import FRONT_FILE
from samstar_rl.agents.judging.judge import Judge
from samstar_rl.agents.judging.statistics import mean_curve
from samstar_rl.agents.learning.gaze_fit import evaluate_all_gazes, fit_gaze, moves_gaze
from samstar_rl.agents.learning.hyperparameters import load_hyperparameters
from samstar_rl.agents.learning.neuroevolution import evolve_policy
from samstar_rl.agents.learning.normalisation import fit_normalisation
from samstar_rl.agents.learning.plan import TrainingPlan
from samstar_rl.agents.learning.train import bundle_trained, train_multi_policy, train_policy
from samstar_rl.agents.search.gazes import evaluate_gazes, gazes_of
from samstar_rl.agents.search.settings_file import settings_toml
from samstar_rl.agents.search.static import FIRST_FRAMES, search_static
from samstar_rl.agents.tuners.filters import ChooseFilters
from samstar_rl.agents.tuners.fixed import ForeignStaticTuner, ScriptedTuner
from samstar_rl.agents.tuners.policy import PolicyTuner
from samstar_rl.agents.tuners.rule import RuleTuner
from samstar_rl.agents.tuners.search import Nsga2Tuner, SearchTuner
from samstar_rl.bank.split import split_streams
from samstar_rl.envs import STREAM_ID
from samstar_rl.envs.wrappers import VARIATION
from samstar_rl.errors import SamstarError
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.settings import Settings
from samstar_rl.tuning.budget import BUDGET_RANGE
from samstar_rl.tuning.evaluable_frames import BankFrame, LiveFrame
from samstar_rl.tuning.tuner import StaticTuner

if TYPE_CHECKING:
    from samstar_rl.agents.benchmark.conditions import Conditions
    from samstar_rl.agents.learning.train import Trained
    from samstar_rl.agents.policies.network import Normalisation, PolicyNetwork
    from samstar_rl.tuning.tuner import Tuner

WATCHED = (100.0, 300.0, 1000.0)
"""Budgets at which an evolved policy is watched on the validation streams."""
EMBEDDING_GAIN = 0.25
"""Weight of the pooled embedding for policies that no reinforcement learns, as for PPO."""


def default(conditions: Conditions, seed: int) -> Prepared:
    """SAM's own defaults: the stock grid, whatever it costs; SAM looks at each frame anew."""
    settings, engine = Settings(points_per_side=conditions.grid), ProposalEngine(load_sam("tiny"))
    judge = Judge(
        conditions.test,
        conditions.objective,
        conditions.streams,
        source=lambda index: LiveFrame(engine, conditions.test.frame(index)),
    )
    return Prepared(lambda budget: StaticTuner(settings, "default"), judge=judge)


def static(conditions: Conditions, seed: int) -> Prepared:
    """The static settings that the task ships with."""
    return Prepared(lambda budget: StaticTuner(conditions.task.static))


def static_filters(conditions: Conditions, seed: int) -> Prepared:
    """The gaze that the task ships with, filters chosen on each frame as policies have it."""
    task = conditions.task
    tuner = ChooseFilters(StaticTuner(task.static, "static-filters"), task.space)
    return Prepared(lambda budget: tuner)


def rule(conditions: Conditions, seed: int) -> Prepared:
    """The zoom that shows particles at the width that SAM likes."""
    return Prepared(lambda budget: RuleTuner(conditions.task, conditions.test.view_cost))


def static_search(conditions: Conditions, seed: int) -> Prepared:
    """One static choice for each budget, searched by a genetic algorithm and refined.

    What SAM* as published would do, with as many evaluations for each budget as a learner has in
    all; as theirs, its best on the validation streams is kept. Curves are means over budgets.
    """
    sources = [conditions.frames.source(index) for index in conditions.training_frames]
    best: dict[float, Settings] = {}
    curves, spent, seconds = [], 0, 0.0
    for budget in conditions.budgets:
        with ValidationCurve(conditions, [budget]) as curve:

            def add(
                spent: int, settings: Settings, reward: float = 0.0, curve: ValidationCurve = curve
            ) -> None:
                curve.add(spent, StaticTuner(settings), settings)

            add(0, conditions.task.static)
            found = search_static(
                sources,
                conditions.objective,
                algorithm="refined",
                n_evaluations=conditions.steps,
                budget=budget,
                seed=seed,
                on_round=add,
            )
            add(found.n_evaluations, found.settings)
        best[budget] = curve.best
        curves.append(curve.points)
        spent, seconds = max(spent, found.n_evaluations), seconds + curve.seconds

    def keep(folder: Path) -> None:
        for budget, settings in best.items():
            text = settings_toml(settings, {"task": conditions.task.name, "budget": budget})
            atomic.write_text(folder / f"budget-{budget:g}.toml", text)

    return Prepared(
        lambda budget: StaticTuner(best[budget], "static-search"),
        mean_curve(curves),
        spent,
        seconds / len(conditions.budgets),
        (conditions.bank,),
        keep=keep,
    )


def frozen_start(conditions: Conditions, seed: int) -> Prepared:
    """The best static choice for each test stream's first frames at the budget: an operator's."""
    started, spent = time.perf_counter(), 0
    scripts: dict[float, list[list[Settings]]] = {}
    for budget in conditions.budgets:
        spent, scripts[budget] = 0, []
        for number, stream in enumerate(conditions.test.streams):
            sources = [BankFrame(conditions.test, index) for index in stream[:FIRST_FRAMES]]
            found = search_static(
                sources,
                conditions.objective,
                algorithm="refined",
                n_evaluations=conditions.n_evaluations * len(sources),
                budget=budget,
                seed=seed + number,
            )
            scripts[budget].append([found.settings])
            spent += found.n_evaluations
    seconds = (time.perf_counter() - started) / len(conditions.budgets)
    return Prepared(
        lambda budget: ScriptedTuner(scripts[budget], "frozen-start"), [], spent, seconds
    )


def oracle(conditions: Conditions, seed: int) -> Prepared:
    """The gaze of each frame that is best by ground truth, static filters: a bound, nobody's."""
    gazes, limits = gazes_of(conditions.task), conditions.budgets

    def best(index: int) -> list[Settings]:
        """For each budget."""
        truth = conditions.judge.truth(index)
        if truth is None:
            raise SamstarError("the oracle needs ground truth: judge on frames with labels")
        source = BankFrame(conditions.test, index)
        values = evaluate_gazes(source, conditions.objective, gazes, limits, truth)
        return [gazes[g] for g in np.argmax(values.f1, axis=1).tolist()]

    chosen = [[best(index) for index in stream] for stream in conditions.streams]

    def at(budget: float) -> Tuner:
        b = limits.index(budget)
        return ScriptedTuner([[frame[b] for frame in stream] for stream in chosen], "oracle")

    return Prepared(at)


def genetic(conditions: Conditions, seed: int) -> Prepared:
    """A genetic search on each frame within its budget, from the last frame's population on."""
    task, n_evaluations = conditions.task, conditions.n_evaluations
    return Prepared(
        lambda budget: SearchTuner(task, n_evaluations=n_evaluations, warm=True, seed=seed)
    )


def nsga2(conditions: Conditions, seed: int) -> Prepared:
    """NSGA-II of score against cost on each frame within its budget."""
    tuners: dict[float, Nsga2Tuner] = {}

    def at(budget: float) -> Tuner:
        task, n_evaluations = conditions.task, conditions.n_evaluations
        tuners[budget] = Nsga2Tuner(task, n_evaluations=n_evaluations, seed=seed)
        return tuners[budget]

    def keep(folder: Path) -> None:
        # of the first stream's middle frame, at the greatest budget
        front = tuners[max(tuners)].fronts[len(conditions.streams[0]) // 2]
        content = {
            "frame_id": front.frame_id,
            "score": front.values[:, 0].tolist(),
            "cost": (-front.values[:, 1]).tolist(),
            "optimal": front.optimal.tolist(),
            "chosen": front.chosen,
        }
        atomic.write_json(folder / FRONT_FILE, content)

    return Prepared(at, keep=keep)


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
    policy = trained.tuner(conditions.test, conditions.task, "unseen")
    tuner = ChooseFilters(policy, conditions.task.space)
    prepared = _of_training(trained, plan, tuner)
    prepared.learned_from = tuple(bank for _, bank in others)
    return prepared


def others_static(conditions: Conditions, seed: int) -> Prepared:
    """The static settings of another task: who meets a new sample has no others.

    The seed says of which of the other tasks.
    """
    foreign, _ = list(conditions.others.values())[seed]
    return Prepared(lambda budget: ForeignStaticTuner(foreign, conditions.task))


def evolved(conditions: Conditions, seed: int) -> Prepared:
    """A policy whose weights the genetic algorithm evolves; its best on the validation streams.

    Like a training it begins at the static settings, and never ends below them there.
    """
    frames, unmoved = conditions.frames, StaticTuner(conditions.task.static)
    normalisation = _fit_normalisation(conditions)
    with ValidationCurve(conditions, WATCHED) as curve:

        def add(spent: int, network: PolicyNetwork) -> None:
            curve.add(spent, PolicyTuner(network, frames.builder, frames=frames), network)

        curve.add(0, unmoved, None)
        _, spent = evolve_policy(
            frames,
            split_streams(conditions.bank.streams)[0],
            conditions.objective,
            normalisation,
            n_evaluations=conditions.steps,
            budgets=BUDGET_RANGE,
            seed=seed,
            on_generation=add,
        )
    best: PolicyNetwork | None = curve.best
    tuner: Tuner = unmoved if best is None else _judged(conditions, best, "evolved")
    return Prepared(lambda budget: tuner, curve.points, spent, curve.seconds, (conditions.bank,))


def mlp(conditions: Conditions, seed: int) -> Prepared:
    """A perceptron fitted to the rewards of all gazes on each training frame at six budgets.

    Where a task lets no gaze move it answers the static settings.
    """
    started, frames, settings = time.perf_counter(), conditions.frames, conditions.task.static
    if not moves_gaze(frames):
        return static(conditions, seed)
    known = evaluate_all_gazes(
        frames,
        [i for stream in split_streams(conditions.bank.streams)[0] for i in stream],
        conditions.objective,
        filters=settings,
        most=conditions.steps,
    )
    normalisation = _fit_normalisation(conditions)
    centre = frames.builder.encode(settings)
    network = fit_gaze(frames, known, normalisation, centre=centre, seed=seed)
    tuner = _judged(conditions, network, "mlp")
    seconds = time.perf_counter() - started
    return Prepared(lambda budget: tuner, [], known.n_evaluations, seconds, (conditions.bank,))


def _fit_normalisation(conditions: Conditions) -> Normalisation:
    frames = conditions.frames
    parts = map(frames.part, range(len(frames.bank)))
    return fit_normalisation(frames.builder.schema, parts, embedding_gain=EMBEDDING_GAIN)


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
        lambda budget: tuner,
        [(int(p["steps"]), p["seconds"], p["score"]) for p in progress.curve],
        progress.steps,
        progress.seconds,
        hyperparameters=dict(plan.hyperparameters),
    )


def _judged(conditions: Conditions, network: PolicyNetwork, name: str) -> Tuner:
    """A policy as it is deployed."""
    frames = conditions.judge.frames
    policy = PolicyTuner(network, frames.builder, name, frames=frames)
    return ChooseFilters(policy, conditions.task.space)
