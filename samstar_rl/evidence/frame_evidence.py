"""What is known of a frame for a sample, in one object that lives as long as the frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from samstar_rl.evidence.facets import count_sides
from samstar_rl.evidence.mask_evidence import EVIDENCE, MaskDescriber, count_bodies_in
from samstar_rl.evidence.plausibility import describe_masks, packaged_likeness
from samstar_rl.evidence.polar_views import Pyramid, polar_views
from samstar_rl.foreground.estimate import Foreground, estimate_foreground
from samstar_rl.foreground.network import LazyMaps
from samstar_rl.masks.column_cache import MaskColumns

if TYPE_CHECKING:
    from samstar_rl.foreground.sample import Sample
    from samstar_rl.frames.frame import Frame
    from samstar_rl.masks.particle_table import ParticleTable
    from samstar_rl.masks.store import Ids, MaskStore

Column = NDArray[np.float64]
#: Numbers of bodies and pixels that they share with a mask.
Shares = tuple[list[int], list[float]]


@dataclass(eq=False)
class _OfMasks:
    """What is known of single masks of a store, by their numbers in it."""

    columns: MaskColumns = field(default_factory=lambda: MaskColumns(EVIDENCE))
    likeness: dict[float, MaskColumns] = field(default_factory=dict)
    sides: dict[int, tuple[float, float]] = field(default_factory=dict)
    bodies: dict[int, Shares] = field(default_factory=dict)
    on_foreground: dict[int, int] = field(default_factory=dict)


class FrameEvidence:
    """What is known of a frame for a sample: the foreground, and what single masks are like.

    The frame keeps it (`of` finds it again), so that it dies with the frame. What is said of a mask
    is computed once and remembered as long as the mask's store lives: it does not depend on what
    else is kept.

    Parameters
    ----------
    frame : Frame
    sample : Sample
        What is known of the particles, lengths in px.

    Attributes
    ----------
    counted : WeakKeyDictionary
        What was counted of whole segmentations, while they live; see `samstar_rl.rewards.counting`.
    """

    def __init__(self, frame: Frame, sample: Sample) -> None:
        self.sample = sample
        self.counted: WeakKeyDictionary[object, dict[str, float]] = WeakKeyDictionary()
        # not the frame itself, which keeps this object: nothing is to wait for the collector
        self._image = frame.image
        self._maps = LazyMaps.of(frame)
        self._image_pyramid: Pyramid | None = None
        self._of_stores: WeakKeyDictionary[MaskStore, _OfMasks] = WeakKeyDictionary()

    @classmethod
    def of(cls, frame: Frame, sample: Sample) -> FrameEvidence:
        """The one of a frame and a sample (lengths in px), made when first asked for."""
        known: FrameEvidence | None = frame.known.get((cls, sample))
        if known is None:
            known = frame.known[cls, sample] = cls(frame, sample)
        return known

    @cached_property
    def foreground(self) -> Foreground:
        """The pixels that belong to particles, estimated from the frame alone."""
        sample = self.sample
        return estimate_foreground(
            self._image,
            sample.contrast,
            sample.min_diameter,
            sample.max_diameter,
            sample.sizes,
            sample.arrangement,
            maps=self._maps.maps,
            unit=self._maps.unit,
            quick=self._maps.quick,
        )

    def columns(self, table: ParticleTable, *names: str) -> tuple[Column, ...]:
        """How masks lie on the image and its foreground, an array (K,) for each name.

        Steps are changes of intensity across the outline, in shares of a full step of the right
        sign.

        Parameters
        ----------
        table : ParticleTable
            Of K masks of the frame.
        *names : str
            Of `mask_evidence.EVIDENCE`:

            - ``purity``: share of the mask that is foreground
            - ``inside_std``: standard deviation of the normalised intensity inside
            - ``rim_support``: mean step, those of the wrong sign counting 0

        Returns
        -------
        tuple of (K,) arrays
        """
        known, store = self._of(table.store).columns, table.store

        def describe(ids: Ids) -> Column:
            return MaskDescriber(store, table.scene, self.foreground)(ids)

        return tuple(known.get(name, table.ids, len(store), describe) for name in names)

    def likeness(self, table: ParticleTable) -> Column:
        """Estimated probability that a mask matches a particle at an IoU of 0.5, (K,).

        SAM's stability score is part of what is judged, so that each stability offset has a
        likeness of its own. What a bank has recorded is taken from there.
        """
        if table.likeness is not None:
            return table.likeness

        def weigh(ids: Ids) -> Column:
            positions = np.unique(table.ids, return_index=True)[1]
            missing = table.part(positions[np.isin(table.ids[positions], ids)])
            views = polar_views(self._pyramid(table), missing)
            return packaged_likeness().of(views, describe_masks(missing))[:, None]

        of_offsets = self._of(table.store).likeness
        known = of_offsets.get(table.stability_offset)
        if known is None:
            known = of_offsets[table.stability_offset] = MaskColumns(("likeness",))
            if table.recorded_likeness is not None:
                known.fill(table.recorded_likeness[:, None])
        table.likeness = known.get("likeness", table.ids, len(table.store), weigh)
        return table.likeness

    def _pyramid(self, table: ParticleTable) -> Pyramid:
        if self._image_pyramid is None:
            self._image_pyramid = Pyramid(table.scene.unit)
        return self._image_pyramid

    def sides(self, table: ParticleTable) -> tuple[Column, Column]:
        """Sides and facetting of masks, both (K,), as `facets.count_sides` counts them."""
        known, store = self._of(table.store).sides, table.store
        ids = table.ids.tolist()
        for mask_id in ids:
            if mask_id not in known:
                known[mask_id] = count_sides(store.window(mask_id))
        sides, facetting = np.array([known[mask_id] for mask_id in ids]).reshape(-1, 2).T
        return sides, facetting

    def on_foreground(self, store: MaskStore, ids: Ids) -> int:
        """Pixels of the foreground in masks, summed over the masks."""
        known = self._of(store).on_foreground
        for mask_id in ids.tolist():
            if mask_id not in known:
                x0, y0, x1, y1 = store.boxes[mask_id].tolist()
                inside = store.window(mask_id) & self.foreground.mask[y0:y1, x0:x1]
                known[mask_id] = int(np.count_nonzero(inside))
        return sum(known[mask_id] for mask_id in ids.tolist())

    def body_shares(self, table: ParticleTable) -> list[Shares]:
        """Of each mask which of the foreground's bodies it meets, and in how many pixels."""
        known, store = self._of(table.store).bodies, table.store
        ids = table.ids.tolist()
        for mask_id in ids:
            if mask_id not in known:
                box = store.boxes[mask_id].tolist()
                met, pixels = count_bodies_in(store.window(mask_id), box, self.foreground)
                known[mask_id] = met.tolist(), pixels.tolist()
        return [known[mask_id] for mask_id in ids]

    def _of(self, store: MaskStore) -> _OfMasks:
        known = self._of_stores.get(store)
        if known is None:
            known = self._of_stores[store] = _OfMasks()
        return known
