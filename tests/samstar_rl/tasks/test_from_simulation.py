"""Targets as an operator would write them: near the truth, and never moved by the drift."""

from __future__ import annotations

import numpy as np
import pytest

from samstar_rl.simulator import PopulationParameters, SimulatedStream
from samstar_rl.tasks.from_simulation import DEVIATION, diameter_quantiles_nm, task_for_stream
from samstar_rl.tasks.task import load_task


def test_targets_lie_within_a_fifth_of_the_truth() -> None:
    task = load_task("overlap")
    ratios = []
    for seed in range(6):
        stream = SimulatedStream("overlap", seed=seed, size=64)
        true_nm = diameter_quantiles_nm(stream.parameters.populations)[1]
        stated = task_for_stream(task, stream).terms["size"].median_diameter  # type: ignore[attr-defined]
        ratios.append(stated / true_nm)
    assert min(ratios) >= 1 - DEVIATION and max(ratios) <= 1 + DEVIATION
    assert np.std(ratios) > 0.03


def test_the_same_stream_gives_the_same_targets_whatever_its_drift() -> None:
    task = load_task("size")
    steady, drifting = (SimulatedStream("size", seed=3, size=64, drift=d) for d in (0.0, 2.0))
    assert task_for_stream(task, steady) == task_for_stream(task, drifting)
    assert task_for_stream(task, steady, seed=1) != task_for_stream(task, steady)


def test_without_deviation_the_targets_are_the_truth() -> None:
    stream = SimulatedStream("lattice", seed=2, size=64)
    task = task_for_stream(load_task("lattice"), stream, deviation=0.0)
    order, size = task.terms["order"], task.terms["size"]
    assert order.lattice_constant == pytest.approx(stream.parameters.lattice_constant_nm)  # type: ignore[attr-defined]
    spot_nm = stream.parameters.populations[0].mean_diameter_nm
    assert size.median_diameter == pytest.approx(spot_nm, rel=0.01)  # type: ignore[attr-defined]


def test_walls_and_densities_are_those_of_the_sample() -> None:
    stream = SimulatedStream("cells", seed=1, size=128)
    task = load_task("cells").with_targets(
        completeness={"number_density": [1e-9, 2e-9]}, coverage={"areal_fraction": [0.1, 0.2]}
    )
    stated = task_for_stream(task, stream, deviation=0.0)
    truth = stream.parameters
    assert stated.terms["tiling"].wall_fraction == pytest.approx(1 - truth.areal_coverage)  # type: ignore[attr-defined]
    low, high = stated.terms["completeness"].number_density  # type: ignore[attr-defined]
    assert np.sqrt(low * high) * 1e6 == pytest.approx(truth.number_density_per_um2)
    low, high = stated.terms["coverage"].areal_fraction  # type: ignore[attr-defined]
    assert low < truth.areal_coverage < high


def test_what_holds_for_all_samples_stays() -> None:
    stream = SimulatedStream("morphology", seed=0, size=64)
    task = load_task("morphology")
    stated = task_for_stream(task, stream)
    assert stated.terms["shape"].solidity == task.terms["shape"].solidity  # type: ignore[attr-defined]
    assert stated.static == task.static and stated.space == task.space
    assert stated.sample == task.sample.model_copy(update={"contrast": stated.sample.contrast})


def test_the_sign_of_the_contrast_is_known() -> None:
    for seed in range(3):
        stream = SimulatedStream("size", seed=seed, size=64)
        stated = task_for_stream(load_task("size"), stream)
        assert stated.sample.contrast == stream.parameters.polarity
        assert stated.terms["size"].sample == stated.sample
    told = load_task("size").with_targets(sample={"contrast": "dark"})
    assert task_for_stream(told, stream).sample.contrast == "dark"


def test_units_of_length_agree() -> None:
    """The same sample in shares of the frame: nm over the frame's short side."""
    stream = SimulatedStream("overlap", seed=4, size=100)
    data = load_task("overlap").to_dict()
    in_nm = task_for_stream(load_task("overlap"), stream).terms["size"].median_diameter  # type: ignore[attr-defined]
    size = data["terms"]["size"]
    data["length_unit"] = "frame"
    size["median_diameter_frame"] = size.pop("median_diameter_nm")
    for name in ("min_diameter", "max_diameter"):
        data["sample"].pop(f"{name}_nm", None)
    task = type(load_task("overlap")).from_dict(data)
    in_frames = task_for_stream(task, stream).terms["size"].median_diameter  # type: ignore[attr-defined]
    field_nm = 100 * stream.parameters.pixel_size_nm
    assert in_frames * field_nm == pytest.approx(in_nm)


def test_what_does_not_fit_is_refused() -> None:
    stream = SimulatedStream("overlap", seed=0, size=64)
    with pytest.raises(ValueError, match="lattice"):
        task_for_stream(load_task("lattice"), stream)
    with pytest.raises(ValueError, match="deviation must lie in"):
        task_for_stream(load_task("overlap"), stream, deviation=1.5)


def test_quantiles_of_a_mixture() -> None:
    one = PopulationParameters(mean_diameter_nm=10.0, sigma_log=0.2, share=1.0)
    low, median, high = diameter_quantiles_nm([one])
    assert median == pytest.approx(10.0 * np.exp(-0.02), rel=1e-3)
    assert np.log(high / low) / 2 == pytest.approx(0.2, rel=0.01)
    other = PopulationParameters(mean_diameter_nm=100.0, sigma_log=0.2, share=0.1)
    assert diameter_quantiles_nm([one, other])[1] == pytest.approx(10.2, rel=0.03)
