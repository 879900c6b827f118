"""Options that several commands have, declared once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from samstar_rl._io.checkpoint_cache import CHECKPOINTS
from samstar_rl.agents.tuner_names import (
    BUNDLE_SUFFIX,
    STATIC_FILE,
    TUNERS,
    shipped_bundles,
    usual_tuner,
)
from samstar_rl.errors import SamstarError
from samstar_rl.tasks.shipped import task_path


def check_task(value: str | None) -> str | None:
    """Refuse a mistyped task before any heavy library is imported."""
    if value is not None:
        _refusing(task_path, value)
    return value


def check_sam(value: str) -> str:
    """Refuse a mistyped SAM before any heavy library is imported."""
    if value != "tiny" and value not in CHECKPOINTS and not Path(value).exists():
        raise typer.BadParameter(
            f"unknown SAM {value!r}: expected one of tiny, {', '.join(CHECKPOINTS)}, or the path "
            "of an existing checkpoint (.pth, .pt or .safetensors)"
        )
    return value


def check_learner(value: str) -> str:
    """Refuse a mistyped learner before any heavy library is imported."""
    from samstar_rl.agents.learning.hyperparameters import algorithm_name

    _refusing(algorithm_name, value)
    return value


def check_tuner(value: str | None) -> str | None:
    """Refuse a mistyped tuner before any heavy library is imported."""
    if value is None or value in TUNERS or value in shipped_bundles():
        return value
    if value.startswith(STATIC_FILE):
        file = value.removeprefix(STATIC_FILE).partition("#")[0]
        if not Path(file).is_file():
            raise typer.BadParameter(
                f"cannot read static settings from {file}: there is no such file"
            )
    elif not any(Path(value + suffix).exists() for suffix in ("", BUNDLE_SUFFIX)):
        known = ", ".join(name for name in TUNERS if name != "NAME or PATH")
        raise typer.BadParameter(
            f"no tuner {value!r}: expected one of {known}, a shipped policy "
            f"({', '.join(shipped_bundles()) or 'there is none'}) or the folder of one"
        )
    return value


def check_tuners(values: list[str] | None) -> list[str] | None:
    """Refuse a mistyped one of several tuners."""
    for value in values or ():
        check_tuner(value)
    return values


def tuner_or_usual(tuner: str | None, task: str | None, sam: str) -> str:
    """The tuner that was asked for, or else the usual one, which is said.

    Parameters
    ----------
    tuner, task : str, optional
        As they were given.
    sam : str

    Returns
    -------
    str
    """
    if tuner is not None:
        return tuner
    usual = usual_tuner(task, sam)
    if usual != "static":
        typer.echo(
            f"the policy {usual!r} sets the generator for each frame "
            "(--tuner static: the same settings for all)",
            err=True,
        )
    return usual


def check_inputs(values: list[Path]) -> list[Path]:
    """Refuse files and folders that are not there."""
    for path in values:
        if not path.exists():
            raise typer.BadParameter(f"there is no file or folder {path}: check the path")
    return values


def _refusing(check: Callable[[str], object], value: str) -> None:
    try:
        check(value)
    except SamstarError as error:
        raise typer.BadParameter(str(error)) from error


TaskArgument = Annotated[
    str,
    typer.Argument(metavar="TASK", help="Name or TOML file of the task.", callback=check_task),
]
Task = Annotated[
    str,
    typer.Option(
        "--task",
        "-t",
        metavar="NAME|FILE.toml",
        help="What the sample should look like.",
        callback=check_task,
    ),
]
TaskOfTuner = Annotated[
    str | None,
    typer.Option(
        "--task", "-t", metavar="NAME|FILE.toml",
        help="What the sample should look like; by default what the policy was trained for, or "
        "particles.",
        callback=check_task,
    ),
]  # fmt: skip
TUNER_HELP = (
    "What chooses the settings: [b]default[/] (SAM's own), [b]static[/] (the task's), "
    "[b]static:FILE[/] (from samstar tune), [b]genetic[/] or [b]random[/] (search on each frame), "
    "or the name or path of a policy bundle. By default the policy that ships for the task, "
    "or else static."
)
Tuner = Annotated[
    str | None, typer.Option("--tuner", metavar="TUNER", help=TUNER_HELP, callback=check_tuner)
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the results go.")]
PixelSize = Annotated[
    float | None,
    typer.Option(
        "--pixel-size",
        metavar="NM",
        min=1e-6,
        help="Edge of a pixel in nm; by default what the files say.",
    ),
]
Frames = Annotated[
    Path | None,
    typer.Option("--frames", metavar="FOLDER", help="Images; simulated ones by default."),
]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FOLDER", help="Their labels, under the same names."),
]
Names = Annotated[
    str | None,
    typer.Option(
        "--names",
        metavar="emps:PART|FILE",
        help="Only these images: a part of the EMPS split, or a text file of names.",
    ),
]
Learner = Annotated[
    str,
    typer.Option(
        "--algo",
        metavar="PPO|SAC|TD3|TQC|TRPO|...",
        help="Class name of a learner of Stable-Baselines3 or sb3-contrib.",
        callback=check_learner,
    ),
]
Price = Annotated[
    float,
    typer.Option("--price", min=0, help="Score that 1,000 of cost must gain to be worth it."),
]
Sam = Annotated[
    str,
    typer.Option(
        "--sam",
        metavar="tiny|vit_b|vit_l|vit_h|...|CHECKPOINT",
        help="The embedded SAM, one that is downloaded once, or the path of a checkpoint.",
        callback=check_sam,
    ),
]


def _find_device(value: str) -> str:
    """Refuse a device that is not there at once; say which one `auto` takes."""
    from samstar_rl.sam.device import DeviceError, choose_device

    try:
        chosen = choose_device(value)
    except DeviceError as error:
        raise typer.BadParameter(str(error)) from error
    if value == "auto":
        typer.echo(f"device: {chosen}", err=True)
    return chosen


Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda|mps",
        callback=_find_device,
        help="Where the SAM computes; auto takes CUDA, MPS or the CPU, the first that is there.",
    ),
]
Precision = Annotated[
    Literal["float32", "bfloat16", "float16"],
    typer.Option("--precision", help="Of SAM's arithmetic; other than float32 is inexact."),
]


def _points_are_gone(value: str | None) -> None:
    if value is not None:
        raise typer.BadParameter(
            f"--points {value} is gone: --n-prompts N spends N prompts where particles are "
            "likely, and --zoom looks closer"
        )


Points = Annotated[str | None, typer.Option("--points", hidden=True, callback=_points_are_gone)]
NPrompts = Annotated[
    int | None,
    typer.Option(
        "--n-prompts",
        min=4,
        max=4096,
        help="Prompts for a frame, spent where particles are likely first; by default the "
        "settings say how many.",
    ),
]
ExcludeBorder = Annotated[
    bool,
    typer.Option(
        "--exclude-border",
        help="Leave particles that the border cuts out of tables and size statistics.",
    ),
]
Zoom = Annotated[
    float | None,
    typer.Option(
        "--zoom",
        min=1,
        max=16,
        help="Look at tiles of the frame this much closer, besides the whole of it: for particles "
        "that are small in the frame.",
    ),
]
BudgetMs = Annotated[
    float | None,
    typer.Option(
        "--budget-ms",
        min=1,
        help="Time for a frame: the most promising prompts are taken until it is used up.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")]
Evaluations = Annotated[
    int,
    typer.Option("--evaluations", min=1, help="Settings that a search may try on each frame."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Spread over N processes of this machine, each with its own model (extra dask).",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        help="Spread over the workers of a dask scheduler, which see the same folders.",
    ),
]

PointsPerSide = Annotated[
    list[int] | None,
    typer.Option(
        "--points-per-side",
        min=1,
        help="Ladder of prompt densities, repeatable; the task's by default.",
    ),
]

FORMATS = ("labels", "ome-zarr", "coco", "parquet", "csv")


def _check_formats(names: list[str] | None) -> list[str] | None:
    """Refuse a format that does not exist before those who write them are imported."""
    for name in names or ():
        if name not in FORMATS:
            raise typer.BadParameter(f"no format {name!r}: expected one of {', '.join(FORMATS)}")
    return names


Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="|".join(FORMATS),
        callback=_check_formats,
        help="Repeatable; labels and csv by default. A picture and a record are always written.",
    ),
]
