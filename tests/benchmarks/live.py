"""Live frames, pixels to segmentation: time, peak memory and what inexact modes cost.

Each figure is taken in a process of its own, started here as ``python -m tests.benchmarks.live``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.frames.intensity import to_sam_rgb
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import Settings
from samstar_rl.truth.metrics import f1_at
from tests.benchmarks.report import Row
from tests.benchmarks.samples import enlarged, stock_arguments

MODES: dict[str, dict[str, str]] = {
    "folded": {},
    "bfloat16": {"precision": "bfloat16"},
}
BEST_INEXACT = "bfloat16"
REQUIRED = {512: 2.5, 2048: 8.0}
INEXACT_REQUIRED, F1_LOSS_ALLOWED, MEMORY_REQUIRED = 5.0, 0.01, 3.0
FEW_PIXELS = 1000
SETTINGS = Settings(pred_iou_thresh=0.7, stability_score_thresh=0.7, box_nms_thresh=0.4)


def measure(
    items: list[LabelledFrame],
    *,
    points: tuple[int, ...],
    large_points: tuple[int, ...],
    device: str = "cpu",
) -> list[Row]:
    """Compare on frames as they are and on the first of them at 2048 x 2048."""
    rows = []
    for side in points:
        rows += _compare(items, side, 512, tuple(MODES), device)
    for side in large_points:
        rows += _compare([enlarged(items[0], 2048)], side, 2048, ("folded",), device)
    return rows


def _compare(
    items: list[LabelledFrame], side: int, size: int, modes: tuple[str, ...], device: str
) -> list[Row]:
    """One row for each mode, and one for the memory."""
    results = {
        mode: [_run(mode, item, side, device) for item in items] for mode in ("stock", *modes)
    }
    stock_seconds = _mean(results["stock"], "seconds")
    stock_f1 = np.mean([_f1(r, i) for r, i in zip(results["stock"], items, strict=True)])
    label = f"live frame of {size} x {size}, {side} points a side, {device}"
    rows = []
    for mode in modes:
        seconds = _mean(results[mode], "seconds")
        f1 = np.mean([_f1(r, i) for r, i in zip(results[mode], items, strict=True)])
        shares = ", ".join(
            f"{part} {_mean(results[mode], part):.2f} s" for part in ("encode", "decode")
        )
        required = (
            REQUIRED[size]
            if mode == "folded"
            else INEXACT_REQUIRED
            if mode == BEST_INEXACT
            else None
        )
        rows.append(
            Row(
                f"{label}: {mode}",
                f"{seconds:.2f} s",
                f"{stock_seconds:.2f} s",
                stock_seconds / seconds,
                required,
                note=f"{shares}; {_deviation(results['stock'], results[mode])}; "
                f"F1 {f1:.3f}, stock {stock_f1:.3f}",
            )
        )
        if mode == BEST_INEXACT:
            loss = float(stock_f1 - f1)
            rows.append(
                Row(
                    f"{label}: {mode}, F1 lost",
                    f"{f1:.3f}",
                    f"{stock_f1:.3f}",
                    loss,
                    F1_LOSS_ALLOWED,
                    True,
                )
            )
    if size == 2048:
        ours, peer = _mean(results["folded"], "peak_mb"), _mean(results["stock"], "peak_mb")
        rows.append(
            Row(
                f"{label}: memory", f"{ours:.0f} MB", f"{peer:.0f} MB", peer / ours, MEMORY_REQUIRED
            )
        )
    return rows


def _mean(results: list[dict[str, Any]], key: str) -> float:
    return float(np.mean([result[key] for result in results]))


def _f1(result: dict[str, Any], item: LabelledFrame) -> float:
    return f1_at(Segmentation.from_masks(result["masks"], item.frame), item.truth)


def _deviation(stock: list[dict[str, Any]], ours: list[dict[str, Any]]) -> str:
    """Masks that differ and pixels that differ in masks of the same order."""
    n_stock = sum(len(result["masks"]) for result in stock)
    n_ours = sum(len(result["masks"]) for result in ours)
    flipped = [
        int(np.count_nonzero(a["masks"] != b["masks"]))
        for a, b in zip(stock, ours, strict=True)
        if a["masks"].shape == b["masks"].shape
    ]
    # masks of another order, or other masks altogether, are not compared pixel by pixel
    if len(flipped) == len(stock) and sum(flipped) < FEW_PIXELS * len(stock):
        return f"{n_ours} masks, {sum(flipped)} pixels differ"
    ious = [_best_ious(a["masks"], b["masks"]) for a, b in zip(stock, ours, strict=True)]
    return f"{n_ours} masks for {n_stock}, mean best IoU {np.mean(np.concatenate(ious)):.3f}"


def _best_ious(stock: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """For each stock mask the IoU of the nearest of ours."""
    if len(stock) == 0 or len(ours) == 0:
        return np.zeros(len(stock))
    a = stock.reshape(len(stock), -1).astype(np.float32)
    b = ours.reshape(len(ours), -1).astype(np.float32)
    shared = a @ b.T
    union = a.sum(1)[:, None] + b.sum(1) - shared
    return (shared / np.maximum(union, 1)).max(axis=1)


def _run(mode: str, item: LabelledFrame, side: int, device: str) -> dict[str, Any]:
    """Measure one mode on one frame in a fresh process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "image.npy", item.frame.image)
        command = [sys.executable, "-m", "tests.benchmarks.live", mode, name, str(side), device]
        subprocess.run(command, check=True)
        result = json.loads((folder / "result.json").read_text("utf-8"))
        with np.load(folder / "masks.npz") as masks:
            shape = (result["n_masks"], *item.frame.shape)
            bits = np.unpackbits(masks["bits"], axis=1, count=int(np.prod(item.frame.shape)))
            result["masks"] = bits.astype(bool).reshape(shape)
    return result


