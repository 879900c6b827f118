"""The masks that settings leave of a frame's proposals, with their particle table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from samstar_rl.errors import SamstarError
from samstar_rl.masks.particle_table import ParticleTable, Scene
from samstar_rl.masks.pixel_runs import merged
from samstar_rl.masks.store import Ids, MaskStore, Window
from samstar_rl.segmentation.display import plot_labels, show_in_napari, summary_html
from samstar_rl.segmentation.proposals import Floor, Proposals
from samstar_rl.settings import PromptSettings, Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from samstar_rl.frames.frame import Frame


Overlapping = tuple[Ids, Ids, NDArray[np.int32]]
"""Each two masks that meet, both ways round: first (rising), second, pixels shared."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The masks that the settings leave, with their particle table.

    Attributes
    ----------
    frame_id : str
    settings : Settings
    proposals : Proposals
        What was chosen from.
    kept : (K,) int array
        The chosen proposals in the stock generator's order.
    mask_ids : (K,) int array
        Their masks in ``proposals.masks``: the same numbers, but for masks whose regions were
        cleaned (`min_mask_region_area`). Key caches of pixels by ``masks`` and this.
    """

    frame_id: str
    settings: Settings
    proposals: Proposals
    kept: Ids
    mask_ids: Ids

    def __len__(self) -> int:
        return len(self.kept)

    def part(self, positions: NDArray[np.integer]) -> Segmentation:
        """The segmentation of some of its masks, in the order given."""
        kept, mask_ids = self.kept[positions], self.mask_ids[positions]
        part = Segmentation(self.frame_id, self.settings, self.proposals, kept, mask_ids)
        if "table" in self.__dict__:
            part.__dict__["table"] = self.table.part(positions)
        return part

    @property
    def masks(self) -> MaskStore:
        """The store that holds the masks' pixels."""
        return self.proposals.masks

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the frame in px."""
        return self.proposals.shape

    @property
    def pixel_size_nm(self) -> float | None:
        """Of the frame."""
        return self.proposals.pixel_size_nm

    @property
    def n_prompts_decoded(self) -> int:
        """Points that SAM decoded for the proposals."""
        return self.proposals.n_prompts_decoded

    @cached_property
    def table(self) -> ParticleTable:
        """What each particle measures; columns are gathered when first asked for."""
        return ParticleTable(
            self.proposals.descriptors,
            self.mask_ids,
            predicted_iou=self.proposals.iou_pred[self.kept].astype(np.float64),
            stability_score=self._stability.astype(np.float64),
            stability_offset=self.settings.stability_score_offset,
        )

    @property
    def _stability(self) -> NDArray[np.float32]:
        column = self.proposals.offset_column(self.settings.stability_score_offset)
        return self.proposals.stability[self.kept, column]

    def mask(self, k: int) -> NDArray[np.bool_]:
        """The k-th mask in the whole frame, (H, W) bool."""
        return self.masks.mask(int(self.mask_ids[k]))

    def mask_in_box(self, k: int) -> tuple[NDArray[np.int32], Window]:
        """The k-th mask's box, x0, y0, x1, y1 half-open, and its pixels in there, (h, w) bool."""
        mask_id = int(self.mask_ids[k])
        return self.masks.boxes[mask_id], self.masks.window(mask_id)

    def to_labels(self, order: Literal["area", "score"] = "area") -> NDArray[np.int32]:
        """Paint the masks into one image, (H, W) int32; mask k has the label k + 1.

        Where masks overlap the one painted last wins: with "area" the larger are painted first, so
        that small particles stay visible; with "score" those of lower predicted IoU.
        """
        if order not in ("area", "score"):
            raise SamstarError(f"order must be 'area' or 'score', got {order!r}")
        key = -self.table.area if order == "area" else self.table.predicted_iou
        labels = np.zeros(self.shape, dtype=np.int32)
        for k in np.argsort(key, kind="stable").tolist():
            (x0, y0, x1, y1), window = self.mask_in_box(k)
            labels[y0:y1, x0:x1][window] = k + 1
        return labels

    def to_dataframe(self) -> pd.DataFrame:
        """The particles under the names of scikit-image's `regionprops_table`, a row each.

        With the column ``frame``, and lengths in nm as well where the pixel size is known.
        """
        return self.table.to_dataframe(self.frame_id, self.pixel_size_nm)

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw the frame and the masks over it.

        Parameters
        ----------
        axes : matplotlib Axes, optional
            Where to; by default a new figure of pyplot's.
        """
        return plot_labels(self.proposals.scene.unit, self.to_labels(), self._title, axes)

    def to_napari(self, viewer: Any | None = None) -> Any:
        """Show the frame and the labels, with the particles' features, in napari.

        Where masks overlap the smaller one is on top.

        Parameters
        ----------
        viewer : napari.Viewer, optional
            Where to; by default a new one.

        Returns
        -------
        napari.Viewer
        """
        unit, labels = self.proposals.scene.unit, self.to_labels()
        features = self.to_dataframe()
        return show_in_napari(unit, labels, features, self.frame_id, self.pixel_size_nm, viewer)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        table, size_nm = self.table, self.pixel_size_nm
        facts = {"particles": str(len(self))}
        if len(self):
            diameter = float(np.median(table.equivalent_diameter_area)) * (size_nm or 1)
            facts["median diameter"] = f"{diameter:.3g} {'nm' if size_nm else 'px'}"
            facts["median circularity"] = f"{np.median(table.circularity):.2f}"
        facts["pixel size"] = f"{size_nm:.4g} nm" if size_nm else "unknown"
        facts["prompts decoded"] = str(self.n_prompts_decoded)
        return summary_html(self.proposals.scene.unit, self.to_labels(), self._title, facts)

    @property
    def _title(self) -> str:
        return f"{self.frame_id}: {len(self)} particles"

    def union(self) -> NDArray[np.bool_]:
        """Pixels that any mask covers, (H, W) bool."""
        union = np.zeros(self.shape, dtype=bool)
        boxes = self.masks.boxes[self.mask_ids].tolist()
        for (x0, y0, x1, y1), mask_id in zip(boxes, self.mask_ids.tolist(), strict=True):
            union[y0:y1, x0:x1] |= self.masks.window(mask_id)
        return union

    @cached_property
    def union_runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Starts and stops, in the frame's flat index, of the stretches that any mask covers."""
        return merged(self.masks.runs(self.mask_ids))

    @cached_property
    def overlap_matrix(self) -> NDArray[np.int32]:
        """Pixels that each two masks share, (K, K) px^2; the diagonal holds the areas."""
        return self.masks.intersections(self.mask_ids)

    @cached_property
    def overlapping(self) -> Overlapping:
        """Each two masks that meet, both ways round: first (rising), second, pixels shared."""
        shared = self.overlap_matrix
        flat = np.flatnonzero(shared)
        first, second = np.divmod(flat, max(len(self), 1))
        apart = first != second
        return first[apart], second[apart], shared.ravel()[flat[apart]]

    @cached_property
    def uniqueness(self) -> NDArray[np.float64]:
        r"""How much of a particle each mask stands for, (K,) in (0, 1].

        :math:`u_k = 1 / \sum_j \mathrm{IoU}_{kj}`, the mask itself included: n copies of a mask
        count 1 / n each, masks that meet nowhere count 1.
        """
        first, second, shared = self.overlapping
        if len(first) == 0:
            return np.ones(len(self))
        areas = np.maximum(self.table.area, 1)
        ious = shared / (areas[first] + areas[second] - shared)
        return np.asarray(1 / (1 + np.bincount(first, ious, minlength=len(areas))))

    def records(self) -> list[dict[str, Any]]:
        """The stock generator's records: one dictionary a mask, with the mask in full size."""
        boxes = self._boxes_xyxy()
        crops = self.proposals.crop_box[self.kept]
        return [
            {
                "segmentation": self.mask(k),
                "area": int(self.masks.areas[mask_id]),
                "bbox": _xyxy_to_xywh(boxes[k]),
                "predicted_iou": float(self.proposals.iou_pred[kept]),
                "point_coords": [self.proposals.point_xy[kept].tolist()],
                "stability_score": float(self._stability[k]),
                "crop_box": _xyxy_to_xywh(crops[k]),
            }
            for k, (kept, mask_id) in enumerate(zip(self.kept, self.mask_ids, strict=True))
        ]

    def _boxes_xyxy(self) -> NDArray[np.int64]:
        """Boxes as SAM has them, the last row and column included."""
        boxes = self.proposals.box_xyxy[self.kept]
        cleaned = self.mask_ids != self.kept
        boxes[cleaned] = self.masks.boxes[self.mask_ids[cleaned]] - [0, 0, 1, 1]
        return boxes

    @classmethod
    def from_masks(
        cls, masks: NDArray[np.bool_] | Sequence[NDArray[np.bool_]], frame: Frame
    ) -> Segmentation:
        """Make a segmentation of plain masks: ground truth, adversaries, other programs' output.

        Parameters
        ----------
        masks : (K, H, W) bool array
        frame : Frame

        Raises
        ------
        SamstarError
            If a mask has another shape than the frame.
        """
        for mask in masks:
            if mask.shape != frame.shape:
                raise SamstarError(
                    f"the masks must have the frame's shape {frame.shape}, got {mask.shape}"
                )
        return cls._from_windows([((0, 0), np.asarray(mask, dtype=bool)) for mask in masks], frame)

    @classmethod
    def from_labels(cls, labels: NDArray[np.integer], frame: Frame) -> Segmentation:
        """Make a segmentation of a label image, (H, W), 0 being background.

        Raises
        ------
        SamstarError
            If it has another shape than the frame.
        """
        if labels.shape != frame.shape:
            raise SamstarError(f"the labels must have the shape {frame.shape}, got {labels.shape}")
        present = np.unique(labels[labels > 0])
        ranks = np.where(labels > 0, np.searchsorted(present, labels) + 1, 0)
        windows = [
            ((columns.start, rows.start), ranks[rows, columns] == rank)
            for rank, (rows, columns) in enumerate(ndimage.find_objects(ranks), 1)
        ]
        return cls._from_windows(windows, frame)

    @classmethod
    def _from_windows(
        cls, items: list[tuple[tuple[int, int], Window]], frame: Frame
    ) -> Segmentation:
        store = MaskStore.from_windows(frame.shape, items)
        n_masks = len(store)
        proposals = Proposals(
            frame_id=frame.id,
            prompt=PromptSettings(),
            offsets=(Settings().stability_score_offset,),
            floor=Floor(),
            scene=Scene(frame.image),
            masks=store,
            iou_pred=np.ones(n_masks, dtype=np.float32),
            stability=np.ones((n_masks, 1), dtype=np.float32),
            point_xy=(store.boxes[:, :2] + store.boxes[:, 2:]) / 2.0,
            crop_index=np.zeros(n_masks, dtype=np.int32),
            crop_boxes=np.array([[0, 0, frame.shape[1], frame.shape[0]]]),
            n_prompts_decoded=0,
            pixel_size_nm=frame.pixel_size_nm,
        )
        everything = np.arange(n_masks)
        return cls(frame.id, Settings(), proposals, everything, everything)


def _xyxy_to_xywh(box: NDArray[np.integer]) -> list[int]:
    x0, y0, x1, y1 = box.tolist()
    return [x0, y0, x1 - x0, y1 - y0]
