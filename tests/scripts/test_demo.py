"""`samstar demo` is a small benchmark that may begin anew in its folder."""

from __future__ import annotations

import json

from samstar_rl.agents.benchmark.contenders import CONTENDERS
from samstar_rl.agents.benchmark.plan import BenchmarkPlan, begin
from samstar_rl.agents.benchmark.run import clear_other


def test_the_demo_compares_a_policy_with_search_defaults_and_static_settings():
    plan = BenchmarkPlan.demo("size", steps=4000, seed=2)
    assert {"ppo", "genetic", "default", "static"} <= set(plan.contenders) <= set(CONTENDERS)
    assert (plan.tasks, plan.steps, plan.n_seeds) == (("size",), 4000, 1)
    quick = BenchmarkPlan.demo(quick=True)
    counts = [one.streams("survey", "size", "train")[0] for one in (quick, plan)]
    assert counts[0] <= counts[1] / 4
    _, streams = plan.streams("survey", "size", "train")
    assert next(iter(next(streams))).frame.id.startswith("size-survey1-2000-")


def test_another_demo_begins_anew_and_leaves_what_is_not_its_own(tmp_path):
    begin(BenchmarkPlan.demo(quick=True), tmp_path)
    (tmp_path / "units" / "particles").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("mine")
    clear_other(BenchmarkPlan.demo(quick=True), tmp_path)
    assert (tmp_path / "units").exists()
    clear_other(BenchmarkPlan.demo(), tmp_path)
    assert not (tmp_path / "units").exists() and not (tmp_path / "plan.json").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    begin(BenchmarkPlan.demo(), tmp_path)
    assert json.loads((tmp_path / "plan.json").read_text())["steps"] == 5000
