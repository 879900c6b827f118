"""What a segmented frame leaves behind: labels, particle table, picture and record."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray

from samstar_rl._io import atomic
from samstar_rl.masks.particle_table import SCHEMA_VERSION
from samstar_rl.results.overlay import draw_overlay, encode_png

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.rewards import Score
    from samstar_rl.segmentation.segmentation import Segmentation
    from samstar_rl.settings import Settings
    from samstar_rl.tuning.tuner import TunedFrame

LABELS_SUFFIX = ".labels.tif"
PARTICLES_SUFFIX = ".particles.csv"
OVERLAY_SUFFIX = ".overlay.png"
RECORD_SUFFIX = ".json"
MAX_NAME_LENGTH = 150
#: the mark of our own files, by which `registry.is_own_result` tells them from others
SOFTWARE = "samstar_rl"


@dataclass(frozen=True)
class FrameResult:
    """One frame, treated: all that is written about it.

    Attributes
    ----------
    frame : Frame
    segmentation : Segmentation
    settings : Settings
    score : Score
    n_evaluations, n_prompts_decoded : int
        What the tuner spent.
    milliseconds : dict of str to float
        Wall time by stage: "prepared" (encoded, foreground estimated), "segmented" (chosen,
        decoded, filtered, scored), "total" (both) and, in a live run, "waited" (before either).
    task, tuner : str
        Names.
    notes : tuple of str
        What people should know: the guard's interventions, a frame that is blank.
    source : str or None
        The file that the frame came from, as it lies on the disk.
    exclude_border : bool
        Particles that the image's border cuts are left out of table and size statistics, which are
        of whole particles then; labels and masks keep them.
    """

    frame: Frame
    segmentation: Segmentation
    settings: Settings
    score: Score
    n_evaluations: int
    n_prompts_decoded: int
    milliseconds: Mapping[str, float]
    task: str
    tuner: str
    notes: Sequence[str] = field(default=())
    source: str | None = None
    exclude_border: bool = False

    @classmethod
    def of(
        cls,
        tuned: TunedFrame,
        *,
        task: str,
        tuner: str,
        prepared_s: float = 0.0,
        notes: Sequence[str] = (),
    ) -> FrameResult:
        """Make the result of a frame that a tuner has treated.

        Parameters
        ----------
        tuned : TunedFrame
        task, tuner : str
            Names.
        prepared_s : float
            Seconds that the frame took before the tuner chose.
        notes : sequence of str

        Returns
        -------
        FrameResult
        """
        prepared_ms, segmented_ms = prepared_s * 1e3, tuned.seconds * 1e3
        return cls(
            frame=tuned.frame,
            segmentation=tuned.evaluation.segmentation,
            settings=tuned.evaluation.settings,
            score=tuned.evaluation.score,
            n_evaluations=tuned.expense.n_evaluations,
            n_prompts_decoded=tuned.expense.n_prompts_decoded,
            milliseconds={
                "prepared": prepared_ms,
                "segmented": segmented_ms,
                "total": prepared_ms + segmented_ms,
            },
            task=task,
            tuner=tuner,
            notes=tuple(notes),
        )

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Which particles are in table and size statistics, (K,)."""
        at_border = self.segmentation.table.touches_border
        return ~at_border if self.exclude_border else np.ones(len(at_border), dtype=bool)

    def particles(self) -> pd.DataFrame:
        """The particle table under the names of `regionprops_table`, as all formats have it."""
        found = self.segmentation.table
        table = found.to_dataframe(self.frame.id, self.frame.pixel_size_nm)
        return table[self.measured].reset_index(drop=True)

    def to_record(self) -> dict[str, Any]:
        """Settings, score, terms, evaluations and milliseconds, of types that JSON knows."""
        measured = self.measured
        size_nm = self.frame.pixel_size_nm
        diameters = self.segmentation.table.equivalent_diameter_area[measured] * (size_nm or 1.0)
        effort_record: dict[str, Any] = {}
        effort = self.segmentation.proposals.effort
        if effort is not None:  # what the frame asked of SAM, so that it can be replayed exactly
            effort_record = {
                "cost": effort.cost,
                "cost_limit": effort.cost_limit,
                "stopped_by": effort.stopped_by,
                "views": len(np.unique(np.append(effort.views, 0))),
                "tiles_left_out": effort.n_tiles_left_out,
            }
        return {
            "schema_version": SCHEMA_VERSION,
            "frame": self.frame.id,
            "source": self.source or self.frame.file,
            "time": float(self.frame.time),
            "shape": list(self.frame.shape),
            "pixel_size_nm": self.frame.pixel_size_nm,
            "task": self.task,
            "tuner": self.tuner,
            "n_particles": int(measured.sum()),
            "n_left_out_at_border": int((~measured).sum()),
            "equivalent_diameter": {
                "unit": "px" if size_nm is None else "nm",
                "mean": float(diameters.mean()) if len(diameters) else None,
                "std": float(diameters.std()) if len(diameters) else None,
                "median": float(np.median(diameters)) if len(diameters) else None,
            },
            "score": float(self.score.total),
            "terms": {name: float(value) for name, value in self.score.terms.items()},
            "settings": self.settings.to_dict(),
            "evaluations": int(self.n_evaluations),
            "prompts_decoded": int(self.n_prompts_decoded),
            **effort_record,
            "milliseconds": {name: round(value, 3) for name, value in self.milliseconds.items()},
            "notes": list(self.notes),
        }


