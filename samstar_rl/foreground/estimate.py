"""Which pixels belong to particles, estimated from the frame alone.

No threshold suits all micrographs, so many candidates are drawn (three backgrounds, four
thresholds, both polarities, holes open or filled) and weighed by evidence that asks for no ground
truth: particles are compact and keep off the border, what is left is smooth, other candidates
agree, and so does a small network that has seen many micrographs (`foreground_network`), whose own
opinion is one more candidate. The weights of the evidence were fitted once, on labelled
micrographs, and stand below. The estimate is the mean of the candidates, each weighted by the
exponential of its evidence. Thresholds follow outlines to the pixel, the network knows what is a
particle: each makes up for the other's mistakes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from skimage.filters import threshold_multiotsu, threshold_otsu, threshold_triangle
from skimage.segmentation import watershed

from samstar_rl._io.opencv import avoid_ipp
from samstar_rl.foreground.network import (
    ForegroundMaps,
    map_particles,
    packaged_network,
    threads,
)
from samstar_rl.frames.intensity import normalise
from samstar_rl.frames.slopes import slopes
from samstar_rl.masks.pixel_runs import PixelCount

if TYPE_CHECKING:
    from samstar_rl.foreground.sample import Arrangement, Contrast, Sizes

Mask = NDArray[np.bool_]
Field = NDArray[np.float32]
Bodies = NDArray[np.uint16]
Index = NDArray[np.intp]

#: Short side in px at which candidates are drawn: details below 1/256 of the frame are lost.
WORKING_SHORT_SIDE_PX = 256
#: On frames with particles the network is surer than this somewhere (0.98 and more on 140 real and
#: 64 simulated ones), on noise it is not.
LEAST_CERTAINTY = 0.7
#: Larger frames are reduced to this short side for the estimate.
MOST_SHORT_SIDE_PX = 768
#: Medians over a larger frame are taken of bands of it with about this many pixels.
MOST_MEDIAN_PIXELS = 1 << 19
BAND_PX = 32
FINER_SHORT_SIDE_PX = 1024
#: Widths (Gaussian, as a share of the short side) of the backgrounds taken off; None takes none.
BACKGROUND_WIDTHS: tuple[float | None, ...] = (None, 0.5, 0.25)
_LEAST_SHARE, _LARGEST_SHARE = 0.0003, 0.97
_SMALLEST_BODY_PX = 8
_BLOCK = np.ones((3, 3), np.uint8)
_CROSS = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
#: Particles vary more in grey than what they lie on: a pixel may be this much nearer to the latter.
_INSIDE_PREFERENCE = 1.25
#: Products of matrices up to this many multiplications are left to one thread by BLAS: to wake the
#: others, on cores that do other work, takes longer than the product.
_BLAS_ALONE = 1 << 18
#: Where sizes are alike, bodies below this share of the usual body's area are no particles ...
SPECK_SHARE = 0.02
#: ... and the network's cores are of none below this one.
FRAGMENT_SHARE = 0.1

#: Evidence of a candidate, its mean and standard deviation over candidates, and its weight.
CANDIDATE_EVIDENCE: dict[str, tuple[float, float, float]] = {
    "solidity_by_area": (0.859, 0.145, 0.051),
    "solidity": (0.894, 0.092, 0.029),
    "circularity": (0.563, 0.163, -0.050),
    "border_share": (0.547, 0.351, -0.169),
    "largest_share": (0.752, 0.338, -0.151),
    "background_spread": (0.548, 0.395, -0.120),
    "agreement": (0.916, 0.099, 0.127),
    "background_gradient": (0.199, 0.160, 0.005),
    "network": (0.700, 0.200, 0.220),
}
#: Cuts that meet what the network sees by this much less (Dice) than the best one, where that one
#: meets it at least so well, carry next to no weight.
_DICE_BEHIND, _LEAST_DICE = 0.25, 0.5
#: Difference of evidence by which the weight of a candidate changes by a factor of e.
_TEMPERATURE = 0.04


@dataclass(frozen=True, eq=False)
class Cover:
    """How many pixels of a mask lie on each pixel of a part of the working image.

    Parameters
    ----------
    where : (slice, slice)
    pixels : (h, w) int32 array
    """

    where: tuple[slice, slice]
    pixels: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Foreground:
    """Estimate of the pixels that belong to particles.

    Parameters
    ----------
    mask : (H, W) bool array
        True on particles, never on annotations or missing pixels.
    polarity : int
        +1 if particles are brighter than their surroundings, -1 if darker.
    full_slope : float
        Steepness of the normalised image, 1/px, at which an outline counts as a full step.
    n_particles : int
        About how many particles the mask stands for.
    bodies : (h, w) uint16 array
        The mask at working size, shared out by the network's cores: the number of the body that a
        pixel belongs to, from 1 on; 0 on none.
    maps : (2, h, w) uint8 array
        What the network says at working size, in 255ths: `ForegroundMaps.probability` and ``core``.
    """

    mask: Mask
    polarity: int
    full_slope: float
    n_particles: int
    bodies: Bodies
    maps: NDArray[np.uint8]

    @cached_property
    def area_px(self) -> int:
        """Number of foreground pixels."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def pixel_count(self) -> PixelCount:
        """Counts the foreground's pixels in stretches of the frame."""
        return PixelCount(self.mask)

    @cached_property
    def body_areas_px(self) -> NDArray[np.float64]:
        """Areas of the bodies in px^2 of the frame; the first one, of none, is infinite."""
        pixels = np.bincount(self.bodies.ravel()).astype(np.float64)
        pixels[0] = np.inf
        return pixels * (self.mask.size / self.bodies.size)

    @property
    def typical_diameter_px(self) -> float | None:
        """Median equivalent diameter of the bodies in px of the frame; None of no bodies."""
        areas = self.body_areas_px[1:]
        return float(np.median(np.sqrt(4 / np.pi * areas))) if len(areas) else None

    def at_working_size(self, y: Index, x: Index) -> tuple[Index, Index]:
        """Rows and columns of ``bodies`` and ``maps`` at rows and columns of the frame."""
        rows, columns = self._working_places
        return rows[y], columns[x]

    @cached_property
    def _working_places(self) -> tuple[Index, Index]:
        """Rows of ``bodies`` at all rows of the frame, and so for columns."""
        (height, width), (h, w) = self.mask.shape, self.bodies.shape
        y, x = np.arange(height), np.arange(width)
        return (2 * y + 1) * h // (2 * height), (2 * x + 1) * w // (2 * width)

    @cached_property
    def _first_pixels(self) -> tuple[Index, Index]:
        """The frame's first row on each row of ``bodies``, and so for columns; at last the ends."""
        ends = [
            np.searchsorted(places, np.arange(count + 1))
            for places, count in zip(self._working_places, self.bodies.shape, strict=True)
        ]
        return ends[0], ends[1]

    def cover_of(self, window: Mask, box: list[int]) -> Cover:
        """Where a mask, its window in the frame, lies in ``bodies`` and ``maps``."""
        where, edges = [], []
        for first, start, stop in zip(self._first_pixels, box[1::-1], box[:1:-1], strict=True):
            low = int(np.searchsorted(first, start, side="right")) - 1
            high = int(np.searchsorted(first, stop))
            where.append(slice(low, high))
            edges.append(np.clip(first[low : high + 1] - start, 0, stop - start))
        sums = cv2.integral(window.view(np.uint8))[edges[0]][:, edges[1]]
        return Cover((where[0], where[1]), np.diff(np.diff(sums, axis=0), axis=1))

    @property
    def particle_area_px(self) -> float:
        """Mean area of a particle; at least 1."""
        return max(self.area_px / max(self.n_particles, 1), 1.0)


