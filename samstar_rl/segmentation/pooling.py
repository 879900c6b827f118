"""Several looks at one frame as one set of proposals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samstar_rl.masks.store import MaskStore
from samstar_rl.segmentation.proposals import Effort, Proposals

if TYPE_CHECKING:
    from samstar_rl.settings import PromptSettings


class Pool:
    """The proposals of several gazes at one frame, put together once.

    Filters then suppress duplicates between them as between the views of one gaze. All parts of the
    pool share what was computed of its masks.

    Parameters
    ----------
    records : sequence of Proposals
        Of one frame, no gaze of which holds another.
    """

    def __init__(self, records: Sequence[Proposals]) -> None:
        self.records = tuple(records)
        first = self.records[0]
        self._starts = np.cumsum([0, *(len(record) for record in records)])
        crop_starts = np.cumsum([0, *(len(record.crop_boxes) for record in records)])
        known = [record.known_descriptors for record in records]
        likeness = [record.known_likeness or {} for record in records]
        self._whole = replace(
            first,
            masks=MaskStore(
                first.shape,
                np.concatenate([r.masks.boxes[: len(r)] for r in records]),
                np.concatenate([r.area_px for r in records]),
                [r.masks.held(k) for r in records for k in range(len(r))],
            ),
            iou_pred=np.concatenate([r.iou_pred for r in records]),
            stability=np.concatenate([r.stability for r in records]),
            point_xy=np.concatenate([r.point_xy for r in records]),
            crop_index=np.concatenate(
                [r.crop_index + start for r, start in zip(records, crop_starts, strict=False)]
            ),
            crop_boxes=np.concatenate([r.crop_boxes for r in records]),
            prompt_index=None,
            effort=None,
            known_descriptors=None
            if any(one is None for one in known)
            else np.concatenate([one for one in known if one is not None]),
            known_likeness={
                offset: np.concatenate([of_record[offset] for of_record in likeness])
                for offset in likeness[0]
                if all(offset in of_record for of_record in likeness)
            },
        )
        self._crop_starts = crop_starts
        self._cut = np.concatenate([record.cut_by_crop for record in records])
        self._whole.__dict__["cut_by_crop"] = self._cut

    def part(self, looks: Iterable[Proposals], prompt: PromptSettings) -> Proposals:
        """What some looks have found together.

        Parameters
        ----------
        looks : iterable of Proposals
            Each the first prompts of another record.
        prompt : PromptSettings
            The gaze that the settings name which are to choose among them.

        Returns
        -------
        Proposals
            Its effort is that of all looks, the whole frame encoded once.
        """
        whole, chosen = self._whole, np.zeros(len(self._whole), dtype=bool)
        costs: list[NDArray[np.float64]] = []
        views: list[NDArray[np.int32]] = []
        spent, n_tiles = whole.view_cost, 0
        stopped_by = None
        for look in looks:
            number = next(k for k, r in enumerate(self.records) if r.prompt.holds(look.prompt))
            start = self._starts[number]
            chosen[start : start + len(look)] = True
            n_prompts = look.n_prompts_decoded
            of_look = look.cost - n_prompts + np.arange(1.0, n_prompts + 1)
            if look.effort is not None:
                of_look = look.effort.costs
            costs.append(spent + of_look - whole.view_cost)
            spent += look.cost - whole.view_cost
            in_views = np.zeros(len(of_look)) if look.effort is None else look.effort.views
            # the whole frame is one view, whichever gaze looked at it
            views.append(
                np.where(in_views > 0, in_views + self._crop_starts[number], 0).astype(np.int32)
            )
            n_tiles += len(look.crop_boxes) - 1
            stopped_by = None if look.effort is None else look.effort.stopped_by
        effort = Effort(
            np.concatenate(costs),
            np.concatenate(views),
            whole.view_cost,
            n_tiles,
            stopped_by or "n_prompts",
        )
        part = replace(whole, prompt=prompt, effort=effort, n_prompts_decoded=sum(map(len, costs)))
        part.__dict__.update(
            box_xyxy=whole.box_xyxy,
            cut_by_crop=self._cut,
            descriptors=whole.descriptors,
            regions=whole.regions,
            ranking=whole.ranking.among(chosen),
        )
        return part
