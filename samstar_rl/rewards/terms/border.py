"""Term `border`: particles that the frame's border cuts are treated as the task asks.

For size statistics, from which particles that the frame cuts off are left out, and for counts per
area, in which they belong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.evidence.mask_evidence import frame_rim
from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation


class BorderTarget(Target):
    """What to do with particles cut by the frame's border.

    Parameters
    ----------
    policy : {"exclude", "include"}
        "exclude" wants none of them, as size statistics do (they measure too small); "include"
        wants all that the foreground shows there.
    """

    codes: ClassVar[dict[str, dict[str, float]]] = {"policy": {"exclude": -1.0, "include": 1.0}}

    policy: Literal["exclude", "include"]


def border(
    segmentation: Segmentation,
    frame: Frame,
    target: BorderTarget,
    previous: Segmentation | None = None,
) -> float:
    """Score how far the masks follow the policy.

    "exclude": masks that keep off the border over all masks. "include": of the foreground in the
    frame's outermost rows and columns, the share under a mask; 1 where there is none.

    Parameters
    ----------
    segmentation, frame, target, previous
        As every term takes them: see `samstar_rl.rewards.registry`.

    Returns
    -------
    float
        In [0, 1]; 0 without particles.
    """
    if len(segmentation) == 0:
        return 0.0
    if target.policy == "exclude":
        return float(1 - np.mean(segmentation.table.touches_border))
    there = frame_rim(FrameEvidence.of(frame, target.sample).foreground.mask)
    masked = frame_rim(segmentation.union())
    return float((there & masked).sum() / there.sum()) if there.any() else 1.0