def estimate_foreground(
    image: Field,
    contrast: Contrast = "either",
    min_diameter_px: float | None = None,
    max_diameter_px: float | None = None,
    sizes: Sizes = "alike",
    arrangement: Arrangement = "apart",
    *,
    maps: ForegroundMaps | None = None,
    unit: Field | None = None,
    quick: bool = False,
) -> Foreground:
    """Estimate the foreground of an image.

    Parameters
    ----------
    image : (H, W) float32 array
        Of any range; NaN marks missing pixels.
    contrast : {"bright", "dark", "either"}
        What is known of the particles' contrast; "either" leaves it to the evidence.
    min_diameter_px, max_diameter_px : float, optional
        What is known of their equivalent diameters.
    sizes : {"alike", "mixed"}
        Where they are alike, what is far smaller than the rest is taken for dirt or lettering.
    arrangement : {"apart", "overlapping"}
        How particles that touch are told apart to be counted: by the network's cores, or, where
        round particles lie on one another, by inscribed discs.
    maps : ForegroundMaps, optional
        What the network says of the image, if that is known already.
    unit : (H, W) float32 array, optional
        The image as `normalise` makes it, if that is known already.
    quick : bool
        Take the network's word for it and draw no other candidates: a third of the time, and wrong
        on the frames where the network is.

    Returns
    -------
    Foreground
    """
    avoid_ipp()
    unit = normalise(image) if unit is None else unit
    maps = maps or map_particles(packaged_network(), unit)
    # A large frame is looked at as a smaller picture: outlines to a pixel of that are fine enough.
    height, width = image.shape
    shrink = min(1.0, MOST_SHORT_SIDE_PX / min(height, width))
    size = (max(round(width * shrink), 8), max(round(height * shrink), 8))
    small, seen = unit, image
    if shrink < 1:
        small = np.asarray(cv2.resize(unit, size, interpolation=cv2.INTER_AREA))
        # drawn marks are told by their greys, which are not to be mixed
        seen = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST))
    valid = ~annotation_pixels(seen)
    smallest, largest = (d and d * shrink for d in (min_diameter_px, max_diameter_px))
    work = _Work.of(small, valid, maps, smallest, largest)
    drawn = _opinion_of_network(work) if quick else draw_candidates(work)
    candidates = [c for c in drawn if contrast in ("either", c.contrast)]
    if is_empty(unit, maps):
        candidates = []
    said = np.rint(255 * np.stack([maps.probability, maps.core])).astype(np.uint8)
    if not candidates:
        nothing = np.zeros(image.shape, dtype=bool)
        slope, bodies = _full_slope(unit, nothing), np.zeros(work.valid.shape, dtype=np.uint16)
        return Foreground(nothing, -1 if contrast == "dark" else 1, slope, 0, bodies, said)
    share, polarity = _weighted_mean(work, candidates)
    enlarged = cv2.resize(share, size, interpolation=cv2.INTER_LINEAR)
    scale = min(small.shape) / min(work.valid.shape)
    mask = _with_outlines_refined(enlarged > 0.5, small, scale) & valid
    if sizes == "alike":
        mask = _without_small_bodies(mask)
    sharing = threads().submit(_share_out, mask, maps.core)
    whole = mask
    if shrink < 1:
        enlarged = cv2.resize(mask.astype(np.float32), (width, height))
        whole = (enlarged > 0.5) & np.isfinite(image)
    slope, bodies = _full_slope(unit, whole), sharing.result()
    count = len(body_peaks(mask)) if arrangement == "overlapping" else _count(bodies, sizes)
    count = max(count, int(mask.any()))
    return Foreground(whole, polarity, slope, count, bodies, said)


