"""How much faster than the stock generator: ``python -m tests.benchmarks`` (``make bench``)."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.benchmarks import (
    age,
    evaluation,
    gaze,
    live,
    loop,
    models,
    peers,
    report,
    stream,
    workers,
)
from tests.benchmarks.report import Row
from tests.benchmarks.samples import frames

RESULTS = Path("build/bench.json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="measure micro_sam, nothing else")
    parser.add_argument("--tiny", action="store_true", help="only see whether it works")
    parser.add_argument("--only", choices=[*_DEFAULT, "age", "models"], action="append")
    parser.add_argument("--frames", type=Path, help="folder with images/ and labels/")
    parser.add_argument("--count", type=int, help="frames to measure the gaze on, by default 20")
    parser.add_argument("--device", default="cpu", help="for the live frames: cpu or cuda")
    parser.add_argument(
        "--markdown", action="store_true", help=f"measure nothing: print {RESULTS} as Markdown"
    )
    asked = parser.parse_args()
    if asked.markdown:
        try:
            print(report.markdown(RESULTS))
        except FileNotFoundError as error:
            parser.error(str(error))
        return
    rows: list[Row] = []
    for name, part in _parts(asked.tiny, asked.frames, asked.device, asked.count).items():
        wanted = name == "peers" if asked.peers else name in (asked.only or _DEFAULT)
        if wanted:
            print(f"measuring: {name}", flush=True)
            for row in part():
                rows.append(row)
                # a run that only tries whether it works is no result
                if not asked.tiny:
                    report.write(rows, RESULTS)
    if not asked.tiny:
        rows = report.read(RESULTS)
    report.show(rows)


_DEFAULT = ("evaluation", "gaze", "live", "stream", "loop", "workers")


def _parts(
    tiny: bool, folder: Path | None, device: str, gaze_frames: int | None
) -> dict[str, Callable[[], Iterable[Row]]]:
    side = 6 if tiny else 32
    count = 1 if tiny else 3
    n_settings = 5 if tiny else 100

    def run_stream() -> list[Row]:
        with tempfile.TemporaryDirectory() as bank:
            items = frames(2 if tiny else 8, folder)
            return stream.measure(items, n_steps=20 if tiny else 20_000, folder=Path(bank))

    def run_peers() -> list[Row]:
        peers.prepare()
        return peers.measure(frames(count, folder), points_per_side=side, n_settings=n_settings)

    return {
        "evaluation": lambda: evaluation.measure(
            frames(count, folder), points_per_side=side, n_settings=n_settings, n_stock=1
        ),
        "gaze": lambda: gaze.measure(
            frames(gaze_frames or (2 if tiny else 20), folder),
            copies=(1,) if tiny else (4, 8),
            side=side,
        ),
        "live": lambda: live.measure(
            frames(count, folder),
            points=(side,) if tiny else (16, 32),
            large_points=() if tiny else (16, 32),
            device=device,
        ),
        "stream": run_stream,
        "loop": lambda: loop.measure(
            frames(2 if tiny else 20, folder),
            n_rounds=1 if tiny else 3,
            n_paced=4 if tiny else 60,
        ),
        "workers": lambda: workers.measure(
            frames(4 if tiny else 12, folder), n_rounds=1 if tiny else 2
        ),
        "age": lambda: age.measure(n_frames=3 if tiny else 20),
        "models": lambda: models.measure(
            ("tiny",) if tiny else models.MODELS, n_rounds=1 if tiny else 3, device=device
        ),
        "peers": run_peers,
    }


if __name__ == "__main__":
    main()
