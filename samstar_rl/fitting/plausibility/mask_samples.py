"""Masks of labelled frames, as the network of `plausibility` sees them, and how true they are.

The masks are those that random settings keep of SAM's proposals at several zooms; and, so that
judgements also hold for masks that no SAM made, true ones, the adversaries' ones, patches of
background between particles, and level sets of frames that are empty but for shading and noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl._io.atomic import replacing
from samstar_rl.evidence.plausibility import describe_masks
from samstar_rl.evidence.polar_views import Pyramid, polar_views
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.segmentation.filters import filter_proposals
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import PromptSettings, Settings
from samstar_rl.simulator.training_images import draw_family_image, draw_wide_image
from samstar_rl.truth.adversaries import ADVERSARIES, true_masks
from samstar_rl.truth.metrics import Truth

if TYPE_CHECKING:
    from samstar_rl.sam.engine import ProposalEngine

#: Raised whenever the samples of the same frames change.
VERSION = 1
#: Each frame is looked at with each of these.
ZOOMS = (1.0, 2.0, 3.0, 4.0)
N_PROMPTS = 128
N_SETTINGS = 16
#: Weight of a frame's true masks, and of each kind of made ones, beside all masks of SAM there.
WEIGHT_OF_TRUTH, WEIGHT_OF_ADVERSARY = 0.22, 0.06
_MOST_PARTICLES = 30
_MOST_MASKS_OF_A_LOOK = 120
_MOST_PATCHES = 12
#: Share of views that end at a border close to the mask, as those in a smaller frame would.
_CUT_SHARE = 0.25
#: Of the greys and of the cover in views, to a unit.
_STEPS = np.array([42.0, 127.0], dtype=np.float32)[:, None, None]

Evidence = NDArray[np.float32]


@dataclass(frozen=True)
class MaskSamples:
    """Masks of one frame.

    Parameters
    ----------
    views : (M, 2, R, A) int8 array
        As `polar_views` gives them, in steps; see `as_views`.
    figures : (M, E) float32 array
        As `describe_masks` gives them.
    iou : (M,) float32 array
        Best IoU with a particle.
    weight : (M,) float32 array
    zoom : (M,) float32 array
        At which SAM found the mask; 0 of masks that no SAM made.
    """

    views: NDArray[np.int8]
    figures: Evidence
    iou: Evidence
    weight: Evidence
    zoom: Evidence

    @classmethod
    def joined(cls, samples: Sequence[MaskSamples]) -> MaskSamples:
        """The masks of several."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(one, name) for one in samples]) for name in names))


def as_views(stored: NDArray[np.int8]) -> Evidence:
    """The views (M, 2, R, A) that were kept in steps."""
    return stored.astype(np.float32) / _STEPS


def samples_on_disk(path: Path, sample: Callable[[], MaskSamples]) -> MaskSamples:
    """Samples from a file, or made and written there."""
    if path.exists():
        with np.load(path) as stored:
            return MaskSamples(**stored)
    made = sample()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **vars(made))
    return made


def sample_looks(engine: ProposalEngine, labelled: LabelledFrame, number: int) -> MaskSamples:
    """The masks that random settings keep of SAM's proposals, at each of `ZOOMS`.

    Parameters
    ----------
    engine : ProposalEngine
    labelled : LabelledFrame
    number : int
        Of the frame: decides on all that is random.

    Returns
    -------
    MaskSamples
        All together weigh 1, each zoom alike.
    """
    rng = np.random.default_rng([VERSION, number])
    truth, frame = Truth(labelled.truth), labelled.frame
    looks = []
    embedding = engine.embed(frame)
    for zoom in ZOOMS:
        prompt = PromptSettings(n_prompts=N_PROMPTS, zoom=zoom)
        proposals = engine.propose(frame, prompt, embedding=embedding)
        kept: set[int] = set()
        for _ in range(N_SETTINGS):
            random = Settings(
                **prompt.to_dict(),
                pred_iou_thresh=float(rng.uniform(0, 0.95)),
                stability_score_thresh=float(rng.uniform(0, 0.95)),
                box_nms_thresh=float(rng.uniform(0.1, 0.9)),
            )
            found = filter_proposals(proposals, random)
            kept.update(found.kept.tolist())
        order = np.array(sorted(kept), dtype=np.intp)
        if len(order) > _MOST_MASKS_OF_A_LOOK:
            order = np.sort(rng.permutation(order)[:_MOST_MASKS_OF_A_LOOK])
        settings = Settings(n_prompts=N_PROMPTS, zoom=zoom)
        found = Segmentation(frame.id, settings, proposals, order, order)
        looks.append(_describe(found, truth, 1 / len(ZOOMS), zoom, rng))
    return MaskSamples.joined(looks)