def is_empty(unit: Field, maps: ForegroundMaps) -> bool:
    """Whether the network sees a particle nowhere in an image, at its own scale or a finer one.

    Parameters
    ----------
    unit : (H, W) float32 array
        The image in [0, 1].
    maps : ForegroundMaps
        What the network says of it.
    """
    if maps.probability.max() >= LEAST_CERTAINTY:
        return False
    finer_px = min(min(unit.shape), FINER_SHORT_SIDE_PX)
    if finer_px <= WORKING_SHORT_SIDE_PX:
        return True
    # particles of a pixel or two are lost at the network's own scale
    finer = map_particles(packaged_network(), unit, orientations=1, short_side_px=finer_px)
    return bool(finer.probability.max() < LEAST_CERTAINTY)


def _weighted_mean(work: _Work, candidates: list[Candidate]) -> tuple[Field, int]:
    """Mean of the candidates by their evidence, (h, w) in [0, 1], and the likelier polarity."""
    evidence = weigh(describe_candidates(work, candidates))
    weights = np.exp((evidence - evidence.max()) / _TEMPERATURE)
    weights /= weights.sum()
    mean = np.einsum("c,chw->hw", weights, np.stack([c.mask for c in candidates]))
    signs = [1.0 if c.contrast == "bright" else -1.0 for c in candidates]
    return mean.astype(np.float32), 1 if weights @ signs >= 0 else -1


