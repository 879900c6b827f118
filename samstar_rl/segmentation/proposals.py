"""Proposals: every mask SAM returned for one frame, before any filter, as a struct of arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from samstar_rl.errors import SamstarError
from samstar_rl.masks.box_nms import BoxSuppression
from samstar_rl.masks.particle_table import ParticleDescriptors, Scene
from samstar_rl.masks.region_cleaning import RegionCleaner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from samstar_rl.masks.store import MaskStore
    from samstar_rl.settings import PromptSettings, Settings, SettingsSpace

NEAR_EDGE_PX = 20
"""Masks within this distance of a crop's edge are cut off by it: SAM's own figure."""

NEAR_TILE_EDGE = 2 / 256
"""As that, for the tiles of a gaze, in parts of the tile's side: 2 px of SAM's picture."""

StoppedBy = Literal["n_prompts", "budget", "nothing left"]


class ProposalsError(SamstarError):
    """Settings ask for what the proposals do not hold."""


@dataclass(frozen=True)
class Floor:
    """Below which predicted IoU and stability no mask is kept.

    Parameters
    ----------
    iou_pred : float
        Masks are kept if their predicted IoU is greater; 0 keeps all, as in the stock generator.
    stability : float
        Masks are kept if their stability is at least this at any offset; 0 keeps all.
    """

    iou_pred: float = 0.0
    stability: float = 0.0

    @classmethod
    def under(cls, space: SettingsSpace) -> Floor:
        """Return the highest floor under all settings of a space."""
        lowest = {
            name: space.limits(name)[0] if name in space.names else getattr(space.base, name)
            for name in ("pred_iou_thresh", "stability_score_thresh")
        }
        return cls(lowest["pred_iou_thresh"], lowest["stability_score_thresh"])

    def is_under(self, settings: Settings) -> bool:
        """Whether these settings ask only for masks above the floor."""
        return (
            self.iou_pred <= settings.pred_iou_thresh
            and self.stability <= settings.stability_score_thresh
        )


@dataclass(frozen=True, eq=False)
class Effort:
    """What a frame asked of SAM, prompt by prompt.

    Attributes
    ----------
    costs : (P,) float64 array
        The cost of the frame up to each prompt: prompts decoded, and a constant of the SAM for each
        view that was encoded, the whole frame included.
    views : (P,) int array
        The view that each prompt was decoded in.
    view_cost : float
        That constant.
    n_tiles : int
        Tiles that the zoom asks for.
    stopped_by : {"n_prompts", "budget", "nothing left"}
        What ended decoding.
    cost_limit : float or None
        The budget.
    """

    costs: NDArray[np.float64]
    views: NDArray[np.int32]
    view_cost: float
    n_tiles: int
    stopped_by: StoppedBy
    cost_limit: float | None = None

    @property
    def cost(self) -> float:
        """The cost of the whole frame."""
        return float(self.costs[-1]) if len(self.costs) else self.view_cost

    @property
    def n_tiles_left_out(self) -> int:
        """Tiles in which no prompt was decoded."""
        return self.n_tiles - int(np.count_nonzero(np.unique(self.views)))

    def first(self, n_prompts: int, cost_limit: float | None) -> Effort:
        """What fewer prompts, or a lower budget, would have asked for."""
        affordable = len(self.costs)
        if cost_limit is not None:
            affordable = int(self.costs.searchsorted(cost_limit, side="right"))
        n = min(n_prompts, affordable)
        stopped_by = self.stopped_by
        if n < len(self.costs) or n == n_prompts:
            stopped_by = "budget" if affordable < n_prompts else "n_prompts"
        return Effort(
            self.costs[:n], self.views[:n], self.view_cost, self.n_tiles, stopped_by, cost_limit
        )


@dataclass(frozen=True, eq=False)
class Proposals:
    """Every mask of one frame and one choice of prompt settings, as a struct of M-arrays.

    Attributes
    ----------
    frame_id : str
    prompt : PromptSettings
    offsets : tuple of float
        Stability offsets that there is a column for.
    floor : Floor
        Masks below it were left out.
    scene : Scene
        The frame's intensities, for descriptors.
    masks : MaskStore
        The first M of it are the proposals; masks with cleaned regions may follow.
    iou_pred : (M,) float32 array
    stability : (M, n_offsets) float32 array
        NaN for masks that are empty even at the lower cut-off.
    point_xy : (M, 2) float64 array
        The prompt in px of the frame.
    crop_index : (M,) int array
    crop_boxes : (n_crops, 4) int array
        x0, y0, x1, y1, half-open: crops, or the views of a gaze.
    n_prompts_decoded : int
    prompt_index : (M,) int array, optional
        The prompt that each mask is of, rising; with a number of prompts this is its rank in the
        prompt order.
    effort : Effort, optional
        Of proposals for a number of prompts; None for the stock generator's grid.
    view_cost : float
        Cost of encoding a view, in prompts.
    seconds : float
        What encoding and decoding took.
    looking_seconds : float
        Of these, all but encoding the whole frame.
    pixel_size_nm : float or None
        The frame's.
    """

    frame_id: str
    prompt: PromptSettings
    offsets: tuple[float, ...]
    floor: Floor
    scene: Scene
    masks: MaskStore
    iou_pred: NDArray[np.float32]
    stability: NDArray[np.float32]
    point_xy: NDArray[np.float64]
    crop_index: NDArray[np.int32]
    crop_boxes: NDArray[np.int64]
    n_prompts_decoded: int
    prompt_index: NDArray[np.int32] | None = None
    effort: Effort | None = None
    view_cost: float = 0.0
    seconds: float = 0.0
    looking_seconds: float = 0.0
    pixel_size_nm: float | None = None
    known_descriptors: NDArray[np.float32] | None = field(default=None, repr=False)
    known_likeness: Mapping[float, NDArray[np.float32]] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.iou_pred)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the frame in px."""
        return self.masks.shape

    @property
    def cost(self) -> float:
        """Prompts decoded and views encoded, in prompts."""
        if self.effort is not None:
            return self.effort.cost
        return self.n_prompts_decoded + self.view_cost * len(self.crop_boxes)

    @property
    def area_px(self) -> NDArray[np.int64]:
        """Pixels of each proposal, (M,)."""
        return self.masks.areas[: len(self)]

    @cached_property
    def box_xyxy(self) -> NDArray[np.int64]:
        """x0, y0, x1, y1 of each mask with the last row and column *included*, as SAM has it.

        An empty mask lies at its crop's origin.
        """
        boxes = self.masks.boxes[: len(self)].astype(np.int64) - [0, 0, 1, 1]
        origins = np.tile(self.crop_boxes[self.crop_index, :2], 2)
        return np.where(self.area_px[:, None] > 0, boxes, origins)

    @property
    def crop_box(self) -> NDArray[np.int64]:
        """The crop in which each mask was found, x0, y0, x1, y1 half-open, (M, 4)."""
        return self.crop_boxes[self.crop_index]

    @cached_property
    def context_px(self) -> NDArray[np.int64]:
        """Area of the crop or view in which each mask was found, px^2, (M,)."""
        sides = self.crop_boxes[:, 2:] - self.crop_boxes[:, :2]
        return sides.prod(axis=1)[self.crop_index]

    @cached_property
    def cut_by_crop(self) -> NDArray[np.bool_]:
        """Masks at the edge of a crop which is not the edge of the frame, (M,)."""
        height, width = self.shape
        if self.prompt.n_prompts is None:
            near_crop = np.abs(self.box_xyxy - self.crop_box) <= NEAR_EDGE_PX
            near_frame = np.abs(self.box_xyxy - [0, 0, width, height]) <= NEAR_EDGE_PX
            return np.asarray((near_crop & ~near_frame).any(axis=1))
        # A tile's own border counts where it is not the frame's; boxes are half-open here.
        sides = (self.crop_boxes[:, 2:] - self.crop_boxes[:, :2]).max(axis=1)
        margin = np.ceil(NEAR_TILE_EDGE * sides)[self.crop_index, None]
        half_open = self.box_xyxy + np.array([0, 0, 1, 1])
        near = np.abs(half_open - self.crop_box) < margin
        inner = self.crop_box != [0, 0, width, height]
        return np.asarray((near & inner).any(axis=1)) & (self.area_px > 0)

    @cached_property
    def descriptors(self) -> ParticleDescriptors:
        """What each mask measures; computed when first asked for."""
        return ParticleDescriptors(
            self.masks, self.scene, self.known_descriptors, self.known_likeness
        )

    @cached_property
    def regions(self) -> RegionCleaner:
        """What fills holes and removes islands; remembers what it did."""
        return RegionCleaner(self.masks)

    @cached_property
    def ranking(self) -> Ranking:
        """The proposals by decreasing predicted IoU, prepared for thresholds and suppression."""
        return Ranking(self)

    def offset_column(self, offset: float) -> int:
        """Column of a stability offset.

        Raises
        ------
        ProposalsError
            If there is none.
        """
        if offset not in self.offsets:
            raise ProposalsError(
                f"stability_score_offset={offset:g} is not among those of the proposals of "
                f"{self.frame_id!r}, {', '.join(f'{known:g}' for known in self.offsets)}: "
                "compute them with offsets=(...)"
            )
        return self.offsets.index(offset)

    def first(self, prompt: PromptSettings, cost_limit: float | None = None) -> Proposals:
        """The proposals of fewer prompts, or of a lower budget, at the same zoom.

        They share masks and all that was computed of them with these.

        Parameters
        ----------
        prompt : PromptSettings
            Held by those of these proposals (`PromptSettings.holds`).
        cost_limit : float, optional
            The budget: decoding ends before the prompt that would exceed it.

        Raises
        ------
        ProposalsError
            If these proposals do not hold those.
        """
        if not self.prompt.holds(prompt):
            raise ProposalsError(
                f"the proposals of {self.frame_id!r} are for {self.prompt} and do not hold "
                f"those for {prompt}: compute or load them"
            )
        if self.effort is None or self.prompt_index is None or prompt.n_prompts is None:
            return self
        if prompt == self.prompt and cost_limit == self.effort.cost_limit:
            return self
        effort = self.effort.first(prompt.n_prompts, cost_limit)
        n_prompts = len(effort.costs)
        m = int(self.prompt_index.searchsorted(n_prompts))
        # not by `dataclasses.replace`: training takes another part at every step
        part = object.__new__(Proposals)
        part.__dict__.update(self.__dict__)
        part.__dict__.update(
            prompt=prompt,
            iou_pred=self.iou_pred[:m],
            stability=self.stability[:m],
            point_xy=self.point_xy[:m],
            crop_index=self.crop_index[:m],
            prompt_index=self.prompt_index[:m],
            effort=effort,
            n_prompts_decoded=n_prompts,
            # what was measured of a mask holds for it here as well
            descriptors=self.descriptors,
            regions=self.regions,
            box_xyxy=self.box_xyxy[:m],
            context_px=self.context_px[:m],
            cut_by_crop=self.cut_by_crop[:m],
            ranking=self.ranking.first(m),
        )
        return part

    def serves(self, settings: Settings, cost_limit: float | None = None) -> bool:
        """Whether these hold what SAM would propose for settings, decoded at the same budget."""
        return (
            settings.prompt == self.prompt
            and self.floor.is_under(settings)
            and settings.stability_score_offset in self.offsets
            and (self.effort is None or self.effort.cost_limit == cost_limit)
        )

    def check(self, settings: Settings) -> None:
        """Raise `ProposalsError` if the settings ask for what is not here."""
        if settings.prompt != self.prompt:
            raise ProposalsError(
                f"the settings ask for {settings.prompt}, the proposals of {self.frame_id!r} are "
                f"for {self.prompt}: compute or load those of the settings"
            )
        if not self.floor.is_under(settings):
            raise ProposalsError(
                f"the proposals of {self.frame_id!r} leave out masks below {self.floor}, the "
                f"settings ask for pred_iou_thresh={settings.pred_iou_thresh:g} and "
                f"stability_score_thresh={settings.stability_score_thresh:g}: lower the floor"
            )


