"""Whether a score chooses the gaze as truth would."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from drawn_particles import draw, found, grid

from samstar_rl.frames.frame import LabelledFrame
from samstar_rl.settings import PromptSettings
from samstar_rl.tasks.task import load_task
from samstar_rl.truth import gazes
from samstar_rl.truth.gazes import N_PROMPTS, ZOOMS, GazeChoice, compare_gazes, with_gaze

SHAPE = (128, 128)


def test_lost_f1_is_what_truth_would_have_chosen_less_what_the_score_does():
    f1s = np.array([[0.5, 0.9], [0.7, 0.8]])
    assert GazeChoice(np.array([[0.1, 0.2], [0.9, 0.3]]), f1s).lost_f1 == pytest.approx(0.2)
    assert GazeChoice(np.array([[0.1, 0.9], [0.0, 0.3]]), f1s).lost_f1 == 0
    # gazes that score alike count by their mean
    assert GazeChoice(np.zeros((2, 2)), f1s).lost_f1 == pytest.approx(0.9 - f1s.mean())


@pytest.mark.parametrize("name", ["particles", "overlap", "grains"])
def test_a_task_with_gaze_moves_it_in_place_of_the_grid(name):
    task = with_gaze(load_task(name))
    assert {"n_prompts", "zoom"} < set(task.space.names)
    assert "points_per_side" not in task.space.names
    expected = {PromptSettings(n_prompts=N_PROMPTS[-1], zoom=zoom) for zoom in ZOOMS}
    assert {(p.n_prompts, p.zoom) for p in task.space.prompts()} == {
        (p.n_prompts, p.zoom) for p in expected
    }


def test_the_score_prefers_the_gaze_that_finds_all(monkeypatch):
    frame, masks = draw(SHAPE, grid(SHAPE, 32, 18))
    labels = np.zeros(SHAPE, dtype=np.int32)
    for number, mask in enumerate(masks, 1):
        labels[mask] = number
    proposals = found(frame, masks).proposals

    def look(prompt, *, sees):
        """More zoom finds more of the particles, in this frame."""
        proposals.iou_pred[:] = np.where(np.arange(len(masks)) < sees(prompt), 0.9, 0.0)
        return proposals

    task = load_task("particles")
    task = task.with_static(task.static.replace(n_prompts=16, min_plausibility=0.05))
    monkeypatch.setattr(gazes, "ZOOMS", (1.0, 2.0))
    monkeypatch.setattr(gazes, "N_PROMPTS", (16,))
    monkeypatch.setattr(type(proposals), "check", lambda self, settings: None)
    sees = partial(look, sees=lambda prompt: len(masks) if prompt.zoom == 2 else 6)

    def fresh(prompt):
        # what proposals remember of their ranking is of other predicted IoUs
        proposals.__dict__.pop("ranking", None)
        return sees(prompt)

    choice = compare_gazes(task, LabelledFrame(frame, labels), fresh)
    assert choice.f1s.shape == (2, 1)
    assert choice.f1s[1, 0] > 0.95 > choice.f1s[0, 0] + 0.2
    assert choice.scores[1, 0] > choice.scores[0, 0] + 0.1 and choice.lost_f1 == 0