def _share_out(mask: Mask, core: Field) -> Bodies:
    """The bodies of a mask (H, W) at the size of the network's cores (h, w); see `Foreground`.

    Each core claims what lies around it; what is left over, but for specks, are bodies of their
    own.
    """
    height, width = core.shape
    share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    small = share > 0.5
    _, cores = cv2.connectedComponents((core > 0.5).astype(np.uint8), connectivity=4)
    bodies = watershed(-core, cores, mask=small)
    labels, areas = _parts(small & (bodies == 0))
    numbers = np.where((areas >= _SMALLEST_BODY_PX).take(labels), labels + bodies.max(), bodies)
    # numbered anew without gaps, 0 staying with what is no body
    is_there = np.bincount(numbers.ravel()) > 0
    is_there[0] = False
    return np.cumsum(is_there).take(numbers).astype(np.uint16)


def _count(bodies: Bodies, sizes: Sizes) -> int:
    """Number of bodies; where sizes are alike, of those that are no mere fragment."""
    areas = np.bincount(bodies.ravel())[1:]
    if sizes == "mixed" or len(areas) == 0:
        return len(areas)
    usual = float(np.average(areas, weights=areas))
    return int(np.count_nonzero(areas >= FRAGMENT_SHARE * usual))


def _full_slope(unit: Field, mask: Mask) -> float:
    """Half of the median steepness along the foreground's outline, and well above the noise.

    The noise is taken to be twice the median steepness of what is not foreground.
    """
    steps, noises = [], []
    for rows in _bands(unit.shape):
        pixels = mask[rows].astype(np.uint8)
        rim = cv2.dilate(pixels, _BLOCK) != cv2.erode(pixels, _BLOCK)
        steepness = cv2.magnitude(*slopes(unit[rows]))
        steps.append(steepness[rim])
        noises.append(steepness[~(mask[rows] | rim)])
    step, noise = (
        float(np.median(values)) if len(values) else 0.0
        for values in (np.concatenate(steps), np.concatenate(noises))
    )
    return max(0.5 * step, 2 * noise, 1e-6)


