from __future__ import annotations

import functools
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from dying_worker import always_die, work

from samstar_rl.agents.benchmark import run as module
from samstar_rl.agents.benchmark.claims import check_claims, common_frames
from samstar_rl.agents.benchmark.contenders import CONTENDERS
from samstar_rl.agents.benchmark.figures import mean_curve
from samstar_rl.agents.benchmark.plan import BenchmarkError, BenchmarkPlan, RealFrames, read_plan
from samstar_rl.agents.benchmark.report import (
    headline_table,
    moves_of,
    write_benchmark_report,
)
from samstar_rl.agents.benchmark.run import BenchmarkResults, read_results, run_benchmark
from samstar_rl.agents.benchmark.tensorboard import write_events
from samstar_rl.agents.benchmark.units import Unit
from samstar_rl.tasks.task import load_task

TINY = BenchmarkPlan(
    tasks=("particles", "size"),
    contenders=("default", "static", "static-search", "frozen-start", "nsga2", "genetic",
                "mlp", "ppo", "others-static", "unseen", "oracle"),
    everywhere=("static",),
    n_seeds=1,
    n_streams=2,
    n_frames=2,
    n_test_streams=2,
    n_test_frames=2,
    size_px=64,
    points_per_side=(4,),
    steps=64,
    n_evaluations=8,
    slow_every=2,
)  # fmt: skip
TIMES = ["tuner_ms"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("benchmark")
    return root, run_benchmark(TINY, root, n_workers=1)


def test_all_contenders_are_judged_on_all_frames(done):
    root, results = done
    assert {unit.contender for unit in results.sheets} == set(TINY.contenders)
    for (task, tuner), rows in results.rows.groupby(["task", "tuner"]):
        expected = 2 if CONTENDERS[tuner].slow else 4
        assert len(rows) == expected, (task, tuner)
    assert results.rows["f1"].between(0, 1).all()
    assert (results.rows.loc[results.rows["tuner"] == "genetic", "n_evaluations"] <= 8).all()
    assert read_plan(root) == TINY


def test_what_was_interrupted_goes_on_to_the_same_results(done, tmp_path, monkeypatch):
    root, results = done
    (tmp_path / "banks").symlink_to(root / "banks")

    def fail(conditions, seed):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("samstar_rl.agents.benchmark.prepare.genetic", fail)
        with pytest.raises(KeyboardInterrupt):
            run_benchmark(TINY, tmp_path, n_workers=1)
    finished = [unit for unit in TINY.units() if unit.is_done(tmp_path)]
    assert finished and Unit("particles", "genetic", 0) not in finished
    stamps = {unit: (unit.folder(tmp_path) / "unit.json").stat().st_mtime_ns for unit in finished}
    again = run_benchmark(TINY, tmp_path, n_workers=1)
    for unit, stamp in stamps.items():
        assert (unit.folder(tmp_path) / "unit.json").stat().st_mtime_ns == stamp
    pd.testing.assert_frame_equal(again.rows.drop(columns=TIMES), results.rows.drop(columns=TIMES))


def test_a_worker_that_dies_costs_only_what_it_had_in_hand(tmp_path):
    names = ["one", "deadly", "two", "three"]
    run = module._spread_over_processes(2, functools.partial(work, tmp_path), names)
    assert sorted(run) == sorted(names)
    assert (tmp_path / "died").exists()


def test_workers_that_always_die_are_given_up(monkeypatch):
    monkeypatch.setattr(module, "DEATHS", 1)
    with pytest.raises(BenchmarkError, match="2 workers died"):
        list(module._spread_over_processes(2, always_die, ["one"]))


def test_a_folder_holds_one_benchmark(done):
    root, _ = done
    with pytest.raises(BenchmarkError, match="steps = 64, asked for is 65"):
        run_benchmark(replace(TINY, steps=65), root)


def test_the_report_stands_by_itself(done):
    root, results = done
    page = write_benchmark_report(TINY, results, root).read_text()
    loaded = re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*""", page)
    assert not loaded
    for wanted in ("Task particles", "Task size", "F1 less static", "on the front", "truth"):
        assert wanted in page
    assert len(pd.read_parquet(root / "results.parquet")) == len(results.rows)
    table = (root / "table.md").read_text()
    assert "| contender | evaluations a frame | particles | size |" in table
    assert "| static | 1 |" in table


def test_tensorboard_has_the_same_tags_for_all_and_a_layout(done):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    root, results = done
    write_events(TINY, results, root / "tensorboard")

    def tags(run):
        events = EventAccumulator(str(root / "tensorboard" / run))
        events.Reload()
        return events.Tags()

    assert {"eval/score", "eval_by_second/score"} <= set(tags("particles/static-search")["scalars"])
    runs = {events.parent for events in (root / "tensorboard" / "particles").rglob("events.*")}
    assert len(runs) <= len(TINY.contenders) + 2  # and the pictures and the layout: no run a seed
    assert "search/reward" in tags("particles/genetic")["scalars"]
    assert "search/reward" in tags("particles/static")["scalars"]
    pictures = tags("particles/pictures")["images"]
    assert "Pareto front of one frame" in pictures and "frame 1/static" in pictures
    assert "custom_scalars__config__" in tags("particles")["tensors"]


def test_seeds_of_a_contender_are_one_run_of_tensorboard(done, tmp_path):
    root, _ = done
    two = replace(TINY, n_seeds=2)
    shutil.copytree(root / "units", tmp_path / "units")
    own = tmp_path / "units" / "particles"
    shutil.copytree(own / "ppo-0", own / "ppo-1")
    sheet = json.loads((own / "ppo-1" / "unit.json").read_text())
    (own / "ppo-1" / "unit.json").write_text(json.dumps(sheet | {"seed": 1}))
    results = read_results(two, tmp_path)
    assert {unit.seed for unit in results.sheets if unit.contender == "ppo"} == {0, 1}
    shutil.copytree(root / "banks", tmp_path / "banks")
    write_events(two, results, tmp_path / "tensorboard")
    found = {path.name for path in (tmp_path / "tensorboard" / "particles").glob("ppo*")}
    assert found == {"ppo"}


def test_a_curve_of_seeds_is_their_mean_as_far_as_all_go():
    curves = [[(10, 1.0, 0.5), (20, 2.0, 0.6), (30, 3.0, 0.9)], [(12, 3.0, 0.7), (22, 4.0, 0.8)]]
    assert mean_curve(curves) == [(11.0, 2.0, pytest.approx(0.6)), (21.0, 3.0, pytest.approx(0.7))]


def test_resuming_needs_nothing_but_the_folder(done):
    root, results = done
    read = read_results(read_plan(root), root)
    pd.testing.assert_frame_equal(read.rows, results.rows)


def test_plans_that_cannot_be_are_refused():
    with pytest.raises(BenchmarkError, match="no contender 'annealing'"):
        BenchmarkPlan(contenders=("annealing",))
    with pytest.raises(BenchmarkError, match="each once"):
        replace(TINY, tasks=("particles", "other/particles.toml"))
    with pytest.raises(BenchmarkError, match="n_evaluations must be at least 1"):
        replace(TINY, n_evaluations=0)
    real = RealFrames(("a", "b"), ("c",), "labels")
    with pytest.raises(BenchmarkError, match="'frozen-start' needs streams"):
        replace(BenchmarkPlan.on(real), contenders=("frozen-start",))
    with pytest.raises(BenchmarkError, match="fitted on and judged on"):
        RealFrames(("a", "b"), ("b",), "labels")
    with pytest.raises(BenchmarkError, match="at least 2 images"):
        RealFrames(("a",), ("b",), "labels")


def test_every_plan_names_contenders_that_are():
    real = BenchmarkPlan.on(RealFrames(("a", "b"), ("c",), "labels"))
    assert not any(CONTENDERS[name].needs_streams for name in real.contenders)
    for plan in (BenchmarkPlan(), BenchmarkPlan.quick(), real):
        assert set(plan.everywhere) <= set(CONTENDERS)
        counts = pd.Series([unit.contender for unit in plan.units()]).value_counts()
        n_tasks = len(plan.tasks)
        assert all(
            counts[name] == plan.n_seeds * n_tasks
            for name, contender in CONTENDERS.items()
            if contender.carries_claims and name in counts
        )
    full = [unit for unit in BenchmarkPlan().units() if unit.contender == "others-static"]
    assert len(full) == 4 * 3
    assert not [unit for unit in real.units() if unit.contender == "others-static"]


def make_results(scores, plan=TINY):
    """Results whose contenders score the same on every frame: name -> (seeds,) of score and F1."""
    rows, sheets = [], {}
    for tuner, seeds in scores.items():
        for seed, (score, f1) in enumerate(seeds):
            unit = Unit("particles", tuner, seed)
            sheets[unit] = {"curve": [[0, 0.0, score]], "seconds": 60.0, "evaluations": 9,
                            "bank_seconds": 30.0, "hyperparameters": {}}  # fmt: skip
            rows += [
                {"task": "particles", "tuner": tuner, "seed": seed, "stream": i // 3,
                 "frame_index": i, "score": score + 0.01 * (i % 3), "f1": f1}
                for i in range(9)
            ]  # fmt: skip
    return BenchmarkResults(module.Path("."), pd.DataFrame(rows), sheets)


def test_claims_hold_the_policy_that_validated_best():
    results = make_results(
        {
            "ppo": [(0.80, 0.80), (0.78, 0.78)],
            "sac": [(0.60, 0.60), (0.60, 0.60)],
            "genetic": [(0.80, 0.8)],
            "frozen-start": [(0.7, 0.70)],
            "hindsight": [(0.8, 0.80)],
        }
    )
    plan = replace(TINY, tasks=("particles",))
    claims = check_claims(plan, results)
    assert [claim.holds for claim in claims] == [True, True, True, True]
    assert claims[0].text.startswith("score of ppo")
    assert claims[1].measured.value == pytest.approx(0.09)
    assert claims[3].measured.value == pytest.approx(1.5)
    assert "| particles | score of ppo" in headline_table_of(plan, results, claims)


def headline_table_of(plan, results, claims):
    rows = results.rows.assign(n_evaluations=1)
    return headline_table(plan, BenchmarkResults(results.root, rows, results.sheets), claims)


def test_claims_that_are_missed_say_so():
    results = make_results(
        {"ppo": [(0.5, 0.5)], "genetic": [(0.8, 0.8)], "frozen-start": [(0.5, 0.45)],
         "hindsight": [(0.8, 0.8)]}
    )  # fmt: skip
    claims = check_claims(replace(TINY, tasks=("particles",)), results)
    assert [claim.holds for claim in claims] == [False, False, False, True]


def test_on_real_frames_the_policy_meets_the_static_settings():
    plan = BenchmarkPlan.on(RealFrames(("a", "b"), ("c",), "labels"))
    better = make_results({"ppo": [(0.6, 0.5)] * 2, "static": [(0.55, 0.5)]})
    assert [claim.holds for claim in check_claims(plan, better)] == [True, True, True]
    worse = make_results({"ppo": [(0.55, 0.49)] * 2, "static": [(0.55, 0.5)]})
    assert [claim.holds for claim in check_claims(plan, worse)] == [False, False, True]


def test_a_policy_that_never_met_the_task_meets_the_others_static_settings():
    results = make_results(
        {"unseen": [(0.7, 0.7)] * 2, "others-static": [(0.6, 0.6), (0.5, 0.5), (0.7, 0.7)]}
    )
    (claim,) = check_claims(replace(TINY, tasks=("particles",)), results)
    assert claim.measured.value == pytest.approx(0.1) and claim.holds


def test_frames_that_only_one_met_are_left_out():
    rows = make_results({"a": [(0.5, 0.5)]}).rows
    ours, theirs = common_frames(rows, rows[rows["frame_index"] % 2 == 0])
    assert sorted(ours["frame_index"]) == sorted(theirs["frame_index"]) == [0, 2, 4, 6, 8]


def test_a_policy_that_answers_a_constant_is_called_static():
    task = load_task("particles")
    constant = {f"setting_{k}": v for k, v in task.static.to_dict().items()}
    rows = [{"seed": 0, "stream": i // 2, **constant} for i in range(4)]
    assert moves_of(pd.DataFrame(rows), task)["answers"] == "constant: static"
    for row, value in zip(rows, np.linspace(0.3, 0.8, 4), strict=True):
        row["setting_pred_iou_thresh"] = value
    moved = moves_of(pd.DataFrame(rows), task)
    assert moved["answers"] == "moves" and moved["pred_iou_thresh"] != "0.0% (0.0%)"


def test_each_contender_is_listed_once_by_its_own_name():
    assert all(name == contender.name for name, contender in CONTENDERS.items())
    assert all(one.is_policy for one in CONTENDERS.values() if one.is_learner)
    assert json.loads(json.dumps(list(CONTENDERS)))
