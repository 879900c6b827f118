"""Whether a score stands in for ground truth: ranks, regret, adversaries.

The truth that is used here judges the score. It never reaches the score, a tuner or an agent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from samstar_rl.rewards import PhysicsReward, Score
from samstar_rl.segmentation.filters import filter_proposals
from samstar_rl.segmentation.proposals import Proposals
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import PromptSettings, Settings, SettingsSpace
from samstar_rl.truth.adversaries import ADVERSARIES, true_masks
from samstar_rl.truth.metrics import Truth, f1_at

if TYPE_CHECKING:
    from samstar_rl.frames.frame import LabelledFrame
    from samstar_rl.tasks.task import Task
    from samstar_rl.truth.gazes import GazeChoice

#: Settings of the best scores among which ranks are looked at once more: where tuning happens.
TOP = 100

Provider = Callable[[PromptSettings], Proposals]


@dataclass(frozen=True)
class FrameValidity:
    """What one frame says about a score.

    Parameters
    ----------
    frame_id : str
    scores, f1s : (S,) float64 arrays
        Of the same settings.
    terms : dict of str to (S,) float64 array
        The terms by themselves.
    truth_score : Score
        Of the ground truth.
    adversary_scores : dict of str to Score
        Of each adversary.
    gaze : GazeChoice, optional
        What the gaze alone is worth, where it was asked for.
    """

    frame_id: str
    scores: NDArray[np.float64]
    f1s: NDArray[np.float64]
    terms: Mapping[str, NDArray[np.float64]]
    truth_score: Score
    adversary_scores: Mapping[str, Score]
    gaze: GazeChoice | None = None

    @property
    def spearman(self) -> float:
        """Rank agreement of score and F1; 0 where the F1 is constant."""
        return spearman(self.scores, self.f1s)

    @property
    def spearman_top(self) -> float:
        """Rank agreement among the settings of the `TOP` best scores."""
        top = np.argsort(-self.scores, kind="stable")[:TOP]
        return spearman(self.scores[top], self.f1s[top])

    @property
    def chosen_f1(self) -> float:
        """F1 of the score's best settings; the mean where several score alike."""
        return float(self.f1s[self.scores == self.scores.max()].mean())

    @property
    def regret(self) -> float:
        """F1 of the score's best settings over that of the best settings; 1 where all are 0."""
        best = float(self.f1s.max())
        return self.chosen_f1 / best if best > 0 else 1.0

    @property
    def better_than_truth(self) -> tuple[str, ...]:
        """Adversaries that the truth does not score above."""
        limit = self.truth_score.total
        return tuple(n for n, score in self.adversary_scores.items() if score.total >= limit)


def validate_frame(
    task: Task,
    labelled: LabelledFrame,
    proposals: Provider,
    settings: Sequence[Settings],
    seed: int,
) -> FrameValidity:
    """Compare score and ground truth on one frame.

    Parameters
    ----------
    task : Task
    labelled : LabelledFrame
    proposals : callable
        Prompt settings to the frame's proposals.
    settings : sequence of Settings
        Those to compare on, see `draw_settings`.
    seed : int
        Of the adversaries.

    Returns
    -------
    FrameValidity
    """
    frame, reward = labelled.frame, PhysicsReward(task)
    gauge = reward.gauge(frame)
    truth = Truth(labelled.truth)
    scores, f1s = [], []
    for chosen in settings:
        found = filter_proposals(proposals(chosen.prompt), chosen, **gauge)
        scores.append(reward.score(found, frame))
        f1s.append(f1_at(found, truth))
    of_truth = reward.score(Segmentation.from_labels(labelled.truth, frame), frame)
    return FrameValidity(
        frame_id=frame.id,
        scores=np.array([score.total for score in scores]),
        f1s=np.array(f1s),
        terms={name: np.array([score.terms[name] for score in scores]) for name in task.terms},
        truth_score=of_truth,
        adversary_scores=score_adversaries(reward, labelled, proposals, task.space, seed),
    )