def sample_made(labelled: LabelledFrame, number: int) -> MaskSamples:
    """True masks, the adversaries' ones, and patches of background; see the module.

    The frame's number decides on all that is random.
    """
    rng = np.random.default_rng([VERSION, number])
    frame, labels = labelled.frame, labelled.truth
    truth, masks = Truth(labels), _neighbours(true_masks(labels), rng)
    made = [(masks, WEIGHT_OF_TRUTH), (background_patches(labels, rng), WEIGHT_OF_ADVERSARY)]
    if masks:
        made += [(make(masks, rng), WEIGHT_OF_ADVERSARY) for make in ADVERSARIES.values()]
    samples = [
        _describe(Segmentation.from_masks(kind, frame), truth, weight, 0.0, rng)
        for kind, weight in made
        if kind
    ]
    return MaskSamples.joined(samples)


def background_patches(
    labels: NDArray[np.integer], rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """Discs between the particles of a label image, which touch them, the widest first."""
    empty = labels == 0
    patches: list[NDArray[np.bool_]] = []
    rows, columns = np.mgrid[: labels.shape[0], : labels.shape[1]]
    while len(patches) < _MOST_PATCHES:
        distance = cv2.distanceTransform(empty.astype(np.uint8), cv2.DIST_L2, 5)
        y, x = np.unravel_index(int(distance.argmax()), distance.shape)
        radius = float(distance[y, x]) * rng.uniform(0.5, 1)
        if radius < 3:
            break
        disc = np.hypot(rows - y, columns - x) <= radius
        patches.append(disc)
        empty &= ~(np.hypot(rows - y, columns - x) <= 1.5 * distance[y, x])
    return patches


def sample_empty(number: int) -> MaskSamples:
    """Level sets of a frame that shows shading, stains and noise, but no particle."""
    rng = np.random.default_rng([VERSION, 77, number])
    frame = Frame(image=draw_empty(rng, int(rng.integers(128, 512))), id=f"empty{number}")
    smooth = cv2.GaussianBlur(frame.image, (0, 0), float(rng.choice([2, 5, 15])))
    masks = []
    for level in np.percentile(smooth, rng.uniform(5, 95, 6)):
        for side in (smooth > level, smooth < level):
            count, parts, stats, _ = cv2.connectedComponentsWithStats(side.astype(np.uint8))
            largest = 1 + np.argsort(-stats[1:count, cv2.CC_STAT_AREA])[:3]
            masks += [parts == part for part in largest if (parts == part).sum() >= 16]
    blobs = [np.zeros(frame.shape, bool) for _ in range(12)]
    for blob in blobs:
        y, x = rng.uniform(0, frame.shape)
        radius = float(np.exp(rng.uniform(np.log(3), np.log(min(frame.shape) / 2))))
        blob |= np.hypot(*np.ogrid[-y : frame.shape[0] - y, -x : frame.shape[1] - x]) <= radius
    masks += [blob for blob in blobs if blob.any()]
    nothing = Truth(np.zeros(frame.shape, np.int32))
    return _describe(Segmentation.from_masks(masks, frame), nothing, 0.5, 0.0, rng)


def draw_empty(rng: np.random.Generator, side_px: int) -> Evidence:
    """A frame without particles: vignette or gradient, wide stains, and noise, (side, side)."""
    rows, columns = np.mgrid[:side_px, :side_px] / side_px - rng.uniform(0.2, 0.8, (2, 1, 1))
    turn = rng.uniform(0, 2 * np.pi)
    vignette = -rng.uniform(0, 1) * np.hypot(rows, columns) ** rng.choice([2, 4])
    gradient = rng.uniform(0, 0.5) * (np.cos(turn) * rows + np.sin(turn) * columns)
    field = rng.choice([-1, 1]) * vignette + gradient
    for width in (0.03, 0.1, 0.25):
        stain = cv2.GaussianBlur(rng.normal(size=(side_px, side_px)), (0, 0), width * side_px)
        field += rng.uniform(0, 0.08) * rng.integers(0, 2) * stain / max(float(stain.std()), 1e-6)
    grain = cv2.GaussianBlur(
        rng.normal(size=(side_px, side_px)), (0, 0), float(rng.choice([0.3, 0.8, 1.5]))
    )
    field += rng.uniform(0.01, 0.2) * grain / float(grain.std())
    return field.astype(np.float32)


def simulated_frames(per_family: int, *, size_px: int, seed: int) -> Iterator[LabelledFrame]:
    """Frames of all of the simulator's families.

    Parameters
    ----------
    per_family : int
        Frames of each.
    size_px : int
        Their side.
    seed : int

    Yields
    ------
    LabelledFrame
    """
    from samstar_rl.simulator import FAMILIES

    for index, family in enumerate(sorted(FAMILIES)):
        for k in range(per_family):
            rng = np.random.default_rng([seed, index, k])
            image, labels = draw_family_image(rng, family, (size_px, size_px))
            name = f"{family}{k}"
            yield LabelledFrame(Frame(image=image.astype(np.float32), id=name), labels)


def wide_frames(count: int, *, size_px: int, seed: int) -> Iterator[LabelledFrame]:
    """Frames of many small particles that touch: agglomerates, powders, rafts of rods.

    Parameters
    ----------
    count : int
    size_px : int
        Their side, at least 640.
    seed : int

    Yields
    ------
    LabelledFrame
    """
    for k in range(count):
        image, labels = draw_wide_image(np.random.default_rng([seed, 1, 0, k]), size_px)
        yield LabelledFrame(Frame(image=image.astype(np.float32), id=f"wide{k}"), labels)


def fingerprint(labelled: LabelledFrame) -> str:
    """Of a frame and its truth, for a file's name."""
    digest = hashlib.sha256(np.ascontiguousarray(labelled.frame.image).tobytes())
    digest.update(np.ascontiguousarray(labelled.truth).tobytes())
    return f"{VERSION}-{digest.hexdigest()[:16]}"


def _neighbours(
    masks: list[NDArray[np.bool_]], rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """A random mask and those nearest to it: enough, and made quickly."""
    if len(masks) <= _MOST_PARTICLES:
        return masks
    centres = np.array([np.argwhere(mask).mean(axis=0) for mask in masks])
    away = np.linalg.norm(centres - centres[rng.integers(len(masks))], axis=1)
    return [masks[k] for k in np.argsort(away)[:_MOST_PARTICLES]]


def _describe(
    found: Segmentation, truth: Truth, weight: float, zoom: float, rng: np.random.Generator
) -> MaskSamples:
    table, n_masks = found.table, len(found)
    views = polar_views(Pyramid(table.scene.unit), table, _random_bounds(found, rng))
    ious = truth.ious(found)
    best = np.zeros(n_masks, dtype=np.float32)
    np.maximum.at(best, ious.coords[0], ious.data.astype(np.float32))
    return MaskSamples(
        np.rint(views * _STEPS).astype(np.int8),
        describe_masks(table),
        best,
        np.full(n_masks, weight / max(n_masks, 1), dtype=np.float32),
        np.full(n_masks, zoom, dtype=np.float32),
    )


def _random_bounds(found: Segmentation, rng: np.random.Generator) -> NDArray[np.int64]:
    """Parts of the frame around each mask, mostly the whole one."""
    height, width = found.proposals.shape
    boxes = found.proposals.masks.boxes[found.table.ids].astype(np.int64)
    margin = np.rint(
        (boxes[:, 2:] - boxes[:, :2]).max(axis=1)[:, None] * rng.uniform(0.1, 2.5, boxes.shape)
    ).astype(np.int64)
    bounds = boxes + margin * [-1, -1, 1, 1]
    bounds[rng.random(len(boxes)) >= _CUT_SHARE] = [0, 0, width, height]
    bounds = np.clip(bounds, 0, [width, height, width, height])
    bounds[boxes[:, 2] <= boxes[:, 0]] = [0, 0, width, height]
    return bounds