class Ranking:
    """Proposals by decreasing predicted IoU, equal ones in their order, crop by crop.

    Attributes
    ----------
    order : (M,) int array
        The proposals' indices so sorted.
    starts : list of int
        Where each crop begins in ``order``, and its end.
    iou_pred : (M,) float32 array
        Sorted.
    whole : (M,) bool array
        Which take part: those that no crop cuts.
    suppression : BoxSuppression
        Of the sorted boxes, within each crop.
    """

    def __init__(self, proposals: Proposals) -> None:
        crop, iou_pred = proposals.crop_index, proposals.iou_pred
        self.order = np.lexsort((-iou_pred, crop))
        self.iou_pred = np.ascontiguousarray(iou_pred[self.order])
        self.stability = np.ascontiguousarray(proposals.stability[self.order].T)
        self.whole = ~proposals.cut_by_crop[self.order]
        n_crops = len(proposals.crop_boxes)
        self.starts = np.searchsorted(crop[self.order], np.arange(n_crops + 1)).tolist()
        boxes = proposals.box_xyxy[self.order].astype(np.float32)
        self.suppression = BoxSuppression(boxes, self.starts)

    def first(self, m: int) -> Ranking:
        """The ranking of the first m proposals: it remembers overlaps together with this one."""
        return self._where(self.order < m)

    def among(self, chosen: NDArray[np.bool_]) -> Ranking:
        """The ranking in which only the chosen ones of all proposals, (M,), take part."""
        return self._where(chosen[self.order])

    def _where(self, chosen: NDArray[np.bool_]) -> Ranking:
        """The ranking of which only some take part, said in its own order."""
        ranking = object.__new__(Ranking)
        ranking.__dict__.update(self.__dict__)
        ranking.whole = self.whole & chosen
        return ranking