def result_path(folder: Path, frame_id: str, suffix: str) -> Path:
    """Say where a file about a frame lies.

    Parameters
    ----------
    folder : Path
    frame_id : str
        Of any characters, see `safe_name`.
    suffix : str
        With its dot, such as ``.labels.tif``.

    Returns
    -------
    Path
        In the folder, whatever the id.
    """
    return folder / f"{safe_name(frame_id)}{suffix}"


def safe_name(frame_id: str) -> str:
    """Turn a frame's id, which may come from a network, into the name of a file in one folder.

    An id that is no such name as it stands gets a part of its hash: no two ids share a name.
    """
    name = re.sub(r"[^\w.+=@ ()\[\]-]", "_", frame_id).strip(" .")
    # what Windows takes for a device, whatever its suffix
    reserved = re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name.casefold())
    if name == frame_id and len(name.encode()) <= MAX_NAME_LENGTH and not reserved:
        return name
    digest = hashlib.sha256(frame_id.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    # the bytes that file systems allow, suffixes and temporary names included
    shortened = name.encode()[:MAX_NAME_LENGTH].decode(errors="ignore").strip(" .")
    return f"{shortened or 'frame'}-{digest}"


def label_image(segmentation: Segmentation) -> NDArray[np.uint16] | NDArray[np.uint32]:
    """The labels as the smallest of uint16 and uint32 that holds them; 0 is background."""
    labels = segmentation.to_labels()
    few = len(segmentation) <= np.iinfo(np.uint16).max
    return labels.astype(np.uint16) if few else labels.astype(np.uint32)


def write_labels(path: Path, result: FrameResult) -> None:
    """Write the label image as TIFF, the smaller of overlapping particles on top."""
    labels = label_image(result.segmentation)
    tifffile.imwrite(
        path,
        labels,
        compression="zlib",
        compressionargs={"level": 1},  # labels are flat: more effort saves next to nothing
        software=SOFTWARE,
        **_scale(labels, result.frame.pixel_size_nm),
    )


def _scale(labels: NDArray[Any], pixel_size_nm: float | None) -> dict[str, Any]:
    """The pixel size as ImageJ states it, which has a unit; it knows no uint32."""
    if pixel_size_nm is None or labels.dtype != np.uint16:
        return {"metadata": None}
    resolution = (1 / pixel_size_nm,) * 2
    return {"imagej": True, "resolution": resolution, "metadata": {"unit": "nm"}}


def write_particles(path: Path, result: FrameResult) -> None:
    """Write the particle table as CSV, under the names of `regionprops_table`."""
    result.particles().to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def _write_overlay(path: Path, result: FrameResult) -> None:
    picture = draw_overlay(result.frame, result.segmentation, caption=_caption(result))
    path.write_bytes(encode_png(picture, software=SOFTWARE))


def _write_record(path: Path, result: FrameResult) -> None:
    content = {"software": SOFTWARE, **result.to_record()}
    path.write_text(atomic.json_text(content), encoding="utf-8")


# suffix -> writer; the record comes last, for it says that the rest is complete
WRITERS: dict[str, Callable[[Path, FrameResult], None]] = {
    LABELS_SUFFIX: write_labels,
    PARTICLES_SUFFIX: write_particles,
    OVERLAY_SUFFIX: _write_overlay,
    RECORD_SUFFIX: _write_record,
}


def _caption(result: FrameResult) -> list[str]:
    terms = " · ".join(f"{name} {value:.2f}" for name, value in result.score.terms.items())
    n_measured = int(result.measured.sum())
    n_left_out = len(result.segmentation) - n_measured
    particles = "1 particle" if n_measured == 1 else f"{n_measured} particles"
    if n_left_out:
        particles += f" ({n_left_out} at the border left out)"
    return [
        f"{result.frame.id} · {particles} · score {result.score.total:.3f} ({terms})",
        f"task {result.task} · tuner {result.tuner}",
        *result.notes,
    ]
