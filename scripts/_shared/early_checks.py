"""Names that a command was given, checked before torch and the like are imported.

What exists only by name is refused here within a second; whether it fits is said by those who load
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from samstar_rl._io.checkpoint_cache import CHECKPOINTS
from samstar_rl.agents.tuner_names import BUNDLE_SUFFIX, STATIC_FILE, TUNERS, shipped_bundles
from samstar_rl.errors import SamstarError


def check_names(
    *,
    inputs: Sequence[Path] = (),
    task: str | None = None,
    tuners: Sequence[str] = (),
    sam: str | None = None,
) -> None:
    """Refuse an input, a task, a tuner or a SAM that does not exist.

    Parameters
    ----------
    inputs : sequence of Path
        Files and folders.
    task : str, optional
        A shipped one's name, or the path of a TOML file.
    tuners : sequence of str
        As ``--tuner`` takes them.
    sam : str, optional
        A name, or the path of a checkpoint.

    Raises
    ------
    SamstarError
        Naming what there is.
    """
    for path in inputs:
        if not path.exists():
            raise SamstarError(f"there is no file or folder {path}: check the path")
    if task is not None:
        _check_task(task)
    for tuner in tuners:
        _check_tuner(tuner)
    if sam is not None and sam != "tiny" and sam not in CHECKPOINTS and not Path(sam).exists():
        raise SamstarError(
            f"unknown SAM {sam!r}: expected one of tiny, {', '.join(CHECKPOINTS)}, or the path of "
            "an existing checkpoint (.pth, .pt or .safetensors)"
        )


def _check_task(task: str) -> None:
    shipped = Path(str(resources.files("samstar_rl.tasks") / "shipped"))
    names = sorted(path.stem for path in shipped.glob("*.toml"))
    if task.endswith(".toml"):
        if not Path(task).is_file():
            raise SamstarError(f"there is no task file {task}: check the path")
    elif task not in names:
        raise SamstarError(
            f"no task is called {task!r}; known: {', '.join(names)}; or give the path of a .toml "
            "file"
        )


def _check_tuner(tuner: str) -> None:
    if tuner in TUNERS or tuner in shipped_bundles():
        return
    if tuner.startswith(STATIC_FILE):
        file = tuner.removeprefix(STATIC_FILE).partition("#")[0]
        if not Path(file).is_file():
            raise SamstarError(f"cannot read static settings from {file}: there is no such file")
        return
    if any(Path(tuner + suffix).exists() for suffix in ("", BUNDLE_SUFFIX)):
        return
    known = ", ".join(name for name in TUNERS if name != "NAME or PATH")
    raise SamstarError(
        f"no tuner {tuner!r}: expected one of {known}, a shipped policy "
        f"({', '.join(shipped_bundles()) or 'there is none'}) or the folder of one"
    )