def _work(mode: str, folder: Path, side: int, device: str) -> None:
    """The measured process: one warm-up on a small frame, then the frame."""
    image = np.load(folder / "image.npy")
    generate, decode = _stock(side, device) if mode == "stock" else _ours(mode, side, device)
    generate(np.ascontiguousarray(image[:64, :64]))
    before = _resident_mb()
    started = time.perf_counter()
    masks, parts = generate(image)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    flat = np.array(masks, dtype=bool).reshape(len(masks), image.size)
    bits = np.packbits(flat, axis=1)
    np.savez(folder / "masks.npz", bits=bits)
    parts["decode"] = 0.0 if decode is None else decode(image)
    result = {"seconds": seconds, "peak_mb": peak, "n_masks": len(masks), **parts}
    (folder / "result.json").write_text(json.dumps(result), "utf-8")


def _stock(side: int, device: str):
    from segment_anything import SamAutomaticMaskGenerator

    from samstar_rl.sam.load import load_sam

    arguments = stock_arguments(SETTINGS.replace(points_per_side=side))
    generator = SamAutomaticMaskGenerator(load_sam("tiny", device=device), **arguments)

    def generate(image: np.ndarray):
        records = generator.generate(to_sam_rgb(image))
        return [record["segmentation"] for record in records], {"encode": 0.0}

    return generate, None


def _ours(mode: str, side: int, device: str):
    from samstar_rl.sam.engine import ProposalEngine
    from samstar_rl.sam.load import load_sam

    engine = ProposalEngine(load_sam("tiny", device=device), device=device, **MODES[mode])
    settings = SETTINGS.replace(points_per_side=side)

    def generate(image: np.ndarray):
        frame = Frame(image)
        embedding = engine.embed(frame)
        segmentation = engine.segment(frame, settings, embedding=embedding)
        masks = [segmentation.mask(k) for k in range(len(segmentation))]
        return masks, {"encode": embedding.seconds}

    def decode(image: np.ndarray) -> float:
        """Seconds of the decoder alone: no mask is sure enough to be upscaled."""
        embedding = engine.embed(Frame(image))
        started = time.perf_counter()
        engine.segment(Frame(image), settings.replace(pred_iou_thresh=1.0), embedding=embedding)
        return time.perf_counter() - started

    return generate, decode


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    _work(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