def _bands(shape: tuple[int, ...]) -> list[slice]:
    """Bands of rows of a frame: all of it, or so many of a large one as are enough for a median."""
    height, width = shape
    if height * width <= MOST_MEDIAN_PIXELS:
        return [slice(0, height)]
    count = max(MOST_MEDIAN_PIXELS // (BAND_PX * width), 1)
    starts = np.linspace(0, max(height - BAND_PX, 0), count).astype(int)
    return [slice(int(start), int(start) + BAND_PX) for start in starts]


def annotation_pixels(image: Field) -> Mask:
    """Pixels of scale bars, lettering and missing data: flat bodies of an extreme grey.

    Drawn marks have exactly the largest or the least value of the image, and are rectangles or
    thin strokes; a saturated particle is neither.

    Returns
    -------
    (H, W) bool array
    """
    missing = ~np.isfinite(image)
    found = missing.copy()
    known = image[~missing] if missing.any() else image
    if known.size == 0:
        return found
    stroke_px = 0.012 * min(image.shape) + 2
    least, most = float(known.min()), float(known.max())
    step = 0.008 * (most - least)
    for low, high in ((most - step, most), (least, least + step)):
        flat = cv2.inRange(image, low, high)
        for (y, x), body in _bodies(flat, least_px=12):
            if _is_drawn(body, stroke_px):
                height, width = body.shape
                found[y : y + height, x : x + width] |= body
    return found


def count_bodies(mask: Mask) -> int:
    """Number of bodies in a mask, touching ones told apart; see `body_peaks`."""
    return max(len(body_peaks(mask)), int(mask.any()))


def body_peaks(mask: Mask) -> list[tuple[int, int]]:
    """Centres (y, x) of the bodies in a mask, touching ones told apart, the thickest first.

    A centre is a peak of the distance to the background, unless it lies within 1.2 radii of the
    inscribed disc of a thicker one.
    """
    return [(y, x) for y, x, _ in _inscribed_discs(mask)]


def body_areas(mask: Mask) -> NDArray[np.float64]:
    """Areas of the bodies in a mask in px^2, the mask being shared out by their inscribed discs."""
    discs = np.array([radius**2 for *_, radius in _inscribed_discs(mask)])
    total = float(np.count_nonzero(mask))
    if len(discs) == 0:
        return np.full(1, total) if total else np.zeros(0)
    return total * discs / discs.sum()


def _inscribed_discs(mask: Mask) -> list[tuple[int, int, float]]:
    """Centre y, x and radius of the disc in each body, the largest first."""
    distance = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    smooth = cv2.GaussianBlur(distance, (0, 0), 1.0)
    ys, xs = np.nonzero((smooth >= cv2.dilate(smooth, _BLOCK)) & (smooth > 1))
    order = np.argsort(-smooth[ys, xs], kind="stable")
    points = np.column_stack([ys, xs])[order]
    radii = smooth[ys, xs][order]
    free = np.ones(len(points), dtype=bool)
    discs = []
    for i in range(len(points)):
        if free[i]:
            discs.append((int(points[i, 0]), int(points[i, 1]), float(radii[i])))
            free &= ((points - points[i]) ** 2).sum(axis=1) >= (1.2 * radii[i]) ** 2
    return discs


def _with_outlines_refined(mask: Mask, unit: Field, scale: float) -> Mask:
    """Move outlines to where the image's grey lies midway between both sides.

    The candidates are drawn at working size on a smoothed image, which rounds outlines off by a
    pixel or two there. Near the outlines each pixel goes to the side whose local mean is nearer:
    one step of T. F. Chan, L. A. Vese, IEEE Trans. Image Process. 10, 2001, with local means.
    """
    reach = round(scale) + 1
    block = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    pixels = mask.astype(np.uint8)
    inside = cv2.erode(pixels, block, borderValue=1) > 0
    outside = cv2.dilate(pixels, block, borderValue=0) == 0
    means = threads().map(partial(_local_mean, unit, width=reach), (inside, outside))
    smooth = cv2.GaussianBlur(unit, (0, 0), 1.0)
    (inner, much_inside), (outer, much_outside) = means
    band = ~inside & ~outside & (much_inside > 0.02) & (much_outside > 0.02)
    nearer = np.abs(smooth - inner) < _INSIDE_PREFERENCE * np.abs(smooth - outer)
    refined = np.where(band, nearer, mask).astype(np.uint8)
    # noise near the midway grey would leave lone pixels
    return np.asarray(cv2.medianBlur(refined, 5) > 0)


def _local_mean(unit: Field, where: Mask, width: float) -> tuple[Field, Field]:
    """Gaussian mean over some pixels, and how much of the Gaussian they fill."""
    weight = where.astype(np.float32)
    filled = cv2.GaussianBlur(weight, (0, 0), width)
    total = cv2.GaussianBlur(unit * weight, (0, 0), width)
    return np.asarray(total / np.maximum(filled, 1e-6)), np.asarray(filled)


def _without_small_bodies(mask: Mask) -> Mask:
    """Without the bodies that are far smaller than the usual one: dirt, lettering, scale bars."""
    areas = body_areas(mask)
    if len(areas) == 0:
        return mask
    return _without_specks(mask, SPECK_SHARE * float(np.average(areas, weights=areas)))


@dataclass(frozen=True)
class Candidate:
    """One possible foreground at working size."""

    mask: Mask
    contrast: Literal["bright", "dark"]


@dataclass(frozen=True)
class _Work:
    """The image at working size: denoised, in [0, 1], with what is known of the particles.

    ``probability`` is the network's, 0 on annotations.
    """

    smooth: Field
    gradient: Field
    valid: Mask
    probability: Field
    smallest_px: float
    largest_hole_px: float

    @classmethod
    def of(
        cls,
        unit_full: Field,
        valid: Mask,
        maps: ForegroundMaps,
        smallest: float | None,
        largest: float | None,
    ) -> _Work:
        size = maps.probability.shape[::-1]
        scale = min(maps.probability.shape) / min(unit_full.shape)
        unit = cv2.resize(unit_full, size, interpolation=cv2.INTER_AREA)
        despeckled = cv2.medianBlur((unit * 255).astype(np.uint8), 5).astype(np.float32) / 255
        smooth = cv2.GaussianBlur(despeckled, (0, 0), 1.0)
        gradient = cv2.magnitude(
            cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
        )
        kept = cv2.resize(valid.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.99
        least = _disc_area(0.5 * scale * smallest) if smallest else 0.0
        hole = _disc_area(scale * largest) if largest else float(unit.size)
        probability = np.where(kept, maps.probability, 0).astype(np.float32)
        return cls(smooth, gradient, kept, probability, max(least, _SMALLEST_BODY_PX), hole)


def draw_candidates(work: _Work) -> Iterator[Candidate]:
    """The candidate foregrounds of an image at working size that are worth a description.

    Most cuts are of the wrong polarity, or take half of the background along: where the network
    sees particles, those that meet them much worse than the best one does carry no weight.
    """
    if np.count_nonzero(work.valid) < 64:
        return
    drawn = threads().map(partial(_cut_on_background, work), BACKGROUND_WIDTHS)
    cuts = [cut for on_background in drawn for cut in on_background]
    if cuts:
        likely = work.probability.reshape(1, -1)
        inside = np.stack([cut.mask.ravel() for cut in cuts]).astype(np.float32)
        shared = _product(inside, likely)[:, 0]
        dice = 2 * shared / np.maximum(inside.sum(axis=1) + likely.sum(), 1e-6)
        if dice.max() >= _LEAST_DICE:
            cuts = [cuts[int(i)] for i in np.flatnonzero(dice >= dice.max() - _DICE_BEHIND)]
    for cleaned in threads().map(partial(_clean, work), cuts):
        yield from cleaned
    yield from _opinion_of_network(work)


def _cut_on_background(work: _Work, width: float | None) -> list[Candidate]:
    """What lies above and below each threshold, on a background of this width."""
    flat = work.smooth if width is None else work.smooth - _background(work, width)
    cuts = []
    for level in _thresholds(flat[work.valid]):
        cuts.append(Candidate((flat > level) & work.valid, "bright"))
        cuts.append(Candidate((flat < level) & work.valid, "dark"))
    return cuts


def _clean(work: _Work, cut: Candidate) -> list[Candidate]:
    """A cut without its specks, and once more with its holes filled; none if that is no field."""
    pixels = cv2.morphologyEx(cut.mask.view(np.uint8), cv2.MORPH_OPEN, _CROSS)
    opened = _without_specks(pixels.view(bool), work.smallest_px)
    if not _LEAST_SHARE < opened.mean() < _LARGEST_SHARE:
        return []
    filled = _with_holes_filled(opened, work.largest_hole_px)
    if np.count_nonzero(filled) > 1.01 * np.count_nonzero(opened):
        return [Candidate(opened, cut.contrast), Candidate(filled, cut.contrast)]
    return [Candidate(opened, cut.contrast)]


def describe_candidates(work: _Work, candidates: list[Candidate]) -> NDArray[np.float64]:
    """The `CANDIDATE_EVIDENCE` of each candidate, (candidates, evidence)."""
    masks = np.stack([candidate.mask for candidate in candidates])
    rim = frame_rim_indices(work.valid)
    spread = float(work.smooth[work.valid].std()) + 1e-6
    steepest = float(np.percentile(work.gradient[work.valid], 99)) + 1e-6
    # means over what a candidate leaves over, all of them in one product
    mean = work.smooth[work.valid].mean()
    grey = np.where(work.valid, work.smooth - mean, 0)
    fields = np.stack([work.valid, grey, grey**2, work.gradient * work.valid, work.probability])
    fields = fields.reshape(len(fields), -1).astype(np.float32)
    inside = masks.reshape(len(masks), -1).astype(np.float32)
    inner = _product(inside, fields).astype(np.float64)
    total = fields.sum(axis=1, dtype=np.float64)
    rest, grey_sum, square_sum, gradient_sum, _ = (total - inner).T
    rest = np.maximum(rest, 1)
    variance = np.maximum(square_sum / rest - (grey_sum / rest) ** 2, 0)
    areas = np.count_nonzero(masks, axis=(1, 2))
    shapes = np.array(list(threads().map(_describe_bodies, masks)), dtype=np.float64)
    return np.column_stack(
        [
            shapes[:, :3],
            masks[:, *rim].mean(axis=1),
            shapes[:, 3],
            np.sqrt(variance) / spread,
            _agreement(masks),
            gradient_sum / rest / steepest,
            # Dice of the mask and the network's probabilities
            2 * inner[:, 4] / np.maximum(areas + total[4], 1e-6),
        ]
    )


def _opinion_of_network(work: _Work) -> Iterator[Candidate]:
    """Make a candidate of what the network takes for particles, with its contrast here."""
    mask = work.probability > 0.5
    pixels = mask.astype(np.uint8)
    inside = cv2.erode(pixels, _BLOCK) > 0
    around = (cv2.dilate(pixels, np.ones((7, 7), np.uint8)) > 0) & ~mask
    if inside.any() and around.any():
        brighter = work.smooth[inside].mean() >= work.smooth[around].mean()
        yield Candidate(mask, "bright" if brighter else "dark")


def weigh(described: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted sum of the standardised evidence, (candidates,)."""
    mean, spread, weight = np.array(list(CANDIDATE_EVIDENCE.values())).T
    return np.clip((described - mean) / spread, -3, 3) @ weight


def frame_rim_indices(valid: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Valid pixels in the third row or column from the border, where filters have no artefacts."""
    rim = np.zeros_like(valid)
    rim[[2, -3], :] = True
    rim[:, [2, -3]] = True
    rows, columns = np.nonzero(rim & valid if (rim & valid).any() else rim)
    return rows, columns


def _background(work: _Work, width: float) -> Field:
    """Local mean over valid pixels, Gaussian of `width` short sides.

    So wide a mean is smooth: a quarter of the rows and columns is enough to compute it on.
    """
    rows, columns = work.valid.shape
    small = (max(columns // 4, 1), max(rows // 4, 1))
    sigma = width * min(small)
    weight = work.valid.astype(np.float32)
    total, amount = (
        cv2.GaussianBlur(cv2.resize(field, small, interpolation=cv2.INTER_AREA), (0, 0), sigma)
        for field in (work.smooth * weight, weight)
    )
    mean = total / np.maximum(amount, 1e-3)
    return np.asarray(cv2.resize(mean, (columns, rows), interpolation=cv2.INTER_LINEAR))


def _thresholds(values: Field) -> list[float]:
    """Levels that part the values in two or in three."""
    lowest, extent = float(values.min()), float(np.ptp(values))
    if extent < 1e-6:
        return []
    # whole numbers are counted ten times as fast as others are put into bins
    steps = ((values - lowest) * (255 / extent)).astype(np.uint8)
    levels = [threshold_otsu(steps), threshold_triangle(steps)]
    with contextlib.suppress(ValueError):  # fewer than three greys
        levels += list(threshold_multiotsu(steps, 3))
    return [lowest + (float(level) + 0.5) * extent / 255 for level in levels]


def _without_specks(mask: Mask, least_px: float) -> Mask:
    labels, areas = _parts(mask)
    return (areas >= least_px).take(labels)


def _with_holes_filled(mask: Mask, largest_px: float) -> Mask:
    labels, areas = _parts(~mask)
    filled = (areas > 0) & (areas <= largest_px)
    filled[np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))] = False
    return mask | filled.take(labels)


def _parts(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Numbers of the connected parts of a mask, (H, W), 0 outside, and their areas, 0 of 0."""
    # OpenCV's own areas come with boxes and centres and take three times as long
    _, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    return np.asarray(labels), areas


def _agreement(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean Dice of each candidate with the eight that agree with it best, itself among them."""
    small = np.stack([_quarter(mask) for mask in masks])
    areas = small.sum(axis=1)
    dice = 2 * _product(small, small) / (areas[:, None] + areas + 1e-6)
    return np.sort(dice, axis=1)[:, -8:].mean(axis=1)


def _product(left: Field, right: Field) -> Field:
    """The product of (a, n) and the transpose of (b, n), in pieces that one thread computes."""
    total = np.zeros((len(left), len(right)), dtype=np.float32)
    step = max(_BLAS_ALONE // total.size, 1)
    for start in range(0, left.shape[1], step):
        total += left[:, start : start + step] @ right[:, start : start + step].T
    return total


def _quarter(mask: Mask) -> Field:
    quarter = cv2.resize(mask.astype(np.float32), None, fx=0.25, fy=0.25, interpolation=3)
    return np.asarray(quarter.ravel())


def _describe_bodies(mask: Mask) -> tuple[float, float, float, float]:
    """Solidity weighted by area, mean solidity, mean circularity, share of the largest body."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = np.array([cv2.contourArea(outline) for outline in outlines])
    large = np.flatnonzero(areas >= _SMALLEST_BODY_PX)
    if len(large) == 0:
        return 0.0, 0.0, 0.0, 1.0
    hulls = np.array([cv2.contourArea(cv2.convexHull(outlines[int(i)])) for i in large])
    lengths = np.array([cv2.arcLength(outlines[int(i)], True) for i in large])
    solidity = areas[large] / np.maximum(hulls, 1)
    circularity = np.minimum(4 * np.pi * areas[large] / lengths**2, 1)
    return (
        float(np.average(solidity, weights=areas[large])),
        float(solidity.mean()),
        float(circularity.mean()),
        float(areas.max() / areas.sum()),
    )


def _bodies(pixels: NDArray[np.uint8], least_px: int) -> Iterator[tuple[tuple[int, int], Mask]]:
    """Connected bodies of pixels that are not 0: (y, x) of the corner and the pixels in the box."""
    _, labels = cv2.connectedComponents(pixels, connectivity=8)
    large = np.flatnonzero(np.bincount(labels.ravel())[1:] >= least_px)
    boxes = find_objects(labels) if len(large) else []
    for i in large.tolist():
        rows, columns = boxes[i]
        yield (rows.start, columns.start), labels[rows, columns] == i + 1


def _is_drawn(body: Mask, stroke_px: float) -> bool:
    """Say whether a body is a filled rectangle or made of thin strokes."""
    if body.mean() > 0.95 and body.size > 40:
        return True
    distance = cv2.distanceTransform(np.pad(body, 1).astype(np.uint8), cv2.DIST_L2, 3)
    return float(distance.max()) < stroke_px


def _disc_area(diameter: float) -> float:
    return float(np.pi / 4 * diameter**2)
