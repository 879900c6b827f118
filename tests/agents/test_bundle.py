from __future__ import annotations

import hashlib
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_bank import N_CHANNELS, SyntheticBank

from samstar_rl.agents.policies.bundle import BundleError, PolicyBundle
from samstar_rl.agents.policies.network import Normalisation, PolicyNetwork
from samstar_rl.agents.registry import TunerError, make_tuner
from samstar_rl.agents.tuners.policy import PolicyTuner
from samstar_rl.envs import STREAM_ID
from samstar_rl.envs.observation.schema import ObservationSchema
from samstar_rl.tasks.task import load_task
from samstar_rl.tuning.evaluable_frames import BankFrame
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import run_tuner


@pytest.fixture(scope="module")
def task():
    return load_task("particles")


def draw_network(n_in, n_out, *, seed=0, squash=False, activation="tanh", sizes=(16, 16)):
    rng = np.random.default_rng(seed)
    widths = [n_in, *sizes, n_out]
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    return PolicyNetwork(
        normalisation=Normalisation(
            rng.normal(size=n_in).astype(np.float32),
            rng.uniform(0.1, 3, n_in).astype(np.float32) * (rng.random(n_in) > 0.1),
        ),
        weights=tuple(rng.normal(0, 0.5, shape).astype(np.float32) for shape in shapes),
        biases=tuple(rng.normal(0, 0.3, shape[0]).astype(np.float32) for shape in shapes),
        activation=activation,
        squash=squash,
        centre=rng.uniform(-1, 1, n_out).astype(np.float32),
        span=1.5,
    )


def make_bundle(task, *, seed=0, **changes):
    schema = ObservationSchema.for_task(task, N_CHANNELS)
    given = {
        "name": "test",
        "env_id": STREAM_ID,
        "task": task,
        "schema": schema,
        "sam_name": "synthetic",
        "sam_sha256": SyntheticBank.sam_sha256,
        "training": {"algorithm": "none"},
    }
    network = draw_network(schema.size, task.space.n, seed=seed)
    return network, PolicyBundle.of(network, **given | changes)


@pytest.fixture
def saved(task, tmp_path):
    return make_bundle(task)[1].save(tmp_path / "test")


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    squash=st.booleans(),
    activation=st.sampled_from(["tanh", "relu"]),
    magnitude=st.sampled_from([0.1, 1.0, 100.0]),
)
def test_onnx_and_numpy_agree(seed, squash, activation, magnitude):
    import onnxruntime

    network = draw_network(12, 4, seed=seed, squash=squash, activation=activation)
    batch = np.random.default_rng(seed).normal(0, magnitude, (5, 12)).astype(np.float32)
    session = onnxruntime.InferenceSession(network.to_onnx(), providers=["CPUExecutionProvider"])
    (actions,) = session.run(["action"], {"observation": batch})
    np.testing.assert_allclose(actions, network(batch), atol=1e-5)
    assert np.abs(actions).max() <= 1


def test_settings_survive_the_way_through_the_folder(task, tmp_path):
    bank = SyntheticBank(task, n_streams=1, n_frames=4)
    network, bundle = make_bundle(task)
    loaded = PolicyBundle.load(bundle.save(tmp_path / "test"))
    before = PolicyTuner(network, PolicyTuner.from_bundle(bundle).builder)
    after = PolicyTuner.from_bundle(loaded)
    objective = Objective(task)
    sources = [BankFrame(bank, i) for i in range(4)]
    for one, other in zip(
        run_tuner(before, sources, objective), run_tuner(after, sources, objective), strict=True
    ):
        first, second = (task.space.encode(t.evaluation.settings) for t in (one, other))
        np.testing.assert_allclose(first, second, atol=1e-5)


def test_the_sheet_holds_what_the_graph_does(task, saved):
    bundle = PolicyBundle.load(saved)
    network, _ = make_bundle(task)
    np.testing.assert_array_equal(bundle.normalisation.mean, network.normalisation.mean)
    assert bundle.schema == ObservationSchema.for_task(task, N_CHANNELS)
    assert bundle.task == task
    assert bundle.training == {"algorithm": "none"}