def score_adversaries(
    reward: PhysicsReward,
    labelled: LabelledFrame,
    proposals: Provider,
    space: SettingsSpace,
    seed: int,
) -> dict[str, Score]:
    """Score what a bad score would take for good: `ADVERSARIES`, and all proposals at once.

    Parameters
    ----------
    reward : PhysicsReward
    labelled : LabelledFrame
    proposals : callable
        Prompt settings to the frame's proposals.
    space : SettingsSpace
        Of its prompt settings, those of the most prompts give the proposals.
    seed : int
        Of the adversaries.

    Returns
    -------
    dict of str to Score
        By the adversary's name.
    """
    frame, rng = labelled.frame, np.random.default_rng(seed)
    masks = true_masks(labelled.truth)
    scores = {
        name: reward.score(Segmentation.from_masks(make(masks, rng), frame), frame)
        for name, make in ADVERSARIES.items()
        if masks
    }
    most = max(space.prompts(), key=lambda prompt: prompt.most_prompts)
    scores["all proposals"] = reward.score(everything(proposals(most)), frame)
    return scores


def everything(proposals: Proposals) -> Segmentation:
    """Take all proposals for a segmentation, unfiltered."""
    settings = Settings(
        **proposals.prompt.to_dict(),
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
    )
    kept = np.flatnonzero(proposals.area_px > 0)
    return Segmentation(proposals.frame_id, settings, proposals, kept, kept)


def draw_settings(space: SettingsSpace, n: int, seed: int) -> list[Settings]:
    """Draw settings uniformly from a space, but for `min_plausibility`, which is off.

    That gate drops what the score's own evidence thinks little of: behind it nearly all settings
    do alike, and whether the score can tell good masks from bad ones would hardly be asked.

    Parameters
    ----------
    space : SettingsSpace
    n : int
    seed : int

    Returns
    -------
    list of Settings
        Of length n.
    """
    rng = np.random.default_rng(seed)
    drawn = (space.decode(rng.uniform(-1, 1, space.n)) for _ in range(n))
    return [settings.replace(min_plausibility=0.0) for settings in drawn]


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; 0 if either is constant."""
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def validity_figures(frames: Sequence[FrameValidity]) -> dict[str, Any]:
    """Gather the figures of all frames in plain types, fit for JSON."""
    names = list(frames[0].adversary_scores) if frames else []
    held = {
        name: float(np.mean([name not in frame.better_than_truth for frame in frames]))
        for name in names
    }
    lost = {frame.frame_id: frame.gaze.lost_f1 for frame in frames if frame.gaze is not None}
    gaze = {"gaze": {"lost_f1": _mean(list(lost.values())), "per_frame": lost}} if lost else {}
    return {
        **gaze,
        "spearman": {
            "mean": _mean([frame.spearman for frame in frames]),
            "per_frame": {frame.frame_id: frame.spearman for frame in frames},
        },
        "spearman_top": {
            "among": TOP,
            "mean": _mean([frame.spearman_top for frame in frames]),
            "per_frame": {frame.frame_id: frame.spearman_top for frame in frames},
        },
        "regret": {
            "mean": _mean([frame.regret for frame in frames]),
            "per_frame": {frame.frame_id: frame.regret for frame in frames},
            "chosen_f1": _mean([frame.chosen_f1 for frame in frames]),
            "best_f1": _mean([float(frame.f1s.max()) for frame in frames]),
        },
        "adversaries": {
            "share_below_truth": float(np.mean([not frame.better_than_truth for frame in frames])),
            "per_adversary": held,
        },
        "terms": {
            name: _mean([spearman(frame.terms[name], frame.f1s) for frame in frames])
            for name in (frames[0].terms if frames else ())
        },
        "n_frames": len(frames),
        "n_settings": len(frames[0].f1s) if frames else 0,
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
