"""The guard with everything real about it: a bundle's statistics, a search, a SAM."""

from __future__ import annotations

import numpy as np
import pytest
from bundles import untrained_bundle

from samstar_rl.agents import ChooseFilters, PolicyTuner
from samstar_rl.agents.registry import NamedTuner
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.scripts._shared.supervision import (
    TrainingDistance,
    choose_among,
    retuner,
    supervise,
)
from samstar_rl.segmenter import Segmenter
from samstar_rl.settings import Settings
from samstar_rl.simulator import SimulatedStream
from samstar_rl.streaming.supervision.guard import Guard, GuardRules
from samstar_rl.tasks.task import Task, load_task
from samstar_rl.tuning.evaluable_frames import LiveFrame
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import FrameEvaluator

N_CHANNELS = 5


@pytest.fixture
def loaded(small_task) -> Segmenter:
    return Segmenter.load(small_task)


def measure(task: Task, observation: np.ndarray, *, mean: float, scale: float) -> float:
    bundle = untrained_bundle(task, N_CHANNELS, sam_sha256="0", mean=mean, scale=scale)
    tuner = PolicyTuner.from_bundle(bundle)
    distance = TrainingDistance(tuner, bundle)
    assert distance(None) == 0.0  # nothing was seen yet
    tuner.act(observation)
    return distance(None)


def test_the_distance_counts_standard_deviations():
    task = load_task("particles")
    n = untrained_bundle(task, N_CHANNELS, sam_sha256="0").schema.size
    rng = np.random.default_rng(0)
    assert measure(task, np.full(n, 2.0, np.float32), mean=2.0, scale=10.0) == 0.0
    ordinary = rng.normal(2.0, 0.1, n).astype(np.float32)
    assert measure(task, ordinary, mean=2.0, scale=10.0) == pytest.approx(1.0, abs=0.4)
    assert measure(task, np.full(n, 2.7, np.float32), mean=2.0, scale=10.0) == pytest.approx(7.0)
    # what never varied in the training has the scale 0 and says nothing
    assert measure(task, ordinary, mean=2.0, scale=0.0) == 0.0
    broken = np.full(n, np.nan, np.float32)
    assert np.isnan(measure(task, broken, mean=2.0, scale=10.0))


def test_one_strange_block_is_enough():
    task = load_task("particles")
    schema = untrained_bundle(task, N_CHANNELS, sam_sha256="0").schema
    observation = np.zeros(schema.size, np.float32)
    observation[schema["gaze"].slice] = 9.0
    assert measure(task, observation, mean=0.0, scale=1.0) == pytest.approx(9.0)
    observation = np.zeros(schema.size, np.float32)
    observation[schema["last_terms"].slice] = 9.0  # no look of the frame
    assert measure(task, observation, mean=0.0, scale=1.0) == 0.0


@pytest.mark.parametrize(("scale", "tuner"), [(1e3, "static"), (1e-6, "untrained")])
def test_a_frame_far_from_the_training_gets_static_settings(loaded, scale, tuner):
    n_channels = loaded.engine.sam.prompt_encoder.embed_dim
    bundle = untrained_bundle(loaded.task, n_channels, sam_sha256=loaded.engine.sha256, scale=scale)
    policy = PolicyTuner.from_bundle(bundle)
    guard = supervise(
        loaded, policy, rules=GuardRules(check_every=1000, margin=2.0), retune=False, seed=0
    )
    segmenter = loaded.with_tuner(guard)
    with SimulatedStream("particles", seed=1, size=64) as stream:
        result = segmenter(stream.frame_at(0).frame)
    assert result.tuner == tuner
    assert any("unlike those of the training" in note for note in result.notes) == (
        tuner == "static"
    )


def test_nothing_is_decoded_for_a_policy_that_is_not_believed(loaded, monkeypatch):
    n_channels = loaded.engine.sam.prompt_encoder.embed_dim
    bundle = untrained_bundle(loaded.task, n_channels, sam_sha256=loaded.engine.sha256, scale=1e3)
    policy = ChooseFilters(PolicyTuner.from_bundle(bundle), loaded.task.space)
    rules = GuardRules(check_every=1000)
    guarded = supervise(loaded, policy, rules=rules, retune=False, seed=0)
    calls, propose = [], ProposalEngine.propose
    monkeypatch.setattr(
        ProposalEngine, "propose", lambda *a, **k: calls.append(a[2]) or propose(*a, **k)
    )
    with SimulatedStream("particles", seed=1, size=64) as stream:
        result = loaded.with_tuner(guarded)(stream.frame_at(0).frame)
    assert result.tuner == "static" and result.n_evaluations > 1
    assert len(calls) == 1


def test_the_operators_choice_has_guards(loaded, tmp_path):
    n_channels = loaded.engine.sam.prompt_encoder.embed_dim
    bundle = untrained_bundle(loaded.task, n_channels, sam_sha256=loaded.engine.sha256)
    path = str(bundle.save(tmp_path / "untrained"))
    options = {"retune": False, "n_evaluations": 10, "seed": 0}
    switch = choose_among(
        loaded,
        [NamedTuner(spec) for spec in (path, "static", path)],
        rules=GuardRules(),
        **options,
    )
    assert list(switch.tuners) == [path, "static"] and switch.chosen == path
    assert isinstance(switch.tuners[path], ChooseFilters)
    assert isinstance(switch.tuners[path].inner, Guard)
    unguarded = choose_among(loaded, [NamedTuner(path)], rules=None, **options)
    assert not isinstance(unguarded.tuners[path].inner, Guard)
    with pytest.raises(ValueError, match="no tuner 'nothing'"):
        named = [NamedTuner("static"), NamedTuner("nothing")]
        choose_among(loaded, named, rules=None, **options)


class Poor:
    """A policy whose settings find nothing."""

    name = "poor"
    searches = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def reset(self) -> None:
        pass

    def propose(self, context: object) -> Settings:
        return self.settings


@pytest.mark.slow
def test_a_genetic_retune_beats_bad_static_settings_on_frames_it_has_not_seen(loaded):
    """The guard falls back, searches meanwhile, and takes over what scores higher."""
    poor = loaded.task.static.replace(pred_iou_thresh=0.95, stability_score_thresh=0.95)
    task = loaded.task.with_static(poor)
    loaded = Segmenter(Objective(task), loaded.engine)
    rules = GuardRules(check_every=1, patience=1, margin=-1.0, n_recent=6)  # any policy loses
    guard = Guard(Poor(poor), loaded.objective, rules, retune=retuner(loaded, seed=0))
    segmenter = loaded.with_tuner(guard)
    with SimulatedStream("particles", seed=1, size=96) as stream:
        frames = [stream.frame_at(index).frame for index in range(8)]
    notes: list[str] = []
    for frame in frames:
        notes += segmenter(frame).notes
        guard.wait_for_retune(120)
    assert any("searching new static settings" in note for note in notes)
    taken = [note for note in notes if "took over re-tuned" in note]
    if guard.fallback == poor:  # nothing better was found: nothing may be taken over
        assert not taken
    else:
        assert taken
        assert mean_score(loaded, guard.fallback, frames) > mean_score(loaded, poor, frames)


def mean_score(loaded: Segmenter, settings: Settings, frames) -> float:
    sources = [LiveFrame(loaded.engine, frame) for frame in frames]
    scores = [FrameEvaluator(s, loaded.objective)(settings).score.total for s in sources]
    return float(np.mean(scores))