def test_loading_never_unpickles(saved, monkeypatch):
    monkeypatch.setattr(pickle, "load", lambda *_: pytest.fail("unpickled"))
    monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("unpickled"))
    PolicyBundle.load(saved)


def test_saving_replaces_whole_bundles(task, saved):
    make_bundle(task, seed=1)[1].save(saved)
    assert sorted(path.name for path in saved.iterdir()) == ["bundle.json", "policy.onnx"]
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    PolicyBundle.load(saved)


@pytest.mark.parametrize("name", ["policy.onnx", "bundle.json"])
def test_truncated_and_missing_files_are_refused(saved, name):
    file = saved / name
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BundleError, match=f"{name} is damaged"):
        PolicyBundle.load(saved)
    file.unlink()
    with pytest.raises(BundleError, match=name):
        PolicyBundle.load(saved)


def test_another_sam_or_task_is_refused(task, saved):
    with pytest.raises(BundleError, match="SAM 'synthetic'"):
        PolicyBundle.load(saved, sam_sha256="6" * 64)
    with pytest.raises(BundleError, match="'particles'"):
        PolicyBundle.load(saved, task=load_task("overlap"))
    with pytest.raises(BundleError, match="other targets"):
        PolicyBundle.load(saved, task=task.with_targets(shape={"solidity": (0.5, 1.0)}))
    # but for its static settings
    PolicyBundle.load(saved, task=task.with_static(task.static.replace(pred_iou_thresh=0.33)))


def test_other_version_is_refused(saved):
    sheet = saved / "bundle.json"
    content = json.loads(sheet.read_text())
    sheet.write_text(json.dumps(content | {"version": 99}))
    with pytest.raises(BundleError, match="version 99"):
        PolicyBundle.load(saved)


def test_graph_of_another_size_is_refused(task, saved):
    other = draw_network(7, task.space.n).to_onnx()
    content = json.loads((saved / "bundle.json").read_text())
    content["policy_sha256"] = hashlib.sha256(other).hexdigest()
    (saved / "bundle.json").write_text(json.dumps(content))
    (saved / "policy.onnx").write_bytes(other)
    with pytest.raises(BundleError, match="maps 7 numbers"):
        PolicyBundle.load(saved)


def test_network_of_another_size_cannot_be_bundled(task):
    schema = ObservationSchema.for_task(task, N_CHANNELS + 1)
    with pytest.raises(BundleError, match="needs"):
        make_bundle(task, schema=schema)


def test_tuners_by_name(task, saved, tmp_path):
    for spec in (
        "default",
        "static",
        "static-filters",
        "random",
        "genetic",
        "genetic-warm",
        "nsga2",
    ):
        assert make_tuner(spec, task).searches == (spec in ("genetic", "genetic-warm", "nsga2"))
    assert make_tuner(str(saved), task, sam_sha256=SyntheticBank.sam_sha256).name == "test"
    assert make_tuner("static", task).settings == task.static


def test_static_settings_from_a_file(task, tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("[settings]\npred_iou_thresh = 0.25\n")
    assert make_tuner(f"static:{file}", task).settings.pred_iou_thresh == 0.25
    file.write_text(
        "[[points]]\n[points.settings]\npred_iou_thresh = 0.1\n"
        "[[points]]\n[points.settings]\npred_iou_thresh = 0.2\n"
    )
    assert make_tuner(f"static:{file}#2", task).settings.pred_iou_thresh == 0.2


@pytest.mark.parametrize(
    ("text", "message"),
    [("[settings]\npred_iou = 1\n", "pred_iou_thresh"), ("x = 1\n", "settings"), ("=", "cannot")],
)
def test_bad_settings_file_is_refused(text, message, task, tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text(text)
    with pytest.raises(TunerError, match=message):
        make_tuner(f"static:{file}", task)


def test_unknown_tuner_is_refused(task):
    with pytest.raises(TunerError, match="default, static"):
        make_tuner("nonsense", task)
